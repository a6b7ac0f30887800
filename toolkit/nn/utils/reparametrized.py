"""Weight and spectral norm as PyTorch had them first: by a hook before each call.

The state has the names `weight_g` and `weight_v`, or `weight_orig`, `weight_u` and `weight_v`.
"""

from __future__ import annotations

from typing import Any, TypeVar

from toolkit.autograd import no_grad
from toolkit.nn import functional as F
from toolkit.nn.functional.toplevel import norm_except_dim
from toolkit.nn.module import Module
from toolkit.nn.parameter import Parameter
from toolkit.nn.utils.parametrizations import output_dim
from toolkit.tensor import Tensor, randn

M = TypeVar("M", bound=Module)


class _Norm:
    """A hook that computes `name` before each call of its module."""

    what: str

    def __init__(self, name: str) -> None:
        self.name = name
        self.handle: Any = None

    def compute(self, module: Any) -> Any:
        """The weight."""
        raise NotImplementedError

    def __call__(self, module: Any, args: Any) -> None:
        module.__dict__[self.name] = self.compute(module)

    def begin(self, module: Any) -> None:
        """Puts the hook on a module whose parameter `name` is gone."""
        for hook in module._forward_pre_hooks.hooks.values():
            if isinstance(hook, type(self)) and hook.name == self.name:
                raise RuntimeError(
                    f"Cannot register two {self.what} hooks on the same parameter {self.name}"
                )
        self.handle = module.register_forward_pre_hook(self)


class _WeightNormHook(_Norm):
    what = "weight_norm"

    def __init__(self, name: str, dim: int | None) -> None:
        super().__init__(name)
        self.dim = -1 if dim is None else dim

    def compute(self, module: Any) -> Any:
        g, v = (getattr(module, f"{self.name}_{part}") for part in "gv")
        return v * (g / norm_except_dim(v, 2, self.dim))

    def end(self, module: Any) -> Any:
        """The weight, after its parts are taken out."""
        value = self.compute(module).detach()
        for part in "gv":
            del module._parameters[f"{self.name}_{part}"]
        return value


class _SpectralNormHook(_Norm):
    what = "spectral_norm"

    def __init__(self, name: str, times: int, dim: int, eps: float) -> None:
        super().__init__(name)
        if times <= 0:
            raise ValueError(
                f"Expected n_power_iterations to be positive, but got n_power_iterations={times}"
            )
        self.times, self.dim, self.eps = times, dim, eps

    def matrix(self, weight: Any) -> Any:
        """The weight as (outputs, all others)."""
        if self.dim:
            rest = [d for d in range(weight.dim()) if d != self.dim]
            weight = weight.permute(self.dim, *rest)
        return weight.reshape(weight.shape[0], -1)

    def compute(self, module: Any) -> Any:
        weight, u, v = (getattr(module, f"{self.name}_{part}") for part in ("orig", "u", "v"))
        matrix = self.matrix(weight)
        if module.training:
            with no_grad():
                fixed = matrix.detach()
                for _ in range(self.times):
                    v.copy_(F.normalize(fixed.t().mv(u), dim=0, eps=self.eps))
                    u.copy_(F.normalize(fixed.mv(v), dim=0, eps=self.eps))
            u, v = u.clone(), v.clone()
        return weight / (u * matrix.mv(v)).sum()

    def end(self, module: Any) -> Any:
        """The weight, after its parts are taken out."""
        training = module.training
        module.training = False
        with no_grad():
            value = self.compute(module).detach()
        module.training = training
        del module._parameters[f"{self.name}_orig"]
        for part in "uv":
            del module._buffers[f"{self.name}_{part}"]
        return value


def _weight(module: Module, name: str) -> Any:
    weight = module._parameters.get(name)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter with name '{name}'")
    return weight


def weight_norm(module: M, name: str = "weight", dim: int | None = 0) -> M:
    """A weight as length `weight_g` and direction `weight_v`; see also `parametrizations`."""
    hook = _WeightNormHook(name, dim)
    hook.begin(module)
    weight = _weight(module, name)
    del module._parameters[name]
    g = norm_except_dim(weight.detach(), 2, hook.dim)
    module.register_parameter(f"{name}_g", Parameter(g))
    module.register_parameter(f"{name}_v", Parameter(weight.detach()))
    hook(module, ())
    return module


def spectral_norm(
    module: M,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> M:
    """A weight over its largest singular value; see also `parametrizations`."""
    where = output_dim(module) if dim is None else dim
    hook = _SpectralNormHook(name, n_power_iterations, where, eps)
    hook.begin(module)
    weight = _weight(module, name)
    with no_grad():
        matrix = hook.matrix(weight.detach())
        parts = [F.normalize(randn(n, dtype=weight.dtype), dim=0, eps=eps) for n in matrix.shape]
    del module._parameters[name]
    module.register_parameter(f"{name}_orig", weight)
    module.__dict__[name] = weight.detach()
    for part, value in zip("uv", parts, strict=True):
        module.register_buffer(f"{name}_{part}", value)
    return module


def _remove(module: Any, name: str, kind: type[_Norm]) -> None:
    for hook in list(module._forward_pre_hooks.hooks.values()):
        if isinstance(hook, kind) and hook.name == name:
            hook.handle.remove()
            value = hook.end(module)  # type: ignore[attr-defined]
            module.__dict__.pop(name, None)
            module.register_parameter(name, Parameter(value))
            return
    raise ValueError(f"{kind.what} of '{name}' not found in {module}")


def remove_weight_norm(module: M, name: str = "weight") -> M:
    """Makes the weight an ordinary parameter again, with its value of now."""
    _remove(module, name, _WeightNormHook)
    return module


def remove_spectral_norm(module: M, name: str = "weight") -> M:
    """Makes the weight an ordinary parameter again, with its value of now."""
    _remove(module, name, _SpectralNormHook)
    return module

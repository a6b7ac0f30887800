"""Pruning: parameters with masked elements, by PyTorch's names.

A pruned parameter is `weight_orig` times the buffer `weight_mask`, taken anew before each call.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from toolkit import random
from toolkit.errors import InvalidArgumentError
from toolkit.nn.functional.linear import vector_norm
from toolkit.nn.module import Module
from toolkit.tensor import Tensor, cat, from_numpy, ones, ones_like

__all__ = [
    "BasePruningMethod", "CustomFromMask", "Identity", "L1Unstructured", "LnStructured",
    "PruningContainer", "RandomStructured", "RandomUnstructured", "custom_from_mask",
    "global_unstructured", "identity", "is_pruned", "l1_unstructured", "ln_structured",
    "random_structured", "random_unstructured", "remove",
]  # fmt: skip


def _count(amount: float, size: int) -> int:
    """How many of `size` an amount says: a number of them, or a part."""
    if isinstance(amount, bool) or not isinstance(amount, (int, float)):
        raise TypeError(f"Invalid type for amount: {amount}. Must be int or float.")
    if amount < 0 or (isinstance(amount, float) and amount > 1):
        raise ValueError(
            f"amount={amount} should either be a float in the range [0, 1] or a non-negative "
            "integer"
        )
    if isinstance(amount, int) and amount > size:
        raise ValueError(
            f"amount={amount} should be smaller than the number of parameters to prune={size}"
        )
    return amount if isinstance(amount, int) else round(amount * size)


class BasePruningMethod:
    """What computes a mask; also the hook that applies it before each call.

    A subclass defines `compute_mask(t, default_mask)` and `PRUNING_TYPE`: "unstructured",
    "structured" or "global".
    """

    PRUNING_TYPE = "unstructured"
    _tensor_name: str

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Any:
        """The mask for a tensor, a part of the default one."""
        raise NotImplementedError

    def __call__(self, module: Any, inputs: Any) -> None:
        module.__dict__[self._tensor_name] = self.apply_mask(module)

    def apply_mask(self, module: Any) -> Any:
        """The parameter times its mask."""
        name = self._tensor_name
        mask, original = getattr(module, f"{name}_mask"), getattr(module, f"{name}_orig")
        return mask.to(original.dtype) * original

    @classmethod
    def apply(
        cls, module: Any, name: str, *args: Any, importance_scores: Any = None, **kwargs: Any
    ) -> Any:
        """Prunes a parameter, once more if it is pruned already."""
        hooks = module._forward_pre_hooks
        old = _pruning(module, name)
        method: Any = cls(*args, **kwargs)
        method._tensor_name = name
        original = getattr(module, f"{name}_orig") if old else getattr(module, name)
        scores = getattr(module, name) if importance_scores is None else importance_scores
        if tuple(scores.shape) != tuple(original.shape):
            raise InvalidArgumentError(
                "importance_scores should have the same shape as parameter "
                f"{name}, {list(original.shape)}, got {list(scores.shape)}."
            )
        default = getattr(module, f"{name}_mask") if old else ones_like(original.detach())
        if old:
            key, before = old
            del hooks.hooks[key]
            container = before if isinstance(before, PruningContainer) else PruningContainer(before)
            container._tensor_name = name
            container.add_pruning_method(method)
            method = container
        mask = method.compute_mask(scores.detach(), default)
        if old is None:
            del module._parameters[name]
            module.register_parameter(f"{name}_orig", original)
            module.register_buffer(f"{name}_mask", mask)
        else:
            getattr(module, f"{name}_mask").copy_(mask)
        method(module, ())
        module.register_forward_pre_hook(method)
        return method

    def prune(self, t: Tensor, default_mask: Any = None, importance_scores: Any = None) -> Any:
        """The tensor times its mask."""
        scores = t if importance_scores is None else importance_scores
        default = ones_like(t) if default_mask is None else default_mask
        return t * self.compute_mask(scores, default).to(t.dtype)

    def remove(self, module: Any) -> None:
        """Makes the pruned parameter an ordinary one again, its zeros kept."""
        name = self._tensor_name
        original = getattr(module, f"{name}_orig")
        original.data = self.apply_mask(module).detach()
        del module._parameters[f"{name}_orig"], module._buffers[f"{name}_mask"]
        module.__dict__.pop(name, None)
        module.register_parameter(name, original)


class PruningContainer(BasePruningMethod):
    """Several pruning methods of one parameter, one after the other."""

    def __init__(self, *methods: BasePruningMethod) -> None:
        self._pruning_methods = list(methods)

    def add_pruning_method(self, method: BasePruningMethod) -> None:
        """One more, which prunes what is left."""
        self._pruning_methods.append(method)

    def __len__(self) -> int:
        return len(self._pruning_methods)

    def __getitem__(self, index: int) -> BasePruningMethod:
        return self._pruning_methods[index]

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Any:
        """The mask of the last method, among what the others left."""
        method = self._pruning_methods[-1]
        left = default_mask.detach().numpy() != 0
        values = t.detach().numpy()
        new = left.copy()
        if method.PRUNING_TYPE == "structured":
            axis = getattr(method, "dim", -1) % values.ndim
            rest = tuple(i for i in range(values.ndim) if i != axis)
            places: Any = tuple(
                np.flatnonzero(left.any(rest)) if i == axis else slice(None)
                for i in range(values.ndim)
            )
        else:
            places = left if method.PRUNING_TYPE == "unstructured" else ...
        part, mask = _tensor(values[places]), _tensor(np.ones(values[places].shape, values.dtype))
        new[places] &= method.compute_mask(part, mask).numpy() != 0
        return _tensor(new.astype(default_mask.dtype.numpy))


def _tensor(array: Any) -> Any:
    return from_numpy(np.array(array, order="C"))


def _masked(default: Tensor, places: Any) -> Any:
    """The default mask with zeros at some places of the flattened tensor."""
    mask = default.detach().numpy().copy()
    mask.reshape(-1)[places] = 0
    return _tensor(mask)


class Identity(BasePruningMethod):
    """Prunes nothing."""

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Any:
        """The default mask."""
        return default_mask


class RandomUnstructured(BasePruningMethod):
    """Prunes elements at random."""

    def __init__(self, amount: float) -> None:
        _count(amount, 2**62)
        self.amount = amount

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Any:
        """Zeros at random places."""
        keys = random.uniform((t.numel(),), 1).numpy()
        return _masked(default_mask, np.argsort(keys)[: _count(self.amount, t.numel())])


class L1Unstructured(BasePruningMethod):
    """Prunes the smallest elements."""

    def __init__(self, amount: float) -> None:
        _count(amount, 2**62)
        self.amount = amount

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Any:
        """Zeros where the numbers are smallest."""
        sizes = np.abs(t.detach().numpy()).reshape(-1)
        return _masked(
            default_mask, np.argsort(sizes, kind="stable")[: _count(self.amount, sizes.size)]
        )


class _Structured(BasePruningMethod):
    PRUNING_TYPE = "structured"

    def __init__(self, amount: float, dim: int = -1) -> None:
        _count(amount, 2**62)
        self.amount, self.dim = amount, dim

    def scores(self, t: Tensor) -> Any:
        """One number a slice; the smallest are pruned."""
        raise NotImplementedError

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Any:
        """Zeros in whole slices."""
        if t.dim() <= 1:
            raise ValueError(
                "Structured pruning can only be applied to multidimensional tensors. Found tensor "
                f"of shape {list(t.shape)} with {t.dim()} dims"
            )
        count = _count(self.amount, t.shape[self.dim])
        mask = default_mask.detach().numpy().copy()
        slices: list[Any] = [slice(None)] * t.dim()
        slices[self.dim] = np.argsort(self.scores(t), kind="stable")[:count]
        mask[tuple(slices)] = 0
        return _tensor(mask)


class RandomStructured(_Structured):
    """Prunes slices at random."""

    def scores(self, t: Tensor) -> Any:
        """Random numbers."""
        return random.uniform((t.shape[self.dim],), 1).numpy()


class LnStructured(_Structured):
    """Prunes the slices of the smallest norm."""

    def __init__(self, amount: float, n: Any, dim: int = -1) -> None:
        super().__init__(amount, dim)
        self.n = float(n)

    def scores(self, t: Tensor) -> Any:
        """The slices' norms."""
        rest = tuple(d for d in range(t.dim()) if d != self.dim % t.dim())
        return vector_norm(t.detach(), self.n, rest).reshape(-1).numpy()


class CustomFromMask(BasePruningMethod):
    """Prunes what a given mask says."""

    PRUNING_TYPE = "global"

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Any:
        """The given mask and the default one."""
        return default_mask * self.mask.to(default_mask.dtype)


def identity(module: Module, name: str) -> Module:
    """Gives a parameter a mask of ones."""
    Identity.apply(module, name)
    return module


def random_unstructured(module: Module, name: str, amount: float) -> Module:
    """Prunes `amount` elements (a number, or a part) at random."""
    RandomUnstructured.apply(module, name, amount)
    return module


def l1_unstructured(
    module: Module, name: str, amount: float, importance_scores: Any = None
) -> Module:
    """Prunes the `amount` elements of the smallest size."""
    L1Unstructured.apply(module, name, amount, importance_scores=importance_scores)
    return module


def random_structured(module: Module, name: str, amount: float, dim: int) -> Module:
    """Prunes `amount` slices along `dim` at random."""
    RandomStructured.apply(module, name, amount, dim)
    return module


def ln_structured(
    module: Module, name: str, amount: float, n: Any, dim: int, importance_scores: Any = None
) -> Module:
    """Prunes the `amount` slices along `dim` of the smallest n-norm."""
    LnStructured.apply(module, name, amount, n, dim, importance_scores=importance_scores)
    return module


def custom_from_mask(module: Module, name: str, mask: Tensor) -> Module:
    """Prunes where a mask is zero."""
    CustomFromMask.apply(module, name, mask)
    return module


def global_unstructured(
    parameters: Iterable[tuple[Module, str]],
    pruning_method: type[BasePruningMethod],
    importance_scores: Any = None,
    **kwargs: Any,
) -> None:
    """Prunes several parameters as if they were one vector."""
    given = list(parameters)
    scores = importance_scores or {}
    tensors = [scores.get((m, n), getattr(m, n)).detach() for m, n in given]
    masks = [getattr(m, f"{n}_mask", None) for m, n in given]
    flat = cat([t.reshape(-1) for t in tensors])
    whole = cat([
        (ones(t.shape, dtype=t.dtype) if k is None else k).reshape(-1)
        for t, k in zip(tensors, masks, strict=True)
    ])  # fmt: skip
    method: Any = pruning_method(**kwargs)
    if method.PRUNING_TYPE != "unstructured":
        raise TypeError(
            'Only "unstructured" PRUNING_TYPE supported for the `pruning_method`. Found method '
            f"{pruning_method} of type {method.PRUNING_TYPE}"
        )
    container = PruningContainer(method)
    final = container.compute_mask(flat, whole)
    start = 0
    for (module, name), t in zip(given, tensors, strict=True):
        part = final.narrow(0, start, t.numel()).reshape(t.shape)
        custom_from_mask(module, name, part)
        start += t.numel()


def _pruning(module: Module, name: str) -> Any:
    """(key, hook) of the pruning of a parameter."""
    for key, hook in module._forward_pre_hooks.hooks.items():
        if isinstance(hook, BasePruningMethod) and hook._tensor_name == name:
            return key, hook
    return None


def remove(module: Module, name: str) -> Module:
    """Makes a pruned parameter an ordinary one again, its zeros kept."""
    found = _pruning(module, name)
    if found is None:
        raise ValueError(
            f"Parameter '{name}' of module {module} has to be pruned before pruning can be removed"
        )
    found[1].remove(module)
    del module._forward_pre_hooks.hooks[found[0]]
    return module


def is_pruned(module: Module) -> bool:
    """Whether a parameter below a module is pruned."""
    return any(
        isinstance(hook, BasePruningMethod)
        for m in module.modules()
        for hook in m._forward_pre_hooks.hooks.values()
    )

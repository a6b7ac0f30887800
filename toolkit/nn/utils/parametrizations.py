"""Parametrizations by name: `weight_norm`, `spectral_norm`, `orthogonal`."""

from __future__ import annotations

from typing import Any

import numpy as np

from toolkit import linalg as _linalg
from toolkit.autograd import no_grad
from toolkit.errors import OutOfBoundsError
from toolkit.nn import functional as F
from toolkit.nn.conv import _ConvTranspose
from toolkit.nn.functional.toplevel import norm_except_dim
from toolkit.nn.module import Module
from toolkit.nn.utils.parametrize import register_parametrization
from toolkit.tensor import Tensor, cat, eye, from_numpy, randn, zeros

linalg: Any = _linalg


class _WeightNorm(Module):
    """A direction v and its length g (Salimans and Kingma, 2016)."""

    def __init__(self, dim: int | None = 0) -> None:
        super().__init__()
        self.dim = -1 if dim is None else dim

    def forward(self, weight_g: Tensor, weight_v: Tensor) -> Any:
        return weight_v * (weight_g / norm_except_dim(weight_v, 2, self.dim))

    def right_inverse(self, weight: Tensor) -> tuple[Any, Tensor]:
        """(g, v) of a weight."""
        return norm_except_dim(weight, 2, self.dim), weight


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """A weight as length and direction, `original0` and `original1`."""
    _tensor_of(module, name)
    register_parametrization(module, name, _WeightNorm(dim), unsafe=True)

    def take_old_names(state: Any, prefix: str, *_: Any) -> None:
        old = [f"{prefix}{name}_g", f"{prefix}{name}_v"]
        if all(key in state for key in old):
            for i, key in enumerate(old):
                state[f"{prefix}parametrizations.{name}.original{i}"] = state.pop(key)

    module._register_load_state_dict_pre_hook(take_old_names)
    return module


class _SpectralNorm(Module):
    """A weight over its largest singular value, by power iteration (Miyato et al., 2018)."""

    _u: Tensor
    _v: Tensor

    def __init__(
        self, weight: Tensor, n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12
    ) -> None:
        super().__init__()
        rank = weight.dim()
        if not -rank <= dim < rank:
            raise OutOfBoundsError(
                f"Dimension out of range (expected to be in range of [-{rank}, {rank - 1}] but got "
                f"{dim})"
            )
        if n_power_iterations <= 0:
            raise ValueError(
                "Expected n_power_iterations to be positive, but got "
                f"n_power_iterations={n_power_iterations}"
            )
        self.dim, self.eps = dim % rank, eps
        if rank > 1:
            self.n_power_iterations = n_power_iterations
            with no_grad():
                matrix = self._matrix(weight.detach())
                for key, n in (("_u", matrix.shape[0]), ("_v", matrix.shape[1])):
                    drawn = randn(n, dtype=weight.dtype)
                    self.register_buffer(key, F.normalize(drawn, dim=0, eps=eps))
                self._iterate(matrix, 15)

    def _matrix(self, weight: Any) -> Any:
        if self.dim:
            rest = [d for d in range(weight.dim()) if d != self.dim]
            weight = weight.permute(self.dim, *rest)
        return weight.flatten(1)

    def _iterate(self, matrix: Any, times: int) -> None:
        with no_grad():
            matrix = matrix.detach()
            for _ in range(times):
                self._u.copy_(F.normalize(matrix.mv(self._v), dim=0, eps=self.eps))
                self._v.copy_(F.normalize(matrix.t().mv(self._u), dim=0, eps=self.eps))

    def forward(self, weight: Tensor) -> Any:
        if weight.dim() == 1:
            return F.normalize(weight, dim=0, eps=self.eps)
        matrix = self._matrix(weight)
        if self.training:
            self._iterate(matrix, self.n_power_iterations)
        u, v = self._u.clone(), self._v.clone()
        return weight / (u * matrix.mv(v)).sum()

    def right_inverse(self, value: Tensor) -> Tensor:
        """The value, which is taken to be of norm 1 already."""
        return value


def spectral_norm(
    module: Module,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> Module:
    """A weight over its largest singular value; `dim` is that of the outputs."""
    weight = _tensor_of(module, name)
    dim = output_dim(module) if dim is None else dim
    made = _SpectralNorm(weight, n_power_iterations, dim, eps)
    return register_parametrization(module, name, made)


def output_dim(module: Module) -> int:
    """The dimension of a weight that counts outputs."""
    return 1 if isinstance(module, _ConvTranspose) else 0


class _Orthogonal(Module):
    """A matrix with orthonormal columns (rows, if it has more of these)."""

    base: Any

    def __init__(self, weight: Tensor, orthogonal_map: str, use_trivialization: bool) -> None:
        super().__init__()
        self.shape = tuple(weight.shape)
        self.orthogonal_map = orthogonal_map
        if use_trivialization:
            self.register_buffer("base", None)

    def forward(self, x: Any) -> Any:
        wide = x.shape[-2] < x.shape[-1]
        x = x.transpose(-2, -1) if wide else x
        n, k = x.shape[-2:]
        if self.orthogonal_map == "householder":
            a = x.tril(-1)
            q = _reflections(a, 2.0 / (1.0 + (a * a).sum(-2)))
            q = q * x.diagonal(0, -2, -1).detach().trunc().unsqueeze(-2)
        else:
            x = x.tril()
            if n != k:
                x = cat([x, zeros(*x.shape[:-1], n - k, dtype=x.dtype)], -1)
            skew = x - x.transpose(-2, -1)
            if self.orthogonal_map == "matrix_exp":
                q = linalg.matrix_exp(skew)
            else:
                one = eye(n, dtype=x.dtype)
                q = linalg.solve(one - skew * 0.5, one + skew * 0.5)
            q = q.narrow(-1, 0, k) if n != k else q
        if "base" in self._buffers:
            q = self.base @ q
        return q.transpose(-2, -1) if wide else q

    def right_inverse(self, value: Tensor) -> Any:
        """What gives an orthogonal matrix; another one is made orthogonal first."""
        if tuple(value.shape) != self.shape:
            raise ValueError(
                f"Expected a matrix or batch of matrices of shape {self.shape}. Got a tensor of "
                f"shape {tuple(value.shape)}."
            )
        wide = value.shape[-2] < value.shape[-1]
        q = value.detach().numpy()
        q = np.swapaxes(q, -1, -2) if wide else q
        n, k = q.shape[-2:]
        if "base" not in self._buffers:
            if self.orthogonal_map != "householder":
                raise NotImplementedError(
                    "It is not possible to assign to the matrix exponential or the Cayley "
                    "parametrizations when use_trivialization=False."
                )
            made = _factored(q)
            return _tensor_like(np.swapaxes(made, -1, -2) if wide else made)
        if n != k:
            rest = randn(*q.shape[:-2], n, n - k, dtype=value.dtype).numpy()
            q = _orthonormal(np.concatenate([q, rest], -1))
        elif not np.allclose(
            np.swapaxes(q, -1, -2) @ q, np.eye(k), atol=10.0 * n * np.finfo(q.dtype).eps
        ):
            q = _orthonormal(q)
        self.base = _tensor_like(q)
        flat = np.zeros(self.shape, q.dtype)
        flat[..., np.arange(k), np.arange(k)] = -1.0
        return _tensor_like(flat)


def _tensor_like(array: Any) -> Any:
    return from_numpy(np.array(array, order="C"))


def _orthonormal(a: Any) -> Any:
    """Q of A = Q R with a positive diagonal of R."""
    q, r = np.linalg.qr(a)
    signs = np.sign(np.diagonal(r, axis1=-2, axis2=-1))
    return (q * signs[..., None, :]).astype(a.dtype)


def _factored(q: Any) -> Any:
    """Householder vectors below the diagonal, the signs of their product on it (LAPACK's geqrf)."""
    out = np.empty_like(q)
    for at in np.ndindex(q.shape[:-2]):
        h, tau = np.linalg.qr(q[at], mode="raw")
        a = h.T.copy()
        k = a.shape[1]
        signs = np.sign(np.diagonal(a)) * np.where(tau == 0.0, -1.0, 1.0)
        a[np.arange(k), np.arange(k)] = signs
        out[at] = a
    return out


def _reflections(a: Any, tau: Any) -> Any:
    """The first columns of H_1 ... H_k, H_i = I - tau_i v_i v_iᵀ; v_i those of a + I."""
    n, k = a.shape[-2:]
    one = eye(n, dtype=a.dtype).narrow(1, 0, k)
    vectors = a + one
    q = one
    for i in reversed(range(k)):
        v = vectors.narrow(-1, i, 1)
        q = q - tau.narrow(-1, i, 1).unsqueeze(-1) * (v @ (v.transpose(-2, -1) @ q))
    return q


def orthogonal(
    module: Module,
    name: str = "weight",
    orthogonal_map: str | None = None,
    *,
    use_trivialization: bool = True,
) -> Module:
    """A weight that stays orthogonal (Lezcano-Casado and Martínez-Rubio, 2019).

    Args:
        module: holds the weight.
        name: its name there.
        orthogonal_map: "matrix_exp", "cayley" or "householder"; None: the first for square ones.
        use_trivialization: start from the weight as it is, by a fixed factor `base`.
    """
    weight = _tensor_of(module, name)
    if weight.dim() < 2:
        raise ValueError(
            f"Expected a matrix or batch of matrices. Got a tensor of {weight.dim()} dimensions."
        )
    if orthogonal_map is None:
        square = weight.shape[-2] == weight.shape[-1]
        orthogonal_map = "matrix_exp" if square else "householder"
    if orthogonal_map not in ("matrix_exp", "cayley", "householder"):
        raise ValueError(
            'orthogonal_map has to be one of "matrix_exp", "cayley", "householder". '
            f"Got: {orthogonal_map}"
        )
    made = _Orthogonal(weight, orthogonal_map, use_trivialization)
    return register_parametrization(module, name, made, unsafe=True)


def _tensor_of(module: Module, name: str) -> Any:
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    return weight

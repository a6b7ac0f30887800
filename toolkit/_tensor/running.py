"""What runs along a dimension: products, extremes, differences, integrals, slopes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from toolkit import dtypes
from toolkit._tensor import results
from toolkit._tensor.base import BOOL, FLOATS, INT64, TensorBase
from toolkit._tensor.consts import index
from toolkit._tensor.promote import cast
from toolkit._tensor.shapes import _symbolic, normalize_dim
from toolkit.errors import DTypeError, InvalidArgumentError, ShapeError
from toolkit.ops.dispatch import apply, apply2, apply_many, handle

if TYPE_CHECKING:
    from toolkit.tensor import Tensor

_UINT8 = 2


class Running(TensorBase):
    """Cumulative functions and differences."""

    def cumprod(self: Any, dim: int, *, dtype: dtypes.DType | None = None) -> Tensor:
        """The running product along `dim`; integers and bools multiply as int64."""
        if dtype is not None:
            x = cast(self, dtype.onnx)
        else:
            x = self if self._value.dtype in FLOATS else cast(self, INT64)
        d = normalize_dim(dim, self.dim())
        return apply2(handle("CumProd"), x, index(d)) if self.dim() else x.clone()

    def _running(self: Any, name: str, kind: Any, dim: int) -> Any:
        d = normalize_dim(dim, self.dim())
        x = self if self.dim() else self.reshape(1)
        x = cast(x, _UINT8) if self._value.dtype == BOOL else x
        values, indices = apply_many(handle(name, "toolkit.nn", axis=d), (x,), 2)
        values = cast(values, self._value.dtype)
        if values.grad_fn is not None:
            values.grad_fn.label = name.capitalize()
        if not self.dim():
            values, indices = values.reshape(()), indices.reshape(())
        return kind(values, indices)

    def cummax(self: Any, dim: int) -> results.cummax:
        """The largest element so far along `dim`, and where it is (the last of equals)."""
        return self._running("CumMax", results.cummax, dim)

    def cummin(self: Any, dim: int) -> results.cummin:
        """The smallest element so far along `dim`, and where it is (the last of equals)."""
        return self._running("CumMin", results.cummin, dim)

    def logcumsumexp(self: Any, dim: int) -> Tensor:
        """log(cumsum(exp(x))) along `dim`, without overflow."""
        if self._value.dtype not in FLOATS:
            raise DTypeError(
                f"logcumsumexp: a floating point dtype is required, got {self.dtype.name}."
            )
        d = normalize_dim(dim, self.dim())
        if not self.dim():
            return self.clone()
        out = apply(handle("CumLogSumExp", "toolkit.nn", axis=d), self)
        if out.grad_fn is not None:
            out.grad_fn.label = "Logcumsumexp"
        return out

    def diff(
        self: Any, n: int = 1, dim: int = -1, prepend: Any = None, append: Any = None
    ) -> Tensor:
        """The n-th differences of neighbours along `dim`; of bools, whether they differ."""
        from toolkit._tensor.factories import cat

        if not self.dim():
            raise ShapeError("diff expects input to be at least one-dimensional, got 0 dimensions")
        if n < 0:
            raise InvalidArgumentError(f"order must be non-negative but got {n}")
        d = normalize_dim(dim, self.dim())
        for name, t in (("prepend", prepend), ("append", append)):
            if t is not None and t.dim() != self.dim():
                raise ShapeError(
                    f"diff expects prepend or append to be the same dimension as input, got "
                    f"{name} with {t.dim()} and input with {self.dim()} dimensions"
                )
        ends = [t for t in (prepend, self, append) if t is not None]
        x: Any = cat(ends, d) if len(ends) > 1 else self
        if n == 0:
            return x.clone() if x is self else x
        for _ in range(n):
            size = x.shape[d]
            if not _symbolic(size) and size == 0:
                return x
            later, former = x.narrow(d, 1, size - 1), x.narrow(d, 0, size - 1)
            x = later ^ former if x._value.dtype == BOOL else later - former
        return x

    def _areas(self: Any, name: str, x: Any, dx: Any, dim: int) -> tuple[Any, int]:
        """Areas under the line between neighbours."""
        if not self.dim():
            raise ShapeError(f"{name}: at least one dimension is required, got a 0-dim tensor.")
        if self._value.dtype == BOOL:
            raise DTypeError(f"{name}: received a bool input for `y`, but bool is not supported.")
        d, y = normalize_dim(dim, self.dim()), self
        n = y.shape[d]
        k: Any = n - 1 if _symbolic(n) else max(n - 1, 0)
        pairs = y.narrow(d, 1 if _symbolic(n) else min(1, n), k) + y.narrow(d, 0, k)
        if x is None:
            return pairs * (0.5 * dx), d
        if x.dim() == 1:
            if not _symbolic(n) and not _symbolic(x.shape[0]) and x.shape[0] != n:
                raise ShapeError(
                    f"{name}(): There must be one `x` value for each sample point, got "
                    f"{x.shape[0]} for {n}."
                )
            steps = x.diff().reshape((-1,) + (1,) * (y.dim() - d - 1))
        else:
            steps = x.diff(dim=d - y.dim())
        return pairs * steps / 2.0, d

    def trapezoid(self: Any, x: Any = None, *, dx: Any = 1.0, dim: int = -1) -> Tensor:
        """The integral along `dim` by the trapezoidal rule, over places `x` or steps `dx`."""
        areas, d = self._areas("trapezoid", x, dx, dim)
        return areas.sum(d - self.dim())

    trapz = trapezoid

    def cumulative_trapezoid(self: Any, x: Any = None, *, dx: Any = 1.0, dim: int = -1) -> Tensor:
        """The running integral along `dim` by the trapezoidal rule."""
        areas, d = self._areas("cumulative_trapezoid", x, dx, dim)
        return areas.cumsum(d - self.dim())

    def gradient(
        self: Any, *, spacing: Any = 1, dim: Any = None, edge_order: int = 1
    ) -> tuple[Tensor, ...]:
        """Slopes along each dimension by central differences, one-sided at the edges.

        Args:
            spacing: the step, one for each dimension, or the coordinates of each as tensors.
            dim: the dimensions; all by default.
            edge_order: 1 or 2, the accuracy at the edges.
        """
        if edge_order not in (1, 2):
            raise InvalidArgumentError(
                f"torch.gradient only supports edge_order=1 and edge_order=2, got {edge_order}."
            )
        rank = self.dim()
        if dim is None:
            axes = list(range(rank))
        else:
            axes = [
                normalize_dim(a, rank) for a in (dim if isinstance(dim, (list, tuple)) else [dim])
            ]
        many = isinstance(spacing, (list, tuple))
        if many and len(spacing) != len(axes):
            raise InvalidArgumentError(
                f"torch.gradient expected spacing to be unspecified, a scalar, or a list of length "
                f"{len(axes)}, got {len(spacing)}."
            )
        steps = list(spacing) if many else [spacing] * len(axes)
        for a in axes:
            n = self.shape[a]
            if not _symbolic(n) and n < edge_order + 1:
                raise ShapeError(
                    "torch.gradient expected each dimension size to be at least edge_order+1, got "
                    f"{n} of dimension {a} with edge_order={edge_order}."
                )
        x = self if self._value.dtype in FLOATS else cast(self, dtypes.float32.onnx)
        return tuple(_slopes(x, a, h, edge_order) for a, h in zip(axes, steps, strict=True))


def _slopes(x: Any, d: int, h: Any, edge_order: int) -> Any:
    from toolkit._tensor.factories import cat

    n = x.shape[d]
    gaps: Any = None
    if getattr(h, "ndim", 0):
        at = h.reshape((-1,) + (1,) * (x.dim() - d - 1))
        gaps = at.diff(dim=0)

    def part(t: Any, axis: int, start: Any, length: Any) -> Any:
        return t.narrow(axis, start, length)

    def values(start: Any, length: Any = 1) -> Any:
        return part(x, d, start, length)

    def gap(start: Any, length: Any = 1) -> Any:
        return h if gaps is None else part(gaps, 0, start, length)

    a, b = gap(0, n - 2), gap(1, n - 2)
    low, mid, high = values(0, n - 2), values(1, n - 2), values(2, n - 2)
    if gaps is None:
        inner = (high - low) / (2 * h)
    else:
        inner = (-b / (a * (a + b))) * low + ((b - a) / (a * b)) * mid + (a / (b * (a + b))) * high
    if edge_order == 1:
        first = (values(1) - values(0)) / gap(0)
        last = (values(n - 1) - values(n - 2)) / gap(n - 2)
        return cat([first, inner, last], d)
    a, b = gap(0), gap(1)
    first = -(2 * a + b) / (a * (a + b)) * values(0) + (a + b) / (a * b) * values(1)
    first = first - a / (b * (a + b)) * values(2)
    a, b = gap(n - 3), gap(n - 2)
    last = b / (a * (a + b)) * values(n - 3) - (a + b) / (a * b) * values(n - 2)
    last = last + (a + 2 * b) / (b * (a + b)) * values(n - 1)
    return cat([first, inner, last], d)

"""Reductions, scans, sorting, and softmax."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from toolkit import dtypes
from toolkit._tensor import results
from toolkit._tensor.base import BOOL, FLOATS, INT64, TensorBase
from toolkit._tensor.consts import index, vector
from toolkit._tensor.promote import cast, floating
from toolkit._tensor.shapes import _symbolic, normalize_dim
from toolkit._tensor.views import SQUEEZE
from toolkit.errors import DTypeError, InvalidArgumentError, ShapeError
from toolkit.ops.dispatch import apply1, apply2, handle, quick

if TYPE_CHECKING:
    from toolkit.tensor import Tensor


_UINT8 = 2


def _axes(x: Any, dim: Any) -> tuple[int, ...]:
    rank = x.dim()
    if type(dim) is int:
        return (normalize_dim(dim, rank),) if rank else ()
    dims = dim if isinstance(dim, (tuple, list)) else (dim,)
    axes = tuple(normalize_dim(d, rank) for d in dims)
    if len(set(axes)) != len(axes):
        raise InvalidArgumentError(f"dim {axes[0]} appears multiple times in the list of dims")
    return axes if rank else ()


def reduce(op_type: str, x: Any, dim: Any, keepdim: bool, label: str | None = None) -> Any:
    """An ONNX reduction over `dim` (None or (): everything)."""
    h = quick(op_type, "keepdims", 1 if keepdim else 0)
    if dim is None or (isinstance(dim, (tuple, list)) and not dim):
        out = apply1(h, x)
    else:
        axes = _axes(x, dim)
        out = apply2(h, x, vector(axes)) if axes else apply1(h, x)
        if label in ("Sum", "Mean", "Prod"):
            label = label + "1"
    if label and out._node is not None:
        out._node.label = label
    return out


def _count(x: Any, dim: Any) -> Any:
    shape = x.shape
    if dim is None or (isinstance(dim, (tuple, list)) and not dim):
        return shape.numel()
    n: Any = 1
    for a in _axes(x, dim):
        n = n * shape[a]
    return n


def _summable(x: Any, dtype: Any) -> Any:
    if dtype is not None:
        return cast(x, dtype.onnx)
    return x if x._value.dtype in FLOATS else cast(x, INT64)


@lru_cache(maxsize=256)
def _along(op_type: str, dim: int, rank: int) -> Any:
    return quick(op_type, "axis", normalize_dim(dim, rank))


@lru_cache(maxsize=256)
def arg_handle(op_type: str, axis: int, keepdims: int) -> Any:
    """ArgMax or ArgMin; the first of equal elements."""
    return handle(op_type, axis=axis, keepdims=keepdims, select_last_index=0)


def _centered(x: Any, dim: Any, unbiased: Any, correction: Any) -> tuple[Any, Any]:
    """X less its mean, and what the sum of squares is divided by."""
    if correction is None:
        correction = 1 if unbiased is None else int(unbiased)
    if x._value.dtype not in FLOATS:
        raise DTypeError("std and var only support floating point and complex dtypes")
    rest = _count(x, dim) - correction
    return x - reduce("ReduceMean", x, dim, True), rest if _symbolic(rest) else max(rest, 0)


def _refuse_empty(name: str, x: Any, dim: Any) -> None:
    """The extreme of nothing is no number."""
    if x._value.shape and 0 in (shape := x.shape):
        axes = range(len(shape)) if dim is None or dim == () else _axes(x, dim)
        if any(not _symbolic(shape[a]) and shape[a] == 0 for a in axes):
            raise ShapeError(
                f"{name}(): Expected reduction dim to have non-zero size, got shape {list(shape)} "
                f"and dim {dim}. Specify a non-empty dimension with the 'dim' argument."
            )


class Reductions(TensorBase):
    """Reductions by PyTorch's names; `dim` is an int, a tuple, or None for all."""

    def sum(
        self, dim: Any = None, keepdim: bool = False, *, dtype: dtypes.DType | None = None
    ) -> Tensor:
        """The sum; integers and bools add up as int64."""
        return reduce("ReduceSum", _summable(self, dtype), dim, keepdim, "Sum")

    def mean(
        self, dim: Any = None, keepdim: bool = False, *, dtype: dtypes.DType | None = None
    ) -> Tensor:
        """The mean of floats.

        Raises:
            DTypeError: integers or bools.
        """
        x = self if dtype is None else cast(self, dtype.onnx)
        if x._value.dtype not in FLOATS:
            raise DTypeError(
                "mean(): could not infer output dtype. Input dtype must be either a floating "
                f"point or complex dtype. Got: {self.dtype.name}"
            )
        return reduce("ReduceMean", x, dim, keepdim, "Mean")

    def prod(
        self, dim: Any = None, keepdim: bool = False, *, dtype: dtypes.DType | None = None
    ) -> Tensor:
        """The product."""
        return reduce("ReduceProd", _summable(self, dtype), dim, keepdim, "Prod")

    def amax(self, dim: Any = None, keepdim: bool = False) -> Tensor:
        """The maximum; gradients are shared among equal maxima."""
        _refuse_empty("amax", self, dim)
        return reduce("ReduceMax", self, dim, keepdim, "Amax")

    def amin(self, dim: Any = None, keepdim: bool = False) -> Tensor:
        """The minimum; gradients are shared among equal minima."""
        _refuse_empty("amin", self, dim)
        return reduce("ReduceMin", self, dim, keepdim, "Amin")

    def _extreme(self, op_type: str, kind: Any, dim: Any, keepdim: bool) -> Any:
        if isinstance(dim, TensorBase):
            return self.maximum(dim) if op_type == "ReduceMax" else self.minimum(dim)  # type: ignore[attr-defined]
        label = op_type[6:]
        if dim is None:
            if not _symbolic(n := self.shape.numel()) and n == 0:
                raise ShapeError(
                    f"{label.lower()}(): Expected reduction dim to be specified for input.numel() "
                    "== 0. Specify the reduction dim with the 'dim' argument."
                )
            return reduce(op_type, self, None, False, label + "1")
        d = normalize_dim(dim, self.dim())
        x: Any = self if self.dim() else self.reshape(1)  # type: ignore[attr-defined]
        x = cast(x, _UINT8) if self._value.dtype == BOOL else x
        where = apply1(arg_handle("Arg" + label, d, 1), x)
        values = apply2(quick("GatherElements", "axis", d), x, where)
        if not keepdim or not self.dim():
            axes = vector((d,))
            values, where = apply2(SQUEEZE, values, axes), apply2(SQUEEZE, where, axes)
        if values.grad_fn is not None:
            values.grad_fn.label = label
        return kind(cast(values, self._value.dtype), where)

    def max(self, dim: Any = None, keepdim: bool = False) -> Any:
        """The maximum of all, (values, indices) along `dim`, or elementwise with a tensor."""
        return self._extreme("ReduceMax", results.max, dim, keepdim)

    def min(self, dim: Any = None, keepdim: bool = False) -> Any:
        """The minimum of all, (values, indices) along `dim`, or elementwise with a tensor."""
        return self._extreme("ReduceMin", results.min, dim, keepdim)

    def _arg(self, op_type: str, dim: int | None, keepdim: bool) -> Tensor:
        x: Any = self
        if self._value.dtype == BOOL:
            raise DTypeError(f"{op_type.lower()}(): does not support bool input")
        if dim is None or not self.dim():
            x, dim = self.reshape(-1), 0  # type: ignore[attr-defined]
            keepdim = False
        d = normalize_dim(dim, x.dim())
        return apply1(arg_handle(op_type, d, int(keepdim)), x)

    def argmax(self, dim: int | None = None, keepdim: bool = False) -> Tensor:
        """The index of the (first) maximum, int64."""
        return self._arg("ArgMax", dim, keepdim)

    def argmin(self, dim: int | None = None, keepdim: bool = False) -> Tensor:
        """The index of the (first) minimum, int64."""
        return self._arg("ArgMin", dim, keepdim)

    def any(self, dim: Any = None, keepdim: bool = False) -> Tensor:
        """Whether an element is not zero: bool, of uint8 uint8."""
        found = reduce("ReduceSum", cast(cast(self, BOOL), INT64), dim, keepdim) != 0
        return cast(found, self._value.dtype) if self._value.dtype == _UINT8 else found

    def all(self, dim: Any = None, keepdim: bool = False) -> Tensor:
        """Whether no element is zero: bool, of uint8 uint8."""
        x: Any = cast(cast(self, BOOL), 6)
        every = reduce("ReduceProd", x, dim, keepdim) != 0
        return cast(every, self._value.dtype) if self._value.dtype == _UINT8 else every

    def var(
        self,
        dim: Any = None,
        unbiased: Any = None,
        keepdim: bool = False,
        *,
        correction: Any = None,
    ) -> Tensor:
        """The variance, divided by n - correction (1 unless told otherwise)."""
        if isinstance(dim, bool):
            dim, unbiased = None, dim
        x, n = _centered(self, dim, unbiased, correction)
        out = reduce("ReduceSum", x * x, dim, keepdim) / n
        if out.grad_fn is not None:
            out.grad_fn.label = "Var"
        return out

    def std(
        self,
        dim: Any = None,
        unbiased: Any = None,
        keepdim: bool = False,
        *,
        correction: Any = None,
    ) -> Tensor:
        """The standard deviation, the root of `var`."""
        if isinstance(dim, bool):
            dim, unbiased = None, dim
        x, n = _centered(self, dim, unbiased, correction)
        # The norm's gradient is 0 at 0, as that of PyTorch's std.
        out: Any = reduce("ReduceL2", x, dim, keepdim) / (
            n.tensor().to(self.dtype).sqrt() if _symbolic(n) else math.sqrt(n)
        )
        if out.grad_fn is not None:
            out.grad_fn.label = "Std"
        return out

    def logsumexp(self, dim: Any, keepdim: bool = False) -> Tensor:
        """log(sum(exp(x))), without overflow."""
        return reduce("ReduceLogSumExp", floating(self), dim, keepdim)

    def softmax(self, dim: int, dtype: dtypes.DType | None = None) -> Tensor:
        """exp(x) divided by its sum along `dim`."""
        x = self if dtype is None else cast(self, dtype.onnx)
        if not (rank := self.dim()):
            return x.reshape(1).softmax(0).reshape(())  # type: ignore[union-attr]
        return apply1(_along("Softmax", dim, rank), x)

    def log_softmax(self, dim: int, dtype: dtypes.DType | None = None) -> Tensor:
        """The logarithm of `softmax`."""
        x = self if dtype is None else cast(self, dtype.onnx)
        if not (rank := self.dim()):
            return x.reshape(1).log_softmax(0).reshape(())  # type: ignore[union-attr]
        return apply1(_along("LogSoftmax", dim, rank), x)

    def cumsum(self, dim: int, *, dtype: dtypes.DType | None = None) -> Tensor:
        """The running sum along `dim`."""
        x = _summable(self, dtype)
        if not self.dim():
            return x.clone()
        return apply2(handle("CumSum"), x, index(normalize_dim(dim, self.dim())))

    def tril(self, diagonal: int = 0) -> Tensor:
        """The lower triangle, zeros elsewhere."""
        return apply2(handle("Trilu", upper=0), self, index(diagonal))

    def triu(self, diagonal: int = 0) -> Tensor:
        """The upper triangle, zeros elsewhere."""
        return apply2(handle("Trilu", upper=1), self, index(diagonal))

    def dot(self, other: Any) -> Tensor:
        """The inner product of two vectors."""
        if self.dim() != 1 or other.dim() != 1:
            raise ShapeError(
                f"1D tensors expected, but got {self.dim()}D and {other.dim()}D tensors"
            )
        return self.matmul(other)  # type: ignore[attr-defined]

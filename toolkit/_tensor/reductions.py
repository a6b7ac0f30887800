"""Reductions, scans, sorting, and softmax."""

from __future__ import annotations

import builtins
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from toolkit import dtypes
from toolkit._tensor.base import BOOL, FLOATS, INT64, TensorBase
from toolkit._tensor.consts import index, vector
from toolkit._tensor.promote import cast, floating
from toolkit._tensor.shapes import _symbolic, normalize_dim
from toolkit._tensor.views import SQUEEZE
from toolkit.errors import DTypeError, InvalidArgumentError, ShapeError
from toolkit.ops.dispatch import apply1, apply2, apply_many, handle, quick

if TYPE_CHECKING:
    from toolkit.tensor import Tensor


class ValuesIndices(NamedTuple):
    """What `max(dim)`, `sort` and such return; prints as PyTorch's."""

    values: Any
    indices: Any

    def __repr__(self) -> str:
        name = f"toolkit.return_types.{type(self).__name__}"
        return f"{name}(\nvalues={self.values!r},\nindices={self.indices!r})"


class max(ValuesIndices):
    """Result of `max(dim)`."""


class min(ValuesIndices):
    """Result of `min(dim)`."""


class sort(ValuesIndices):
    """Result of `sort`."""


class topk(ValuesIndices):
    """Result of `topk`."""


class median(ValuesIndices):
    """Result of `median(dim)`."""


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
def arg_handle(op_type: str, axis: int, keepdims: int) -> Any:
    """ArgMax or ArgMin; the first of equal elements."""
    return handle(op_type, axis=axis, keepdims=keepdims, select_last_index=0)


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
        return reduce("ReduceMax", self, dim, keepdim, "Amax")

    def amin(self, dim: Any = None, keepdim: bool = False) -> Tensor:
        """The minimum; gradients are shared among equal minima."""
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
        where = apply1(arg_handle("Arg" + label, d, 1), x)
        values = apply2(quick("GatherElements", "axis", d), x, where)
        if not keepdim or not self.dim():
            axes = vector((d,))
            values, where = apply2(SQUEEZE, values, axes), apply2(SQUEEZE, where, axes)
        if values.grad_fn is not None:
            values.grad_fn.label = label
        return kind(values, where)

    def max(self, dim: Any = None, keepdim: bool = False) -> Any:
        """The maximum of all, (values, indices) along `dim`, or elementwise with a tensor."""
        return self._extreme("ReduceMax", max, dim, keepdim)

    def min(self, dim: Any = None, keepdim: bool = False) -> Any:
        """The minimum of all, (values, indices) along `dim`, or elementwise with a tensor."""
        return self._extreme("ReduceMin", min, dim, keepdim)

    def _arg(self, op_type: str, dim: int | None, keepdim: bool) -> Tensor:
        x: Any = self
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
        """Whether an element is not zero."""
        return cast(reduce("ReduceMax", cast(cast(self, BOOL), 6), dim, keepdim), BOOL)

    def all(self, dim: Any = None, keepdim: bool = False) -> Tensor:
        """Whether no element is zero."""
        x: Any = cast(cast(self, BOOL), 6)
        return reduce("ReduceProd", x, dim, keepdim) != 0

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
        if correction is None:
            correction = 1 if unbiased is None else int(unbiased)
        if self._value.dtype not in FLOATS:
            raise DTypeError("std and var only support floating point and complex dtypes")
        centered: Any = self - reduce("ReduceMean", self, dim, True)
        total = reduce("ReduceSum", centered * centered, dim, keepdim)
        rest = _count(self, dim) - correction
        out = total / (rest if _symbolic(rest) or rest > 0 else 0)
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
        out: Any = Reductions.var(self, dim, unbiased, keepdim, correction=correction).sqrt()
        if out.grad_fn is not None:
            out.grad_fn.label = "Std"
        return out

    def logsumexp(self, dim: Any, keepdim: bool = False) -> Tensor:
        """log(sum(exp(x))), without overflow."""
        return reduce("ReduceLogSumExp", floating(self), dim, keepdim)

    def softmax(self, dim: int, dtype: dtypes.DType | None = None) -> Tensor:
        """exp(x) divided by its sum along `dim`."""
        x = self if dtype is None else cast(self, dtype.onnx)
        if not self.dim():
            return x.reshape(1).softmax(0).reshape(())  # type: ignore[union-attr]
        return apply1(quick("Softmax", "axis", normalize_dim(dim, self.dim())), x)

    def log_softmax(self, dim: int, dtype: dtypes.DType | None = None) -> Tensor:
        """The logarithm of `softmax`."""
        x = self if dtype is None else cast(self, dtype.onnx)
        if not self.dim():
            return x.reshape(1).log_softmax(0).reshape(())  # type: ignore[union-attr]
        return apply1(quick("LogSoftmax", "axis", normalize_dim(dim, self.dim())), x)

    def cumsum(self, dim: int, *, dtype: dtypes.DType | None = None) -> Tensor:
        """The running sum along `dim`."""
        x = _summable(self, dtype)
        if not self.dim():
            return x.clone()
        return apply2(handle("CumSum"), x, index(normalize_dim(dim, self.dim())))

    def topk(self, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
        """The k largest (or smallest) elements along `dim` and their indices."""
        d = normalize_dim(dim, self.dim())
        n = self.shape[d] if self.dim() else 1
        if not _symbolic(n) and not 0 <= k <= n:
            raise InvalidArgumentError(f"selected index k out of range: at most {n}, got {k}")
        return topk(*self._top("Topk", k, d, largest))

    def _top(self, label: str, k: Any, d: int, largest: bool) -> tuple[Any, Any]:
        x: Any = self if self.dim() else self.reshape(1)  # type: ignore[attr-defined]
        count = vector((k,)) if not _symbolic(k) else k.vector()
        h = handle("TopK", axis=d, largest=int(largest), sorted=1)
        values, indices = apply_many(h, (x, count), 2)
        if values.grad_fn is not None:
            values.grad_fn.label = label
        if not self.dim():
            return values.reshape(()), indices.reshape(())
        return values, indices

    def sort(self, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
        """Elements in order along `dim`, and where they were. Equal elements keep their order."""
        d = normalize_dim(dim, self.dim())
        n = self.shape[d] if self.dim() else 1
        return sort(*self._top("Sort", n, d, descending))

    def argsort(self, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
        """The indices that sort along `dim`."""
        return self.sort(dim, descending).indices

    def median(self, dim: int | None = None, keepdim: bool = False) -> Any:
        """The (lower) median of all elements, or (values, indices) along `dim`."""
        if dim is None:
            flat: Any = self.reshape(-1)  # type: ignore[attr-defined]
            return flat.sort(0).values[(flat.shape[0] - 1) // 2]
        d = normalize_dim(dim, self.dim())
        values, indices = self.sort(d)
        at = (self.shape[d] - 1) // 2
        values, indices = values.narrow(d, at, 1), indices.narrow(d, at, 1)
        if not keepdim:
            values, indices = values.squeeze(d), indices.squeeze(d)
        return median(values, indices)

    def gather(self, dim: int, index: Any) -> Tensor:
        """Elements picked along `dim` by an index tensor of the same rank."""
        return apply2(handle("GatherElements", axis=normalize_dim(dim, self.dim())), self, index)

    def tril(self, diagonal: int = 0) -> Tensor:
        """The lower triangle, zeros elsewhere."""
        return apply2(handle("Trilu", upper=0), self, index(diagonal))

    def triu(self, diagonal: int = 0) -> Tensor:
        """The upper triangle, zeros elsewhere."""
        return apply2(handle("Trilu", upper=1), self, index(diagonal))

    def diagonal(self, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
        """The diagonal of two dimensions, as the last one (a copy)."""
        x: Any = self.movedim((dim1, dim2), (-2, -1))  # type: ignore[attr-defined]
        rows, columns = x.shape[-2:]
        n = rows + (offset if offset < 0 else 0)
        n = builtins.min(n, columns - (offset if offset > 0 else 0))
        first = (-offset * columns) if offset < 0 else offset
        places = vector(tuple(first + i * (columns + 1) for i in range(builtins.max(n, 0))))
        flat = x.reshape(*x.shape[:-2], rows * columns)
        return apply2(handle("Gather", axis=x.dim() - 2), flat, places)

    def diag(self, diagonal: int = 0) -> Tensor:
        """The diagonal of a matrix, or the matrix with a vector as its diagonal."""
        if self.dim() == 2:
            return self.diagonal(diagonal)
        from toolkit._tensor.factories import eye

        n = self.shape[0] + builtins.abs(diagonal)
        unit = eye(n, dtype=self.dtype)
        rows = unit.narrow(0, builtins.max(-diagonal, 0), self.shape[0])
        columns = unit.narrow(0, builtins.max(diagonal, 0), self.shape[0])
        return rows.t() @ (self.unsqueeze(-1) * columns)  # type: ignore[attr-defined]

    def trace(self) -> Tensor:
        """The sum of the diagonal."""
        return self.diagonal().sum()

    def dot(self, other: Any) -> Tensor:
        """The inner product of two vectors."""
        if self.dim() != 1 or other.dim() != 1:
            raise ShapeError(
                f"1D tensors expected, but got {self.dim()}D and {other.dim()}D tensors"
            )
        return self.matmul(other)  # type: ignore[attr-defined]

"""Functions that make tensors: from data, constant, counted, random, and joined."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit import dtypes
from toolkit._tensor import interchange, promote
from toolkit._tensor.base import INT64, TensorBase, wrap
from toolkit._tensor.consts import core_array, scalar
from toolkit._tensor.formats import settle
from toolkit._tensor.promote import cast, promote_codes
from toolkit._tensor.shapes import (
    _symbolic,
    as_shape,
    as_size,
    declare,
    normalize_dim,
    shape_operand,
)
from toolkit._tensor.state import STATE
from toolkit._tensor.symint import difference
from toolkit.device import device as as_device
from toolkit.errors import DTypeError, InvalidArgumentError, ShapeError
from toolkit.ops.dispatch import apply, apply2, handle, quick
from toolkit.runtime import _core

if TYPE_CHECKING:
    from toolkit.tensor import Tensor


def finish(t: Any, requires_grad: bool = False, device: Any = None) -> Any:
    if device is not None:
        as_device(device)
    return t.requires_grad_() if requires_grad else t


def code_of(dtype: dtypes.DType | None, otherwise: int | None = None) -> int:
    if dtype is None:
        return promote.default_code if otherwise is None else otherwise
    if not isinstance(dtype, dtypes.DType):
        raise DTypeError(
            f"dtype: a toolkit dtype is required, got {dtype!r}. Hint: toolkit.float32."
        )
    return dtype.onnx


def from_numpy(array: np.ndarray[Any, Any]) -> Tensor:
    """A tensor that shares the memory of a C-contiguous array (others are copied).

    Of a read-only array it shares the memory until it is written to.
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(array).__name__})")
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    dtypes.from_numpy(array.dtype)
    plain = np.ascontiguousarray(array).reshape(array.shape)
    return interchange.sharing(plain)


def from_dlpack(source: Any, /, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor that shares the memory of any object with `__dlpack__`.

    Memory that is not row-major is copied, and what is read-only is shared until it is written to.

    Args:
        source: an array of any library, on the CPU, or a capsule.
        device: "cpu".
        copy: True always copies, False never.

    Raises:
        BufferError: it lies on another device, or cannot be exported.
        InvalidArgumentError: `copy=False`, but the memory is not row-major.
    """
    as_device("cpu" if device is None else device)
    return interchange.imported(source, copy)


def _data_array(data: Any) -> np.ndarray[Any, Any]:
    if isinstance(data, (list, tuple)) and _holds_tensor(data):
        data = _to_lists(data)
    try:
        array = np.asarray(data)
    except ValueError as e:
        raise ShapeError(
            f"tensor: nested sequences of equal length are required, got {e}."
        ) from None
    if array.dtype == object or array.dtype.kind in "USOM":
        raise DTypeError(
            f"tensor: numbers are required, got {type(data).__name__} of {array.dtype}."
        )
    return array


def _holds_tensor(data: Any) -> bool:
    while isinstance(data, (list, tuple)) and data:
        data = data[0]
    return isinstance(data, TensorBase)


def _to_lists(data: Any) -> Any:
    if isinstance(data, TensorBase):
        return data.tolist()  # type: ignore[attr-defined]
    if isinstance(data, (list, tuple)):
        return [_to_lists(d) for d in data]
    return data


def _is_python(data: Any) -> bool:
    while isinstance(data, (list, tuple)):
        if not data:
            return True
        data = data[0]
    return isinstance(data, (bool, int, float)) and not isinstance(data, np.generic)


def tensor(
    data: Any, *, dtype: dtypes.DType | None = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """A copy of numbers, nested lists, an array or a tensor.

    Python floats become the default float type, ints int64.

    Raises:
        ShapeError: nested lists of unequal length.
        DTypeError: not numbers.
    """
    if isinstance(data, TensorBase):
        out: Any = data.detach().clone()  # type: ignore[attr-defined]
        return finish(out if dtype is None else out.to(dtype), requires_grad, device)
    array = _data_array(data)
    if dtype is not None:
        array = array.astype(dtype.numpy)
    elif array.dtype.kind == "f" and (_is_python(data) or _holds_tensor(data)):
        array = array.astype(dtypes.BY_ONNX[promote.default_code].numpy)
    dtypes.from_numpy(array.dtype)
    copy = np.array(array, order="C", copy=True)
    return finish(wrap(core_array(copy)), requires_grad, device)


def as_tensor(data: Any, dtype: dtypes.DType | None = None, device: Any = None) -> Tensor:
    """Like `tensor`, but shares memory with a tensor or array where it can."""
    if isinstance(data, TensorBase):
        return data if dtype is None else cast(data, dtype.onnx)  # type: ignore[return-value]
    if isinstance(data, np.ndarray) and (dtype is None or data.dtype == dtype.numpy):
        return from_numpy(data)
    if not isinstance(data, (np.ndarray, np.generic)) and hasattr(data, "__dlpack__"):
        t = from_dlpack(data)
        return t if dtype is None else cast(t, dtype.onnx)
    return tensor(data, dtype=dtype, device=device)


def full(
    size: Any, fill_value: Any, *, dtype: dtypes.DType | None = None, device: Any = None,
    requires_grad: bool = False, **options: Any,
) -> Tensor:  # fmt: skip
    """A tensor of one value everywhere."""
    if options:
        return settle(full(size, fill_value, dtype=dtype, requires_grad=requires_grad), options)
    if isinstance(fill_value, TensorBase):
        fill_value = fill_value.item()  # type: ignore[attr-defined]
    code = code_of(dtype, promote.scalar_code(fill_value))
    shape = as_shape((size,))
    if any(_symbolic(d) for d in shape):
        return declare(
            apply2(handle("Expand"), scalar(fill_value, code), shape_operand(shape)), shape
        )
    if any(d < 0 for d in shape):
        raise ShapeError(
            f"Trying to create tensor with negative dimension {min(shape)}: {list(shape)}"
        )
    if fill_value == 0:
        array = np.zeros(shape, dtypes.BY_ONNX[code].numpy)
    else:
        array = np.full(shape, fill_value, dtypes.BY_ONNX[code].numpy)
    return finish(wrap(core_array(array)), requires_grad, device)


def _constant(value: int, size: Any, dtype: Any, device: Any, grad: bool) -> Any:
    """Zeros or ones; of a plain shape by numpy at once."""
    shape, code = as_shape(size), code_of(dtype)
    kind = dtypes.BY_ONNX[code]
    if code == 16 or STATE.trace is not None or min(shape, default=0) < 0:
        return full(shape, value, dtype=kind, device=device, requires_grad=grad)
    if value:
        t = wrap(_core.Tensor.from_array(np.ones(shape, kind.numpy), code))
    else:
        t = wrap(_core.Tensor.zeros(code, shape))
    return finish(t, grad, device) if grad or device is not None else t


def zeros(
    *size: Any, dtype: dtypes.DType | None = None, device: Any = None, requires_grad: bool = False,
    **options: Any,
) -> Tensor:  # fmt: skip
    """Zeros."""
    made = _constant(0, size, dtype, device, requires_grad)
    return settle(made, options) if options else made


def ones(
    *size: Any, dtype: dtypes.DType | None = None, device: Any = None, requires_grad: bool = False,
    **options: Any,
) -> Tensor:  # fmt: skip
    """Ones."""
    made = _constant(1, size, dtype, device, requires_grad)
    return settle(made, options) if options else made


def empty(
    *size: Any, dtype: dtypes.DType | None = None, device: Any = None, requires_grad: bool = False,
    **options: Any,
) -> Tensor:  # fmt: skip
    """Memory of undefined content."""
    if options:
        return settle(empty(*size, dtype=dtype, requires_grad=requires_grad), options)
    shape = as_shape(size)
    if any(_symbolic(d) for d in shape):
        return zeros(shape, dtype=dtype)
    return finish(wrap(_core.Tensor.empty(code_of(dtype), list(shape))), requires_grad, device)


def like(make: Any) -> Any:
    def factory(
        input: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False,
        generator: Any = None, **options: Any,
    ) -> Any:  # fmt: skip
        drawn = {} if generator is None else {"generator": generator}
        made = make(
            input.shape, dtype=dtype or input.dtype, device=device, requires_grad=requires_grad,
            **drawn,
        )  # fmt: skip
        return settle(made, options) if options else made

    factory.__doc__ = f"`{make.__name__}` of the shape and element type of another tensor."
    factory.__name__ = factory.__qualname__ = make.__name__ + "_like"
    return factory


def full_like(
    input: Any,
    fill_value: Any,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    **options: Any,
) -> Tensor:
    """`full` of the shape and element type of another tensor."""
    kind = dtype or input.dtype
    return full(input.shape, fill_value, dtype=kind, requires_grad=requires_grad, **options)


def arange(
    start: Any, end: Any = None, step: Any = 1, *, dtype: dtypes.DType | None = None,
    device: Any = None, requires_grad: bool = False, **options: Any,
) -> Tensor:  # fmt: skip
    """Numbers from `start` up to (not including) `end`.

    Raises:
        InvalidArgumentError: step is 0 or leads away from `end`.
    """
    if options:
        made = arange(start, end, step, dtype=dtype, requires_grad=requires_grad)
        return settle(made, options)
    if end is None:
        start, end = 0, start
    start, end, step = (
        as_size(v) if isinstance(v, TensorBase) and v.dtype.name[0] in "iu" else v
        for v in (start, end, step)
    )
    if any(_symbolic(v) for v in (start, end, step)):
        code = code_of(dtype, INT64)
        bounds = [v.tensor() if _symbolic(v) else scalar(v, INT64) for v in (start, end, step)]
        return declare(
            cast(apply(handle("Range"), *bounds), code),
            (difference(end, start) if step == 1 else None,),
        )
    if step == 0:
        raise InvalidArgumentError("step must be nonzero")
    if (end - start) / step < 0:
        raise InvalidArgumentError(
            "upper bound and lower bound inconsistent with step sign: "
            f"start {start}, end {end}, step {step}."
        )
    whole = all(isinstance(v, (int, np.integer)) for v in (start, end, step))
    code = code_of(dtype, INT64 if whole else None)
    array = np.arange(start, end, step).astype(dtypes.BY_ONNX[code].numpy)
    return finish(wrap(core_array(array)), requires_grad, device)


def linspace(
    start: float, end: float, steps: int, *, dtype: dtypes.DType | None = None, device: Any = None,
    requires_grad: bool = False, **options: Any,
) -> Tensor:  # fmt: skip
    """`steps` numbers from `start` to `end`, both included."""
    array = np.linspace(start, end, steps).astype(dtypes.BY_ONNX[code_of(dtype)].numpy)
    return settle(finish(wrap(core_array(array)), requires_grad, device), options)


def logspace(
    start: float, end: float, steps: int, base: float = 10.0, *, dtype: Any = None,
    device: Any = None, requires_grad: bool = False, **options: Any,
) -> Tensor:  # fmt: skip
    """`steps` numbers from base^start to base^end."""
    array = np.logspace(start, end, steps, base=base).astype(dtypes.BY_ONNX[code_of(dtype)].numpy)
    return settle(finish(wrap(core_array(array)), requires_grad, device), options)


def eye(
    n: int, m: int | None = None, *, dtype: dtypes.DType | None = None, device: Any = None,
    requires_grad: bool = False, **options: Any,
) -> Tensor:  # fmt: skip
    """Ones on the diagonal, zeros elsewhere."""
    array = np.eye(n, m, dtype=dtypes.BY_ONNX[code_of(dtype)].numpy)
    return settle(finish(wrap(core_array(array)), requires_grad, device), options)


def _alike(parts: list[Any]) -> tuple[int, int] | None:
    """Element type and rank, if those are equal and nothing is empty or 0-dim; else None."""
    found = None
    for t in parts:
        if not isinstance(t, TensorBase):
            return None
        shape = t._value.shape
        key = (t._value.dtype, len(shape))
        if not shape or 0 in shape or (found is not None and key != found):
            return None
        found = key
    return found


@lru_cache(maxsize=256)
def _concat(dim: int, rank: int) -> Any:
    return quick("Concat", "axis", normalize_dim(dim, rank))


def cat(tensors: Any, dim: int = 0, *, out: Any = None) -> Tensor:
    """Joins tensors along a dimension.

    Raises:
        ShapeError: the other dimensions differ.
    """
    if out is not None:
        return settle(cat(tensors, dim), {"out": out})
    parts = list(tensors)
    if STATE.trace is None and (alike := _alike(parts)):
        return apply(_concat(dim, alike[1]), *parts)
    if not parts:
        raise InvalidArgumentError("cat(): expected a non-empty list of Tensors")
    for t in parts:
        if not isinstance(t, TensorBase):
            raise TypeError(f"cat: tensors are required, got {type(t).__name__}.")
        if t.dim() == 0:
            raise ShapeError("zero-dimensional tensor cannot be concatenated")
    rank = max(t.dim() for t in parts)
    if rank > 1:  # PyTorch skips empty vectors among others.
        parts = [t for t in parts if t.dim() > 1 or t.shape[0] != 0]
    code = parts[0]._value.dtype
    for t in parts[1:]:
        code = promote_codes(code, t._value.dtype)
    return apply(quick("Concat", "axis", normalize_dim(dim, rank)), *[cast(t, code) for t in parts])


concat = concatenate = cat


def _rows(parts: list[Any]) -> list[Any] | None:
    """The values of plain tensors alike and outside the tape."""
    values = []
    for t in parts:
        if not isinstance(t, TensorBase) or t._node is not None:
            return None
        if t._base is not None:
            t._sync()
        values.append(t._value)
    code, shape = values[0].dtype, values[0].shape
    for v in values[1:]:
        if v.dtype != code or v.shape != shape:
            return None
    return values


def _stacked(parts: list[Any]) -> Any:
    """The values joined, of tensors alike and outside the tape; else None."""
    values = [t._get() for t in parts if isinstance(t, TensorBase) and t._node is None]
    return _core.Tensor.stack(values) if len(values) == len(parts) else None


def stack(tensors: Any, dim: int = 0, *, out: Any = None) -> Tensor:
    """Joins tensors of equal shape along a new dimension."""
    if out is not None:
        return settle(stack(tensors, dim), {"out": out})
    parts = list(tensors)
    if not parts:
        raise InvalidArgumentError("stack expects a non-empty TensorList")
    if dim == 0 and STATE.trace is None and (value := _stacked(parts)) is not None:
        return wrap(value)
    if STATE.trace is None and (rows := _rows(parts)):
        shape = rows[0].shape
        if not dim and shape:
            return wrap(_concat(0, len(shape)).op(*rows).reshaped((len(rows), *shape)))
        d = normalize_dim(dim, len(shape), 1) if shape else normalize_dim(dim, 1)
        new = (*shape[:d], 1, *shape[d:])
        return wrap(quick("Concat", "axis", d).op(*[v.reshaped(new) for v in rows]))
    first = parts[0].shape
    for i, t in enumerate(parts):
        if t.shape != first:
            raise ShapeError(
                f"stack expects each tensor to be equal size, but got {list(first)} at entry 0 "
                f"and {list(t.shape)} at entry {i}"
            )
    d = normalize_dim(dim, len(first), 1) if first else normalize_dim(dim, 1)
    return cat([t.unsqueeze(d) for t in parts], d)


zeros_like, ones_like, empty_like = like(zeros), like(ones), like(empty)

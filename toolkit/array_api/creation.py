"""Functions that make arrays."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np

import toolkit._tensor.factories as factories
from toolkit import dtypes
from toolkit._tensor.base import TensorBase
from toolkit._tensor.joins import meshgrid as _meshgrid
from toolkit._tensor.promote import cast
from toolkit.array_api.common import array, check_device, default_float
from toolkit.errors import DTypeError, InvalidArgumentError


def asarray(
    obj: Any, /, *, dtype: Any = None, device: Any = None, copy: builtins.bool | None = None
) -> Any:
    """Numbers, nested sequences, buffers and arrays of any library as a Tensor.

    Args:
        obj: a number, a sequence of numbers, a Tensor, or what has `__dlpack__` or the buffer
            protocol.
        dtype: the element type; inferred without.
        device: "cpu".
        copy: True always copies, False never; None where it must.

    Raises:
        InvalidArgumentError: `copy=False`, but a copy is needed.
        OverflowError: an integer that int64 cannot hold.
    """
    check_device(device)
    if isinstance(obj, TensorBase):
        found: Any = obj
    elif isinstance(obj, (memoryview, bytes, bytearray, np.ndarray, np.generic)):
        found = factories.from_numpy(np.asarray(obj)) if copy is not True else _copied(obj)
    elif hasattr(obj, "__dlpack__"):
        found = factories.from_dlpack(obj)
    elif copy is False:
        raise InvalidArgumentError(
            "asarray: a copy is required for Python objects, got copy=False."
        )
    else:
        return _from_python(obj, dtype)
    out = found if dtype is None else cast(found, factories.code_of(dtype))
    if copy is False and out is not found:
        raise InvalidArgumentError(
            f"asarray: a copy is required from {found.dtype.name} to {dtype.name}, got copy=False."
        )
    return out.clone() if copy and out is obj else out


def _copied(obj: Any) -> Any:
    return factories.tensor(np.array(obj))


def _from_python(obj: Any, dtype: Any) -> Any:
    try:
        return factories.tensor(obj, dtype=dtype)
    except DTypeError:
        if not isinstance(obj, int):
            raise
        raise OverflowError(f"asarray: an int64 is required, got {obj}.") from None


def from_dlpack(x: Any, /, *, device: Any = None, copy: builtins.bool | None = None) -> Any:
    """A Tensor of another library's array; see `toolkit.from_dlpack`."""
    return factories.from_dlpack(x, device=device, copy=copy)


def _shape(shape: Any) -> tuple[Any, ...]:
    return tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)


def empty(shape: Any, *, dtype: Any = None, device: Any = None) -> Any:
    """Memory of undefined content."""
    return factories.empty(_shape(shape), dtype=dtype, device=device)


def zeros(shape: Any, *, dtype: Any = None, device: Any = None) -> Any:
    """Zeros."""
    return factories.zeros(_shape(shape), dtype=dtype, device=device)


def ones(shape: Any, *, dtype: Any = None, device: Any = None) -> Any:
    """Ones."""
    return factories.ones(_shape(shape), dtype=dtype, device=device)


def full(shape: Any, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Any:
    """One value everywhere; its own type decides the element type."""
    return factories.full(_shape(shape), fill_value, dtype=dtype, device=device)


def empty_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> Any:
    """Memory of undefined content, of the shape and type of another array."""
    return factories.empty_like(array("empty_like", x), dtype=dtype, device=device)


def zeros_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> Any:
    """Zeros of the shape and type of another array."""
    return factories.zeros_like(array("zeros_like", x), dtype=dtype, device=device)


def ones_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> Any:
    """Ones of the shape and type of another array."""
    return factories.ones_like(array("ones_like", x), dtype=dtype, device=device)


def full_like(x: Any, /, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Any:
    """One value, of the shape and type of another array."""
    return factories.full_like(array("full_like", x), fill_value, dtype=dtype, device=device)


def arange(
    start: Any, /, stop: Any = None, step: Any = 1, *, dtype: Any = None, device: Any = None
) -> Any:
    """Numbers from `start` up to (not including) `stop`; none where `step` leads away from it."""
    if stop is None:
        start, stop = 0, start
    if dtype is None and any(isinstance(v, float) for v in (start, stop, step)):
        dtype = default_float()
    if step != 0 and (stop - start) / step < 0:
        stop = start
    return factories.arange(start, stop, step, dtype=dtype, device=device)


def linspace(
    start: Any, stop: Any, /, num: int, *, dtype: Any = None, device: Any = None,
    endpoint: builtins.bool = True,
) -> Any:  # fmt: skip
    """`num` numbers from `start` to `stop`, which is the last one unless told otherwise."""
    steps = num if endpoint else num + 1
    out = factories.linspace(start, stop, steps, dtype=dtype, device=device)
    return out if endpoint else out[:num]


def eye(
    n_rows: int, n_cols: int | None = None, /, *, k: int = 0, dtype: Any = None, device: Any = None
) -> Any:
    """Ones on the k-th diagonal, zeros elsewhere."""
    check_device(device)
    kind = dtypes.BY_ONNX[factories.code_of(dtype)].numpy
    return factories.from_numpy(np.eye(n_rows, n_cols, k, dtype=kind))


def meshgrid(*arrays: Any, indexing: str = "xy") -> list[Any]:
    """Coordinate grids of vectors."""
    return list(_meshgrid(*arrays, indexing=indexing))


def tril(x: Any, /, *, k: int = 0) -> Any:
    """The lower triangles of matrices, zeros elsewhere."""
    return array("tril", x).tril(k)


def triu(x: Any, /, *, k: int = 0) -> Any:
    """The upper triangles of matrices, zeros elsewhere."""
    return array("triu", x).triu(k)

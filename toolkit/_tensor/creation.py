"""More functions that make tensors: from buffers, counted, triangles, random counts."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit import dtypes, random
from toolkit._tensor import promote
from toolkit._tensor.base import INT64, TensorBase, wrap
from toolkit._tensor.consts import core_array
from toolkit._tensor.draws import randint
from toolkit._tensor.elementwise import where
from toolkit._tensor.factories import as_tensor, code_of, empty, finish, from_numpy, stack, tensor
from toolkit._tensor.promote import cast
from toolkit.errors import InvalidArgumentError

if TYPE_CHECKING:
    from toolkit.tensor import Tensor


def _made(array: Any, code: int, requires_grad: bool = False, device: Any = None) -> Any:
    kind = dtypes.BY_ONNX[code].numpy
    return finish(wrap(core_array(np.ascontiguousarray(array.astype(kind)))), requires_grad, device)


def asarray(
    obj: Any, *, dtype: Any = None, device: Any = None, copy: bool | None = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """A tensor of anything that holds numbers, sharing its memory unless `copy`.

    Raises:
        InvalidArgumentError: `copy=False`, and the memory cannot be shared.
    """
    if copy:
        return tensor(obj, dtype=dtype, device=device, requires_grad=requires_grad)
    if isinstance(obj, (bytes, bytearray, memoryview)):
        out: Any = frombuffer(obj, dtype=dtype or dtypes.BY_ONNX[promote.default_code])
    else:
        out = as_tensor(obj, dtype=dtype)
    shares = isinstance(obj, (np.ndarray, TensorBase, bytes, bytearray, memoryview)) or hasattr(
        obj, "__dlpack__"
    )
    if copy is False and (not shares or (isinstance(obj, TensorBase) and out is not obj)):
        raise InvalidArgumentError(
            "asarray: memory that can be shared is required with copy=False, got "
            f"{type(obj).__name__}."
        )
    if out is obj and (requires_grad or obj.requires_grad):
        out = out.detach()
    return finish(out, requires_grad, device)


def scalar_tensor(
    s: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """A number as a 0-dim tensor, of the default float type."""
    made = tensor(s, dtype=dtypes.BY_ONNX[code_of(dtype)])
    return finish(made, requires_grad, device)


def frombuffer(
    buffer: Any, *, dtype: Any, count: int = -1, offset: int = 0, requires_grad: bool = False
) -> Tensor:
    """A vector over the memory of bytes, a bytearray or any buffer.

    Raises:
        InvalidArgumentError: the buffer is too short.
    """
    kind = dtypes.BY_ONNX[code_of(dtype)].numpy
    size = memoryview(buffer).nbytes
    if size == 0 or count == 0:
        raise InvalidArgumentError(f"both buffer length ({size}) and count ({count}) must not be 0")
    if not 0 <= offset < size:
        raise InvalidArgumentError(
            f"offset ({offset} bytes) must be non-negative and no greater than buffer length "
            f"({size} bytes) minus 1"
        )
    room = size - offset
    if count < 0 and room % kind.itemsize:
        raise InvalidArgumentError(
            f"buffer length ({room} bytes) after offset ({offset} bytes) must be a multiple of "
            f"element size ({kind.itemsize})"
        )
    if count > room // kind.itemsize:
        raise InvalidArgumentError(
            f"requested buffer length ({count} * {kind.itemsize} bytes) after offset ({offset} "
            f"bytes) must not be greater than actual buffer length ({size} bytes)"
        )
    array = np.frombuffer(buffer, kind, count, offset)
    if array.ctypes.data % kind.itemsize or not array.flags.writeable:
        array = array.copy()  # Ours may be written to, and kernels read whole words.
    return finish(from_numpy(array), requires_grad)


def from_file(
    filename: Any, shared: bool | None = False, size: int | None = 0, *, dtype: Any = None,
    device: Any = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """A vector of `size` elements of a raw file, mapped; writes reach the file if `shared`.

    Raises:
        InvalidArgumentError: the file is too short.
    """
    kind = dtypes.BY_ONNX[code_of(dtype)].numpy
    if not os.path.isfile(filename):
        raise InvalidArgumentError(f"from_file: a file is required, got '{filename}'.")
    need, have = (size or 0) * kind.itemsize, os.path.getsize(filename)
    if need > have:
        raise InvalidArgumentError(
            f"from_file: a file of at least {need} bytes is required, got {have} bytes in "
            f"'{filename}'."
        )
    if not size:
        return empty(0, dtype=dtypes.BY_ONNX[code_of(dtype)])
    array = np.memmap(filename, kind, "r+" if shared else "c", shape=(size,))
    return finish(from_numpy(np.asarray(array)), requires_grad, device)


def range_(
    start: float = 0, end: Any = None, step: float = 1, *, dtype: Any = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Numbers from `start` to `end`, which is included (deprecated in PyTorch: use `arange`)."""
    if end is None:
        start, end = 0, start
    if step == 0 or (end - start) / step < 0:
        raise InvalidArgumentError(
            "range: a step that leads from start to end is required, got start "
            f"{start}, end {end}, step {step}."
        )
    count = math.floor((end - start) / step) + 1
    return _made(start + step * np.arange(count), code_of(dtype), requires_grad, device)


def _triangle(find: Any, row: int, col: int, offset: int, dtype: Any, device: Any) -> Tensor:
    if row < 0 or col < 0:
        raise InvalidArgumentError(f"row and col must be non-negative, got {row} and {col}")
    array = np.stack(find(row, offset, col)).reshape(2, -1)
    return _made(array, code_of(dtype, INT64), False, device)


def tril_indices(
    row: int,
    col: int,
    offset: int = 0,
    *,
    dtype: Any = None,
    device: Any = None,
    layout: Any = None,
) -> Tensor:
    """Rows and columns of the elements on and below a diagonal, as (2, count)."""
    return _triangle(np.tril_indices, row, col, offset, dtype, device)


def triu_indices(
    row: int,
    col: int,
    offset: int = 0,
    *,
    dtype: Any = None,
    device: Any = None,
    layout: Any = None,
) -> Tensor:
    """Rows and columns of the elements on and above a diagonal, as (2, count)."""
    return _triangle(np.triu_indices, row, col, offset, dtype, device)


def vander(x: Any, N: int | None = None, *, increasing: bool = False) -> Tensor:
    """Powers of a vector's elements, as columns; the highest first unless `increasing`.

    Raises:
        InvalidArgumentError: not a vector, or N is negative.
    """
    if x.dim() != 1:
        raise InvalidArgumentError("x must be a one-dimensional tensor.")
    n = x.shape[0] if N is None else N
    if n < 0:
        raise InvalidArgumentError("N must be non-negative.")
    if n == 0:
        return x.new_empty((x.shape[0], 0))
    x = cast(x, INT64) if x._value.dtype not in (1, 10, 11, 16) else x
    columns = [x * 0 + 1]
    for _ in range(n - 1):
        columns.append(columns[-1] * x)
    return stack(columns if increasing else columns[::-1], -1)


def empty_permuted(
    size: Any, physical_layout: Any, *, dtype: Any = None, device: Any = None,
    requires_grad: bool = False, layout: Any = None, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """Undefined content; a view whose dimensions lie in memory in the order `physical_layout`."""
    order = tuple(physical_layout)
    if sorted(order) != list(range(len(size))):
        raise InvalidArgumentError(
            f"empty_permuted: a permutation of {len(size)} dimensions is required, got {order}."
        )
    made: Any = empty([size[d] for d in order], dtype=dtype)
    made = made.permute(*(order.index(d) for d in range(len(size))))
    return finish(made, requires_grad, device)


def empty_strided(
    size: Any, stride: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False,
    layout: Any = None, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """Undefined content with the strides of a permuted dense tensor.

    Raises:
        InvalidArgumentError: other strides (overlapping, or with gaps).
    """
    order = sorted(range(len(size)), key=lambda d: (-stride[d], -size[d]))
    expected = 1
    for d in reversed(order):
        if size[d] != 1 and stride[d] != expected and 0 not in size:
            raise InvalidArgumentError(
                "empty_strided: strides without gaps or overlaps are required, got "
                f"{tuple(stride)} for {tuple(size)}."
            )
        expected *= size[d]
    return empty_permuted(size, order, dtype=dtype, device=device, requires_grad=requires_grad)


def randint_like(
    input: Any, low: Any, high: Any = None, *, dtype: Any = None, device: Any = None,
    requires_grad: bool = False, layout: Any = None, memory_format: Any = None,
    generator: Any = None,
) -> Tensor:  # fmt: skip
    """`randint` of the shape and element type of another tensor."""
    if high is None:
        low, high = 0, low
    return randint(low, high, tuple(input.shape), dtype=dtype or input.dtype,
                   device=device, requires_grad=requires_grad, generator=generator)  # fmt: skip


def binomial(count: Any, prob: Any, generator: Any = None) -> Tensor:
    """How many of `count` trials of probability `prob` succeed.

    The sum of single trials; under a trace the counts have to be known.
    """
    most = int(count._concrete("binomial").numpy().max(initial=0))
    shape = np.broadcast_shapes(tuple(count.shape), tuple(prob.shape))
    u: Any = random.uniform((most, *shape), prob._value.dtype, generator)
    trials: Any = tensor(np.arange(most)).reshape(most, *(1,) * len(shape))
    return cast((u < prob) & (trials < count), prob._value.dtype).sum(0)


def poisson(input: Any, generator: Any = None) -> Tensor:
    """Counts of a Poisson distribution whose rates are the elements.

    How many exponential waiting times fit into a rate's time; rates above 30 by the rounded normal
    distribution of their square root (Anscombe 1948), under a trace all of them.
    """
    code, shape = input._value.dtype, tuple(input.shape)
    small = input < 30
    waits: Any = random.uniform((80, *shape), code, generator)
    times = (-(1 - waits).log()).cumsum(0)
    counted = cast(times < where(small, input, 0.0), code).sum(0)
    z: Any = random.normal(shape, code, generator)
    root = (where(small, 30.0, input) - 0.25).sqrt() + z * 0.5
    large = (root * root - 0.125).round().clamp(min=0)
    return where(small, counted, large)


def typename(obj: Any) -> str:
    """The name of a tensor's typed class, or of an object's class."""
    from toolkit._tensor.legacy import type_name

    if isinstance(obj, TensorBase):
        return type_name(obj.dtype)
    kind = obj if isinstance(obj, type) else type(obj)
    return f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")


FUNCTIONS: dict[str, Any] = {
    "asarray": asarray, "scalar_tensor": scalar_tensor, "frombuffer": frombuffer,
    "from_file": from_file, "range": range_, "tril_indices": tril_indices,
    "triu_indices": triu_indices, "vander": vander, "empty_permuted": empty_permuted,
    "empty_strided": empty_strided, "randint_like": randint_like, "binomial": binomial,
    "poisson": poisson, "typename": typename,
}  # fmt: skip

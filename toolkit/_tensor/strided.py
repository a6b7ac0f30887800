"""Views with strides of their own: diagonals, windows, any strides, other element types.

A write goes to the places that the view of 0, 1, 2, ... names.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from toolkit._tensor.base import wrap
from toolkit._tensor.consts import vector
from toolkit._tensor.parts import count_up
from toolkit._tensor.shapes import _symbolic, declare, dims, shape_operand
from toolkit._tensor.slices import slice_of
from toolkit._tensor.symint import sym_max, sym_min
from toolkit._tensor.views import IDENTITY, RESHAPE, View
from toolkit.errors import InvalidArgumentError
from toolkit.ops.dispatch import apply, apply1, apply2, handle

_WORDS = {1: 2, 2: 4, 4: 12, 8: 13}  # Unsigned types by their bytes.


class Placed(View):
    """A view whose elements are picked by their places."""

    __slots__ = ()

    def put(self, base: Any, value: Any) -> Any:
        shape = base.shape
        places = self.compute(apply2(RESHAPE, count_up(shape.numel()), shape_operand(shape)))
        flat = vector((-1,))
        parts = (apply2(RESHAPE, t, flat) for t in (base, places, value))
        out = apply(handle("ScatterElements", axis=0), *parts)
        return apply2(RESHAPE, out, shape_operand(shape))


class Diagonal(Placed):
    """The diagonal of two axes, as the last one."""

    __slots__ = ("first", "offset", "second")

    def __init__(self, offset: int, first: int, second: int) -> None:
        super().__init__("Diagonal")
        self.offset, self.first, self.second = offset, first, second

    def _size(self, shape: Any) -> Any:
        rows, columns = shape[self.first], shape[self.second]
        n = sym_min(rows + min(self.offset, 0), columns - max(self.offset, 0))
        return sym_max(n, 0)

    def compute(self, base: Any) -> Any:
        shape = dims(base)
        rest = [i for i in range(len(shape)) if i not in (self.first, self.second)]
        order = (*rest, self.first, self.second)
        x = base
        if order != tuple(range(len(shape))):
            x = apply1(handle("Transpose", perm=order), base)
        lead, columns = [shape[i] for i in rest], shape[self.second]
        x = apply2(RESHAPE, x, shape_operand((*lead, -1) if 0 not in lead else (
            *lead, shape[self.first] * columns)))  # fmt: skip
        step, n = columns + 1, self._size(shape)
        start = columns * -self.offset if self.offset < 0 else self.offset
        out = slice_of(x, (len(rest),), (start,), (start + step * n,), (step,))
        return declare(out, (*lead, n))

    def array(self, base: Any) -> Any:
        n = self._size(base.shape)
        order = [i for i in range(base.ndim) if i not in (self.first, self.second)]
        a, b = base.strides[self.first], base.strides[self.second]
        corner = np.moveaxis(base, (self.first, self.second), (-2, -1))
        corner = corner[..., max(-self.offset, 0) :, max(self.offset, 0) :]
        return np.lib.stride_tricks.as_strided(
            corner, (*(base.shape[i] for i in order), n), (*(base.strides[i] for i in order), a + b)
        )

    def strides(self, base: Any) -> tuple[int, ...] | None:
        strides = base.stride()
        rest = [s for i, s in enumerate(strides) if i not in (self.first, self.second)]
        return (*rest, strides[self.first] + strides[self.second])

    def start(self, base: Any) -> int:
        if not self._size(base.shape):
            return 0
        axis = self.first if self.offset < 0 else self.second
        return int(abs(self.offset) * base.stride(axis))


class Unfolded(Placed):
    """Windows of an axis; the places in a window are the last axis."""

    __slots__ = ("axis", "size", "step")

    def __init__(self, axis: int, size: int, step: int) -> None:
        super().__init__("Unfold")
        self.axis, self.size, self.step = axis, size, step

    def compute(self, base: Any) -> Any:
        shape, d = dims(base), self.axis
        count = (shape[d] - self.size) // self.step + 1
        column, row = vector((-1, 1)), vector((1, -1))
        begins = apply2(RESHAPE, count_up(count), column) * self.step
        places = begins + apply2(RESHAPE, count_up(self.size), row)
        out = apply2(handle("Gather", axis=d), base, places)
        rank = len(shape) + 1
        if d + 1 != rank - 1:
            order = (*range(d + 1), *range(d + 2, rank), d + 1)
            out = apply1(handle("Transpose", perm=order), out)
        return declare(out, (*shape[:d], count, *shape[d + 1 :], self.size))

    def array(self, base: Any) -> Any:
        d = self.axis
        count = (base.shape[d] - self.size) // self.step + 1
        shape, strides = list(base.shape), list(base.strides)
        shape[d] = count
        strides[d] *= self.step
        return np.lib.stride_tricks.as_strided(
            base, (*shape, self.size), (*strides, base.strides[d])
        )

    def strides(self, base: Any) -> tuple[int, ...] | None:
        strides = list(base.stride())
        last = strides[self.axis]
        strides[self.axis] *= self.step
        return (*strides, last)


class Strided(Placed):
    """Any sizes and strides over the elements of a row-major tensor."""

    __slots__ = ("shape", "steps", "where")

    def __init__(self, shape: tuple[int, ...], steps: tuple[int, ...], where: int) -> None:
        super().__init__("AsStrided")
        self.shape, self.steps, self.where = shape, steps, where

    def compute(self, base: Any) -> Any:
        places = np.full(self.shape, self.where, np.int64)
        for i, (n, s) in enumerate(zip(self.shape, self.steps, strict=True)):
            places += (np.arange(n) * s).reshape((-1,) + (1,) * (len(self.shape) - i - 1))
        flat = apply2(RESHAPE, base, vector((-1,)))
        index = apply2(RESHAPE, vector(tuple(places.ravel().tolist())), vector(self.shape))
        return apply2(handle("Gather", axis=0), flat, index)

    def array(self, base: Any) -> Any:
        flat = base.reshape(-1)[self.where :]
        strides = [s * base.itemsize for s in self.steps]
        return np.lib.stride_tricks.as_strided(flat, self.shape, strides)

    def strides(self, base: Any) -> tuple[int, ...] | None:
        return self.steps

    def start(self, base: Any) -> int:
        return self.where


class Reinterpreted(View):
    """The same bytes as another element type; the last axis grows or shrinks with its size."""

    __slots__ = ("code", "own", "sizes")

    def __init__(self, own: int, code: int, sizes: tuple[int, int]) -> None:
        super().__init__("View")
        self.own, self.code, self.sizes = own, code, sizes

    def compute(self, base: Any) -> Any:
        return reinterpret(base, self.own, self.code, self.sizes)

    def put(self, base: Any, value: Any) -> Any:
        return reinterpret(value, self.code, self.own, self.sizes[::-1])

    def array(self, base: Any) -> Any:
        from toolkit import dtypes

        return base.view(dtypes.BY_ONNX[self.code].numpy)


def _bits(x: Any, to: int) -> Any:
    return x if x._value.dtype == to else apply1(handle("BitCast", to=to), x)


def reinterpret(x: Any, own: int, code: int, sizes: tuple[int, int]) -> Any:
    """Bytes of `own` elements as `code` elements; `sizes` are theirs, in bytes, low ones first."""
    a, b = sizes
    if a == b:
        out = _bits(x, code) if own != code else apply1(IDENTITY, x)
        return _plain(out)
    word = _WORDS[max(a, b)]
    ratio = max(a, b) // min(a, b)
    shifts = apply1(handle("Cast", to=word), vector(tuple(8 * min(a, b) * k for k in range(ratio))))
    if a > b:
        wide = _bits(x, word).unsqueeze(-1)
        parts = apply2(handle("BitShift", direction="RIGHT"), wide, shifts)
        parts = apply1(handle("Cast", to=_WORDS[b]), _masked(parts, word, b))
        return _plain(_bits(parts, code).flatten(-2))
    shape = (*x.shape[:-1], x.shape[-1] // ratio, ratio)
    parts = apply1(handle("Cast", to=word), _bits(x, _WORDS[a]).reshape(*shape))
    parts = apply2(handle("BitShift", direction="LEFT"), parts, shifts)
    total = parts.select(-1, 0)
    for k in range(1, ratio):
        total = apply2(handle("BitwiseOr"), total, parts.select(-1, k))
    return _plain(_bits(total, code))


def _masked(x: Any, word: int, size: int) -> Any:
    from toolkit._tensor.consts import scalar

    return apply2(handle("BitwiseAnd"), x, scalar(2 ** (8 * size) - 1, word))


def _plain(t: Any) -> Any:
    """Outside the tape, and no view."""
    return wrap(t._get())


def check_window(n: Any, size: int, step: int, d: int) -> None:
    """Refuses windows that do not fit.

    Raises:
        InvalidArgumentError: a size or step that is not positive, or too large.
    """
    if step <= 0 or size < 0:
        raise InvalidArgumentError(f"unfold: size {size} >= 0 and step {step} > 0 are required.")
    if not _symbolic(n) and size > n:
        raise InvalidArgumentError(
            f"unfold: maximum size for tensor at dimension {d} is {n} but size is {size}"
        )

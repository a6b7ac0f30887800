"""`assert_close` and `make_tensor`, by the names of `torch.testing`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from toolkit import dtypes
from toolkit._tensor.base import TensorBase
from toolkit._tensor.draws import rand, randint
from toolkit._tensor.factories import as_tensor

__all__ = ["assert_close", "make_tensor"]

# (rtol, atol) of each type, as PyTorch has them; types without an entry are compared exactly.
_TOLERANCES = {
    dtypes.float16: (1e-3, 1e-5), dtypes.bfloat16: (1.6e-2, 1e-5), dtypes.float32: (1.3e-6, 1e-5),
    dtypes.float64: (1e-7, 1e-7), dtypes.complex64: (1.3e-6, 1e-5),
    dtypes.complex128: (1e-7, 1e-7),
}  # fmt: skip


def assert_close(
    actual: Any, expected: Any, *, allow_subclasses: bool = True, rtol: float | None = None,
    atol: float | None = None, equal_nan: bool = False, check_device: bool = True,
    check_dtype: bool = True, check_layout: bool = True, check_stride: bool = False,
    msg: Any = None,
) -> None:  # fmt: skip
    """Fails unless `|actual - expected| <= atol + rtol |expected|`, and types and shapes are equal.

    Args:
        actual: a tensor, an array, a number, or a tree of them in sequences and mappings.
        expected: the same.
        allow_subclasses: whether the classes of tensors may differ.
        rtol: with `atol`; both None: what PyTorch takes for the element type.
        atol: see `rtol`.
        equal_nan: whether NaN equals NaN.
        check_device: accepted: tensors live on the CPU.
        check_dtype: whether element types must be equal.
        check_layout: accepted: tensors are strided.
        check_stride: whether strides must be equal.
        msg: the message, or a function of the one that would be.

    Raises:
        AssertionError: they differ.
        TypeError: they cannot be compared.
    """
    if (rtol is None) != (atol is None):
        raise ValueError(
            f"rtol and atol must both be specified or both be unspecified, got {rtol} and {atol}."
        )
    try:
        _compare(actual, expected, "", (rtol, atol), equal_nan, check_dtype, check_stride,
                 allow_subclasses)  # fmt: skip
    except AssertionError as error:
        if msg is None:
            raise
        raise AssertionError(msg(str(error)) if callable(msg) else msg) from None


def _compare(
    a: Any, b: Any, where: str, bounds: Any, equal_nan: bool, types: bool, strides: bool,
    subclasses: bool,
) -> None:  # fmt: skip
    rest = bounds, equal_nan, types, strides, subclasses
    place = f"\n\nThe failure occurred for item {where}" if where else ""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        if a.keys() != b.keys():
            raise AssertionError(
                f"The keys of the mappings do not match: {sorted(map(str, a))} and "
                f"{sorted(map(str, b))}.{place}"
            )
        for k in a:
            _compare(a[k], b[k], f"{where}[{k!r}]", *rest)
        return
    sequences = isinstance(a, Sequence) and isinstance(b, Sequence)
    if sequences and not isinstance(a, str):
        if len(a) != len(b):
            raise AssertionError(
                f"The length of the sequences mismatch: {len(a)} != {len(b)}{place}"
            )
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            _compare(x, y, f"{where}[{i}]", *rest)
        return
    if a is None and b is None:
        return
    numbers = not isinstance(a, (TensorBase, np.ndarray))
    if not subclasses and type(a) is not type(b):
        raise TypeError(f"Except for scalars, type equality is required, got {type(a)}, {type(b)}.")
    try:
        x, y = _tensor(a), _tensor(b)
    except (TypeError, ValueError):
        raise TypeError(
            f"No comparison pair was able to handle inputs of type {type(a)} and {type(b)}.{place}"
        ) from None
    _compare_tensors(x, y, place, bounds, equal_nan, types, strides, numbers)


def _tensor(x: Any) -> Any:
    return as_tensor(x) if not isinstance(x, TensorBase) else x.detach()  # type: ignore[attr-defined]


def _compare_tensors(
    x: Any, y: Any, place: str, bounds: Any, equal_nan: bool, types: bool, strides: bool,
    numbers: bool,
) -> None:  # fmt: skip
    if tuple(x.shape) != tuple(y.shape):
        raise AssertionError(
            f"The values for attribute 'shape' do not match: {x.shape} != {y.shape}.{place}"
        )
    if types and x.dtype is not y.dtype:
        raise AssertionError(
            f"The values for attribute 'dtype' do not match: {x.dtype} != {y.dtype}.{place}"
        )
    if strides and x.stride() != y.stride():
        raise AssertionError(
            f"The values for attribute 'stride()' do not match: {x.stride()} != {y.stride()}."
            f"{place}"
        )
    rtol, atol = bounds
    if rtol is None:
        pairs = [_TOLERANCES.get(t.dtype, (0.0, 0.0)) for t in (x, y)]
        rtol, atol = (max(values) for values in zip(*pairs, strict=True))
    a, b = (np.asarray(t.double().numpy() if t.dtype.is_floating_point else t.numpy())
            for t in (x, y))  # fmt: skip
    with np.errstate(all="ignore"):
        wide = a.astype(np.float64) if a.dtype.kind == "b" else a
        difference = np.abs(wide - (b.astype(np.float64) if b.dtype.kind == "b" else b))
        close = (a == b) | (difference <= atol + rtol * np.abs(b))
        close |= equal_nan & (a != a) & (b != b)
        relative = difference / np.abs(b)
    if close.all():
        return
    kind = "Scalars" if numbers else "Tensor-likes"
    exact = "equal" if not rtol and not atol else "close"
    allowed = [f" (up to {v} allowed)" if exact == "close" else "" for v in (atol, rtol)]
    if numbers or not a.ndim:
        raise AssertionError(
            f"{kind} are not {exact}!\n\nExpected {b.item()} but got {a.item()}.\nAbsolute "
            f"difference: {difference.item()}{allowed[0]}\nRelative difference: "
            f"{relative.item()}{allowed[1]}{place}"
        )
    wrong, total = int((~close).sum()), close.size
    worst = [np.where(close, -1.0, np.nan_to_num(v, nan=np.inf)) for v in (difference, relative)]
    at = [tuple(map(int, np.unravel_index(v.argmax(), v.shape))) for v in worst]
    raise AssertionError(
        f"{kind} are not {exact}!\n\nMismatched elements: {wrong} / {total} "
        f"({100 * wrong / total:.1f}%)\nGreatest absolute difference: {difference[at[0]]} at index "
        f"{at[0]}{allowed[0]}\nGreatest relative difference: {relative[at[1]]} at index "
        f"{at[1]}{allowed[1]}{place}"
    )


def make_tensor(
    *shape: Any, dtype: Any, device: Any = "cpu", low: float | None = None,
    high: float | None = None, requires_grad: bool = False, noncontiguous: bool = False,
    exclude_zero: bool = False, memory_format: Any = None,
) -> Any:  # fmt: skip
    """Random numbers of [low, high), by default [-9, 9); bools are drawn evenly.

    Args:
        shape: of the tensor.
        dtype: its element type.
        device: "cpu".
        low: the lowest number.
        high: the end of the range.
        requires_grad: whether gradients flow to it.
        noncontiguous: every second element of a larger tensor.
        exclude_zero: zeros become the smallest positive number (ones, of integers).
        memory_format: see `Tensor.contiguous`.
    """
    sizes = tuple(shape[0]) if len(shape) == 1 and not isinstance(shape[0], int) else shape
    last = (*sizes[:-1], 2 * sizes[-1]) if noncontiguous and sizes else sizes
    if dtype is dtypes.bool:
        made: Any = randint(0, 2, last, dtype=dtypes.int64).bool()
    else:
        start = (-9 if dtype.is_signed else 0) if low is None else low
        end = (9 if dtype.is_signed else 10) if high is None else high
        if dtype.is_floating_point:
            made = (rand(last, dtype=dtypes.float64) * (end - start) + start).to(dtype)
        else:
            made = randint(int(np.ceil(start)), int(np.ceil(end)), last, dtype=dtypes.int64)
            made = made.to(dtype)
    if exclude_zero:
        tiny = 1 if not dtype.is_floating_point else float(np.finfo(np.float32).tiny)
        made = made.masked_fill(made == 0, tiny)
    made = made[..., ::2] if noncontiguous and sizes else made
    made = made if memory_format is None else made.contiguous(memory_format=memory_format)
    return made.detach().requires_grad_() if requires_grad else made

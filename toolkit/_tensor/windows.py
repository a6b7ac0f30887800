"""Window functions and sample frequencies, computed in float64 and rounded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit import dtypes
from toolkit._tensor.base import wrap
from toolkit._tensor.consts import core_array
from toolkit._tensor.factories import code_of, finish
from toolkit.errors import InvalidArgumentError

if TYPE_CHECKING:
    from toolkit.tensor import Tensor


def _made(array: Any, dtype: Any, device: Any, requires_grad: bool) -> Tensor:
    kind = dtypes.BY_ONNX[code_of(dtype)].numpy
    return finish(wrap(core_array(np.ascontiguousarray(array.astype(kind)))), requires_grad, device)


def _positions(length: int, periodic: bool) -> Any:
    """Angles in turns, k / n for k < length; n is one less for a symmetric window."""
    if length < 0:
        raise InvalidArgumentError(
            f"window: requires non-negative window_length, got window_length={length}"
        )
    return np.arange(length) / max(length if periodic else length - 1, 1)


def _cosines(length: int, periodic: bool, *coefficients: float) -> Any:
    if length == 1:
        return np.ones(1)
    angle = 2 * np.pi * _positions(length, periodic)
    return np.sum([a * np.cos(j * angle) for j, a in enumerate(coefficients)], axis=0)


def hann_window(
    window_length: int, periodic: bool = True, *, dtype: Any = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """sin^2 from 0 to pi."""
    array = _cosines(window_length, periodic, 0.5, -0.5)
    return _made(array, dtype, device, requires_grad)


def hamming_window(
    window_length: int, periodic: bool = True, alpha: float = 0.54, beta: float = 0.46, *,
    dtype: Any = None, device: Any = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """The raised cosine alpha - beta cos."""
    array = _cosines(window_length, periodic, alpha, -beta)
    return _made(array, dtype, device, requires_grad)


def blackman_window(
    window_length: int, periodic: bool = True, *, dtype: Any = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """0.42 - 0.5 cos + 0.08 cos of twice the angle."""
    array = _cosines(window_length, periodic, 0.42, -0.5, 0.08)
    return _made(array, dtype, device, requires_grad)


def bartlett_window(
    window_length: int, periodic: bool = True, *, dtype: Any = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """A triangle from 0 to 1 and back."""
    x = _positions(window_length, periodic)
    array = np.ones(1) if window_length == 1 else 1 - np.abs(2 * x - 1)
    return _made(array, dtype, device, requires_grad)


def kaiser_window(
    window_length: int, periodic: bool = True, beta: float = 12.0, *, dtype: Any = None,
    device: Any = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """I0(beta sqrt(1 - x^2)) / I0(beta) for x from -1 to 1."""
    x = 2 * _positions(window_length, periodic) - 1
    array = np.i0(beta * np.sqrt(np.clip(1 - x * x, 0, None))) / np.i0(beta)
    return _made(np.ones(1) if window_length == 1 else array, dtype, device, requires_grad)


def fftfreq(n: int, d: float = 1.0, *, dtype: Any = None, device: Any = None) -> Tensor:
    """The frequencies of the bins of `fft`, for samples `d` apart."""
    return _made(np.fft.fftfreq(n, d), dtype, device, False)


def rfftfreq(n: int, d: float = 1.0, *, dtype: Any = None, device: Any = None) -> Tensor:
    """The frequencies of the bins of `rfft`."""
    return _made(np.fft.rfftfreq(n, d), dtype, device, False)

"""The Fourier transforms of the standard; complex arrays are `ComplexTensor`s."""

from __future__ import annotations

from typing import Any

from toolkit._tensor import spectral, windows
from toolkit.array_api.common import check_device


def _one(name: str) -> Any:
    def transform(
        x: Any, /, *, n: int | None = None, axis: int = -1, norm: str = "backward"
    ) -> Any:
        return getattr(spectral, name)(x, n, axis, norm)

    return _named(transform, name)


def _many(name: str) -> Any:
    def transform(x: Any, /, *, s: Any = None, axes: Any = None, norm: str = "backward") -> Any:
        return getattr(spectral, name)(x, s, axes, norm)

    return _named(transform, name)


def _named(transform: Any, name: str) -> Any:
    transform.__name__ = transform.__qualname__ = name
    transform.__doc__ = f"The transform `toolkit.fft.{name}`, by the array API standard."
    return transform


fft, ifft, rfft, irfft, hfft, ihfft = map(_one, ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft"))
fftn, ifftn, rfftn, irfftn = map(_many, ("fftn", "ifftn", "rfftn", "irfftn"))


def fftfreq(n: int, /, *, d: float = 1.0, dtype: Any = None, device: Any = None) -> Any:
    """The frequencies of `fft`'s bins."""
    check_device(device)
    return windows.fftfreq(n, d, dtype=dtype)


def rfftfreq(n: int, /, *, d: float = 1.0, dtype: Any = None, device: Any = None) -> Any:
    """The frequencies of `rfft`'s bins."""
    check_device(device)
    return windows.rfftfreq(n, d, dtype=dtype)


def fftshift(x: Any, /, *, axes: Any = None) -> Any:
    """The zero frequency moved to the middle."""
    return spectral.fftshift(x, axes)


def ifftshift(x: Any, /, *, axes: Any = None) -> Any:
    """The inverse of `fftshift`."""
    return spectral.ifftshift(x, axes)


__all__ = ["fft", "fftfreq", "fftn", "fftshift", "hfft", "ifft", "ifftn", "ifftshift", "ihfft",
           "irfft", "irfftn", "rfft", "rfftfreq", "rfftn"]  # fmt: skip

"""Fourier transforms with the names of `torch.fft`; complex results are `ComplexTensor`s."""

from __future__ import annotations

from toolkit._tensor.autocast import in_float32
from toolkit._tensor.spectral import (
    fft,
    fft2,
    fftn,
    fftshift,
    hfft,
    ifft,
    ifft2,
    ifftn,
    ifftshift,
    ihfft,
    irfft,
    irfft2,
    irfftn,
    rfft,
    rfft2,
    rfftn,
)
from toolkit._tensor.windows import fftfreq, rfftfreq

__all__ = [
    "fft", "fft2", "fftfreq", "fftn", "fftshift", "hfft", "ifft", "ifft2", "ifftn", "ifftshift",
    "ihfft", "irfft", "irfft2", "irfftn", "rfft", "rfft2", "rfftfreq", "rfftn",
]  # fmt: skip
globals().update({n: in_float32(globals()[n]) for n in __all__ if "freq" not in n})

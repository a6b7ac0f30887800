"""Fourier transforms with PyTorch's names, each one or more ONNX DFT or STFT nodes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit._tensor.base import TensorBase
from toolkit._tensor.complex import ComplexTensor, as_complex, view_as_real
from toolkit._tensor.consts import index, vector
from toolkit._tensor.factories import from_numpy
from toolkit._tensor.promote import cast, floating
from toolkit._tensor.shapes import _symbolic, normalize_dim
from toolkit.errors import InvalidArgumentError, ShapeError
from toolkit.ops.dispatch import apply, handle

if TYPE_CHECKING:
    from toolkit.tensor import Tensor

Dims = Any


def _operand(name: str, input: Any) -> Any:
    """A complex tensor, or a real one of a floating type."""
    if isinstance(input, ComplexTensor):
        return input
    if not isinstance(input, TensorBase):
        raise TypeError(f"{name}: a tensor is required, got {type(input).__name__}.")
    return floating(input)


def _size(name: str, n: Any) -> Any:
    if not _symbolic(n) and n < 1:
        raise InvalidArgumentError(f"{name}: Invalid number of data points ({n}) specified")
    return n


def _count(n: Any) -> Any:
    return n.tensor() if _symbolic(n) else index(n)


def _scaled(z: Any, n: Any, norm: str | None, inverse: bool) -> Any:
    """Applies `norm` to a transform that DFT scales by 1 / n when it is an inverse."""
    if norm not in (None, "backward", "ortho", "forward"):
        raise InvalidArgumentError(f"norm: backward, ortho or forward is required, got {norm!r}.")
    if norm in (None, "backward"):
        return z
    power = 0.5 if norm == "ortho" else 1.0
    if _symbolic(n):
        factor: Any = cast(n.tensor(), z._pairs._value.dtype if isinstance(z, ComplexTensor) else
                           z._value.dtype) ** (power if inverse else -power)  # fmt: skip
    else:
        factor = float(n) ** (power if inverse else -power)
    return z * factor


def _axis(x: Any, dim: int) -> int:
    if not x.dim():
        raise ShapeError("fft: at least one dimension is required, got a 0-dim tensor.")
    return normalize_dim(dim, x.dim())


def _dft(name: str, x: Any, n: Any, dim: int, norm: str | None, inverse: bool) -> ComplexTensor:
    """Complex to complex."""
    d = _axis(x, dim)
    size = _size(name, x.shape[d] if n is None else n)
    pairs = x._pairs if isinstance(x, ComplexTensor) else x.unsqueeze(-1)
    out = apply(handle("DFT", inverse=int(inverse)), pairs, _count(size), index(d))
    return _scaled(ComplexTensor(out), size, norm, inverse)


def fft(input: Any, n: Any = None, dim: int = -1, norm: str | None = None) -> ComplexTensor:
    """The discrete Fourier transform along a dimension, cut or padded with zeros to `n`."""
    return _dft("fft", _operand("fft", input), n, dim, norm, False)


def ifft(input: Any, n: Any = None, dim: int = -1, norm: str | None = None) -> ComplexTensor:
    """The inverse of `fft`."""
    return _dft("ifft", _operand("ifft", input), n, dim, norm, True)


def rfft(input: Any, n: Any = None, dim: int = -1, norm: str | None = None) -> ComplexTensor:
    """The transform of a real tensor: bins 0 to n / 2."""
    x = _operand("rfft", input)
    if isinstance(x, ComplexTensor):
        raise InvalidArgumentError("rfft expects a real input tensor, but got complex")
    d = _axis(x, dim)
    size = _size("rfft", x.shape[d] if n is None else n)
    out = apply(handle("DFT", onesided=1), x.unsqueeze(-1), _count(size), index(d))
    return _scaled(ComplexTensor(out), size, norm, False)


def irfft(input: Any, n: Any = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """The inverse of `rfft`, of length `n` (2 (bins - 1) by default)."""
    x = as_complex(_operand("irfft", input))
    d = _axis(x, dim)
    size = _size("irfft", (x.shape[d] - 1) * 2 if n is None else n)
    out = apply(handle("DFT", onesided=1, inverse=1), x._pairs, _count(size), index(d))
    return _scaled(out.squeeze(-1), size, norm, True)


_SWAPPED = {None: "forward", "backward": "forward", "forward": "backward", "ortho": "ortho"}


def hfft(input: Any, n: Any = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """The real transform of a Hermitian tensor given by its first half."""
    return irfft(as_complex(_operand("hfft", input)).conj(), n, dim, _SWAPPED.get(norm, norm))


def ihfft(input: Any, n: Any = None, dim: int = -1, norm: str | None = None) -> ComplexTensor:
    """The inverse of `hfft`."""
    return rfft(input, n, dim, _SWAPPED.get(norm, norm)).conj()


def _axes(name: str, x: Any, s: Any, dim: Dims) -> tuple[list[int], list[Any]]:
    """The dimensions of a transform over several of them, and their sizes (None: as they are)."""
    if dim is None:
        dims = list(range(x.dim() if s is None else x.dim() - len(s), x.dim()))
        dims = list(range(x.dim())) if s is None else dims
    else:
        dims = [normalize_dim(d, x.dim()) for d in ((dim,) if isinstance(dim, int) else dim)]
    sizes: list[Any] = [None] * len(dims) if s is None else [None if n == -1 else n for n in s]
    if len(set(dims)) != len(dims) or len(sizes) != len(dims):
        raise InvalidArgumentError(
            f"{name}: as many sizes as unique dims are required, got s={s} and dim={dim}."
        )
    return dims, sizes


def fftn(input: Any, s: Any = None, dim: Dims = None, norm: str | None = None) -> ComplexTensor:
    """`fft` along several dimensions, all by default."""
    x = _operand("fftn", input)
    for d, n in reversed(list(zip(*_axes("fftn", x, s, dim), strict=True))):
        x = _dft("fftn", x, n, d, norm, False)
    return as_complex(x)


def ifftn(input: Any, s: Any = None, dim: Dims = None, norm: str | None = None) -> ComplexTensor:
    """The inverse of `fftn`."""
    x = _operand("ifftn", input)
    for d, n in reversed(list(zip(*_axes("ifftn", x, s, dim), strict=True))):
        x = _dft("ifftn", x, n, d, norm, True)
    return as_complex(x)


def rfftn(input: Any, s: Any = None, dim: Dims = None, norm: str | None = None) -> ComplexTensor:
    """`fftn` of a real tensor: half of the bins along the last of the dimensions."""
    x = _operand("rfftn", input)
    dims, sizes = _axes("rfftn", x, s, dim)
    x = rfft(x, sizes[-1], dims[-1], norm)
    for d, n in zip(dims[:-1], sizes[:-1], strict=True):
        x = _dft("rfftn", x, n, d, norm, False)
    return x


def irfftn(input: Any, s: Any = None, dim: Dims = None, norm: str | None = None) -> Tensor:
    """The inverse of `rfftn`."""
    x: Any = as_complex(_operand("irfftn", input))
    dims, sizes = _axes("irfftn", x, s, dim)
    for d, n in zip(dims[:-1], sizes[:-1], strict=True):
        x = _dft("irfftn", x, n, d, norm, True)
    return irfft(x, sizes[-1], dims[-1], norm)


def fft2(input: Any, s: Any = None, dim: Dims = (-2, -1), norm: Any = None) -> ComplexTensor:
    """`fftn` of the last two dimensions."""
    return fftn(input, s, dim, norm)


def ifft2(input: Any, s: Any = None, dim: Dims = (-2, -1), norm: Any = None) -> ComplexTensor:
    """The inverse of `fft2`."""
    return ifftn(input, s, dim, norm)


def rfft2(input: Any, s: Any = None, dim: Dims = (-2, -1), norm: Any = None) -> ComplexTensor:
    """`rfftn` of the last two dimensions."""
    return rfftn(input, s, dim, norm)


def irfft2(input: Any, s: Any = None, dim: Dims = (-2, -1), norm: Any = None) -> Tensor:
    """The inverse of `rfft2`."""
    return irfftn(input, s, dim, norm)


def fftshift(input: Any, dim: Dims = None) -> Any:
    """Moves bin 0 to the middle of each dimension."""
    return _shift(input, dim, lambda n: n // 2)


def ifftshift(input: Any, dim: Dims = None) -> Any:
    """The inverse of `fftshift`."""
    return _shift(input, dim, lambda n: (n + 1) // 2)


def _shift(x: Any, dim: Dims, amount: Any) -> Any:
    dims = range(x.dim()) if dim is None else (dim,) if isinstance(dim, int) else dim
    dims = tuple(normalize_dim(d, x.dim()) for d in dims)
    return x.roll(tuple(amount(x.shape[d]) for d in dims), dims)


def stft(
    input: Any,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Any = None,
    center: bool = True,
    pad_mode: str = "reflect",
    normalized: bool = False,
    onesided: bool | None = None,
    return_complex: bool | None = None,
) -> Any:
    """Transforms of overlapping frames: (..., bins, frames).

    Args:
        input: (samples) or (batch, samples), real or complex.
        n_fft: the length of a frame's transform.
        hop_length: samples from one frame to the next; a quarter of `n_fft` by default.
        win_length: the window's length, centered in the frame; `n_fft` by default.
        window: its values; ones by default.
        center: pads the signal, so that frame t is centered at t * hop_length.
        pad_mode: how.
        normalized: scales by 1 / sqrt(n_fft).
        onesided: half of the bins; the default for real input.
        return_complex: a ComplexTensor, or else pairs in a last axis of 2.
    """
    x = _operand("stft", input)
    is_complex = isinstance(x, ComplexTensor)
    if return_complex is None:
        if not is_complex:
            raise InvalidArgumentError(
                "stft requires the return_complex parameter be given for real inputs"
            )
        return_complex = True
    pairs = x._pairs if is_complex else x.unsqueeze(-1)
    single = pairs.dim() == 2
    if single:
        pairs = pairs.unsqueeze(0)
    if pairs.dim() != 3:
        raise ShapeError(f"stft: a 1D or 2D signal is required, got shape {list(x.shape)}.")
    hop = n_fft // 4 if hop_length is None else hop_length
    if center:
        pairs = _pad_samples(pairs, n_fft // 2, pad_mode)
    if n_fft < 1 or hop < 1 or (not _symbolic(pairs.shape[1]) and n_fft > pairs.shape[1]):
        raise InvalidArgumentError(
            f"stft: 0 < n_fft <= {pairs.shape[1]} and hop_length > 0 are required, got {n_fft} "
            f"and {hop}."
        )
    half = not is_complex if onesided is None else onesided
    if half and is_complex:
        raise InvalidArgumentError("Cannot have onesided output if window or input is complex")
    window = _frame_window(window, win_length, n_fft, pairs)
    h = handle("STFT", onesided=int(half))
    out = apply(h, pairs, index(hop), window, index(n_fft)).transpose(1, 2)
    if normalized:
        out = out * (1.0 / math.sqrt(n_fft))
    if single:
        out = out.squeeze(0)
    return ComplexTensor(out) if return_complex else out


_PAD_MODES = {"reflect": "reflect", "constant": "constant", "replicate": "edge", "circular": "wrap"}


def _pad_samples(pairs: Any, width: int, mode: str) -> Any:
    if mode not in _PAD_MODES:
        raise InvalidArgumentError(f"stft: one of {list(_PAD_MODES)} is required, got {mode!r}.")
    return apply(handle("Pad", mode=_PAD_MODES[mode]), pairs, vector((0, width, 0, 0, width, 0)))


def _frame_window(window: Any, win_length: int | None, n_fft: int, like: Any) -> Any:
    """The window as long as a frame, or None for one of ones."""
    length = n_fft if win_length is None else win_length
    if not 0 < length <= n_fft:
        raise InvalidArgumentError(f"stft: 0 < win_length <= {n_fft} is required, got {length}.")
    if window is None:
        if length == n_fft:
            return None
        window = from_numpy(np.ones(length, like.dtype.numpy))
    if window.dim() != 1 or window.shape[0] != length:
        raise ShapeError(
            f"stft: a 1D window of size equal to win_length={length} is required, got "
            f"{list(window.shape)}."
        )
    window = cast(window, like._value.dtype)
    left = (n_fft - length) // 2
    if length == n_fft:
        return window
    return apply(handle("Pad"), window, vector((left, n_fft - length - left)))


def istft(
    input: Any,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Any = None,
    center: bool = True,
    normalized: bool = False,
    onesided: bool | None = None,
    length: int | None = None,
    return_complex: bool = False,
) -> Any:
    """The inverse of `stft`: windowed frames added up, over the sum of the squared windows."""
    if not isinstance(input, ComplexTensor):
        raise InvalidArgumentError("istft requires a complex-valued input tensor")
    single = input.dim() == 2
    spectrum = (input.unsqueeze(0) if single else input).transpose(1, 2)
    hop = n_fft // 4 if hop_length is None else hop_length
    frames, bins = spectrum.shape[1], spectrum.shape[2]
    half = bins != n_fft if onesided is None else onesided
    if bins != (n_fft // 2 + 1 if half else n_fft) or hop < 1:
        raise ShapeError(
            f"istft: {n_fft // 2 + 1 if half else n_fft} bins are required, got {bins}."
        )
    if normalized:
        spectrum = spectrum * math.sqrt(n_fft)
    if return_complex:
        signal = view_as_real(ifft(spectrum))
    else:
        real = irfft(spectrum, n_fft) if half else ifft(spectrum).real
        signal = real.unsqueeze(-1)
    w = _frame_window(window, win_length, n_fft, signal)
    if w is None:
        w = from_numpy(np.ones(n_fft, signal.dtype.numpy))
    places = np.arange(frames)[:, None] * hop + np.arange(n_fft)
    total = n_fft + hop * (frames - 1)
    at = from_numpy(places.reshape(-1))
    batch, channels = signal.shape[0], signal.shape[-1]
    flat = (signal * w.unsqueeze(-1)).reshape(batch, frames * n_fft, channels)
    summed = signal.new_zeros(batch, total, channels).index_add(1, at, flat)
    weights = (w * w).expand(frames, n_fft).reshape(-1)
    envelope = signal.new_zeros(total).index_add(0, at, weights)
    start = n_fft // 2 if center else 0
    end = total - (n_fft // 2 if center else 0) if length is None else min(start + length, total)
    envelope = envelope.narrow(0, start, end - start)
    if float(envelope.abs().min().item()) < 1e-11:
        raise InvalidArgumentError("istft: window overlap add min: 1")
    out = summed.narrow(1, start, end - start) / envelope.unsqueeze(-1)
    if length is not None and end - start < length:
        out = apply(handle("Pad"), out, vector((0, 0, 0, 0, length - (end - start), 0)))
    result: Any = ComplexTensor(out) if return_complex else out.squeeze(-1)
    return result.squeeze(0) if single else result

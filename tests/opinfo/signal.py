"""Fourier transforms, windows, mel filters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tests.opinfo.core import OpInfo, S, Sample
from toolkit import dtypes

# Every radix, their products, powers of two, and primes that take Bluestein's algorithm.
LENGTHS = (1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 15, 16, 17, 23, 30, 49, 64, 65, 97, 100, 121, 169)

NUMBER_TYPES = tuple(t.name for t in dtypes.ALL if t.numpy.kind in "iuf" or t is dtypes.bfloat16)


def number(value: int, dtype: str = "int64") -> np.ndarray:
    return np.array(value, dtype)


def dft_samples(d):
    for n in LENGTHS:
        yield S(d(n, 2), None, number(0))
        yield S(d(n, 2), None, number(0), inverse=1)
        yield S(d(n, 1), None, number(0), onesided=1)
        yield S(d(n // 2 + 1, 2), number(n), number(0), onesided=1, inverse=1)
    for shape, axis in (
        ((3, 17, 2), 1),
        ((17, 3, 2), 0),
        ((8, 10, 2), -2),
        ((2, 6, 9, 2), 1),
        ((9, 8, 2), -3),
    ):
        yield S(d(*shape), None, number(axis))
        yield S(d(*shape), None, number(axis), inverse=1)
        yield S(d(*shape), None, number(axis), onesided=1, inverse=1)
        yield S(d(*shape[:-1], 1), None, number(axis))
        yield S(d(*shape[:-1], 1), None, number(axis), inverse=1)
        yield S(d(*shape[:-1], 1), None, number(axis), onesided=1)
    for n in (5, 8, 12):  # Cut, and padded with zeros.
        yield S(d(3, 8, 2), number(n, "int32"))
        yield S(d(3, 8, 1), number(n), onesided=1)
        yield S(d(3, 8, 2), number(n), inverse=1)
        yield S(d(3, 8, 2), number(n), number(-2), onesided=1, inverse=1)
    yield S(d(10, 2))
    yield S(d(0, 4, 2))


def dft_grad_samples(d):
    for n in (1, 4, 5, 17):
        yield from (S(d(2, n, 2), inverse=i) for i in (0, 1))
        yield S(d(2, n, 1), onesided=1)
        yield S(d(2, n // 2 + 1, 2), number(n), onesided=1, inverse=1)
    yield S(d(4, 3, 1), None, number(0))
    yield S(d(4, 3, 1), None, number(-3), inverse=1)
    for n in (5, 9):
        yield S(d(2, 7, 2), number(n))
        yield S(d(2, 7, 2), number(n), inverse=1)
        yield S(d(7, 2, 1), number(n), number(0), onesided=1)
        yield S(d(7, 2, 2), number(n), number(0), onesided=1, inverse=1)
    yield S(d(5, 3, 2), None, number(0), onesided=1, inverse=1)


def parts(z: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return np.stack([z.real, z.imag], -1).astype(dtype)


def value_of(x: np.ndarray) -> np.ndarray:
    x = x.astype(np.float64)
    return x[..., 0] + (1j * x[..., 1] if x.shape[-1] == 2 else 0)


def dft(sample: Sample) -> list[np.ndarray]:
    x, length, axis = (*sample.inputs, None, None)[:3]
    inverse, onesided = (sample.attributes.get(k, 0) for k in ("inverse", "onesided"))
    axis = (-2 if axis is None else int(axis)) % x.ndim
    n = None if length is None else int(length)
    if x.size == 0:
        return [x]
    z = value_of(x)
    if inverse and onesided:
        return [np.fft.irfft(z, n, axis)[..., None].astype(x.dtype)]
    if onesided:
        return [parts(np.fft.rfft(z.real, n, axis), x.dtype)]
    return [parts((np.fft.ifft if inverse else np.fft.fft)(z, n, axis), x.dtype)]


def stft_samples(d):
    for n in (1, 4, 7, 16, 17):
        yield S(d(2, 40, 1), number(3), None, number(n))
        yield S(d(2, 40, 1), number(5), d(n), onesided=1)
        yield S(d(1, 40, 2), number(n), d(n), number(n), onesided=0)
        yield S(d(3, 40, 1), number(8), d(n), number(n, "int32"), onesided=0)
    yield S(d(2, 17, 1), number(4))
    yield S(d(0, 9, 1), number(2), None, number(4))


def stft_grad_samples(d):
    """Powers of two: for other lengths onnxruntime's roots are float32."""
    yield S(d(2, 20, 1), number(3), d(8))
    yield S(d(2, 20, 1), number(7), d(4), onesided=0)
    yield S(d(1, 20, 2), number(2), d(4), number(4), onesided=0)
    yield S(d(2, 12, 1), number(3), None, number(8))
    yield S(d(2, 8, 1), number(1), d(8), number(8))


def stft(sample: Sample) -> list[np.ndarray]:
    x, step, window, length = (*sample.inputs, None, None)[:4]
    n = x.shape[1] if window is None else len(window)
    n = n if length is None else int(length)
    frames = (x.shape[1] - n) // int(step) + 1
    at = np.arange(frames)[:, None] * int(step) + np.arange(n)
    z = value_of(x)[:, at] * (1.0 if window is None else window.astype(np.float64))
    transform = np.fft.rfft if sample.attributes.get("onesided", 1) else np.fft.fft
    y = transform(z.real if x.shape[-1] == 1 else z)
    return [parts(y, x.dtype)]


def window_samples(d):
    target = dtypes.from_numpy(d.dtype).onnx
    for size in (1, 2, 7, 16, 65):
        yield S(number(size, "int32" if size == 7 else "int64"), output_datatype=target)
        yield S(number(size), output_datatype=target, periodic=0)
    yield S(number(0), output_datatype=target)


def window(*coefficients: float):
    """sum_j a_j cos(2 pi j k / n); n is one less for a symmetric window."""

    def reference(sample: Sample) -> list[np.ndarray]:
        size = int(sample.inputs[0])
        dtype = dtypes.BY_ONNX[sample.attributes["output_datatype"]].numpy
        if size == 1:
            return [np.ones(1, dtype)]
        angle = 2 * np.pi * np.arange(size) / (size - 1 + sample.attributes.get("periodic", 1))
        y = sum(a * np.cos(j * angle) for j, a in enumerate(coefficients))
        return [np.asarray(y).astype(dtype)]

    return reference


def window_row(op_type: str, *coefficients: float) -> OpInfo:
    return OpInfo(op_type, window_samples, typed_by=None, grad=(), reference=window(*coefficients),
                  why="output types", tolerance=4, dtypes=NUMBER_TYPES)  # fmt: skip


def mel_samples(d):
    target = dtypes.from_numpy(d.dtype).onnx
    edge = d.dtype if d.floating else np.dtype("float32")
    for bands, length, rate, low, high in ((8, 16, 8192, 0, 4096), (20, 257, 16000, 125, 7600),
                                           (3, 64, 8000, 0, 1), (0, 8, 8000, 0, 100), (1, 1, 10, 0, 4)):  # fmt: skip
        yield S(number(bands), number(length, "int32"), number(rate), np.array(low, edge),
                np.array(high, edge), output_datatype=target)  # fmt: skip


def mel(sample: Sample) -> list[np.ndarray]:
    from tests import opcheck

    inputs = (x if x.dtype.kind == "i" else x.astype(np.float64) for x in sample.inputs)
    return opcheck.onnx_reference(ROWS[-1], replace(sample, inputs=tuple(inputs)))


ROWS = [
    OpInfo("DFT", dft_samples, reference=dft, why="its f32 sums and integer axis", tolerance=8,
           grad_samples=dft_grad_samples, grad=(0,),
           big=lambda d: [S(d(37, 1000, 2)), S(d(1000, 37, 1), None, number(0), onesided=1), S(d(1, 20_000, 2)),
                          S(d(2, 1021, 2), inverse=1), S(d(3, 6000, 2), onesided=1, inverse=1)]),
    OpInfo("STFT", stft_samples, reference=stft, why="its f32 sums", tolerance=8,
           grad_samples=stft_grad_samples, grad=(0, 2),
           big=lambda d: [S(d(3, 5000, 1), number(160), d(400))]),
    window_row("HannWindow", 0.5, -0.5),
    window_row("HammingWindow", 25 / 46, -21 / 46),
    window_row("BlackmanWindow", 0.42, -0.5, 0.08),
    OpInfo("MelWeightMatrix", mel_samples, typed_by=None, grad=(), dtypes=NUMBER_TYPES, reference=mel,
           why="it computes edges in the type they are given in"),
]  # fmt: skip

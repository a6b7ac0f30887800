"""The Fourier transforms of the namespace beside numpy's, on real arrays and complex ones."""

from __future__ import annotations

import numpy as np
import pytest

import toolkit.array_api as xp
from tests.array_api.oracle import same
from toolkit._tensor.complex import as_complex

NORMS = ["backward", "ortho", "forward"]


def draw(shape, is_complex, dtype="float64"):
    """An array, and the same as a Tensor or a ComplexTensor."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal(shape).astype(dtype)
    if not is_complex:
        return x, xp.asarray(x)
    z = x + 1j * rng.standard_normal(shape).astype(dtype)
    return z, as_complex(z)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ["fft", "ifft", "rfft", "irfft", "hfft", "ihfft"])
def test_along_one_axis(name, norm):
    is_complex = name not in ("rfft", "ihfft")
    for options in ({}, {"n": 3}, {"n": 9}, {"axis": 0}, {"axis": -2, "n": 4}):
        x, ours = draw((4, 6), is_complex)
        wanted = getattr(np.fft, name)(x, norm=norm, **options)
        same(getattr(xp.fft, name)(ours, norm=norm, **options), wanted, 16)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ["fftn", "ifftn", "rfftn", "irfftn"])
def test_along_several_axes(name, norm):
    for options in ({}, {"axes": (0, 2)}, {"s": (4, 6), "axes": (1, 2)}):
        x, ours = draw((3, 4, 5), name != "rfftn")
        wanted = getattr(np.fft, name)(x, norm=norm, **options)
        same(getattr(xp.fft, name)(ours, norm=norm, **options), wanted, 64)


@pytest.mark.parametrize("name", ["fftshift", "ifftshift"])
def test_shifts(name):
    for axes in (None, 0, (0, 1)):
        x, ours = draw((4, 5), False)
        same(getattr(xp.fft, name)(ours, axes=axes), getattr(np.fft, name)(x, axes))


@pytest.mark.parametrize("name", ["fftfreq", "rfftfreq"])
@pytest.mark.parametrize("n", [1, 6, 7])
def test_frequencies(name, n):
    wanted = getattr(np.fft, name)(n, 0.5)
    same(getattr(xp.fft, name)(n, d=0.5, dtype=xp.float64), wanted)
    assert getattr(xp.fft, name)(n).dtype is xp.float32


def test_float32_stays_single():
    x, ours = draw((8,), False, "float32")
    found = xp.fft.rfft(ours)
    assert found.dtype.name == "complex64"
    np.testing.assert_allclose(found.numpy(), np.fft.rfft(x), rtol=1e-5, atol=1e-5)
    assert xp.fft.irfft(found).dtype is xp.float32

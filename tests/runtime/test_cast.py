"""Conversions of every code of the narrow types, against exact arithmetic and ml_dtypes."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.opinfo.cast import spell_float
from tests.opinfo.core import ml_bits
from toolkit import dtypes
from toolkit.errors import DTypeError, InvalidArgumentError
from toolkit.runtime import _core, values

SIGNED = (
    dtypes.float8_e4m3fn, dtypes.float8_e4m3fnuz, dtypes.float8_e5m2, dtypes.float8_e5m2fnuz,
    dtypes.float4_e2m1fn, dtypes.float6_e2m3fn, dtypes.float6_e3m2fn,
)  # fmt: skip
POWERS = dtypes.float8_e8m0fnu
HALVES = (dtypes.float16, dtypes.bfloat16)


def cast(x, target, **attributes):
    op = _core.Op("", "Cast", {"to": target.onnx, **attributes})
    return values.to_numpy(op.run([values.to_native(x)], 1)[0])


def codes(kind):
    bits = ml_bits(kind.numpy)
    return np.arange(1 << bits, dtype=f"uint{max(bits, 8)}").view(kind.numpy)


def same(got, want):
    np.testing.assert_array_equal(got.astype(np.float64), want.astype(np.float64))


@pytest.mark.parametrize("target", (dtypes.float32, dtypes.float64, *HALVES), ids=str)
@pytest.mark.parametrize("source", (*SIGNED, POWERS), ids=str)
def test_every_code_decodes(source, target):
    x = codes(source)
    with np.errstate(over="ignore"):
        want = x.astype(np.float64).astype(target.numpy)
    same(cast(x, target), want)


@pytest.mark.parametrize(
    "target", (dtypes.int8, dtypes.int64, dtypes.float32, dtypes.string), ids=str
)
@pytest.mark.parametrize("source", (dtypes.int4, dtypes.uint4, dtypes.int2, dtypes.uint2), ids=str)
def test_every_narrow_integer(source, target):
    x = codes(source)
    want = x.astype(np.int64)
    got = cast(x, target)
    assert got.tolist() == ([str(v) for v in want] if target is dtypes.string else want.tolist())
    same(cast(got, source), want)


@pytest.mark.parametrize("saturate", (0, 1))
@pytest.mark.parametrize("target", SIGNED, ids=str)
@pytest.mark.parametrize("source", (dtypes.float16, dtypes.bfloat16), ids=str)
def test_every_half_encodes(source, target, saturate):
    x = codes(source)
    wide = x.astype(np.float32)
    with np.errstate(invalid="ignore"):
        if saturate:
            largest = float(ml_dtypes.finfo(target.numpy).max)
            wide = np.where(np.isnan(wide), wide, np.clip(wide, -largest, largest))
        want = wide.astype(target.numpy)
    np.testing.assert_array_equal(
        cast(x, target, saturate=saturate).view(np.uint8), want.view(np.uint8)
    )


@settings(max_examples=500, deadline=None)
@given(st.floats(width=32, allow_subnormal=False), st.sampled_from(SIGNED), st.booleans())
def test_float32_encodes(x, target, saturate):
    x = np.array([x], np.float32)
    largest = float(ml_dtypes.finfo(target.numpy).max)
    bounded = x if np.isnan(x[0]) or not saturate else np.clip(x, -largest, largest)
    with np.errstate(invalid="ignore"):
        want = bounded.astype(target.numpy)
    assert cast(x, target, saturate=int(saturate)).view(np.uint8) == want.view(np.uint8)


def nearest(x: float, grid: np.ndarray) -> float:
    """The nearest number of a sorted grid of representable ones; ties to the even code."""
    above = int(np.searchsorted(grid, x))
    if above == 0 or grid[above] == x:
        return float(grid[above])
    low, high = float(grid[above - 1]), float(grid[above])
    if x - low != high - x:
        return low if x - low < high - x else high
    return low if (above - 1) % 2 == 0 else high


@pytest.mark.parametrize("target", (*HALVES, *SIGNED[:4]), ids=str)
def test_doubles_round_once(target):
    """By way of float32 they would round twice and miss by one unit."""
    with np.errstate(invalid="ignore"):
        grid = np.unique(codes(target)[: 1 << (ml_bits(target.numpy) - 1)].astype(np.float64))
    grid = grid[np.isfinite(grid)]
    middle = (grid[1:-1] + grid[2:]) / 2
    middle = middle[middle > 2.0**-120]
    x = np.concatenate([middle, middle * (1 + 2.0**-50), middle * (1 - 2.0**-50)])
    want = np.array([nearest(v, grid) for v in x])
    np.testing.assert_array_equal(cast(x, target).astype(np.float64), want)
    np.testing.assert_array_equal(cast(-x, target).astype(np.float64), -want)


@pytest.mark.parametrize("dtype", (np.int64, np.uint64, np.int32, np.uint32))
def test_integers_round_once(dtype):
    top = np.iinfo(dtype).bits - 2
    tie = (1 << top) + (1 << (top - 8))  # Between two bfloat16.
    x = np.array([tie - 1, tie, tie + 1, 0, 5, np.iinfo(dtype).max], dtype)
    low, step = 2.0**top, 2.0 ** (top - 7)
    signed = np.iinfo(dtype).min < 0
    want = [low, low, low + step, 0.0, 5.0, 2.0 ** (np.iinfo(dtype).bits - signed)]
    assert cast(x, dtypes.bfloat16).astype(np.float64).tolist() == want
    if signed:
        assert cast(-x, dtypes.bfloat16).astype(np.float64).tolist() == [-v for v in want]


def power(x: float, mode: str, saturate: bool) -> int:
    """The code of 2^(code - 127), by the table of Cast's specification."""
    if math.isnan(x):
        return 255
    if math.isinf(x):
        return 254 if saturate else 255
    if x < 2.0**-127:
        return 0 if saturate else 255
    fraction, exponent = math.frexp(x)
    fraction, exponent = 2 * fraction, exponent - 1
    up = fraction > 1 if mode == "up" else fraction >= 1.5 and mode == "nearest"
    code = exponent + 127 + up
    return code if code <= 254 else 254 if saturate else 255


@pytest.mark.parametrize("saturate", (0, 1))
@pytest.mark.parametrize("mode", ("up", "down", "nearest"))
@pytest.mark.parametrize("dtype", (np.float32, np.float64))
def test_powers_of_two(dtype, mode, saturate):
    x = np.ldexp(np.array([1, 1.0001, 1.4999, 1.5, 1.5001, 1.9999]), np.arange(-130, 128)[:, None])
    x = np.append(x, [0.0, np.inf, np.nan, 2.0**-127, 2.0**-140]).astype(dtype)
    want = [power(float(v), mode, bool(saturate)) for v in x]
    got = cast(x, POWERS, round_mode=mode, saturate=saturate)
    assert got.view(np.uint8).tolist() == want


def test_a_power_of_two_comes_back():
    x = codes(POWERS)
    for through in (dtypes.float32, dtypes.float64, dtypes.bfloat16):
        np.testing.assert_array_equal(
            cast(cast(x, through), POWERS).view(np.uint8), x.view(np.uint8)
        )


TEXTS = {
    "0": 0.0, "-2.5": -2.5, "1e-5": 1e-5, "1E8": 1e8, "+3": 3.0, " 7 ": 7.0, ".5": 0.5, "5.": 5.0,
    "+INF": np.inf, "inf": np.inf, "-Inf": -np.inf, "NaN": np.nan, "NAN": np.nan,
    "1e400": np.inf, "-1e400": -np.inf, "1e-400": 0.0, "0.1": 0.1,
    "0." + "0" * 400 + "1": 0.0, "9" * 400: np.inf, "1e99999999999999999999": np.inf,
}  # fmt: skip


@pytest.mark.parametrize("target", (dtypes.float32, dtypes.float64, *HALVES), ids=str)
def test_strings_to_floats(target):
    x = np.array(list(TEXTS), object)
    with np.errstate(over="ignore"):
        want = np.array(list(TEXTS.values())).astype(target.numpy)
    same(cast(x, target), want)


def test_strings_to_integers():
    x = np.array(
        ["0", "-9223372036854775808", "9223372036854775807", "100.5", "-1e3", "+4"], object
    )
    assert cast(x, dtypes.int64).tolist() == [0, -(2**63), 2**63 - 1, 100, -1000, 4]
    assert cast(np.array([str(2**64 - 1)], object), dtypes.uint64).tolist() == [2**64 - 1]
    assert cast(np.array(["1", "0", "True", "false", "0.5"], object), dtypes.bool).tolist() == [
        True, False, True, False, True,
    ]  # fmt: skip


@pytest.mark.parametrize("text", ("Hello World!", "", "1.5x", "+-1", "0x10", "1 2", "é", "+"))
def test_other_strings_are_refused(text):
    for target in (dtypes.float32, dtypes.int64, dtypes.bool, dtypes.float8_e5m2):
        with pytest.raises(InvalidArgumentError, match="a string that spells a number is required"):
            cast(np.array([text], object), target)


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        st.floats(allow_nan=False, allow_subnormal=False),
        st.floats(width=32, allow_nan=False, allow_subnormal=False),
    )
)
def test_a_number_survives_its_spelling(x):
    for target in (dtypes.float64, dtypes.float32):
        with np.errstate(over="ignore"):
            value = np.array([x]).astype(target.numpy)
        value = np.where(abs(value) < np.finfo(target.numpy).tiny, 0, value)  # Flushed.
        text = cast(value, dtypes.string)
        if np.isfinite(value[0]):
            assert text[0] == spell_float(value[0])
        np.testing.assert_array_equal(cast(text, target), value)


def test_every_float16_survives_its_spelling():
    x = codes(dtypes.float16)
    x = x[np.isfinite(x)]
    text = cast(x, dtypes.string)
    np.testing.assert_array_equal(cast(text, dtypes.float16), x)
    assert text[:2].tolist() == ["0.0", "6e-08"]


def test_what_no_cast_knows():
    with pytest.raises(DTypeError, match="no conversion from float32 to complex64"):
        cast(np.ones(2, np.float32), dtypes.complex64)
    with pytest.raises(InvalidArgumentError, match="round_mode must be up, down or nearest"):
        cast(np.ones(2, np.float32), dtypes.float32, round_mode="sideways")
    with pytest.raises(DTypeError, match="must be the number of an element type, got 99"):
        _core.Op("", "Cast", {"to": 99})


def bit_cast(x, target):
    op = _core.Op("", "BitCast", {"to": target.onnx})
    return values.to_numpy(op.run([values.to_native(x)], 1)[0])


def test_bit_cast_keeps_the_width():
    x = codes(dtypes.int4)
    assert bit_cast(x, dtypes.float4_e2m1fn).dtype == ml_dtypes.float4_e2m1fn
    for target in (dtypes.int8, dtypes.int2, dtypes.float6_e2m3fn):
        with pytest.raises(DTypeError, match="a type of 4 bits is required for int4"):
            bit_cast(x, target)


def test_bit_cast_makes_no_third_bool():
    assert bit_cast(np.array([0, 1], np.uint8), dtypes.bool).tolist() == [False, True]
    with pytest.raises(InvalidArgumentError, match="bits of 0 or 1 are required"):
        bit_cast(np.array([2], np.uint8), dtypes.bool)

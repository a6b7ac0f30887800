"""Conversions between element types."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from onnx import numpy_helper

from tests.opinfo.core import OpInfo, S, ml_bits, specials
from toolkit import dtypes

TARGETS = [t for t in (*dtypes.ALL, *dtypes.NARROW, dtypes.string) if not t.is_complex]
SATURATING = (
    dtypes.float8_e4m3fn, dtypes.float8_e4m3fnuz, dtypes.float8_e5m2, dtypes.float8_e5m2fnuz,
)  # fmt: skip
TYPES = ("float32", "float64", "string", "int32", "int64", "bool")
WRAPS = "onnx leaves values outside the target's range open; in range it truncates"
NUMBERS = ("0", "1", "3", "+2", " 1 ", "1.5", "2.75", "1e0", "1E-1", "0.1")


def draw(d, *shape: int, target=None):
    """Numbers, or strings that spell them, in the range of `target`."""
    if d.dtype.kind == "O":
        return np.asarray(d.rng.choice(NUMBERS, shape), object)
    x = d(*shape, low=0 if target is None or not target.is_signed else -3)
    return x if target is None else inside(x, target)


def inside(x, target):
    """`x` with a 1 in place of what `target` has no whole number for."""
    wide = x.astype(np.float64)
    if target.onnx == dtypes.string.onnx or target.is_floating_point or target is dtypes.bool:
        if target is not dtypes.float8_e8m0fnu:
            return x
        low, high = 2.0**-126, 2.0**128
    else:
        bits = ml_bits(target.numpy)
        low = -(2.0 ** (bits - 1)) if target.is_signed else 0
        high = 2.0 ** (bits - target.is_signed)
    with np.errstate(invalid="ignore"):
        return np.where((wide >= low) & (wide < high), x, np.ones((), x.dtype))


def convert(x, target, saturate: bool = True, round_mode: str = "up"):
    """By numpy, ml_dtypes and onnx's helpers."""
    if x.dtype == target.numpy:
        return x
    if target is dtypes.string:
        return np.array([spell(v) for v in x.ravel()], object).reshape(x.shape)
    if x.dtype.kind == "O":
        x = np.array([float(v) for v in x.ravel()]).reshape(x.shape)
    elif dtypes.from_numpy(x.dtype) in dtypes.NARROW:
        x = x.astype(np.float64)  # Exact; ml_dtypes does not know every pair.
    if target is dtypes.float8_e8m0fnu:
        codes = numpy_helper.to_float8e8m0(np.atleast_1d(x), saturate, round_mode)
        return codes.reshape(x.shape)
    if target in SATURATING and saturate:
        return numpy_helper.saturate_cast(x.astype(np.float32), target.numpy)
    return x.astype(target.numpy)


def spell(value) -> str:
    if isinstance(value, str | np.bool_):
        return str(value)
    if isinstance(value, np.integer) or value.dtype.name.startswith(("int", "uint")):
        return str(int(value))
    if not np.isfinite(value):
        return "NaN" if np.isnan(value) else "INF" if value > 0 else "-INF"
    wide = value.dtype.itemsize == 1 or value.dtype == ml_dtypes.bfloat16
    return spell_float(np.float32(value) if wide else value)


def spell_float(x) -> str:
    """Shortest digits, whole numbers in full, without exponent between 1e-4 and 1e16."""
    if abs(float(x)) < 1e16 and float(x).is_integer():
        return str(int(x)) + ".0" if x or not np.signbit(x) else "-0.0"
    if 1e-4 <= abs(float(x)) < 1e16:
        return np.format_float_positional(x, trim="0")
    return np.format_float_scientific(x, trim="-", exp_digits=2)


def cast_samples(d):
    for target in TARGETS:
        for shape in ((), (7,), (65,), (2, 0), (3, 17)):
            yield S(draw(d, *shape, target=target if d.dtype.kind != "O" else None), to=target.onnx)
    for target in SATURATING:
        yield S(draw(d, 65), to=target.onnx, saturate=0)
    for mode in ("up", "down", "nearest"):
        x = draw(d, 65, target=dtypes.float8_e8m0fnu if d.dtype.kind != "O" else None)
        if d.dtype.kind != "O":
            yield S(x, to=dtypes.float8_e8m0fnu.onnx, round_mode=mode)


def cast_reference(sample):
    attributes = {**sample.attributes}
    target = dtypes.BY_ONNX[attributes.pop("to")]
    return [convert(*sample.inputs, target, **attributes)]


def cast_special(d):
    """Only what every source defines: to floats and to bool."""
    for target in (dtypes.float32, dtypes.float64, dtypes.bool, dtypes.float16, dtypes.string):
        yield S(specials(d) if d.dtype.kind != "O" else draw(d, 17), to=target.onnx)


def cast_like_samples(d):
    for target in TARGETS:
        like = np.array(["a"], object) if target is dtypes.string else np.zeros(2, target.numpy)
        yield S(draw(d, 7, target=target if d.dtype.kind != "O" else None), like)


def cast_like_reference(sample):
    x, like = sample.inputs
    target = dtypes.string if like.dtype.kind == "O" else dtypes.from_numpy(like.dtype)
    return [convert(x, target)]


def width(dtype) -> int:
    return ml_bits(dtype) if dtypes.from_numpy(dtype) in dtypes.NARROW else dtype.itemsize * 8


def bit_cast_samples(d):
    same = [t for t in (*dtypes.ALL, *dtypes.NARROW) if width(t.numpy) == width(d.dtype)]
    for target in same:
        yield S(
            d(2, 5) if target is not dtypes.bool else d.bools(2, 5).view(d.dtype), to=target.onnx
        )


def bit_cast_reference(sample):
    return [sample.inputs[0].view(dtypes.BY_ONNX[sample.attributes["to"]].numpy)]


def widening(d):
    return [S(d(3, 7), to=dtypes.float64.onnx)]


ROWS = [
    OpInfo("Cast", cast_samples, dtypes=TYPES, reference=cast_reference, why=WRAPS,
           special=cast_special, grad_samples=widening,
           big=lambda d: [S(draw(d, 100_003), to=t) for t in (1, 6, 7, 11, 10, 17)]),
    OpInfo("CastLike", cast_like_samples, dtypes=TYPES, reference=cast_like_reference,
           why=WRAPS, grad_samples=lambda d: [S(d(3, 7), d(2))], grad=(0,)),
    OpInfo("BitCast", bit_cast_samples, dtypes=("float32", "int32", "int64", "float64", "bool"),
           reference=bit_cast_reference, why="one-line definition", grad=()),
]  # fmt: skip

"""Conversions between element types."""

from __future__ import annotations

import numpy as np

from tests.opinfo.core import ALL, OpInfo, S, specials
from toolkit import dtypes

TARGETS = [
    t for t in dtypes.ALL if t.name in (*ALL, "uint8", "int8", "int16", "float16", "bfloat16")
]
WRAPS = "onnx leaves values outside the target's range open; in range it truncates"


def cast_samples(d):
    for target in TARGETS:
        low = 0 if not target.is_signed else -3
        for shape in ((), (7,), (65,), (2, 0), (3, 17)):
            yield S(d(*shape, low=low), to=target.onnx)


def cast_reference(sample):
    (x,) = sample.inputs
    return [x.astype(dtypes.BY_ONNX[sample.attributes["to"]].numpy)]


def cast_special(d):
    """Only what every source defines: to floats and to bool."""
    for target in (dtypes.float32, dtypes.float64, dtypes.bool, dtypes.float16):
        yield S(specials(d), to=target.onnx)


def cast_like_samples(d):
    for target in TARGETS:
        yield S(d(7, low=0), np.zeros(2, target.numpy))


def cast_like_reference(sample):
    x, like = sample.inputs
    return [x.astype(like.dtype)]


def bits(t) -> int:
    narrow = {"uint2": 2, "int2": 2, "uint4": 4, "int4": 4, "float4_e2m1fn": 4}
    return narrow.get(t.name, 6 if t.name.startswith("float6_") else 8 * t.itemsize)


def bit_cast_samples(d):
    own = dtypes.from_numpy(d.dtype)
    for target in (*dtypes.ALL, *dtypes.NARROW):
        if bits(target) != bits(own):
            continue
        yield S(d(2, 5), to=target.onnx)


def bit_cast_reference(sample):
    return [sample.inputs[0].view(dtypes.BY_ONNX[sample.attributes["to"]].numpy)]


def widening(d):
    return [S(d(3, 7), to=dtypes.float64.onnx)]


ROWS = [
    OpInfo("Cast", cast_samples, dtypes=ALL, reference=cast_reference, why=WRAPS, special=cast_special,
           grad_samples=widening, big=lambda d: [S(d(100_003, low=0), to=t) for t in (1, 6, 7, 11)]),
    OpInfo("CastLike", cast_like_samples, dtypes=ALL, reference=cast_like_reference, why=WRAPS,
           grad_samples=lambda d: [S(d(3, 7), d(2))], grad=(0,)),
    OpInfo("BitCast", bit_cast_samples, dtypes=("float32", "int32", "int64", "float64", "bool"),
           reference=bit_cast_reference, why="one-line definition", grad=()),
]  # fmt: skip

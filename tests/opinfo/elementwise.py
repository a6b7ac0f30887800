"""Elementwise arithmetic, rounding, powers and trigonometry."""

from __future__ import annotations

import math

import numpy as np

from tests.opinfo.core import ALL, NUMBERS, OpInfo, S, binary, i64, specials, unary


def variadic(op_type: str, **row) -> OpInfo:
    """One to four broadcasting inputs."""

    def samples(d):
        yield S(d(7))
        yield S(d())
        yield S(d(65), d(65))
        yield S(d(3, 1, 5), d(4, 1), d(5))
        yield S(d(2, 3), d(), d(1, 3), d(2, 1))
        yield S(d(17), d(1), d(17))
        yield S(d(0, 3), d(3))

    return OpInfo(op_type, samples, big=lambda d: [S(d(70_001), d(70_001), d(1))], **row)


def mean_reference(sample) -> list[np.ndarray]:
    total = sum(np.broadcast_arrays(*sample.inputs)[1:], sample.inputs[0])
    return [np.asarray(total / total.dtype.type(len(sample.inputs)))]


def erf(x: np.ndarray) -> np.ndarray:
    return np.vectorize(math.erf, otypes=[np.float64])(x.astype(np.float64))


def erf_reference(sample) -> list[np.ndarray]:
    (x,) = sample.inputs
    return [erf(x).astype(x.dtype)]


def extremes(op_type: str) -> OpInfo:
    def special(d):
        x = specials(d)
        return [S(np.repeat(x, len(x)), np.tile(x, len(x)))]

    return variadic(op_type, dtypes=NUMBERS, special=special)


def c_divide(sample) -> list[np.ndarray]:
    a, b = sample.inputs
    if a.dtype.kind not in "iu":
        return [np.divide(a, b)]
    return [(np.sign(a) * np.sign(b) * (abs(a) // abs(b))).astype(a.dtype)]


def pow_reference(sample) -> list[np.ndarray]:
    x, y = sample.inputs
    return [np.power(x.astype(np.float64), y.astype(np.float64)).astype(x.dtype)]


def pow_samples(d):
    for a, b in (((), ()), ((7,), (7,)), ((17,), ()), ((3, 1), (1, 65)), ((0,), (1,))):
        yield S(d.positive(*a), d.positive(*b))
    yield S(d(17), d.scalar(2))
    yield S(d(17), d.scalar(3))
    if d.floating:
        yield S(d.positive(17), d.scalar(0.5))
        yield S(d.positive(17), d.scalar(-1.5))
        yield S(d.nonzero(5), i64(2, -3, 0, 1, -1))
    yield S(d(5), np.float32([2, 3, 0, 1, 4]))


def clip_samples(d):
    yield S(d(65), d.scalar(-1 if d.dtype.kind != "u" else 1), d.scalar(2))
    yield S(d(2, 3, 5), None, d.scalar(1))
    yield S(d(17), d.scalar(1))
    yield S(d(7))
    yield S(d(), d.scalar(0), d.scalar(1))
    yield S(d(0), d.scalar(0), d.scalar(1))
    yield S(d(9), d.scalar(3), d.scalar(1))


SIGNED_NUMBERS = NUMBERS
ROWS = [
    unary("Abs", dtypes=NUMBERS, kinks=(0,)),
    unary("Acos", -0.95, 0.95),
    unary("Acosh", 1.1, 4),
    unary("Asin", -0.95, 0.95),
    unary("Asinh"),
    unary("Atan"),
    unary("Atanh", -0.95, 0.95),
    unary("Ceil", kinks=tuple(range(-4, 5))),
    unary("Cos", special=lambda d: [S(d.scalar([0, -0.0, 1e4, -1e4, np.inf, np.nan]))]),
    unary("Cosh"),
    unary("Erf", reference=erf_reference, why="it computes in float32"),
    unary("Exp"),
    unary("Floor", kinks=tuple(range(-4, 5))),
    unary("Identity", dtypes=ALL),
    unary("Log", 0.1, 4),
    unary("Neg", dtypes=SIGNED_NUMBERS),
    unary("Reciprocal", 0.3, 3),
    unary(
        "Round",
        special=lambda d: [S(specials(d)), S(d.scalar([0.5, 1.5, 2.5, -0.5, -1.5, 2.4999, 1e9]))],
    ),
    unary("Sign", dtypes=NUMBERS),
    unary("Sin", special=lambda d: [S(d.scalar([0, -0.0, 1e4, -1e4, np.inf, np.nan]))]),
    unary("Sinh"),
    unary("Sqrt", 0.1, 4),
    unary("Tan", -1.2, 1.2, special=lambda d: [S(d.scalar([0, -0.0, 1e4, np.inf, np.nan]))]),
    unary("Tanh"),
    binary("Add", dtypes=NUMBERS),
    binary("Sub", dtypes=NUMBERS),
    binary("Mul", dtypes=NUMBERS),
    binary("Div", right="nonzero", dtypes=NUMBERS, special=False, reference=c_divide,
           why="integers: ONNX truncates toward zero; the reference floors").but(
        special=lambda d: [S(np.repeat(specials(d), 15), np.tile(specials(d), 15))]
        if d.floating else []),
    binary("Mod", right="nonzero", dtypes=("int32", "int64"), special=False),
    binary("Mod", right="nonzero", dtypes=NUMBERS, special=False, attributes=[{"fmod": 1}]).but(
        variant="fmod", kinks=(), grad=(0, 1)),
    OpInfo("Pow", pow_samples, dtypes=NUMBERS, reference=pow_reference,
           why="computes in the base's type after casting the exponent",
           big=lambda d: [S(d.positive(70_001), d.positive(70_001))]),
    extremes("Max"),
    extremes("Min"),
    variadic("Mean", reference=mean_reference, why="it does not broadcast"),
    variadic("Sum"),
    OpInfo("Clip", clip_samples, dtypes=NUMBERS, kinks=(-1, 0, 1, 2, 3), grad=(0, 1, 2),
           big=lambda d: [S(d(100_003), d.scalar(0), d.scalar(1))],
           special=lambda d: [S(specials(d), d.scalar(0), d.scalar(1))]),
]  # fmt: skip

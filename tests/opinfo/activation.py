"""Activations."""

from __future__ import annotations

import numpy as np

from tests.opinfo.core import FLOATS, NUMBERS, SHAPES, OpInfo, S, binary, unary
from tests.opinfo.elementwise import erf


def axis_samples(d):
    for shape, axis in (((7,), -1), ((3, 65), 1), ((2, 3, 17), 1), ((2, 5, 3), 0), ((4, 1), -1),
                        ((0, 3), -1), ((3, 2, 2, 5), -2), ((2, 130), -1)):  # fmt: skip
        yield S(d(*shape), axis=axis)
    yield S(d(3, 7))
    yield S(d(2, 3, 5))


def axis_row(op_type: str, **row) -> OpInfo:
    return OpInfo(
        op_type,
        axis_samples,
        big=lambda d: [S(d(37, 1001)), S(d(20, 65, 33), axis=1)],
        special=lambda d: [
            S(d.scalar([[1e30, -1e30, 0], [88, 89, 90], [-200, -200, -201], [1000, 0, 1]])),
            S(d.scalar([[0, -np.inf, 1], [np.nan, 0, 1]])),
        ],
        **row,
    )


def softplus(sample):
    (x,) = sample.inputs
    return [np.logaddexp(x.dtype.type(0), x)]


def log_softmax(sample):
    (x,) = sample.inputs
    axis = sample.attributes.get("axis", -1)
    z = x.astype(np.float64)
    if z.size:
        z = z - z.max(axis, keepdims=True)
    return [(z - np.log(np.exp(z).sum(axis, keepdims=True))).astype(x.dtype)]


def softsign(sample):
    (x,) = sample.inputs
    return [x / (1 + abs(x))]


def mish(sample):
    (x,) = sample.inputs
    return [(x * np.tanh(np.logaddexp(0, x.astype(np.float64)))).astype(x.dtype)]


def swish(sample):
    (x,) = sample.inputs
    return [(x * (1 / (1 + np.exp(-sample.attributes.get("alpha", 1.0) * x)))).astype(x.dtype)]


def gelu(sample):
    (x,) = sample.inputs
    z = x.astype(np.float64)
    if sample.attributes.get("approximate", "none") == "tanh":
        y = 0.5 * z * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)))
    else:
        y = 0.5 * z * (1 + erf(z / np.sqrt(2)))
    return [y.astype(x.dtype)]


def hard_swish(sample):
    (x,) = sample.inputs
    z = x.astype(np.float64)
    return [(z * np.clip(z / 6 + 0.5, 0, 1)).astype(x.dtype)]


def hardmax(sample):
    (x,) = sample.inputs
    axis = sample.attributes.get("axis", -1)
    y = np.zeros_like(x)
    if x.size:
        np.put_along_axis(y, np.expand_dims(x.argmax(axis), axis), 1, axis)
    return [y]


FINITE = [0.0, -0.0, 1.0, -1.0, 20.5, -20.5, 88.0, -88.0, 300.0, -300.0, 1e30, -1e30]


def finite(d):
    """Where the formula at an infinity is 0 * inf, runtimes differ; everything finite must hold."""
    return [S(d.scalar(FINITE))]


ROWS = [
    unary("Celu", attributes=[{}, {"alpha": 0.5}], kinks=(0,)),
    unary("Elu", attributes=[{}, {"alpha": 0.5}], kinks=(0,)),
    unary("Gelu", reference=gelu, why="its erf is float32", attributes=[{}, {"approximate": "tanh"}], special=finite),
    unary("HardSigmoid", attributes=[{}, {"alpha": 0.5, "beta": 0.4}], kinks=(-2.5, 2.5, -0.8, 1.2)),
    unary("HardSwish", -5, 5, reference=hard_swish, why="its 1/6 is float32", kinks=(-3, 3), special=finite),
    unary("LeakyRelu", attributes=[{}, {"alpha": 0.3}], kinks=(0,)),
    unary("Mish", reference=mish, why="its exp overflows", special=finite),
    unary("Relu", dtypes=NUMBERS, kinks=(0,)),
    unary("Selu", attributes=[{}, {"alpha": 1.5, "gamma": 1.1}], kinks=(0,)),
    unary("Shrink", attributes=[{}, {"lambd": 1.0, "bias": 0.5}], kinks=(-0.5, 0.5, -1, 1)),
    unary("Sigmoid"),
    unary("Softplus", reference=softplus, why="its exp overflows"),
    unary("Softsign", special=finite, reference=softsign, why="it fails on a scalar"),
    unary("Swish", attributes=[{}, {"alpha": 1.7}], reference=swish, why="its exp overflows", special=finite),
    unary("ThresholdedRelu", attributes=[{}, {"alpha": 0.5}], kinks=(0.5, 1)),
    binary("PRelu", dtypes=FLOATS, kinks=(0,), special=False).but(
        samples=lambda d: [S(d(*a), d(*b)) for a, b in (
            ((7,), (7,)), ((65,), (1,)), ((2, 3, 5), (3, 1)), ((2, 3, 17), (17,)), ((0, 2), (1,)), ((), ()))],
        big=lambda d: [S(d(100_003), d(1)), S(d(9, 65, 130), d(65, 1))]),
    OpInfo("SwiGLU", lambda d: [S(d(*s), d(*s), **a) for s in SHAPES for a in ({}, {"alpha": 1.75})],
           big=lambda d: [S(d(37, 1001), d(37, 1001))]),
    axis_row("Softmax"),
    axis_row("LogSoftmax", reference=log_softmax, why="the log of an underflowed exp is -inf"),
    axis_row("Hardmax", grad=(), reference=hardmax, why="fails on empty input").but(special=None),
]  # fmt: skip

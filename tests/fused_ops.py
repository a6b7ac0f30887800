"""Rows of fused kernels on codes, which no schema describes: files may name them all the same."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tests.opinfo.core import Draw, OpInfo, S, Sample

DOMAIN = "toolkit.fused"


def f32(value: float) -> np.ndarray:
    return np.array([value], np.float32)


def zero(value: int, dtype: np.dtype | type = np.uint8) -> np.ndarray:
    return np.array([value], dtype)


def convolutions(d: Draw) -> Iterable[Sample]:
    rng = d.rng
    for channels, outputs, group, size in (
        (4, 40, 1, 3), (3, 5, 1, 3), (3, 33, 1, 1), (36, 36, 36, 3), (70, 70, 70, 3), (8, 6, 2, 2),
    ):  # fmt: skip
        w = rng.integers(-128, 128, (outputs, channels // group, size, size), np.int8)
        scale = rng.uniform(0.01, 0.02, outputs).astype(np.float32)
        bias = rng.integers(-900, 900, outputs).astype(np.int32)
        x = d(2, 7, 6, channels)
        ends = (f32(0.02), zero(5), w, scale, f32(0.9), zero(3), bias)
        yield S(x, *ends, group=group, pads=[1, 0, 1, 1], strides=[1, 2])
    w = rng.integers(-128, 128, (5, 3, 3, 3), np.int8)
    ends = (f32(0.02), zero(5), w, f32(0.01), f32(0.9), zero(3))
    yield S(d(1, 4, 0, 3), *ends, pads=[1, 2, 1, 2])  # Padding alone.
    w = rng.integers(-128, 128, (40, 37), np.int8)
    yield S(d(3, 37), f32(0.02), zero(5), w, f32(0.01), f32(0.9), zero(3))


def pools(d: Draw) -> Iterable[Sample]:
    for shape in ((2, 5, 6, 70), (1, 3, 3, 1)):
        yield S(d(*shape), kernel_shape=[3, 2], pads=[1, 0, 1, 1], strides=[2, 1])


def averages(d: Draw) -> Iterable[Sample]:
    for sample in pools(d):
        ends = (f32(0.5), zero(2), f32(0.7), zero(3))
        yield S(*sample.inputs, *ends, **sample.attributes)
        yield S(*sample.inputs, *ends, **{"global": 1})


def pairs(d: Draw) -> Iterable[Sample]:
    for a, b in (((7,), (7,)), ((2, 3, 65), (2, 3, 65)), ((3, 17), (3, 1)), ((), (3, 4))):
        ends = [f32(0.5), zero(2, d.dtype)]
        yield S(d(*a), *ends, d(*b), *ends, f32(0.7), zero(3, d.dtype), relu=1)


def tables(d: Draw) -> Iterable[Sample]:
    for shape in ((), (0,), (7,), (65,), (3, 50)):
        yield S(d(*shape), d.rng.permutation(256).astype(np.uint8))


BYTES = ("uint8", "int8")
ROWS = [
    OpInfo("QConvNhwc", convolutions, DOMAIN, dtypes=("uint8",)),
    OpInfo("MaxPoolNhwc", pools, DOMAIN, dtypes=("uint8",)),
    OpInfo("QAveragePoolNhwc", averages, DOMAIN, dtypes=("uint8",)),
    OpInfo("QAdd", pairs, DOMAIN, dtypes=BYTES),
    OpInfo("QMul", pairs, DOMAIN, dtypes=BYTES),
    OpInfo("CodesTable", tables, DOMAIN, dtypes=BYTES),
]

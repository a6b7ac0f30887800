"""Pooling and its gradients."""

from __future__ import annotations

import itertools

import numpy as np

from tests.opinfo.conv import pads_of
from tests.opinfo.core import OpInfo, S, Sample, i64

POOLS = (
    ((1, 1, 7), {"kernel_shape": [3]}),
    ((2, 3, 17), {"kernel_shape": [4], "strides": [2], "pads": [1, 2]}),
    ((2, 3, 8, 8), {"kernel_shape": [2, 2], "strides": [2, 2]}),
    ((1, 2, 9, 7), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ((1, 2, 9, 7), {"kernel_shape": [3, 2], "strides": [2, 3], "pads": [0, 1, 1, 0]}),
    ((1, 2, 10, 10), {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    ((1, 1, 9, 9), {"kernel_shape": [2, 2], "dilations": [2, 3]}),
    ((1, 2, 7, 8), {"kernel_shape": [3, 2], "auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    ((1, 2, 7, 8), {"kernel_shape": [2, 4], "auto_pad": "SAME_LOWER"}),
    ((1, 2, 7, 8), {"kernel_shape": [3, 3], "auto_pad": "VALID"}),
    ((1, 2, 4, 5, 6), {"kernel_shape": [2, 3, 2], "strides": [1, 2, 2], "pads": [1, 0, 1, 0, 1, 0]}),
    ((0, 3, 5, 5), {"kernel_shape": [2, 2]}),
)  # fmt: skip
AVERAGE = tuple((x, {**a, "count_include_pad": 1}) for x, a in POOLS if "pads" in a)
CEIL_PADS = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1}
MAX = (
    ((1, 2, 8, 7), CEIL_PADS),
    ((1, 2, 8, 8), {"kernel_shape": [3, 3], "strides": [2, 2], "storage_order": 1}),
)
BIG = (2, 9, 65, 63)
BIG_POOL = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}


def windows(shape: tuple[int, ...], attrs: dict):
    """(output position, the flat input offsets of its window, size with padding) for one channel."""
    kernel, n = attrs["kernel_shape"], len(shape)
    strides, dilations = attrs.get("strides", [1] * n), attrs.get("dilations", [1] * n)
    pads = pads_of(shape, tuple(kernel), attrs)
    positions, sizes = [], []
    for i in range(n):
        span = shape[i] + pads[i] + pads[n + i] - dilations[i] * (kernel[i] - 1) - 1
        count = (-(-span // strides[i]) if attrs.get("ceil_mode") else span // strides[i]) + 1
        if attrs.get("ceil_mode") and (count - 1) * strides[i] >= shape[i] + pads[i]:
            count -= 1  # A window that starts in the far padding is dropped.
        starts = [o * strides[i] - pads[i] for o in range(count)]
        taps = [[s + k * dilations[i] for k in range(kernel[i])] for s in starts]
        positions.append([[t for t in row if 0 <= t < shape[i]] for row in taps])
        sizes.append([sum(t < shape[i] + pads[n + i] for t in row) for row in taps])
    for out in itertools.product(*(range(len(p)) for p in positions)):
        inside = itertools.product(*(positions[i][o] for i, o in enumerate(out)))
        offsets = [int(np.ravel_multi_index(p, shape)) for p in inside]
        yield out, offsets, int(np.prod([sizes[i][o] for i, o in enumerate(out)]))


def pool(x: np.ndarray, attrs: dict, reduce) -> tuple[np.ndarray, ...]:
    """reduce(values, offsets, padded size) -> a tuple of numbers, for every window."""
    table = list(windows(x.shape[2:], attrs))
    out_shape = tuple(np.array(table[-1][0]) + 1)
    flat = x.reshape(*x.shape[:2], int(np.prod(x.shape[2:])))
    rows = [
        [[reduce(flat[n, c][offsets], offsets, size) for _, offsets, size in table]
         for c in range(x.shape[1])] for n in range(x.shape[0])
    ]  # fmt: skip
    width = len(reduce(np.ones(1), [0], 1))
    values = np.array(rows, np.float64).reshape(*x.shape[:2], *map(int, out_shape), width)
    return tuple(values[..., i] for i in range(width))


def max_reference(sample: Sample) -> list[np.ndarray]:
    (x,) = sample.inputs
    spatial = x.shape[2:]
    y, offsets = pool(x, sample.attributes, lambda v, o, _: (v.max(), o[int(v.argmax())]))
    offsets = offsets.astype(np.int64)
    if sample.attributes.get("storage_order"):
        at = np.unravel_index(offsets, spatial)
        offsets = np.ravel_multi_index(at[::-1], spatial[::-1])
    plane = np.arange(x.shape[0] * x.shape[1]).reshape(*x.shape[:2], *[1] * len(spatial))
    return [y.astype(x.dtype), (offsets + plane * int(np.prod(spatial))).astype(np.int64)]


def average_reference(sample: Sample) -> list[np.ndarray]:
    (x,) = sample.inputs
    padded = sample.attributes.get("count_include_pad", 0)
    (y,) = pool(x.astype(np.float64), sample.attributes,
                lambda v, o, size: (v.sum() / (size if padded else len(v)),))  # fmt: skip
    return [y.astype(x.dtype)]


def max_grad_reference(sample: Sample) -> list[np.ndarray]:
    x, dy = sample.inputs
    attrs = {k: v for k, v in sample.attributes.items() if k != "storage_order"}
    indices = max_reference(S(x, **attrs))[1]
    dx = np.zeros(x.size, np.float64)
    np.add.at(dx, indices.ravel(), dy.ravel())
    return [dx.reshape(x.shape).astype(x.dtype)]


def average_grad_reference(sample: Sample) -> list[np.ndarray]:
    dy, shape = sample.inputs
    padded = sample.attributes.get("count_include_pad", 0)
    dx = np.zeros((*shape[:2], int(np.prod(shape[2:]))), np.float64)
    for out, offsets, size in windows(tuple(shape[2:]), sample.attributes):
        share = dy[(slice(None), slice(None), *out)] / (size if padded else len(offsets))
        dx[..., offsets] += share[..., None]
    return [dx.reshape(shape).astype(dy.dtype)]


def max_samples(d):
    for x, attrs in POOLS + MAX:
        yield S(d.distinct(*x), **attrs)
        yield S(d.distinct(*x), outputs=2, **attrs)
    yield S(d(1, 1, 6, 6), kernel_shape=[3, 3])
    yield S(np.round(d(2, 2, 9)), kernel_shape=[3], outputs=2)


def average_samples(d):
    for x, attrs in POOLS + AVERAGE:
        yield S(d(*x), **attrs)


def max_grad_samples(d):
    for x, attrs in POOLS + MAX:
        vx = d.distinct(*x) if d.rng.random() < 0.5 else np.round(d(*x))
        yield S(vx, d(*max_reference(S(vx, **attrs))[0].shape), **attrs)


def average_grad_samples(d):
    for x, attrs in POOLS + AVERAGE:
        y = average_reference(S(np.zeros(x), **attrs))[0]
        yield S(d(*y.shape), i64(*x), **attrs)


def lp_samples(d):
    yield S(d(1, 2, 7), kernel_shape=[3], p=3)
    yield S(d(1, 2, 8, 7), **CEIL_PADS)
    yield S(d(1, 2, 9, 9), **{**CEIL_PADS, "strides": [2, 3], "pads": [1, 1, 1, 0]})
    for x, attrs in POOLS:
        yield S(d(*x), **attrs)
        yield S(d(*x), p=1, **attrs)


def lp_reference(sample: Sample) -> list[np.ndarray]:
    (x,) = sample.inputs
    p = sample.attributes.get("p", 2)
    (y,) = pool(abs(x.astype(np.float64)) ** p, sample.attributes,
                lambda v, *_: (v.sum() ** (1 / p),))  # fmt: skip
    return [y.astype(x.dtype)]


GLOBAL = ((1, 1, 7), (2, 3, 5, 4), (2, 17, 9, 9), (1, 2, 3, 4, 5), (2, 3, 1))


def global_reference(reduce):
    def reference(sample: Sample) -> list[np.ndarray]:
        (x,) = sample.inputs
        axes = tuple(range(2, x.ndim))
        return [reduce(x.astype(np.float64), axes, sample.attributes).astype(x.dtype)]

    return reference


global_max = global_reference(lambda x, axes, _: x.max(axes, keepdims=True))


@global_reference
def global_lp(x, axes, attrs):
    p = attrs.get("p", 2)
    return (abs(x) ** p).sum(axes, keepdims=True) ** (1 / p)


def global_row(op_type: str, distinct: bool = False, attributes=({},), **row) -> OpInfo:
    def samples(d):
        return [S((d.distinct if distinct else d)(*x), **a) for a in attributes for x in GLOBAL]

    return OpInfo(op_type, samples, big=lambda d: [S(d(3, 37, 65, 33))], **row)


SLOW = "its auto_pad and ceil_mode differ from the formula in places"
ROWS = [
    OpInfo("MaxPool", max_samples, grad_samples=lambda d: list(max_samples(d))[:-1], reference=max_reference, why=SLOW,
           big=lambda d: [S(d(*BIG), outputs=2, **BIG_POOL), S(d(4, 30, 301), kernel_shape=[5])]),
    OpInfo("AveragePool", average_samples, reference=average_reference, why=SLOW,
           big=lambda d: [S(d(*BIG), **BIG_POOL)]),
    OpInfo("LpPool", lp_samples, reference=lp_reference, why=SLOW, kinks=(0,), tolerance=2,
           big=lambda d: [S(d(*BIG), **BIG_POOL)]),
    global_row("GlobalAveragePool"),
    global_row("GlobalMaxPool", distinct=True, reference=global_max, why="its shape is wrong but for 4-d"),
    global_row("GlobalLpPool", attributes=[{}, {"p": 1}, {"p": 3}], kinks=(0,), tolerance=4,
               reference=global_lp, why="onnx.reference lacks it"),
    OpInfo("MaxPoolGrad", max_grad_samples, "toolkit.grad", reference=max_grad_reference, grad=(1,),
           big=lambda d: [S(d(*BIG), d(2, 9, 33, 32), **BIG_POOL)]),
    OpInfo("AveragePoolGrad", average_grad_samples, "toolkit.grad", grad=(0,),
           reference=average_grad_reference,
           big=lambda d: [S(d(2, 9, 33, 32), i64(*BIG), **BIG_POOL)]),
]  # fmt: skip

"""Gather, scatter and their relatives."""

from __future__ import annotations

import numpy as np

from tests.opinfo.core import ALL, NUMBERS, OpInfo, S, Sample, i64
from toolkit.dtypes import NARROW, from_numpy

GATHER = (
    ((7,), (3,), 0),
    ((5, 4), (), 0),
    ((5, 4), (2, 3), 1),
    ((5, 4), (0,), 0),
    ((2, 3, 17), (65,), -1),
    ((2, 5, 3), (2, 2), 1),
    ((65, 3), (1, 7), -2),
)


def gather_samples(d):
    for shape, at, axis in GATHER:
        yield S(d(*shape), d.index(shape[axis], *at), axis=axis)
    yield S(d(5, 2), d.index(5, 4, dtype="int32"))


def gather_grad_samples(d):
    for shape, at, axis in GATHER:
        indices = d.index(shape[axis], *at)
        dy = np.take(np.zeros(shape), indices, axis)
        yield S(d(*dy.shape), indices, i64(*shape), axis=axis)


def gather_grad(sample: Sample) -> list[np.ndarray]:
    dy, indices, shape = sample.inputs
    axis = sample.attributes.get("axis", 0) % len(shape)
    dx = np.zeros(shape, np.float64)
    front = np.moveaxis(dx, axis, 0)
    lead = np.moveaxis(dy, range(axis, axis + indices.ndim), range(indices.ndim))
    np.add.at(front, indices, lead)
    return [dx.astype(dy.dtype)]


def gather_elements_samples(d):
    for shape, at, axis in (((7,), (9,), 0), ((3, 5), (2, 5), 0), ((3, 5), (3, 7), 1), ((2, 3, 4), (1, 3, 2), -1),
                            ((5, 2), (0, 2), 0), ((65, 3), (17, 3), 0)):  # fmt: skip
        yield S(d(*shape), d.index(shape[axis], *at), axis=axis)
    yield S(d(4), d.index(4, 3, dtype="int32"))


def nd_index(d, shape, lead, depth, batch: int = 0) -> np.ndarray:
    bounds = shape[batch : batch + depth]
    return np.stack([d.index(b, *lead) for b in bounds], -1).reshape(*lead, depth)


def gather_nd_samples(d):
    for shape, lead, depth, batch in (((7,), (3,), 1, 0), ((3, 5), (4,), 2, 0), ((3, 5, 2), (2, 3), 2, 0),
                                      ((2, 3, 4), (2, 5), 1, 1), ((2, 3, 4, 5), (2, 3, 2), 2, 2), ((3, 4), (0,), 1, 0),
                                      ((5, 65), (3,), 1, 0)):  # fmt: skip
        yield S(d(*shape), nd_index(d, shape, lead, depth, batch), batch_dims=batch)


def gather_elements(sample: Sample) -> list[np.ndarray]:
    data, indices = sample.inputs
    at = list(np.indices(indices.shape))
    at[sample.attributes.get("axis", 0) % data.ndim] = indices
    return [data[tuple(at)]]


def reductions(d) -> tuple[str, ...]:
    """Complex numbers have no order; strings and narrow types only move."""
    if d.dtype.kind == "O" or from_numpy(d.dtype) in NARROW:
        return ()
    return ("add", "mul") if d.dtype.kind == "c" else ("add", "mul", "max", "min")


def unique_elements(d, shape, at, axis) -> np.ndarray:
    """Indices with no duplicates along `axis`."""
    order = np.argsort(d.rng.random((*at[:axis], shape[axis], *at[axis + 1 :])), axis)
    picked = np.take(order, range(at[axis]), axis)
    return np.where(d.rng.random(picked.shape) < 0.5, picked, picked - shape[axis]).astype(np.int64)


def scatter_elements_samples(d):
    for shape, at, axis in (((7,), (3,), 0), ((3, 5), (2, 4), 1), ((5, 3, 2), (4, 2, 2), 0), ((65, 3), (17, 3), 0),
                            ((4,), (0,), 0)):  # fmt: skip
        yield S(d(*shape), unique_elements(d, shape, at, axis), d(*at), axis=axis)
        for reduction in reductions(d):
            yield S(d(*shape), d.index(shape[axis], *at), d(*at), axis=axis, reduction=reduction)
    yield S(d(3, 4), unique_elements(d, (3, 4), (3, 2), 1), d(3, 2), axis=-1)


def scatter_elements(sample: Sample) -> list[np.ndarray]:
    data, indices, updates = sample.inputs
    axis = sample.attributes.get("axis", 0) % data.ndim
    at = list(np.indices(indices.shape, sparse=False))
    at[axis] = np.where(indices < 0, indices + data.shape[axis], indices)
    return [scattered(data, tuple(at), updates, sample.attributes.get("reduction", "none"))]


def scatter_nd(sample: Sample) -> list[np.ndarray]:
    data, indices, updates = sample.inputs
    at = tuple(np.moveaxis(indices, -1, 0))
    return [scattered(data, at, updates, sample.attributes.get("reduction", "none"))]


def scattered(data, at, updates, reduction) -> np.ndarray:
    y = data.copy()
    if reduction == "none":
        y[at] = updates
    else:
        ufunc = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}[reduction]
        ufunc.at(y, at, updates)
    return y


def scatter_nd_samples(d):
    for shape, lead, depth in (((7,), (3,), 1), ((3, 5), (4,), 2), ((5, 3, 2), (2,), 1), ((3, 4, 2), (2, 2), 2),
                               ((4, 3), (0,), 1)):  # fmt: skip
        n = int(np.prod(shape[:depth]))
        flat = d.permuted(n)[: int(np.prod(lead))]
        at = (
            np.stack(np.unravel_index(flat, shape[:depth]), -1)
            .reshape(*lead, depth)
            .astype(np.int64)
        )
        updates = (*lead, *shape[depth:])
        yield S(d(*shape), at, d(*updates))
        for reduction in reductions(d):
            at = nd_index(d, shape, lead, depth)
            yield S(d(*shape), at, d(*updates), reduction=reduction)


def tensor_scatter_samples(d):
    for shape, length, axis in (((2, 3, 5, 4), 2, -2), ((3, 7), 4, 1), ((2, 3, 5), 5, -1), ((2, 4, 3, 2), 3, 1),
                                ((2, 5, 3), 0, 1), ((0, 5, 3), 2, 1), ((1, 65, 17), 7, 1)):  # fmt: skip
        update = list(shape)
        update[axis] = length
        size = shape[axis]
        yield S(d(*shape), d(*update), axis=axis)
        first = d.index(size - length + 1, shape[0], negative=False)
        yield S(d(*shape), d(*update), first, axis=axis, mode="linear")
        first = d.index(9, shape[0], negative=False)
        yield S(d(*shape), d(*update), first, axis=axis, mode="circular")
    yield S(d(2, 3, 4), d(2, 2, 4), i64(1, 0))
    if d.dtype.kind != "f":  # Not in gradients: onnxruntime refuses them.
        yield S(d(2, 3, 4), d(2, 2, 4), i64(-1, -10), mode="circular")


def tensor_scatter(sample: Sample) -> list[np.ndarray]:
    cache, update, first = (*sample.inputs, None)[:3]
    axis, y = sample.attributes.get("axis", -2), cache.copy()
    for n in range(len(cache)):
        at = (np.arange(update.shape[axis]) + (0 if first is None else first[n])) % cache.shape[
            axis
        ]
        np.moveaxis(y, axis, 1)[n][at] = np.moveaxis(update, axis, 1)[n]
    return [y]


def one_hot_samples(d):
    values = d.scalar([0, 1])
    for kind in ("uint8", "int16", "uint64", "float16", "float32", "float64"):
        yield S(np.array([2, 0, 9], kind), np.array(3, kind), values)
    yield S(i64(0, 2, 1), i64(3), values)
    yield S(i64(-1, 2, 5), i64(3)[0], values)
    yield S(d.index(7, 2, 3), i64(7), d.scalar([2, 5]), axis=0)
    yield S(d.index(7, 2, 3), i64(7), values, axis=1)
    yield S(np.int32([1, 0]), np.int32([4]), values, axis=-2)
    yield S(np.int64(2), i64(4), values)
    yield S(i64(), i64(4), values)


def one_hot(sample: Sample) -> list[np.ndarray]:
    indices, depth, values = sample.inputs
    n, axis = int(np.ravel(depth)[0]), sample.attributes.get("axis", -1)
    hot = np.where(indices < 0, indices + n, indices)[..., None] == np.arange(n)
    return [np.moveaxis(np.where(hot, values[1], values[0]), -1, axis).astype(values.dtype)]


def compress_samples(d):
    yield S(d(7), np.array([1, 0, 1, 1, 0, 0, 1], bool))
    yield S(d(3, 4), np.array([1, 0, 1], bool), axis=0)
    yield S(d(3, 4), np.array([0, 1, 1], bool), axis=-1)
    yield S(d(3, 4), np.array([0, 1, 0, 0, 1], bool))
    yield S(d(2, 3), np.array([0, 0], bool), axis=0)


def levels(d, x) -> np.ndarray:
    """Small integers as values of the type; as strings, 0 is the empty one."""
    if d.dtype.kind != "O":
        return np.asarray(x).astype(d.dtype)
    return np.array(["", "b", "ab", "é"], object)[np.asarray(x)]


def unique_samples(d):
    for sort in (1, 0):
        x = levels(d, d.index(4, 17, negative=False))
        yield S(x, outputs=4, sorted=sort)
        yield S(x.reshape(17, 1)[:, [0, 0]], outputs=4, sorted=sort, axis=0)
        yield S(levels(d, [[1, 0, 1], [0, 1, 0]]), outputs=4, sorted=sort, axis=1)
    yield S(d(3, 2))


def unique_reference(sample: Sample) -> list[np.ndarray]:
    (x,) = sample.inputs
    axis = sample.attributes.get("axis")
    plain = x.astype(str) if x.dtype.kind == "O" else x  # Objects have no order along an axis.
    y, first, inverse, counts = np.unique(plain, True, True, True, axis=axis)
    y = y.astype(x.dtype)
    inverse = inverse.ravel()
    if not sample.attributes.get("sorted", 1):
        order = np.argsort(first)
        y, first, counts = np.take(y, order, axis or 0), first[order], counts[order]
        inverse = np.argsort(order)[inverse]
    return [y, *(v.astype(np.int64) for v in (first, inverse, counts))]


def non_zero_samples(d):
    for shape in ((7,), (3, 5), (2, 3, 4), (0, 3), (65,)):
        yield S(levels(d, d.index(3, *shape, negative=False)))


def suppression_samples(d):
    corner, size = d(2, 9, 2, low=0, high=4), d.positive(2, 9, 2)
    boxes, scores = (
        np.concatenate([corner, corner + size], -1),
        d.rng.random((2, 3, 9)).astype(np.float32),
    )
    yield S(boxes, scores, i64(4), np.float32([0.3]), np.float32([0.2]))
    yield S(boxes, scores, i64(9), np.float32([0.5]))
    yield S(boxes[:1], scores[:1], i64(2), np.float32([0.0]), np.float32([0.0]), center_point_box=1)


INDEX = {"dtypes": ALL}
ROWS = [
    OpInfo("Gather", gather_samples, **INDEX, big=lambda d: [S(d(1001, 65), d.index(1001, 999))]),
    OpInfo("GatherElements", gather_elements_samples, **INDEX, reference=gather_elements,
           why="it wants indices of the data's shape",
           big=lambda d: [S(d(301, 65), d.index(301, 303, 65))]),
    OpInfo("GatherND", gather_nd_samples, **INDEX,
           big=lambda d: [S(d(301, 65, 3), nd_index(d, (301, 65, 3), (9999,), 2))]),
    OpInfo("ScatterElements", scatter_elements_samples, **INDEX, reference=scatter_elements,
           why="reductions with negative or duplicate indices",
           big=lambda d: [S(d(301, 65), d.index(301, 303, 65), d(303, 65), reduction="add")]),
    OpInfo("ScatterND", scatter_nd_samples, **INDEX, reference=scatter_nd,
           why="reductions with duplicate indices",
           big=lambda d: [S(d(301, 65), d.index(301, 999, 1), d(999, 65), reduction="add")]),
    OpInfo("TensorScatter", tensor_scatter_samples, **INDEX, reference=tensor_scatter,
           why="negative indices in circular mode",
           big=lambda d: [S(d(3, 301, 65), d(3, 99, 65), i64(0, 100, 202))]),
    OpInfo("OneHot", one_hot_samples, dtypes=ALL, typed_by=None, reference=one_hot, grad=(2,),
           grad_samples=lambda d: [s for s in one_hot_samples(d) if s.inputs[0].ndim],
           why="indices out of range give all off values",
           big=lambda d: [S(d.index(301, 999), i64(301), d.scalar([0, 1]))]),
    OpInfo("Compress", compress_samples, **INDEX,
           big=lambda d: [S(d(999, 65), d.bools(999), axis=0), S(d(99, 650), d.bools(650), axis=1)]),
    OpInfo("Unique", unique_samples, dtypes=NUMBERS, reference=unique_reference,
           why="shapes of its extra outputs",
           big=lambda d: [S(levels(d, d.index(40, 100_003, negative=False)), outputs=4)]),
    OpInfo("NonZero", non_zero_samples, dtypes=ALL, big=lambda d: [S(d.bools(99, 1001).astype(d.dtype))]),
    OpInfo("NonMaxSuppression", suppression_samples, dtypes=("float32",)),
    OpInfo("GatherGrad", gather_grad_samples, "toolkit.grad", reference=gather_grad, grad=(0,),
           tolerance=4, big=lambda d: [S(d(999, 65), d.index(301, 999), i64(301, 65), axis=0)]),
]  # fmt: skip

"""Reductions, arg-reductions, cumulative sums, TopK."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.opinfo.core import FLOATS, NUMBERS, OpInfo, S, Sample, i64

REDUCE = (
    ((7,), None, {}),
    ((), None, {}),
    ((65,), [0], {"keepdims": 0}),
    ((3, 17), [1], {}),
    ((17, 3), [0], {"keepdims": 0}),
    ((2, 3, 5), [-1], {}),
    ((2, 3, 5), [1], {"keepdims": 0}),
    ((2, 3, 5), [0, 2], {"keepdims": 0}),
    ((2, 3, 5), [-3, 1], {}),
    ((2, 3, 4, 5), [1, 2], {"keepdims": 0}),
    ((2, 3, 4, 5), [0, 1, 3], {}),
    ((2, 3, 5), None, {"keepdims": 0}),
    ((2, 3, 5), [], {}),
    ((2, 3, 5), [], {"noop_with_empty_axes": 1}),
    ((2, 3), None, {"noop_with_empty_axes": 1}),
    ((1, 65, 1), [0, 2], {"keepdims": 0}),
    ((130, 3), [0], {}),
    ((3, 1030), [1], {"keepdims": 0}),
)
ZERO = (((3, 0, 2), [1], {}), ((0, 4), [1], {"keepdims": 0}), ((0,), None, {"keepdims": 0}))


def reduce_row(
    op_type: str, low: float = -3, high: float = 3, zero: bool = True, distinct: bool = False, **row
) -> OpInfo:
    """A Reduce operator; `zero` is false where an empty set has no value."""

    def draw(d, shape):
        return (
            d.distinct(*shape)
            if distinct and d.dtype.kind != "b"
            else d(*shape, low=low, high=high)
        )

    def samples(d):
        for shape, axes, attrs in REDUCE + (ZERO if zero else ZERO[1:2]):
            yield S(draw(d, shape), None if axes is None else i64(*axes), **attrs)

    return OpInfo(
        op_type,
        samples,
        big=lambda d: [
            S(d(70_001, low=low, high=high), keepdims=0),
            S(d(37, 1003, low=low, high=high), i64(1)),
            S(d(1003, 65, low=low, high=high), i64(0)),
            S(d(9, 130, 40, low=low, high=high), i64(0, 2), keepdims=0),
        ],
        **row,
    )


def arg_row(op_type: str) -> OpInfo:
    def samples(d):
        for shape, attrs in (((7,), {}), ((3, 17), {"axis": 1}), ((2, 5, 3), {"axis": -2, "keepdims": 0}),
                             ((65, 2), {"axis": 0, "select_last_index": 1}), ((2, 3, 130), {"axis": -1})):  # fmt: skip
            yield S(d(*shape), **attrs)
            yield S(d.index(3, *shape, negative=False).astype(d.dtype), **attrs)
        yield S(d(0, 3), axis=1)

    return OpInfo(
        op_type, samples, dtypes=NUMBERS, big=lambda d: [S(d(37, 1003), axis=1), S(d(70_001))]
    )


def cum_samples(d):
    for exclusive in (0, 1):
        for reverse in (0, 1):
            attrs = {"exclusive": exclusive, "reverse": reverse}
            yield S(d(7), i64(0)[0], **attrs)
            yield S(d(2, 3, 5), np.int32(-2), **attrs)
            yield S(d(3, 17), np.int64(1), **attrs)
    yield S(d(65), np.int64(0))
    yield S(d(2, 0), np.int64(1))
    yield S(d(2, 0), np.int64(0))


def cum_prod_samples(d):
    table = list(cum_samples(d))
    for attrs in ({}, {"exclusive": 1}, {"reverse": 1}, {"exclusive": 1, "reverse": 1}):
        x = d.nonzero(3, 7, low=0.5, high=1.5)
        x[0, 3] = x[1, 2] = x[1, 5] = x[2, 0] = 0
        yield S(x, np.int64(1), **attrs)
    yield from table


def cum_extreme_samples(d):
    for shape, axis in (((7,), 0), ((3, 17), -1), ((2, 5, 3), 1), ((65, 2), 0), ((2, 0), 1)):
        yield S(d.distinct(*shape), axis=axis, outputs=2)
    yield S(np.array([[1, 3, 3, 2, 3, 1], [2, 1, 1, 4, 1, 4]]).astype(d.dtype), axis=1, outputs=2)


def cum_extreme(largest: bool):
    def reference(sample: Sample) -> list[np.ndarray]:
        (x,), axis = sample.inputs, sample.attributes["axis"]
        y = (np.maximum if largest else np.minimum).accumulate(x, axis)
        hit = np.where(x == y, np.moveaxis(np.arange(x.shape[axis]) + 0 * np.moveaxis(
            np.zeros(x.shape, np.int64), axis, -1), -1, axis), 0)  # fmt: skip
        return [y, np.maximum.accumulate(hit, axis).astype(np.int64)]

    return reference


def cum_log_samples(d):
    for shape, axis in (((7,), 0), ((3, 17), -1), ((2, 5, 3), 1), ((65, 2), 0), ((2, 0), 1)):
        for reverse in (0, 1):
            yield S(d(*shape), axis=axis, reverse=reverse)


def cum_log_sum_exp(sample: Sample) -> list[np.ndarray]:
    (x,), axis = sample.inputs, sample.attributes["axis"]
    turned = sample.attributes.get("reverse", 0)
    z = np.flip(x, axis) if turned else x
    y = np.logaddexp.accumulate(z.astype(np.float64), axis)
    return [(np.flip(y, axis) if turned else y).astype(x.dtype)]


def top_k_reference(sample: Sample) -> list[np.ndarray]:
    x, k = sample.inputs
    axis = sample.attributes.get("axis", -1)
    if sample.attributes.get("largest", 1):
        backwards = np.argsort(np.flip(x, axis), axis, kind="stable")
        key = x.shape[axis] - 1 - np.flip(backwards, axis)
    else:
        key = np.argsort(x, axis, kind="stable")
    at = np.take(key, range(int(k[0])), axis)
    return [np.take_along_axis(x, at, axis), at.astype(np.int64)]


def top_k_samples(d):
    for shape, k, attrs in (((7,), 3, {}), ((3, 17), 17, {}), ((2, 5, 3), 2, {"axis": 1}),
                            ((65,), 1, {"largest": 0}), ((4, 130), 20, {"axis": -1, "largest": 0}),
                            ((3, 4), 0, {})):  # fmt: skip
        yield S(d.distinct(*shape), i64(k), outputs=2, **attrs)
    yield S(np.array([1, 3, 3, 2, 3, 1]).astype(d.dtype), i64(4), outputs=2)
    yield S(np.array([1, 3, 3, 2, 3, 1]).astype(d.dtype), i64(4), outputs=2, largest=0)


def sum_to_shape_samples(d):
    for a, b in (((2, 3, 5), (3, 1)), ((2, 3, 5), (5,)), ((2, 3, 5), ()), ((7,), (7,)), ((65, 17), (1, 17)),
                 ((65, 17), (65, 1)), ((4, 2, 3), (1, 1, 3)), ((2, 3, 4, 5), (2, 1, 4, 1)), ((0, 3), (3,)),
                 ((5,), (1,)), ((2, 1, 3), (1, 1, 3))):  # fmt: skip
        yield S(d(*a), i64(*b))


def sum_to_shape(sample: Sample) -> list[np.ndarray]:
    dy, shape = sample.inputs
    lead = dy.ndim - len(shape)
    axes = tuple(range(lead)) + tuple(
        lead + i for i, n in enumerate(shape) if n == 1 and dy.shape[lead + i] != 1
    )
    return [dy.astype(np.float64).sum(axes).reshape(shape).astype(dy.dtype)]


REDUCTIONS = {
    "ReduceL1": lambda x, **kw: abs(x).sum(**kw),
    "ReduceL2": lambda x, **kw: np.sqrt((x * x).sum(**kw)),
    "ReduceSumSquare": lambda x, **kw: (x * x).sum(**kw),
    "ReduceSum": np.sum,
    "ReduceMean": np.mean,
    "ReduceProd": np.prod,
}
# With noop_with_empty_axes the elementwise part still happens.
UNREDUCED = {"ReduceL1": abs, "ReduceL2": abs, "ReduceSumSquare": lambda x: x * x}


def wide(op_type: str) -> dict[str, Any]:
    """The reference in float64 or int64."""

    def reference(sample: Sample) -> list[np.ndarray]:
        x, axes = (*sample.inputs, None)[:2]
        attrs = sample.attributes
        if axes is None or not axes.size:
            if attrs.get("noop_with_empty_axes"):
                return [UNREDUCED.get(op_type, lambda x: x)(x)]
            axes = np.arange(x.ndim)
        z = x.astype(np.int64 if x.dtype.kind in "iu" else np.float64)
        keep = bool(attrs.get("keepdims", 1))
        return [np.asarray(REDUCTIONS[op_type](z, axis=tuple(axes), keepdims=keep)).astype(x.dtype)]

    return {"reference": reference, "why": "sums in the narrow type, or gives another type"}


def log_sum_exp(sample: Sample) -> list[np.ndarray]:
    x, axes = (*sample.inputs, None)[:2]
    attrs = sample.attributes
    if axes is None or not axes.size:
        if attrs.get("noop_with_empty_axes"):
            return [x]
        axes = np.arange(x.ndim)
    y = (
        np.logaddexp.reduce(x.astype(np.float64), tuple(axes) or None, keepdims=True)
        if axes.size
        else x
    )
    return [(y if attrs.get("keepdims", 1) else y.squeeze(tuple(axes))).astype(x.dtype)]


ROWS = [
    reduce_row("ReduceSum", **wide("ReduceSum"), dtypes=NUMBERS, tolerance=8),
    reduce_row("ReduceMean", **wide("ReduceMean"), zero=False, tolerance=8),
    reduce_row("ReduceMax", dtypes=(*NUMBERS, "bool"), distinct=True, zero=False),
    reduce_row("ReduceMin", dtypes=(*NUMBERS, "bool"), distinct=True, zero=False),
    reduce_row("ReduceProd", 0.5, 1.4, **wide("ReduceProd"), dtypes=FLOATS, tolerance=16),
    reduce_row("ReduceL1", **wide("ReduceL1"), dtypes=NUMBERS, kinks=(0,), tolerance=8),
    reduce_row("ReduceL2", **wide("ReduceL2"), tolerance=8),
    reduce_row("ReduceSumSquare", **wide("ReduceSumSquare"), dtypes=NUMBERS, tolerance=8),
    reduce_row("ReduceLogSum", 0.3, 3, zero=False, tolerance=8),
    reduce_row("ReduceLogSumExp", zero=False, tolerance=8, reference=log_sum_exp,
               why="its exp overflows").but(
        special=lambda d: [S(d.scalar([[1000, 1000, 0], [-1000, -1001, -1000]]), i64(1))]),
    arg_row("ArgMax"),
    arg_row("ArgMin"),
    OpInfo("CumSum", cum_samples, dtypes=NUMBERS, tolerance=4,
           big=lambda d: [S(d(37, 1003), np.int64(1)), S(d(1003, 65), np.int64(0), reverse=1)]),
    OpInfo("CumProd", cum_prod_samples, dtypes=FLOATS, tolerance=16,
           big=lambda d: [S(d(37, 1003, low=0.9, high=1.1), np.int64(1))]),
    OpInfo("CumMax", cum_extreme_samples, "toolkit.nn", dtypes=NUMBERS, reference=cum_extreme(True),
           grad_samples=lambda d: list(cum_extreme_samples(d))[:-1],
           big=lambda d: [S(d.distinct(37, 1003), axis=1, outputs=2)]),
    OpInfo("CumMin", cum_extreme_samples, "toolkit.nn", dtypes=NUMBERS, reference=cum_extreme(False),
           grad_samples=lambda d: list(cum_extreme_samples(d))[:-1],
           big=lambda d: [S(d.distinct(37, 1003), axis=0, outputs=2)]),
    OpInfo("CumLogSumExp", cum_log_samples, "toolkit.nn", reference=cum_log_sum_exp, tolerance=8,
           big=lambda d: [S(d(37, 1003), axis=1), S(d(1003, 65), axis=0, reverse=1)],
           special=lambda d: [
               S(d.scalar([1000, 1000, 0, -1000]), axis=0),
               S(d.scalar([-np.inf, -np.inf, 1, np.inf, np.inf, 2, -np.inf]), axis=0),
               S(d.scalar([0, np.nan, 1, -np.inf]), axis=0)]),
    OpInfo("TopK", top_k_samples, grad_samples=lambda d: list(top_k_samples(d))[:-2], dtypes=NUMBERS, reference=top_k_reference,
           why="the lower index comes first among equals",
           big=lambda d: [S(d(65, 1003), i64(10), outputs=2)]),
    OpInfo("SumToShape", sum_to_shape_samples, "toolkit.grad", tolerance=4, grad=(0,),
           reference=sum_to_shape,
           big=lambda d: [S(d(1003, 65), i64(65)), S(d(37, 1003), i64(37, 1)), S(d(70_001), i64())]),
]  # fmt: skip

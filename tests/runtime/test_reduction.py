"""Reductions, arg-reductions, cumulative sums and SumToShape against numpy."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.runtime import oracle
from toolkit import errors
from toolkit.runtime import _core

nan, inf = np.nan, np.inf


def run(op_type, *inputs, domain="", **attributes):
    return oracle.run(op_type, list(inputs), attributes, domain=domain)[0]


def axes_of(rank):
    yield None
    for k in range(1, rank + 1):
        yield from itertools.combinations(range(rank), k)


REFERENCES = {
    "ReduceSum": lambda x, a, k: x.sum(a, keepdims=k),
    "ReduceMean": lambda x, a, k: x.mean(a, keepdims=k),
    "ReduceMax": lambda x, a, k: x.max(a, keepdims=k),
    "ReduceMin": lambda x, a, k: x.min(a, keepdims=k),
    "ReduceProd": lambda x, a, k: x.prod(a, keepdims=k),
    "ReduceL1": lambda x, a, k: np.abs(x).sum(a, keepdims=k),
    "ReduceL2": lambda x, a, k: np.sqrt((x * x).sum(a, keepdims=k)),
    "ReduceSumSquare": lambda x, a, k: (x * x).sum(a, keepdims=k),
    "ReduceLogSum": lambda x, a, k: np.log(x.sum(a, keepdims=k)),
    "ReduceLogSumExp": lambda x, a, k: np.log(np.exp(x).sum(a, keepdims=k)),
}
SHAPES = [(5,), (), (3, 4), (2, 3, 4), (2, 3, 4, 5), (1, 1), (8, 16, 7, 7), (3, 1, 130), (257, 3)]


@pytest.mark.parametrize("op_type", REFERENCES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda t: t.__name__)
def test_every_set_of_axes(op_type, dtype):
    rng = np.random.default_rng(0)
    for shape in SHAPES:
        x = (rng.random(shape) + 0.5).astype(dtype)
        if op_type == "ReduceProd":
            x **= 0.02
        for axes in axes_of(len(shape)):
            given = None if axes is None else np.array(axes, np.int64)
            for keep in (0, 1):
                got = run(op_type, x, given, keepdims=keep)
                want = np.asarray(REFERENCES[op_type](x.astype(np.float64), axes, bool(keep)))
                assert got.shape == want.shape and got.dtype == dtype
                tolerance = 2e-6 if dtype == np.float32 else 1e-13
                np.testing.assert_allclose(got, want, rtol=tolerance, err_msg=str((shape, axes)))


@pytest.mark.parametrize(
    "dtype", [np.int32, np.int64, np.uint32, np.uint64], ids=lambda t: t.__name__
)
def test_integers_are_exact(dtype):
    x = np.random.default_rng(0).integers(0, 1000, (7, 33, 5)).astype(dtype)
    for axes in axes_of(3):
        given = None if axes is None else np.array(axes, np.int64)
        for op_type in ("ReduceSum", "ReduceMax", "ReduceMin", "ReduceSumSquare", "ReduceL1"):
            got = run(op_type, x, given)
            want = REFERENCES[op_type](x.astype(np.int64), axes, True)
            np.testing.assert_array_equal(got, want.astype(dtype))


def test_empty_sets_have_the_neutral_value():
    x = np.zeros((2, 0, 3), np.float32)
    axis = np.array([1], np.int64)
    neutral = {
        "ReduceSum": 0,
        "ReduceProd": 1,
        "ReduceMax": -inf,
        "ReduceMin": inf,
        "ReduceL1": 0,
        "ReduceL2": 0,
        "ReduceSumSquare": 0,
        "ReduceLogSum": -inf,
        "ReduceLogSumExp": -inf,
        "ReduceMean": nan,
    }
    for op_type, value in neutral.items():
        np.testing.assert_array_equal(run(op_type, x, axis), np.full((2, 1, 3), value), op_type)
    for dtype in (np.int8, np.int32, np.int64, np.uint8, np.uint64):
        info = np.iinfo(dtype)
        assert run("ReduceMax", np.zeros(0, dtype), keepdims=0) == info.min
        assert run("ReduceMin", np.zeros(0, dtype), keepdims=0) == info.max
    assert not run("ReduceMax", np.zeros(0, bool), keepdims=0)
    assert run("ReduceMin", np.zeros(0, bool), keepdims=0)
    assert run("ReduceSum", np.zeros((0, 3), np.float32), axis).shape == (0, 1)


def test_nan_wins():
    for shape, axis in (((7, 300), 1), ((300, 7), 0), ((4, 70, 9), 1)):
        x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        x.flat[::97] = nan
        for op_type in ("ReduceMax", "ReduceMin", "ReduceSum"):
            got = run(op_type, x, np.array([axis], np.int64))
            want = REFERENCES[op_type](x, axis, True)
            np.testing.assert_array_equal(np.isnan(got), np.isnan(want))


def test_sums_of_many_small_numbers_stay_exact():
    x = np.full(4_000_001, 0.1, np.float32)
    want = float(np.float32(0.1)) * x.size
    np.testing.assert_allclose(run("ReduceSum", x, keepdims=0), want, rtol=1e-6)
    wide = np.full((500_000, 3), 0.1, np.float32)
    got = run("ReduceSum", wide, np.array([0], np.int64), keepdims=0)
    np.testing.assert_allclose(got, float(np.float32(0.1)) * 500_000, rtol=1e-6)


@pytest.mark.parametrize("isa", ["x86-64-v2", "x86-64-v3"])
def test_sums_with_shorter_vectors(isa):
    code = "from tests.runtime import test_reduction as t; t.{}()"
    env = os.environ | {"TOOLKIT_ISA": isa}
    test = test_sums_of_many_small_numbers_stay_exact.__name__
    subprocess.run([sys.executable, "-c", code.format(test)], env=env, check=True)


def test_log_sum_exp_is_stable():
    x = np.array([[1000, 1001], [-1000, -1001], [-inf, -inf], [inf, 0], [nan, 0]], np.float32)
    got = run("ReduceLogSumExp", x, np.array([1], np.int64), keepdims=0)
    np.testing.assert_allclose(got, [1001.3133, -999.6867, -inf, inf, nan], rtol=1e-6)


def test_sum_to_shape():
    dy = np.random.default_rng(0).normal(size=(4, 3, 2, 5)).astype(np.float32)
    for shape in ((3, 1, 5), (5,), (), (1, 1), (4, 3, 2, 5), (4, 1, 2, 1), (1, 3, 1, 5)):
        got = run("SumToShape", dy, np.array(shape, np.int64), domain="toolkit.grad")
        lead = dy.ndim - len(shape)
        want = dy.astype(np.float64).sum(tuple(range(lead)))
        for i, n in enumerate(shape):
            if n == 1:
                want = want.sum(i, keepdims=True)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_arg_max_and_min():
    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float64, np.int32, np.int64, np.uint8, np.int8):
        for shape in ((5,), (3, 100), (100, 3), (4, 70, 3), (2, 5, 17), (9, 1000)):
            x = (rng.normal(size=shape) * 3).astype(dtype)  # Ties are likely for integers.
            for axis in range(-1, len(shape)):
                flipped = np.flip(x, axis)
                for op_type, f in (("ArgMax", np.argmax), ("ArgMin", np.argmin)):
                    got = run(op_type, x, axis=axis, keepdims=0)
                    np.testing.assert_array_equal(got, f(x, axis))
                    got = run(op_type, x, axis=axis, keepdims=0, select_last_index=1)
                    np.testing.assert_array_equal(got, x.shape[axis] - 1 - f(flipped, axis))


@pytest.mark.parametrize("n", [3, 40])
def test_arg_max_finds_nan(n):
    x = np.zeros((2, n), np.float32)
    x[0, 1] = x[0, 2] = nan
    np.testing.assert_array_equal(run("ArgMax", x, axis=1, keepdims=0), [1, 0])
    np.testing.assert_array_equal(run("ArgMin", x, axis=1, keepdims=0), [1, 0])
    got = run("ArgMax", x, axis=1, keepdims=0, select_last_index=1)
    np.testing.assert_array_equal(got, [2, n - 1])


def test_cumulative_sums():
    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float64, np.int32, np.int64, np.uint64):
        for shape in ((7,), (3, 200), (200, 3), (2, 3, 140)):
            x = (rng.random(shape) * 10).astype(dtype)
            for axis in range(len(shape)):
                total = np.cumsum(x.astype(np.float64), axis)
                for exclusive, reverse in itertools.product((0, 1), (0, 1)):
                    want = total
                    if reverse:
                        want = np.flip(np.cumsum(np.flip(x, axis).astype(np.float64), axis), axis)
                    got = run("CumSum", x, np.int64(axis), exclusive=exclusive, reverse=reverse)
                    np.testing.assert_allclose(got, want - x * exclusive, rtol=1e-5, atol=1e-4)
    np.testing.assert_array_equal(run("CumProd", np.arange(1, 6), np.int64(0)), [1, 2, 6, 24, 120])


def test_results_do_not_depend_on_threads():
    rng = np.random.default_rng(0)
    cases = [((3_000_001,), [0]), ((70_001, 5), [0]), ((5, 70_001), [1]), ((40, 33, 500), [0, 2]),
             ((300, 600), [0]), ((2, 9000, 300), [1])]  # fmt: skip
    try:
        for shape, axes in cases:
            x = rng.normal(size=shape).astype(np.float32)
            for op_type in ("ReduceSum", "ReduceL2", "ReduceLogSumExp"):
                results = []
                for threads in (1, 2, 3):
                    _core.set_num_threads(threads)
                    results.append(run(op_type, x, np.array(axes, np.int64)))
                for other in results[1:]:
                    np.testing.assert_array_equal(results[0], other)
    finally:
        _core.set_num_threads(2)


def test_errors():
    x = np.zeros((2, 3), np.float32)
    with pytest.raises(errors.OutOfBoundsError, match=r"axis must lie in \[-2, 1\], got 2"):
        run("ReduceSum", x, np.array([2], np.int64))
    with pytest.raises(errors.DTypeError, match="axes must be int64, got int32"):
        run("ReduceSum", x, np.array([0], np.int32))
    with pytest.raises(errors.ShapeError, match=r"shape \(2, 2\) must broadcast"):
        run("SumToShape", x, np.array([2, 2], np.int64), domain="toolkit.grad")
    with pytest.raises(errors.ShapeError, match="dimension 1 must not be empty"):
        run("ArgMax", np.zeros((2, 0), np.float32), axis=1)
    with pytest.raises(errors.ShapeError, match="axis must be a scalar"):
        run("CumSum", x, np.array([0, 1], np.int64))

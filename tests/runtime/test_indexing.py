"""Indexing kernels against onnx.reference, and against numpy or torch where it falls short."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.runtime.oracle import assert_same, reference, run
from toolkit import errors
from toolkit.runtime import _core

RNG = np.random.default_rng(0)
DTYPES = [np.bool_, np.int8, np.uint16, np.float16, np.float32, np.int64, np.float64, np.complex128]


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def array(shape: tuple[int, ...], dtype: type = np.float32) -> np.ndarray:
    return RNG.integers(0, 2 if dtype is np.bool_ else 100, shape).astype(dtype)


def some(bound: int, shape: tuple[int, ...]) -> np.ndarray:
    """Indices on both sides of 0."""
    return RNG.integers(-bound, bound, shape)


X = array((4, 5, 6))


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0,), (1, 1)])
def test_gather(axis, shape):
    for dtype in DTYPES:
        x = array((4, 5, 6), dtype)
        index = np.asarray(some(x.shape[axis], shape))
        want = np.take(x, index, axis)
        assert_same(run("Gather", [x, index], {"axis": axis}), [want])
        assert_same(run("Gather", [x, index.astype(np.int32)], {"axis": axis}), [want])
    (y,) = run("Gather", [np.zeros((5, 0), np.float32), some(5, (3,))])
    assert y.shape == (3, 0)


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_gather_elements(axis):
    for dtype in DTYPES:
        for shape in [(4, 5, 6), (2, 3, 4), (9, 1, 2), (0, 2, 2), (1, 5, 6)]:
            shape = tuple(min(s, d) for s, d in zip(shape, X.shape, strict=True))
            x, index = array(X.shape, dtype), some(X.shape[axis], shape)
            want = torch.gather(
                torch.from_numpy(x.view(np.int16) if dtype is np.uint16 else x),
                axis,
                torch.from_numpy(np.where(index < 0, index + X.shape[axis], index)),
            ).numpy()
            assert_same(run("GatherElements", [x, index], {"axis": axis}), [want.astype(dtype)])
    longer = some(5, (4, 11, 6))
    inputs = [X, longer]
    want = np.take_along_axis(X, longer, 1)
    assert_same(run("GatherElements", inputs, {"axis": 1}), [want])


@pytest.mark.parametrize(
    ("x_shape", "index_shape", "batch_dims"),
    [
        ((4, 5, 6), (3, 3), 0),
        ((4, 5, 6), (2, 3, 2), 0),
        ((4, 5, 6), (7, 1), 0),
        ((4, 5, 6), (4, 2, 1), 1),
        ((4, 5, 6), (4, 2), 1),
        ((4, 5, 6), (4, 5, 1), 2),
        ((4,), (1,), 0),
        ((4, 5), (2, 0), 0),
    ],
)
def test_gather_nd(x_shape, index_shape, batch_dims):
    for dtype in DTYPES:
        x, index = array(x_shape, dtype), some(4, index_shape)
        attributes = {"batch_dims": batch_dims}
        if index_shape[-1] == 0:
            want = [np.stack([x, x])]
        else:
            want = reference("GatherND", [x, index], attributes)
        assert_same(run("GatherND", [x, index], attributes), want)


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "min", "max"])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_scatter_elements(reduction, axis):
    attributes = {"axis": axis, "reduction": reduction}
    for dtype in [np.float32, np.float64, np.int32, np.int64, np.uint8]:
        for shape in [(4, 5, 6), (2, 3, 4), (0, 5, 6)]:
            # Repeated indices: the order of the updates counts.
            x, index = array((4, 5, 6), dtype), some(3, shape)
            updates = array(shape, dtype)
            with np.errstate(over="ignore"):
                want = reference("ScatterElements", [x, index, updates], attributes)
            assert_same(run("ScatterElements", [x, index, updates], attributes), want)
    index = some(5, (4, 9, 6))
    inputs = [X, index, array(index.shape)]
    attributes["axis"] = 1
    assert_same(
        run("ScatterElements", inputs, attributes), reference("ScatterElements", inputs, attributes)
    )


def test_scatter_moves_every_size():
    index = some(4, (2, 3))
    for dtype in DTYPES:
        inputs = [array((4, 5), dtype), index, array((2, 3), dtype)]
        want = reference("ScatterElements", inputs)
        assert_same(run("ScatterElements", inputs), want)


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "min", "max"])
def test_scatter_nd(reduction):
    attributes = {"reduction": reduction}
    for dtype in [np.float32, np.float64, np.int32, np.int64]:
        for index_shape in [(7, 1), (3, 4, 2), (9, 3), (0, 2), (1,)]:
            x, index = array((4, 5, 6), dtype), some(3, index_shape)
            updates = array(index_shape[:-1] + x.shape[index_shape[-1] :], dtype)
            with np.errstate(over="ignore"):
                want = reference("ScatterND", [x, index, updates], attributes)
            assert_same(run("ScatterND", [x, index, updates], attributes), want, index_shape)


def test_min_max_keep_nan():
    x = np.array([np.nan, 1, np.nan, 1], np.float32)
    updates = np.array([1, np.nan, np.nan, 2], np.float32)
    for reduction, last in [("min", 1), ("max", 2)]:
        (y,) = run("ScatterElements", [x, np.arange(4), updates], {"reduction": reduction})
        np.testing.assert_array_equal(y, np.array([np.nan, np.nan, np.nan, last], np.float32))


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_gather_grad(axis):
    for dtype in [np.float32, np.float64]:
        for shape in [(), (3,), (20, 4), (0,)]:
            index = np.asarray(some(X.shape[axis], shape))
            dy = RNG.standard_normal(np.take(X, index, axis).shape).astype(dtype)
            want = np.zeros((4, 5, 6), dtype)
            where = (slice(None),) * (axis % 3)
            np.add.at(want, (*where, index), dy)
            inputs = [dy, index, ints(4, 5, 6)]
            got = run("GatherGrad", inputs, {"axis": axis}, domain="toolkit.grad")
            assert_same(got, [want])


def test_nonzero_and_compress():
    for x in [X * (X > 50), array((3, 0)), array((7,), np.bool_), np.array([0.0, -0.0, np.nan])]:
        assert_same(run("NonZero", [x]), [np.array(np.nonzero(x), np.int64)])
    assert run("NonZero", [np.array(3.0)])[0].shape == (0, 1)
    big = (RNG.random(50_000) < 0.3).reshape(500, 100)
    assert_same(run("NonZero", [big]), [np.array(np.nonzero(big))])
    for dtype in DTYPES:
        x = array((4, 5, 6), dtype)
        for condition, axis in [
            ([1, 0, 1], 0), ([0, 1, 1, 0, 1], 1), ([0], -1), ([], 2), ([0, 1, 0, 0, 1, 1], -1)
        ]:  # fmt: skip
            inputs = [x, np.array(condition, bool)]
            want = [np.compress(condition, x, axis)]
            assert_same(run("Compress", inputs, {"axis": axis}), want)
        assert_same(run("Compress", [x, np.array([1, 0, 1], bool)]), [x.reshape(-1)[[0, 2]]])


@pytest.mark.parametrize("largest", [0, 1])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_top_k(largest, axis):
    for dtype in [np.float32, np.float64, np.int32, np.int64, np.uint8]:
        x = RNG.integers(0, 9, (5, 60, 7)).astype(dtype)  # Many ties.
        for k in (0, 1, 2, 5):
            inputs, attributes = [x, ints(k)], {"axis": axis, "largest": largest}
            want = reference("TopK", inputs, attributes, 2)
            assert_same(run("TopK", inputs, attributes, 2), want, k)
    x = RNG.standard_normal((3, 500)).astype(np.float32)
    for k in (10, 100, 500):
        want = reference("TopK", [x, ints(k)], {"largest": largest}, 2)
        assert_same(run("TopK", [x, ints(k)], {"largest": largest}, 2), want, k)


def test_top_k_puts_nan_above_everything():
    x = np.array([1, np.nan, 3, np.nan, 2], np.float32)
    (_, index) = run("TopK", [x, ints(5)], outputs=2)
    assert index.tolist() == [1, 3, 2, 4, 0]
    (_, index) = run("TopK", [x, ints(5)], {"largest": 0}, 2)
    assert index.tolist() == [0, 4, 2, 1, 3]


def test_unique():
    for dtype in [np.float32, np.int64, np.uint8, np.bool_]:
        x = RNG.integers(0, 2 if dtype is np.bool_ else 5, (6, 7)).astype(dtype)
        assert_same(run("Unique", [x], outputs=4), reference("Unique", [x], {"sorted": 1}, 4))
        for axis in (0, 1, -1):
            x = RNG.integers(0, 2, (6, 3) if axis == 0 else (3, 6)).astype(dtype)
            y, first, inverse, counts = np.unique(x, True, True, True, axis=axis)
            want = [y, first, inverse.reshape(-1), counts]
            assert_same(run("Unique", [x], {"axis": axis}, 4), want)
    got = run("Unique", [ints(2, 1, 1, 3, 4, 3)], {"sorted": 0}, 4)
    assert [g.tolist() for g in got] == [
        [2, 1, 3, 4], [0, 1, 3, 4], [0, 1, 1, 2, 3, 2], [1, 2, 2, 1]
    ]  # fmt: skip
    got = run("Unique", [np.array([np.nan, 1, np.nan], np.float32)], {}, 4)
    assert [g.tolist() for g in got[1:]] == [[1, 0], [1, 0, 1], [1, 2]]
    assert [g.shape for g in run("Unique", [np.zeros((0, 2), np.float32)], {}, 4)] == [(0,)] * 4


def boxes_case(batches: int, classes: int, n: int) -> list[np.ndarray]:
    corner = RNG.random((batches, n, 2)).astype(np.float32)
    size = RNG.random((batches, n, 2)).astype(np.float32) * 0.5
    boxes = np.concatenate([corner, corner + size], -1)
    return [boxes, RNG.random((batches, classes, n)).astype(np.float32)]


@pytest.mark.parametrize("center", [0, 1])
def test_non_max_suppression(center):
    for limits in [(3, 0.3, 0.2), (100, 0.5, 0.0), (0, 0.5, 0.0), (5, 0.0, 0.9)]:
        k, iou, score = limits
        inputs = [*boxes_case(2, 3, 12), ints(k), np.float32([iou]), np.float32([score])]
        want = reference("NonMaxSuppression", inputs, {"center_point_box": center})
        got = run("NonMaxSuppression", inputs, {"center_point_box": center})
        assert_same(got, [want[0].reshape(-1, 3)], limits)
    assert run("NonMaxSuppression", boxes_case(1, 1, 4))[0].shape == (0, 3)


def test_threads_do_not_change_bits():
    x = RNG.standard_normal((300, 64)).astype(np.float32)
    index = some(300, (40, 50))
    dy = RNG.standard_normal((40, 50, 64)).astype(np.float32)
    rows = some(300, (2000, 1))
    wide = some(64, (300, 64))
    cases = [
        ("Gather", [x, index], {}, ""),
        ("GatherGrad", [dy, index, ints(300, 64)], {}, "toolkit.grad"),
        ("ScatterND", [x, rows, dy.reshape(2000, 64)], {"reduction": "add"}, ""),
        ("ScatterElements", [x, wide, x], {"axis": 1, "reduction": "add"}, ""),
        ("ScatterElements", [x, wide, x], {"axis": 0, "reduction": "mul"}, ""),
        ("TopK", [x, ints(20)], {"axis": 0}, ""),
        ("NonZero", [x > 0], {}, ""),
    ]
    before = _core.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            _core.set_num_threads(threads)
            results.append([run(op, inputs, a, domain=d)[0] for op, inputs, a, d in cases])
    finally:
        _core.set_num_threads(before)
    for a, b in zip(*results, strict=True):
        assert_same([a], [b])


OUTSIDE = [(4, "got 4"), (-5, "got -5"), (2**40, "got 1099511627776")]


@pytest.mark.parametrize(("index", "match"), OUTSIDE)
def test_indices_out_of_range(index, match):
    for op_type, inputs, domain in [
        ("Gather", [X, ints(index)], ""),
        ("GatherElements", [X, ints(index).reshape(1, 1, 1)], ""),
        ("GatherND", [X, ints(index)], ""),
        ("ScatterElements", [X, ints(index).reshape(1, 1, 1), X[:1, :1, :1]], ""),
        ("ScatterND", [X, ints(index), X[0]], ""),
        ("GatherGrad", [X[:1], ints(index), ints(4, 5, 6)], "toolkit.grad"),
    ]:
        with pytest.raises(errors.OutOfBoundsError, match=match):
            run(op_type, inputs, domain=domain)


@pytest.mark.parametrize(
    ("op_type", "inputs", "attributes", "error", "match"),
    [
        ("Gather", [X, ints(0).astype(np.float32)], {}, errors.DTypeError, "int64 or int32"),
        ("Gather", [X, ints(0)], {"axis": 3}, errors.OutOfBoundsError, "axis must lie"),
        ("Gather", [np.float32(1).reshape(()), ints(0)], {}, errors.OutOfBoundsError, "axis"),
        ("GatherElements", [X, ints(0)], {}, errors.ShapeError, "data's rank"),
        ("GatherElements", [X, some(4, (4, 9, 6))], {}, errors.ShapeError, "at most its dim"),
        ("GatherND", [X, ints(0, 0, 0, 0)], {}, errors.ShapeError, "at most 3 axes"),
        ("GatherND", [X, np.array(0)], {}, errors.ShapeError, "rank 1 or more"),
        ("GatherND", [X, some(4, (3, 1))], {"batch_dims": 1}, errors.ShapeError, "agree in the"),
        ("GatherND", [X, some(4, (4, 1))], {"batch_dims": 2}, errors.ToolkitError, "batch_dims"),
        ("GatherND", [X, ints(0)], {"batch_dims": -1}, errors.ToolkitError, "batch_dims"),
        ("ScatterElements", [X, some(4, (1, 1, 1)), X], {}, errors.ShapeError, "updates must be"),
        ("ScatterElements", [X, some(4, (1, 1, 1)), X], {"reduction": "sum"}, errors.ToolkitError,
         "none, add, mul, min or max"),
        ("ScatterND", [X, ints(0), X], {}, errors.ShapeError, r"shape \(5, 6\)"),
        ("Compress", [X, ints(1)], {}, errors.DTypeError, "bool vector"),
        ("Compress", [X, np.ones(9, bool)], {"axis": 0}, errors.OutOfBoundsError, "below 4"),
        ("TopK", [X, ints(7)], {}, errors.InvalidArgumentError, r"\[0, 6\]"),
        ("TopK", [X, ints(-1)], {}, errors.InvalidArgumentError, "K must lie"),
        ("Unique", [X], {"axis": 3}, errors.OutOfBoundsError, "axis must lie"),
        ("NonMaxSuppression", [X, X], {}, errors.ShapeError, "boxes must be"),
    ],
)  # fmt: skip
def test_errors(op_type, inputs, attributes, error, match):
    with pytest.raises(error, match=match):
        run(op_type, inputs, attributes)

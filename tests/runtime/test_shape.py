"""Shape kernels against onnx.reference, and against numpy or torch where it falls short."""

from __future__ import annotations

import itertools

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


X = array((2, 3, 4))
EMPTY = array((0, 3, 4))
SCALAR = np.array(7, np.float32)

# (op_type, inputs, attributes); onnx.reference gives the answer.
CASES = [
    *[("Reshape", [X, ints(*s)], {}) for s in [(24,), (4, -1), (0, -1), (2, 0, 2, 2), (-1, 1, 24)]],
    ("Reshape", [EMPTY, ints(3, 4, 0)], {"allowzero": 1}),
    ("Reshape", [SCALAR, ints(1, 1)], {}),
    ("Reshape", [SCALAR.reshape(1), ints()], {}),
    *[("Flatten", [x], {"axis": a}) for x in (X,) for a in (-3, -1, 0, 1, 3)],
    ("Flatten", [SCALAR], {"axis": 0}),
    ("Squeeze", [array((1, 3, 1, 5))], {}),
    ("Squeeze", [array((1, 3, 1, 5)), ints(0)], {}),
    ("Squeeze", [array((1, 3, 1, 5)), ints(-2, 0)], {}),
    ("Squeeze", [array((1, 0))], {}),
    *[("Unsqueeze", [X, ints(*a)], {}) for a in [(0,), (-1,), (0, 4), (2, 1), ()]],
    ("Unsqueeze", [SCALAR, ints(0, 1)], {}),
    ("Identity", [X], {}),
    ("Identity", [EMPTY], {}),
    *[("Shape", [X], {"start": s, "end": e}) for s in (-9, -2, 0, 1, 9) for e in (-9, -1, 2, 9)],
    ("Shape", [SCALAR], {}),
    ("Size", [X], {}),
    ("Size", [EMPTY], {}),
    *[("Concat", [X, X[:, :1], X], {"axis": a}) for a in (1, -2)],
    ("Concat", [X], {"axis": 0}),
    ("Concat", [EMPTY, X], {"axis": 0}),
    ("Concat", [array((3, 1, 2)), array((3, 0, 2)), array((3, 7, 2))], {"axis": 1}),
    *[("Slice", [X, ints(1), ints(2**62), ints(a)], {}) for a in (0, 1, -1)],
    ("Slice", [X, ints(0, 0), ints(1, 2)], {}),
    ("Slice", [X, ints(-1), ints(-9), ints(2), ints(-2)], {}),
    ("Slice", [X, ints(0, 1, 3), ints(2, 1, -(2**63)), ints(0, 1, 2), ints(1, 1, -1)], {}),
    ("Slice", [X, ints(3).astype(np.int32), ints(1).astype(np.int32)], {}),
    ("Slice", [EMPTY, ints(0), ints(2), ints(1)], {}),
    *[("Expand", [array((3, 1)), ints(*s)], {}) for s in [(3, 4), (2, 3, 6), (1,), (0, 3, 1)]],
    ("Expand", [SCALAR, ints(2, 3)], {}),
    ("Expand", [SCALAR, ints()], {}),
    *[("Tile", [X, ints(*r)], {}) for r in [(1, 1, 1), (2, 1, 3), (3, 0, 2), (4, 4, 4)]],
    ("Tile", [EMPTY, ints(2, 2, 2)], {}),
    *[
        case
        for mode in ("DCR", "CRD")
        for case in [
            ("DepthToSpace", [array((2, 12, 3, 5))], {"blocksize": 2, "mode": mode}),
            ("SpaceToDepth", [array((2, 3, 6, 9))], {"blocksize": 3, "mode": mode}),
        ]
    ],
    ("DepthToSpace", [array((0, 4, 3, 5))], {"blocksize": 2}),
    ("ConstantOfShape", [ints(2, 3)], {}),
    ("ConstantOfShape", [ints(2, 3)], {"value": np.array([7], np.int64)}),
    ("ConstantOfShape", [ints(2, 3)], {"value": np.array([True])}),
    ("ConstantOfShape", [ints(2, 0)], {"value": np.array([1.5], np.float16)}),
    ("ConstantOfShape", [ints()], {"value": np.array([3], np.int32)}),
    ("Constant", [], {"value": X}),
    ("Constant", [], {"value": EMPTY}),
    ("Constant", [], {"value_int": 3}),
    ("Constant", [], {"value_ints": [3, 4]}),
    ("Constant", [], {"value_float": 1.5}),
    ("Constant", [], {"value_floats": [1.5, 2.5]}),
    *[
        ("Range", [np.array(v, t) for v in case], {})
        for t in (np.int32, np.int64, np.float32, np.float64, np.int16)
        for case in [(0, 10, 3), (10, 0, -3), (0, 0, 1), (5, 1, 1), (1, 7, 2), (-3, 4, 1)]
    ],
    ("Range", [np.array(v, np.float32) for v in (0.1, 2.0, 0.3)], {}),
    *[("EyeLike", [array((3, 5), np.int32)], {"k": k}) for k in (-9, -2, 0, 1, 4, 9)],
    ("EyeLike", [array((4, 3))], {"dtype": 11}),
    ("EyeLike", [array((4, 3))], {"dtype": 9}),
    ("EyeLike", [array((0, 3))], {}),
    *[
        ("Trilu", [array(s, t), *k], {"upper": u})
        for s, t in [((4, 6), np.float32), ((2, 5, 3), np.int64), ((3, 0), np.int8)]
        for k in [(), (np.array(1, np.int64),), (np.array(-2, np.int64),), (np.array(9, np.int64),)]
        for u in (0, 1)
    ],
    *[
        ("OneHot", [i, np.array(4, np.int64), v], {"axis": a})
        for i in (np.array([[1, -1], [7, 0]], np.int64), np.array([[2, 3]], np.int32))
        for v in (np.array([0, 1], np.float32), np.array([5, -2], np.int64))
        for a in (0, 1, -1, -3)
    ],
    ("OneHot", [np.zeros((0, 2), np.int64), np.array(3), ints(0, 1)], {"axis": 1}),
    ("ReverseSequence", [array((4, 3, 2)), ints(4, 0, 2)], {"time_axis": 0, "batch_axis": 1}),
    ("ReverseSequence", [array((3, 4)), ints(4, 1, 2)], {"time_axis": 1, "batch_axis": 0}),
    *[
        ("CenterCropPad", [array((5, 4, 7)), ints(*s)], {"axes": list(a)})
        for s, a in [((2, 8), (0, 2)), ((5, 9), (-1, 1)), ((3,), (2,)), ((0,), (0,))]
    ],
    ("CenterCropPad", [array((5, 4)), ints(6, 3)], {}),
]  # fmt: skip


@pytest.mark.parametrize(("op_type", "inputs", "attributes"), CASES)
def test_against_reference(op_type, inputs, attributes):
    got = run(op_type, inputs, attributes)
    assert_same(got, reference(op_type, inputs, attributes), (op_type, attributes))


def check_all_sizes(op_type, x, others, attributes, want):
    """Data movement works for elements of every size."""
    for dtype in DTYPES:
        (y,) = run(op_type, [x.astype(dtype), *others], attributes)
        assert_same([y], [want.astype(dtype)], (op_type, dtype))


def test_element_sizes():
    x = array((3, 4, 6), np.uint8)
    check_all_sizes("Transpose", x, [], {"perm": [2, 0, 1]}, x.transpose(2, 0, 1))
    check_all_sizes("Slice", x, [ints(5), ints(0), ints(2), ints(-2)], {}, x[:, :, 5:0:-2])
    check_all_sizes("Tile", x, [ints(2, 1, 2)], {}, np.tile(x, (2, 1, 2)))
    check_all_sizes("Pad", x, [ints(1, 2), None, ints(1)], {}, np.pad(x, ((0, 0), (1, 2), (0, 0))))
    check_all_sizes("Expand", x, [ints(2, 1, 1, 1)], {}, np.stack([x, x]))
    check_all_sizes("Trilu", x, [], {}, np.triu(x))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64, np.complex128])
@pytest.mark.parametrize(
    "shape",
    [(), (5,), (0, 3), (64, 96), (130, 67), (3, 300), (257, 2), (2, 3, 4), (2, 17, 16, 32)],
)
def test_transpose(shape, dtype):
    x = array(shape, dtype)
    for perm in itertools.permutations(range(len(shape))):
        assert_same(run("Transpose", [x], {"perm": list(perm)}), [x.transpose(perm)], perm)
    assert_same(run("Transpose", [x]), [x.T])


def test_transpose_of_rank_6():
    x = array((2, 3, 2, 5, 1, 3))
    for perm in itertools.islice(itertools.permutations(range(6)), 0, None, 7):
        assert_same(run("Transpose", [x], {"perm": list(perm)}), [x.transpose(perm)], perm)


def test_slice_by_chance():
    """Every mixture of signs, clamping and steps, against Python's own slices."""
    x = array((6, 7, 8))
    for _ in range(1500):
        starts, ends = RNG.integers(-10, 11, (2, 3))
        steps = RNG.choice([-9, -3, -2, -1, 1, 2, 3, 9], 3)
        index = [
            range(*slice(*map(int, s)).indices(d))
            for d, *s in zip(x.shape, starts, ends, steps, strict=True)
        ]
        got = run("Slice", [x, starts, ends, ints(0, 1, 2), steps])
        assert_same(got, [x[np.ix_(*index)]], (starts, ends, steps))
        dy = array(got[0].shape)
        want = np.zeros_like(x)
        want[np.ix_(*index)] = dy
        inputs = [dy, ints(*x.shape), starts, ends, ints(0, 1, 2), steps]
        assert_same(run("SliceGrad", inputs, domain="toolkit.grad"), [want])


def test_where_the_reference_falls_short():
    for axis, want in [(-3, (1, 0)), (0, (1, 0)), (1, (0, 12)), (2, (0, 4)), (3, (0, 1))]:
        assert run("Flatten", [EMPTY], {"axis": axis})[0].shape == want
    index, depth = np.array([1, np.nan, -1], np.float32), np.array([3], np.float32)
    want = [[0, 1, 0], [0, 0, 0], [0, 0, 1]]
    assert_same(run("OneHot", [index, depth, ints(0, 1)]), [np.array(want)])


def test_split():
    x = array((7, 6))
    for sizes, axis in [((2, 5), 0), ((0, 6, 0), 1), ((1, 2, 3), -1), ((7,), 0)]:
        got = run("Split", [x, ints(*sizes)], {"axis": axis}, len(sizes))
        assert_same(got, reference("Split", [x, ints(*sizes)], {"axis": axis}, len(sizes)))
    for n, axis in [(2, 0), (3, 0), (3, 1), (7, 0), (1, 1)]:
        got = run("Split", [x], {"axis": axis, "num_outputs": n}, n)
        assert_same(got, reference("Split", [x], {"axis": axis, "num_outputs": n}, n))


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
def test_pad(mode):
    for shape, pads in [
        ((5,), (2, 3)),
        ((4, 5), (0, 2, 3, 1)),
        ((4, 5), (3, 0, 0, 0)),
        ((2, 3, 4, 3), (0, 0, 1, 2, 0, 0, 3, 1)),
        ((2, 3, 4, 3), (1, 0, 2, 0, 0, 0, 1, 0)),
        ((3, 4), (0, 0, 0, 0)),
        ((3, 2), (7, 0, 5, 9)),
        ((1, 3), (2, 0, 1, 0)),
    ]:
        x = array(shape)
        width = list(zip(pads[: len(shape)], pads[len(shape) :], strict=True))
        assert_same(run("Pad", [x, ints(*pads)], {"mode": mode}), [np.pad(x, width, mode)], pads)


def test_pad_values_axes_and_crops():
    x = array((3, 4, 5), np.int64)
    value = np.array(9, np.int64)
    inputs = [x, ints(1, 0, 2, 1), value, ints(-1, 0)]
    assert_same(run("Pad", inputs), reference("Pad", inputs))
    for pads in [(-1, 2, -2, 1), (0, -2, 3, -1), (-3, 1, 2, 1), (-3, 0, 0, -4)]:
        before, after = pads[:2], pads[2:]
        want = torch.nn.functional.pad(
            torch.from_numpy(x), (before[1], after[1], before[0], after[0]), value=9
        )
        assert_same(run("Pad", [x, ints(*pads), value, ints(1, 2)]), [want.numpy()], pads)
    # What a crop leaves is what the other side continues.
    (y,) = run("Pad", [ints(1, 2, 3, 4, 5), ints(-2, 2)], {"mode": "reflect"})
    assert_same([y], [ints(3, 4, 5, 4, 3)])
    assert_same(run("Pad", [x[:0], ints(1, 0), value, ints(0)]), [np.full((1, 4, 5), 9)])
    assert_same(run("Pad", [np.array(3.0), ints()]), [np.array(3.0)])


def test_empty_batch_reshape():
    x = np.zeros((0, 3, 4), np.float32)
    assert run("Reshape", [x, ints(0, -1)])[0].shape == (0, 12)
    assert run("Reshape", [x, ints(-1, 12)])[0].shape == (0, 12)


def test_views_share_memory():
    x = _core.Tensor.from_array(X)
    shape, axis = (_core.Tensor.from_array(a) for a in (ints(6, 4), ints(0)))
    unit = _core.Tensor.from_array(X[None])
    for op_type, inputs in [
        ("Reshape", [x, shape]),
        ("Flatten", [x]),
        ("Identity", [x]),
        ("Unsqueeze", [x, axis]),
        ("Squeeze", [unit, axis]),
    ]:
        (y,) = _core.Op("", op_type, {}).run(inputs, 1)
        assert y.data_ptr == inputs[0].data_ptr, op_type


def test_threads_do_not_change_bits():
    x = array((8, 64, 12, 65))
    cases = [
        ("Transpose", [x], {"perm": [0, 2, 1, 3]}),
        ("Transpose", [x], {"perm": [3, 1, 0, 2]}),
        ("Concat", [x, x], {"axis": 1}),
        ("Slice", [x, ints(60), ints(0), ints(1), ints(-3)], {}),
        ("Pad", [x, ints(1, 2, 3, 4, 1, 2, 3, 4)], {"mode": "reflect"}),
        ("Expand", [x[:, :1], ints(8, 64, 12, 65)], {}),
        ("Trilu", [x], {"upper": 0}),
    ]
    before = _core.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            _core.set_num_threads(threads)
            results.append([run(*case)[0] for case in cases])
    finally:
        _core.set_num_threads(before)
    for a, b in zip(*results, strict=True):
        assert_same([a], [b])


@pytest.mark.parametrize(
    ("op_type", "inputs", "attributes", "error", "match"),
    [
        ("Reshape", [X, ints(5, 5)], {}, errors.ShapeError, "number of elements"),
        ("Reshape", [X, ints(-1, -1)], {}, errors.ShapeError, "-1 once"),
        ("Reshape", [X, ints(-2, 12)], {}, errors.ShapeError, "sizes, 0 or -1"),
        ("Reshape", [X, ints(5, -1)], {}, errors.ShapeError, "cannot be resolved"),
        ("Reshape", [X, ints(1, 1, 1, 0)], {}, errors.ShapeError, "copies a dimension"),
        ("Reshape", [X, ints(2**33, 2**33)], {}, errors.ShapeError, "number of elements"),
        ("Reshape", [X, ints(*[1] * 17)], {}, errors.ShapeError, "rank must be at most 16"),
        ("Reshape", [X, X], {}, errors.DTypeError, "int64 or int32"),
        ("Flatten", [X], {"axis": 4}, errors.OutOfBoundsError, r"\[-3, 3\], got 4"),
        ("Squeeze", [X, ints(0)], {}, errors.ShapeError, "size 1"),
        ("Squeeze", [X, ints(3)], {}, errors.OutOfBoundsError, "axis must lie"),
        ("Unsqueeze", [X, ints(0, 0)], {}, errors.InvalidArgumentError, "axes must differ"),
        ("Unsqueeze", [X, ints(9)], {}, errors.OutOfBoundsError, "axis must lie"),
        ("Transpose", [X], {"perm": [0, 1]}, errors.InvalidArgumentError, "one entry per"),
        ("Transpose", [X], {"perm": [0, 1, 1]}, errors.InvalidArgumentError, "must differ"),
        ("Transpose", [X], {"perm": [0, 1, 7]}, errors.OutOfBoundsError, "axis must lie"),
        ("Concat", [X, X[0]], {"axis": 0}, errors.ShapeError, "agree in all dimensions"),
        ("Concat", [X, ints(1)], {"axis": 0}, errors.DTypeError, "one type"),
        ("Concat", [X, X], {"axis": 3}, errors.OutOfBoundsError, "axis must lie"),
        ("Split", [X, ints(1, 2)], {"axis": 0}, errors.ShapeError, "sum to 2"),
        ("Slice", [X, ints(0), ints(1), ints(0), ints(0)], {}, errors.InvalidArgumentError, "0"),
        ("Slice", [X, ints(0, 0), ints(1)], {}, errors.ShapeError, "one length"),
        ("Slice", [X, ints(0), ints(1), ints(5)], {}, errors.OutOfBoundsError, "axis must lie"),
        ("Expand", [X, ints(5)], {}, errors.ShapeError, "broadcast"),
        ("Expand", [X, ints(-1)], {}, errors.ShapeError, "negative"),
        ("Tile", [X, ints(2)], {}, errors.ShapeError, "one entry per"),
        ("Tile", [X, ints(1, 1, 2**61)], {}, errors.ToolkitError, "."),
        ("Tile", [X, ints(2**40, 2**40, 1)], {}, errors.OutOfMemoryError, "does not fit"),
        ("Pad", [X, ints(1, 1)], {}, errors.ShapeError, "two numbers for each"),
        ("Pad", [X, ints(-3, 0, 0, 0, 0, 0)], {}, errors.ShapeError, "at least empty"),
        ("Pad", [X, ints(0, 0, 2**62, 0, 0, 0)], {}, errors.ToolkitError, "."),
        ("Pad", [X, ints(0, 0, 2**40, 0, 0, 0)], {}, errors.OutOfMemoryError, "does not fit"),
        ("Pad", [EMPTY, ints(1, 0, 0, 0, 0, 0)], {"mode": "edge"}, errors.ShapeError, "empty"),
        ("Pad", [X, ints(0)], {"mode": "mirror"}, errors.InvalidArgumentError, "mode must be"),
        ("DepthToSpace", [X], {"blocksize": 2}, errors.ShapeError, "N, C, H, W"),
        ("SpaceToDepth", [array((1, 1, 3, 3))], {"blocksize": 2}, errors.ShapeError, "multiples"),
        ("ConstantOfShape", [ints(-1)], {}, errors.ShapeError, "negative"),
        ("ConstantOfShape", [ints(2**40, 2**40)], {}, errors.OutOfMemoryError, "does not fit"),
        ("Constant", [], {}, errors.UnsupportedOperatorError, "one of value"),
        ("Range", [np.array(v) for v in (0, 5, 0)], {}, errors.InvalidArgumentError, "delta"),
        ("Range", list(np.array([0, np.inf, 1])), {}, errors.InvalidArgumentError, "finite"),
        ("Range", list(np.array([0, np.nan, 1])), {}, errors.InvalidArgumentError, "finite"),
        ("Range", [np.array(v) for v in (-(2**62), 2**62, 1)], {}, errors.ToolkitError, "."),
        ("EyeLike", [X], {}, errors.ShapeError, "matrix"),
        ("Trilu", [ints(1)], {}, errors.ShapeError, "matrices"),
        ("OneHot", [ints(1), np.array(-1), ints(0, 1)], {}, errors.InvalidArgumentError, "depth"),
        ("OneHot", [ints(1), np.array(3), ints(0)], {}, errors.ShapeError, "off_value, on_value"),
        ("ReverseSequence", [X, ints(1, 9, 1)], {}, errors.OutOfBoundsError, "sequence_lens"),
        ("CenterCropPad", [X, ints(1)], {}, errors.ShapeError, "one size for each"),
        ("CenterCropPad", [X, ints(1, 1, -1)], {}, errors.ShapeError, "negative"),
    ],
)  # fmt: skip
def test_errors(op_type, inputs, attributes, error, match):
    with pytest.raises(error, match=match):
        run(op_type, inputs, attributes)

"""Shapes that no table would list: hypothesis draws them, numpy answers."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests import opcheck, tolerances
from tests.opinfo import OpInfo, S

SHAPES = hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=5)
FILLED = hnp.array_shapes(min_dims=1, max_dims=5, min_side=1, max_side=5)


def call(op_type: str, *inputs, outputs: int = 1, **attributes):
    got = opcheck.run(OpInfo(op_type, lambda d: []), S(*inputs, outputs=outputs, **attributes))
    return got[0] if outputs == 1 else got


def counted(shape, dtype=np.float64) -> np.ndarray:
    return (np.arange(int(np.prod(shape))).reshape(shape) % 97 - 48).astype(dtype)


def i64(values) -> np.ndarray:
    return np.array(values, np.int64)


@given(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=5, min_side=0, max_side=5))
def test_binary_broadcasting(shapes):
    a, b = (counted(s) for s in shapes.input_shapes)
    tolerances.assert_close(call("Sub", a, b), a - b)
    tolerances.assert_close(call("Less", a, b), a < b)


@given(hnp.mutually_broadcastable_shapes(num_shapes=3, max_dims=4, min_side=0, max_side=5))
def test_where_broadcasting(shapes):
    c, a, b = (counted(s) for s in shapes.input_shapes)
    tolerances.assert_close(call("Where", c > 0, a, b), np.where(c > 0, a, b))


@given(hnp.mutually_broadcastable_shapes(signature="(m,k),(k,n)->(m,n)", max_dims=3, max_side=9))
def test_matmul(shapes):
    a, b = (counted(s, np.float32) for s in shapes.input_shapes)
    tolerances.assert_close(call("MatMul", a, b), (a @ b).astype(np.float32), 4)


@given(SHAPES, st.data())
def test_reductions(shape, data):
    x = counted(shape)
    axes = data.draw(
        st.lists(st.integers(0, len(shape) - 1), unique=True) if shape else st.just([])
    )
    signed = [a - len(shape) if data.draw(st.booleans()) else a for a in axes]
    keep = data.draw(st.booleans())
    over = tuple(axes) or tuple(range(len(shape)))
    want = np.asarray(x.sum(over, keepdims=keep))
    tolerances.assert_close(call("ReduceSum", x, i64(signed), keepdims=int(keep)), want)
    if all(shape):
        want = np.asarray(x.max(over, keepdims=keep))
        tolerances.assert_close(call("ReduceMax", x, i64(signed), keepdims=int(keep)), want)


@given(
    SHAPES,
    st.randoms(use_true_random=False),
    st.sampled_from(["uint8", "int16", "float32", "complex128"]),
)
def test_transpose(shape, random, dtype):
    perm = random.sample(range(len(shape)), len(shape))
    x = counted(shape, dtype)
    tolerances.assert_close(call("Transpose", x, perm=perm), x.transpose(perm).copy())


@given(FILLED, st.data())
def test_slice_and_its_gradient(shape, data):
    x = counted(shape)
    index = data.draw(
        hnp.basic_indices(shape, min_dims=len(shape), max_dims=len(shape), allow_ellipsis=False)
    )
    index = index if isinstance(index, tuple) else (index,)
    starts, ends, steps = [], [], []
    for i, n in zip(index, shape, strict=True):
        s = i if isinstance(i, slice) else slice(i, None if i == -1 else i + 1, 1)
        step = 1 if s.step is None else s.step
        starts.append((0 if step > 0 else n) if s.start is None else s.start)
        ends.append((2**62 if step > 0 else -(2**62)) if s.stop is None else s.stop)
        steps.append(step)
    axes = list(range(len(shape)))
    args = [i64(v) for v in (starts, ends, axes, steps)]
    y = x[tuple(i if isinstance(i, slice) else slice(i, None if i == -1 else i + 1) for i in index)]
    tolerances.assert_close(call("Slice", x, *args), np.ascontiguousarray(y))


@given(FILLED, st.data())
def test_pad(shape, data):
    x = counted(shape)
    pads = data.draw(st.lists(st.integers(0, 3), min_size=2 * len(shape), max_size=2 * len(shape)))
    widths = list(zip(pads[: len(shape)], pads[len(shape) :], strict=True))
    mode = data.draw(st.sampled_from(["constant", "edge", "wrap"]))
    tolerances.assert_close(call("Pad", x, i64(pads), mode=mode), np.pad(x, widths, mode))


@given(FILLED, SHAPES, st.data())
def test_gather(shape, at, data):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    n = shape[axis]
    indices = data.draw(hnp.arrays(np.int64, at, elements=st.integers(-n, n - 1)))
    x = counted(shape)
    if len(shape) + len(at) <= 8:
        tolerances.assert_close(call("Gather", x, indices, axis=axis), np.take(x, indices, axis))


@given(FILLED, st.data())
def test_split_then_concat_is_the_identity(shape, data):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    n = shape[axis]
    cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=3)))
    sizes = np.diff([0, *cuts, n])
    x = counted(shape, np.int32)
    parts = call("Split", x, i64(sizes), outputs=len(sizes), axis=axis) if len(sizes) > 1 else [x]
    tolerances.assert_close(call("Concat", *parts, axis=axis), x)


@given(FILLED, st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_dropout_mask_is_a_function_of_seed_and_offset(shape, seed, offset):
    op = OpInfo("Dropout", lambda d: [], "toolkit.random")
    sample = S(
        np.ones(shape, np.float32),
        np.array([seed, offset], np.uint64),
        outputs=2,
        ratio=0.5,
        call=0,
    )
    y, mask = opcheck.run(op, sample)
    again, _ = opcheck.run(op, sample)
    assert y.tobytes() == again.tobytes()
    assert ((y == 2) == mask).all()

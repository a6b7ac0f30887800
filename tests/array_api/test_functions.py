"""Every function of the namespace beside numpy's, on arrays that hypothesis draws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import toolkit as tk
import toolkit.array_api as xp
from tests.array_api.oracle import (
    ALL,
    FLOATS,
    INTEGERS,
    NUMBERS,
    SIGNED,
    UNSIGNED,
    arrays,
    ours,
    pairs,
    same,
    shapes,
)
from toolkit.errors import ToolkitError

few = settings(max_examples=12)
REFUSALS = (ToolkitError, TypeError, ValueError, IndexError)


def check(name, *given, scale=1.0, typed=True, **options):
    """One call on both sides."""
    wanted = getattr(np, name)(*given, **options)
    found = getattr(xp, name)(*map(ours, given), **{k: ours(v) for k, v in options.items()})
    same(found, wanted, scale, typed)


# Types, and the bounds of the elements.
UNARY = {
    "abs": (NUMBERS, -10, 10), "acos": (FLOATS, -1, 1), "acosh": (FLOATS, 1, 10),
    "asin": (FLOATS, -1, 1), "asinh": (FLOATS, -10, 10), "atan": (FLOATS, -10, 10),
    "atanh": (FLOATS, -0.9, 0.9), "bitwise_invert": (["bool", *INTEGERS], -10, 10),
    "ceil": (NUMBERS, -10, 10), "conj": (FLOATS, -1, 1), "cos": (FLOATS, -10, 10),
    "cosh": (FLOATS, -5, 5), "exp": (FLOATS, -5, 5), "expm1": (FLOATS, -5, 5),
    "floor": (NUMBERS, -10, 10), "isfinite": (NUMBERS, -1, 1), "isinf": (NUMBERS, -1, 1),
    "isnan": (NUMBERS, -1, 1), "log": (FLOATS, 0.1, 10), "log1p": (FLOATS, -0.5, 10),
    "log2": (FLOATS, 0.1, 10), "log10": (FLOATS, 0.1, 10), "logical_not": (["bool"], 0, 1),
    "negative": ([*SIGNED, *FLOATS], -10, 10), "positive": (NUMBERS, -10, 10),
    "real": (FLOATS, -1, 1), "reciprocal": (FLOATS, 1, 10), "round": (NUMBERS, -10, 10),
    "sign": (NUMBERS, -10, 10), "signbit": (FLOATS, -1, 1), "sin": (FLOATS, -10, 10),
    "sinh": (FLOATS, -5, 5), "square": (NUMBERS, -10, 10), "sqrt": (FLOATS, 0, 10),
    "tan": (FLOATS, -1, 1), "tanh": (FLOATS, -5, 5), "trunc": (NUMBERS, -10, 10),
}  # fmt: skip
BINARY = {
    "add": (NUMBERS, -10, 10), "atan2": (FLOATS, -5, 5),
    "bitwise_and": (["bool", *INTEGERS], -9, 9), "bitwise_left_shift": (INTEGERS, 0, 3),
    "bitwise_or": (["bool", *INTEGERS], -9, 9),
    "bitwise_right_shift": (INTEGERS, 0, 3), "bitwise_xor": (["bool", *INTEGERS], -9, 9),
    "copysign": (FLOATS, -5, 5), "divide": (FLOATS, 1, 9), "equal": (ALL, -2, 2),
    "floor_divide": (NUMBERS, 1, 9), "greater": (NUMBERS, -2, 2), "greater_equal": (NUMBERS, -2, 2),
    "hypot": (FLOATS, -5, 5), "less": (NUMBERS, -2, 2), "less_equal": (NUMBERS, -2, 2),
    "logaddexp": (FLOATS, -5, 5), "logical_and": (["bool"], 0, 1), "logical_or": (["bool"], 0, 1),
    "logical_xor": (["bool"], 0, 1), "maximum": (NUMBERS, -9, 9), "minimum": (NUMBERS, -9, 9),
    "multiply": (NUMBERS, -3, 3), "nextafter": (FLOATS, -2, 2), "not_equal": (ALL, -2, 2),
    "pow": (NUMBERS, 1, 2), "remainder": (NUMBERS, 1, 9), "subtract": (NUMBERS, -3, 3),
}  # fmt: skip


@pytest.mark.parametrize("name", UNARY)
@few
@given(data=st.data())
def test_unary(name, data):
    types, low, high = UNARY[name]
    x = data.draw(arrays(data.draw(st.sampled_from(types)), data.draw(shapes()), low, high))
    check(name, x, scale=4)


@pytest.mark.parametrize("name", BINARY)
@few
@given(data=st.data())
def test_binary(name, data):
    """Types of one kind, broadcast shapes, and numbers in either place."""
    types, low, high = BINARY[name]
    dtype = data.draw(st.sampled_from(types))
    other = data.draw(pairs(dtype))
    a, b = data.draw(st.sampled_from([((3, 2), (3, 2)), ((2,), (3, 2)), ((), (2, 3)), ((3, 1), ()),
                                      ((2, 1), (1, 3)), ((0, 2), (2,)), ((), ())]))  # fmt: skip
    x, y = data.draw(arrays(dtype, a, low, high)), data.draw(arrays(other, b, low, high))
    check(name, x, y, scale=4)
    number = y.astype(dtype).reshape(-1)[0].item() if y.size else True
    check(name, x, number, scale=4)
    check(name, number, x, scale=4)


REDUCTIONS = {
    "sum": NUMBERS, "prod": NUMBERS, "max": NUMBERS, "min": NUMBERS, "mean": FLOATS, "var": FLOATS,
    "std": FLOATS, "any": ALL, "all": ALL, "count_nonzero": ALL,
}  # fmt: skip


@pytest.mark.parametrize("name", REDUCTIONS)
@settings(max_examples=25)
@given(data=st.data())
def test_reductions(name, data):
    shape = data.draw(shapes(least=1 if name in ("max", "min", "mean", "var", "std") else 0))
    dtype = data.draw(st.sampled_from(REDUCTIONS[name]))
    x = data.draw(arrays(dtype, shape, -2, 2))
    rank = len(shape)
    axes = [None, (), *range(-rank, rank), *([(0, 1), (-1, 0)] if rank > 1 else [])]
    options = {"axis": data.draw(st.sampled_from(axes)), "keepdims": data.draw(st.booleans())}
    if name in ("var", "std"):
        options["correction"] = data.draw(st.sampled_from([0, 0.0, 0.5]))
    if name in ("sum", "prod") and dtype in FLOATS:
        options["dtype"] = data.draw(st.sampled_from([None, np.dtype("float64")]))
    check(name, x, scale=8, **options)


@pytest.mark.parametrize("name", [
    "cumulative_sum",
    pytest.param("cumulative_prod", marks=pytest.mark.xfail(
        not hasattr(tk, "cumprod"), reason="toolkit.cumprod is still missing", strict=True)),
])  # fmt: skip
@few
@given(data=st.data())
def test_cumulative(name, data):
    shape = data.draw(shapes(1))
    x = data.draw(arrays(data.draw(st.sampled_from(NUMBERS)), shape, -2, 2))
    axes = [*range(-len(shape), len(shape)), *([None] if len(shape) == 1 else [])]
    check(name, x, axis=data.draw(st.sampled_from(axes)), scale=8,
          include_initial=data.draw(st.booleans()))  # fmt: skip


@few
@given(data=st.data())
def test_diff(data):
    shape = data.draw(shapes(1, least=1))
    x = data.draw(arrays(data.draw(st.sampled_from(NUMBERS)), shape))
    n = data.draw(st.integers(0, 2))
    check("diff", x, n=min(n, min(shape) - 1), axis=data.draw(st.integers(-1, len(shape) - 1)))
    check("diff", x, axis=0, prepend=x, append=x)


@pytest.mark.parametrize("name", ["argmax", "argmin"])
@few
@given(data=st.data())
def test_arg_extremes(name, data):
    shape = data.draw(shapes(1, least=1))
    x = data.draw(arrays(data.draw(st.sampled_from(NUMBERS)), shape))
    axis = data.draw(st.sampled_from([None, *range(-len(shape), len(shape))]))
    check(name, x, axis=axis, keepdims=data.draw(st.booleans()))


@few
@given(data=st.data())
def test_sorting(data):
    shape = data.draw(shapes(1))
    x = data.draw(arrays(data.draw(st.sampled_from(NUMBERS)), shape))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    check("sort", x, axis=axis)
    check("argsort", x, axis=axis, stable=True)
    found = xp.argsort(ours(x), axis=axis, descending=True)
    same(xp.take_along_axis(ours(x), found, axis=axis), np.flip(np.sort(x, axis), axis))
    same(xp.sort(ours(x), axis=axis, descending=True), np.flip(np.sort(x, axis), axis))
    ties = np.argsort(-x.astype(float), axis=axis, stable=True)
    same(found, ties)


@few
@given(data=st.data())
def test_searching(data):
    x = np.sort(data.draw(arrays(data.draw(st.sampled_from(NUMBERS)), (5,))))
    v = data.draw(arrays(x.dtype.name, data.draw(shapes())))
    side = data.draw(st.sampled_from(["left", "right"]))
    check("searchsorted", x, v, side=side)
    order = np.array([4, 2, 0, 1, 3])
    check("searchsorted", x[np.argsort(order)], v, side=side, sorter=order)
    check("nonzero", data.draw(arrays(x.dtype.name, data.draw(shapes(1)), -1, 1)))
    c = data.draw(arrays("bool", (5,)))
    other = data.draw(arrays(data.draw(pairs(x.dtype.name)), (2, 1)))
    check("where", c, x, other)
    check("where", c, x, other.reshape(-1)[0].astype(x.dtype).item())


@few
@given(data=st.data())
def test_sets(data):
    x = data.draw(arrays(data.draw(st.sampled_from(ALL)), data.draw(shapes()), -2, 2))
    wanted = np.unique(x, return_index=True, return_inverse=True, return_counts=True)
    same(xp.unique_all(ours(x)), wanted)
    same(xp.unique_counts(ours(x)), (wanted[0], wanted[3]))
    same(xp.unique_inverse(ours(x)), (wanted[0], wanted[2]))
    same(xp.unique_values(ours(x)), wanted[0])
    fields = ("values", "indices", "inverse_indices", "counts")
    assert xp.unique_all(ours(x))._fields == fields


@few
@given(data=st.data())
def test_taking(data):
    shape = data.draw(shapes(1, least=1))
    x = data.draw(arrays(data.draw(st.sampled_from(ALL)), shape))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    at = data.draw(st.lists(st.integers(0, shape[axis] - 1), max_size=5))
    check("take", x, np.array(at, np.int64), axis=axis)
    places = np.argsort(x, axis=axis)
    check("take_along_axis", x, places, axis=axis)
    check("take", x.reshape(-1), np.array([0], np.int32))


@few
@given(data=st.data())
def test_shapes(data):
    shape = data.draw(shapes(1))
    x = data.draw(arrays(data.draw(st.sampled_from(ALL)), shape))
    rank = len(shape)
    axis = data.draw(st.integers(-rank, rank - 1))
    check("broadcast_to", x, (2, *shape))
    check("broadcast_arrays", x, x[None], x[:1])
    check("expand_dims", x, data.draw(st.integers(-rank - 1, rank)))
    check("squeeze", x[:, None], 1)
    check("flip", x, axis=data.draw(st.sampled_from([None, axis, (axis,)])))
    check("moveaxis", x, axis, data.draw(st.integers(-rank, rank - 1)))
    check("permute_dims", x, data.draw(st.permutations(range(rank))))
    check("reshape", x, (-1,) if x.size else (0,))
    check("reshape", x, (1, *shape), copy=data.draw(st.sampled_from([True, None])))
    check("roll", x, data.draw(st.integers(-5, 5)), axis=data.draw(st.sampled_from([None, axis])))
    check("roll", x, (1, 2), axis=(0, axis))
    check("tile", x, data.draw(st.sampled_from([(2,), (1, 3), (2, 1, 1, 2), (0,)])))
    check("unstack", x, axis=axis)
    check("matrix_transpose", x[None])


@few
@given(data=st.data())
def test_joining_and_repeating(data):
    dtype = data.draw(st.sampled_from(ALL))
    other = data.draw(pairs(dtype))
    shape = data.draw(shapes(1))
    x, y = data.draw(arrays(dtype, shape)), data.draw(arrays(other, shape))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    check("concat", [x, y, x], axis=axis)
    check("concat", (x, y[0:1].reshape(-1)), axis=None)
    check("stack", [x, y], axis=axis)
    check("repeat", x, 2, axis=data.draw(st.sampled_from([None, axis])))
    counts = data.draw(arrays("int64", (shape[axis],), 0, 3))
    check("repeat", x, counts, axis=axis)


@few
@given(data=st.data())
def test_products(data):
    dtype = data.draw(st.sampled_from(NUMBERS))
    other = data.draw(pairs(dtype))
    for a, b in (((2, 3), (3, 4)), ((3,), (3,)), ((2, 2, 3), (3,)), ((3,), (2, 3, 1)),
                 ((2, 1, 2, 3), (4, 3, 2)), ((0, 3), (3, 2)), ((2, 0), (0, 2))):  # fmt: skip
        x, y = data.draw(arrays(dtype, a, -3, 3)), data.draw(arrays(other, b, -3, 3))
        check("matmul", x, y, scale=4)
    x, y = data.draw(arrays(dtype, (2, 3, 4), -3, 3)), data.draw(arrays(other, (3, 4), -3, 3))
    check("vecdot", x, y, scale=4)
    check("vecdot", x, y, axis=-2, scale=4)
    check("tensordot", x, y, axes=2, scale=4)
    check("tensordot", x, y, axes=((2, 1), (-1, 0)), scale=4)
    check("tensordot", x, y, axes=0, scale=4)


@few
@given(data=st.data())
def test_creation(data):
    shape = data.draw(shapes())
    dtype = np.dtype(data.draw(st.sampled_from(ALL)))
    for name in ("zeros", "ones"):
        check(name, shape, dtype=dtype)
        check(name, 3, dtype=dtype)
    x = data.draw(arrays(dtype.name, shape))
    for name in ("zeros_like", "ones_like"):
        check(name, x)
        check(name, x, dtype=np.dtype("int16"))
    check("full", shape, 1, dtype=dtype)
    check("full_like", x, 1)
    assert xp.empty(shape, dtype=ours(dtype)).shape == xp.empty_like(ours(x)).shape == shape
    check("eye", data.draw(st.integers(0, 4)), data.draw(st.sampled_from([None, 0, 3])),
          k=data.draw(st.integers(-4, 4)), dtype=dtype)  # fmt: skip
    m = data.draw(arrays(dtype.name, (2, 3, 4)))
    for name in ("tril", "triu"):
        k = data.draw(st.integers(-4, 4))
        same(getattr(xp, name)(ours(m), k=k), getattr(np, name)(m, k=k))
    check("meshgrid", x.reshape(-1), m[0, 0], indexing=data.draw(st.sampled_from(["xy", "ij"])))


@few
@given(data=st.data())
def test_ranges(data):
    dtype = np.dtype(data.draw(st.sampled_from([*SIGNED, *FLOATS])))
    start, stop = data.draw(st.integers(-9, 9)), data.draw(st.integers(-9, 9))
    step = data.draw(st.sampled_from([1, 2, 3, -1, -2]))
    check("arange", start, stop, step, dtype=dtype)
    check("arange", abs(stop), dtype=dtype)
    kind = np.dtype(data.draw(st.sampled_from(FLOATS)))
    check("linspace", start, stop, data.draw(st.integers(0, 7)), dtype=kind, scale=8,
          endpoint=data.draw(st.booleans()))  # fmt: skip


@few
@given(data=st.data())
def test_casts(data):
    dtype, to = (data.draw(st.sampled_from(ALL)) for _ in range(2))
    x = data.draw(arrays(dtype, data.draw(shapes()), 0, 10))
    found = xp.astype(ours(x), getattr(xp, to))
    same(found, x.astype(to))
    again = xp.astype(found, getattr(xp, to), copy=False)
    assert again is found and xp.astype(found, getattr(xp, to)) is not found
    clip = data.draw(st.sampled_from([(1, None), (None, 2), (1, 2), (None, None)]))
    if dtype != "bool":
        check("clip", x, *clip)
        check("clip", x, np.array(2, dtype), np.array(1, dtype))


def test_promotion_of_every_pair():
    kinds = [["bool"], SIGNED, UNSIGNED, FLOATS, INTEGERS]
    for kind in kinds:
        for a in kind:
            for b in kind:
                if {a, b} & {"uint64"} and {a, b} & set(SIGNED):
                    continue
                wanted = np.result_type(a, b).name
                assert xp.result_type(getattr(xp, a), getattr(xp, b)).name == wanted
                assert xp.result_type(xp.ones((), dtype=getattr(xp, a)), getattr(xp, b)).name == (
                    wanted
                )
                assert xp.can_cast(getattr(xp, a), getattr(xp, b)) == (wanted == b)
    assert xp.result_type(xp.int8, 5) is xp.int8 and xp.result_type(xp.float32, 2.0) is xp.float32
    with pytest.raises(ValueError, match="an array or an element type is required"):
        xp.result_type(1)


def test_asarray():
    assert xp.asarray([[1, 2], [3, 4]]).dtype is xp.int64 and xp.asarray(True).dtype is xp.bool
    assert xp.asarray([1.0, 2]).dtype is xp.float32 and xp.asarray([]).dtype is xp.float32
    x = xp.asarray([1, 2])
    assert xp.asarray(x) is x and xp.asarray(x, copy=True) is not x
    array = np.arange(3)
    shared, copied = xp.asarray(array, copy=False), xp.asarray(array, copy=True)
    array[0] = 7
    assert shared.tolist() == [7, 1, 2] and copied.tolist() == [0, 1, 2]
    assert xp.asarray(memoryview(array)).tolist() == [7, 1, 2]
    assert xp.asarray([x, x], dtype=xp.float64).tolist() == [[1, 2], [1, 2]]
    for options in ({"copy": False, "dtype": xp.float32}, {"copy": False}):
        with pytest.raises(ValueError, match="a copy is required"):
            xp.asarray(x if "dtype" in options else [1], **options)
    with pytest.raises(OverflowError):
        xp.asarray(2**64)
    assert xp.from_dlpack(array).tolist() == [7, 1, 2]


@pytest.mark.parametrize("call", [
    lambda x: xp.add(1, 2), lambda x: xp.add(x, 1.5), lambda x: xp.add(x, "a"), lambda x: xp.exp(1),
    lambda x: xp.squeeze(x, 0), lambda x: xp.unstack(xp.asarray(1)), lambda x: xp.sum(x > 0),
    lambda x: xp.nonzero(xp.asarray(1)), lambda x: xp.matmul(x, xp.asarray(1)),
    lambda x: xp.cumulative_sum(xp.ones((2, 2))), lambda x: xp.take(xp.ones((2, 2)), x),
    lambda x: xp.vecdot(x, xp.ones(2)), lambda x: xp.tensordot(x, xp.ones(2), axes=1),
    lambda x: xp.roll(xp.ones((2, 2)), (1, 2, 3), axis=(0, 1)), lambda x: xp.diff(x > 0),
    lambda x: xp.zeros(2, device="cuda"), lambda x: xp.imag(x), lambda x: xp.expand_dims(x, 3),
    lambda x: xp.reshape(xp.ones((2, 3)).mT, (6,), copy=False), lambda x: xp.concat([]),
])  # fmt: skip
def test_refusals(call):
    with pytest.raises(REFUSALS) as info:
        call(xp.asarray([1, 2, 3]))
    assert len(str(info.value)) > 15

"""Special values: NaN, infinities, zeros of both signs; every one, and every pair of them."""

from __future__ import annotations

import numpy as np
import pytest

import toolkit.array_api as xp
from tests import tolerances
from tests.array_api.test_functions import BINARY, UNARY

VALUES = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -3.0, 7.5, -7.5, 1e30]
# What numpy says otherwise than the standard, or what the standard leaves open.
OPEN = {
    ("floor_divide", "infinite dividend or divisor"): lambda x, y: np.isinf(x) | np.isinf(y),
    ("floor_divide", "division by zero"): lambda x, y: y == 0,
    ("remainder", "infinite dividend or zero divisor"): lambda x, y: np.isinf(x) | (y == 0),
    ("maximum", "zeros of both signs"): lambda x, y: (x == 0) & (y == 0),
    ("minimum", "zeros of both signs"): lambda x, y: (x == 0) & (y == 0),
    ("sign", "the sign of a NaN's result"): lambda x: np.isnan(x),
}  # fmt: skip


def compare(name, found, wanted, *inputs) -> None:
    keep = np.ones(wanted.shape, bool)
    for (function, _), is_open in OPEN.items():
        if function == name:
            keep &= ~is_open(*inputs)
    found, wanted = found.numpy()[keep], wanted[keep]
    assert found.dtype == wanted.dtype
    if wanted.dtype.kind != "f":
        np.testing.assert_array_equal(found, wanted)
        return
    np.testing.assert_allclose(found, wanted, *tolerances.of(wanted.dtype, 4))
    zeros = wanted == 0
    signs = np.signbit(found[zeros]), np.signbit(wanted[zeros])
    places = [np.broadcast_to(x, keep.shape)[keep][zeros] for x in inputs]
    assert (signs[0] == signs[1]).all(), [p[signs[0] != signs[1]] for p in places]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", [n for n, (types, *_) in UNARY.items() if "float32" in types])
def test_unary(name, dtype):
    x = np.array(VALUES, dtype)
    with np.errstate(all="ignore"):
        wanted = getattr(np, name)(x)
    compare(name, getattr(xp, name)(xp.asarray(x)), wanted, x)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", [n for n, (types, *_) in BINARY.items() if "float32" in types])
def test_binary(name, dtype):
    x, y = np.array(VALUES, dtype)[:, None], np.array(VALUES, dtype)
    with np.errstate(all="ignore"):
        wanted = getattr(np, name)(x, y)
    compare(name, getattr(xp, name)(xp.asarray(x), xp.asarray(y)), wanted, x, y)


@pytest.mark.parametrize("name", ["max", "min", "sum", "prod", "mean", "std", "var"])
@pytest.mark.parametrize("values", [
    [1.0, np.nan, 2.0], [np.inf, 1.0], [np.inf, -np.inf], [-0.0, -0.0], [1e30, 1e30], [3.0],
])  # fmt: skip
def test_reductions(name, values):
    x = np.array(values)
    with np.errstate(all="ignore"):
        wanted = getattr(np, name)(x)
    compare(name, getattr(xp, name)(xp.asarray(x)), np.asarray(wanted))


@pytest.mark.parametrize(("name", "wanted"), [
    ("sum", 0.0), ("prod", 1.0), ("any", False), ("all", True), ("count_nonzero", 0),
    ("mean", np.nan), ("var", np.nan), ("std", np.nan),
])  # fmt: skip
def test_reductions_of_nothing(name, wanted):
    np.testing.assert_array_equal(getattr(xp, name)(xp.ones((0,))).item(), wanted)
    assert getattr(xp, name)(xp.ones((0, 3)), axis=0).shape == (3,)
    assert getattr(xp, name)(xp.ones((0, 3)), axis=1).shape == (0,)


@pytest.mark.parametrize("name", ["argmax", "argmin"])
def test_the_place_of_the_extreme_of_nothing_is_refused(name):
    with pytest.raises((ValueError, IndexError)):
        getattr(xp, name)(xp.ones((0,)))


@pytest.mark.parametrize("bounds", [(np.nan, 1.0), (0.0, np.nan), (-0.0, 0.0), (-np.inf, np.inf)])
def test_clip(bounds):
    x = np.array(VALUES, "float32")
    found = xp.clip(xp.asarray(x), *bounds).numpy()
    np.testing.assert_array_equal(found, np.clip(x, *map(np.float32, bounds)))


def test_each_nan_is_distinct():
    x = xp.asarray([xp.nan, 1.0, xp.nan, 1.0])
    found = xp.unique_all(x)
    assert found.values.shape == (3,) and found.counts.tolist() == [2, 1, 1]
    assert found.indices.tolist() == [1, 0, 2]
    assert found.inverse_indices.tolist() == [1, 0, 2, 0]

"""Arrays drawn by hypothesis on both sides, and how results are compared with numpy's."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import toolkit.array_api as xp
from tests import tolerances
from toolkit._tensor.complex import ComplexTensor

SIGNED = ["int8", "int16", "int32", "int64"]
UNSIGNED = ["uint8", "uint16", "uint32", "uint64"]
FLOATS = ["float32", "float64"]
INTEGERS = SIGNED + UNSIGNED
NUMBERS = INTEGERS + FLOATS
ALL = ["bool", *NUMBERS]


def shapes(low: int = 0, high: int = 3, side: int = 4, least: int = 0) -> st.SearchStrategy:
    return hnp.array_shapes(min_dims=low, max_dims=high, min_side=least, max_side=side)


def arrays(dtype: str, shape: Any, low: float = -10, high: float = 10) -> st.SearchStrategy:
    """Small numbers, so that sums and products are exact or nearly so."""
    if dtype == "bool":
        return hnp.arrays(dtype, shape)
    if dtype.startswith("float"):
        grid = st.integers(int(low * 16), int(high * 16)).map(lambda k: k / 16)
        return hnp.arrays(dtype, shape, elements=grid)
    low = max(low, 0) if dtype.startswith("uint") else low
    return hnp.arrays(dtype, shape, elements=st.integers(int(low), int(high)))


def pairs(dtype: str) -> st.SearchStrategy:
    """Two types that the standard promotes: of one kind, and no signed one with uint64."""
    for kinds in (["bool"], FLOATS, INTEGERS):
        if dtype in kinds:
            others = [d for d in kinds if d == dtype or (
                not ({d, dtype} & {"uint64"} and {d, dtype} & set(SIGNED)))]  # fmt: skip
            return st.sampled_from(others)
    raise AssertionError(dtype)


def ours(x: Any) -> Any:
    """Arrays within arguments as Tensors."""
    if isinstance(x, (np.ndarray, np.generic)):
        return xp.asarray(np.array(x))
    if isinstance(x, (list, tuple)):
        return type(x)(ours(v) for v in x)
    if isinstance(x, np.dtype):
        return getattr(xp, x.name)
    return x


def same(found: Any, wanted: Any, scale: float = 1.0, typed: bool = True) -> None:
    """Fails unless types, shapes and numbers agree, signs of zeros aside."""
    if isinstance(wanted, (tuple, list)):
        assert len(found) == len(wanted)
        for a, b in zip(found, wanted, strict=True):
            same(a, b, scale, typed)
        return
    wanted = np.asarray(wanted)
    assert tuple(found.shape) == wanted.shape, (found, wanted)
    if typed:
        assert found.dtype.name == wanted.dtype.name, (found, wanted)
    array = found.numpy()
    if isinstance(found, ComplexTensor):
        wanted = wanted.astype(array.dtype)
    if wanted.dtype.kind in "fc":
        bounds = tolerances.of(wanted.dtype, scale)
        np.testing.assert_allclose(array, wanted, *bounds, err_msg=str((found, wanted)))
    else:
        np.testing.assert_array_equal(array, wanted)

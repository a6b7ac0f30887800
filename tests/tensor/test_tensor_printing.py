"""`repr` equals torch's, but for the name of the package."""

import numpy as np
import pytest
from against import data, leaf, tk, torch

ARRAYS = {
    "whole": np.array([[1.0, 2.0], [-3.0, 40.0]], np.float32),
    "fractions": data(3, 4),
    "double": data(2, 3).astype(np.float64),
    "half": data(2, 3).astype(np.float16),
    "int64": np.arange(6).reshape(2, 3),
    "int32": np.arange(6, dtype=np.int32),
    "uint8": np.arange(6, dtype=np.uint8),
    "bool": np.array([[True, False], [False, True]]),
    "zero-dim": np.float32(3.14159),
    "zero-dim int": np.array(7),
    "zero-dim whole": np.float32(3),
    "empty": np.zeros((0,), np.float32),
    "empty 2d": np.zeros((0, 3), np.float32),
    "empty int": np.zeros((2, 0), np.int64),
    "scientific range": np.array([1e-3, 1.0, 5000.0], np.float32),
    "scientific large": np.array([1e9, 1.0], np.float32),
    "scientific small": np.array([1e-5, 1e-5], np.float32),
    "whole large": np.array([100000.0, 2.0], np.float32),
    "whole range": np.array([10.0, 200000000.0], np.float32),
    "not finite": np.array([1.5, np.inf, -np.inf, np.nan], np.float32),
    "not finite whole": np.array([1.0, np.inf, np.nan], np.float32),
    "only nan": np.array([np.nan, np.nan], np.float32),
    "only inf": np.array([np.inf, -np.inf, 0], np.float32),
    "zeros": np.zeros((2, 2), np.float32),
    "negative zero": np.array([-0.0, 0.0], np.float32),
    "long row": data(40),
    "long ints": np.arange(60) * 1000,
    "3d": data(2, 3, 4),
    "4d": data(2, 2, 2, 2),
    "summary 1d": np.arange(1001, dtype=np.float32),
    "summary 2d": data(40, 50),
    "summary tall": data(500, 3),
    "summary wide": data(3, 500),
    "summary 3d": data(10, 11, 12),
    "summary ints": np.arange(2000).reshape(40, 50),
    "no summary": np.arange(1000, dtype=np.float32).reshape(20, 50),
    "tiny and whole": np.array([0.0001, 2.0], np.float32),
    "rounding": np.array([0.99999, 1.00001], np.float32),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_repr(name):
    array = ARRAYS[name]
    expected = repr(torch.from_numpy(np.array(array))).replace("torch.", "toolkit.")
    assert repr(tk.from_numpy(np.array(array))) == expected
    assert str(tk.from_numpy(np.array(array))) == expected


def test_repr_of_gradients():
    for f in (
        lambda x: x, lambda x: x * 2, lambda x: x.sum(), lambda x: (x * 2)[0], lambda x: x.detach(),
        lambda x: x.t() @ x, lambda x: x.double() + 1, lambda x: x > 0, lambda x: x.max(1),
        lambda x: x.sort(), lambda x: x.shape,
    ):  # fmt: skip
        expected = repr(f(leaf(torch, 3, 4))).replace("torch.", "toolkit.")
        assert repr(f(leaf(tk, 3, 4))) == expected


def test_long_line_puts_the_suffix_below():
    assert repr(leaf(tk, 3, 9) * 1) == repr(leaf(torch, 3, 9) * 1)
    assert repr(leaf(tk, 8)) == repr(leaf(torch, 8))


def test_format():
    assert f"{tk.tensor(3.14159):.2f}" == "3.14"
    assert f"{tk.tensor([1, 2])}" == "tensor([1, 2])"


def test_printing_shares_nothing():
    x = tk.ones(3)
    repr(x)
    assert not x._shared

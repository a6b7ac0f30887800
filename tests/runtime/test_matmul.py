"""MatMul and Gemm against numpy, on every instruction set and number of threads."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.runtime.oracle import run
from tests.tolerances import assert_close
from toolkit.errors import DTypeError, InvalidArgumentError, ShapeError
from toolkit.runtime import _core

DTYPES = [np.float32, np.float64, np.int32, np.int64, np.uint32, np.uint64]

# (M, K, N): vectors, zero sizes, exact tiles, tails of every kind, more than one block of K and N.
SIZES = [
    (1, 1, 1), (1, 7, 5), (5, 7, 1), (3, 4, 2), (0, 3, 4), (3, 0, 4), (3, 4, 0), (2, 300, 70),
    (14, 16, 32), (15, 17, 33), (29, 500, 67), (1, 1000, 1000), (200, 1, 200), (31, 1024, 100),
    (6, 16, 16), (130, 129, 131), (1, 5000, 3), (100, 3, 2),
]  # fmt: skip


def integers(rng: np.random.Generator, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """Small whole numbers: sums are exact in every type and order."""
    return rng.integers(-5, 6, shape).astype(dtype)


def run_constant_b(op_type: str, inputs: list[np.ndarray], attributes: dict) -> np.ndarray:
    """In a program where all but the first input are constants, packed at load."""
    program = _core.Program()
    slots = [program.add_input("a")]
    slots += [program.add_constant(_core.Tensor.from_array(x)) for x in inputs[1:]]
    y = program.add_slot()
    program.add_node("", op_type, "node", attributes, slots, [y])
    program.add_output(y)
    program.finalize()
    return program.run([_core.Tensor.from_array(inputs[0])])[0].numpy()


def check_gemm(rng: np.random.Generator, dtypes: list[type], sizes: list[tuple]) -> None:
    """Every transposition and form of C, exactly."""
    for dtype, (m, k, n), ta, tb in itertools.product(dtypes, sizes, (0, 1), (0, 1)):
        a = integers(rng, (k, m) if ta else (m, k), dtype)
        b = integers(rng, (n, k) if tb else (k, n), dtype)
        product = (a.T if ta else a) @ (b.T if tb else b)
        case = (dtype.__name__, m, k, n, ta, tb)
        for shape in [None, (), (1,), (n,), (1, n), (m, 1), (m, n), (1, 1)]:
            attributes = {"transA": ta, "transB": tb, "alpha": 2.0, "beta": 3.0}
            c = None if shape is None else integers(rng, shape, dtype)
            want = dtype(2) * product + (0 if c is None else dtype(3) * c)
            inputs = [a, b] if c is None else [a, b, c]
            got = run("Gemm", inputs, attributes)[0]
            assert got.dtype == dtype and np.array_equal(got, want), (*case, shape)
        got = run_constant_b("Gemm", inputs, attributes)
        assert np.array_equal(got, want), (*case, "constant")


@pytest.mark.parametrize("dtype", DTYPES)
def test_gemm_is_exact_on_integers(rng, dtype):
    check_gemm(rng, [dtype], SIZES)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((3,), (3,)),
        ((3,), (3, 4)),
        ((2, 3), (3,)),
        ((5, 2, 3), (3,)),
        ((3,), (5, 3, 4)),
        ((2, 3), (3, 4)),
        ((5, 2, 3), (3, 4)),
        ((2, 3), (5, 3, 4)),
        ((5, 2, 3), (5, 3, 4)),
        ((5, 1, 2, 3), (1, 4, 3, 6)),
        ((2, 1, 1, 2, 3), (3, 1, 3, 2)),
        ((0, 2, 3), (3, 4)),
        ((2, 2, 0), (2, 0, 3)),
        ((9, 17, 70), (9, 70, 33)),
        ((1, 17, 70), (9, 70, 33)),
    ],
)
def test_matmul_broadcasts_as_numpy(rng, dtype, a, b):
    x, y = integers(rng, a, dtype), integers(rng, b, dtype)
    got = run("MatMul", [x, y])[0]
    want = np.asarray(np.matmul(x, y))
    assert got.shape == want.shape and got.dtype == dtype
    assert np.array_equal(got, want)
    assert np.array_equal(run_constant_b("MatMul", [x, y], {}), want)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [(128, 768, 96), (1, 2048, 70), (70, 2048, 1), (3, 1000, 200)])
def test_rounding_is_that_of_a_good_sum(rng, dtype, size):
    m, k, n = size
    a, b = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)
    want = (a.astype(np.longdouble) @ b.astype(np.longdouble)).astype(dtype)
    assert_close(run("MatMul", [a, b])[0], want, scale=20)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_threads_do_not_change_a_bit(rng, dtype):
    for m, k, n in [(1, 3000, 500), (500, 3000, 1), (3, 700, 900), (200, 900, 300), (300, 400, 40)]:
        a, b = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)
        results = []
        for threads in (1, 2, 3):
            _core.set_num_threads(threads)
            results.append(run("MatMul", [a, b])[0].tobytes())
            results.append(run("Gemm", [a, b.T.copy()], {"transB": 1})[0].tobytes())
        assert results[0::2] == results[0:1] * 3, (m, k, n)
        assert results[1::2] == results[1:2] * 3, (m, k, n)


def test_infinities_and_nan_pass_through():
    a = np.array([[np.inf, 1], [np.nan, 1], [0, 1]], np.float32)
    b = np.array([[1, 0], [1, 1]], np.float32)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(run("MatMul", [a, b])[0], a @ b)


def test_beta_zero_drops_c():
    a = b = np.eye(2, dtype=np.float32)
    c = np.full((2, 2), 7, np.float32)
    np.testing.assert_array_equal(run("Gemm", [a, b, c], {"beta": 0.0})[0], a)


def test_integers_wrap_around():
    a = np.array([[2**31 - 1, 2]], np.int32)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(run("MatMul", [a, a.T.copy()])[0], a @ a.T)


@pytest.mark.parametrize(
    "dtype", [np.int32, np.int64, np.uint32, np.uint64], ids=lambda t: t.__name__
)
@pytest.mark.parametrize("rows", [1, 3])
def test_integer_alpha_and_beta_wrap_around(dtype, rows):
    top = np.iinfo(dtype).max
    a, b = np.array([[top, 2]] * rows, dtype), np.array([[3], [top]], dtype)
    for c in (np.array([top], dtype), np.full((rows, 1), top - 5, dtype)):
        with np.errstate(over="ignore"):
            want = (a @ b) * np.array(-3).astype(dtype) + c * np.array(7, dtype)
        got = run("Gemm", [a, b, c], {"alpha": -3.0, "beta": 7.0})[0]
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("isa", ["x86-64-v2", "x86-64-v3"])
def test_other_instruction_sets(isa):
    script = (
        "import numpy as np; from tests.runtime import test_matmul as t;"
        "from toolkit.runtime import _core; assert _core.isa() == " + repr(isa) + ";"
        "t.check_gemm(np.random.default_rng(0), t.DTYPES, t.SIZES[:12])"
    )
    env = os.environ | {"TOOLKIT_ISA": isa, "TOOLKIT_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", script], env=env, check=True)


F32 = np.zeros((2, 3), np.float32)


@pytest.mark.parametrize(
    ("op_type", "inputs", "attributes", "error", "match"),
    [
        ("MatMul", [F32, F32], {}, ShapeError, r"inner dimensions must match, got A \(2, 3\)"),
        ("MatMul", [F32, F32[0, 0]], {}, ShapeError, "at least one dimension"),
        ("MatMul", [F32, F32.T.astype(np.float64)], {}, DTypeError, "B must have A's dtype"),
        ("MatMul", [np.zeros((2, 2, 3), np.float32), np.zeros((3, 3, 1), np.float32)], {},
         ShapeError, "must be equal or broadcast"),
        ("MatMul", [F32], {}, InvalidArgumentError, "input 1 is required"),
        ("MatMul", [F32.astype(bool), F32.astype(bool)], {}, DTypeError, "bool"),
        ("Gemm", [F32, F32], {}, ShapeError, "inner dimensions must match"),
        ("Gemm", [F32, F32], {"transA": 1, "transB": 1}, ShapeError, "transposed A"),
        ("Gemm", [F32[0], F32], {}, ShapeError, "must be matrices"),
        ("Gemm", [F32, F32.T, np.zeros(3, np.float32)], {}, ShapeError, r"broadcast to \(2, 2\)"),
        ("Gemm", [F32, F32.T, np.zeros(2)], {}, DTypeError, "C must have A's dtype"),
        ("Gemm", [F32.astype(np.int32), F32.T.astype(np.int32)], {"alpha": 0.5},
         InvalidArgumentError, "must be whole"),
        ("Gemm", [F32.astype(np.int32), F32.T.astype(np.int32)], {"alpha": float("inf")},
         InvalidArgumentError, "must be whole and below 2"),
        ("Gemm", [F32.astype(np.int32), F32.T.astype(np.int32), np.zeros(2, np.int32)],
         {"beta": 1e30}, InvalidArgumentError, "must be whole and below 2"),
    ],
)  # fmt: skip
def test_errors_name_what_is_required(op_type, inputs, attributes, error, match):
    with pytest.raises(error, match=match):
        run(op_type, [np.ascontiguousarray(x) if x.ndim else x for x in inputs], attributes)

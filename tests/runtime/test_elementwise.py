"""Elementwise kernels: accuracy in ulp, broadcasting walks, tails, casts, integer corners.

`test_ulp` tries uniform and log-uniform samples; NUMERICS.md has the largest errors over all
float, by `make ulp`.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tests.runtime import oracle
from toolkit import errors
from toolkit.runtime import _core

torch = pytest.importorskip("torch")
inf, nan = np.inf, np.nan


def run(op_type, *inputs, **attributes):
    return oracle.run(op_type, list(inputs), attributes)[0]


def samples(low, high, n=60_000):
    """Uniform and log-uniform floats in [low, high]."""
    rng = np.random.default_rng(0)
    plain = rng.uniform(low, high, n)
    scaled = np.ldexp(rng.uniform(1, 2, n), rng.integers(-120, 127, n)) * rng.choice([-1, 1], n)
    x = np.concatenate([plain, scaled]).astype(np.float32)
    return x[(x >= low) & (x <= high)]


def ulps(got, want):
    """Errors in units of the last place of the float32 result; `want` is float64."""
    rounded = want.astype(np.float32)
    normal = np.abs(rounded) > 2.0**-120
    error = np.abs(got.astype(np.float64) - want) / np.spacing(np.abs(rounded)).astype(np.float64)
    return np.where(normal, error, 0)


def sigmoid(x):
    return 1 / (1 + torch.exp(-x))


FUNCTIONS = [
    ("Exp", torch.exp, -87.3, 88.7, 1.1, {}),
    ("Log", torch.log, 1e-36, 1e36, 1.1, {}),
    ("Tanh", torch.tanh, -12, 12, 1.5, {}),
    ("Sigmoid", sigmoid, -80, 80, 1.9, {}),
    ("Erf", torch.erf, -5, 5, 1.6, {}),
    ("Softplus", lambda x: torch.log1p(torch.exp(-x.abs())) + x.clamp(min=0), -80, 50, 2.5, {}),
    ("Swish", lambda x: x * sigmoid(x), -75, 80, 3, {}),
    ("Mish", torch.nn.functional.mish, -70, 30, 5, {}),
    ("Elu", torch.nn.functional.elu, -30, 30, 1.5, {}),
    ("Celu", lambda x: torch.nn.functional.celu(x, 2.0), -30, 30, 2, {"alpha": 2.0}),
    ("Selu", torch.nn.functional.selu, -30, 30, 2.5, {}),
    ("Gelu", lambda x: 0.5 * x * torch.erfc(-x / 2**0.5), 0, 12, 2.5, {}),
    ("Gelu", lambda x: x * sigmoid(1.5957691216057308 * (x + 0.044715 * x**3)), -4, 12, 20,
     {"approximate": "tanh"}),
    ("Sin", torch.sin, -1e6, 1e6, 2, {}),
    ("Cos", torch.cos, -1e6, 1e6, 2, {}),
    ("Tan", torch.tan, -1e6, 1e6, 4, {}),
    ("Sin", torch.sin, 1e6, 1e30, 1, {}),
    ("Asin", torch.asin, -1, 1, 2.5, {}),
    ("Acos", torch.acos, -1, 1, 2, {}),
    ("Atan", torch.atan, -1e9, 1e9, 2.5, {}),
    ("Sinh", torch.sinh, -89.4, 89.4, 3, {}),
    ("Cosh", torch.cosh, -89.4, 89.4, 3, {}),
    ("Asinh", torch.asinh, -1e30, 1e30, 3, {}),
    ("Acosh", torch.acosh, 1, 1e30, 3, {}),
    ("Atanh", torch.atanh, -0.999, 0.999, 3, {}),
    ("Sqrt", torch.sqrt, 0, 1e36, 0.51, {}),
    ("Reciprocal", torch.reciprocal, -1e36, 1e36, 0.51, {}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("op_type", "exact", "low", "high", "limit", "attributes"),
    FUNCTIONS,
    ids=[f"{f[0]}{i}" for i, f in enumerate(FUNCTIONS)],
)
def test_ulp(op_type, exact, low, high, limit, attributes):
    x = samples(low, high)
    with np.errstate(all="ignore"):
        error = ulps(run(op_type, x, **attributes), exact(torch.from_numpy(x).double()).numpy())
    worst = error.argmax()
    assert error[worst] <= limit, f"{error[worst]:.3f} ulp at {x[worst]!r}"


def test_gelu_of_negative_arguments():
    x = samples(-20, 0)
    want = 0.5 * torch.from_numpy(x).double() * torch.erfc(-torch.from_numpy(x).double() / 2**0.5)
    np.testing.assert_allclose(run("Gelu", x), want.numpy(), rtol=0, atol=6e-8)


@pytest.mark.parametrize(
    ("op_type", "exact", "last"),
    [
        ("Exp", np.exp, 88.72283),
        ("Sinh", np.sinh, 89.41598),
        ("Cosh", np.cosh, 89.41598),
        ("Sinh", np.sinh, 89.415985),
    ],
)
def test_the_largest_results_are_finite(op_type, exact, last):
    x = np.array([last, np.nextafter(np.float32(last), np.float32(0)), 89.42], np.float32)
    got = run(op_type, x)
    assert (ulps(got[:2], exact(x[:2].astype(np.float64))) < 2).all()
    assert got[2] == inf


def test_sigmoid_of_extremes():
    x = np.array([-inf, -1e30, -90, 0, 90, 1e30, inf, nan, -0.0], np.float32)
    np.testing.assert_array_equal(run("Sigmoid", x), [0, 0, 0, 0.5, 1, 1, 1, nan, 0.5])


def test_pow_ulp():
    x = np.abs(samples(0, 1e30))
    y = np.random.default_rng(1).uniform(-4, 4, x.size).astype(np.float32)
    with np.errstate(all="ignore"):
        want = np.power(x.astype(np.float64), y.astype(np.float64))
        inside = (want < 3e38) & (want > 1e-36)
        error = ulps(run("Pow", x, y), np.where(inside, want, 1))
    assert error[inside].max() <= 0.6


SPECIAL = np.array(
    [0, -0.0, 1, -1, 2, -2, 0.5, -0.5, 3, -3, inf, -inf, nan, 1e8, -1e8, 2**24 + 2, 5000001],
    np.float32,
)


def test_pow_of_special_values():
    base, exponent = np.meshgrid(SPECIAL, SPECIAL)
    with np.errstate(all="ignore"):
        want = np.power(base.astype(np.float64), exponent.astype(np.float64)).astype(np.float32)
    want[np.abs(want) < 1.2e-38] *= 0  # Denormal results count as zero.
    got = run("Pow", base, exponent)
    np.testing.assert_allclose(got, want, rtol=2e-7, atol=0)
    number = ~np.isnan(want)
    np.testing.assert_array_equal(np.signbit(got[number]), np.signbit(want[number]))


@pytest.mark.parametrize("n", [*range(0, 70), 127, 128, 129, 513, 1031])
def test_tails_equal_the_middle(n):
    """An element's result does not depend on where in the data it stands."""
    x = np.random.default_rng(n).normal(size=2048).astype(np.float32) * 3
    for op_type in ("Exp", "Tanh", "Gelu", "Sin", "HardSwish", "LeakyRelu", "Erf"):
        whole = run(op_type, x)
        np.testing.assert_array_equal(run(op_type, x[:n]), whole[:n])
        np.testing.assert_array_equal(run(op_type, x[2048 - n :].copy()), whole[2048 - n :])


SHAPES = [
    ((), ()),
    ((5,), ()),
    ((), (5,)),
    ((3, 4), (3, 4)),
    ((3, 1, 5), (4, 1)),
    ((0, 3), (1, 3)),
    ((7, 3), (3,)),
    ((1000, 3), (1000, 1)),
    ((64, 100), (100,)),
    ((64, 100), (64, 1)),
    ((2, 3, 4, 5), (3, 1, 5)),
    ((4099,), (1,)),
    ((2, 1, 4, 1, 3, 1), (1, 5, 1, 2, 1, 3)),
    ((1, 1, 1), (2,)),
    ((50, 1, 60), (1, 7, 60)),
    ((2, 3, 1, 1), (2, 1, 70, 2)),
]
DTYPES = [np.float32, np.float64, np.float16, np.int8, np.int32, np.int64, np.uint8, np.uint64]


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda t: t.__name__)
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_broadcasting(shapes, dtype):
    rng = np.random.default_rng(0)
    a, b = (np.asarray(rng.normal(size=s) * 5).astype(dtype) for s in shapes)
    for op_type, f in {
        "Add": np.add,
        "Sub": np.subtract,
        "Mul": np.multiply,
        "Max": np.maximum,
    }.items():
        got, want = run(op_type, a, b), f(a, b)
        assert got.dtype == dtype and got.shape == want.shape
        np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(run("Less", a, b), a < b)
    np.testing.assert_array_equal(run("GreaterOrEqual", b, a), b >= a)
    condition = rng.random(np.broadcast_shapes(*shapes)[-1:]) > 0.5
    np.testing.assert_array_equal(run("Where", condition, a, b), np.where(condition, a, b))


def test_wide_broadcasts_do_not_depend_on_threads():
    rng = np.random.default_rng(3)
    cases = [
        ((300, 1, 401), (7, 1)),
        ((100_003, 3), (3,)),
        ((70_001,), (1,)),
        ((33, 5000), (33, 1)),
    ]
    try:
        for sa, sb in cases:
            a, b = rng.normal(size=sa).astype(np.float32), rng.normal(size=sb).astype(np.float32)
            results = []
            for threads in (1, 2, 3):
                _core.set_num_threads(threads)
                results.append([run("Div", a, b), run("Pow", a, b), run("Where", a > 0, a, b)])
            for other in results[1:]:
                for x, y in zip(results[0], other, strict=True):
                    np.testing.assert_array_equal(x, y)
    finally:
        _core.set_num_threads(2)


def test_many_inputs():
    rng = np.random.default_rng(0)
    xs = [rng.normal(size=s).astype(np.float32) for s in ((4, 1, 5), (3, 1), (5,), ()) * 5]
    np.testing.assert_allclose(
        run("Sum", *xs), sum(x.astype(np.float64) for x in xs), rtol=1e-5, atol=1e-5
    )
    np.testing.assert_allclose(
        run("Mean", *xs), sum(x.astype(np.float64) for x in xs) / len(xs), rtol=1e-5, atol=1e-6
    )
    got = run("Max", *(x.astype(np.float16) for x in xs))
    np.testing.assert_array_equal(
        got, np.maximum.reduce(np.broadcast_arrays(*xs)).astype(np.float16)
    )
    np.testing.assert_array_equal(run("Sum", xs[0]), xs[0])


INTEGERS = [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64]


@pytest.mark.parametrize("dtype", INTEGERS, ids=lambda t: t.__name__)
def test_integer_division(dtype):
    info = np.iinfo(dtype)
    edge = np.array(
        [info.min, info.max, 0, 1, 7, 100, info.max - 1] + [-1, -7] * (info.min < 0), dtype
    )
    a, b = np.meshgrid(edge, edge)
    quotient, python, c = run("Div", a, b), run("Mod", a, b), run("Mod", a, b, fmod=1)
    for x, y, q, r, f in zip(a.flat, b.flat, quotient.flat, python.flat, c.flat, strict=True):
        x, y = int(x), int(y)
        if y == 0:
            assert q == r == f == 0
            continue
        exact = abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)
        assert int(q) == np.array(exact).astype(dtype) if exact <= info.max else int(q) == info.min
        assert int(r) == x % y
        assert int(f) == x - y * exact


def test_float_mod_has_the_sign_it_should():
    a = np.array([5.5, -5.5, 5.5, -5.5, 0.0, -0.0, inf, 3.0, nan], np.float32)
    b = np.array([2, 2, -2, -2, 3, 3, 2, inf, 1], np.float32)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(run("Mod", a, b, fmod=1), np.fmod(a, b))
        np.testing.assert_array_equal(run("Mod", a, b), np.mod(a, b))


def test_integer_pow():
    base = np.array([0, 1, -1, 2, -2, 3, 10], np.int64)
    for e in (0, 1, 2, 3, 5, 62):
        want = [np.array(int(b) ** e % 2**64, np.uint64).astype(np.int64) for b in base]
        np.testing.assert_array_equal(run("Pow", base, np.int64(e)), want)
    np.testing.assert_array_equal(run("Pow", base, np.int64(-1)), [0, 1, -1, 0, 0, 0, 0])
    got = run("Pow", np.array([2, 3, 4], np.int32), np.array([0.5, 2, 1.5], np.float32))
    np.testing.assert_array_equal(got, np.array([1, 9, 8], np.int32))


CASTS = [np.float32, np.float64, np.float16, np.bool_, *INTEGERS]


@pytest.mark.parametrize("source", CASTS, ids=lambda t: t.__name__)
def test_cast(source):
    from toolkit.dtypes import from_numpy

    x = (np.random.default_rng(0).random(137) * 100).astype(source)
    for target in CASTS:
        got = run("Cast", x, to=from_numpy(target).onnx)
        assert got.dtype == target
        np.testing.assert_array_equal(got, x.astype(target))


@pytest.mark.parametrize("source", [np.float32, np.float64], ids=lambda t: t.__name__)
def test_cast_of_what_does_not_fit(source):
    x = np.array([nan, inf, -inf, 1e30, -1e30, -1.5, 2147483648, 4294967295.0, 300, -129], source)
    int32 = [0, 2**31 - 1, -(2**31), 2**31 - 1, -(2**31), -1, 2**31 - 1, 2**31 - 1, 300, -129]
    np.testing.assert_array_equal(run("Cast", x, to=6), int32)
    int64 = [0, 2**63 - 1, -(2**63), 2**63 - 1, -(2**63), -1, 2**31, int(x[7]), 300, -129]
    np.testing.assert_array_equal(run("Cast", x, to=7), int64)
    np.testing.assert_array_equal(run("Cast", x, to=2), np.array(int32, np.int64).astype(np.uint8))
    np.testing.assert_array_equal(run("Cast", x, to=3), np.array(int32, np.int64).astype(np.int8))
    uint64 = np.array(int64, np.int64).astype(np.uint64)
    uint64[[1, 3]] = 2**64 - 1
    np.testing.assert_array_equal(run("Cast", x, to=13), uint64)
    np.testing.assert_array_equal(run("Cast", x, to=9), x != 0)


def test_every_half_survives():
    halves = np.arange(65536, dtype=np.uint16).view(np.float16)
    wide = run("Cast", halves, to=1)
    np.testing.assert_array_equal(wide, halves.astype(np.float32))
    np.testing.assert_array_equal(run("Cast", wide, to=10), halves)


def test_floats_round_to_half_like_numpy():
    rng = np.random.default_rng(0)
    x = np.ldexp(rng.uniform(1, 2, 20_000), rng.integers(-27, 18, 20_000)).astype(np.float32)
    ties = (np.arange(2000) + 0.5).astype(np.float32) * np.float32(2**-10) + 1
    x = np.concatenate([x, -x, ties, [65504, 65519.99, 65520, inf]]).astype(np.float32)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(run("Cast", x, to=10), x.astype(np.float16))
    bits = torch.from_numpy(x).bfloat16().view(torch.uint16).numpy()
    np.testing.assert_array_equal(run("Cast", x, to=16), bits)


def test_special_values_pass_through():
    x = np.array([nan, inf, -inf, 0.0, -0.0, 1.5], np.float32)
    t = torch.from_numpy(x)
    functions = {
        "Relu": torch.relu,
        "Tanh": torch.tanh,
        "Sigmoid": torch.sigmoid,
        "Exp": torch.exp,
        "Neg": torch.neg,
        "Abs": torch.abs,
        "Erf": torch.erf,
        "Sin": torch.sin,
        "Ceil": torch.ceil,
        "Sqrt": torch.sqrt,
        "Softplus": lambda v: torch.logaddexp(v, torch.zeros(())),
        "Asinh": torch.asinh,
    }
    for op_type, f in functions.items():
        got, want = run(op_type, x), f(t).numpy()
        np.testing.assert_allclose(got, want, rtol=1e-6, err_msg=op_type)
        number = ~np.isnan(want) & (want == 0) & (x == 0)
        np.testing.assert_array_equal(np.signbit(got[number]), np.signbit(want[number]))
    for a, b in itertools.product(x, x):
        np.testing.assert_array_equal(run("Max", *np.float32([[a], [b]])), [np.maximum(a, b)])
        np.testing.assert_array_equal(run("Min", *np.float32([[a], [b]])), [np.minimum(a, b)])


def test_round_is_half_to_even():
    x = np.array([0.5, 1.5, 2.5, -0.5, -1.5, 2.4999998, 8388609.0, 1e30], np.float32)
    np.testing.assert_array_equal(run("Round", x), np.round(x))


def test_clip():
    x = np.array([-5, 0, 5, nan], np.float32)
    one, two = np.float32(1), np.float32(2)
    np.testing.assert_array_equal(run("Clip", x, one, two), [1, 1, 2, nan])
    np.testing.assert_array_equal(run("Clip", x, two, one), [1, 1, 1, nan])
    np.testing.assert_array_equal(run("Clip", x, None, one), [-5, 0, 1, nan])
    np.testing.assert_array_equal(run("Clip", x), x)
    big = np.array([-(2**62), 2**62 + 1], np.int64)
    np.testing.assert_array_equal(
        run("Clip", big, np.int64(-(2**62) + 1)), [-(2**62) + 1, 2**62 + 1]
    )


def test_errors():
    x = np.zeros((2, 3), np.float32)
    with pytest.raises(errors.ShapeError, match=r"broadcast, got \(2, 3\) and \(2,\)"):
        run("Add", x, np.zeros(2, np.float32))
    with pytest.raises(errors.DTypeError, match="same dtype, got float32 and float64"):
        run("Mul", x, x.astype(np.float64))
    with pytest.raises(errors.ShapeError, match="min must be a scalar"):
        run("Clip", x, np.zeros(2, np.float32))
    with pytest.raises(errors.DTypeError, match="no kernel for float32"):
        run("Where", x, x, x)
    with pytest.raises(errors.ShapeError, match="does not broadcast"):
        run("PRelu", np.zeros(3, np.float32), x)
    with pytest.raises(errors.InvalidArgumentError, match="LEFT or RIGHT, got 'UP'"):
        run("BitShift", np.zeros(3, np.uint8), np.zeros(3, np.uint8), direction="UP")
    with pytest.raises(errors.DTypeError, match="no conversion"):
        run("Cast", x, to=14)

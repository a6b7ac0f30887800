"""Every pointwise function: values, gradients, promotion of integers and bools, layouts, empty."""

from __future__ import annotations

from tests.parity.core import ALL, FLOATS, INTEGERS, NUMBERS, Row, d, rows
from tests.parity.rows.elementwise import named

# name: bounds of the argument where it has numbers.
UNARY = {
    "acos": (-0.9, 0.9), "acosh": (1.1, 4), "arccos": (-0.9, 0.9), "arccosh": (1.1, 4),
    "arcsin": (-0.9, 0.9), "arcsinh": (-2, 2), "arctan": (-2, 2), "arctanh": (-0.9, 0.9),
    "asin": (-0.9, 0.9), "atanh": (-0.9, 0.9), "deg2rad": (-9, 9), "rad2deg": (-2, 2),
    "erfc": (-2, 2), "erfinv": (-0.9, 0.9), "exp2": (-2, 2), "i0": (-5, 5),
    "lgamma": (0.3, 5), "log": (0.2, 4), "log10": (0.2, 4), "log1p": (-0.8, 4), "log2": (0.2, 4),
    "logit": (0.1, 0.9), "reciprocal": (0.3, 3), "rsqrt": (0.3, 3), "sinc": (-2, 2),
    "sqrt": (0.2, 4), "square": (-2, 2),
}  # fmt: skip
ROUNDED = ["ceil", "fix", "floor", "frac", "round", "trunc", "sgn", "sign"]
TESTS = ["isfinite", "isinf", "isnan", "isneginf", "isposinf", "isreal", "signbit", "logical_not"]
SPECIAL = {
    "entr": (0.1, 3), "erfcx": (-2, 4), "expit": (-3, 3), "gammaln": (0.3, 5),
    "i0e": (-12, 12), "i1": (-5, 5), "i1e": (-12, 12), "log_ndtr": (-6, 3), "ndtr": (-3, 3),
    "ndtri": (0.05, 0.95), "log1p": (-0.8, 3), "sinc": (-2, 2), "erf": (-2, 2), "exp2": (-2, 2),
}  # fmt: skip
BESSEL = {
    "airy_ai": (-3, 3), "bessel_j0": (-9, 9), "bessel_j1": (-9, 9), "bessel_y0": (0.2, 12),
    "bessel_y1": (0.2, 12), "modified_bessel_i0": (-4, 4), "modified_bessel_i1": (-4, 4),
    "modified_bessel_k0": (0.2, 6), "modified_bessel_k1": (0.2, 6),
    "scaled_modified_bessel_k0": (0.2, 6), "scaled_modified_bessel_k1": (0.2, 6),
    "spherical_bessel_j0": (-6, 6),
}  # fmt: skip
POLYNOMIALS = [
    "chebyshev_polynomial_t", "chebyshev_polynomial_u", "chebyshev_polynomial_v",
    "chebyshev_polynomial_w", "hermite_polynomial_h", "hermite_polynomial_he",
    "laguerre_polynomial_l", "legendre_polynomial_p", "shifted_chebyshev_polynomial_t",
    "shifted_chebyshev_polynomial_u", "shifted_chebyshev_polynomial_v",
    "shifted_chebyshev_polynomial_w",
]  # fmt: skip
TRIGAMMA = "torch's trigamma is off by 5e-10 in float64"
SERIES = "the two sides sum other series"
EXTREME = [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3e5, -3e5, 1e30, float("inf"), -float("inf"),
           float("nan")]  # fmt: skip
AT_EXTREMES = [
    "exp", "exp2", "expm1", "log", "log1p", "log2", "log10", "sqrt", "rsqrt", "erf", "erfc",
    "erfinv", "tanh", "atan", "sinh", "cosh", "asinh", "acosh", "atanh", "sigmoid", "lgamma",
    "digamma", "floor", "ceil", "trunc", "abs", "neg", "isfinite", "isinf",
    "isnan", "isneginf", "isposinf", "signbit", "reciprocal", "square", "nan_to_num", "frexp",
]  # fmt: skip


def special(name):
    return lambda m, *inputs: getattr(m.special, name)(*inputs)


def extreme(name, dtype):
    def call(m):
        out = getattr(m, name)(m.tensor(EXTREME, dtype=getattr(m, dtype)))
        return out

    return call


ROWS = [
    *(Row(f"unary/{n}", named(n), [d(3, 5, low=a, high=b)], FLOATS, tolerance=4, reason=SERIES)
      for n, (a, b) in UNARY.items()),
    *(Row(f"unary/{n}/int", named(n), [d(7, low=0, high=1)], ("int32", "bool", "uint8"))
      for n in UNARY if n not in ("reciprocal", "logit", "lgamma", "digamma", "square",
                                  "deg2rad", "rad2deg")),
    *rows("rounded", {n: named(n) for n in ROUNDED}, d(3, 5), dtypes=FLOATS),
    *rows("rounded/int", {n: named(n) for n in ROUNDED if n != "frac"}, d(5), dtypes=("int64",)),
    *rows("test", {n: named(n) for n in TESTS}, d(3, 5), dtypes=(*ALL,)),
    *(Row(f"special/{n}", special(n), [d(4, 5, low=a, high=b)], FLOATS, tolerance=8, reason=SERIES)
      for n, (a, b) in SPECIAL.items()),
    *(Row(f"special/{n}/int", special(n), [d(5, low=0, high=1)], ("int64",)) for n in
      ("entr", "erfcx", "expit", "i0e", "i1", "ndtr", "sinc", "exp2")),
    *(Row(f"special/{n}", special(n), [d(4, 5, low=a, high=b)], ("float32",), grad=False,
          tolerance=8, reason=SERIES) for n, (a, b) in BESSEL.items()),
    *(Row(f"special/{n}/{k}", lambda m, x, n=n, k=k: getattr(m.special, n)(x, k),
          [d(2, 4, low=-1.3, high=1.3)], ("float64",), grad=False, tolerance=8, reason=SERIES)
      for n in POLYNOMIALS for k in (0, 1, 3, 6)),
    *(Row(f"special/{n}/tensor", lambda m, x, n=n: getattr(m.special, n)(x, m.arange(-1, 5)),
          [d(2, 6, low=-1.3, high=1.3)], ("float64",), grad=False, tolerance=8, reason=SERIES)
      for n in POLYNOMIALS),
    *(Row(f"extreme/{n}/{t}", extreme(n, t), tolerance=4, reason=SERIES)
      for n in AT_EXTREMES for t in ("float32", "float64")),
    *(Row(f"unary/{n}/empty", named(n), [d(0, 3)]) for n in ("erfc", "lgamma", "i0", "log1p")),
    *(Row(f"unary/{n}/layout", named(n), [d(3, 4, low=0.3, high=0.8, layout="transposed")])
      for n in ("erfinv", "digamma", "sinc", "exp2", "rsqrt")),
    *(Row(f"unary/{n}/half", named(n), [d(5, low=0.3, high=0.8)], ("float16", "bfloat16"),
          grad=False) for n in ("exp", "log1p", "erfc", "lgamma", "sigmoid", "sqrt")),
    *(Row(f"polygamma/{n}", lambda m, x, n=n: m.polygamma(n, x), [d(7, low=0.3, high=4)], FLOATS,
          tolerance=1000, reason=TRIGAMMA) for n in (0, 1, 2, 4)),
    Row("digamma", named("digamma"), [d(3, 5, low=0.3, high=5)], FLOATS, tolerance=1000,
        reason=TRIGAMMA),
    Row("special/psi", special("psi"), [d(3, 5, low=0.3, high=5)], tolerance=8, reason=TRIGAMMA),
    Row("polygamma/negative x", lambda m, x: m.polygamma(1, x), [d(7, low=-3.8, high=-3.2)],
        ("float64",), tolerance=8, reason=SERIES),
    Row("polygamma/negative n", lambda m, x: m.polygamma(-1, x), [d(3)], error=True),
    Row("mvlgamma", lambda m, x: x.mvlgamma(3), [d(5, low=2, high=6)], FLOATS, tolerance=8,
        reason=SERIES),
    Row("special.multigammaln", lambda m, x: m.special.multigammaln(x, 2), [d(5, low=2, high=6)],
        tolerance=8, reason=SERIES),
    Row("logit/eps", lambda m, x: m.logit(x, eps=0.2), [d(9, low=0, high=1)], FLOATS),
    Row("special.logit/eps", lambda m, x: m.special.logit(x, 0.1), [d(9, low=0, high=1)]),
    Row("special.round/decimals", lambda m, x: m.special.round(x, decimals=2), [d(5)]),
    Row("special.logsumexp", lambda m, x: m.special.logsumexp(x, 1), [d(3, 4)]),
    Row("frexp", lambda m, x: m.frexp(x), [d(5, 4, low=-90, high=90)], FLOATS),
    Row("frexp/int", lambda m, x: m.frexp(x), [d(5)], ("int64",), error=True),
    Row("hardshrink", lambda m, x: m.hardshrink(x, 0.7), [d(9)], FLOATS),
    Row("positive", lambda m, x: m.positive(x), [d(3)], NUMBERS),
    Row("positive/bool", lambda m, x: m.positive(x), [d(3)], ("bool",), error=True),
    Row("neg/bool", lambda m, x: -x, [d(3)], ("bool",), error=True),
    *rows("invert", {"~": lambda m, x: ~x, "bitwise_not": named("bitwise_not")}, d(5),
          dtypes=("bool", *INTEGERS)),
    Row("invert/float", lambda m, x: ~x, [d(3)], error=True),
    Row("exp/no tensor", lambda m: m.exp(2.0), error=True),
    Row("nan_to_num/given", lambda m, x: m.nan_to_num(x / 0, 1.0, 2.0, -3.0), [d(4)], grad=False),
    Row("nan_to_num/int", lambda m, x: m.nan_to_num(x), [d(4)], ("int32",)),
    Row("clamp/int by float", lambda m, x: m.clamp(x, -0.5, 1.5), [d(6)], ("int64",)),
    Row("clamp/tensors", lambda m, x, a, b: m.clamp(x, a, b),
        [d(3, 4), d(4, low=-1, high=0), d(3, 1, low=0, high=1)], NUMBERS),
    Row("clamp/none", lambda m, x: m.clamp(x), [d(3)], error=True),
    Row("clamp_min", lambda m, x: m.clamp_min(x, 0.3), [d(6)]),
    Row("clamp_max", lambda m, x: x.clamp_max(0.3), [d(6)]),
]  # fmt: skip

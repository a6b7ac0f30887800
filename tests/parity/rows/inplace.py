"""In-place forms: results, refusals, gradients through them, shapes changed in place, `out=`."""

from __future__ import annotations

from typing import Any

from tests.parity.core import INTEGERS, Row, d, rows

UNARY = [
    "abs", "absolute", "arctan", "atan", "ceil", "cos", "cosh", "deg2rad",
    "erf", "erfc", "exp", "exp2", "expm1", "fix", "floor", "frac", "neg", "negative", "rad2deg",
    "round", "sgn", "sigmoid", "sin", "sinc", "sinh", "square", "tan", "tanh", "trunc", "i0",
    "relu", "nan_to_num",
]  # fmt: skip
POSITIVE = ["log", "log10", "log1p", "log2", "reciprocal", "rsqrt", "sqrt", "lgamma", "digamma",
            ]  # fmt: skip
UNIT = ["acos", "arccos", "arcsin", "asin", "erfinv", "logit"]
BINARY = ["add", "sub", "subtract", "mul", "multiply", "div", "divide", "true_divide", "pow",
          "remainder", "fmod", "floor_divide", "atan2", "arctan2", "copysign", "hypot", "xlogy",
          "eq", "ne", "not_equal", "lt", "less", "le", "less_equal", "gt", "greater", "ge",
          "greater_equal", "logical_and", "logical_or", "logical_xor", "ldexp", "heaviside",
          "nextafter"]  # fmt: skip
INTEGRAL = ["add", "sub", "mul", "bitwise_and", "bitwise_or", "bitwise_xor", "gcd", "lcm", "eq",
            "lt", "logical_and", "bitwise_left_shift", "bitwise_right_shift"]  # fmt: skip
MOVED: dict[str, Any] = {
    "squeeze_": lambda m, x: m.cat([x.clone()[None].squeeze_(0), x]),
    "squeeze_/all": lambda m, x: x.clone().reshape(3, 1, 4, 1).squeeze_(),
    "unsqueeze_": lambda m, x: x.clone().unsqueeze_(1),
    "transpose_": lambda m, x: x.clone().transpose_(0, 1),
    "swapaxes_": lambda m, x: x.clone().swapaxes_(0, 1),
    "swapdims_": lambda m, x: x.clone().swapdims_(1, 0),
    "t_": lambda m, x: x.clone().t_(),
}


# Torch has no gradient of their in-place forms.
NO_GRADIENT = {"arcsinh": 0.1, "asinh": 0.1, "acosh": 1.1, "arccosh": 1.1, "arctanh": 0.1,
               "atanh": 0.1}  # fmt: skip


def inplace(name: str) -> Any:
    """The tensor itself afterwards, and whether it is what the method gave."""

    def call(m: Any, x: Any, *rest: Any) -> Any:
        y = x.clone()
        given = getattr(y, name + "_")(*rest)
        return [y, given is y]

    return call


def function(name: str) -> Any:
    def call(m: Any, x: Any) -> Any:
        y = x.clone()
        getattr(m, name + "_")(y)
        return y

    return call


def out(name: str, count: int = 2) -> Any:
    """The same function with `out=`: an empty tensor, and one of the right shape."""

    def call(m: Any, *inputs: Any) -> Any:
        fresh, ready = m.empty(0), m.zeros(3, 4)
        f = getattr(m, name)
        return [f(*inputs[:count], out=fresh) is fresh, fresh, f(*inputs[:count], out=ready), ready]

    return call


def into_view(m: Any, x: Any) -> Any:
    y = x.clone()
    row = y[1]
    row.mul_(3)
    row[1:3].t_().add_(2)
    return y


def after_transpose(m: Any, x: Any) -> Any:
    y = (x * 1).transpose_(0, 1)
    y[0] = 1
    y.add_(x.t())
    return y * x.t()


def out_pair(m: Any, x: Any) -> Any:
    values, places = m.empty(0), m.empty(0, dtype=m.int64)
    m.max(x, 1, out=(values, places))
    return [values, places]


ROWS = [
    *rows("inplace", {n: inplace(n) for n in UNARY}, d(3, 4), dtypes=("float32", "float64")),
    *rows("inplace", {n: inplace(n) for n in POSITIVE}, d(3, 4, low=1.2, high=3)),
    *rows("inplace", {n: inplace(n) for n in UNIT}, d(3, 4, low=0.1, high=0.9)),
    *(Row(f"inplace/{n}", inplace(n), [d(3, 4, low=low, high=low + 0.8)], grad=False)
      for n, low in NO_GRADIENT.items()),
    *rows("inplace", {n: inplace(n) for n in BINARY}, d(3, 4, low=0.3, high=3),
          d(4, low=0.3, high=3), grad=False),
    *rows("inplace/grad", {n: inplace(n) for n in ("add", "mul", "div", "sub", "hypot", "xlogy")},
          d(3, 4, low=0.3, high=3), d(4, low=0.3, high=3)),
    *rows("inplace/int", {n: inplace(n) for n in INTEGRAL}, d(3, 4, low=1, high=5),
          d(4, low=1, high=3), dtypes=INTEGERS),
    *(Row(f"inplace/{n}/into {t}", inplace(n), [d(3, dtype=t), d(3, dtype="float32", low=0.5)],
          error=True) for n in ("add", "mul", "div") for t in ("int64", "bool")),
    *(Row(f"inplace/{n}/into int", inplace(n), [d(3, dtype="int32"), d(3)], grad=False)
      for n in ("lt", "eq", "ge", "logical_or")),
    Row("inplace/sqrt of int", lambda m, x: x.sqrt_(), [d(3)], ("int64",), error=True),
    Row("inplace/add wider", lambda m, x, y: x.add_(y), [d(3), d(2, 3)], grad=False, error=True),
    Row("inplace/float32 add float64", inplace("add"), [d(3), d(3, dtype="float64")], grad=False),
    Row("inplace/leaf", lambda m, x: x.add_(1), [d(3)], error=True),
    Row("inplace/leaf t_", lambda m, x: x.t_(), [d(3, 4)], error=True),
    *(Row(f"inplace/{n}", call, [d(3, 4)]) for n, call in MOVED.items()),
    Row("inplace/a view", into_view, [d(3, 4)]),
    Row("inplace/after transpose_", after_transpose, [d(3, 4)]),
    Row("inplace/shift operators", lambda m, x: _shifted(x.clone()), [d(5, low=1, high=9)],
        ("int32", "int64", "uint8")),
    Row("inplace/fill_", lambda m, x: x.clone().fill_(3), [d(3)], ("float32", "int64", "bool"),
        grad=False),
    Row("inplace/zero_", lambda m, x: m.zero_(x.clone()), [d(3)], ("float32", "int64"),
        grad=False),
    Row("inplace/lerp_", lambda m, x, y: x.clone().lerp_(y, 0.3), [d(3), d(3)]),
    Row("inplace/addcmul_", lambda m, x, y: x.clone().addcmul_(y, y, value=2), [d(3), d(3)]),
    Row("inplace/addcdiv_", lambda m, x, y: x.clone().addcdiv_(y, y + 3), [d(3), d(3)]),
    Row("inplace/clamp_", lambda m, x: x.clone().clamp_(-1, 0.5), [d(9)]),
    Row("inplace/clip_", lambda m, x: m.clip_(x.clone(), max=0.5), [d(9)]),
    Row("inplace/clamp_min_", lambda m, x: m.clamp_min_(x.clone(), 0.5), [d(9)]),
    Row("inplace/masked_fill_", lambda m, x: x.clone().masked_fill_(x > 0, 2), [d(9)]),
    Row("inplace/tril_", lambda m, x: x.clone().tril_(), [d(3, 4)]),
    Row("inplace/cumsum_", lambda m, x: x.clone().cumsum_(1), [d(3, 4)]),
    Row("inplace/polygamma_", lambda m, x: x.clone().polygamma_(1), [d(5, low=1, high=4)],
        grad=False),
    Row("inplace/mvlgamma_", lambda m, x: x.clone().mvlgamma_(2), [d(5, low=2, high=4)],
        grad=False),
    Row("inplace/apply_", lambda m, x: x.clone().apply_(lambda v: v * 2), [d(2, 3)], grad=False),
    Row("inplace/map_", lambda m, x, y: x.clone().map_(y, lambda a, b: a - b), [d(2, 3), d(2, 3)],
        grad=False),
    Row("inplace/resize_", lambda m, x: x.clone().resize_(2, 2), [d(3, 4)], grad=False),
    *rows("function", {n: function(n) for n in UNARY if n not in ("sgn", "absolute")}, d(4),
          grad=False),
    *(Row(f"out/{n}", out(n), [d(3, 4, low=0.3), d(4, low=0.3)], grad=False)
      for n in ("add", "sub", "mul", "div", "pow", "maximum", "atan2", "hypot", "fmod")),
    *(Row(f"out/{n}", out(n, 1), [d(3, 4, low=0.3, high=0.9)], grad=False)
      for n in ("exp", "sin", "abs", "sqrt", "tanh", "neg", "log1p", "sigmoid", "floor")),
    Row("out/matmul", lambda m, x, y: m.matmul(x, y, out=m.empty(3, 2)), [d(3, 4), d(4, 2)],
        grad=False),
    Row("out/sum", lambda m, x: m.sum(x, 1, out=m.empty(3)), [d(3, 4)], grad=False),
    Row("out/max", out_pair, [d(3, 4)], grad=False),
    Row("out/int", lambda m, x: m.add(x, 1.5, out=m.zeros(3, dtype=m.int64)), [d(3)], grad=False,
        error=True),
    Row("out/wider", lambda m, x: m.add(x, 1, out=m.zeros(3, dtype=m.float64)), [d(3)],
        grad=False),
    Row("out/grad", lambda m, x: m.exp(x, out=m.zeros(3)), [d(3)], error=True),
]  # fmt: skip


def _shifted(x: Any) -> Any:
    x <<= 2
    x >>= 1
    return [x, x << 1, x >> 1, 1 << (x % 4)]

"""Binary operators over pairs of element types, tensors with numbers, and 0-dim tensors."""

from __future__ import annotations

import itertools
from typing import Any

from tests.parity.core import ALL, FLOATS, INTEGERS, Row, d

TYPES = ("bool", "uint8", "int32", "int64", "float32", "float64")
HALVES = ("float16", "bfloat16")
SCALARS: dict[str, Any] = {"True": True, "2": 2, "-3": -3, "1.5": 1.5}
ARITHMETIC = ["add", "mul", "true_divide", "maximum", "minimum", "eq", "ne", "lt", "ge",
              "logical_and", "logical_xor", "fmax", "fmin", "atan2", "copysign",
              "xlogy", "float_power", "pow"]  # fmt: skip
FLOATING = ["hypot", "logaddexp", "logaddexp2", "nextafter", "atan2", "fmax", "fmin", "copysign",
            "fmod", "remainder", "maximum", "true_divide", "sub", "pow", "xlogy",
            "ldexp"]  # fmt: skip
INTEGRAL = ["gcd", "lcm", "bitwise_and", "bitwise_or", "bitwise_xor", "floor_divide", "remainder",
            "fmod"]  # fmt: skip


def operator(name: str, second: Any) -> Any:
    return lambda m, x: getattr(m, name)(x, second)


def both(name: str) -> Any:
    return lambda m, *inputs: getattr(m, name)(*inputs)


def pair(name: str, a: str, b: str, zero: bool = False) -> Row:
    """One operator on two types; `zero`: the second is a 0-dim tensor."""
    second = d(dtype=b, low=1, high=3) if zero else d(3, dtype=b, low=1, high=3)
    tag = "/0-dim" if zero else ""
    # A signed zero or a NaN of integers is none of promotion's business.
    return Row(f"promote{tag}/{name}/{a}+{b}", both(name),
               [d(2, 3, dtype=a, low=1, high=4), second], grad=False)  # fmt: skip


def compatible(name: str, a: str, b: str) -> bool:
    return not (name == "sub" and a == b == "bool")


ROWS = [
    *(pair(n, a, b) for n in ARITHMETIC for a, b in itertools.product(TYPES, TYPES)
      if (n, a) != ("pow", "bool") and (n, b) != ("pow", "bool")),
    *(Row(f"promote/{n}/half+{b}", both(n), [d(2, 3), d(3, dtype=b)], HALVES, grad=False)
      for n in ("add", "mul", "maximum") for b in ("bool", "int64", "float32", "float16")),
    *(pair("sub", a, b) for a, b in itertools.product(TYPES, TYPES) if "bool" not in (a, b)),
    *(pair(n, a, b, True) for n in ("add", "mul", "lt", "maximum")
      for a, b in itertools.product(TYPES, TYPES)),
    *(Row(f"integral/{n}/{a}+{b}", lambda m, x, y, n=n: getattr(m, n)(x, y + 1),
          [d(2, 3, dtype=a, low=1, high=4), d(3, dtype=b, low=1, high=3)]) for n in INTEGRAL
      for a, b in itertools.product(("uint8", "int16", "int64"), ("uint8", "int32", "int64"))),
    *(Row(f"scalar/{n}/{text}", operator(n, v), [d(5, low=1, high=4)],
          ("uint8", "int32", "int64", "float32"), grad=False)
      for n in ("add", "mul", "true_divide", "eq", "lt", "fmod", "remainder", "copysign", "xlogy",
                "float_power")
      for text, v in SCALARS.items()
      if not (n in ("fmod", "remainder") and v is True) and not (text == "-3" and n in ("lt", "eq",
              "fmod", "remainder", "add", "mul"))),
    *(Row(f"scalar/{n}/-3", operator(n, -3), [d(5, low=1, high=4)],
          ("int32", "int64", "float32"), grad=False)
      for n in ("add", "mul", "lt", "eq", "fmod", "remainder")),
    *(Row(f"reflected/{n}", call, [d(5, low=1, high=4)], (*INTEGERS, *FLOATS)) for n, call in {
        "2+x": lambda m, x: 2 + x, "2-x": lambda m, x: 7 - x, "2*x": lambda m, x: 2 * x,
        "2/x": lambda m, x: 2 / x, "2**x": lambda m, x: 2 ** x,
        "7%x": lambda m, x: 7 % (x + 1).detach(),
        "7//x": lambda m, x: 7 // (x + 1).detach(), "1.5-x": lambda m, x: 1.5 - x}.items()),
    *(Row(f"floats/{n}", both(n), [d(3, 4, low=0.3, high=3), d(4, low=0.3, high=3)], FLOATS,
          grad=n != "nextafter") for n in FLOATING),
    *(Row(f"floats/{n}/layout", both(n),
          [d(3, 4, low=0.3, high=3, layout="transposed"), d(3, 4, low=0.3, high=3,
                                                            layout="strided")])
      for n in ("hypot", "logaddexp", "atan2", "xlogy")),
    *(Row(f"floats/{n}/empty", both(n), [d(0, 4), d(4)]) for n in ("hypot", "logaddexp", "fmax")),
    *(Row(f"refused/{n}/{t}", both(n), [d(3), d(3)], (t,), error=True) for n, t in (
        ("hypot", "int64"), ("logaddexp", "int32"), ("nextafter", "int64"), ("gcd", "float32"),
        ("lcm", "float32"), ("bitwise_and", "float32"), ("sub", "bool"),
        ("gcd", "bool"))),
    *(Row(f"shapes/{n}", both(n), [d(3), d(4)], error=True)
      for n in ("mul", "maximum", "hypot", "lt", "logical_and", "pow")),
    Row("result_type", lambda m, x: m.result_type(x, 1.5), [d(2)], ALL),
    *(Row(f"can_cast/{a}", lambda m, a=a: [m.can_cast(getattr(m, a), getattr(m, b))
                                           for b in TYPES]) for a in TYPES),
    *(Row(f"promote_types/{a}", lambda m, a=a: [m.promote_types(getattr(m, a), getattr(m, b))
                                                for b in (*TYPES, *HALVES)])
      for a in (*TYPES, *HALVES)),
    Row("zeta", lambda m, s, q: m.special.zeta(s, q), [d(5, low=1.5, high=5, grad=False),
                                                      d(5, low=0.4, high=5)],
        FLOATS, tolerance=8, reason="other series"),
    Row("zeta/number", lambda m, q: m.special.zeta(2.0, q), [d(5, low=0.4, high=5)],
        tolerance=8, reason="other series"),
    Row("xlog1py", lambda m, x, y: m.special.xlog1py(x, y), [d(5), d(5, low=-0.5, high=3)],
        FLOATS),
    Row("xlog1py/number", lambda m, y: m.special.xlog1py(2, y), [d(5, low=-0.5, high=3)]),
    Row("xlogy/number", lambda m, y: m.xlogy(2, y), [d(5, low=0.5, high=3)]),
    Row("xlogy/zero", lambda m, y: m.xlogy(y * 0, y - 1), [d(5, low=0.5, high=3)], grad=False),
    *(Row(f"special/{n}", lambda m, a, x, n=n: getattr(m.special, n)(a, x),
          [d(3, 5, low=0.2, high=9, grad=False), d(5, low=0.1, high=12)], FLOATS, tolerance=500,
          reason="torch's own error is 2e-10 of float64", grad=True)
      for n in ("gammainc", "gammaincc")),
    Row("igamma/int", lambda m, a, x: m.igamma(a, x), [d(3), d(3)], ("int64",), error=True),
]  # fmt: skip

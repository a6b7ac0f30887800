"""Element types: casts between every pair, `.to` and `.type` in their forms, promotion tables."""

from __future__ import annotations

from typing import Any

from tests.parity.core import Row, d, rows

REAL = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32",
        "float64", "uint16", "uint32", "uint64")  # fmt: skip
# PyTorch promotes the wider unsigned types only among themselves and with floats.
PROMOTED = REAL[:10]
_METHODS = {"float32": "float", "float64": "double", "float16": "half", "bfloat16": "bfloat16",
            "int32": "int", "int64": "long", "int16": "short", "uint8": "byte", "int8": "char",
            "bool": "bool"}  # fmt: skip


def to_each(m: Any, x: Any) -> list[Any]:
    return [x.to(getattr(m, name)) for name in REAL]


def methods(m: Any, x: Any) -> list[Any]:
    return [getattr(x, method)() for method in _METHODS.values()]


def forms(m: Any, x: Any) -> list[Any]:
    """The ways to say a type, and what stays the same object."""
    other = m.zeros(2, dtype=m.int16)
    y = x.to(m.int16)
    return [
        x.to("cpu", m.int16), x.to(dtype=m.int16), x.to(other), x.to(m.int16, copy=True),
        x.to("cpu", dtype=m.int16, non_blocking=True), x.to(m.device("cpu")), x.type_as(other),
        x.type(m.int16), x.type().replace("toolkit", "torch"),
        x.type(m.LongTensor), y.to(m.int16) is y, y.to(m.int16, copy=True) is y, x.to("cpu") is x,
        x.cpu() is x, y.to(other) is y,
    ]  # fmt: skip


def facts(m: Any, x: Any) -> list[Any]:
    kind = x.dtype
    return [kind, kind.is_floating_point, kind.is_complex, kind.is_signed, kind.itemsize,
            x.element_size(), x.is_floating_point(), x.is_signed(), x.nbytes,
            m.is_floating_point(x), m.is_signed(x), m.is_complex(x)]  # fmt: skip


def beside(a: str, b: str) -> Row:
    """Promotion of two types: as types, arrays, 0-dim arrays and numbers."""

    def call(m: Any, x: Any) -> list[Any]:
        s, t = getattr(m, a), getattr(m, b)
        p, q = m.ones(2, dtype=s), m.ones(2, dtype=t)
        return [
            m.promote_types(s, t), m.result_type(p, q), m.result_type(p, q[0]),
            m.result_type(p[0], q), m.result_type(p[0], q[0]), m.can_cast(s, t),
            (p * q).dtype, (p * q[0]).dtype, (p[0] * q).dtype, (p == q).dtype, m.where(
            p == 1, p, q).dtype, m.stack([p[0], p[1]]).dtype, m.cat([p, q]).dtype,
        ]  # fmt: skip

    return Row(f"promotion/{a} {b}", call, [d(1)])


def beside_numbers(m: Any, x: Any) -> list[Any]:
    numbers = (True, 2, 2.5)
    found = [m.result_type(x, n) for n in numbers] + [m.result_type(x[0], n) for n in numbers]
    return found + [(x * n).dtype for n in numbers] + [(x[0] + n).dtype for n in numbers[1:]]


def in_place(m: Any, x: Any) -> Any:
    """An integer tensor cannot hold a float's sum."""
    return x.add_(m.ones(2, 3))


def default(m: Any, x: Any) -> list[Any]:
    before = m.get_default_dtype()
    m.set_default_dtype(m.float64)
    try:
        return [m.tensor(1.5), m.ones(2), m.arange(0, 1, 0.5), m.tensor([1]) / 2, m.tensor(2) * 1.5,
                m.get_default_dtype()]  # fmt: skip
    finally:
        m.set_default_dtype(before)


_INPUT = d(2, 3, low=0, high=9)
ROWS = [
    *rows("dtypes", {"to": to_each, "methods": methods, "forms": forms, "facts": facts}, _INPUT,
          dtypes=REAL, grad=False),
    *rows("dtypes of views", {"to": to_each}, d(3, 2, low=0, high=9, layout="transposed"),
          dtypes=("float32", "int64", "bool"), grad=False),
    *rows("dtypes of nothing", {"to": to_each, "facts": facts}, d(0, 3), dtypes=REAL, grad=False),
    *[beside(a, b) for i, a in enumerate(PROMOTED) for b in PROMOTED[i:]],
    *[beside(a, b) for a in ("uint16", "uint32", "uint64") for b in (a, "float32", "float16")],
    Row("promotion/numbers", beside_numbers, [d(3, low=0, high=3)], dtypes=PROMOTED, grad=False),
    Row("promotion/default", default, [d(1)], grad=False),
    Row("promotion/in place", in_place, [d(2, 3)], dtypes=("int32", "bool"), error=True),
    Row("promotion/in place float", in_place, [d(2, 3)], dtypes=("float16", "float64"), grad=False),
    Row("dtypes/gradient", lambda m, x: [x.double(), x.half().float(), x.to(m.float64) * 2],
        [d(4)]),
    Row("dtypes/negative to integers", lambda m, x: [x.to(getattr(m, n)) for n in (
        "int8", "int16", "int32", "int64", "bool")], [d(9, low=-9, high=9)],
        dtypes=("float32", "float64", "float16", "bfloat16", "int64"), grad=False),
    Row("dtypes/integers wrap", lambda m, x: [(x * 100).to(getattr(m, n)) for n in (
        "uint8", "int8", "int16", "int32")], [d(9, low=-900, high=900)], dtypes=("int32", "int64")),
    Row("dtypes/type names", lambda m, x: [x.type(f"{m.__name__}.LongTensor"), x.type(
        m.FloatTensor), x.type(m.BoolTensor), isinstance(x.long(), m.LongTensor)], [d(3)]),
    Row("dtypes/no name of a type", lambda m, x: x.type("torch.Nothing"), [d(1)], error=True),
    Row("dtypes/no type", lambda m, x: x.to("floaty"), [d(1)], error=True),
]  # fmt: skip

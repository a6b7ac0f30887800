"""What ordinary programs do now and then."""

from __future__ import annotations

import re
from typing import Any

from tests.parity.core import INTEGERS, Row, d, rows


def text(value: Any) -> str:
    """Without addresses and the package's name."""
    return re.sub(r"0x[0-9a-f]+", "0x", str(value)).replace("toolkit", "torch")


def nans(m: Any, x: Any) -> Any:
    return m.cat([x, x * float("nan")])[m.tensor([3, 0, 4, 1, 5, 2])]


ZERO = {
    "floor_divide number": lambda m, x: x // 0, "remainder number": lambda m, x: x % 0, "fmod": lambda m, x: x.fmod(0),
    "floor_divide": lambda m, x: x // (x * 0), "remainder": lambda m, x: x % (x * 0), "trunc": lambda m, x: m.div(x, x * 0, rounding_mode="trunc"),
    "number by tensor": lambda m, x: 7 // (x * 0), "in place": lambda m, x: x.floor_divide_(0), "view": lambda m, x: x // (x * 0)[1:],
}  # fmt: skip
ROWS: list[Row] = [
    *rows("divides by 0", ZERO, d(2, low=1, high=3), dtypes=INTEGERS, error=True),
    *rows("divides", {
        "floats by 0": lambda m, x: [x // 0, x / 0, x % 0], "integers": lambda m, x: [x.long() // 2, x.long() % -2, x.long().fmod(2)],
        "integers by floats": lambda m, x: [x.long() // 0.0, x.long() / 0],
    }, d(3), grad=False),
    *rows("randint", {
        "keywords": lambda m, x: tuple(m.randint(high=3, size=(2, 3)).shape), "low": lambda m, x: tuple(m.randint(low=1, high=3, size=(2,)).shape),
        "two": lambda m, x: tuple(m.randint(3, (2,)).shape),
    }, d(1)),
    *rows("unique of NaN", {
        "values": lambda m, x: m.unique(nans(m, x)), "all": lambda m, x: list(m.unique(nans(m, x), return_inverse=True, return_counts=True)),
        "matrix": lambda m, x: [u.shape for u in m.unique(nans(m, x).reshape(3, 2), return_inverse=True)],
        "none": lambda m, x: m.unique(m.cat([x, x]), return_counts=True)[1],
    }, d(3), grad=False),
    *rows("texts", {
        "grad_fn": lambda m, x: text((x * 2).sum().grad_fn), "ParameterDict": lambda m, x: text(m.nn.ParameterDict({"a": x.detach()})),
        "ParameterList": lambda m, x: text(m.nn.ParameterList([x.detach()])),
        "PackedSequence": lambda m, x: [len(p := m.nn.utils.rnn.pack_sequence([x, x])), p[1], p.double().data.dtype],
    }, d(3)),
]  # fmt: skip

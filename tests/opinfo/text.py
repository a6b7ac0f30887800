"""Operators on strings."""

from __future__ import annotations

import numpy as np

from tests.opinfo.core import OpInfo, S


def texts(*items: str) -> np.ndarray:
    return np.array(items, object)


ROWS = [
    OpInfo("RegexFullMatch",
           lambda d: [S(texts("www.google.com", "a", ""), pattern=r"www\.[\w.-]+\.\bcom\b"),
                      S(texts("a", "ab").reshape(2, 1), pattern="a.?"), S(d(0), pattern="x")],
           dtypes=("string",), grad=()),
]  # fmt: skip

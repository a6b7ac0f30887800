"""Shifts and remainders: every integer type, signs, shifts past the width."""

from __future__ import annotations

import numpy as np

from tests.parity.core import FLOATS, INTEGERS, Row, d, rows

_SHIFTS = {
    "left": lambda m, x, s: x << s, "right": lambda m, x, s: x >> s,
    "left number": lambda m, x, s: x << 3, "right number": lambda m, x, s: x >> 2,
    "number left": lambda m, x, s: 3 << s, "number right": lambda m, x, s: 100 >> s,
}  # fmt: skip
_REMAINDERS = {
    "operator": lambda m, x, y: x % y, "method": lambda m, x, y: x.remainder(y),
    "number": lambda m, x, y: x % 3, "negative number": lambda m, x, y: x % -3,
}  # fmt: skip
_ODD = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 2.5, -7.5]


def _odd(m, dtype):
    return m.tensor(_ODD, dtype=dtype)


ROWS = [
    *rows("shift", _SHIFTS, d(3, 4, low=-100, high=100), d(4, low=0, high=7), dtypes=INTEGERS),
    Row("shift/past the width", lambda m, x: [x << 70, x >> 70], [d(5, low=-9, high=9)],
        dtypes=INTEGERS),
    Row("shift/floats", lambda m, x: x << x.long(), [d(3)], error=True),
    *rows("remainder", _REMAINDERS, d(3, 4, low=-9, high=9), d(4, low=1, high=5),
          dtypes=(*INTEGERS, *FLOATS)),
    *rows("remainder by negatives", _REMAINDERS, d(3, 4, low=-9, high=9), d(4, low=-5, high=-1),
          dtypes=("int8", "int64", *FLOATS)),
    Row("remainder/number first", lambda m, x: 7 % x, [d(4, low=1, high=5)], grad=False,
        dtypes=("int8", "int64", *FLOATS)),
    Row("remainder/special", lambda m, x: [
        m.remainder(_odd(m, x.dtype)[:, None], _odd(m, x.dtype)),
        m.remainder(_odd(m, x.dtype)[:, None], _odd(m, x.dtype)) == 0], [d(1)], dtypes=FLOATS),
    Row("remainder/half", lambda m, x, y: x % y, [d(3, low=-9, high=9), d(3, low=1, high=5)],
        dtypes=("float16", "bfloat16"), grad=False),
]  # fmt: skip

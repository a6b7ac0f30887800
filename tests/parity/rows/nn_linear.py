"""nn.Linear and its kind."""

from __future__ import annotations

from tests.parity.core import FLOATS, Row, d, module

ROWS = [
    Row("nn.Linear", module(lambda m: m.nn.Linear(4, 3)), [d(2, 4)], dtypes=FLOATS),
    Row("nn.Linear/no bias", module(lambda m: m.nn.Linear(4, 3, bias=False)), [d(2, 5, 4)]),
    Row("nn.Linear/shape", lambda m, x: m.nn.Linear(4, 3)(x), [d(2, 5)], error=True),
]

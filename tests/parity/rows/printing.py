"""`repr` and `str` of tensors, character for character but for the name of the package."""

from __future__ import annotations

from typing import Any

from tests.parity.core import Row, d

REAL = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32",
        "float64", "uint16")  # fmt: skip


def text(x: Any) -> str:
    return repr(x).replace("toolkit.", "torch.")


def of(*values: Any, dtype: str | None = None) -> Any:
    return lambda m, x: [text(m.tensor(v, dtype=dtype and getattr(m, dtype))) for v in values]


nan, inf = float("nan"), float("inf")
_FLOATS = {
    "whole": ([1.0, 2.0, -3.0], [0.0], [[1e3, 2.0]], [1e7], [1e8], [1e9, 1.0]),
    "small": ([1e-4, 1.0], [1e-5, 1.0], [1e-8], [0.001, 999.0], [0.0001, 0.2]),
    "large": ([1e10, 1.0], [12345.678], [1e5 + 0.5, 2.0], [1e38, 1e-38], [99999.99, 0.5]),
    "mixed": ([0.1, 0.25, 100.5], [-0.1, 10.0], [[0.5, -1.5], [2.0, 3.25]], [1 / 3, 2 / 3]),
    "special": ([nan], [inf], [-inf, 1.0], [nan, 0.5], [nan, inf, -inf], [-0.0, 0.0], [inf, 1e9]),
    "numbers": (3.5, -0.0, 1e-9, nan, 1e20, 2.0),
}  # fmt: skip
_INTEGERS = {
    "integers": ([1, -22, 333], [0], [[1, 2], [-3, 4444]], 7, [-(2**63), 2**63 - 1]),
    "bools": ([True, False], [[True], [False]], True, [[[False]]]),
    "nothing": ([], [[]], [[], []], [[[]]]),
}  # fmt: skip
_SHAPES = {
    "vector": (40,), "long vector": (1500,), "matrix": (4, 3), "wide": (2, 60), "cube": (2, 3, 4),
    "deep": (2, 1, 2, 2), "summary": (60, 60), "summary cube": (12, 12, 12), "tall": (1100, 1),
    "empty": (0, 3), "empty cube": (2, 0, 3), "one": (1,), "ones": (1, 1, 1),
}  # fmt: skip


def options(**given: Any) -> Any:
    """Under `set_printoptions`, which is put back."""

    def call(m: Any, x: Any) -> Any:
        m.set_printoptions(**given)
        try:
            wide = m.arange(3000.0).reshape(3, 1000) / 7
            return [text(x), text(x * 1e6), text(x.long()), text(wide), text(x[0, 0])]
        finally:
            m.set_printoptions(profile="default")

    return call


def flags(m: Any, x: Any) -> list[str]:
    w = m.ones(2, requires_grad=True)
    return [text(w), text(w.detach()), text(m.tensor(1.5)),
            str(x.shape).replace("toolkit", "torch"),
            f"{m.tensor(2.5):.3f}", f"{m.tensor(7)}", str(x.dtype).replace("toolkit", "torch"),
            text(m.nn.Parameter(m.zeros(2)))]  # fmt: skip


ROWS = [
    *[Row(f"repr/{name}", of(*values), [d(1)], grad=False) for name, values in _FLOATS.items()],
    *[Row(f"repr/{name} of {t}", of(*values[:3], dtype=t), [d(1)], grad=False)
      for name, values in _FLOATS.items() for t in ("float64", "float16", "bfloat16")
      if name in ("mixed", "special", "numbers")],
    *[Row(f"repr/{name}", of(*values), [d(1)], grad=False) for name, values in _INTEGERS.items()],
    *[Row(f"repr of shape/{name}", lambda m, x: text(x), [d(*shape, low=-100, high=100)],
          dtypes=("float32", "int64"), grad=False) for name, shape in _SHAPES.items()],
    Row("repr of type", lambda m, x: [text(x), text(x[0]), text(x[0, 0])], [d(3, 4, high=9, low=0)],
        dtypes=REAL, grad=False),
    Row("repr of view", lambda m, x: [text(x), text(x[1:])], [d(3, 4, layout="transposed")],
        grad=False),
    Row("repr/flags", flags, [d(2, 3)], grad=False),
    *[Row(f"repr/options {i}", options(**given), [d(3, 4)], grad=False) for i, given in enumerate([
        {"precision": 2}, {"precision": 8}, {"threshold": 5}, {"edgeitems": 1, "threshold": 3},
        {"linewidth": 40}, {"sci_mode": True}, {"sci_mode": False}, {"profile": "short"},
        {"profile": "full", "linewidth": 120}])],
]  # fmt: skip

"""Comparisons, logic, bits, selection."""

from __future__ import annotations

import numpy as np

from tests.opinfo.core import ALL, NUMBERS, SIGNED, OpInfo, S, binary, unary

SHIFTED = ("uint8", "uint32", "uint64", "int8", "int16", "int32", "int64")


def close(op_type: str, **row) -> OpInfo:
    """A comparison; small integers make equality happen."""
    info = binary(op_type, **row)

    def samples(d):
        yield from info.samples(d)
        if d.dtype.kind == "O":
            return
        x = d.index(3, 65).astype(d.dtype)
        yield S(x, d.index(3, 65).astype(d.dtype))

    return info.but(samples=samples)


def where_samples(d):
    for c, x, y in (((7,), (7,), (7,)), ((65,), (1,), ()), ((3, 1), (1, 17), (3, 17)), ((), (2, 3), (3,)),
                    ((0, 1), (1, 3), ()), ((2, 1, 4), (3, 1), (1,)), ((2, 3, 65), (65,), (2, 1, 1))):  # fmt: skip
        yield S(d.bools(*c), d(*x), d(*y))


ROWS = [
    close("Equal", dtypes=ALL),
    close("Greater", dtypes=NUMBERS),
    close("GreaterOrEqual", dtypes=NUMBERS),
    close("Less", dtypes=NUMBERS),
    close("LessOrEqual", dtypes=NUMBERS),
    unary("Not", dtypes=("bool",)),
    binary("And", dtypes=("bool",)),
    binary("Or", dtypes=("bool",)),
    binary("Xor", dtypes=("bool",)),
    unary("IsNaN"),
    unary("IsInf", attributes=[{}, {"detect_negative": 0}, {"detect_positive": 0},
                               {"detect_positive": 0, "detect_negative": 0}]),
    unary("BitwiseNot", dtypes=SIGNED),
    binary("BitwiseAnd", dtypes=SIGNED),
    binary("BitwiseOr", dtypes=SIGNED),
    binary("BitwiseXor", dtypes=SIGNED),
    binary("BitShift", dtypes=SHIFTED, attributes=[{"direction": "LEFT"}, {"direction": "RIGHT"}]),
    OpInfo("Where", where_samples, dtypes=ALL, typed_by=None,
           big=lambda d: [S(d.bools(100_003), d(100_003), d(1)), S(d.bools(301, 1), d(1, 301), d())],
           special=lambda d: [S(d.bools(3), d.scalar([np.nan, np.inf, 1]), d.scalar([0, np.nan, -np.inf]))]
           if d.floating else []),
]  # fmt: skip

"""THE operator table: one row per operator, read by the tests, the benchmark and `toolkit ops`.

A row says what to call the operator with (`samples`), for which element types, and what is known of
the answer; see `tests.opinfo.core.OpInfo`. The kernels, rules and GPU twins are checked against it.
"""

from __future__ import annotations

from tests.opinfo import (
    activation,
    cast,
    conv,
    elementwise,
    indexing,
    logical,
    loss,
    matmul,
    normalization,
    optim,
    pool,
    random,
    reduction,
    shape,
)
from tests.opinfo.core import Draw, OpInfo, S, Sample

FAMILIES = {
    "activation": activation.ROWS,
    "cast": cast.ROWS,
    "conv": conv.ROWS,
    "elementwise": elementwise.ROWS,
    "indexing": indexing.ROWS,
    "logical": logical.ROWS,
    "loss": loss.ROWS,
    "matmul": matmul.ROWS,
    "normalization": normalization.ROWS,
    "optim": optim.ROWS,
    "pool": pool.ROWS,
    "random": random.ROWS,
    "reduction": reduction.ROWS,
    "shape": shape.ROWS,
}
OPS: list[OpInfo] = [row for rows in FAMILIES.values() for row in rows]
FAMILY = {row.name: family for family, rows in FAMILIES.items() for row in rows}

__all__ = ["FAMILIES", "FAMILY", "OPS", "Draw", "OpInfo", "S", "Sample"]

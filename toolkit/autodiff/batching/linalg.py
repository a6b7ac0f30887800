"""Batching of factorisations: their batch dimensions are the leading ones."""

from __future__ import annotations

from typing import Any

from toolkit.autodiff.batching.registry import Batch, Same, batching
from toolkit.graph.functions.linalg import LINALG

V = Any  # An ir.Value under `arithmetic`.


@batching("Cholesky", "Lu", "Geqrf", "Qr", "Eigh", "Svd", "MatrixExp", domain=LINALG)
def factorisation(c: Batch) -> V:
    """A stack of matrices; what is not computed has no elements, and no batch."""
    made = c.emit(c.value(0))
    absent = {"Qr": (0,), "Eigh": (1,), "Svd": (0, 2)}.get(c.node.op_type, ())
    if c.attr("vectors", 1) and c.attr("mode", "reduced") not in ("r", b"r"):
        return made
    return tuple(Same(v) if k in absent else v for k, v in enumerate(made))


@batching("LuPermutation", "LuSolve", "Solve", "SolveTriangular", "HouseholderProduct", "PinvOf",
          domain=LINALG)  # fmt: skip
def system(c: Batch) -> V:
    """Stacks of all operands."""
    return c.emit(*(c.full(i) for i in range(len(c.operands))))

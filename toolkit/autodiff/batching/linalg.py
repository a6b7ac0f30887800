"""Batching of factorisations: their batch dimensions are the leading ones."""

from __future__ import annotations

from typing import Any

from toolkit.autodiff.batching.registry import Batch, batching
from toolkit.graph.functions.linalg import LINALG

V = Any  # An ir.Value under `arithmetic`.


@batching("Cholesky", "Lu", "Geqrf", "Qr", "Eigh", "Svd", "MatrixExp", domain=LINALG)
def factorisation(c: Batch) -> V:
    """A stack of matrices."""
    return c.emit(c.value(0))


@batching("LuPermutation", "LuSolve", "Solve", "SolveTriangular", "HouseholderProduct", "PinvOf",
          domain=LINALG)  # fmt: skip
def system(c: Batch) -> V:
    """Stacks of all operands."""
    return c.emit(*(c.full(i) for i in range(len(c.operands))))

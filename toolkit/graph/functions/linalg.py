"""Body of the gradient of the determinant."""

from __future__ import annotations

from typing import Any

from toolkit.graph.build import Builder
from toolkit.graph.functions.registry import Attributes, composite

V = Any  # An ir.Value under `arithmetic`.


@composite("toolkit.grad", "DetGrad", "x dy", "dx")
def det_grad(b: Builder, a: Attributes, x: V, dy: V) -> V:
    """dx[i, j] = dy times the cofactor: the determinant of x with e_j in the place of row i."""
    n = b.Reshape(b.dim(x, -1), [])
    steps = b.Range(b.const(0), n, b.const(1))
    unit = b.cast(b.Equal(b.Unsqueeze(steps, [1]), b.Unsqueeze(steps, [0])), x.dtype)
    # Axes (..., i, j, row, column).
    chosen = b.Unsqueeze(unit, [1, 3])  # Whether the row is row i.
    rows = b.Unsqueeze(x, [-4, -3]) * (1.0 - chosen) + chosen * b.Unsqueeze(unit, [0, 2])
    return b.Unsqueeze(dy, [-2, -1]) * b.Det(rows)

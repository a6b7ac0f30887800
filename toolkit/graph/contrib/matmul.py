"""Products."""

from __future__ import annotations

from typing import Any

from toolkit.graph.contrib.registry import Call, contrib

V = Any  # An ir.Value under `arithmetic`.


@contrib("FusedMatMul", "TransposeMatMul")
def fused_mat_mul(c: Call, a: V, b: V) -> V:
    """alpha op(a) op(b); transBatch takes the batch from the last axis but one."""
    left = _operand(c, a, "A")
    right = _operand(c, b, "B")
    y = c.b.MatMul(left, right)
    alpha = c.attr("alpha", 1.0)
    return y if alpha == 1.0 else y * alpha


def _operand(c: Call, x: V, side: str) -> V:
    swap, batch = c.attr(f"trans{side}", 0), c.attr(f"transBatch{side}", 0)
    if not swap and not batch:
        return x
    order = list(range(c.rank(x)))
    if len(order) < 2:
        return x
    if batch:  # (M, B..., K) in memory is the batch B... of M x K.
        order = [*order[1:-1], order[0], order[-1]]
    if swap:
        order[-2:] = order[-1], order[-2]
    return c.b.Transpose(x, perm=order)

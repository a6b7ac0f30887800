"""Batching of attention: the batch joins N."""

from __future__ import annotations

from typing import Any

from toolkit.autodiff.batching.registry import Batch, batching, dims_of


@batching("Attention")
def attention(c: Batch) -> Any:
    """Queries, keys and values of more sequences, under a mask that all of them share."""
    mask = c.operand(3)
    if len(c.operands) > 4 or (mask is not None and (mask.batched or not _shared(mask.inner))):
        return NotImplemented
    made = c.emit(*(c.fold(i) for i in range(3)), c.value(3))
    results = list(made) if len(c.node.outputs) > 1 else [made]
    return tuple(None if v.name == "" else c.unfold(v) for v in results)


def _shared(mask: Any) -> bool:
    """Whether a mask says the same of all sequences."""
    return mask.shape is not None and (len(mask.shape) < 4 or dims_of(mask)[0] == 1)

"""Adapters of the Lp pools."""

from __future__ import annotations

from toolkit.graph.edit import Edit
from toolkit.graph.upgrade.registry import adapter


@adapter("LpPool", "GlobalLpPool", to=2)
def lp_pool_2(edit: Edit) -> None:
    """Attribute p: float -> int."""
    p = edit.get("p", 2.0)
    if p != int(p) or abs(p) >= 2**31:
        raise edit.fail("a whole p of 32 bits is required", str(p))
    edit.put("p", int(p))

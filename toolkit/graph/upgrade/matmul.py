"""Adapters of Gemm."""

from __future__ import annotations

from toolkit.graph.edit import Edit
from toolkit.graph.upgrade.registry import adapter


@adapter("Gemm", to=7)
def gemm_7(edit: Edit) -> None:
    """Attribute broadcast is gone: C always broadcasts to (M, N)."""
    edit.pop("broadcast", 0)

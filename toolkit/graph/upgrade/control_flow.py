"""Adapters of Scan."""

from __future__ import annotations

from toolkit.graph.edit import Edit
from toolkit.graph.upgrade.registry import adapter


@adapter("Scan", to=9)
def scan_9(edit: Edit) -> None:
    """Opset 8's Scan ran over a batch of sequences; no operator does so now."""
    raise edit.fail("Scan of opset 9 or newer is required", "opset 8's with its batch axis")

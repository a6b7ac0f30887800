"""Rules of Scan."""

from __future__ import annotations

from toolkit.graph.downgrade.registry import before
from toolkit.graph.edit import Edit


@before("Scan", opset=9)
def scan_9(edit: Edit) -> None:
    """Opset 8's Scan took a batch of sequences, and lengths as its first input."""
    raise edit.fail("opset 9 is required", "opset 8's Scan of a batch")

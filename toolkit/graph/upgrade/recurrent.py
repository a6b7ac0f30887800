"""Adapters of RNN, GRU and LSTM."""

from __future__ import annotations

from toolkit.graph.edit import Edit
from toolkit.graph.upgrade.registry import adapter


@adapter("GRU", to=3)
def gru_3(edit: Edit) -> None:
    """The default direction was misspelt as "foward"."""
    if edit.get("direction", "foward") in ("foward", b"foward"):
        edit.put("direction", "forward")


@adapter("RNN", "GRU", "LSTM", to=7)
def recurrent_7(edit: Edit) -> None:
    """Attribute output_sequence is gone: output Y is there when it is named."""
    edit.pop("output_sequence", 0)

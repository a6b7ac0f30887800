"""Any ONNX model as a module: it runs, differentiates, trains, is edited, and is saved again.

The file as it was read is the truth (`module.py`): an edit changes it, and what runs is derived
from it. `places.py`: the tensors of a file by name; `roles.py`: which of them are weights;
`hoist.py`: the graph that runs; `steps.py`: its nodes as functions; `file_graph.py` and the modules
that use it (`head.py`, `splice.py`, `dropout.py`, `tying.py`, `cutting.py`): edits.
"""

from __future__ import annotations

from toolkit.nn.graph_module.loading import load
from toolkit.nn.graph_module.module import GraphModule

__all__ = ["GraphModule", "load"]

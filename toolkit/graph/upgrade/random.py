"""Adapters of Dropout."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from toolkit.graph.edit import Edit
from toolkit.graph.upgrade.registry import adapter


@adapter("Dropout", to=7)
def dropout_7(edit: Edit) -> None:
    """Attribute is_test: 0 (the default) drops, 1 gives the input."""
    if not edit.pop("is_test", 0):
        edit.put("training_mode", 1)  # Becomes an input at opset 12.


@adapter("Dropout", to=10)
def dropout_10(edit: Edit) -> None:
    """Output mask: the input's element type -> bool, and a Cast for its users."""
    node = edit.node
    if len(node.outputs) < 2:
        return
    ratio = edit.const(edit.get("ratio", 0.5), np.float32, "ratio")
    inputs = [node.inputs[0], ratio]
    if edit.get("training_mode", 0):
        inputs.append(edit.const(True, np.bool_, "training_mode"))
    x = node.inputs[0]
    y, mask = edit.op("Dropout", inputs, outputs=2)
    edit.added[-1].name = node.name
    if x is not None and x.dtype is not None:
        mask = edit.op("Cast", [mask], {"to": int(x.dtype)})
    else:
        mask = edit.op("CastLike", [mask, x])
    edit.replace(y, mask)


@adapter("Dropout", to=12)
def dropout_12(edit: Edit) -> None:
    """Attribute ratio -> input; inference unless opset 1 or 6 asked for training."""
    ratio = edit.const(edit.pop("ratio", 0.5), np.float32, "ratio")
    inputs: list[ir.Value | None] = [edit.node.inputs[0], ratio]
    if edit.pop("training_mode", 0):
        inputs.append(edit.const(True, np.bool_, "training_mode"))
    edit.set_inputs(*inputs)

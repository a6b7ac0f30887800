"""Adapters of the operators of `ai.onnx.ml`."""

from __future__ import annotations

import onnx_ir as ir

from toolkit.graph.edit import Edit
from toolkit.graph.upgrade.registry import adapter


@adapter("LabelEncoder", to=2, domain="ai.onnx.ml")
def label_encoder_2(edit: Edit) -> None:
    """Attribute classes_strings -> keys and values: strings become their index, or back."""
    classes = list(edit.pop("classes_strings"))
    x = edit.node.inputs[0]
    if x is None or x.dtype is None:
        raise edit.fail("the element type of X is required", "an unknown type")
    numbers = list(range(len(classes)))
    to_string = x.dtype != ir.DataType.STRING
    edit.put("keys_int64s" if to_string else "keys_strings", numbers if to_string else classes)
    edit.put("values_strings" if to_string else "values_int64s", classes if to_string else numbers)
    edit.pop("default_int64" if to_string else "default_string", None)

"""Rules of QuantizeLinear and DequantizeLinear."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from toolkit.graph.downgrade.registry import before
from toolkit.graph.edit import Edit


@before("QuantizeLinear", opset=21)
def quantize_21(edit: Edit) -> None:
    """Attribute output_dtype -> a zero point of zeros, of the scale's shape."""
    kind = edit.get("output_dtype", 0)
    if not kind or edit.input(2) is not None:
        edit.node.attributes.pop("output_dtype", None)
        return
    x, scale = edit.node.inputs[:2]
    dims = None if scale is None or scale.shape is None else list(scale.shape.dims)
    if dims is None or not all(isinstance(d, int) for d in dims):
        need = "a scale of known shape is required to write output_dtype as a zero point"
        raise edit.fail(need, "an unknown one")
    edit.node.attributes.pop("output_dtype")
    zeros = np.zeros([int(d) for d in dims if isinstance(d, int)])
    zero = edit.const(zeros, ir.DataType(kind).numpy(), wish="zero_point")
    edit.set_inputs(x, scale, zero)


@before("QuantizeLinear", "DequantizeLinear", opset=13)
def per_axis(edit: Edit) -> None:
    """Scales of an axis came with opset 13."""
    scale = edit.input(1)
    dims = None if scale is None or scale.shape is None else list(scale.shape.dims)
    if dims is None or any(d != 1 for d in dims):
        got = "an unknown shape" if dims is None else str(tuple(dims))
        raise edit.fail("a scale of one number is required before opset 13", got)
    edit.node.attributes.pop("axis", None)

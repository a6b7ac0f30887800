"""Adapters of the operators that were experimental in opset 1 and gone, or others, by opset 10.

Their schemas are no longer in `onnx.defs`; onnxruntime still runs most of them before opset 10.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from toolkit.graph.edit import Edit
from toolkit.graph.upgrade.registry import adapter

TO_END = np.iinfo(np.int64).max


@adapter("Affine", to=10)
def affine(edit: Edit) -> None:
    """Y = alpha X + beta."""
    y = _times(edit, edit.node.inputs[0], edit.get("alpha", 1.0))
    edit.replace(edit.op("Add", [y, edit.const_like(edit.get("beta", 0.0), y, "beta")]))


@adapter("Scale", to=10)
def scale(edit: Edit) -> None:
    """Y = scale X."""
    edit.replace(_times(edit, edit.node.inputs[0], edit.get("scale", 1.0)))


@adapter("ScaledTanh", "ParametricSoftplus", to=10)
def scaled_activation(edit: Edit) -> None:
    """Y = alpha f(beta X) with f = Tanh or Softplus."""
    inner = "Tanh" if edit.node.op_type == "ScaledTanh" else "Softplus"
    x = _times(edit, edit.node.inputs[0], edit.get("beta"))
    edit.replace(_times(edit, edit.op(inner, [x]), edit.get("alpha")))


@adapter("ThresholdedRelu", to=10)
def thresholded_relu(edit: Edit) -> None:
    """As it is now."""


@adapter("ImageScaler", to=10)
def image_scaler(edit: Edit) -> None:
    """Y = scale X + bias, a bias for each channel of (N, C, H, W)."""
    x = edit.node.inputs[0]
    bias = np.asarray(edit.get("bias"), np.float32).reshape(1, -1, 1, 1)
    y = _times(edit, x, edit.get("scale", 1.0))
    edit.replace(edit.op("Add", [y, edit.op("CastLike", [edit.const(bias, np.float32), x])]))


@adapter("Crop", to=10)
def crop(edit: Edit) -> None:
    """Border (left, top, right, bottom) is cut off (N, C, H, W); scale is the size kept instead."""
    left, top, right, bottom = edit.get("border")
    size = edit.get("scale", None)
    ends = [top + size[0], left + size[1]] if size else [-bottom or TO_END, -right or TO_END]
    bounds = [edit.const(v) for v in ([top, left], ends, [2, 3])]
    edit.replace(edit.op("Slice", [edit.node.inputs[0], *bounds]))


@adapter("DynamicSlice", to=10)
def dynamic_slice(edit: Edit) -> None:
    """DynamicSlice is Slice."""
    edit.node.op_type = "Slice"


@adapter("MeanVarianceNormalization", to=9)
def mean_variance_normalization(edit: Edit) -> None:
    """Attribute across_channels -> axes; without normalize_variance only the mean is taken off."""
    axes = [0, 1, 2, 3] if edit.pop("across_channels", 0) else [0, 2, 3]
    if edit.pop("normalize_variance", 1):
        edit.put("axes", axes)
        return
    x = edit.node.inputs[0]
    edit.replace(edit.op("Sub", [x, edit.op("ReduceMean", [x, edit.const(axes)])]))


@adapter("ConstantFill", to=10)
def constant_fill(edit: Edit) -> None:
    """A tensor of value in dtype; the shape is `_filled_shape`."""
    kind = ir.DataType(edit.get("dtype", int(ir.DataType.FLOAT)))
    value = ir.tensor(np.asarray([edit.get("value", 0.0)]).astype(kind.numpy()))
    edit.replace(edit.op("ConstantOfShape", [_filled_shape(edit)], {"value": value}))


@adapter("GivenTensorFill", to=10)
def given_tensor_fill(edit: Edit) -> None:
    """The float32 numbers of attribute values; the shape is `_filled_shape`."""
    values = edit.const(list(edit.get("values")), np.float32, "values")
    edit.replace(edit.op("Reshape", [values, _filled_shape(edit)]))


@adapter("GRUUnit", to=10)
def gru_unit(edit: Edit) -> None:
    """One step of Caffe2's GRU: gates holds those of reset, update and output.

    h = u h_prev + (1 - u) o with u = Sigmoid(update), o = Tanh(output) where t < seq_lengths;
    elsewhere 0 with drop_states, else h_prev.
    """
    before, gates, lengths, t = edit.node.inputs
    _, update, output = edit.op("Split", [gates], {"axis": -1, "num_outputs": 3}, outputs=3)
    u, o = edit.op("Sigmoid", [update]), edit.op("Tanh", [output])
    # (1 - u) o + u h_prev = o + u (h_prev - o)
    h = edit.op("Add", [o, edit.op("Mul", [u, edit.op("Sub", [before, o])])])
    valid = edit.op("Unsqueeze", [edit.op("Less", [t, lengths]), edit.const([-1])])
    rest = _times(edit, before, 0.0) if edit.get("drop_states", 0) else before
    edit.replace(edit.op("Where", [valid, h, rest]))


def _times(edit: Edit, x: ir.Value | None, factor: float) -> ir.Value:
    assert x is not None
    result: ir.Value = edit.op("Mul", [x, edit.const_like(factor, x, "factor")])
    return result


def _filled_shape(edit: Edit) -> ir.Value:
    """Attribute shape, or the input's shape, or with input_as_shape its elements; extra_shape."""
    source = edit.input(0)
    if source is None:
        return edit.const(list(edit.get("shape", ())), wish="shape")
    if edit.get("input_as_shape", 0):
        shape = edit.op("Cast", [source], {"to": int(ir.DataType.INT64)})
    else:
        shape = edit.op("Shape", [source])
    extra = list(edit.get("extra_shape", ()))
    result: ir.Value = shape
    if extra:
        result = edit.op("Concat", [shape, edit.const(extra)], {"axis": 0})
    return result

"""Quantized weights of a loaded model: floats that train in their place, and the way back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from toolkit import ops

if TYPE_CHECKING:
    from toolkit.tensor import Tensor

_INTEGERS = frozenset(
    {ir.DataType.INT8, ir.DataType.UINT8, ir.DataType.INT16, ir.DataType.UINT16}
    | {ir.DataType.INT4, ir.DataType.UINT4, ir.DataType.INT2, ir.DataType.UINT2}
)
_NARROW = frozenset(
    {ir.DataType.FLOAT8E4M3FN, ir.DataType.FLOAT8E4M3FNUZ, ir.DataType.FLOAT8E5M2}
    | {ir.DataType.FLOAT8E5M2FNUZ, ir.DataType.FLOAT4E2M1}
)


def shadow(model: ir.Model) -> None:
    """Puts floats in place of stored weights that DequantizeLinear alone reads.

    1. QuantizeLinear reads them, with the scale, zero point and axis of the DequantizeLinear:
       autodiff goes straight through the rounding.
    2. There is no QuantizeLinear to int32, the type of biases: DequantizeLinear reads the floats
       (`is_bias`), and `steps.py` rounds them.
    """
    graph = model.graph
    for value in list(graph.initializers.values()):
        nodes = _readers(graph, value)
        if not nodes:
            continue
        floats = _dequantized(nodes[0])
        if floats is None:
            continue
        key, dtype = value.name, value.dtype
        del graph.initializers[str(key)]
        value.const_value = value.name = None  # In this order: the tensor is the file's.
        made = ir.Value(
            name=key, type=ir.TensorType(ir.DataType.from_numpy(floats.dtype)),
            shape=ir.Shape(floats.shape), const_value=ir.tensor(floats, name=key),
        )  # fmt: skip
        graph.register_initializer(made)
        read = made if dtype == ir.DataType.INT32 else _quantize(graph, nodes[0], made, dtype)
        for node in nodes:
            node.replace_input_with(0, read)


def _readers(graph: ir.Graph, value: ir.Value) -> list[ir.Node]:
    """The nodes that read a stored weight, in order, if all dequantize it in the same way."""
    if value.dtype not in _INTEGERS | _NARROW | {ir.DataType.INT32} or value.is_graph_output():
        return []
    uses = value.uses()
    users = {u.node for u in uses}
    if not users or any(u.idx or u.node.op_type != "DequantizeLinear" for u in uses):
        return []
    nodes = [node for node in graph if node in users]
    if len(nodes) < len(users) or len({_how(node) for node in nodes}) > 1:
        return []
    known = {*graph.initializers.values()}
    return nodes if all(v in known for v in nodes[0].inputs[1:] if v is not None) else []


def _how(node: ir.Node) -> Any:
    attributes = tuple((k, node.attributes[k].value) for k in sorted(node.attributes))
    return *map(id, node.inputs[1:]), attributes


def _dequantized(node: ir.Node) -> np.ndarray[Any, Any] | None:
    """The numbers that a stored weight stands for."""
    from toolkit.runtime.constants import native_attributes, native_of
    from toolkit.tensor import Tensor

    inputs = [
        None if v is None or v.const_value is None
        else Tensor._from_native(native_of(v.const_value)) for v in node.inputs
    ]  # fmt: skip
    if inputs[0] is None or inputs[1] is None:
        return None
    attributes = native_attributes(node.attributes.values())
    array = ops.call("DequantizeLinear", inputs, attributes, 1).numpy()
    return np.asarray(array) if array.dtype in (np.float32, np.float64, np.float16) else None


def _quantize(graph: ir.Graph, before: ir.Node, floats: ir.Value, dtype: Any) -> ir.Value:
    kept = [before.attributes[k] for k in ("axis", "block_size") if k in before.attributes]
    inputs = [floats, *before.inputs[1:]]
    if len(inputs) < 3 or inputs[2] is None:
        kept.append(ir.AttrInt64("output_dtype", int(dtype)))
        inputs = inputs[:2]
    node = ir.Node("", "QuantizeLinear", inputs, kept, num_outputs=1)
    node.outputs[0].name = f"{floats.name}.quantized"
    node.outputs[0].type, node.outputs[0].shape = ir.TensorType(dtype), floats.shape
    graph.insert_before(before, node)
    return node.outputs[0]


def is_bias(node: ir.Node) -> bool:
    """Whether a node dequantizes what are floats now."""
    value = node.inputs[0] if node.op_type == "DequantizeLinear" else None
    return value is not None and value.dtype in (ir.DataType.FLOAT, ir.DataType.FLOAT16)


def dequantizer(value: ir.Value) -> ir.Node | None:
    """The DequantizeLinear that reads a weight, through the QuantizeLinear that stands for it."""
    for use in value.uses():
        node: ir.Node | None = use.node
        if node is not None and node.op_type == "QuantizeLinear" and use.idx == 0:
            node = next((u.node for u in node.outputs[0].uses()), None)
        if node is not None and node.op_type == "DequantizeLinear":
            return node
    return None


def rounded_bias(x: Tensor, scale: Tensor, axis: int) -> Tensor:
    """What a bias is after its rounding to int32, which the gradient goes straight through."""
    steps = _along(scale, x, axis)
    rounded = ops.Round(x.detach() / steps) * steps
    result: Tensor = x + (rounded - x).detach()
    return result


def _along(scale: Any, x: Any, axis: int) -> Any:
    shape = [1] * x.ndim
    if scale.ndim == 1 and x.ndim:
        shape[axis if x.ndim > 1 else 0] = scale.shape[0]
    return scale.reshape(shape) if scale.ndim else scale


def stored(
    floats: Tensor, node: ir.Node, scale: Any, zero: Any, like: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    """The numbers of a file for a weight that trained; where it did not, those of before.

    Args:
        floats: the weight.
        node: the DequantizeLinear that reads it.
        scale: its scale.
        zero: its zero point, or None.
        like: what the file held.
    """
    from toolkit.runtime.constants import native_attributes
    from toolkit.runtime.values import to_native
    from toolkit.tensor import Tensor

    attributes = native_attributes(node.attributes.values())
    inputs = [Tensor._from_native(to_native(like)), scale, zero]
    before = ops.call("DequantizeLinear", inputs, attributes, 1)
    if before.shape != floats.shape:
        return _quantized(floats, attributes, scale, zero, like)
    same = before.numpy() == floats.numpy()
    return like if same.all() else np.where(
        same, like, _quantized(floats, attributes, scale, zero, like)
    )  # fmt: skip


def _quantized(
    floats: Tensor, attributes: dict[str, Any], scale: Any, zero: Any, like: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    from toolkit.runtime.values import to_numpy

    if like.dtype == np.int32:
        step = _along(scale.numpy(), floats, attributes.get("axis", 1))
        rounded = np.rint(floats.numpy() / step).astype(np.float64)
        return np.asarray(rounded.clip(-(2**31), 2**31 - 1).astype(np.int32))
    attributes.pop("output_dtype", None)
    if zero is None:
        attributes["output_dtype"] = int(ir.DataType.from_numpy(like.dtype))
    inputs = [floats, scale] if zero is None else [floats, scale, zero]
    made = ops.call("QuantizeLinear", inputs, attributes, 1)
    array = to_numpy(made._get()).view(like.dtype)
    return np.asarray(array)

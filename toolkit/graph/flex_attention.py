"""The body of ai.onnx.preview's FlexAttention, with its two subgraphs written out.

What the subgraphs read of the graphs around them is read by the body too.
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from toolkit.errors import InvalidModelError
from toolkit.graph.build import Builder, arithmetic
from toolkit.graph.functions.attention import Heads

V = Any  # An ir.Value under `arithmetic`.


def flex_attention_body(node: ir.Node) -> ir.Function | None:
    """prob_mod(softmax(score_mod(scale Q K^T))) V; Attention itself where nothing is modified.

    Scores and probabilities are of type softmax_precision: float32, or float64 for float64.

    Returns:
        The body; None where the inputs' types or ranks are unknown.
    """
    if any(v is None or v.dtype is None or v.shape is None for v in node.inputs):
        return None
    inputs = [
        ir.Value(name=name, type=v.type, shape=v.shape)
        for name, v in zip(("Q", "K", "V"), node.inputs, strict=True)
        if v is not None
    ]
    for value in inputs:
        if value.shape is not None and len(value.shape) != 4:
            raise InvalidModelError(
                f"FlexAttention '{node.name}': Q, K and V of 4 dimensions are required, "
                f"got {value.name} of {len(value.shape)}."
            )
    graph = ir.Graph(inputs, [], nodes=[], opset_imports={"": 28}, name="FlexAttention")
    b = Builder(graph)
    with arithmetic(b):
        y = _body(b, node, *inputs)
    y.name = "Y"
    graph.outputs.append(y)
    return ir.Function(node.domain, node.op_type, graph=graph, attributes=[])


def _body(b: Builder, node: ir.Node, q: V, k: V, v: V) -> V:
    attributes = node.attributes
    scale = attributes["scale"].as_float() if "scale" in attributes else None
    mods = [name for name in ("score_mod", "prob_mod") if name in attributes]
    precision = _precision(node, q.dtype)
    if not mods and precision == q.dtype:
        return b.Attention(q, k, v, scale=scale)
    if scale is None:
        factor = b.Reciprocal(b.Sqrt(b.cast(b.dim(q, 3), q.dtype)))
    else:
        factor = b.const(scale, q.dtype)
    heads = Heads(b.dim(q, 0), b.dim(k, 1), b.dim(q, 1))
    keys = b.Transpose(heads.repeat(b, k), perm=[0, 1, 3, 2])
    x = b.cast(b.MatMul(q * factor, keys), precision)
    if "score_mod" in mods:
        x = _write_out(b, node, "score_mod", x)
    x = b.Softmax(x, axis=-1)
    if "prob_mod" in mods:
        x = _write_out(b, node, "prob_mod", x)
    values = b.cast(heads.repeat(b, v), precision)
    return b.cast(b.MatMul(x, values), q.dtype)


def _precision(node: ir.Node, dtype: ir.DataType) -> ir.DataType:
    if "softmax_precision" in node.attributes:
        return ir.DataType(node.attributes["softmax_precision"].as_int())
    return dtype if dtype == ir.DataType.DOUBLE else ir.DataType.FLOAT


def _write_out(b: Builder, node: ir.Node, name: str, x: V) -> V:
    """A copy of a subgraph's nodes for the input `x`; its output."""
    from onnx_ir import _cloner

    graph = node.attributes[name].as_graph()
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise InvalidModelError(
            f"FlexAttention '{node.name}': {name} with one input and one output is required, "
            f"got {len(graph.inputs)} and {len(graph.outputs)}."
        )
    values: dict[ir.Value, ir.Value | None] = {graph.inputs[0]: x}
    for value in graph.initializers.values():
        if value.const_value is not None:
            values[value] = b.const(value.const_value.numpy())
    cloner = _cloner.Cloner(
        attr_map={},
        value_map=values,
        metadata_props={},
        resolve_ref_attrs=False,
        allow_outer_scope_values=True,
    )
    for inner in graph:
        b.graph.append(cloner.clone_node(inner))
    result = values.get(graph.outputs[0], graph.outputs[0])
    assert result is not None
    if result.type is None:
        result.type = x.type
    return result if result is not x else b.Identity(x)

"""Computes in float32 what a graph computes in bfloat16, rounding each result to it.

Most runtimes have no bfloat16 kernels on CPUs; they all have the casts.
"""

from __future__ import annotations

import onnx_ir as ir

from toolkit.graph.build import Builder

_NARROW, _WIDE = ir.DataType.BFLOAT16, ir.DataType.FLOAT
# They move values, and runtimes have them for every type.
_MOVES = frozenset(
    {"Cast", "Identity", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Concat", "Split"}
    | {"Gather", "GatherElements", "GatherND", "Flatten", "Compress"}
)


def widen_bfloat16(graph: ir.Graph) -> None:
    """Rewrites a graph in place.

    1. `y = F(x)` of bfloat16 x becomes `y = Cast(F(Cast(x, float32)), bfloat16)`.
    2. Nodes that move values, and those that make bfloat16 of other types, stay.
    """
    b = Builder(graph)
    wide: dict[ir.Value, ir.Value] = {}

    def widened(value: ir.Value | None) -> ir.Value | None:
        if value is None or value.dtype != _NARROW:
            return value
        if value not in wide:
            wide[value] = b.cast(value, _WIDE)
        return wide[value]

    for node in list(graph):
        if node.op_type in _MOVES or not any(v and v.dtype == _NARROW for v in node.inputs):
            continue
        b.before = node
        inputs = list(map(widened, node.inputs))
        found = b.call(node.domain, node.op_type, inputs, node.attributes, len(node.outputs))
        results = [found] if len(node.outputs) == 1 else list(found)
        made = results[0].producer()
        if made is not None:
            made.name = node.name
        for old, new in zip(node.outputs, results, strict=True):
            value = b.cast(new, _NARROW) if old.dtype == _NARROW else new
            value.name, old.name = old.name, None
            ir.convenience.replace_all_uses_with(old, value, replace_graph_outputs=True)
        graph.remove(node)

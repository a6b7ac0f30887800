"""int64 becomes int32 wherever the GPU computes: its last step before the check.

Host values, and inputs that say shapes, stay int64: the CPU reads those.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from toolkit.errors import UnsupportedOperatorError
from toolkit.graph.build import Builder, constant_of
from toolkit.graph.edit import where
from toolkit.graph.targets.profile import SHAPE_INPUTS, Roles
from toolkit.graph.walk import subgraphs

INT64, INT32 = ir.DataType.INT64, ir.DataType.INT32
_LIMITS = np.iinfo(np.int32)


def narrow(graph: ir.Graph) -> None:
    """Rewrites int64 data as int32, in place; exact where every element fits.

    1. An int64 input of the graph enters by a Cast; a host value, where data meets it, too.
    2. A constant that data meets becomes int32.
    3. A node of data gives int32 where it gave int64; Cast to int64 becomes Cast to int32.
    4. An int64 output of the graph leaves by a Cast.

    Raises:
        UnsupportedOperatorError: a constant does not fit int32.
    """
    _Narrowing(Roles(graph)).graph(graph)
    b = Builder(graph)
    for i, value in enumerate(graph.outputs):
        if value.dtype == INT32 and value.meta.pop("narrowed", False):
            wide = b.Cast(value, to=int(INT64))
            wide.shape = value.shape
            wide.name, value.name = value.name, None
            graph.outputs[i] = wide


class _Narrowing:
    def __init__(self, roles: Roles) -> None:
        self.roles = roles

    def graph(self, graph: ir.Graph) -> None:
        b = Builder(graph)
        cast: dict[ir.Value, ir.Value] = {}
        for node in list(graph):
            for inner in subgraphs(node):
                self.graph(inner)
                self._outputs(inner)
            if node.op_type == "Constant" or self.roles.on_host(node):
                continue
            b.before = node
            self._node(b, node, cast)

    def _node(self, b: Builder, node: ir.Node, cast: dict[ir.Value, ir.Value]) -> None:
        shapes = SHAPE_INPUTS.get(node.op_type, frozenset())
        enters = node.op_type == "Cast" or (
            node.op_type == "Identity" and node.outputs[0].is_graph_output()
        )
        source = node.inputs[0] if node.inputs else None
        if enters and source is not None and (not source.producer() or self.roles.host(source)):
            shapes = frozenset({0})
        for i, value in enumerate(node.inputs):
            if value is not None and value.dtype == INT64 and i not in shapes:
                if value not in cast:
                    cast[value] = self._narrowed(b, node, value)
                node.replace_input_with(i, cast[value])
        if node.op_type == "Cast" and node.attributes["to"].value == INT64:
            node.attributes["to"] = ir.AttrInt64("to", int(INT32))
        if node.op_type == "Identity" and shapes:
            return
        for value in node.outputs:
            if value.dtype == INT64:
                value.type = ir.TensorType(INT32)  # A type may be shared: never changed in place.
                if value.is_graph_output():
                    value.meta["narrowed"] = True

    def _narrowed(self, b: Builder, node: ir.Node, value: ir.Value) -> ir.Value:
        array = constant_of(value)
        if array is not None:
            if array.size and (array.min() < _LIMITS.min or array.max() > _LIMITS.max):
                raise UnsupportedOperatorError(
                    f"{where(node)}: constants within 32 bits are required, got '{value.name}' "
                    f"from {array.min()} to {array.max()}."
                )
            return b.const(array.astype(np.int32))
        return b.Cast(value, to=int(INT32))  # type: ignore[no-any-return]

    def _outputs(self, graph: ir.Graph) -> None:
        """Outputs of a branch are data."""
        b = Builder(graph)
        for i, value in enumerate(graph.outputs):
            if value.dtype == INT64:
                graph.outputs[i] = b.Cast(value, to=int(INT32))

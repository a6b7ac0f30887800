"""Types and shapes: of one node while tracing, and of a whole graph.

ONNX's own inference does the work node by node; `toolkit.graph.shapes` adds symbolic dimensions,
data propagation through shape arithmetic, composite operators and control flow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from toolkit.errors import InvalidModelError, ToolkitError
from toolkit.graph.shapes import control_flow, data, registry
from toolkit.graph.shapes.node import OPSET, constant_data, infer_call, info_of
from toolkit.graph.shapes.registry import Data, NodeCall, TypeInfo, shape_function

__all__ = ["OPSET", "GraphInference", "infer_node", "infer_shapes", "shape_function"]


def infer_node(
    op_type: str,
    domain: str,
    inputs: Sequence[ir.Value | None],
    attributes: Mapping[str, Any] | Sequence[ir.Attr] = (),
    outputs: int = 1,
    const_values: Mapping[int, Any] | None = None,
    name: str = "",
) -> list[tuple[ir.DataType | None, ir.Shape | None]]:
    """The dtype and shape of each output of one node, at the canonical opset.

    Args:
        op_type: The operator.
        domain: Its domain, "" for ONNX's own.
        inputs: The node's inputs; `None` for an omitted optional one.
        attributes: `ir.Attr` objects, or Python values by name.
        outputs: The number of outputs.
        const_values: Arrays of inputs by position; without, the inputs' `const_value` is used.
        name: The node's name for messages.

    Raises:
        ShapeError: The inputs' shapes do not fit.
        DTypeError: The operator does not take the inputs' element types.
        InvalidModelError: No such operator, or a wrong number of inputs.
    """
    if not isinstance(attributes, Mapping):
        attributes = {attr.name: attr for attr in attributes}
    constants = const_values or {}
    known = [
        np.asarray(constants[i]) if i in constants else (None if v is None else constant_data(v))
        for i, v in enumerate(inputs)
    ]
    call = NodeCall(
        op_type,
        domain,
        attributes,
        [None if v is None else info_of(v) for v in inputs],
        known,
        outputs,
        name,
    )
    found = infer_call(call)
    return [(i.dtype, None if i.dims is None else ir.Shape(i.dims)) for i in found]


def infer_shapes(model_or_graph: ir.Model | ir.Graph, strict: bool = False) -> None:
    """Fills in type and shape of every value, in subgraphs too.

    Named dimensions are kept, and followed through Shape, Gather, Concat, ... into Reshape and its
    like. What follows from the nodes wins over what a file declared.

    Args:
        model_or_graph: A model, or a graph that calls no model-local functions; changed in place.
        strict: Raise at a node whose inputs do not fit; else its outputs stay as declared.

    Raises:
        ShapeError: With `strict`, shapes do not fit.
        DTypeError: With `strict`, element types do not fit.
    """
    if isinstance(model_or_graph, ir.Model):
        graph, functions = model_or_graph.graph, model_or_graph.functions
    else:
        graph, functions = model_or_graph, {}
    GraphInference(functions, strict).run(graph)


class _Known(Sequence[Data | None]):
    """The numbers that a node's inputs are known to hold, found out when they are asked for."""

    __slots__ = ("_find", "_values")

    def __init__(
        self, values: Sequence[ir.Value | None], find: Callable[[ir.Value], Data | None]
    ) -> None:
        self._values, self._find = values, find

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, index: Any) -> Any:
        value = self._values[index]
        return None if value is None else self._find(value)


class GraphInference:
    """One walk over a graph in topological order.

    `known` holds the values of small integer tensors that data propagation found; `active` the
    functions whose bodies this walk is inside of.
    """

    def __init__(
        self,
        functions: Mapping[tuple[str, str, str], ir.Function],
        strict: bool,
        opsets: Mapping[str, int] | None = None,
        active: tuple[tuple[str, str, str], ...] = (),
    ) -> None:
        self.active = active
        self.functions = functions
        self.strict = strict
        self.opsets = opsets
        self.known: dict[ir.Value, Data] = {}

    def run(self, graph: ir.Graph) -> None:
        """Infers every node of `graph`."""
        if self.opsets is None:
            self.opsets = graph.opset_imports
        self.describe(graph)
        for node in graph:
            self.node(node)

    def describe(self, graph: ir.Graph) -> None:
        """Gives the initializers their types and shapes."""
        for value in graph.initializers.values():
            _describe_initializer(value)

    def node(self, node: ir.Node) -> None:
        """Infers one node and writes its outputs' types."""
        call = NodeCall(
            node.op_type,
            node.domain,
            node.attributes,
            [None if v is None else info_of(v) for v in node.inputs],
            _Known(node.inputs, self.value_of),
            len(node.outputs),
            node.name or "",
        )
        try:
            found = self._outputs(node, call)
        except ToolkitError:
            if self.strict:
                raise
            return
        for value, info in zip(node.outputs, found, strict=False):
            _write(value, info)
        if len(node.outputs) == 1:
            value_data = data.propagate(call)
            if value_data is not None:
                self.known[node.outputs[0]] = value_data

    def _outputs(self, node: ir.Node, call: NodeCall) -> Sequence[TypeInfo]:
        if not call.domain and call.op_type in control_flow.OPERATORS:
            return control_flow.infer(self, node, call)
        function = self.functions.get(node.op_identifier()) if self.functions else None
        if function is not None and registry.find(node.domain, node.op_type) is None:
            return self._function(function, call)
        default = 1 if call.domain else OPSET
        return infer_call(call, (self.opsets or {}).get(call.domain, default))

    def _function(self, function: ir.Function, call: NodeCall) -> Sequence[TypeInfo]:
        """Infers a call through a private copy of the function's body."""
        key = function.identifier()
        if key in self.active:
            need = "functions that do not call themselves are required"
            raise call.fail(need, "one that does", InvalidModelError)
        body = function.clone()
        for value, info in zip(body.inputs, call.inputs, strict=False):
            if info is not None:
                _write(value, info)
        _bind_attributes(body, call)
        inner = GraphInference(self.functions, self.strict, body.opset_imports, (*self.active, key))
        for value, known in zip(body.inputs, call.data, strict=False):
            if known is not None:
                inner.known[value] = known
        inner.run(body.graph)
        return [info_of(v) for v in body.outputs]

    def value_of(self, value: ir.Value) -> Data | None:
        """The numbers a value is known to hold."""
        found = self.known.get(value)
        if found is None:
            found = constant_data(value)
            if found is not None:
                self.known[value] = found
        return found


def _bind_attributes(body: ir.Function, call: NodeCall) -> None:
    """Puts the call's attributes where the body refers to them."""
    for node in body.all_nodes():
        for name, attr in list(node.attributes.items()):
            if not attr.is_ref():
                continue
            given = call.attributes.get(str(attr.ref_attr_name))
            if given is None:
                given = body.attributes.get(str(attr.ref_attr_name))
            if isinstance(given, ir.Attr) and not given.is_ref() and given.value is not None:
                node.attributes[name] = ir.Attr(name, given.type, given.value)
            else:
                node.attributes.pop(name)


def _describe_initializer(value: ir.Value) -> None:
    tensor = value.const_value
    if tensor is None:
        return
    if value.type is None:
        value.type = ir.TensorType(tensor.dtype)
    if value.shape is None:
        value.shape = ir.Shape(tensor.shape)  # type: ignore[arg-type]


def _write(value: ir.Value, info: TypeInfo) -> None:
    """Puts what was inferred on a value; an unknown dimension keeps what was declared."""
    if info.type is not None and value.type is not info.type and value.type != info.type:
        value.type = info.type
    if info.dims is None:
        return
    old = value.shape
    if old is None or len(old) != len(info.dims):
        value.shape = ir.Shape(info.dims)
        return
    before = old.dims
    merged = [d if registry.is_known(d) else o for d, o in zip(info.dims, before, strict=True)]
    if list(before) != merged:
        value.shape = ir.Shape(merged)

"""Edits nodes in place: new nodes before a node, constants, attributes that become inputs and back.

`toolkit.graph.build` appends to a graph; this works in the midst of one, inside functions too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from toolkit.errors import ToolkitError, UnsupportedOperatorError
from toolkit.graph.held import initializer
from toolkit.graph.infer import GraphInference
from toolkit.graph.shapes.node import info_of
from toolkit.graph.shapes.registry import NodeCall
from toolkit.graph.walk import inner_graphs

REQUIRED = object()


def names(text: str) -> frozenset[str]:
    """A set of operators from their names in one text."""
    return frozenset(text.split())


def where(node: ir.Node) -> str:
    """`Conv 'conv1'`: the beginning of a message about a node."""
    domain = f"{node.domain}." if node.domain else ""
    return f"{domain}{node.op_type}" + (f" '{node.name}'" if node.name else "")


class Names:
    """The value names of a graph and its subgraphs, so that new ones collide with none."""

    def __init__(self, graph: ir.Graph) -> None:
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}
        self.add(graph)

    def add(self, graph: ir.Graph) -> None:
        """Takes the names of a graph and of its subgraphs."""
        for inner in (graph, *inner_graphs(graph)):
            self._taken.update(v.name for v in inner.inputs if v.name)
            self._taken.update(inner.initializers)
            self._taken.update(v.name for n in inner for v in n.outputs if v.name)

    def new(self, wish: str) -> str:
        """`wish`, or `wish_1`, `wish_2`, ... where it is taken."""
        name = wish
        while name in self._taken:
            self._next[wish] = self._next.get(wish, 0) + 1
            name = f"{wish}_{self._next[wish]}"
        self._taken.add(name)
        return name


class Edit:
    """Edits around one node of one graph.

    Attributes:
        node: The node at hand; new nodes go before it.
        graph: The graph or function body that holds it.
        added: The nodes written since `at`.
        folded: Names of constants that became attributes.
    """

    def __init__(
        self,
        graph: ir.Graph,
        names: Names,
        inference: GraphInference,
        in_function: bool = False,
    ) -> None:
        self.graph = graph
        self.names = names
        self.inference = inference
        self.in_function = in_function
        self.node: ir.Node = None  # type: ignore[assignment]
        self.added: list[ir.Node] = []
        self.folded: set[str] = set()
        self._constants: dict[tuple[str, tuple[int, ...], bytes], ir.Value] = {}

    def at(self, node: ir.Node) -> None:
        """Makes `node` the node at hand."""
        self.node = node
        self.added = []

    def op(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, Any] | Sequence[ir.Attr] = (),
        outputs: int = 1,
    ) -> Any:
        """Inserts a node before the node at hand; gives its output, or the list of several."""
        if isinstance(attributes, Mapping):
            attributes = [
                ir.convenience.convert_attribute(k, v)
                for k, v in attributes.items()
                if v is not None
            ]
        base = self.node.outputs[0].name or self.node.op_type
        values = [ir.Value(name=self.names.new(f"{base}.{op_type}")) for _ in range(outputs)]
        node = ir.Node("", op_type, inputs, attributes, outputs=values)
        node.name = values[0].name
        self.graph.insert_before(self.node, node)
        self.inference.node(node)
        self.added.append(node)
        return values[0] if outputs == 1 else values

    def const(self, value: Any, dtype: Any = np.int64, wish: str = "const") -> ir.Value:
        """A constant: an initializer, or a Constant node where the body of a function holds it."""
        array = np.asarray(value, dtype)
        key = (str(array.dtype), array.shape, array.tobytes())
        found = self._constants.get(key)
        if found is not None and not self.in_function:
            return found
        if self.in_function:
            return self.op("Constant", [], {"value": ir.tensor(array)})  # type: ignore[no-any-return]
        base = self.node.outputs[0].name or self.node.op_type
        name = self.names.new(f"{base}.{wish}")
        result = initializer(name, array)
        self.graph.register_initializer(result)
        self._constants[key] = result
        return result

    def const_like(self, value: float, like: ir.Value, wish: str = "const") -> ir.Value:
        """A scalar constant of the element type of `like`."""
        if like.dtype is not None:
            return self.const(value, like.dtype.numpy(), wish)
        result: ir.Value = self.op("CastLike", [self.const(value, np.float32, wish), like])
        return result

    def attribute_as_input(self, name: str, wish: str | None = None) -> ir.Value | None:
        """Takes an int or ints attribute off the node; gives it as int64 vector, or `None`."""
        attr = self.node.attributes.pop(name, None)
        if attr is None:
            return None
        if attr.is_ref():
            kind = "value_ints" if attr.type == ir.AttributeType.INTS else "value_int"
            reference = ir.RefAttr(kind, str(attr.ref_attr_name), attr.type)
            return self.op("Constant", [], [reference])  # type: ignore[no-any-return]
        value = [attr.value] if attr.type == ir.AttributeType.INT else list(attr.value)
        return self.const(value, np.int64, wish or name)

    def input_as_attribute(self, index: int, name: str, default: Any = REQUIRED) -> Any:
        """Takes a constant input off the node; gives its elements, `default` without."""
        value = self.input(index)
        if value is None:
            if default is REQUIRED:
                raise self.fail(f"input {name} is required", "none")
            return default
        array = constant_of(value)
        if array is None:
            raise self.fail(f"a constant {name} is required", f"the value '{value.name}'")
        if value.name:
            self.folded.add(value.name)
        if index == len(self.node.inputs) - 1:
            self.node.resize_inputs(index)
        else:
            self.node.replace_input_with(index, None)
        return array.reshape(-1).tolist()

    def pop(self, name: str, default: Any = REQUIRED) -> Any:
        """Takes an attribute off the node and gives its Python value."""
        result = self.get(name, default)
        self.node.attributes.pop(name, None)
        return result

    def get(self, name: str, default: Any = REQUIRED) -> Any:
        """The Python value of an attribute of the node."""
        attr = self.node.attributes.get(name)
        if attr is None:
            if default is REQUIRED:
                raise self.fail(f"attribute {name} is required", "none")
            return default
        if attr.is_ref():
            need = f"the value of attribute {name} is required"
            raise self.fail(need, f"a reference to the function's '{attr.ref_attr_name}'")
        return attr.value

    def put(self, name: str, value: Any) -> None:
        """Sets an attribute of the node."""
        self.node.attributes[name] = ir.convenience.convert_attribute(name, value)

    def put_tensor(self, name: str, value: np.ndarray[Any, Any]) -> None:
        """Sets a tensor attribute of the node."""
        self.node.attributes[name] = ir.AttrTensor(name, ir.tensor(value))

    def set_inputs(self, *inputs: ir.Value | None) -> None:
        """Replaces all inputs of the node; omitted ones at the end are dropped."""
        count = len(inputs)
        while count and inputs[count - 1] is None:
            count -= 1
        set_inputs(self.node, inputs[:count])

    def input(self, index: int) -> ir.Value | None:
        """Input `index` of the node, or `None`."""
        return self.node.inputs[index] if index < len(self.node.inputs) else None

    def constant_of(self, index: int) -> np.ndarray[Any, Any] | None:
        """The numbers of input `index` where it is a constant."""
        value = self.input(index)
        return None if value is None else constant_of(value)

    def replace(self, *values: ir.Value) -> None:
        """Puts `values` in place of the node's outputs, names included, and removes the node."""
        node = self.node
        for old, new in zip(node.outputs, values, strict=False):
            take_place(old, new)
        self.graph.remove(node, safe=True)

    def is_used(self, index: int) -> bool:
        """Whether output `index` of the node is there and read."""
        if index >= len(self.node.outputs):
            return False
        value = self.node.outputs[index]
        return bool(value.uses()) or value.is_graph_output()

    def rank(self, value: ir.Value | None) -> int | None:
        """The rank of a value where it is known."""
        return None if value is None or value.shape is None else len(value.shape)

    def fail(self, need: str, got: str) -> UnsupportedOperatorError:
        """The error to raise where the node cannot be rewritten."""
        return UnsupportedOperatorError(f"{where(self.node)}: {need}, got {got}.")


def run_rule(
    rule: Callable[[Edit], None], edit: Edit, error: type[ToolkitError], need: str
) -> None:
    """Runs a rewriting rule; one that trips over a malformed node raises `error`."""
    node = edit.node
    try:
        rule(edit)
    except ToolkitError:
        raise
    except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError,
            ValueError) as cause:  # fmt: skip
        text = f"{where(node)}: {need} is required, got one where: {cause or 'an input lacks'}."
        raise error(text) from cause


def call_of(node: ir.Node) -> NodeCall:
    """The node as a shape function sees it, without the values of its inputs."""
    return NodeCall(
        node.op_type,
        node.domain,
        node.attributes,
        [None if v is None else info_of(v) for v in node.inputs],
        [None] * len(node.inputs),
        len(node.outputs),
        node.name or "",
    )


def set_inputs(node: ir.Node, inputs: Sequence[ir.Value | None]) -> None:
    """Replaces all inputs of a node."""
    node.resize_inputs(len(inputs))
    for index, value in enumerate(inputs):
        if node.inputs[index] is not value:
            node.replace_input_with(index, value)


def take_place(old: ir.Value, new: ir.Value) -> None:
    """`new` takes the name, the type and the uses of `old`, as graph output too."""
    name, old.name = old.name, None
    if name:
        new.name = name
    if new.type is None:
        new.type = old.type
    if new.shape is None:
        new.shape = old.shape
    new.doc_string = new.doc_string or old.doc_string
    if old.metadata_props:
        new.metadata_props.update(old.metadata_props)
    ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)


def constant_of(value: ir.Value) -> np.ndarray[Any, Any] | None:
    """The numbers of a constant value: an initializer or a Constant node's output."""
    if value.is_graph_input():
        return None
    tensor = value.const_value
    if tensor is None:
        node = value.producer()
        if node is None or node.op_type != "Constant" or node.domain:
            return None
        for name, kind in (("value_int", np.int64), ("value_ints", np.int64),
                           ("value_float", np.float32), ("value_floats", np.float32)):  # fmt: skip
            attr = node.attributes.get(name)
            if attr is not None and not attr.is_ref():
                return np.asarray(attr.value, kind)
        attr = node.attributes.get("value")
        if attr is None or attr.is_ref():
            return None
        tensor = attr.value
    return np.asarray(tensor.numpy())

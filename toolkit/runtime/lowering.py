"""From ONNX graph to native program: the last step before execution.

Only the ancestors of the wanted outputs are compiled, cut at the given inputs. A node whose inputs
are all constants runs once, here. An operator without a kernel is replaced by its function body.

Graph optimisation is not here: `graph/passes` did it before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from toolkit.errors import InvalidModelError, ToolkitError, UnsupportedOperatorError
from toolkit.runtime import _core
from toolkit.runtime.values import to_native

Functions = Mapping[tuple[str, str, str], ir.Function]

# Each call gives other values: never run ahead of time.
_RANDOM = frozenset(
    {"RandomUniform", "RandomNormal", "RandomUniformLike", "RandomNormalLike", "Bernoulli"}
    | {"Multinomial", "Dropout"}
)
_FOLD_LIMIT = 1 << 20  # Bytes: a folded value larger than this and than its inputs is not kept.
_NO_SLOT = -1


@dataclass(frozen=True)
class CompiledProgram:
    """A native program with the names of its inputs, outputs and states, in order."""

    program: _core.Program
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    state_names: tuple[str, ...]

    def run(self, inputs: Sequence[_core.Tensor]) -> list[_core.Tensor]:
        """Runs once; releases the GIL meanwhile."""
        return self.program.run(inputs)

    def state(self, name: str) -> _core.Tensor:
        """The memory of a state, as the latest run left it."""
        return self.program.state(self.state_names.index(name))


def lower(
    inputs: Sequence[ir.Value],
    outputs: Sequence[ir.Value],
    states: Mapping[ir.Value, _core.Tensor] | None = None,
    updates: Mapping[ir.Value, ir.Value] | None = None,
    constants: Mapping[ir.Value, _core.Tensor] | None = None,
    functions: Functions | None = None,
) -> CompiledProgram:
    """Compiles what `outputs` and the new values in `updates` need.

    Args:
        inputs: fed at each run, in this order. Any values of the graph: the cut is made there.
        outputs: returned by each run, in this order.
        states: values that live in the program, with the memory that holds them.
        updates: for states, the value that replaces them after each run.
        constants: values known now, besides the graph's initializers.
        functions: model-local functions.

    Raises:
        UnsupportedOperatorError: a node has neither a kernel nor a function body.
        InvalidModelError: a value is needed that nothing produces.
    """
    states, updates = states or {}, updates or {}
    lowering = _Lowering(functions or {})
    for value in inputs:
        lowering.slots[value] = lowering.program.add_input(value.name or "")
    for value, tensor in states.items():
        lowering.slots[value] = lowering.program.add_state(tensor)
    for value, tensor in (constants or {}).items():
        lowering.add_constant(value, tensor)
    wanted = [*outputs, *updates.values()]
    for node in _needed_nodes(wanted, lowering.slots):
        lowering.add_node(node)
    for value in outputs:
        lowering.program.add_output(lowering.slot_of(value))
    for state, value in updates.items():
        lowering.program.add_update(lowering.slots[state], lowering.slot_of(value))
    lowering.program.finalize()
    return CompiledProgram(
        lowering.program,
        tuple(v.name or "" for v in inputs),
        tuple(v.name or "" for v in outputs),
        tuple(v.name or "" for v in states),
    )


def _needed_nodes(wanted: Iterable[ir.Value], known: Mapping[ir.Value, int]) -> list[ir.Node]:
    """Ancestors of `wanted` in their graph's order, stopping at `known` values."""
    seen: set[ir.Node] = set()
    stack = [v for v in wanted if v not in known]
    graphs: list[Any] = []
    while stack:
        node = stack.pop().producer()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node.graph is not None and node.graph not in graphs:
            graphs.append(node.graph)
        stack.extend(v for v in node.inputs if v is not None and v not in known)
    return [node for graph in graphs for node in graph if node in seen]


@dataclass
class _Lowering:
    functions: Functions
    program: _core.Program = field(default_factory=_core.Program)
    slots: dict[ir.Value, int] = field(default_factory=dict)
    known: dict[int, _core.Tensor] = field(default_factory=dict)  # Constant slots.
    depth: int = 0

    def add_constant(self, value: ir.Value, tensor: _core.Tensor) -> None:
        slot = self.program.add_constant(tensor)
        self.slots[value] = slot
        self.known[slot] = tensor

    def slot_of(self, value: ir.Value | None) -> int:
        if value is None:
            return _NO_SLOT
        if value not in self.slots:
            if value.const_value is None:
                raise InvalidModelError(
                    f"graph: a producer, input or initializer is required for value "
                    f"'{value.name}', got none."
                )
            self.add_constant(value, native_of(value.const_value))
        return self.slots[value]

    def add_node(self, node: ir.Node, attributes: Mapping[str, ir.Attr] | None = None) -> None:
        attributes = node.attributes if attributes is None else attributes
        if node.op_type == "Constant" and node.domain == "":
            self.add_constant(node.outputs[0], _constant_of(attributes))
            return
        if not _core.has_kernel(node.domain, node.op_type):
            self._add_body(node, attributes)
            return
        values = native_attributes(attributes.values())
        inputs = [self.slot_of(v) for v in node.inputs]
        if self._fold(node, values, inputs):
            return
        outputs = [self._new_slot(v) for v in node.outputs]
        self.program.add_node(node.domain, node.op_type, node.name or "", values, inputs, outputs)

    def _new_slot(self, value: ir.Value) -> int:
        if value.name == "":  # An optional output that is left out.
            return _NO_SLOT
        self.slots[value] = self.program.add_slot()
        return self.slots[value]

    def _fold(self, node: ir.Node, attributes: dict[str, Any], inputs: list[int]) -> bool:
        if node.op_type in _RANDOM or node.domain == "toolkit.random":
            return False
        tensors = [None if s == _NO_SLOT else self.known.get(s) for s in inputs]
        if any(t is None and s != _NO_SLOT for t, s in zip(tensors, inputs, strict=True)):
            return False
        try:
            op = _core.Op(node.domain, node.op_type, attributes)
            results = op.run(tensors, len(node.outputs))
        except ToolkitError as error:
            raise type(error)(f"{node.op_type} '{node.name}': {error}") from None
        limit = max(_FOLD_LIMIT, sum(t.nbytes for t in tensors if t is not None))
        if sum(t.nbytes for t in results if t is not None) > limit:
            return False
        for value, result in zip(node.outputs, results, strict=True):
            if result is not None:
                self.add_constant(value, result)
        return True

    def _add_body(self, node: ir.Node, attributes: Mapping[str, ir.Attr]) -> None:
        function = self.functions.get(node.op_identifier()) or _body_of(node)
        if function is None:
            raise UnsupportedOperatorError(
                f"{node.op_type} '{node.name}': a kernel or a function body is required for "
                f"operator '{node.domain or 'ai.onnx'}.{node.op_type}', got neither. "
                "`toolkit ops` lists what can run."
            )
        if self.depth > 64:
            raise InvalidModelError(
                f"{node.op_type} '{node.name}': functions must not call themselves, got a cycle."
            )
        actual = [self.slot_of(v) for v in node.inputs]
        actual += [_NO_SLOT] * (len(function.inputs) - len(actual))
        outer, self.slots = self.slots, dict(zip(function.inputs, actual, strict=True))
        self.depth += 1
        for inner in function:
            self.add_node(inner, _bind(inner, function, attributes))
        results = [self.slot_of(v) for v in function.outputs]
        self.depth -= 1
        self.slots = outer
        self.slots.update(zip(node.outputs, results, strict=False))


def _bind(node: ir.Node, function: ir.Function, given: Mapping[str, ir.Attr]) -> dict[str, ir.Attr]:
    """The node's attributes with references to the function's attributes resolved."""
    bound = {}
    for name, attr in node.attributes.items():
        if attr.is_ref():
            source = given.get(attr.ref_attr_name or "") or function.attributes.get(
                attr.ref_attr_name or ""
            )
            if source is None or source.value is None:
                continue  # The operator's own default holds.
            bound[name] = ir.Attr(name, source.type, source.value)
        else:
            bound[name] = attr
    return bound


def _body_of(node: ir.Node) -> ir.Function | None:
    """The standard body of a composite or of an operator whose schema has one."""
    if node.domain.startswith("toolkit."):
        from toolkit.graph import functions

        return functions.instantiate(node.domain, node.op_type, node.attributes, node.inputs)
    from toolkit.graph.schema_functions import body_of_node

    return body_of_node(node)


def native_of(tensor: ir.TensorProtocol) -> _core.Tensor:
    """A constant of the graph as the core holds it."""
    return to_native(tensor.numpy())


def native_attributes(attributes: Iterable[ir.Attr]) -> dict[str, Any]:
    """Attribute values as the core takes them.

    Raises:
        UnsupportedOperatorError: an attribute is of a kind that no kernel takes.
    """
    values: dict[str, Any] = {}
    for attr in attributes:
        kind = attr.type
        if kind == ir.AttributeType.TENSOR:
            values[attr.name] = native_of(attr.value)
        elif kind in (ir.AttributeType.INT, ir.AttributeType.STRING):
            values[attr.name] = attr.value
        elif kind == ir.AttributeType.FLOAT:
            values[attr.name] = _decimal(attr.value)
        elif kind == ir.AttributeType.FLOATS:
            values[attr.name] = [_decimal(x) for x in attr.value]
        elif kind in (ir.AttributeType.INTS, ir.AttributeType.STRINGS):
            values[attr.name] = list(attr.value)
        else:
            raise UnsupportedOperatorError(
                f"attribute '{attr.name}': a number, string or tensor is required, got {kind.name}."
            )
    return values


def _decimal(value: float) -> float:
    """The double that a float attribute stands for: 0.999, not the 0.99900001287 nearest to it.

    A file keeps float32; its shortest decimal is what was meant, in memory and from a file alike.
    """
    return float(str(np.float32(value)))


def _constant_of(attributes: Mapping[str, ir.Attr]) -> _core.Tensor:
    """The value of a Constant node."""
    if "value" in attributes:
        return native_of(attributes["value"].value)
    result = _core.Op("", "Constant", native_attributes(attributes.values())).run([], 1)[0]
    assert result is not None
    return result

"""From ONNX graph to native program: the last step before execution.

Only the ancestors of the wanted outputs are compiled, cut at the given inputs. A node whose inputs
are all constants runs once, here. An operator without a kernel is replaced by its function body.

Graph optimisation is not here: `graph/passes` did it before, and `runtime/passes` fuse the nodes of
a program on their way to here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir

from toolkit.errors import InvalidModelError, ToolkitError, UnsupportedOperatorError
from toolkit.runtime import _core, passes, subgraphs
from toolkit.runtime.constants import constant_of, native_attributes, native_of
from toolkit.runtime.passes.region import RANDOM

Functions = Mapping[tuple[str, str, str], ir.Function]

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

    def select(self, outputs: Sequence[str]) -> CompiledProgram:
        """A program of some of the outputs; it shares the kernels and their weights."""
        program = self.program.select([self.output_names.index(n) for n in outputs])
        return CompiledProgram(program, self.input_names, tuple(outputs), ())

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
    fuse: bool = True,
    caches: passes.Caches | None = None,
) -> CompiledProgram:
    """Compiles what `outputs` and the new values in `updates` need.

    Args:
        inputs: fed at each run, in this order. Any values of the graph: the cut is made there.
        outputs: returned by each run, in this order.
        states: values that live in the program, with the memory that holds them.
        updates: for states, the value that replaces them after each run.
        constants: values known now, besides the graph's initializers.
        functions: model-local functions.
        fuse: run `runtime/passes`; `TOOLKIT_OPT=0` has the last word.
        caches: inputs that are memory to append to; their presents are no outputs.

    Raises:
        UnsupportedOperatorError: a node has neither a kernel nor a function body, or a cache cannot
            be appended to in place.
        InvalidModelError: a value is needed that nothing produces.
    """
    states, updates = states or {}, updates or {}
    lowering = Lowering(functions or {}, fuse=fuse and passes.enabled(), caches=caches)
    for value in inputs:
        lowering.slots[value] = lowering.program.add_input(value.name or "")
    for value, tensor in states.items():
        lowering.slots[value] = lowering.program.add_state(tensor)
    for value, tensor in (constants or {}).items():
        lowering.add_constant(value, tensor)
    wanted = [*outputs, *updates.values()]
    lowering.add_nodes(needed_nodes(wanted, lowering.slots), wanted)
    if caches is not None and caches.taken != set(caches.presents):
        left = sorted(v.name or "" for v in set(caches.presents) - caches.taken)
        raise UnsupportedOperatorError(
            f"lower: caches that only attention appends to are required, got {left}."
        )
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


def needed_nodes(
    wanted: Iterable[ir.Value], known: Mapping[ir.Value, int], graph: ir.Graph | None = None
) -> list[ir.Node]:
    """Ancestors of `wanted` in their graph's order, stopping at `known` values.

    With `graph`, only its own nodes, not those of the graphs around it.
    """
    seen: set[ir.Node] = set()
    stack = [v for v in wanted if v not in known]
    graphs: list[Any] = []
    while stack:
        node = stack.pop().producer()
        if node is None or node in seen or (graph is not None and node.graph is not graph):
            continue
        seen.add(node)
        if node.graph is not None and node.graph not in graphs:
            graphs.append(node.graph)
        used = [*node.inputs, *subgraphs.captured(node)]
        stack.extend(v for v in used if v is not None and v not in known)
    return [node for g in graphs for node in g if node in seen]


@dataclass
class Lowering:
    """Builds one program; the body of an If, Loop or Scan is built by another with a `parent`.

    `scope` is the function whose body is being written out, with the attributes of its call.
    """

    functions: Functions
    parent: Lowering | None = None
    scope: tuple[ir.Function, Mapping[str, ir.Attr]] | None = None
    depth: int = 0
    program: _core.Program = field(default_factory=_core.Program)
    slots: dict[ir.Value, int] = field(default_factory=dict)
    known: dict[int, _core.Tensor] = field(default_factory=dict)  # Constant slots.
    captures: list[int] = field(default_factory=list)  # The parent's slots that become inputs.
    fuse: bool = False
    caches: passes.Caches | None = None

    def add_constant(self, value: ir.Value, tensor: _core.Tensor) -> None:
        """Gives `value` a slot that holds `tensor`."""
        slot = self.program.add_constant(tensor)
        self.slots[value] = slot
        self.known[slot] = tensor

    def slot_of(self, value: ir.Value | None) -> int:
        """The slot of a value that is computed, given, constant, or captured from outside.

        Raises:
            InvalidModelError: nothing produces the value.
        """
        if value is None or value.name == "":
            return _NO_SLOT
        if value not in self.slots and not self._find(value):
            raise InvalidModelError(
                f"graph: a producer, input or initializer is required for value "
                f"'{value.name}', got none."
            )
        return self.slots[value]

    def _find(self, value: ir.Value) -> bool:
        """Gives a slot to a value of an outer program or a constant; False if it is neither."""
        if self.parent is not None and (value in self.parent.slots or self.parent._find(value)):
            outer = self.parent.slots[value]
            constant = self.parent.known.get(outer)
            if constant is not None:
                self.add_constant(value, constant)
            else:
                self.slots[value] = self.program.add_input(value.name or "")
                self.captures.append(outer)
            return True
        if value.const_value is None:
            return False
        self.add_constant(value, native_of(value.const_value))
        return True

    def add_nodes(self, nodes: Sequence[ir.Node], wanted: Iterable[ir.Value]) -> None:
        """Adds the nodes of a graph that compute `wanted`, fused where that is allowed."""
        todo: Sequence[passes.Node] = nodes
        if self.fuse and self.scope is None:  # In a function, attributes are references.
            todo = passes.fuse(passes.Region(nodes, wanted, self._fed(), self.caches))
        unread = _readers(todo, wanted)
        for node in todo:
            if isinstance(node, passes.FusedNode):
                inputs = [self.slot_of(v) for v in node.inputs]
                self.add_instruction(node, dict(node.attributes), inputs)
            else:
                self.add_node(node)
            for value in node.inputs:
                if value is not None:
                    unread[value] -= 1
                    if not unread[value]:
                        self._release(value)

    def _release(self, value: ir.Value) -> None:
        """Gives back a constant that nothing else will read, if no kernel does either."""
        slot = self.slots.get(value, _NO_SLOT)
        if self.known.pop(slot, None) is not None:
            del self.slots[value]
            self.program.release(slot)
            if isinstance(value.const_value, ir.ExternalTensor):
                with suppress(BufferError):  # A kernel reads it there: it stays mapped.
                    value.const_value.release()

    def _fed(self) -> set[ir.Value]:
        """Values that only a run makes known, those of the programs around this one too."""
        fed = {v for v, slot in self.slots.items() if slot not in self.known}
        return fed if self.parent is None else fed | self.parent._fed()

    def add_node(self, node: ir.Node) -> None:
        """Adds the instructions of one node, whose inputs have slots already.

        Raises:
            UnsupportedOperatorError: it has neither a kernel nor a function body.
        """
        attributes = node.attributes if self.scope is None else _bind(node, *self.scope)
        if node.domain == "" and node.op_type == "Constant":
            self.add_constant(node.outputs[0], constant_of(attributes))
        elif node.domain == "" and node.op_type in subgraphs.OPERATORS:
            subgraphs.add(self, node, attributes)
        elif not _core.has_kernel(node.domain, node.op_type):
            self._add_body(node, attributes)
        else:
            inputs = [self.slot_of(v) for v in node.inputs]
            values = native_attributes(attributes.values())
            if not self._fold(node, values, inputs):
                self.add_instruction(node, values, inputs)

    def add_instruction(self, node: passes.Node, values: dict[str, Any], inputs: list[int]) -> None:
        """Adds one instruction that makes the node's outputs."""
        outputs = [self._new_slot(v) for v in node.outputs]
        self.program.add_node(node.domain, node.op_type, node.name or "", values, inputs, outputs)

    def _new_slot(self, value: ir.Value) -> int:
        if value.name == "":  # An optional output that is left out.
            return _NO_SLOT
        self.slots[value] = self.program.add_slot()
        return self.slots[value]

    def _fold(self, node: ir.Node, attributes: dict[str, Any], inputs: list[int]) -> bool:
        if node.op_type in RANDOM or node.domain == "toolkit.random":
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
        # The body's values are its own; a graph given as attribute still sees those outside.
        self.slots.update(zip(function.inputs, actual, strict=True))
        outer, self.scope = self.scope, (function, attributes)
        self.depth += 1
        for inner in function:
            self.add_node(inner)
        results = [self.slot_of(v) for v in function.outputs]
        self.depth -= 1
        self.scope = outer
        self.slots.update(zip(node.outputs, results, strict=False))


def _readers(nodes: Iterable[passes.Node], wanted: Iterable[ir.Value]) -> Counter[ir.Value]:
    """How often each value is read; one that subgraphs or the caller read counts once more."""
    count: Counter[ir.Value] = Counter(wanted)
    for node in nodes:
        count.update(v for v in node.inputs if v is not None)
        if isinstance(node, ir.Node):
            count.update(subgraphs.captured(node))
    return count


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

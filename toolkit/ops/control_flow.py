"""If, Loop and Scan, eager or traced: nodes that hold graphs, and read more than their inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from toolkit._tensor.base import TensorBase, wrap
from toolkit._tensor.state import STATE
from toolkit.errors import InvalidArgumentError, UnsupportedOperatorError
from toolkit.ops.dispatch import as_operands

if TYPE_CHECKING:
    import onnx_ir as ir

    from toolkit.graph.trace import Recorder

_MAX_PROGRAMS = 64


def function(op_type: str, doc: str) -> Callable[..., Any]:
    """`ops.If`, `ops.Loop` or `ops.Scan`.

    Their graphs are `onnx.GraphProto`s at the newest opset. What these read from outside is given
    by name: `ops.If(condition, outer={"x": x}, then_branch=…, else_branch=…)`.
    """

    def op(*inputs: Any, outer: Mapping[str, Any] | None = None, **attributes: Any) -> Any:
        outer = outer or {}
        given = {k: v for k, v in attributes.items() if v is not None}
        step, node, captured = _step_of(op_type, len(inputs), given, outer)
        if set(captured) - set(outer):
            raise InvalidArgumentError(
                f"{op_type}: values for the names that its graphs read from outside, "
                f"{sorted(captured)}, are required in `outer`, got {sorted(outer)}."
            )
        operands = as_operands(op_type, [*inputs, *(outer[name] for name in captured)])
        env = dict(zip([*node.inputs, *captured.values()], operands, strict=True))
        step(env)
        made = node.outputs
        results = tuple(env[v] for v in made)
        return results[0] if len(results) == 1 else results

    op.__name__ = op.__qualname__ = op_type
    op.__doc__ = doc
    return op


_steps: dict[Any, Any] = {}


def _step_of(
    op_type: str, inputs: int, attributes: Mapping[str, Any], outer: Mapping[str, Any]
) -> Any:
    """The cached step of a node with these graphs, the node, and what its graphs read by name."""
    import onnx

    key = (
        op_type, inputs, *outer,
        *((k, v.SerializeToString() if isinstance(v, onnx.GraphProto) else repr(v))
          for k, v in sorted(attributes.items())),
    )  # fmt: skip
    found = _steps.get(key)
    if found is None:
        if len(_steps) >= _MAX_PROGRAMS:
            _steps.clear()
        from toolkit.graph.subgraphs import reads

        node = _node(op_type, inputs, attributes, outer)
        captured = {v.name: v for v in reads(node) if v not in node.inputs}
        found = _steps[key] = control_flow_step(node), node, captured
    return found


def _node(
    op_type: str, inputs: int, attributes: Mapping[str, Any], outer: Mapping[str, Any]
) -> ir.Node:
    import onnx
    import onnx_ir as ir

    from toolkit.graph.subgraphs import reads

    proto = onnx.helper.make_node(op_type, [f"input.{i}" for i in range(inputs)], [])
    graphs = []
    for name, value in attributes.items():
        proto.attribute.append(onnx.helper.make_attribute(name, value))
        if isinstance(value, onnx.GraphProto):
            graphs.append(value)
    if not graphs:
        raise InvalidArgumentError(f"{op_type}: an onnx.GraphProto is required, got none.")
    count = len(graphs[0].output) - (op_type == "Loop")
    proto.output.extend(f"output.{i}" for i in range(count))
    names = dict.fromkeys([*proto.input, *outer])
    while True:  # Once more with the names read from outside, so that each is one value.
        infos = [onnx.ValueInfoProto(name=name) for name in names]
        (node,) = ir.serde.deserialize_graph(onnx.helper.make_graph([proto], "outer", infos, []))
        more = {str(v.name): None for v in reads(node)}
        if not more.keys() - names.keys():
            return node
        names |= more


def has_graphs(node: ir.Node) -> bool:
    """Whether a node holds graphs."""
    from toolkit.graph.walk import subgraphs

    return bool(subgraphs(node))


def control_flow_step(node: ir.Node) -> Callable[[dict[Any, Any]], None]:
    """Such a node as a function of the environment: traced, or run as a program of its own."""
    return region_step([node])


def region_step(nodes: Sequence[ir.Node]) -> Callable[[dict[Any, Any]], None]:
    """Nodes, one behind the other, as one such function that gives the outputs of the last."""
    region = _Region(nodes)
    outputs = list(nodes[-1].outputs)

    def run(env: dict[Any, Any]) -> None:
        tensors = [env[v] for v in region.sources]
        trace = STATE.trace
        if trace is None:
            results = region.run(tensors)
        else:
            results = region.append(trace.recorder, [trace.convert(t) for t in tensors])
            if not STATE.grad:
                results[0].producer().meta["stop_gradient"] = True
        made = (v if isinstance(v, TensorBase) else wrap(v) for v in results)
        env.update(zip(outputs, made, strict=True))

    return run


def append(recorder: Recorder, node: ir.Node, values: Mapping[ir.Value, Any]) -> Sequence[Any]:
    """A copy of the node at the end of a graph, reading `values` in place of its own."""
    import onnx_ir as ir

    from toolkit.graph.subgraphs import copy

    attributes = []
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            inner, _ = copy(attribute.as_graph(), values)
            attribute = ir.AttrGraph(attribute.name, inner)
        attributes.append(attribute)
    inputs = [None if v is None else values[v] for v in node.inputs]
    return recorder.add_graphs(
        node.op_type, inputs, attributes, len(node.outputs), domain=node.domain
    )


class _Region:
    """Nodes as a program for each signature of inputs that they meet."""

    def __init__(self, nodes: Sequence[ir.Node]) -> None:
        from toolkit.graph.subgraphs import reads

        made = {v for node in nodes[:-1] for v in node.outputs}
        self.nodes = nodes
        self.sources = [
            v for v in dict.fromkeys(v for n in nodes for v in reads(n)) if v not in made
        ]
        self.programs: dict[Any, Any] = {}

    def append(self, recorder: Recorder, values: Sequence[Any]) -> Sequence[Any]:
        """Copies of the nodes at the end of a graph; the outputs of the last."""
        known = dict(zip(self.sources, values, strict=True))
        for node in self.nodes:
            found = append(recorder, node, known)
            known.update(zip(node.outputs, found, strict=True))
        return found

    def run(self, tensors: Sequence[Any]) -> Sequence[Any]:
        """The results, on the tape where a tensor needs a gradient."""
        given = [t._get() for t in tensors]
        records = STATE.grad and any(t.requires_grad for t in tensors)
        key = (records, *((t.dtype, tuple(t.shape)) for t in given))
        if key not in self.programs:
            if len(self.programs) >= _MAX_PROGRAMS:
                self.programs.clear()
            self.programs[key] = self._compile(given, records)
        if records:
            return tuple(self.programs[key](tensors))
        found: Sequence[Any] = self.programs[key].run(given)
        return found

    def _compile(self, given: Sequence[Any], records: bool) -> Any:
        from toolkit._tensor.graph_function import GraphFunction
        from toolkit.graph.trace import Recorder
        from toolkit.runtime.lowering import lower

        last = self.nodes[-1]
        if records and any(_is_no_tensor(v) for v in (*self.sources, *last.outputs)):
            raise UnsupportedOperatorError(
                f"{last.op_type} '{last.name}': a compiled step is required to differentiate "
                "control flow of sequences, got an eager call. Use TrainStep to train, or "
                "no_grad() to run."
            )
        recorder = Recorder(last.op_type)
        formal = [
            _input(recorder, i, v, t)
            for i, (v, t) in enumerate(zip(self.sources, given, strict=True))
        ]
        results = list(self.append(recorder, formal))
        if records:
            return GraphFunction(recorder.graph, formal, results)
        return lower(inputs=formal, outputs=results)


def _is_no_tensor(value: ir.Value) -> bool:
    import onnx_ir as ir

    return isinstance(value.type, (ir.SequenceType, ir.OptionalType))


def _input(recorder: Recorder, i: int, like: ir.Value, given: Any) -> ir.Value:
    import onnx_ir as ir

    if not _is_no_tensor(like):
        return recorder.input(f"x{i}", given.dtype, given.shape)
    value = ir.Value(name=f"x{i}", type=like.type)
    recorder.graph.inputs.append(value)
    return value

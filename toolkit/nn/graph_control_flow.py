"""If, Loop and Scan in a `GraphModule`: nodes that read more than their inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from toolkit._tensor.base import wrap
from toolkit._tensor.state import STATE
from toolkit.errors import UnsupportedOperatorError

if TYPE_CHECKING:
    import onnx_ir as ir

    from toolkit.graph.trace import Recorder

_MAX_PROGRAMS = 64


def has_graphs(node: ir.Node) -> bool:
    """Whether a node holds graphs."""
    from toolkit.graph.subgraphs import subgraphs

    return bool(subgraphs(node))


def control_flow_step(node: ir.Node) -> Callable[[dict[Any, Any]], None]:
    """Such a node as a function of the environment: traced, or run as a program of its own."""
    from toolkit.graph.subgraphs import reads

    sources = list(dict.fromkeys(reads(node)))
    outputs = list(node.outputs)
    programs: dict[Any, Any] = {}

    def run(env: dict[Any, Any]) -> None:
        tensors = [env[v] for v in sources]
        trace = STATE.trace
        if trace is None:
            results = _run(node, sources, tensors, programs)
        else:
            values = dict(zip(sources, (trace.convert(t) for t in tensors), strict=True))
            results = _append(trace.recorder, node, values)
            if not STATE.grad:
                results[0].producer().meta["stop_gradient"] = True
        env.update(zip(outputs, (wrap(v) for v in results), strict=True))

    return run


def _append(recorder: Recorder, node: ir.Node, values: Mapping[ir.Value, Any]) -> Sequence[Any]:
    """A copy of the node at the end of a graph, reading `values` in place of its own."""
    import onnx_ir as ir

    from toolkit.graph.infer import GraphInference
    from toolkit.graph.subgraphs import copy, unique_names

    attributes = []
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            inner, _ = copy(attribute.as_graph(), values)
            attribute = ir.AttrGraph(attribute.name, inner)
        attributes.append(attribute)
    inputs = [None if v is None else values[v] for v in node.inputs]
    name = recorder.fresh(node.op_type)
    made = ir.Node(
        node.domain, node.op_type, inputs, attributes, num_outputs=len(node.outputs), name=name
    )
    for i, value in enumerate(made.outputs):
        value.name = f"{name}.out" if i == 0 else f"{name}.out_{i}"
    recorder.graph.append(made)
    GraphInference({}, strict=False).node(made)
    unique_names(recorder.graph)
    return made.outputs


def _run(
    node: ir.Node, sources: Sequence[ir.Value], tensors: Sequence[Any], programs: dict[Any, Any]
) -> Sequence[Any]:
    from toolkit.graph.trace import Recorder
    from toolkit.runtime.lowering import lower

    if STATE.grad and any(t.requires_grad for t in tensors):
        raise UnsupportedOperatorError(
            f"{node.op_type} '{node.name}': a compiled step is required to differentiate control "
            "flow, got an eager call. Use TrainStep to train, or no_grad() to run."
        )
    given = [t._get() for t in tensors]
    key = tuple((t.dtype, tuple(t.shape)) for t in given)
    program = programs.get(key)
    if program is None:
        recorder = Recorder(node.op_type)
        formal = [recorder.input(f"x{i}", t.dtype, t.shape) for i, t in enumerate(given)]
        results = _append(recorder, node, dict(zip(sources, formal, strict=True)))
        if len(programs) >= _MAX_PROGRAMS:
            programs.clear()
        program = programs[key] = lower(inputs=formal, outputs=list(results))
    found: Sequence[Any] = program.run(given)
    return found

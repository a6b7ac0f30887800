"""The nodes of a graph as functions: what a `GraphModule` runs, one after the other.

A step reads and writes an environment, value -> tensor, and asks the module for its mode. Dropout
and BatchNormalization have a form for training; a QuantizeLinear and the DequantizeLinear behind it
are one step, as no gradient flows through integers on the tape.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit._tensor.state import STATE
from toolkit.graph.edit import constant_of
from toolkit.nn.graph_module.quantized import is_bias, rounded_bias
from toolkit.ops.control_flow import control_flow_step, has_graphs, region_step
from toolkit.tensor import Tensor

if TYPE_CHECKING:
    import onnx_ir as ir

    from toolkit.nn.graph_module.module import GraphModule

    Env = dict[Any, Any]
    Step = Callable[[Env, GraphModule], None]

_MOVERS = frozenset({"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"})


def plan(
    graph: ir.Graph, held: Collection[ir.Value], behind: Mapping[ir.Node, Step] | None = None
) -> list[Step]:
    """The steps of a graph.

    Args:
        graph: at the canonical opset.
        held: the initializers that are the module's parameters and buffers.
        behind: more steps, each after that of a node.
    """
    steps: list[Step] = []
    for node in graph:
        steps.append(_with_ranks(_step(node, held), node))
        if behind and node in behind:
            steps.append(behind[node])
    return steps


def _with_ranks(step: Step, node: ir.Node) -> Step:
    """In a trace, the ranks that the file's own shapes give where those of the trace do not."""
    import onnx_ir as ir

    ranks = [(value, len(value.shape)) for value in node.outputs if value.shape is not None]

    def run(env: Env, module: GraphModule) -> None:
        step(env, module)
        for value, rank in ranks if STATE.trace is not None else ():
            traced = env[value]._value if value in env else None
            if isinstance(traced, ir.Value) and traced.shape is None:
                traced.shape = ir.Shape([None] * rank)

    return run


def _quantizers(node: ir.Node) -> list[ir.Node]:
    """From a QuantizeLinear over what moves its result to a DequantizeLinear; [] without one."""
    found = [node]
    value = node.inputs[0]
    while value is not None and (maker := value.producer()) is not None:
        if maker.graph is not node.graph or maker.domain:
            return []
        found.insert(0, maker)
        if maker.op_type == "QuantizeLinear":
            return found
        if maker.op_type not in _MOVERS:
            return []
        value = maker.inputs[0]
    return []


def _step(node: ir.Node, held: Collection[ir.Value]) -> Step:
    if not node.domain:
        if node.op_type == "Constant":
            return _constant(node)
        if node.op_type == "Dropout":
            return _dropout(node)
        if node.op_type == "BatchNormalization" and _is_inference(node, held):
            return _batch_norm(node)
        region = _quantizers(node) if node.op_type == "DequantizeLinear" else []
        if region:
            return _without_module(region_step(region))
    if has_graphs(node):
        return _without_module(control_flow_step(node))
    if is_bias(node):
        return _bias(node)
    return _plain(node)


def _without_module(run: Callable[[Env], None]) -> Step:
    return lambda env, module: run(env)


def _plain(node: ir.Node) -> Step:
    from toolkit import ops
    from toolkit.runtime.constants import native_attributes

    outputs = list(node.outputs)
    attributes = native_attributes(node.attributes.values())
    count = len(outputs)

    def run(env: Env, module: GraphModule) -> None:
        inputs = [None if v is None else env[v] for v in node.inputs]
        result = ops.call(node.op_type, inputs, attributes, count, node.domain)
        env.update(zip(outputs, result if count > 1 else (result,), strict=True))

    return run


def _constant(node: ir.Node) -> Step:
    from toolkit.runtime.constants import constant_of as native_constant

    output = node.outputs[0]
    native = native_constant(node.attributes)

    def give(env: Env, module: GraphModule) -> None:
        env[output] = constant_tensor(native)

    return give


def constant_tensor(native: Any) -> Tensor:
    """A constant of the graph: a trace may compute with it at once."""
    made = Tensor._from_native(native)
    made._born = STATE.trace
    return made


def _dropout(node: ir.Node) -> Step:
    """Draws in training; a node whose training mode the file itself computes stays as it is."""
    from toolkit import random

    plain = _plain(node)
    mode, given = _input(node, 2), _input(node, 1)
    trains = np.asarray(False) if mode is None else constant_of(mode)
    found = np.asarray(0.5) if given is None else constant_of(given)
    if trains is None or trains.any() or found is None:
        return plain
    ratio = float(found)

    def run(env: Env, module: GraphModule) -> None:
        if not module.training or ratio == 0.0:
            plain(env, module)
            return
        made = random.dropout(env[node.inputs[0]], ratio)
        env.update(zip(node.outputs, made, strict=False))

    return run


def _is_inference(node: ir.Node, held: Collection[ir.Value]) -> bool:
    return len(node.outputs) == 1 and all(v in held for v in node.inputs[3:5])


def _batch_norm(node: ir.Node) -> Step:
    """The batch's statistics in training; the running ones move as in torch."""
    from toolkit.nn import functional as F

    plain = _plain(node)
    x, scale, bias, mean, var = node.inputs
    epsilon, momentum = _number(node, "epsilon", 1e-5), _number(node, "momentum", 0.9)

    def run(env: Env, module: GraphModule) -> None:
        if not module._moves_statistics(env[scale], env[bias], env[mean], env[var]):
            plain(env, module)
            return
        env[node.outputs[0]] = F.batch_norm(
            env[x], env[mean], env[var], env[scale], env[bias], True, 1.0 - momentum, epsilon
        )

    return run


def _bias(node: ir.Node) -> Step:
    x, scale = node.inputs[:2]
    axis = node.attributes["axis"].value if "axis" in node.attributes else 1

    def run(env: Env, module: GraphModule) -> None:
        env[node.outputs[0]] = rounded_bias(env[x], env[scale], axis)

    return run


def _input(node: ir.Node, i: int) -> ir.Value | None:
    inputs: Sequence[ir.Value | None] = node.inputs
    return inputs[i] if i < len(inputs) else None


def _number(node: ir.Node, name: str, default: float) -> float:
    from toolkit.runtime.constants import native_attributes

    found = native_attributes(a for a in node.attributes.values() if a.name == name)
    return float(found.get(name, default))

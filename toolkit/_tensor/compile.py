"""From a segment of the tape to ONNX nodes, their gradient nodes, and a native program."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from toolkit._tensor.base import wrap
from toolkit._tensor.consts import core_array
from toolkit._tensor.segments import Segment
from toolkit.autodiff.backward import gradients
from toolkit.graph.trace import attributes_of
from toolkit.ops.dispatch import call
from toolkit.runtime.constants import native_attributes, native_of
from toolkit.runtime.lowering import lower


@dataclass
class Plan:
    """A compiled segment.

    Attributes:
        program: inputs as `feeds`, outputs as `targets`.
        feeds: what each input is: (record, is output, index), or (-1, False, cotangent index).
        targets: for each output the number of the source whose gradient it is.
        nodes: the gradient nodes, for `replay`.
        values: the graph's values of `feeds`.
        results: the graph's values of `targets`.
    """

    program: Any
    feeds: list[tuple[int, bool, int]]
    targets: list[int]
    nodes: list[ir.Node]
    values: list[ir.Value]
    results: list[ir.Value]


def _value(name: str, meta: Any) -> ir.Value:
    if type(meta[0]) is str:  # A constant that belongs to the structure.
        array = np.array(meta[1], np.int64)
        return ir.Value(
            name=name, type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape(array.shape),
            const_value=ir.tensor(array, name=name),
        )  # fmt: skip
    return ir.Value(
        name=name, type=ir.TensorType(ir.DataType(meta[0])), shape=ir.Shape(tuple(meta[1]))
    )


def compile_segment(segment: Segment) -> Plan:
    """Builds the graph of the records, appends its gradients and lowers them.

    Raises:
        UnsupportedOperatorError: an operator on the way has no gradient.
    """
    graph = ir.Graph([], [], nodes=[], opset_imports={"": 28}, name="tape")
    origin: dict[ir.Value, tuple[int, bool, int]] = {}
    outputs: list[list[ir.Value]] = []
    sources: dict[int, ir.Value] = {}
    links = iter(segment.links)
    for i, record in enumerate(segment.order):
        op, inputs_meta, outputs_meta = record.signature
        inputs: list[ir.Value | None] = []
        for k, meta in enumerate(inputs_meta):
            kind = next(links)
            if kind == 1:
                j, slot = next(links), next(links)
                inputs.append(outputs[j][slot])
                continue
            number = next(links) if kind == 2 else None
            if meta is None:
                inputs.append(None)
            elif number is not None and number in sources:
                inputs.append(sources[number])
            else:
                value = _value(f"x{i}_{k}", meta)
                origin[value] = (i, False, k)
                if number is not None:
                    sources[number] = value
                inputs.append(value)
        while inputs and inputs[-1] is None:
            inputs.pop()
        node = ir.Node(
            op.domain, op.op_type, inputs, attributes_of(op.domain, op.op_type, op.attributes),
            num_outputs=len(outputs_meta), name=f"{op.op_type}_{i}",
        )  # fmt: skip
        for k, (value, meta) in enumerate(zip(node.outputs, outputs_meta, strict=True)):
            if meta is None:
                value.name = ""
                continue
            value.name = f"y{i}_{k}"
            value.type = ir.TensorType(ir.DataType(meta[0]))
            value.shape = ir.Shape(tuple(meta[1]))
            origin[value] = (i, True, k)
        if op.domain not in graph.opset_imports:
            graph.opset_imports[op.domain] = 1
        graph.append(node)
        outputs.append(list(node.outputs))
    count = len(graph)
    roots = [outputs[segment.at[n]][slot] for n, slot in segment.roots]
    cotangents = []
    for k, root in enumerate(roots):
        ct = ir.Value(name=f"d{k}", type=root.type, shape=root.shape)
        origin[ct] = (-1, False, k)
        cotangents.append(ct)
    numbers = [s for s, wanted in enumerate(segment.wanted) if wanted]
    found = gradients(graph, roots, cotangents, [sources[s] for s in numbers], fixed=True)
    pairs = [(s, g) for s, g in zip(numbers, found, strict=True) if g is not None]
    results = [g for _, g in pairs]
    later = set(list(graph)[count:])
    feeds, nodes = _needed(results, origin, later)
    program = lower(inputs=feeds, outputs=results)
    order = [n for n in graph if n in nodes]
    return Plan(program, [origin[v] for v in feeds], [s for s, _ in pairs], order, feeds, results)


def _needed(
    results: list[ir.Value], origin: dict[ir.Value, Any], later: set[ir.Node]
) -> tuple[list[ir.Value], set[ir.Node]]:
    """The forward values that the gradients read, and the gradient nodes themselves."""
    feeds: dict[ir.Value, None] = {}
    nodes: set[ir.Node] = set()
    stack = list(results)
    while stack:
        value = stack.pop()
        if value in origin and value.const_value is None:
            feeds[value] = None
            continue
        node = value.producer()
        if node is None or node in nodes or node not in later:
            continue
        nodes.add(node)
        stack.extend(v for v in node.inputs if v is not None)
    return list(feeds), nodes


def replay(segment: Segment, plan: Plan, cotangents: list[Any]) -> list[Any]:
    """Runs the gradient nodes as recorded eager operations, for derivatives of derivatives."""
    env: dict[ir.Value, Any] = {}
    for value, (i, out, k) in zip(plan.values, plan.feeds, strict=True):
        env[value] = cotangents[k] if i < 0 else segment.tensor(i, out, k)
    for node in plan.nodes:
        if node.op_type == "Constant" and node.domain == "":
            env[node.outputs[0]] = wrap(
                native_of(node.outputs[0].const_value or node.attributes["value"].value)
            )
            continue
        inputs = [None if v is None else _read(env, v) for v in node.inputs]
        attributes = native_attributes(node.attributes.values())
        made = call(node.op_type, inputs, attributes, len(node.outputs), node.domain)
        env.update(zip(node.outputs, made if len(node.outputs) > 1 else (made,), strict=True))
    return [_read(env, v) for v in plan.results]


def _read(env: dict[ir.Value, Any], value: ir.Value) -> Any:
    found = env.get(value)
    if found is None:
        array = np.ascontiguousarray(value.const_value.numpy())  # type: ignore[union-attr]
        found = env[value] = wrap(core_array(array.reshape(value.const_value.shape.numpy())))  # type: ignore[union-attr]
    return found

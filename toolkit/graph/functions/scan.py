"""Scan and Loop with bodies written by functions; no composite is here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import onnx_ir as ir

from toolkit.graph.build import Builder, arithmetic

V = Any  # An ir.Value under `arithmetic`.


def scan(
    b: Builder,
    states: Sequence[V],
    sequences: Sequence[V],
    outputs: int,
    reverse: bool,
    step: Callable[..., tuple[Sequence[V], Sequence[V]]],
) -> list[V]:
    """A Scan over axis 0 of the sequences; values of outer graphs may be used in `step`.

    Args:
        b: writes the node.
        states: their first values.
        sequences: what is cut into steps.
        outputs: how many sequences `step` gives.
        reverse: whether the last step comes first; outputs lie as the sequences do.
        step: `(body builder, states, elements) -> (states, outputs)`.

    Returns:
        The last states, then the sequences made.
    """
    formal = [ir.Value(type=v.type, shape=v.shape) for v in states]
    for v in sequences:
        dims = None if v.shape is None else ir.Shape(v.shape.dims[1:])
        formal.append(ir.Value(type=v.type, shape=dims))
    graph = ir.Graph(formal, [], nodes=[], opset_imports={"": 28}, name="step")
    body = Builder(graph)
    with arithmetic(body):
        new_states, made = step(body, formal[: len(states)], formal[len(states) :])
        results = [*new_states, *made]
        for i, v in enumerate(results):
            if v.producer() is None or v.producer().graph is not graph or v in results[:i]:
                results[i] = body.Identity(v)
    graph.outputs.extend(results)
    _rename(graph, sum(node.op_type == "Scan" for node in b.graph))
    attributes = [
        ir.AttrGraph("body", graph),
        ir.AttrInt64("num_scan_inputs", len(sequences)),
        ir.AttrInt64s("scan_input_directions", [int(reverse)] * len(sequences)),
        ir.AttrInt64s("scan_output_directions", [int(reverse)] * outputs),
    ]
    node = ir.Node("", "Scan", [*states, *sequences], attributes, num_outputs=len(results))
    b.append(node)
    values = list(node.outputs)
    for value, inner in zip(values, results, strict=True):
        value.type = inner.type
        if inner.shape is not None:
            lead = [] if value in values[: len(states)] else [ir.SymbolicDim(None)]
            value.shape = ir.Shape([*lead, *inner.shape.dims])
    return values


def loop(
    b: Builder, states: Sequence[V], limit: int, step: Callable[..., tuple[V, Sequence[V]]]
) -> list[V]:
    """A Loop of at most `limit` rounds.

    Args:
        b: writes the node.
        states: their first values.
        limit: the most rounds.
        step: `(body builder, round, states) -> (whether to go on, states)`.

    Returns:
        The last states.
    """
    formal = [_scalar(ir.DataType.INT64), _scalar(ir.DataType.BOOL)]
    formal += [ir.Value(type=v.type, shape=v.shape) for v in states]
    graph = ir.Graph(formal, [], nodes=[], opset_imports={"": 28}, name="round")
    body = Builder(graph)
    with arithmetic(body):
        again, new = step(body, formal[0], formal[2:])
        results = [again, *new]
        for i, v in enumerate(results):
            if v.producer() is None or v.producer().graph is not graph or v in results[:i]:
                results[i] = body.Identity(v)
    graph.outputs.extend(results)
    _rename(graph, sum(node.op_type == "Loop" for node in b.graph), "loop")
    inputs = [b.const(limit), b.const(True), *states]
    node = ir.Node("", "Loop", inputs, [ir.AttrGraph("body", graph)], num_outputs=len(states))
    b.append(node)
    for value, first in zip(node.outputs, states, strict=True):
        value.type, value.shape = first.type, first.shape
    return list(node.outputs)


def _scalar(dtype: ir.DataType) -> ir.Value:
    return ir.Value(type=ir.TensorType(dtype), shape=ir.Shape([]))


def _rename(graph: ir.Graph, index: int, stem: str = "scan") -> None:
    """Names that no value of the outer graph has."""
    values = [*graph.inputs, *(v for node in graph for v in node.outputs)]
    for i, value in enumerate(values):
        value.name = f"{stem}{index}_{i}"
    for i, node in enumerate(graph):
        node.name = f"{stem}{index}_node_{i}"

"""Loop with a body written by a function; no composite is here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import onnx_ir as ir

from toolkit.graph.build import Builder, arithmetic

V = Any  # An ir.Value under `arithmetic`.


def loop(
    b: Builder,
    count: V,
    states: Sequence[V],
    step: Callable[..., tuple[V, Sequence[V]]],
) -> list[V]:
    """A Loop of at most `count` steps; values of outer graphs may be used in `step`.

    Args:
        b: writes the node.
        count: a 0-dim int64 value.
        states: their first values.
        step: `(body builder, index, states) -> (whether to go on, or None: always; states)`.

    Returns:
        The last states.
    """
    index = ir.Value(type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape([]))
    given = ir.Value(type=ir.TensorType(ir.DataType.BOOL), shape=ir.Shape([]))
    formal = [ir.Value(type=v.type, shape=v.shape) for v in states]
    graph = ir.Graph(
        [index, given, *formal], [], nodes=[], opset_imports={"": 28}, name="loop_step"
    )
    body = Builder(graph)
    with arithmetic(body):
        more, results = step(body, index, formal)
        results = [given if more is None else more, *results]
        for i, v in enumerate(results):
            if v.producer() is None or v.producer().graph is not graph or v in results[:i]:
                results[i] = body.Identity(v)
    graph.outputs.extend(results)
    number = sum(node.op_type == "Loop" for node in b.graph)
    for i, value in enumerate([*graph.inputs, *(v for node in graph for v in node.outputs)]):
        value.name = f"loop{number}_{i}"
    for i, node in enumerate(graph):
        node.name = f"loop{number}_node_{i}"
    node = ir.Node("", "Loop", [count, None, *states], [ir.AttrGraph("body", graph)],
                   num_outputs=len(states))  # fmt: skip
    b.append(node)
    for value, inner in zip(node.outputs, results[1:], strict=True):
        value.type, value.shape = inner.type, inner.shape
    return list(node.outputs)

"""Cotangents of sequences: sequences of as many tensors, of the same shapes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import onnx_ir as ir

from toolkit.errors import UnsupportedOperatorError
from toolkit.graph.build import Builder, arithmetic
from toolkit.graph.build_infer import known_dims

V = Any  # An ir.Value under `arithmetic`.
Step = Callable[[Builder, V, Sequence[V]], tuple[Sequence[V], Sequence[V]]]


def is_sequence(value: ir.Value | None) -> bool:
    """Whether a value is a sequence."""
    return value is not None and isinstance(value.type, ir.SequenceType)


def loop(b: Builder, count: V, states: Sequence[V], step: Step) -> list[V]:
    """A Loop of `count` turns (a scalar).

    Args:
        b: writes the node.
        count: how many turns.
        states: their first values.
        step: `(body builder, turn, states) -> (states, outputs)`; outer values may be used.

    Returns:
        The last states, then the outputs of all turns stacked.
    """
    turn = ir.Value(type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape([]))
    go = ir.Value(type=ir.TensorType(ir.DataType.BOOL), shape=ir.Shape([]))
    formal = [ir.Value(type=v.type, shape=v.shape) for v in states]
    body = ir.Graph([turn, go, *formal], [], nodes=[], opset_imports={"": 28}, name="turn")
    inner = Builder(body)
    with arithmetic(inner):
        new, made = step(inner, turn, formal)
    finish(inner, [inner.Identity(go), *new, *made])
    outputs = len(new) + len(made)
    results = b.call(
        "", "Loop", [count, b.const(True), *states], {"body": ir.AttrGraph("body", body)}, outputs
    )
    return [results] if outputs == 1 else list(results)


def finish(b: Builder, results: Sequence[V]) -> None:
    """Make values the outputs of a subgraph: each of its own node inside it."""
    graph = b.graph
    assert isinstance(graph, ir.Graph)
    given: list[V] = []
    for value in results:
        node = value.producer()
        if node is None or node.graph is not graph or any(value is v for v in given):
            value = b.Identity(value)
        given.append(value)
    graph.outputs.clear()
    graph.outputs.extend(given)


def empty(b: Builder, like: ir.Value) -> V:
    """A sequence of no tensors, of the type of `like`."""
    assert like.dtype is not None
    return b.SequenceEmpty(dtype=int(like.dtype))


def mapped(b: Builder, sequences: Sequence[V], step: Callable[..., V]) -> V:
    """The sequence of `step(body builder, *items)` over sequences of one length."""

    def one(body: Builder, turn: V, states: Sequence[V]) -> Any:
        items = [body.SequenceAt(s, turn) for s in sequences]
        return [body.SequenceInsert(states[0], step(body, *items))], []

    count = b.SequenceLength(sequences[0])
    return loop(b, count, [empty(b, sequences[0])], one)[0]


def add_sequences(b: Builder, parts: Sequence[V]) -> V:
    """The sum, item by item."""
    return mapped(b, parts, lambda body, *items: body.Sum(*items))


def zeros_of(b: Builder, value: V) -> V:
    """Zeros in the shape of a tensor, or of each tensor of a sequence.

    Raises:
        UnsupportedOperatorError: it is an optional.
    """
    if isinstance(value.type, ir.OptionalType):
        raise UnsupportedOperatorError(
            f"A tensor or a sequence is required where a gradient branches, got the optional "
            f"{value.name!r}. Take its element first."
        )
    if is_sequence(value):
        return mapped(b, [value], zeros_of)
    zeros = b.zeros(b.shape(value), value.dtype)
    dims = known_dims(value)
    if dims is not None:
        zeros.shape = ir.Shape(dims)
    return zeros


def sizes(b: Builder, sequence: V, axis: int) -> V:
    """The size along `axis` of each item, as an int64 vector."""

    def one(body: Builder, turn: V, states: Sequence[V]) -> Any:
        shape = body.Shape(body.SequenceAt(sequence, turn))
        return [], [body.Gather(shape, body.const(axis), axis=0)]

    return loop(b, b.SequenceLength(sequence), [], one)[0]

"""Gradients of If, Loop, Scan and SequenceMap: control flow whose bodies are gradients of bodies.

What a body computes is computed again in its gradient: kept are only the states that enter each
turn, and of those only the ones that the gradient reads, as stacked outputs of the forward node. An
If keeps nothing, since the branch not taken would have to make up values of unknown shapes. What is
drawn at random is an output of the forward node too, and read in the gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from toolkit.autodiff.registry import Vjp, vjp
from toolkit.autodiff.rules._draws import offer, read, require_repeatable
from toolkit.autodiff.rules._reverse import Input, Output, reverse
from toolkit.autodiff.sequences import add_sequences, empty, finish, is_sequence, loop, zeros_of
from toolkit.graph.build import Builder, arithmetic
from toolkit.graph.subgraphs import copy, prune

V = Any  # An ir.Value under `arithmetic`.
Found = dict[ir.Value, ir.Value]


@dataclass
class Transposed:
    """A copy of a body with its gradient appended.

    Attributes:
        b: writes into the copy.
        inputs: the copy's inputs.
        found: cotangents of those and of captured values, where a path leads to them.
        drawn: for each value that the body draws at random, what the copy reads instead.
    """

    b: Builder
    inputs: list[ir.Value]
    found: Found
    drawn: Found


def transpose(
    c: Vjp, body: ir.Graph, cotangents: Sequence[V | None], inputs: Sequence[int]
) -> Transposed:
    """Copy a body and differentiate the copy.

    Args:
        c: the node that holds it.
        body: the body.
        cotangents: of its outputs, None where zero.
        inputs: positions of the inputs to differentiate by, beside the captured values.
    """
    from toolkit.autodiff.backward import gradients

    graph, made = copy(body)
    drawn = read(body, made)
    formal = list(graph.inputs)
    wrt = [*(formal[i] for i in inputs), *c.captured]
    found = gradients(graph, list(graph.outputs), cotangents, wrt, c.functions)
    pairs = {v: d for v, d in zip(wrt, found, strict=True) if d is not None}
    return Transposed(Builder(graph), formal, pairs, drawn)


@vjp("If", all_outputs=True)
def if_(c: Vjp, condition: V) -> Any:
    """d captured = If(condition, that of the one branch, that of the other); zeros where none."""
    branches = {}
    for name in ("then_branch", "else_branch"):
        branches[name] = transpose(c, c.attr(name), c.cotangents, ())
    wanted = [v for v in c.captured if any(v in t.found for t in branches.values())]
    if not wanted:
        return {}
    graphs = {}
    for name, t in branches.items():
        with arithmetic(t.b):
            finish(t.b, [t.found[v] if v in t.found else zeros_of(t.b, v) for v in wanted])
        assert isinstance(t.b.graph, ir.Graph)
        prune(t.b.graph)
        for value, inner in t.drawn.items():
            if inner.uses():
                inner.replace_all_uses_with(_given(c, name, value))
        require_repeatable(c, t.b.graph)
        graphs[name] = ir.AttrGraph(name, t.b.graph)
    made = c.b.call("", "If", [condition], graphs, len(wanted))
    return dict(zip(wanted, [made] if len(wanted) == 1 else made, strict=True))


def _given(c: Vjp, name: str, value: ir.Value) -> ir.Value:
    """What one branch of an If drew as an output of the If; the other branch gives nothing."""
    for out, result in zip(c.attr(name).outputs, c.node.outputs, strict=True):
        made = out.producer()
        if made is not None and made.meta.get("saved") and made.inputs[0] is value:
            return result
    offer(c, value)
    assert value.dtype is not None
    for branch in ("then_branch", "else_branch"):
        b = Builder(c.attr(branch))
        nothing = [0] * (0 if value.shape is None else len(value.shape))
        kept = b.Identity(value if branch == name else b.zeros(b.ints(nothing), value.dtype))
        kept.producer().meta["saved"] = True
        c.attr(branch).outputs.append(kept)
    c.node.resize_outputs(len(c.node.outputs) + 1)
    result = c.node.outputs[-1]
    result.type = value.type
    if value.shape is not None:
        result.shape = ir.Shape([None] * len(value.shape))
    return result


@vjp("Loop", all_outputs=True)
def loop_(c: Vjp, *inputs: V) -> Any:
    """A reverse Scan over the turns that were made, as long as what was stacked in them."""
    count = len(c.node.inputs) - 2
    stacked = len(c.outputs) - count
    return reverse(
        c,
        states=[Input(2 + j, 2 + j) for j in range(count)],
        elements=[],
        results=[Output(1 + j, j) for j in range(count)],
        stacks=[Output(1 + j, j) for j in range(count, count + stacked)],
    )


@vjp("Scan", all_outputs=True)
def scan(c: Vjp, *inputs: V) -> Any:
    """A Scan the other way round; the scanned inputs are scanned again."""
    scanned = int(c.attr("num_scan_inputs"))
    count = len(c.node.inputs) - scanned
    stacked = len(c.outputs) - count
    in_axes = c.attr("scan_input_axes") or [0] * scanned
    in_directions = c.attr("scan_input_directions") or [0] * scanned
    out_axes = c.attr("scan_output_axes") or [0] * stacked
    out_directions = c.attr("scan_output_directions") or [0] * stacked
    return reverse(
        c,
        states=[Input(j, j) for j in range(count)],
        elements=[
            Input(count + k, count + k, int(in_axes[k]), int(in_directions[k]))
            for k in range(scanned)
        ],
        results=[Output(j, j) for j in range(count)],
        stacks=[
            Output(count + k, count + k, int(out_axes[k]), int(out_directions[k]))
            for k in range(stacked)
        ],
    )


@vjp("SequenceMap", all_outputs=True)
def sequence_map(c: Vjp, *inputs: V) -> Any:
    """A Loop over the items, each by the gradient of the body."""
    body = c.attr("body")
    arriving = [k for k, d in enumerate(c.cotangents) if d is not None]
    formal = {}
    for k in arriving:
        value = body.outputs[k]
        formal[k] = ir.Value(type=value.type, shape=value.shape)
    t = transpose(
        c, body, [formal.get(k) for k in range(len(c.cotangents))],
        [i for i in range(len(inputs)) if c.need(i)],
    )  # fmt: skip
    sources = {v: inputs[i] for i, v in enumerate(t.inputs)} | {v: v for v in c.captured}
    wanted = [v for v in sources if v in t.found]
    own = set(t.inputs)  # One item a turn where the input is a sequence.

    def listed(v: V) -> bool:
        return v in own and is_sequence(sources[v])

    first = [empty(c.b, sources[v]) if listed(v) else zeros_of(c.b, sources[v]) for v in wanted]

    def turn(b: Builder, index: V, states: Sequence[V]) -> Any:
        actual: dict[ir.Value, ir.Value | None] = {}
        for v in t.inputs:
            actual[v] = b.SequenceAt(sources[v], index) if is_sequence(sources[v]) else sources[v]
        for k in arriving:
            actual[formal[k]] = b.SequenceAt(c.cotangents[k], index)
        graph = t.b.graph
        assert isinstance(graph, ir.Graph)
        require_repeatable(c, graph)
        results = _write(b, graph, actual, [t.found[v] for v in wanted])
        new: list[V] = []
        for v, state, d in zip(wanted, states, results, strict=True):
            if listed(v):
                new.append(b.SequenceInsert(state, d))
            else:
                new.append(add_sequences(b, [state, d]) if is_sequence(v) else b.Add(state, d))
        return new, []

    lengths = next(v for v in inputs if is_sequence(v))
    made = loop(c.b, c.b.SequenceLength(lengths), first, turn) if wanted else []
    result: Found = {}
    for v, d in zip(wanted, made, strict=True):
        source = sources[v]
        result[source] = _sum(c.b, result[source], d) if source in result else d
    return result


def _sum(b: Builder, x: V, y: V) -> V:
    return add_sequences(b, [x, y]) if is_sequence(x) else b.Add(x, y)


def _write(
    b: Builder, graph: ir.Graph, actual: dict[ir.Value, ir.Value | None], results: Sequence[V]
) -> list[V]:
    """Move a graph's nodes to where `b` writes, its inputs replaced by actual values."""
    for formal, value in actual.items():
        assert value is not None
        formal.replace_all_uses_with(value)
    nodes = list(graph)
    graph.outputs.clear()
    for value in list(graph.initializers.values()):
        assert value.const_value is not None
        value.replace_all_uses_with(b.const(value.const_value.numpy()))
    graph.remove(nodes)
    for node in nodes:
        b.append(node)
    return [actual.get(v, v) for v in results]

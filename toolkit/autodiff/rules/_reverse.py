"""The gradient of a Loop or Scan: its turns from the last to the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from toolkit.autodiff.registry import Vjp
from toolkit.autodiff.rules._draws import offer, require_repeatable
from toolkit.autodiff.sequences import add_sequences, finish, is_sequence, zeros_of
from toolkit.graph.build import Builder, arithmetic, constant_of
from toolkit.graph.build_infer import known_dims
from toolkit.graph.subgraphs import copy, prune

V = Any  # An ir.Value under `arithmetic`.


@dataclass(frozen=True)
class Input:
    """An input of a body and the node's input that it comes from; how that is cut if scanned."""

    formal: int
    actual: int
    axis: int = 0
    direction: int = 0


@dataclass(frozen=True)
class Output:
    """An output of a body and the node's output that it becomes; how that is stacked."""

    inner: int
    outer: int
    axis: int = 0
    direction: int = 0


@dataclass
class Slices:
    """A tensor cut into turns, and the value of one turn inside the body."""

    whole: V
    formal: V
    axis: int
    direction: int


def reverse(
    c: Vjp,
    states: Sequence[Input],
    elements: Sequence[Input],
    results: Sequence[Output],
    stacks: Sequence[Output],
) -> dict[ir.Value, ir.Value]:
    """Cotangents of the inputs and captured values of a Loop or Scan.

    Carried from turn to turn are the cotangents of the states and the sums of those of captured
    values. Read are the stacked cotangents, the scanned inputs and the states that entered each
    turn.

    Args:
        c: the node.
        states: its loop-carried values, as inputs of the body.
        elements: its scanned inputs.
        results: its loop-carried values, as outputs of the body.
        stacks: its stacked outputs.
    """
    from toolkit.autodiff.rules.control_flow import transpose

    body = c.node.attributes["body"].as_graph()
    carried = _carried(c, body, states, elements, results, stacks)
    arriving = [s for s in stacks if c.cotangents[s.outer] is not None]
    cotangents: list[V] = [None] * len(body.outputs)
    for k in [*(results[j].inner for j in carried), *(s.inner for s in arriving)]:
        cotangents[k] = _formal(body.outputs[k])
    scanned = [e for e in elements if c.need(e.actual)]
    t = transpose(
        c, body, cotangents, [*(states[j].formal for j in carried), *(e.formal for e in scanned)]
    )
    cut = [e for e in scanned if t.inputs[e.formal] in t.found]
    summed = [v for v in c.captured if v in t.found]
    sums = [_formal(v) for v in summed]
    graph = t.b.graph
    assert isinstance(graph, ir.Graph)
    varying = any(_varies(c, body, states[j].formal) for j in carried)
    d_states = [cotangents[results[j].inner] for j in carried]
    with arithmetic(t.b):
        new = []
        for j, d in zip(carried, d_states, strict=True):
            formal = t.inputs[states[j].formal]
            like = formal if _varies(c, body, states[j].formal) else d
            new.append(t.found[formal] if formal in t.found else zeros_of(t.b, like))
        for v, total in zip(summed, sums, strict=True):
            both = [total, t.found[v]]
            new.append(add_sequences(t.b, both) if is_sequence(v) else t.b.Add(*both))
        new += [t.found[t.inputs[e.formal]] for e in cut]
        finish(t.b, new)
    prune(graph)
    require_repeatable(c, graph)
    slices = _kept(c, body, t.inputs, states, elements, t.drawn)
    slices += [
        Slices(c.cotangents[s.outer], cotangents[s.inner], s.axis, 1 - s.direction)
        for s in arriving
    ]
    if not slices:  # A Loop that reads nothing: the turns have to be counted.
        slices = [Slices(_stacked(c, [body.inputs[0]])[0], _formal(body.inputs[0]), 0, 1)]
    first = [_initial(c, states[j], results[j]) for j in carried]
    first += [zeros_of(c.b, v) for v in summed]
    axes = [(e.axis, 1 - e.direction) for e in cut]
    made = _emit(c, t.b, first, [*d_states, *sums], slices, axes, varying)
    sources = [*(c.inputs[states[j].actual] for j in carried), *summed]
    sources += [c.inputs[e.actual] for e in cut]
    return _gathered(c, sources, made)


def _gathered(c: Vjp, sources: Sequence[V], made: Sequence[V]) -> dict[ir.Value, ir.Value]:
    """One cotangent a value: an input may also be captured, or be given twice."""
    found: dict[ir.Value, ir.Value] = {}
    for value, d in zip(sources, made, strict=True):
        if value in found:
            old = found[value]
            d = add_sequences(c.b, [old, d]) if is_sequence(value) else c.b.Add(old, d)
        found[value] = d
    return found


def _formal(like: ir.Value) -> ir.Value:
    """An input of a body, of the type of a value."""
    return ir.Value(type=like.type, shape=None if like.shape is None else like.shape.copy())


def _carried(
    c: Vjp,
    body: ir.Graph,
    states: Sequence[Input],
    elements: Sequence[Input],
    results: Sequence[Output],
    stacks: Sequence[Output],
) -> list[int]:
    """The states that depend on what is wanted and on which a cotangent depends."""
    from toolkit.autodiff.backward import dependents, is_float

    nodes = list(body)
    active = {j for j, s in enumerate(states) if c.need(s.actual)}
    start = [*c.captured, *(body.inputs[e.formal] for e in elements if c.need(e.actual))]
    while True:
        after = dependents(nodes, [*start, *(body.inputs[states[j].formal] for j in active)])
        more = {j for j, r in enumerate(results) if body.outputs[r.inner] in after} | active
        if more == active:
            break
        active = more
    live = {j for j, r in enumerate(results) if c.cotangents[r.outer] is not None}
    ends = {body.outputs[s.inner] for s in stacks if c.cotangents[s.outer] is not None}
    while True:
        goal = ends | {body.outputs[results[j].inner] for j in live}
        more = live | {
            j
            for j, s in enumerate(states)
            if not goal.isdisjoint(dependents(nodes, [body.inputs[s.formal]]))
        }
        if more == live:
            break
        live = more
    return [
        j for j, s in enumerate(states) if j in active & live and is_float(body.inputs[s.formal])
    ]


def _kept(
    c: Vjp,
    body: ir.Graph,
    formal: Sequence[ir.Value],
    states: Sequence[Input],
    elements: Sequence[Input],
    drawn: Mapping[ir.Value, ir.Value],
) -> list[Slices]:
    """What the gradient of the body reads of the inputs of the body, and of what it drew."""
    slices = [
        Slices(c.inputs[e.actual], formal[e.formal], e.axis, 1 - e.direction)
        for e in elements
        if formal[e.formal].uses() or (e is elements[0])
    ]
    wanted = [s.formal for s in states if formal[s.formal].uses()]
    if c.node.op_type == "Loop":
        again = [k for k in wanted if _varies(c, body, k)]
        if again:
            _replay(c, formal, again)
            wanted = [k for k in wanted if k not in again]
        if formal[0].uses():
            wanted.insert(0, 0)
        if formal[1].uses():  # A turn is made only if this holds.
            graph = formal[1].graph
            assert graph is not None
            _always(graph, formal[1])
    pairs = [(body.inputs[k], formal[k]) for k in wanted]
    pairs += [(value, inner) for value, inner in drawn.items() if inner.uses()]
    wholes = _stacked(c, [value for value, _ in pairs])
    slices += [Slices(w, inner, 0, 1) for w, (_, inner) in zip(wholes, pairs, strict=True)]
    return slices


def _varies(c: Vjp, body: ir.Graph, k: int) -> bool:
    """Whether a state of a Loop cannot be stacked: a sequence, or of a changing shape."""
    if c.node.op_type != "Loop":
        return False
    formal, first = body.inputs[k], c.inputs[k]
    if not isinstance(formal.type, ir.TensorType):
        return True
    inside, before = known_dims(formal), known_dims(first)
    if before is None:
        return False
    if inside is None or len(inside) != len(before):
        return True
    # Inference widens to unnamed what a turn changes.
    return any(_named(b) and not _named(i) for i, b in zip(inside, before, strict=True))


def _named(dim: int | ir.SymbolicDim) -> bool:
    return isinstance(dim, int) or dim.value is not None


def _replay(c: Vjp, formal: Sequence[ir.Value], states: Sequence[int]) -> None:
    """States that cannot be stacked: the Loop once more in each turn, up to that turn."""
    graph = formal[0].graph
    assert graph is not None
    body, _ = copy(c.node.attributes["body"].as_graph())
    kept = list(body.outputs)[: len(c.node.inputs) - 1]
    finish(Builder(body), kept)
    prune(body)
    require_repeatable(c, body)
    operands = [formal[0], *c.node.inputs[1:]]
    redo = ir.Node("", "Loop", operands, [ir.AttrGraph("body", body)], num_outputs=len(kept) - 1)
    for value, inner in zip(redo.outputs, list(body.inputs)[2:], strict=True):
        value.type, value.shape = inner.type, None if inner.shape is None else inner.shape.copy()
    graph.insert_before(graph[0], redo)
    for k in states:
        formal[k].replace_all_uses_with(redo.outputs[k - 2])


def _always(graph: ir.Graph, value: ir.Value) -> None:
    """True in place of a value."""
    tensor = ir.tensor(np.array(True))
    node = ir.Node("", "Constant", (), [ir.AttrTensor("value", tensor)], num_outputs=1)
    node.outputs[0].type = ir.TensorType(ir.DataType.BOOL)
    node.outputs[0].shape = ir.Shape([])
    graph.insert_before(graph[0], node)
    value.replace_all_uses_with(node.outputs[0])


def _stacked(c: Vjp, values: Sequence[ir.Value]) -> list[ir.Value]:
    """Values that enter each turn, as stacked outputs of the node: it gets those it lacks."""
    if not values:
        return []
    node = c.node
    body = node.attributes["body"].as_graph()
    for value in values:
        offer(c, value)
    if c.fixed:  # It has run: once more, with these outputs.
        body, made = copy(body)
        values = [v for v in (made[value] for value in values) if v is not None]
        attributes = [a for a in node.attributes.values() if a.name != "body"]
        attributes.append(ir.AttrGraph("body", body))
        old = node
        node = ir.Node("", old.op_type, old.inputs, attributes, num_outputs=len(old.outputs))
        for value, like in zip(node.outputs, old.outputs, strict=True):
            value.type, value.shape = like.type, like.shape
        c.b.append(node)
    return [_stack(node, body, value) for value in values]


def _stack(node: ir.Node, body: ir.Graph, value: ir.Value) -> ir.Value:
    """One value of each turn as an output of the node, along axis 0 and in order."""
    offset = 1 if node.op_type == "Loop" else 0
    plain = "scan_output_axes" not in node.attributes
    plain = plain and "scan_output_directions" not in node.attributes
    for k, out in enumerate(body.outputs):
        made = out.producer()
        outer = k - offset
        stacks = outer >= len(node.inputs) - _scanned(node)
        if not stacks or made is None or made.op_type != "Identity" or made.inputs[0] is not value:
            continue
        if plain or made.meta.get("saved"):
            if node.outputs[outer].name == "":
                node.outputs[outer].name = None
            return node.outputs[outer]
    keep = ir.Node("", "Identity", [value], num_outputs=1)
    keep.meta["saved"] = True
    kept = keep.outputs[0]
    kept.type, kept.shape = value.type, None if value.shape is None else value.shape.copy()
    body.append(keep)
    body.outputs.append(kept)
    count = len(node.outputs)
    for name in ("scan_output_axes", "scan_output_directions"):
        if name in node.attributes:
            node.attributes[name] = ir.AttrInt64s(name, [*node.attributes[name].as_ints(), 0])
    node.resize_outputs(count + 1)
    result = node.outputs[count]
    result.name = f"{node.outputs[0].name or node.name or node.op_type}.{value.name or 'turn'}"
    result.type = value.type
    dims = known_dims(value)
    if dims is not None:
        result.shape = ir.Shape([ir.SymbolicDim(None), *dims])
    return result


def _scanned(node: ir.Node) -> int:
    """How many inputs are no loop-carried values."""
    return 2 if node.op_type == "Loop" else node.attributes["num_scan_inputs"].as_int()


def _initial(c: Vjp, state: Input, result: Output) -> V:
    """The cotangent of a state after the last turn."""
    d = c.cotangents[result.outer]
    if d is not None:
        return d
    last = c.outputs[result.outer]
    if last.name == "":
        if c.fixed:
            return zeros_of(c.b, c.inputs[state.actual])
        last.name = None
    return zeros_of(c.b, last)


def _emit(
    c: Vjp,
    inner: Builder,
    first: Sequence[V],
    carried: Sequence[V],
    slices: Sequence[Slices],
    cut: Sequence[tuple[int, int]],
    varying: bool,
) -> list[V]:
    """The node that runs the turns backwards: a Scan, or a Loop where a Scan cannot carry it."""
    body = inner.graph
    assert isinstance(body, ir.Graph)
    count = len(first) + len(cut)
    if not count:
        return []
    body.inputs.clear()
    if any(is_sequence(v) for v in first) or varying:
        return _emit_loop(c, inner, first, carried, slices, cut)
    body.inputs.extend([*carried, *(s.formal for s in slices)])
    attributes: dict[str, Any] = {
        "body": ir.AttrGraph("body", body),
        "num_scan_inputs": len(slices),
    }
    if any(s.axis for s in slices):
        attributes["scan_input_axes"] = [s.axis for s in slices]
    if any(axis for axis, _ in cut):
        attributes["scan_output_axes"] = [axis for axis, _ in cut]
    # Turned here, not by scan_input_directions, which onnx.reference does not take.
    operands = [*first, *(_flipped(c.b, s.whole, s.axis, s.direction) for s in slices)]
    if c.node.op_type == "Loop" and not _turns(c.node):
        return _emit_if_any(c.b, first, operands, attributes)
    made = c.b.call("", "Scan", operands, attributes, count)
    results = [made] if count == 1 else list(made)
    for k, (axis, direction) in enumerate(cut, start=len(first)):
        results[k] = _flipped(c.b, results[k], axis, direction)
    return results


def _flipped(b: Builder, x: V, axis: int, direction: int) -> V:
    """The turns in the order in which they are read."""
    if not direction:
        return x
    flipped = b.Slice(x, [-1], [np.iinfo(np.int64).min], [axis], [-1])
    flipped.shape = None if x.shape is None else x.shape.copy()
    return flipped


def _turns(node: ir.Node) -> bool:
    """Whether a Loop surely makes a turn."""
    known = [None if v is None else constant_of(v) for v in node.inputs[:2]]
    return all(
        v is None or (k is not None and bool(k > 0))
        for v, k in zip(node.inputs[:2], known, strict=True)
    )


def _emit_if_any(
    b: Builder, first: Sequence[V], operands: Sequence[V], attributes: dict[str, Any]
) -> list[V]:
    """The Scan in an If, where there may be no turn: onnxruntime scans no empty tensors."""
    graphs = {}
    for name in ("then_branch", "else_branch"):
        branch = ir.Graph([], [], nodes=[], opset_imports={"": 28}, name=name)
        inner = Builder(branch)
        if name == "then_branch":
            made = inner.call("", "Scan", operands, attributes, len(first))
            results = [made] if len(first) == 1 else list(made)
        else:
            results = list(first)
        finish(inner, results)
        graphs[name] = ir.AttrGraph(name, branch)
    some = b.Greater(b.Squeeze(b.dim(operands[-1], 0), [0]), b.const(np.int64(0)))
    made = b.call("", "If", [some], graphs, len(first))
    return [made] if len(first) == 1 else list(made)


def _emit_loop(
    c: Vjp,
    inner: Builder,
    first: Sequence[V],
    carried: Sequence[V],
    slices: Sequence[Slices],
    cut: Sequence[tuple[int, int]],
) -> list[V]:
    """As a Loop: a Scan carries no sequences and no changing shapes."""
    body = inner.graph
    assert isinstance(body, ir.Graph)
    b = c.b
    turns = b.Squeeze(b.dim(slices[0].whole, slices[0].axis), [0])
    turn = ir.Value(type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape([]))
    go = ir.Value(type=ir.TensorType(ir.DataType.BOOL), shape=ir.Shape([]))
    body.inputs.extend([turn, go, *carried])
    if len(body):
        inner.before = body[0]
    with arithmetic(inner):
        last = inner.Sub(inner.const(np.int64(-1)), turn)  # Counted from the end.
        for s in slices:
            element = inner.Gather(s.whole, last if s.direction else turn, axis=s.axis)
            s.formal.replace_all_uses_with(element, replace_graph_outputs=True)
        outputs = list(body.outputs)
        inner.before = None
        finish(inner, [inner.Identity(go), *outputs])
    count = len(first) + len(cut)
    made = b.call(
        "", "Loop", [turns, b.const(True), *first], {"body": ir.AttrGraph("body", body)}, count
    )
    results = [made] if count == 1 else list(made)
    for k, (axis, direction) in enumerate(cut, start=len(first)):
        results[k] = _laid(b, results[k], axis, direction)
    return results


def _laid(b: Builder, x: V, axis: int, direction: int) -> V:
    """What a Loop stacked, as a Scan would have."""
    x = _flipped(b, x, 0, direction)
    if axis:
        rank = len(x.shape)
        order = list(range(1, rank))
        order.insert(axis % rank, 0)
        x = b.Transpose(x, perm=order)
    return x

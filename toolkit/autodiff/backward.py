"""The reverse walk: gradients of a graph as more nodes of the same graph.

Only nodes on a path from `wrt` to `outputs` are differentiated, a zero cotangent is never
materialised, and broadcasting is undone here, once for all rules. Nothing is executed here.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import onnx_ir as ir

from toolkit.autodiff.recompute import Recompute
from toolkit.autodiff.registry import GRAD, Entry, Vjp, find, operators
from toolkit.autodiff.sequences import add_sequences, is_sequence
from toolkit.errors import InvalidArgumentError, UnsupportedOperatorError
from toolkit.graph.build import Builder, arithmetic, known_dims, mark_variable
from toolkit.graph.build_infer import Dims, same_dim
from toolkit.graph.passes.common_subexpressions import node_key
from toolkit.graph.subgraphs import captured, prune, reads, unique_names
from toolkit.graph.walk import subgraphs

Functions = Mapping[tuple[str, str, str], ir.Function]

_FLOATS = frozenset(
    {ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16}
)
# Stored values: their cotangents are of the type that arithmetic around them has.
_NARROW = frozenset(
    {ir.DataType.FLOAT8E4M3FN, ir.DataType.FLOAT8E4M3FNUZ, ir.DataType.FLOAT8E5M2}
    | {ir.DataType.FLOAT8E5M2FNUZ, ir.DataType.FLOAT4E2M1}
    | {ir.DataType.FLOAT6E2M3, ir.DataType.FLOAT6E3M2}
)
# Integers that stand for numbers, by which a straight-through gradient passes, and what moves them.
_QUANTIZERS = frozenset({"QuantizeLinear", "DynamicQuantizeLinear"})
_MOVERS = frozenset({"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"})


def gradients(
    graph: ir.Graph,
    outputs: Sequence[ir.Value],
    cotangents: Sequence[ir.Value | None],
    wrt: Sequence[ir.Value],
    functions: Functions | None = None,
    fixed: bool = False,
    outer: Sequence[ir.Graph] = (),
) -> list[ir.Value | None]:
    """Append the nodes that compute vector-Jacobian products to `graph`.

    Args:
        graph: holds the nodes between `wrt` and `outputs`, in topological order, with element types
            known, and ranks where a rule needs them.
        outputs: values to differentiate.
        cotangents: for each output a value of its shape and type, None for zero.
        wrt: values to differentiate by: inputs, initializers or values in between.
        functions: model-local functions, for nodes that call them.
        fixed: the forward nodes have run already, so none of them can be given another output.
        outer: the graphs around `graph`, outermost first, that hold some of the nodes.

    Returns:
        For each value in `wrt` its cotangent, of its shape and type, or None where no path leads
        from it to an output.

    Raises:
        UnsupportedOperatorError: a gradient must pass an operator that has no rule and no body.
        InvalidArgumentError: outputs and cotangents differ in number.
    """
    if len(outputs) != len(cotangents):
        raise InvalidArgumentError(
            f"gradients: one cotangent for each output is required, got {len(cotangents)} for "
            f"{len(outputs)} outputs."
        )
    for value in wrt:
        if value.producer() is None:
            mark_variable(value)  # Nothing may be computed ahead from what is to be learned.
    nodes, before = ancestor_nodes(graph, outputs, outer), len(graph)
    walk = _Walk(Builder(graph), functions or {}, fixed)
    with arithmetic(walk.b):
        found = walk.run(nodes, outputs, cotangents, wrt)
    walk.again.prune()
    results = _tidied(graph, _appended(graph, before), [found.get(value) for value in wrt])
    unique_names(graph)
    return results


def _appended(graph: ir.Graph | ir.Function, before: int) -> list[ir.Node]:
    """The nodes that came after the first ones."""
    return list(islice(reversed(graph), len(graph) - before))[::-1]


def _tidied(
    graph: ir.Graph, nodes: Sequence[ir.Node], results: Sequence[ir.Value | None]
) -> list[ir.Value | None]:
    """The results without what contributes to none of them, and with nothing computed twice."""
    prune(graph, nodes, {v for v in results if v is not None})
    first: dict[Any, ir.Node] = {}
    same: dict[ir.Value, ir.Value] = {}
    for node in nodes:
        key = node_key(node) if node.graph is graph else None
        if key is None or first.setdefault(key, node) is node:
            continue
        for old, new in zip(node.outputs, first[key].outputs, strict=True):
            old.replace_all_uses_with(new)
            same[old] = new
        graph.remove(node, safe=True)
    return [None if v is None else same.get(v, v) for v in results]


def ancestor_nodes(
    graph: ir.Graph, outputs: Sequence[ir.Value], outer: Sequence[ir.Graph] = ()
) -> list[ir.Node]:
    """The nodes that `outputs` need, in the order of the graph and of those around it."""
    seen: set[ir.Node] = set()
    stack = list(outputs)
    while stack:
        node = stack.pop().producer()
        if node is not None and node not in seen:
            seen.add(node)
            stack.extend(reads(node))
    return [node for part in (*outer, graph) for node in part if node in seen]


def is_float(value: ir.Value | None) -> bool:
    """Whether a gradient can exist for `value`."""
    return value is not None and value.dtype in _FLOATS


class _Walk:
    def __init__(self, b: Builder, functions: Functions, fixed: bool) -> None:
        self.b = b
        self.functions = functions
        self.fixed = fixed
        self.again = Recompute(b)

    def run(
        self,
        nodes: Sequence[ir.Node],
        outputs: Sequence[ir.Value],
        cotangents: Sequence[ir.Value | None],
        wrt: Iterable[ir.Value],
    ) -> dict[ir.Value, ir.Value]:
        """The reverse walk over `nodes`; cotangents of those of `wrt` that are reached."""
        wanted = [v for v in wrt if is_float(v)]
        active = dependents(nodes, wanted)
        pending: dict[ir.Value, list[ir.Value]] = {}
        self.again.add(nodes)
        for value, cotangent in zip(outputs, cotangents, strict=True):
            if cotangent is not None and value in active:
                pending.setdefault(value, []).append(cotangent)
        for node in reversed(nodes):
            if not any(v in pending for v in node.outputs):
                continue
            if not any(v in active for v in reads(node)):
                continue
            arriving = tuple(self._total(pending, v) for v in node.outputs)
            for value, cotangent in self._differentiate(
                self.again.node(node, active), arriving, active
            ):
                pending.setdefault(self.again.original(value), []).append(cotangent)
        found = {v: self._total(pending, v) for v in wanted}
        return {v: d for v, d in found.items() if d is not None}

    def _total(self, pending: dict[ir.Value, list[ir.Value]], value: ir.Value) -> ir.Value | None:
        """The sum of the cotangents that arrived at `value`, kept as its only one."""
        parts = pending.get(value)
        if not parts:
            return None
        if len(parts) > 1:
            if is_sequence(value):
                total = add_sequences(self.b, parts)
            else:
                total = self.b.Add(*parts) if len(parts) == 2 else self.b.Sum(*parts)
            pending[value] = [_like(total, value)]
        return pending[value][0]

    def _differentiate(
        self, node: ir.Node, arriving: tuple[ir.Value | None, ...], active: set[ir.Value]
    ) -> Iterable[tuple[ir.Value, ir.Value]]:
        """The contributions of one node to the cotangents of its inputs."""
        entry = find(node.domain, node.op_type)
        inputs = tuple(node.inputs)
        c = Vjp(
            self.b, node, inputs, tuple(node.outputs), arriving,
            tuple(v is not None and v in active for v in inputs), self.fixed,
            _captured(node, active), self.functions,
        )  # fmt: skip
        if entry is not None and entry.rule is None:
            return []
        if entry is None or entry.rule is None:
            return self._through_body(c, active)
        if arriving[0] is None and not entry.all_outputs:
            return []
        result = entry.rule(c, *inputs)
        if result is NotImplemented:
            return self._through_body(c, active)
        if isinstance(result, dict):  # Control flow: cotangents of captured values too.
            return [(v, _like(d, v)) for v, d in result.items() if is_float(v)]
        results = result if isinstance(result, tuple) else (result,)
        return self._settle(c, entry, results)

    def _settle(
        self,
        c: Vjp,
        entry: Entry,
        results: Sequence[ir.Value | Callable[[], ir.Value | None] | None],
    ) -> list[tuple[ir.Value, ir.Value]]:
        """A rule's results brought to the shapes and types of the inputs."""
        settled = []
        for i, (value, result) in enumerate(zip(c.inputs, results, strict=False)):
            if value is None or not c.need(i):
                continue
            cotangent = result() if callable(result) else result
            if cotangent is None:
                continue
            if entry.broadcasts:
                dims = known_dims(cotangent)
                cotangent = sum_to_shape(
                    self.b, cotangent, known_dims(c.y) if dims is None else dims, value
                )
            assert value.dtype is not None
            if is_float(value):
                cotangent = self.b.cast(cotangent, value.dtype)
            settled.append((value, _like(cotangent, value)))
        return settled

    def _through_body(self, c: Vjp, active: set[ir.Value]) -> list[tuple[ir.Value, ir.Value]]:
        """Write a copy of the node's function body and walk that."""
        from toolkit.graph.inline import body_of, emit

        function = body_of(c.node, self.functions)
        if function is None:
            raise _unsupported(c.node)
        start = len(self.b.graph)
        results = emit(self.b, function, c.inputs, c.node.attributes)
        nodes = _appended(self.b.graph, start)
        wrt = list(dict.fromkeys(v for v in reads(c.node) if v in active))
        pairs = [
            (value, cotangent)
            for value, cotangent in zip(results, c.cotangents, strict=False)
            if value is not None and cotangent is not None
        ]
        fixed, self.fixed = self.fixed, False
        found = self.run(nodes, [p[0] for p in pairs], [p[1] for p in pairs], wrt)
        self.fixed = fixed
        return list(found.items())


def _captured(node: ir.Node, active: set[ir.Value]) -> tuple[ir.Value, ...]:
    """The outer values that a node's subgraphs read and that may carry a gradient."""
    found = {v: None for graph in subgraphs(node) for v in captured(graph) if v in active}
    return tuple(found)


def dependents(nodes: Sequence[ir.Node], wrt: Sequence[ir.Value]) -> set[ir.Value]:
    """The values that depend on `wrt` and may carry a gradient, themselves included."""
    active = set(wrt)
    for node in nodes:
        if node.meta.get("stop_gradient"):  # Traced from `detach` or under `no_grad`.
            continue
        if any(v in active for v in reads(node)):
            stands = node.domain == "" and (
                node.op_type in _QUANTIZERS
                or (node.op_type in _MOVERS and not is_float(node.inputs[0]))
            )
            active.update(
                v
                for k, v in enumerate(node.outputs)
                if is_float(v) or v.dtype is None or v.dtype in _NARROW or (stands and k == 0)
            )
    return active


def _like(cotangent: ir.Value, value: ir.Value) -> ir.Value:
    """A cotangent has the shape of its value: note it where the builder could not tell."""
    if value.shape is not None and cotangent.shape is None:
        cotangent.shape = ir.Shape(value.shape.dims)
    return cotangent


def sum_to_shape(b: Builder, dy: ir.Value, dims: Dims | None, like: ir.Value) -> ir.Value:
    """Sum `dy` over the axes along which `like` was broadcast to it.

    Axes are constants wherever each dimension of `like` is a number or provably that of `dy`; else
    toolkit.grad.SumToShape decides at run time.

    Args:
        b: writes the nodes.
        dy: the cotangent.
        dims: its dimensions, None if unknown.
        like: the value whose shape the result takes.
    """
    target = known_dims(like)
    if dims is None or target is None:
        return b.call(GRAD, "SumToShape", [dy, b.shape(like)])  # type: ignore[no-any-return]
    lead = len(dims) - len(target)
    stretched = []
    for i, want in enumerate(target):
        have = dims[lead + i]
        if same_dim(want, have):
            continue
        if want == 1:
            stretched.append(lead + i)
        elif not isinstance(want, int):
            return b.call(GRAD, "SumToShape", [dy, b.shape(like)])  # type: ignore[no-any-return]
    if lead and stretched:
        dy = b.ReduceSum(dy, [*range(lead), *stretched], keepdims=0)
        return b.Unsqueeze(dy, [i - lead for i in stretched])  # type: ignore[no-any-return]
    if lead:
        return b.ReduceSum(dy, list(range(lead)), keepdims=0)  # type: ignore[no-any-return]
    return b.ReduceSum(dy, stretched, keepdims=1) if stretched else dy


def _unsupported(node: ir.Node) -> UnsupportedOperatorError:
    name = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
    known = sorted({op for domain, op in operators() if domain == node.domain})
    near = difflib.get_close_matches(node.op_type, known, n=1)
    hint = f" The nearest operator with a rule is {near[0]}." if near else ""
    return UnsupportedOperatorError(
        f"{name} '{node.name}': a gradient rule or a function body is required, got neither.{hint}"
    )

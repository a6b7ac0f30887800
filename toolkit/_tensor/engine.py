"""`backward`: the tape's records become a gradient program, compiled once for each structure.

Tensors with hooks, retained gradients and custom functions cut the tape into segments; each segment
is one program. A segment's structure (operators, connections, element types, shapes) is the key of
the cache, so a training loop builds no graph from its second step on.
"""

from __future__ import annotations

from typing import Any

from toolkit._tensor import anomaly, pieces, segments
from toolkit._tensor.base import TensorBase, wrap
from toolkit._tensor.consts import scalar
from toolkit._tensor.promote import cast
from toolkit._tensor.segments import Edge
from toolkit._tensor.state import STATE
from toolkit._tensor.tape import MODE, FunctionRecord, Leaf, Record
from toolkit.errors import InvalidArgumentError, ShapeError
from toolkit.ops.dispatch import apply2, handle

_ADD = handle("Add")


def _as_tuple(x: Any) -> tuple[Any, ...]:
    return (x,) if isinstance(x, TensorBase) else tuple(x)


def _roots(tensors: tuple[Any, ...], given: Any) -> list[tuple[Edge, Any]]:
    """The edges that the walk starts from, with their cotangents."""
    from toolkit._tensor.factories import ones_like

    if STATE.trace is not None:
        raise InvalidArgumentError(
            "backward: eager mode is required, got a trace. Take gradients of a traced graph by "
            "toolkit.autodiff or TrainStep."
        )
    cotangents = (None,) * len(tensors) if given is None else (
        (given,) if isinstance(given, TensorBase) else tuple(given))  # fmt: skip
    if len(cotangents) != len(tensors):
        raise InvalidArgumentError(
            f"backward: one gradient for each of the {len(tensors)} tensors is required, got "
            f"{len(cotangents)}."
        )
    roots = []
    for i, (t, ct) in enumerate(zip(tensors, cotangents, strict=True)):
        if not t.requires_grad:
            raise InvalidArgumentError(
                f"element {i} of tensors does not require grad and does not have a grad_fn"
            )
        if ct is None:
            if t._value.size != 1:
                raise InvalidArgumentError("grad can be implicitly created only for scalar outputs")
            ct = ones_like(t) if t._value.ndim else wrap(scalar(1, t._value.dtype)._value.clone())
        elif ct.shape != t.shape:
            raise ShapeError(
                f"Mismatch in shape: grad_output[{i}] has a shape of {ct.shape} and output[{i}] "
                f"has a shape of {t.shape}."
            )
        elif ct._value.dtype != t._value.dtype:
            ct = cast(ct, t._value.dtype)
        roots.append(((t._node, t._out), ct))
    return roots


def run_backward(
    tensors: Any, gradients: Any, retain_graph: bool | None, create_graph: bool, inputs: Any
) -> None:
    """See `toolkit.autograd.backward`."""
    only = None if inputs is None else {_edge(t) for t in _as_tuple(inputs)}
    walk = _Walk(create_graph, only)
    found = walk.run(_roots(_as_tuple(tensors), gradients))
    for (node, slot), grad in found.items():
        if isinstance(node, Leaf):
            t = node.tensor()
            if t is not None:
                _accumulate(t, grad, create_graph)
                if node.after:
                    _call(node.after, t, create_graph)
        elif only is not None:
            for t in _as_tuple(inputs):
                if _edge(t) == (node, slot):
                    _accumulate(t, grad, create_graph)
    if not (create_graph if retain_graph is None else retain_graph):
        walk.free()


def run_grad(
    outputs: Any, inputs: Any, given: Any, retain_graph: bool | None, create_graph: bool,
    allow_unused: bool, materialize: bool,
) -> tuple[Any, ...]:  # fmt: skip
    """See `toolkit.autograd.grad`."""
    targets = _as_tuple(inputs)
    for t in targets:
        if not t.requires_grad:
            raise InvalidArgumentError("One of the differentiated Tensors does not require grad")
    edges = [_edge(t) for t in targets]
    walk = _Walk(create_graph, set(edges))
    found = walk.run(_roots(_as_tuple(outputs), given))
    if not (create_graph if retain_graph is None else retain_graph):
        walk.free()
    results: list[Any] = []
    for t, edge in zip(targets, edges, strict=True):
        grad = found.get(edge)
        if grad is None:
            if materialize:
                grad = t.new_zeros(t.shape)
            elif not allow_unused:
                raise InvalidArgumentError(
                    "One of the differentiated Tensors appears to not have been used in the graph. "
                    "Set allow_unused=True if this is the desired behavior."
                )
        results.append(grad)
    return tuple(results)


def pull(pairs: list[tuple[Any, Any]], edges: list[Edge], create_graph: bool) -> list[Any]:
    """Gradients at edges of the tape, None where there is none; the walk ends there.

    Args:
        pairs: outputs that require a gradient, with their cotangents.
        edges: where the gradients are wanted.
        create_graph: the gradients are going to be differentiated.
    """
    if not pairs:
        return [None] * len(edges)
    walk = _Walk(create_graph, set(edges), stop=True)
    found = walk.run(_roots(tuple(y for y, _ in pairs), tuple(ct for _, ct in pairs)))
    return [found.get(e) for e in edges]


def _edge(t: Any) -> Edge:
    if not t.requires_grad:
        raise InvalidArgumentError("One of the differentiated Tensors does not require grad")
    return (t._node, t._out)


def _accumulate(t: Any, grad: Any, create_graph: bool) -> None:
    if t._grad is None:
        t._grad = grad if create_graph else wrap(grad._value)
        return
    if create_graph:
        t._grad = t._grad + grad
        return
    own, new = t._grad, grad._value
    before, STATE.grad = STATE.grad, False
    try:
        if (
            own._base is own._node is STATE.journal is None
            and not own._shared
            and (own._value.dtype == new.dtype and own._value.shape == new.shape)
        ):
            own._value = apply2(_ADD, own, grad)._value
            own._version += 1
        else:
            own.add_(grad)
    finally:
        STATE.grad = before


def _call(hooks: dict[int, Any], t: Any, create_graph: bool) -> None:
    before, STATE.grad = STATE.grad, create_graph
    try:
        for hook in list(hooks.values()):
            hook(t)
    finally:
        STATE.grad = before


def _slot(edge: Edge) -> int:
    return edge[1]


class _Walk:
    """One backward pass: edges with known cotangents, latest first."""

    def __init__(self, create_graph: bool, only: set[Edge] | None, stop: bool = False) -> None:
        self.create_graph = create_graph
        self.stop = stop  # Nothing is wanted beyond a wanted edge.
        self.only = only  # The wanted edges; None: all leaves.
        self.visited: set[Record] = set()
        self.found: dict[Edge, Any] = {}
        self.pending: dict[Edge, Any] = {}

    def run(self, roots: list[tuple[Edge, Any]]) -> dict[Edge, Any]:
        """The cotangents of the wanted edges."""
        before, STATE.grad = STATE.grad, self.create_graph
        try:
            for edge, ct in roots:
                self._add(self.pending, edge, ct)
            order, cuts = segments.collect([n for n, _ in self.pending], self.only)
            self.visited.update(order)
            if MODE.anomaly:
                inner = {e for r in order for e in zip(r.nodes, r.slots, strict=True) if e[0]}
                self._watched(inner | set(self.pending))
            elif not cuts:
                self._segment(self.pending, order, cuts)
            else:
                while self.pending:
                    edge = max(self.pending, key=lambda e: e[0].seq)
                    self._step(edge, self.pending.pop(edge), cuts)
            self._leaf_hooks()
        finally:
            STATE.grad = before
        return self.found

    def _watched(self, cuts: set[Edge]) -> None:
        """Record by record, for anomaly detection."""
        while self.pending:
            edge = max(self.pending, key=lambda e: e[0].seq)
            ct = self.pending.pop(edge)
            if isinstance(edge[0], Leaf):
                self._step(edge, ct, cuts)
                continue
            try:
                made = self._step(edge, ct, cuts)
            except Exception as error:
                anomaly.explain(error, edge[0])
                raise
            if MODE.check_nan:
                anomaly.check(edge[0], made)

    def free(self) -> None:
        """Drops the values of the tape that was walked."""
        for record in self.visited:
            record.free()

    def _add(self, into: dict[Edge, Any], edge: Edge, ct: Any) -> None:
        into[edge] = into[edge] + ct if edge in into else ct

    def _step(self, edge: Edge, ct: Any, cuts: set[Edge]) -> list[tuple[Edge, Any]]:
        """Goes on from an edge to the next ones; their gradients."""
        node, slot = edge
        if isinstance(node, Leaf):
            self._add(self.found, edge, ct)
            return []
        for hook in list(((node.hooks or {}).get(slot) or {}).values()):
            result = hook(ct)
            ct = ct if result is None else result
        if node.retain and slot in node.retain:
            t = node.retain[slot]()
            if t is not None:
                _accumulate(t, ct, self.create_graph)
        if self.only is not None and edge in self.only:
            self._add(self.found, edge, ct)
            if self.stop:
                return []
        if isinstance(node, FunctionRecord):
            return self._function(node, slot, ct)
        order, _ = segments.collect([node], self.only, cuts)
        return self._segment({edge: ct}, order, cuts)

    def _function(self, node: FunctionRecord, slot: int, ct: Any) -> list[tuple[Edge, Any]]:
        cts: list[Any] = [None] * len(node.outputs)
        cts[slot] = ct
        for other in [e for e in self.pending if e[0] is node]:
            cts[other[1]] = self.pending.pop(other)
        made = node.backward(cts)
        for e, grad in made:
            if not isinstance(e[0], Leaf):
                self._add(self.pending, e, grad)
            elif self.only is None or e in self.only:
                self._add(self.found, e, grad)
        return made

    def _segment(
        self, roots: dict[Edge, Any], order: list[Record], cuts: set[Edge]
    ) -> list[tuple[Edge, Any]]:
        leaves = {e: ct for e, ct in roots.items() if isinstance(e[0], Leaf)}
        for e, ct in leaves.items():
            if self.only is None or e in self.only:
                self._add(self.found, e, ct)
        inner = {e: ct for e, ct in roots.items() if e not in leaves}
        if not inner:
            return []
        if len(order) > pieces.LONG and self.only is None and not self.create_graph:
            made = self._in_pieces(inner, order, cuts)
        else:
            segment = segments.Segment(order, list(inner), cuts, self.only)
            made = segment.run(list(inner.values()), self.create_graph)
        for e, grad in made:
            self._add(self.found if isinstance(e[0], Leaf) else self.pending, e, grad)
        if self.pending is roots:
            self.pending = {}
        return made

    def _in_pieces(
        self, known: dict[Edge, Any], order: list[Record], cuts: set[Edge]
    ) -> list[tuple[Edge, Any]]:
        """A long tape piece by piece, the last first."""
        made: list[tuple[Edge, Any]] = []
        waiting: dict[Any, dict[Edge, Any]] = {}

        def arrive(edge: Edge, ct: Any) -> None:
            self._add(waiting.setdefault(edge[0], {}), edge, ct)

        for edge, ct in known.items():
            arrive(edge, ct)
        for piece in reversed(pieces.split(order)):
            roots = {}
            for record in piece:
                slots = waiting.pop(record, {})
                roots.update({e: slots[e] for e in sorted(slots, key=_slot)})
            if not roots:
                continue
            segment = segments.Segment(piece, list(roots), cuts, None)
            for edge, grad in segment.run(list(roots.values()), False):
                if isinstance(edge[0], Leaf) or edge in cuts:
                    made.append((edge, grad))
                else:
                    arrive(edge, grad)
        return made

    def _leaf_hooks(self) -> None:
        for edge, ct in self.found.items():
            node = edge[0]
            if isinstance(node, Leaf) and node.hooks:
                for hook in list(node.hooks.values()):
                    result = hook(ct)
                    ct = ct if result is None else result
                self.found[edge] = ct

"""Checkpoints: nodes whose values are computed again for the backward pass instead of kept.

A node's `meta[CHECKPOINT]` names the segments that it lies in, outermost first. When the reverse
walk reaches a segment, it writes a copy of the segment's nodes and differentiates that: cotangents
arrive in the same order as without, and what the rules read is the copy.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

from toolkit.graph.build import RECOMPUTED, Builder
from toolkit.graph.subgraphs import copy_node

CHECKPOINT = "toolkit.checkpoint"  # Key of `ir.Node.meta`.

# What another call would draw or make anew, and what costs nothing to keep.
_KEPT = frozenset(
    {"Constant", "RandomUniform", "RandomNormal", "RandomUniformLike", "RandomNormalLike"}
    | {"Bernoulli", "Multinomial", "Dropout"}
)

Path = tuple[object, ...]


def mark(nodes: Iterable[ir.Node], segment: object) -> None:
    """Says that nodes lie in a segment, inside of which theirs so far are."""
    for node in nodes:
        node.meta[CHECKPOINT] = (segment, *node.meta.get(CHECKPOINT, ()))


class Recompute:
    """The copies of one reverse walk."""

    def __init__(self, b: Builder) -> None:
        self.b = b
        self._nodes: dict[Path, list[ir.Node]] = {}
        self._values: dict[Path, dict[ir.Value, ir.Value | None]] = {}
        self._copies: dict[Path, dict[ir.Node, ir.Node]] = {}
        self._original: dict[ir.Value, ir.Value] = {}
        self._made: list[ir.Node] = []

    def add(self, nodes: Iterable[ir.Node]) -> None:
        """Makes known the nodes that a walk goes over, in their order."""
        for node in nodes:
            path = node.meta.get(CHECKPOINT, ())
            for depth in range(1, len(path) + 1):
                self._nodes.setdefault(path[:depth], []).append(node)

    def node(self, node: ir.Node, active: set[ir.Value]) -> ir.Node:
        """The node to differentiate: itself, or its copy, whose values join `active`."""
        path = node.meta.get(CHECKPOINT, ())
        if not path:
            return node
        if path not in self._copies:
            self._copy(path, active)
        return self._copies[path].get(node, node)

    def original(self, value: ir.Value) -> ir.Value:
        """The value that a copy's value stands for."""
        return self._original.get(value, value)

    def prune(self) -> None:
        """Removes copies that nothing reads."""
        for node in reversed(self._made):
            if not any(v.uses() or v.is_graph_output() for v in node.outputs):
                assert node.graph is not None
                node.graph.remove(node, safe=True)

    def _copy(self, path: Path, active: set[ir.Value]) -> None:
        """Writes the nodes of a segment again; those inside another one from its copies."""
        outer = path[:-1]
        if outer and outer not in self._copies:
            self._copy(outer, active)
        values: dict[ir.Value, ir.Value | None] = dict(self._values.get(outer, {}))
        copies = self._copies.setdefault(path, {})
        for node in self._nodes[path]:
            if not node.domain and node.op_type in _KEPT:
                continue
            made = copy_node(node, values)
            made.meta.pop(CHECKPOINT, None)
            made.metadata_props[RECOMPUTED] = str(len(self._copies))
            self.b.append(made)
            self._made.append(made)
            copies[node] = made
            for old, new in zip(node.outputs, made.outputs, strict=True):
                if old.name == "":
                    continue
                values[old] = new
                self._original[new] = old
                if old in active:
                    active.add(new)
        self._values[path] = values

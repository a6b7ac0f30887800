"""The nodes of one program as passes see and replace them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from toolkit.graph.edit import constant_of
from toolkit.runtime import subgraphs

DOMAIN = "toolkit.fused"
RANDOM = frozenset(
    {"RandomUniform", "RandomNormal", "RandomUniformLike", "RandomNormalLike", "Bernoulli"}
    | {"Multinomial", "Dropout"}
)  # Each call gives other values: never run ahead of time.


@dataclass(eq=False)
class FusedNode:
    """A node that exists in a program only. Its outputs may be values of the graph."""

    op_type: str
    inputs: Sequence[ir.Value | None]
    outputs: Sequence[ir.Value]
    attributes: Mapping[str, Any] = field(default_factory=dict)  # As the core takes them.
    name: str = ""
    domain: str = DOMAIN


Node = ir.Node | FusedNode


class Region:
    """Nodes in order, who reads a value, and what is known about values.

    Args:
        nodes: of one graph or function body, in an order in which they can run.
        wanted: values that are read from outside.
        fed: values whose contents are not known before the run, initializers among them.
    """

    def __init__(
        self, nodes: Iterable[ir.Node], wanted: Iterable[ir.Value], fed: Collection[ir.Value]
    ) -> None:
        self.nodes: list[Node] = list(nodes)
        self.wanted = frozenset(wanted)
        self.fed = fed
        self._constant: dict[ir.Value, bool] = {}
        self.index()

    def index(self) -> None:
        """Reads producers and readers off the list of nodes anew."""
        self._producers: dict[ir.Value, Node] = {}
        self._readers: dict[ir.Value, list[Node]] = {}
        for node in self.nodes:
            for value in node.outputs:
                self._producers[value] = node
            inner = subgraphs.captured(node) if isinstance(node, ir.Node) else ()
            for used in (*node.inputs, *inner):
                if used is not None:
                    self._readers.setdefault(used, []).append(node)

    def producer(self, value: ir.Value | None) -> Node | None:
        """The node of this region that makes `value`."""
        return None if value is None else self._producers.get(value)

    def readers(self, value: ir.Value) -> list[Node]:
        """The nodes that read `value`, once for each use."""
        return self._readers.get(value, [])

    def is_private(self, value: ir.Value) -> bool:
        """Whether one node alone reads `value`, once."""
        return value not in self.wanted and len(self.readers(value)) == 1

    def is_constant(self, value: ir.Value | None) -> bool:
        """Whether the program knows `value` before it runs."""
        if value is None:
            return True
        if value not in self._constant:
            self._constant[value] = self._find_constant(value)
        return self._constant[value]

    def _find_constant(self, value: ir.Value) -> bool:
        if value in self.fed:
            return False
        if value.const_value is not None:
            return True
        node = self._producers.get(value)
        if node is None or node.op_type in RANDOM or node.domain == "toolkit.random":
            return False
        return not isinstance(node, FusedNode) and all(self.is_constant(v) for v in node.inputs)

    def number(self, value: ir.Value | None) -> float | None:
        """The number that a constant of one element holds."""
        array = self.array(value)
        if array is None or array.size != 1 or array.dtype.kind not in "fiu":
            return None
        return float(array.reshape(()))

    def array(self, value: ir.Value | None) -> np.ndarray[Any, Any] | None:
        """The contents of an initializer or a Constant node."""
        if value is None or value in self.fed:
            return None
        return constant_of(value)

    def replace(self, old: Collection[Node], new: FusedNode) -> None:
        """Puts `new` where the last of `old` stands, which goes with the others."""
        gone = set(map(id, old))
        at = max(i for i, n in enumerate(self.nodes) if id(n) in gone)
        self.nodes[at] = new
        self.nodes = [n for n in self.nodes if id(n) not in gone]
        self.index()


def same_shape(a: ir.Value, b: ir.Value) -> bool:
    """Whether two values certainly have one shape: the same numbers and symbols."""
    if a.shape is None or b.shape is None or len(a.shape) != len(b.shape):
        return False
    return all(
        x == y and (isinstance(x, int) or x.value is not None)
        for x, y in zip(a.shape, b.shape, strict=True)
    )

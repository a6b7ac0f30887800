"""The nodes of one program as passes see and replace them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from toolkit.graph.edit import constant_of
from toolkit.runtime import subgraphs
from toolkit.runtime.constants import native_attributes

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


@dataclass
class Caches:
    """Keys and values that a program keeps in memory with room, and appends to.

    Attributes:
        presents: by the input that is a past, the value with the new keys behind it.
        length: an input that is how much of the memory is past.
        taken: pasts that are appended in place; who asks for caches wants all of them here.
        step: how many keys a run appends: a number or the name of a dimension.
    """

    presents: Mapping[ir.Value, ir.Value]
    length: ir.Value
    taken: set[ir.Value] = field(default_factory=set)
    step: int | str | None = None


class Region:
    """Nodes in order, who reads a value, and what is known about values.

    Args:
        nodes: of one graph or function body, in an order in which they can run.
        wanted: values that are read from outside.
        fed: values whose contents are not known before the run, initializers among them.
        caches: what the program may append to in place.
    """

    def __init__(
        self,
        nodes: Iterable[ir.Node],
        wanted: Iterable[ir.Value],
        fed: Collection[ir.Value],
        caches: Caches | None = None,
    ) -> None:
        self._slots: list[Node | None] = list(nodes)
        self.wanted = frozenset(wanted)
        self.fed = fed
        self.caches = caches
        self.sizes: dict[ir.Value, Any] = {}  # What `dims` found.
        self._constant: dict[ir.Value, bool] = {}
        self._place = {id(n): i for i, n in enumerate(self._slots)}
        self._producers: dict[ir.Value, Node] = {}
        self._readers: dict[ir.Value, list[Node]] = {}
        for node in self.nodes:
            self._enter(node)

    @property
    def nodes(self) -> list[Node]:
        """The nodes as they are now, in order."""
        return [n for n in self._slots if n is not None]

    def _enter(self, node: Node) -> None:
        for value in node.outputs:
            self._producers[value] = node
        for used in _reads(node):
            self._readers.setdefault(used, []).append(node)

    def _leave(self, node: Node) -> None:
        self._slots[self._place.pop(id(node))] = None
        for value in node.outputs:
            if self._producers.get(value) is node:
                del self._producers[value]
        for used in _reads(node):
            self._readers[used].remove(node)

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
        """Puts `new` where the last of `old` stands; what nothing reads then goes too."""
        at = max(self._place[id(n)] for n in old)
        for node in old:
            self._leave(node)
        self._slots[at] = new
        self._place[id(new)] = at
        self._enter(new)
        self._drop([v for n in old for v in _reads(n)])

    def expand(self, old: Collection[Node], new: Sequence[FusedNode]) -> None:
        """Puts several nodes, in order, where the last of `old` stands; then as `replace`."""
        at = max(self._place[id(n)] for n in old)
        for node in old:
            self._leave(node)
        self._slots[at : at + 1] = new
        self._place = {id(n): i for i, n in enumerate(self._slots) if n is not None}
        for node in new:
            self._enter(node)
        self._drop([v for n in old for v in _reads(n)])

    def _drop(self, stack: list[ir.Value]) -> None:
        """Takes out the nodes behind values that nothing reads."""
        while stack:
            dead = self.producer(stack.pop())
            if dead is None or any(v in self.wanted or self.readers(v) for v in dead.outputs):
                continue
            self._leave(dead)
            stack += _reads(dead)

    def place(self, node: Node) -> int:
        """Numbers that ascend in the order of the nodes."""
        return self._place[id(node)]

    def __contains__(self, node: Node) -> bool:
        return id(node) in self._place


def _reads(node: Node) -> list[ir.Value]:
    inner = subgraphs.captured(node) if isinstance(node, ir.Node) else ()
    return [v for v in (*node.inputs, *inner) if v is not None]


def attribute(node: Node, name: str, default: Any) -> Any:
    """An attribute of a node of the graph or of a program; floats as written in decimals."""
    if isinstance(node, FusedNode):
        return node.attributes.get(name, default)
    attr = node.attributes.get(name)
    return default if attr is None else native_attributes([attr])[name]


def same_shape(a: ir.Value, b: ir.Value) -> bool:
    """Whether two values certainly have one shape: the same numbers and symbols."""
    if a.shape is None or b.shape is None or len(a.shape) != len(b.shape):
        return False
    return all(
        x == y and (isinstance(x, int) or x.value is not None)
        for x, y in zip(a.shape, b.shape, strict=True)
    )

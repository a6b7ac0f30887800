"""A stretch of the tape as one compiled gradient program.

The key is built from what does not change from step to step; the values are gathered at each run.
The program is cut at the values that the forward pass already computed, so nothing runs twice.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple

from toolkit._tensor.base import FLOATS, wrap
from toolkit._tensor.consts import Const
from toolkit._tensor.tape import FunctionRecord, Leaf, Record
from toolkit._tensor.writes import WRITES
from toolkit.errors import InvalidArgumentError

Edge = tuple[Any, int]  # A record or leaf, and which of its outputs.

_LIMIT = 256
_cache: OrderedDict[Any, Any] = OrderedDict()


class CacheInfo(NamedTuple):
    """Counters of the gradient programs."""

    hits: int
    misses: int
    size: int


_hits = _misses = 0


def cache_info() -> CacheInfo:
    """How often a compiled gradient program was found, and how often one had to be built."""
    return CacheInfo(_hits, _misses, len(_cache))


def cache_clear() -> None:
    """Forgets the compiled gradient programs."""
    global _hits, _misses
    _cache.clear()
    _hits = _misses = 0


def collect(
    starts: list[Any], only: set[Edge] | None, known: set[Edge] | None = None
) -> tuple[list[Record], set[Edge]]:
    """The records that `starts` come from, in order, and the edges that need attention.

    Args:
        starts: records whose cotangents are known.
        only: wanted edges; those of records are cuts.
        known: cuts where the walk stops. None: find the cuts, and walk through them.
    """
    seen: set[Any] = set()
    stack = [n for n in starts if type(n) is not Leaf]
    cuts: set[Edge] = set() if known is None else known
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        if known is None:
            if node.hooks:
                cuts.update((node, slot) for slot, hooks in node.hooks.items() if hooks)
            if node.retain:
                cuts.update((node, slot) for slot in node.retain)
            if isinstance(node, FunctionRecord):
                cuts.update((node, slot) for slot in range(len(node.outputs)))
            for source in node.nodes:
                if source is not None and type(source) is not Leaf:
                    stack.append(source)
        else:
            for edge in zip(node.nodes, node.slots, strict=True):
                source = edge[0]
                if source is not None and type(source) is not Leaf and edge not in known:
                    stack.append(source)
    if only is not None and known is None:
        cuts.update(e for e in only if e[0] in seen)
    return sorted(seen, key=_seq), cuts


def _seq(record: Record) -> int:
    return record.seq


def _signature(record: Record) -> Any:
    """Operator, constants, element types and shapes: what of a record belongs to the key."""
    inputs: list[Any] = []
    for v in record.inputs:
        if type(v) is Const:
            inputs.append(v.key or (v._value.dtype, v._value.shape))
        else:
            inputs.append(None if v is None else (v.dtype, v.shape))
    outputs = tuple(None if v is None else (v.dtype, v.shape) for v in record.outputs)
    record.signature = (record.op, tuple(inputs), outputs)
    return record.signature


class Segment:
    """Records in order, with numbered sources: leaves, cuts and what earlier records made."""

    def __init__(
        self, order: list[Record], roots: list[Edge], cuts: set[Edge], only: set[Edge] | None
    ) -> None:
        self.order = order
        self.roots = roots
        at = {record: i for i, record in enumerate(order)}
        self.sources: list[Edge] = []
        self.wanted: list[bool] = []
        numbers: dict[Any, int] = {}
        links: list[int] = []
        parts: list[Any] = []
        for record in order:
            parts.append(record.signature or _signature(record))
            values = record.inputs
            for k, (node, slot) in enumerate(zip(record.nodes, record.slots, strict=True)):
                if node is None:
                    links.append(-1)
                elif node in at and (not cuts or (node, slot) not in cuts):
                    links += (1, at[node], slot)
                else:
                    # A leaf that was written to in between has several values.
                    name = (node, slot, None if values is None else id(values[k]))
                    number = numbers.get(name)
                    if number is None:
                        number = numbers[name] = len(self.sources)
                        self.sources.append((node, slot))
                        self.wanted.append(
                            only is None or type(node) is not Leaf or (node, slot) in only
                        )
                    links += (2, number)
        self.links = links
        self.at = at
        self.key = (
            tuple(parts), tuple(links), tuple((at[n], slot) for n, slot in roots),
            tuple(self.wanted),
        )  # fmt: skip

    def run(self, cotangents: list[Any], create_graph: bool) -> list[tuple[Edge, Any]]:
        """Gradients of the wanted sources that have one."""
        global _hits, _misses
        plan = _cache.get(self.key)
        if plan is None:
            from toolkit._tensor.compile import compile_segment

            _misses += 1
            plan = _cache[self.key] = compile_segment(self)
            if len(_cache) > _LIMIT:
                _cache.popitem(last=False)
        else:
            _hits += 1
            _cache.move_to_end(self.key)
        if create_graph:
            from toolkit._tensor.compile import replay

            grads = replay(self, plan, cotangents)
        else:
            feeds = [ct._get() for ct in cotangents]
            inputs = [feeds[k] if i < 0 else self.value(i, out, k) for i, out, k in plan.feeds]
            grads = [wrap(g) for g in plan.program.run(inputs)]
        return [(self.sources[s], g) for s, g in zip(plan.targets, grads, strict=True)]

    def value(self, i: int, out: bool, k: int) -> Any:
        """A value that the forward pass saved.

        Raises:
            InvalidArgumentError: it was freed, or its memory was overwritten since.
        """
        record = self.order[i]
        if record.inputs is None:
            raise InvalidArgumentError(
                "Trying to backward through the graph a second time (or directly access saved "
                "tensors after they have already been freed). Saved intermediate values of the "
                "graph are freed when you call .backward() or autograd.grad(). Specify "
                "retain_graph=True if you need to backward through the graph a second time or if "
                "you need to access saved tensors after calling backward."
            )
        value = record.outputs[k] if out else record.inputs[k]
        if type(value) is Const:
            value = value._value
        if value is not None and WRITES.since(record.stamp, value):
            raise InvalidArgumentError(
                "one of the variables needed for gradient computation has been modified by an "
                f"inplace operation: [toolkit tensor {list(value.shape)}], which is "
                f"{'the output' if out else 'an input'} of {record.name()}. Its memory is shared "
                "with numpy or DLPack; clone() it before the write."
            )
        return value

    def tensor(self, i: int, out: bool, k: int) -> Any:
        """A saved value as a tensor at its place on the tape."""
        t: Any = wrap(self.value(i, out, k))
        if t._value.dtype in FLOATS:
            record = self.order[i]
            t._node, t._out = (record, k) if out else (record.nodes[k], record.slots[k])
        return t

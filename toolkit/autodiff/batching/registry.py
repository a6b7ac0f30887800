"""The table of batching rules, and what a rule sees of the node it batches.

A rule writes the node for a whole batch: each batched input has the batch as its dimension 0, and
so has each output. The node itself, and what `inner` values say, are about one example.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from toolkit.autodiff.registry import attribute_of
from toolkit.errors import ShapeError
from toolkit.graph.build import Builder, constant_of, known_dims, static_dims
from toolkit.graph.functions.registry import base_name

V = Any  # An ir.Value under `arithmetic`.
Rule = Callable[["Batch"], Any]


@dataclass(frozen=True)
class Same:
    """A result that is the same for all examples and has no batch dimension."""

    value: V


@dataclass(frozen=True)
class Operand:
    """An input of a node: `inner` for one example, `value` for all of them."""

    inner: ir.Value
    value: V
    batched: bool


@dataclass
class Batch:
    """One node under batching.

    Attributes:
        b: writes the nodes for the whole batch.
        node: the node for one example.
        operands: its inputs, None where left out.
        size: how many examples there are, None if that is not known yet.
        count: the same as an int64 vector of length 1.
        randomness: "error", "different" or "same", as `vmap` takes it.
    """

    b: Builder
    node: ir.Node
    operands: tuple[Operand | None, ...]
    size: int | None
    count: V
    randomness: str

    # -- what the node is ------------------------------------------------------------------------

    def operand(self, i: int) -> Operand | None:
        """Input `i`, None where it is left out."""
        return self.operands[i] if i < len(self.operands) else None

    def value(self, i: int) -> V:
        """Input `i` as it is, batched or not; None where it is left out."""
        found = self.operand(i)
        return None if found is None else found.value

    def batched(self, i: int) -> bool:
        """Whether input `i` differs from example to example."""
        found = self.operand(i)
        return found is not None and found.batched

    def only(self, *indices: int) -> bool:
        """Whether no other inputs than these are batched."""
        return not any(self.batched(i) for i in range(len(self.operands)) if i not in indices)

    def attr(self, name: str, default: Any = None) -> Any:
        """An attribute's value: the node's, else `default`, else the schema's own default."""
        return attribute_of(self.node, name, default)

    def rank(self, i: int) -> int:
        """The rank of input `i` for one example.

        Raises:
            ShapeError: it is unknown.
        """
        found = self.operand(i)
        assert found is not None
        return rank_of(self.node, found.inner)

    def out_rank(self, k: int = 0) -> int:
        """The rank of output `k` for one example."""
        return rank_of(self.node, self.node.outputs[k])

    def ints(self, i: int) -> list[int] | None:
        """The numbers of an input that is a constant, else None."""
        array = constant_of(self.value(i))
        return None if array is None else [int(n) for n in array.reshape(-1)]

    # -- inputs in the form that a rule needs ----------------------------------------------------

    def full(self, i: int) -> V:
        """Input `i` with the batch dimension, repeated if it has none."""
        found = self.operand(i)
        assert found is not None
        return self.repeat(found.value, self.rank(i)) if not found.batched else found.value

    def repeat(self, value: V, rank: int) -> V:
        """A value of one example, repeated along a new dimension 0."""
        ones = self.vector(self.count, *[1] * rank)
        return self.b.Expand(self.b.Unsqueeze(value, [0]), ones)

    def aligned(self, i: int, rank: int) -> V:
        """Input `i` so that it broadcasts with operands of `rank` dimensions and the batch."""
        found = self.operand(i)
        if found is None or not found.batched:
            return None if found is None else found.value
        missing = rank - self.rank(i)
        if missing <= 0:
            return found.value
        return self.b.Unsqueeze(found.value, list(range(1, missing + 1)))

    def vector(self, *parts: Any) -> V:
        """An int64 vector from numbers and vectors."""
        runs: list[Any] = []
        for part in parts:
            known = [part] if isinstance(part, int) else constant_of(part)
            if known is None:
                runs.append(part)
            elif runs and isinstance(runs[-1], list):
                runs[-1] += [int(n) for n in known]
            else:
                runs.append([int(n) for n in known])
        values = [self.b.ints(r) if isinstance(r, list) else r for r in runs]
        return values[0] if len(values) == 1 else self.b.Concat(*values, axis=0)

    def dims(self, value: V, start: int, end: int | None = None) -> V:
        """Some dimensions of a value as an int64 vector."""
        return self.b.Shape(value, start=start, end=end)

    def axis(self, axis: int) -> int:
        """An axis of one example as one of the batch."""
        return axis + 1 if axis >= 0 else axis

    def axes(self, i: int) -> V:
        """The axes that input `i` holds, as axes of the batch."""
        value, known = self.value(i), self.ints(i)
        if known is not None:
            return self.b.ints([self.axis(a) for a in known])
        return self.b.Where(self.b.Less(value, 0), value, value + 1)

    def fold(self, i: int) -> V:
        """(B, N, ...) as (B N, ...): the batch becomes part of the first dimension."""
        x = self.full(i)
        return self.b.Reshape(x, self.vector(-1, self.dims(x, 2)))

    def unfold(self, value: V) -> V:
        """The inverse of `fold`."""
        dims = static_dims(value)
        if dims is not None and self.size and dims[0] % self.size == 0:
            shape = [self.size, dims[0] // self.size, *dims[1:]]
            return self.b.Reshape(value, shape, allowzero=1)
        return self.b.Reshape(value, self.vector(self.count, -1, self.dims(value, 1)))

    def fold_channels(self, i: int) -> V:
        """(B, N, C, ...) as (N, B C, ...)."""
        x = self.full(i)
        rank = self.rank(i) + 1
        moved = self.b.Transpose(x, perm=[1, 0, *range(2, rank)])
        return self.b.Reshape(moved, self.vector(0, -1, self.dims(moved, 3)))

    def unfold_channels(self, value: V, rank: int) -> V:
        """The inverse of `fold_channels`; `rank` is that of one example."""
        parts = self.vector(0, self.count, -1, self.dims(value, 2))
        return self.b.Transpose(self.b.Reshape(value, parts), perm=[1, 0, *range(2, rank + 1)])

    # -- results ---------------------------------------------------------------------------------

    def emit(self, *inputs: Any, **changed: Any) -> Any:
        """The node's operator on other inputs, with its attributes but for those given."""
        attributes: dict[str, Any] = {**self.node.attributes, **changed}
        made = self.b.call(
            self.node.domain, self.node.op_type, inputs, attributes, len(self.node.outputs)
        )
        results = made if len(self.node.outputs) > 1 else (made,)
        for old, new in zip(self.node.outputs, results, strict=True):
            if old.name == "":
                new.name = ""
        return made


_RULES: dict[tuple[str, str], Rule] = {}


def batching(*op_types: str, domain: str = "") -> Callable[[Rule], Rule]:
    """Register a batching rule.

    The rule returns the first outputs, in order: values with a batch dimension 0, or `Same`. It
    returns NotImplemented for the node's body, or a Scan, to be taken instead.
    """

    def register(rule: Rule) -> Rule:
        for op_type in op_types:
            _RULES[domain, op_type] = rule
        return rule

    return register


def find(domain: str, op_type: str) -> Rule | None:
    """The rule of an operator, None if there is none."""
    from toolkit.autodiff import batching as families  # Registers every family.

    assert families
    return _RULES.get((domain, base_name(op_type) if domain.startswith("toolkit.") else op_type))


def operators() -> Mapping[tuple[str, str], Rule]:
    """Every (domain, operator) that has a rule."""
    find("", "")
    return _RULES


def rank_of(node: ir.Node, value: ir.Value) -> int:
    """The rank of a value of one example.

    Raises:
        ShapeError: it is unknown.
    """
    if value.shape is None:
        raise ShapeError(
            f"vmap: the rank of {value.name!r} at {node.op_type} '{node.name}' is required, got an "
            "unknown one. Give the inputs shapes; a dimension may be symbolic."
        )
    return len(value.shape)


def product(dims: Sequence[Any]) -> int | None:
    """The product of known dimensions, None if one is not."""
    return math.prod(dims) if all(isinstance(d, int) for d in dims) else None


def dims_of(value: ir.Value) -> Sequence[Any]:
    """The dimensions of a value of known rank."""
    found = known_dims(value)
    assert found is not None
    return found

"""What passes can prove about sizes that only a run makes known.

A size is a number, the name of a symbolic dimension, or (value, axis); two sizes that compare equal
are equal in every run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import onnx_ir as ir

from toolkit.runtime.name_dims import made_up
from toolkit.runtime.passes.match import made_by
from toolkit.runtime.passes.region import Node, Region, attribute

Size = int | str | tuple[ir.Value, int]

_BROADCAST = frozenset(
    {"Add", "Sub", "Mul", "Div", "Pow", "Where", "And", "Or", "Equal", "Less", "LessOrEqual"}
    | {"Greater", "GreaterOrEqual"}
)
_AS_FIRST = frozenset(
    {"Cast", "CastLike", "Identity", "Not", "Softmax", "LayerNormalization", "Gelu", "Relu", "Tanh"}
    | {"Erf", "Sigmoid", "RMSNormalization", "Sqrt", "Reciprocal", "Neg", "Swish"}
)
_OTHERS = frozenset(
    {"Pad", "Slice", "Transpose", "Reshape", "MatMul", "Concat", "Attention", "Range", "Unsqueeze"}
)


def size(region: Region, value: ir.Value, axis: int) -> Size:
    """The size of one dimension of a value whose rank is known."""
    found = sizes(region, value)
    assert found is not None
    return found[axis]


def sizes(region: Region, value: ir.Value) -> list[Size] | None:
    """The sizes of a value's dimensions, through operators where inference lost them.

    What stays unknown is (value, axis) of the value that lost it. None: the rank is not known.
    """
    known = region.sizes.get(value)
    if known is None and value.shape is not None:
        named = [d if isinstance(d, int) else d.value for d in value.shape]
        known = [(value, i) if d is None or made_up(d) else d for i, d in enumerate(named)]
        node = region.producer(value)
        if node is not None and any(isinstance(s, tuple) for s in known):
            derived = _derived(region, node)
            if derived is not None and len(derived) == len(known):
                known = [
                    d if isinstance(s, tuple) and d is not None else s
                    for s, d in zip(known, derived, strict=True)
                ]
        known = [
            n if k == (value, i) and n is not None else k
            for i, (k, n) in enumerate(zip(known, named, strict=True))
        ]
        region.sizes[value] = known
    return known


def _derived(region: Region, node: Node) -> Sequence[Size | None] | None:
    """Sizes of a node's first output by those of its inputs; None where they do not tell."""
    op = node.op_type
    if op not in _OTHERS | _BROADCAST | _AS_FIRST or node.inputs[0] is None:
        return None
    first = sizes(region, node.inputs[0])
    if first is None:
        return None
    if op in _AS_FIRST:
        return first
    if op in _BROADCAST:
        return _broadcast([sizes(region, v) for v in node.inputs if v is not None])
    if op == "Transpose":
        return [first[p] for p in attribute(node, "perm", [*range(len(first))][::-1])]
    if op == "Reshape":
        target = items(region, node.inputs[1])
        return None if target is None else _reshaped(first, target, attribute(node, "allowzero", 0))
    if op == "Range":
        end = items(region, node.inputs[1])
        from_0 = region.number(node.inputs[0]) == 0 and region.number(node.inputs[2]) == 1
        return end if from_0 else None
    if op == "Unsqueeze":
        axes = _whole(region, node.inputs[1])
        return None if axes is None else _unsqueezed(first, axes)
    if op == "Attention":
        return [*first[:-1], None]
    if op == "MatMul":
        right = sizes(region, node.inputs[1]) if node.inputs[1] is not None else None
        if right is None or len(right) != 2 or len(first) < 2 or attribute(node, "transA", 0):
            return None
        return [*first[:-1], right[0 if attribute(node, "transB", 0) else 1]]
    if op == "Concat":
        axes = [attribute(node, "axis", 0)]
    else:  # Slice and Pad.
        axes = _whole(region, node.inputs[3]) if len(node.inputs) > 3 else None
    if axes is None:
        return None
    changed = {a % len(first) for a in axes}
    return [None if i in changed else s for i, s in enumerate(first)]


def _unsqueezed(first: Sequence[Size], axes: Sequence[int]) -> list[Size | None]:
    rank, rest = len(first) + len(axes), iter(first)
    ones = {a % rank for a in axes}
    return [1 if i in ones else next(rest, None) for i in range(rank)]


def _broadcast(shapes: Sequence[list[Size] | None]) -> list[Size | None] | None:
    if None in shapes:
        return None
    result: list[Size | None] = []
    for axis in range(-max(len(s) for s in shapes if s is not None), 0):
        here = {s[axis] for s in shapes if s is not None and -axis <= len(s)} - {1}
        result.append(None if len(here) > 1 else here.pop() if here else 1)
    return result


def _reshaped(
    first: Sequence[Size], target: Sequence[Size], zero_is_zero: int
) -> list[Size | None] | None:
    kept: list[Size | None] = []
    for i, t in enumerate(target):
        if t == 0 and not zero_is_zero:
            kept.append(first[i] if i < len(first) else None)
        else:
            kept.append(None if t == -1 else t)
    if kept.count(None) != 1 or -1 not in target:
        return kept
    # What is left for -1: numbers divide, names cancel.
    rest = list(first)
    for name in (s for s in kept if s is not None and not isinstance(s, int)):
        if name not in rest:
            return kept
        rest.remove(name)
    numbers = math.prod(s for s in rest if isinstance(s, int))
    others = math.prod(s for s in kept if isinstance(s, int))
    names = [s for s in rest if not isinstance(s, int)]
    if others and numbers % others == 0:
        if not names:
            kept[kept.index(None)] = numbers // others
        elif len(names) == 1 and numbers == others:
            kept[kept.index(None)] = names[0]
    return kept


def items(region: Region, value: ir.Value | None) -> list[Size] | None:
    """The elements of a vector (or number) of sizes, as far as shape arithmetic shows them."""
    array = region.array(value)
    if array is not None:
        whole = array.dtype.kind in "iu" and array.ndim < 2
        return [int(x) for x in array.reshape(-1)] if whole else None
    node = made_by(
        region,
        value,
        "Shape",
        "Concat",
        "Gather",
        "Slice",
        "Unsqueeze",
        "Squeeze",
        "Identity",
        "Cast",
    )
    if node is None or node.inputs[0] is None:
        return None
    x = node.inputs[0]
    if node.op_type == "Shape":
        every = sizes(region, x)
        if every is None:
            return None
        return every[attribute(node, "start", 0) : attribute(node, "end", len(every))]
    if node.op_type == "Concat":
        parts = [items(region, v) for v in node.inputs]
        return None if None in parts else [s for part in parts for s in part or ()]
    found = items(region, x)
    if node.op_type not in ("Gather", "Slice") or found is None:
        return found
    if node.op_type == "Gather":
        chosen = _whole(region, node.inputs[1])
        fits = chosen is not None and all(-len(found) <= i < len(found) for i in chosen)
        return [found[i] for i in chosen or ()] if fits else None
    start, end = _whole(region, node.inputs[1]), _whole(region, node.inputs[2])
    step = _whole(region, node.inputs[4]) if len(node.inputs) > 4 else [1]
    return found[start[0] : end[0]] if start and end and step == [1] else None


def _whole(region: Region, value: ir.Value | None) -> list[int] | None:
    """Items that are all numbers."""
    found = items(region, value)
    numbers = [s for s in found or () if isinstance(s, int)]
    return numbers if found is not None and len(numbers) == len(found) else None

"""Gradients of sequences and optionals: the cotangent of a sequence is a sequence."""

from __future__ import annotations

from typing import Any

from toolkit.autodiff.registry import Result, Vjp, not_differentiable, vjp
from toolkit.autodiff.rules._common import named_like
from toolkit.autodiff.sequences import sizes, zeros_of

V = Any  # An ir.Value under `arithmetic`.

not_differentiable("SequenceLength", "OptionalHasElement", reason="Gives a count or a truth value.")
not_differentiable("SequenceEmpty", reason="It holds nothing.")


def _position(c: Vjp, at: V, count: V) -> V:
    """A position counted from the front."""
    at = c.b.cast(at, 7)
    return c.b.Where(c.b.Less(at, c.b.const(0)), c.b.Add(at, count), at)


@vjp("SequenceConstruct")
def sequence_construct(c: Vjp, *items: V) -> Result:
    """dx_i = dy[i]."""
    return tuple(_item(c, i, x) for i, x in enumerate(items))


def _item(c: Vjp, index: int, like: V) -> Any:
    return lambda: named_like(c.b.SequenceAt(c.dy, c.b.const(index)), like)


@vjp("SequenceAt")
def sequence_at(c: Vjp, s: V, at: V) -> V:
    """ds = zeros, with dy at the position."""
    at = _position(c, at, c.b.SequenceLength(s))
    return c.b.SequenceInsert(c.b.SequenceErase(zeros_of(c.b, s), at), c.dy, at)


@vjp("SequenceInsert")
def sequence_insert(c: Vjp, s: V, x: V, at: V = None) -> Result:
    """ds = dy without the item, dx = that item."""
    place = c.b.const(-1) if at is None else _position(c, at, c.b.SequenceLength(s))
    return (
        lambda: c.b.SequenceErase(c.dy, place),
        lambda: named_like(c.b.SequenceAt(c.dy, place), x),
    )


@vjp("SequenceErase")
def sequence_erase(c: Vjp, s: V, at: V = None) -> V:
    """ds = dy with zeros where the item was."""
    count = c.b.SequenceLength(s)
    place = _position(c, c.b.const(-1) if at is None else at, count)
    return c.b.SequenceInsert(c.dy, zeros_of(c.b, c.b.SequenceAt(s, place)), place)


@vjp("SplitToSequence")
def split_to_sequence(c: Vjp, x: V, split: V = None) -> V:
    """dx = the items of dy joined."""
    squeezed = split is None and not c.attr("keepdims")
    axis = c.attr("axis")
    return named_like(c.b.ConcatFromSequence(c.dy, axis=axis, new_axis=int(squeezed)), x)


@vjp("ConcatFromSequence")
def concat_from_sequence(c: Vjp, s: V) -> V:
    """ds = dy split at the sizes of the items, or along the new axis."""
    axis = c.attr("axis")
    if c.attr("new_axis"):
        return c.b.SplitToSequence(c.dy, axis=axis, keepdims=0)
    return c.b.SplitToSequence(c.dy, sizes(c.b, s, axis), axis=axis)


@vjp("Optional", "OptionalGetElement")
def optional(c: Vjp, x: V = None) -> V:
    """dx = dy: the cotangent of an optional is its element's."""
    return c.dy

"""Rewrites of elementwise operators: comparisons and Where do what is missing."""

from __future__ import annotations

from typing import Any

import numpy as np

from toolkit.graph.build import constant_of
from toolkit.graph.targets.registry import Call, rewrite

V = Any  # An ir.Value under `arithmetic`.

BOOL, INT32 = 9, 6


@rewrite("ortweb", "Sign")
def sign(c: Call, x: V) -> V:
    """1 where x > 0, -1 where x < 0, else x, which is zero."""
    return c.b.Where(c.b.Greater(x, 0), 1, c.b.Where(c.b.Less(x, 0), -1, x))


@rewrite("ortweb", "Max", "Min")
def extreme(c: Call, *xs: V) -> V:
    """max(a, b) = b where a <= b, else a; a NaN in either stays."""
    result = xs[0]
    compare = c.b.LessOrEqual if c.node.op_type == "Max" else c.b.GreaterOrEqual
    for x in xs[1:]:
        chosen = c.b.Where(compare(result, x), x, result)
        known = constant_of(x)
        if known is None and x.dtype is not None and x.dtype.is_floating_point():
            chosen = c.b.Where(c.b.Equal(x, x), chosen, x)
        result = chosen
    return result if len(xs) > 1 else c.b.Identity(result)


@rewrite("ortweb", "Sum", "Mean")
def total(c: Call, *xs: V) -> V:
    """Additions one after the other; the mean over their number."""
    result = xs[0]
    for x in xs[1:]:
        result = result + x
    if c.node.op_type == "Mean":
        return result / float(len(xs))
    return result if len(xs) > 1 else c.b.Identity(result)


def choose(c: Call, condition: V, x: V, y: V) -> V:
    """Truth values by Where, as int32."""
    x, y = c.b.cast(x, INT32), c.b.cast(y, INT32)
    return c.b.cast(c.b.Where(condition, x, y), BOOL)


@rewrite("ortweb", "Where")
def truth_where(c: Call, condition: V, x: V, y: V) -> V:
    """Truth values are chosen as int32."""
    return choose(c, condition, x, y) if int(x.dtype) == BOOL else None


@rewrite("ortweb", "And")
def both(c: Call, x: V, y: V) -> V:
    """Y where x, else false."""
    return choose(c, x, y, c.b.const(False))


@rewrite("ortweb", "Or")
def either(c: Call, x: V, y: V) -> V:
    """True where x, else y."""
    return choose(c, x, c.b.const(True), y)


@rewrite("ortweb", "Xor")
def differ(c: Call, x: V, y: V) -> V:
    """Not y where x, else y."""
    return choose(c, x, c.b.Not(y), y)


@rewrite("ortweb", "Equal")
def equal(c: Call, x: V, y: V) -> V:
    """Of truth values: y where x, else not y."""
    return choose(c, x, y, c.b.Not(y)) if int(x.dtype) == BOOL else None


@rewrite("ortweb", "IsNaN")
def is_nan(c: Call, x: V) -> V:
    """A NaN is not equal to itself."""
    return c.b.Not(c.b.Equal(x, x))


@rewrite("ortweb", "IsInf")
def is_inf(c: Call, x: V) -> V:
    """Beyond the largest number of the type, on the sides asked for."""
    largest = float(np.finfo(x.dtype.numpy()).max)
    up, down = c.attr("detect_positive"), c.attr("detect_negative")
    if up and down:
        return c.b.Greater(c.b.Abs(x), largest)
    if up or down:
        return c.b.Greater(x, largest) if up else c.b.Less(x, -largest)
    return c.b.cast(x * 0.0, BOOL)


@rewrite("ortweb", "Round")
def nearest(c: Call, x: V) -> V:
    """F = floor(x), and f + 1 where x - f > 1/2, or is 1/2 and f is odd."""
    f = c.b.Floor(x)
    above = x - f
    odd = c.b.Greater(f - c.b.Floor(f * 0.5) * 2.0, 0.5)
    tie = c.b.Where(odd, f + 1.0, f)
    return c.b.Where(c.b.Less(above, 0.5), f, c.b.Where(c.b.Greater(above, 0.5), f + 1.0, tie))


@rewrite("ortweb", "Mod")
def modulo(c: Call, x: V, y: V) -> V:
    """Of integers: r = x - (x / y) y, with the sign of y (of x with fmod)."""
    if x.dtype.is_floating_point():
        raise c.refuse("integers are required by an exact Mod")
    r = x - x / y * y
    if c.attr("fmod", 0):
        return r
    moved = r + y
    other = c.b.Where(c.b.Less(y, 0), c.b.Where(c.b.Greater(r, 0), moved, r),
                      c.b.Where(c.b.Less(r, 0), moved, r))  # fmt: skip
    return c.b.Where(c.b.Equal(r, 0), r, other)


@rewrite("ortweb", "Softplus")
def softplus(c: Call, x: V) -> V:
    """relu(x) + log(1 + e^-|x|), which overflows nowhere."""
    return c.b.Relu(x) + c.b.Log(1.0 + c.b.Exp(-c.b.Abs(x)))


@rewrite("ortweb", "Dropout")
def dropout(c: Call, x: V, ratio: V = None, training: V = None) -> Any:
    """In inference x itself, and a mask of ones."""
    if training is not None and c.constant(training, "training_mode").item():
        raise c.refuse(
            "an operator that draws no random numbers is required: give the mask as an input"
        )
    mask = c.b.Equal(x, x) if c.used(1) else None
    return c.b.Identity(x), mask


@rewrite(
    "ortweb", "Concat", "Expand", "Flatten", "Gather", "GatherElements", "Reshape", "Slice",
    "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze",
)  # fmt: skip
def moved_truth(c: Call, *inputs: V) -> Any:
    """Truth values move as int32."""
    whole = c.node.op_type == "Concat"
    if int(inputs[0].dtype) != BOOL:
        return None
    given = [
        c.b.cast(v, INT32) if v is not None and (i == 0 or whole) else v
        for i, v in enumerate(inputs)
    ]
    count = len(c.node.outputs)
    results = c.b.call("", c.node.op_type, given, c.attributes, count)
    return tuple(c.b.cast(v, BOOL) for v in (results if count > 1 else (results,)))

"""Batching of draws: other numbers for each example, or the same for all."""

from __future__ import annotations

from typing import Any

from toolkit.autodiff.batching.registry import Batch, Same, batching

V = Any  # An ir.Value under `arithmetic`.


@batching("Uniform", "Normal", domain="toolkit.random")
def draw(c: Batch) -> Any:
    """As many numbers as the batch needs, by one draw."""
    if not c.only(0) or c.batched(0):
        return NotImplemented
    if c.randomness == "same":
        return Same(c.emit(c.value(0), c.value(1)))
    return c.emit(c.vector(c.count, c.value(0)), c.value(1))


@batching("Dropout", domain="toolkit.random")
def seeded_dropout(c: Batch) -> Any:
    """A mask for the whole batch, or that of one example."""
    b = c.b
    if not c.only(0):
        return NotImplemented
    if c.randomness == "different":
        made = c.emit(c.full(0), c.value(1))
        return made if len(c.node.outputs) > 1 else (made,)
    x = c.value(0)
    ones = b.full(b.Shape(x, start=1), 1.0, x.dtype)
    scale, mask = b.call(
        "toolkit.random", "Dropout", [ones, c.value(1)], dict(c.node.attributes), 2
    )
    return x * scale, Same(mask)


@batching("RandomUniform", "RandomNormal")
def of_shape(c: Batch) -> Any:
    """A shape given as attribute."""
    if c.size is None:
        return NotImplemented
    return c.emit(shape=[c.size, *c.attr("shape")])


@batching("RandomUniformLike", "RandomNormalLike", "Bernoulli")
def like(c: Batch) -> Any:
    """The shape of the whole batch."""
    if c.randomness == "same":
        return NotImplemented
    return c.emit(c.full(0))


@batching("Dropout")
def dropout(c: Batch) -> Any:
    """In inference nothing is drawn; else a mask for the whole batch."""
    from toolkit.autodiff.batching.walk import is_random

    if not c.only(0) or (is_random(c.node) and c.randomness == "same"):
        return NotImplemented
    made = c.emit(c.full(0), *(c.value(i) for i in range(1, len(c.operands))))
    return made if len(c.node.outputs) > 1 else (made,)

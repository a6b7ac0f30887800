"""Pads of chosen axes as pads of all of them."""

from __future__ import annotations

from collections.abc import Sequence


def positions(axes: Sequence[int], rank: int) -> list[int]:
    """Of each pad of all axes its place among those of `axes` with a zero behind: for Gather."""
    count = len(axes)
    found = [2 * count] * (2 * rank)
    for k, axis in enumerate(axes):
        found[axis % rank] = k
        found[rank + axis % rank] = count + k
    return found

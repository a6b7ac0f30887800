"""How a tensor was filled at first: what a training that starts anew fills it with again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Initial:
    """A fill as a function of the states of the random generator.

    Attributes:
        kind: "constant" (shift), "uniform" or "normal" (draw * scale + shift), "value".
        draws: (seed, offset) of the generator before each draw. After the first, each replaces the
            elements outside `limits`.
        scale: factor of the draws.
        shift: added to them.
        code: the ONNX element type it was computed in.
        limits: least and largest value, None: any.
        value: the array itself, for what is no such function.
        zero_row: a row that is zero whatever was drawn.
    """

    kind: str
    draws: tuple[tuple[int, int], ...] = ()
    scale: float = 1.0
    shift: float = 0.0
    code: int = 1
    limits: tuple[float, float] | None = None
    value: Any = None
    zero_row: int | None = None


def note(tensor: Any, initial: Initial | None) -> None:
    """Remembers how a tensor was just filled; a later write by hand makes it void."""
    if tensor._base is None:
        tensor._initial = None if initial is None else (initial, tensor._version)


def initial_of(tensor: Any, written: bool = False) -> Initial | None:
    """How a tensor was filled, None if that is not known or it was written to since.

    Args:
        tensor: a parameter or a buffer.
        written: whatever was written to it since.
    """
    found = tensor._initial
    valid = found is not None and (written or found[1] == tensor._version)
    return found[0] if valid else None

"""Devices by PyTorch's names. Tensors live on the CPU; graphs run on GPUs through sessions."""

from __future__ import annotations

from typing import Any

from toolkit.errors import InvalidArgumentError


class Device:
    """Where a tensor lives: a type ("cpu") and an index."""

    __slots__ = ("index", "type")

    def __init__(self, type: str, index: int | None = None) -> None:
        self.type = type
        self.index = index

    def __repr__(self) -> str:
        tail = "" if self.index is None else f", index={self.index}"
        return f"device(type='{self.type}'{tail})"

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other: Any) -> bool:
        if isinstance(other, str):
            return str(self) == other
        return isinstance(other, Device) and (self.type, self.index) == (other.type, other.index)

    def __hash__(self) -> int:
        return hash((self.type, self.index))


_CPU = Device("cpu")


def device(place: Any = "cpu", index: int | None = None) -> Device:
    """The device of a name such as "cpu" or "cpu:0".

    Raises:
        InvalidArgumentError: tensors cannot live there.
    """
    if isinstance(place, Device):
        place = str(place)
    name, _, number = str(place).partition(":")
    if name == "cpu" and number in ("", "0"):
        return _CPU if not number and index is None else Device("cpu", index or 0)
    raise InvalidArgumentError(
        f"device: 'cpu' is required, got {place!r}. Tensors live on the CPU in this version."
    )

"""Devices by PyTorch's names. Tensors live on the CPU; graphs run on GPUs through sessions."""

from __future__ import annotations

from typing import Any

from toolkit.errors import InvalidArgumentError

NAMES = ("cpu", "cuda", "meta", "mps", "xpu", "mtia", "hpu", "xla", "ipu", "vulkan")


class Device:
    """A place: a type ("cpu") and an index. Tensors live on the CPU; others have names only."""

    __slots__ = ("index", "type")

    def __init__(self, type: Any = "cpu", index: int | None = None) -> None:
        name, _, number = str(type).partition(":")
        if name not in NAMES or (number and (index is not None or not number.isdigit())):
            raise InvalidArgumentError(
                f"device: one of {', '.join(NAMES)}, and a number after it, is required, got "
                f"{type!r}."
            )
        self.type = name
        self.index = int(number) if number else index

    def __repr__(self) -> str:
        tail = "" if self.index is None else f", index={self.index}"
        return f"device(type='{self.type}'{tail})"

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other: Any) -> bool:
        if isinstance(other, str):
            return str(self) == other
        return isinstance(other, Device) and (self.type, self.index) == (other.type, other.index)

    def __enter__(self) -> Device:
        """Factories inside put tensors here: on the CPU."""
        device(self)
        return self

    def __exit__(self, *exc: Any) -> None:
        pass

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

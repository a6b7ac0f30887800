"""When memory that others see was written to: what a tape saved of it before is no longer there.

A tensor that nobody shares gets a new value at a write, so it needs no note.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from toolkit._tensor.tape import now

_MOST = 1 << 16


class Writes:
    """The last write to each block of memory, on the tape's clock."""

    def __init__(self) -> None:
        self._latest = -1
        self._at: dict[int, int] = {}  # By where the block begins.

    def note(self, *values: Any) -> None:
        """Called when the memory of core tensors has been written to."""
        if len(self._at) >= _MOST:  # Those of long ago are forgotten.
            for memory in sorted(self._at, key=self._at.__getitem__)[: _MOST // 2]:
                del self._at[memory]
        self._latest = time = now()
        for value in values:
            self._at[value.memory] = time

    def since(self, time: int, value: Any) -> bool:
        """Whether there was one after a time."""
        return self._latest > time and self._at.get(value.memory, -1) > time

    def any_since(self, time: int, values: Iterable[Any]) -> bool:
        """Whether there was one to any of these after a time."""
        return self._latest > time and any(self.since(time, v) for v in values)


WRITES = Writes()

"""What memory a model needs, as its program knows it."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class MemoryReport:
    """In bytes; bodies of If, Loop and Scan are included.

    Attributes:
        arena: where the temporaries of the latest input signature lie.
        live: the most of them that are alive at one time: no arena can be smaller.
        outputs: given to the caller by a run.
        constants: weights that kernels read as the file has them.
        packed: copies of weights in the layouts of kernels.
        states: what a training step keeps from run to run.
    """

    arena: int
    live: int
    outputs: int
    constants: int
    packed: int
    states: int

    def as_dict(self) -> dict[str, int]:
        """For JSON."""
        return asdict(self)

    def as_text(self) -> str:
        """For a person, a line a fact."""
        factor = f" ({self.arena / self.live:.2f} times that)" if self.live else ""
        rows = (
            ("live at most", self.live, ""),
            ("arena", self.arena, factor),
            ("outputs", self.outputs, ""),
            ("constants", self.constants, ""),
            ("packed copies", self.packed, ""),
            ("states", self.states, ""),
        )
        return "\n".join(f"{name:14}{size / 2**20:10.2f} MiB{note}" for name, size, note in rows)

"""Times several ways to do one thing, interleaved in one process, and compares their medians.

Machines are noisy: the sides take turns, so that a slow moment falls on all of them, and only the
ratio of medians is claimed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Comparison:
    """Medians in seconds by side, the first side being ours."""

    name: str
    medians: dict[str, float]

    def ratio(self, peer: str) -> float:
        """How many times faster we are than `peer`."""
        ours = next(iter(self.medians.values()))
        return self.medians[peer] / ours

    def line(self) -> str:
        """A row of a Markdown table."""
        sides = " | ".join(f"{seconds * 1e3:.3f}" for seconds in self.medians.values())
        peers = list(self.medians)[1:]
        ratios = " | ".join(f"{self.ratio(peer):.2f}x" for peer in peers)
        return f"| {self.name} | {sides} | {ratios} |"


def header(ours: str, *peers: str) -> str:
    """The table's head for `Comparison.line`."""
    columns = ["case", f"{ours} ms", *(f"{p} ms" for p in peers), *(f"vs {p}" for p in peers)]
    return "| " + " | ".join(columns) + " |\n|" + "---|" * len(columns)


def compare(
    name: str, sides: Mapping[str, Callable[[], object]], seconds: float = 3.0, rounds: int = 200
) -> Comparison:
    """Runs the sides in turns.

    Args:
        name: of the case.
        sides: what to call, ours first.
        seconds: how long to measure in all, after two warm-up turns.
        rounds: at most how many turns.
    """
    times: dict[str, list[float]] = {side: [] for side in sides}
    for turn in range(rounds + 2):
        for side, call in sides.items():
            start = time.perf_counter()
            call()
            took = time.perf_counter() - start
            if turn >= 2:
                times[side].append(took)
        if turn >= 6 and sum(map(sum, times.values())) > seconds:
            break
    return Comparison(name, {side: statistics.median(t) for side, t in times.items()})

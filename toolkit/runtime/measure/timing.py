"""Times several ways to do one thing, interleaved in one process, and compares their medians.

Machines are noisy: the sides take turns, so that a slow moment falls on all of them, and only the
ratio of medians is claimed. Thread pools spin for up to 100 ms after a call, on cores that the next
side needs: a turn begins when all threads of the process rest, and its first call, which wakes the
side's own pool, is not timed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

TURN = 0.02  # Seconds of timed calls in a turn, at least one call.


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


def settle(limit: float = 1.0) -> None:
    """Waits until no thread of this process runs, at most `limit` seconds."""
    end = time.perf_counter() + limit
    while time.perf_counter() < end:
        busy = time.process_time()
        time.sleep(0.004)
        if time.process_time() - busy < 0.0004:
            return


def timed(
    call: Callable[[], object], repeats: int, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Seconds a call, of `repeats` calls after one that is not counted."""
    settle()
    call()
    start = clock()
    for _ in range(repeats):
        call()
    return (clock() - start) / repeats


def compare(
    name: str,
    sides: Mapping[str, Callable[[], object]],
    seconds: float = 3.0,
    turns: int = 100,
    clock: Callable[[], float] = time.perf_counter,
) -> Comparison:
    """Runs the sides in turns.

    Args:
        name: of the case.
        sides: what to call, ours first.
        seconds: how long to measure in all, at least 7 turns.
        turns: at most how many.
        clock: `time.thread_time` for sides of one thread, on a machine that others use too.
    """
    repeats = {}
    for side, call in sides.items():
        call()  # Compiles, allocates, plans.
        repeats[side] = max(1, int(TURN / max(timed(call, 1, clock), 1e-6)))
    times: dict[str, list[float]] = {side: [] for side in sides}
    end = time.perf_counter() + seconds
    for turn in range(turns):
        for side, call in sides.items():
            times[side].append(timed(call, repeats[side], clock))
        if turn >= 6 and time.perf_counter() > end:
            break
    return Comparison(name, {side: statistics.median(t) for side, t in times.items()})

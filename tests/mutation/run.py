"""Runs the checks that reach a mutant, cheapest first, until one sees it."""

from __future__ import annotations

import enum
import functools
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from tests.mutation.checks import Check, run_tests
from tests.mutation.mutants import Mutant

LIMIT = 120  # Seconds a check.


class Verdict(enum.Enum):
    """What became of a mutant."""

    VALUE = "wrong"
    ERROR = "raised"
    SURVIVED = "survived"
    UNREACHED = "unreached"
    EQUIVALENT = "equivalent"


def judge(mutant: Mutant, rows: Sequence[Check], tests: Sequence[Check]) -> tuple[Verdict, str]:
    """The verdict, and the check that gave it: rows of the table, then tests in one go."""
    reaching = [c for c in rows if mutant.place in c.places]
    slower = [c.name for c in tests if mutant.place in c.places]
    runs = [(c.name, c.run) for c in reaching]
    if slower:
        runs.append(("tests", functools.partial(run_tests, *slower)))
    with mutant.installed():
        for name, run in runs:
            try:
                with limited(LIMIT):
                    run()
            except AssertionError:
                return Verdict.VALUE, name
            except Exception:
                return Verdict.ERROR, name
    return (Verdict.SURVIVED if runs else Verdict.UNREACHED), ""


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Raises TimeoutError when time is up."""

    def late(number: int, frame: FrameType | None) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)

"""What a mutant has to survive: each sample of the gradient table in small, then the tests.

The forward values do not depend on a rule: differences are taken once and compared with the
gradients of every mutant that a sample reaches.
"""

from __future__ import annotations

import contextlib
import functools
import io
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import gradcheck, tolerances
from tests.mutation.mutants import ROOT, Place, reached
from tests.opinfo import OpInfo, Sample
from tests.test_gradients import DIFFERENTIABLE, not_empty, samples
from toolkit.autodiff import registry

ELEMENTS = 6  # Of each input; a direction covers the rest.


@functools.cache
def modules() -> tuple[Path, ...]:
    """The rules and what they share."""
    registry.operators()  # Loads every family.
    folder = ROOT / "toolkit/autodiff"
    shared = [folder / "backward.py", folder / "sequences.py", folder / "registry.py"]
    bodies = ROOT / "toolkit/graph/functions"
    shared += [bodies / f"{name}.py" for name in ("attention", "loss", "normalization")]
    return (*sorted((folder / "rules").glob("*.py")), *shared)


class Failed(AssertionError):
    """A check saw a wrong number."""


@dataclass
class Check:
    """One check: `run` raises where a gradient is wrong.

    Attributes:
        name: What is checked.
        run: The check.
        places: The statements of the rules that it reaches.
        seconds: What it costs the processor.
    """

    name: str
    run: Callable[[], Any]
    places: frozenset[Place] = frozenset()
    seconds: float = 0.0


@dataclass
class Differences:
    """Differences of one sample's forward values, and its gradient held against them."""

    op: OpInfo
    sample: Sample
    symbolic: bool
    elements: list[tuple[int, int, float]] = field(default_factory=list)
    directions: list[tuple[int, np.ndarray, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        c, rng, h = self.case(), np.random.default_rng(0), tolerances.FINITE_STEP
        inputs = self.sample.inputs

        def slope(v: dict[int, np.ndarray]) -> float:
            up, down = ({i: inputs[i] + s * h * d for i, d in v.items()} for s in (1, -1))
            return (c.forward(up) - c.forward(down)) / (2 * h)

        for i in c.wrt:
            for k in rng.permutation(inputs[i].size)[:ELEMENTS]:
                unit = np.zeros(inputs[i].shape)
                unit.flat[k] = 1.0
                self.elements.append((i, int(k), slope({i: unit})))
            v = rng.uniform(-1, 1, inputs[i].shape)
            self.directions.append((i, v, slope({i: v})))

    def case(self) -> gradcheck.Case:
        rng = np.random.default_rng(zlib.crc32(str(self.sample).encode()))
        return gradcheck.case(self.op, self.sample, rng, symbolic=self.symbolic)

    def __call__(self) -> None:
        c = self.case()
        gradcheck.check_shapes(c)
        rtol, atol = tolerances.FINITE
        grads = dict(zip(c.wrt, c.grads, strict=True))
        for i, k, want in self.elements:
            scale = max(1.0, abs(grads[i]).max())
            if not np.isclose(grads[i].flat[k], want, rtol, atol * scale, equal_nan=True):
                raise Failed(f"d_x{i}[{k}]: {grads[i].flat[k]}, by differences {want}")
        for i, v, want in self.directions:
            terms = grads[i] * v
            scale = max(1.0, abs(terms).sum())
            if not np.isclose(terms.sum(), want, rtol, atol * scale, equal_nan=True):
                raise Failed(f"d_x{i} along a direction: {terms.sum()}, by differences {want}")


def table(ops: Iterable[OpInfo] = DIFFERENTIABLE) -> list[Check]:
    """The rows of the gradient table: shapes known, shapes symbolic, second order."""
    checks = []
    for op in ops:
        for sample in samples(op):
            checks.append(Check(f"{op.name}({sample})", Differences(op, sample, False)))
        for sample in not_empty(op, 2):
            checks.append(Check(f"{op.name}({sample}) symbolic", Differences(op, sample, True)))
            checks.append(Check(f"{op.name}({sample}) twice", _second(op, sample)))
    with reached(modules()) as places:
        for check in checks:
            places.clear()
            start = time.process_time()
            check.run()
            check.seconds, check.places = time.process_time() - start, frozenset(places)
    return sorted(checks, key=lambda c: c.seconds)


def _second(op: OpInfo, sample: Sample) -> Callable[[], None]:
    def run() -> None:
        rng = np.random.default_rng(zlib.crc32(str(sample).encode()))
        gradcheck.check_second_order(gradcheck.case(op, sample, rng), rng)

    return run


class _Recorder:
    """A plugin of pytest that notes what each test reaches."""

    def __init__(self, places: set[Place]) -> None:
        self.places = places
        self.found: list[Check] = []

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        start = time.process_time()
        self.places.clear()
        result = yield
        if result.excinfo is None and self.places:
            run, seconds = functools.partial(run_tests, item.nodeid), time.process_time() - start
            self.found.append(Check(item.nodeid, run, frozenset(self.places), seconds))


def tests(*paths: str) -> list[Check]:
    """The tests of some files, each a check."""
    with reached(modules()) as places:
        recorder = _Recorder(places)
        if _pytest([*paths], [recorder]):
            raise Failed(f"{' '.join(paths)}: tests that pass are required")
    return sorted(recorder.found, key=lambda c: c.seconds)


def run_tests(*names: str) -> None:
    """Runs tests until one fails."""
    if _pytest([*names], []):
        raise Failed(names)


def _pytest(arguments: list[str], plugins: list[Any]) -> int:
    quiet = ["-q", "-x", "--no-header", "--no-summary", "-p", "no:cacheprovider", "-p", "no:xdist"]
    with _silent():
        return int(pytest.main([*quiet, *arguments], plugins=plugins))


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield

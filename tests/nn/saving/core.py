"""A case of saving: a module, its inputs with sizes by name, and the sizes to run it at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

import toolkit as tk
from toolkit import nn
from toolkit.nn import functional as F

# For each symbol: the size of the example, then those of two runs.
SIZES = {"N": (2, 3, 5), "L": (6, 9, 4), "S": (5, 3, 8), "H": (8, 11, 9), "W": (9, 8, 12),
         "T": (7, 10, 8), "E": (8, 12, 10)}  # fmt: skip
RUNS = (1, 2)


@dataclass(frozen=True)
class Input:
    """Numbers of a shape whose dimensions may be symbols; `kind` says which numbers."""

    shape: tuple[int | str, ...]
    kind: str = "float"
    high: int = 5

    def array(self, run: int, rng: np.random.Generator) -> np.ndarray:
        shape = tuple(SIZES[d][run] if isinstance(d, str) else d for d in self.shape)
        if self.kind == "index":
            return rng.integers(0, self.high, shape)
        if self.kind == "bool":
            return rng.random(shape) > 0.7
        if self.kind == "length":  # Of sequences of the dimension SIZES["T"].
            return rng.integers(3, SIZES["T"][run] + 1, shape)
        if self.kind == "sign":
            return np.where(rng.random(shape) > 0.5, 1.0, -1.0).astype(np.float32)
        low, high = (0.05, 0.95) if self.kind == "unit" else (-2, 2)
        return rng.uniform(low, high, shape).astype(np.float32)

    def dynamic(self) -> dict[int, str]:
        return {i: d for i, d in enumerate(self.shape) if isinstance(d, str)}


def x(*shape: int | str) -> Input:
    """Floats in (-2, 2)."""
    return Input(shape)


def unit(*shape: int | str) -> Input:
    """Floats in (0, 1)."""
    return Input(shape, "unit")


def index(*shape: int | str, high: int = 5) -> Input:
    """Integers in [0, high)."""
    return Input(shape, "index", high)


@dataclass(frozen=True)
class Case:
    """`build()` gives the module, called with `inputs`.

    Args:
        build: makes the module.
        inputs: of its call.
        refused: the error's text, where it cannot be saved with these symbols.
        tolerance: multiplies 1e-5.
        key: tells several cases of one name apart.
    """

    build: Callable[[], nn.Module]
    inputs: Sequence[Input]
    refused: str = ""
    tolerance: float = 1.0
    key: str = ""


class Call(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Any) -> Any:
        return self.function(*inputs)


def call(name: str, *inputs: Input, key: str = "", refused: str = "", **options: Any) -> Case:
    """A function of nn.functional."""
    return Case(lambda: Call(lambda *a: getattr(F, name)(*a, **options)), inputs, key=key,
                refused=refused)  # fmt: skip


def made(
    name: str, *inputs: Input, args: Sequence[Any] = (), key: str = "", **options: Any
) -> Case:
    """A module of nn."""
    return Case(lambda: getattr(nn, name)(*args, **options), inputs, key=key)


def arrays(case: Case, run: int) -> list[np.ndarray]:
    rng = np.random.default_rng(run)
    return [i.array(run, rng) for i in case.inputs]


def flat(value: Any) -> list[tk.Tensor]:
    if isinstance(value, (tuple, list)):
        return [t for v in value for t in flat(v)]
    return [] if value is None else [value]


def save(case: Case, path: Path, opset: int | None = None) -> nn.Module:
    """Saves the case's module as traced with the first sizes."""
    tk.manual_seed(0)
    module = case.build().eval()
    examples = tuple(tk.tensor(a) for a in arrays(case, 0))
    dynamic = tuple(i.dynamic() for i in case.inputs)
    module.save(path, inputs=examples, dynamic=dynamic, opset=opset)
    return module


def check(case: Case, path: Path, opset: int | None = None) -> None:
    """Saves, and compares onnxruntime with the module at other sizes."""
    module = save(case, path, opset)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    assert len(names) == len(case.inputs), "every input is one of the graph"
    for run in RUNS:
        given = arrays(case, run)
        with tk.no_grad():
            want = flat(module(*(tk.tensor(a) for a in given)))
        got = session.run(None, dict(zip(names, given, strict=True)))
        assert len(got) == len(want)
        for a, b in zip(got, want, strict=True):
            b = b.numpy()
            assert a.dtype == b.dtype and a.shape == b.shape, (a.dtype, a.shape, b.dtype, b.shape)
            bound = 1e-5 * case.tolerance
            np.testing.assert_allclose(a, b, rtol=bound, atol=bound)

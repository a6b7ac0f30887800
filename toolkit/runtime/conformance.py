"""ONNX's own conformance suite (onnx.backend.test) through `toolkit.runtime.backend`."""

from __future__ import annotations

import functools
import unittest
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from onnx.backend.test.runner import Runner

from toolkit.runtime import backend

# What the suite itself cannot tell right from wrong.
EXCEPTIONS = {
    f"test_bernoulli{variant}_cpu": "the expected values are one draw of numpy's global generator"
    for variant in (
        "", "_expanded", "_double", "_double_expanded", "_seed", "_seed_expanded",
    )
}  # fmt: skip


class _Suite(Runner):
    """The suite, with a comparison that also takes items of rank 0 in sequences."""

    @classmethod
    def assert_similar_outputs(
        cls, ref_outputs: Any, outputs: Any, rtol: float, atol: float, model_dir: Any = None
    ) -> None:
        """Fails where an output is not the expected one."""
        if isinstance(ref_outputs, np.ndarray):
            if not isinstance(outputs, np.ndarray) or outputs.ndim != ref_outputs.ndim:
                raise AssertionError(f"{ref_outputs!r} is required, got {outputs!r}")
            scalar = ref_outputs.ndim == 0
            ref_outputs = [ref_outputs[None] if scalar else ref_outputs]
            outputs = [outputs[None] if scalar else outputs]
        super().assert_similar_outputs(ref_outputs, outputs, rtol, atol, model_dir)


@functools.cache
def cases() -> dict[str, Callable[[unittest.TestCase], None]]:
    """Each case of the suite by its name, as a function that fails with an AssertionError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The suite overflows casts and divides by zero.
        suite = _Suite(backend.ToolkitBackend, __name__)
    return {
        name: item.func
        for items in suite._test_items.values()
        for name, item in items.items()
        if name.endswith("_cpu")
    }


def score() -> tuple[int, int]:
    """How many cases pass, and how many there are."""
    passed = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for case in cases().values():
            try:
                case(unittest.TestCase())
                passed += 1
            except Exception:  # Whatever it is, the case has not passed.
                continue
    return passed, len(cases())

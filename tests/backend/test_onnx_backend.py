"""ONNX's own conformance suite, all of it, through `toolkit.runtime.backend`."""

from __future__ import annotations

import functools
import unittest
import warnings
from typing import Any

import numpy as np
import pytest
from onnx.backend.test.runner import Runner

from toolkit.runtime import backend

# What the suite itself cannot tell right from wrong.
EXCEPTIONS = {
    f"test_bernoulli{variant}_cpu": "the expected values are one draw of numpy's global generator"
    for variant in (
        "", "_expanded", "_double", "_double_expanded", "_seed", "_seed_expanded",
    )
} | {
    "test_attention_4d_causal_fp16_expanded_cpu": "the values are numpy's, which rounds each step "
    "of Softmax to float16: a Softmax in float32 is another bit away than the 1e-3 allow",
}  # fmt: skip


class Suite(Runner):
    """The suite, with a comparison that also takes items of rank 0 in sequences."""

    @classmethod
    def assert_similar_outputs(
        cls, ref_outputs: Any, outputs: Any, rtol: float, atol: float, model_dir: Any = None
    ) -> None:
        scalar = isinstance(ref_outputs, np.ndarray) and ref_outputs.ndim == 0
        if scalar:
            assert isinstance(outputs, np.ndarray), type(outputs)
            ref_outputs, outputs = ref_outputs[None], outputs[None]
        if isinstance(ref_outputs, np.ndarray):
            ref_outputs, outputs = [ref_outputs], [outputs]
        super().assert_similar_outputs(ref_outputs, outputs, rtol, atol, model_dir)


@functools.cache
def cases() -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The suite overflows casts and divides by zero.
        suite = Suite(backend.ToolkitBackend, __name__)
    return {
        name: item.func
        for items in suite._test_items.values()
        for name, item in items.items()
        if name.endswith("_cpu")
    }


@pytest.mark.parametrize("name", [name for name in cases() if name not in EXCEPTIONS])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_case(name):
    cases()[name](unittest.TestCase())


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_exception_runs(name):
    """What has no expected values runs all the same."""
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        cases()[name](unittest.TestCase())


def test_the_suite_is_whole():
    assert len(cases()) >= 1884 + 82 + 35 + 23 + 9
    assert len(EXCEPTIONS) <= 10

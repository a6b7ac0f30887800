"""ONNX's own conformance suite, all of it, through `toolkit.runtime.backend`."""

from __future__ import annotations

import unittest

import pytest

from toolkit.runtime.conformance import EXCEPTIONS, cases


@pytest.mark.parametrize("name", [name for name in cases() if name not in EXCEPTIONS])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_case(name):
    cases()[name](unittest.TestCase())


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_exception_runs(name):
    """What the suite cannot judge runs all the same."""
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        cases()[name](unittest.TestCase())


def test_the_suite_is_whole():
    assert len(cases()) >= 1884 + 82 + 35 + 23 + 9
    assert len(EXCEPTIONS) <= 10

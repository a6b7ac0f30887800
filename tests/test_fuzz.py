"""Malformed calls raise a ToolkitError; they never crash the interpreter, hang it or eat memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz_ops import FAMILIES

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("family", FAMILIES)
def test_malformed_calls(family):
    command = [sys.executable, "-m", "tests.fuzz_ops", family]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired as error:
        pytest.fail(f"hangs in: {error.stdout.decode().splitlines()[-1]}")
    lines = done.stdout.splitlines()
    if done.returncode != 0:
        tail = lines[lines.index("FAILURES") :] if "FAILURES" in lines else lines[-1:]
        pytest.fail(f"exit {done.returncode} in:\n" + "\n".join(tail) + done.stderr[-2000:])

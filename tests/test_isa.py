"""Every build of the simd files that this processor can run passes the forward table."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from toolkit.runtime import _core

ROOT = Path(__file__).parent.parent
ALL = ["x86-64-v2", "x86-64-v3", "x86-64-v4"]
RUNNABLE = ALL[: ALL.index(_core.isa())] if _core.isa() in ALL else []


@pytest.mark.parametrize("isa", RUNNABLE)
def test_forward_table(isa):
    selected = "test_forward or test_special_values"
    command = [sys.executable, "-m", "pytest", "tests/test_ops.py", "-q", "-p", "no:cacheprovider"]
    environment = {**os.environ, "TOOLKIT_ISA": isa, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [*command, "-k", selected], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


@pytest.mark.parametrize("isa", RUNNABLE)
def test_the_variable_chooses(isa):
    code = "from toolkit.runtime import _core; print(_core.isa())"
    environment = {**os.environ, "TOOLKIT_ISA": isa, "PYTHONPATH": os.pathsep.join(sys.path)}
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert out.stdout.strip() == isa

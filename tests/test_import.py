"""`import toolkit` is light, and the package claims no other top-level name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAVY = {
    "torch", "onnxruntime", "matplotlib", "pyopencl", "pycuda", "onnx_ir", "onnx", "onnxscript",
    "google.protobuf", "rich", "click", "sklearn", "scipy", "PIL",
}  # fmt: skip


def loaded_by(statement: str) -> set[str]:
    """The modules that a fresh interpreter has after a statement."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=ROOT)
    return set(json.loads(out.stdout))


@pytest.mark.parametrize(
    "statement", ["import toolkit", "import toolkit.errors, toolkit.dtypes, toolkit.runtime"]
)
def test_import_is_light(statement):
    heavy = HEAVY & loaded_by(statement)
    assert not heavy, f"`{statement}` loads {sorted(heavy)}"


LIGHT = "from toolkit.runtime import InferenceSession"


def test_a_session_needs_no_symbolic_arithmetic():
    assert "sympy" not in loaded_by(LIGHT)
    # onnx-ir has it when it is used, and so has whoever asks for it.
    assert "sympy" in loaded_by(
        f"""{LIGHT}
import onnx_ir
n = onnx_ir.SymbolicDim("n")
assert str(n * 2 + 1) == "2*n + 1"
assert str(onnx_ir.SymbolicDim("max(n, 1 + 2)").simplify()) == "Max(3, n)"
import sympy, sympy.core.numbers
assert isinstance((n * 2)._expr, sympy.Expr)
assert onnx_ir.SymbolicDim(sympy.Symbol("k")).value == "k"
"""
    )
    assert "sympy" in loaded_by(f"import sympy\n{LIGHT}\nimport sympy; sympy.Symbol")


def test_import_is_fast():
    """Under 0.25 s of processor time beyond an interpreter's start; the best of three."""

    def seconds(statement: str) -> float:
        best = float("inf")
        for _ in range(3):
            child = subprocess.Popen([sys.executable, "-c", statement], cwd=ROOT)
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            assert child.returncode == 0
            best = min(best, usage.ru_utime + usage.ru_stime)
        return best

    assert seconds("import toolkit") - seconds("pass") < 0.25


def test_wheel_claims_only_toolkit():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["scikit-build"]["wheel"]["packages"]
    assert {target.split("/")[0] for target in packages} == {"toolkit"}
    assert packages["toolkit/cli"] == "cli"
    assert packages["toolkit/models"] == "models"
    assert list(project["project"]["scripts"]) == ["toolkit"]

"""Functions and modules as compiled programs: `compile`, as torch.compile and torch.compiler."""

from __future__ import annotations

from toolkit.compiler.compiled import Compiled, Explanation
from toolkit.compiler.control_flow import cond, scan, while_loop
from toolkit.compiler.entry import (
    compile,
    disable,
    explain,
    is_compiling,
    mark_dynamic,
    mark_static,
    reset,
)
from toolkit.compiler.module import OptimizedModule

__all__ = [
    "Compiled",
    "Explanation",
    "OptimizedModule",
    "compile",
    "cond",
    "disable",
    "explain",
    "is_compiling",
    "mark_dynamic",
    "mark_static",
    "reset",
    "scan",
    "while_loop",
]

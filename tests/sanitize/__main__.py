"""Runs tests on a core built with sanitizers: `python -m tests.sanitize undefined BUILD [TESTS]`.

The sanitizer's library must be loaded before Python's: LD_PRELOAD. Every process of the run writes
what it finds into BUILD/reports; one finding is a failure. `make sanitize` does all of it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
TESTS = ("tests/test_ops.py", "tests/test_fuzz.py", "tests/runtime")
LIBRARIES = {"address": "libasan.so", "undefined": "libubsan.so", "thread": "libtsan.so"}
OPTIONS = {
    "address": "detect_leaks=0:allocator_may_return_null=1:max_allocation_size_mb=700",
    "undefined": "print_stacktrace=1",
    "thread": "halt_on_error=0",
}
VARIABLES = {"address": "ASAN_OPTIONS", "undefined": "UBSAN_OPTIONS", "thread": "TSAN_OPTIONS"}


def main(kind: str, build: str, *tests: str) -> int:
    folder = Path(build).resolve()
    (core,) = folder.glob("_core*.so")
    reports = folder / "reports"
    reports.mkdir(exist_ok=True)
    for old in reports.iterdir():
        old.unlink()
    compiler = os.environ.get("CXX", "g++")
    library = subprocess.check_output(
        [compiler, f"-print-file-name={LIBRARIES[kind]}"], text=True
    ).strip()
    environment = {
        **os.environ,
        "LD_PRELOAD": library,
        "PYTHONPATH": str(Path(__file__).parent / "path"),
        "TOOLKIT_SANITIZED_CORE": str(core),
        VARIABLES[kind]: f"{OPTIONS[kind]}:log_path={reports / 'report'}",
    }
    if kind != "undefined":  # Shadow memory is address space; the sanitizer has a limit of its own.
        environment["TOOLKIT_FUZZ_MEMORY"] = "0"
    command = [sys.executable, "-m", "pytest", "-n", "2", *(tests or TESTS)]
    status = subprocess.run(command, cwd=ROOT, env=environment).returncode
    lines = [line for path in reports.iterdir() for line in path.read_text().splitlines()]
    found = sorted({line for line in lines if "runtime error" in line or "ERROR: " in line})
    print("\n".join(["", f"{len(found)} findings of -fsanitize={kind}", *found]))
    return status or int(bool(found))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

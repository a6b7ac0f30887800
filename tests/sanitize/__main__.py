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
EVERYTHING = ("tests/test_ops.py", "tests/test_fuzz.py", "tests/runtime")
# Every kernel's parallel loop, whole networks, and what many threads do at once.
PARALLEL = (
    "tests/test_ops.py::test_results_do_not_depend_on_threads",
    "tests/runtime/test_threads.py",
    "tests/runtime/test_drawn_networks.py::test_threads_do_not_change_a_bit",
    "tests/runtime/test_equal_plain_training.py::test_threads_do_not_change_a_bit",
    "tests/runtime/test_conv_chains.py::test_threads_do_not_change_a_bit",
    "tests/runtime/test_narrow_weights.py::test_threads_do_not_matter",
    "tests/runtime/test_int8.py::test_threads_do_not_matter",
    "tests/runtime/test_concurrency.py",
    "tests/runtime/test_control_flow.py",
    "tests/runtime/test_session.py",
    "tests/runtime/test_profile.py",
)
TESTS = {"address": EVERYTHING, "undefined": EVERYTHING, "thread": PARALLEL}
LIBRARIES = {"address": "libasan.so", "undefined": "libubsan.so", "thread": "libtsan.so"}
OPTIONS = {
    "address": "detect_leaks=0:allocator_may_return_null=1:max_allocation_size_mb=700:"
    "verify_asan_link_order=0:alloc_dealloc_mismatch=0",  # For new.cc, which allocates by malloc.
    "undefined": "print_stacktrace=1",
    "thread": f"halt_on_error=0:suppressions={Path(__file__).parent / 'thread.supp'}",
}
VARIABLES = {"address": "ASAN_OPTIONS", "undefined": "UBSAN_OPTIONS", "thread": "TSAN_OPTIONS"}
FOUND = ("runtime error", "ERROR: ", "CHECK failed", "WARNING: ThreadSanitizer")
# An endless Loop ends when memory is short: of that the address sanitizer itself dies, and another
# takes minutes to come so far. What a process holds in memory is the sanitizer's own.
LEFT_OUT = (
    "tests/test_fuzz.py::test_malformed_calls[control_flow]",
    "tests/runtime/test_big_model.py::test_weights_are_resident_once",
    "tests/runtime/test_memory.py::test_first_run_reuses_what_is_dead",
)


def main(kind: str, build: str, *tests: str) -> int:
    folder = Path(build).resolve()
    (core,) = folder.glob("_core*.so")
    reports = folder / "reports"
    reports.mkdir(exist_ok=True)
    for old in reports.iterdir():
        old.unlink()
    # Before libstdc++ is there, a sanitizer does not find what it puts itself in front of.
    preload = [_ask(f"-print-file-name={name}") for name in (LIBRARIES[kind], "libstdc++.so")]
    if kind == "address":
        preload.insert(0, str(folder / "libnew.so"))
        _ask("-shared", "-fPIC", "-O1", str(Path(__file__).parent / "new.cc"), "-o", preload[0])
    environment = {
        **os.environ,
        "LD_PRELOAD": " ".join(preload),
        "PYTHONPATH": str(Path(__file__).parent / "path"),
        "TOOLKIT_SANITIZED_CORE": str(core),
        VARIABLES[kind]: f"{OPTIONS[kind]}:log_path={reports / 'report'}",
    }
    if kind != "undefined":  # Shadow memory is address space; the sanitizer has a limit of its own.
        environment["TOOLKIT_FUZZ_MEMORY"] = "0"
    chosen = [*(tests or TESTS[kind]), *(f"--deselect={test}" for test in LEFT_OUT)]
    command = [sys.executable, "-m", "pytest", "-n", "2", *chosen]
    status = subprocess.run(command, cwd=ROOT, env=environment).returncode
    lines = [line for path in reports.iterdir() for line in path.read_text().splitlines()]
    found = sorted({line for line in lines if any(word in line for word in FOUND)})
    print("\n".join(["", f"{len(found)} findings of -fsanitize={kind}", *found]))
    return status or int(bool(found))


def _ask(*arguments: str) -> str:
    """What the compiler prints."""
    command = [os.environ.get("CXX", "g++"), *arguments]
    return subprocess.check_output(command, text=True).strip()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

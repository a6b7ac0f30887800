"""Code compiled for one instruction set must not reach processors without it.

An inline function of a C++ header that a simd/*.cc file instantiates becomes a weak symbol, and the
linker keeps any one copy of it: the AVX-512 one, perhaps, for everybody. So those files include
nothing but C headers and simd headers, and their objects define no weak symbol.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CPU = ROOT / "toolkit" / "runtime" / "cpu"
# Intrinsics are always inlined.
C_HEADERS = {
    "immintrin.h",
    "arm_neon.h",
    "math.h",
    "stddef.h",
    "stdint.h",
    "string.h",
    "float.h",
    "limits.h",
    "stdbool.h",
}
# C++ headers of types and constants only: they define no function that could be emitted.
TYPE_HEADERS = {"cstddef", "cstdint", "climits", "cfloat", "type_traits"}
SIMD = sorted([*(CPU / "simd").glob("*.cc"), *(CPU / "simd").glob("*.h")])


@pytest.mark.parametrize("path", SIMD, ids=lambda p: p.name)
def test_simd_files_include_only_c_and_simd_headers(path):
    for line in path.read_text().splitlines():
        found = re.match(r'\s*#\s*include\s*[<"]([^>"]+)[>"]', line)
        if not found:
            continue
        name = found[1]
        fine = name in C_HEADERS | TYPE_HEADERS | {"core/isa.h"} or name.startswith("simd/")
        assert fine, f"{path.name} includes {name}"


def test_core_isa_header_includes_nothing():
    assert "#include" not in (CPU / "core" / "isa.h").read_text()


SANITIZED = ("undefined", "address", "thread")  # What `make sanitize` builds.


def test_simd_objects_define_no_weak_symbols():
    every = (ROOT / "build").rglob("simd_*.dir/**/*.o")
    objects = sorted(p for p in every if p.relative_to(ROOT).parts[1] not in SANITIZED)
    if not objects or not shutil.which("nm"):
        pytest.skip("no object files of a build here")
    for path in objects:
        out = subprocess.run(["nm", "-C", path], capture_output=True, text=True, check=True).stdout
        weak = [line for line in out.splitlines() if re.match(r"[0-9a-f]+ [WVu] ", line)]
        assert not weak, f"{path.name}: {weak[:5]}"

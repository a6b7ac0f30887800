"""Files that are there whole or not at all, whenever the writer is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from toolkit.graph import atomic

ROOT = Path(__file__).parents[2]
# Dies by SIGKILL when it calls `os.<call>`, before or after the call's work is done.
_WRITER = """
import os, signal, sys
from pathlib import Path
from toolkit.graph import atomic
path, call, when, unnamed = sys.argv[1:]
real = getattr(os, call)
def deadly(*args, **options):
    if when == "after":
        real(*args, **options)
    os.kill(os.getpid(), signal.SIGKILL)
if unnamed == "named":
    atomic._open_unnamed = lambda folder: None
setattr(os, call, deadly)
atomic.write_atomically(Path(path), b"new" * 1000)
"""


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


@pytest.mark.parametrize("unnamed", ["unnamed", "named"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("call", ["fsync", "chmod", "link", "replace"])
def test_killed_at_each_call(tmp_path, call, when, unnamed):
    if unnamed == "named" and call == "link":
        pytest.skip("a file that has a name is not linked")
    path = tmp_path / "m.onnx"
    path.write_bytes(b"old")
    command = [sys.executable, "-c", _WRITER, str(path), call, when, unnamed]
    done = subprocess.run(command, cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    replaced = (call, when) == ("replace", "after")
    found = contents(tmp_path)
    assert found.pop("m.onnx") == (b"new" * 1000 if replaced else b"old")
    if unnamed == "unnamed":  # What is left in the moment before the replacement is whole.
        assert set(found.values()) <= {b"new" * 1000}
        assert bool(found) is ((call, when) in {("link", "after"), ("replace", "before")})
    atomic.write_atomically(path, b"again")
    assert contents(tmp_path) == {"m.onnx": b"again"}


def test_a_living_writer_is_left_alone(tmp_path):
    """What another process is about to put in place is not swept."""
    wait = "print('here', flush=True); sys.stdin.read(); real(*args, **options)"
    code = _WRITER.replace("os.kill(os.getpid(), signal.SIGKILL)", wait)
    path = tmp_path / "m.onnx"
    command = [sys.executable, "-c", code, str(path), "replace", "before", "unnamed"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None and writer.stdout.readline() == b"here\n"
        atomic.sweep(tmp_path)
        atomic.write_atomically(path, b"mine")
        assert len(contents(tmp_path)) == 2
        writer.communicate()
    assert writer.returncode == 0
    assert contents(tmp_path) == {"m.onnx": b"new" * 1000}


def test_other_files_are_left_alone(tmp_path):
    for name in (".m.onnx", ".m.onnx.tmp.txt", "m.onnx.1.tmp", ".other.onnx.1.tmp"):
        (tmp_path / name).write_bytes(b"x")
    atomic.write_atomically(tmp_path / "m.onnx", b"y")
    assert len(contents(tmp_path)) == 5


def test_permissions_are_kept(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"old")
    os.chmod(path, 0o640)
    atomic.write_atomically(path, b"new")
    assert path.stat().st_mode & 0o777 == 0o640

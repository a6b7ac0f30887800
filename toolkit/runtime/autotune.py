"""Measured choice of a convolution's algorithm, kept in a file for later processes.

Off by default: a model of cycles chooses (`cpu/kernels/conv_choice.cc`). When it is on, the first
run of a layer of a new shape times every algorithm that can do it, and the fastest stays. It is on
for a process after `enable()` or with `TOOLKIT_AUTOTUNE=1`, for one session with
`SessionOptions.autotune`. A choice once in the file stays; results of one choice are always the
same bits, those of two algorithms differ in rounding (NUMERICS.md).
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import platform
import sys
import warnings
from pathlib import Path
from typing import Any

from toolkit.errors import ToolkitWarning
from toolkit.graph.atomic import fcntl, write_atomically
from toolkit.runtime import _core

__all__ = ["cache_path", "disable", "enable", "prepare", "save"]

_FORMAT = 1
_saved: dict[str, str] = {}  # What the file is known to hold for this machine.


def enable() -> None:
    """Measures every convolution from now on whose algorithm is not in the file."""
    prepare()
    _core.autotune(True)


def disable() -> None:
    """Leaves the choice to the model of cycles again; what was measured stays in the file."""
    save()
    _core.autotune(False)


def cache_path() -> Path:
    """The file: `TOOLKIT_CACHE_DIR`, or the user's folder for caches, and `autotune.json`."""
    if folder := os.environ.get("TOOLKIT_CACHE_DIR"):
        return Path(folder) / "autotune.json"
    home = Path.home()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return base / "toolkit" / "autotune.json"


@functools.cache
def prepare() -> None:
    """Reads the file, once in a process, and writes it when the process ends."""
    for layer, algorithm in _read().get(_machine(), {}).items():
        if _core.add_autotuned(layer, algorithm):
            _saved[layer] = algorithm
    atexit.register(save)


def save() -> None:
    """Adds to the file what was measured since. It may fail, with a warning."""
    found = _core.autotuned()
    if found.keys() <= _saved.keys():
        return
    path = cache_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path.with_suffix(".lock")):
            machines = _read()
            layers = machines.setdefault(_machine(), {})
            for layer, algorithm in found.items():
                layers.setdefault(layer, algorithm)
            content = {"format": _FORMAT, "machines": machines}
            write_atomically(path, json.dumps(content, indent=1, sort_keys=True).encode())
    except OSError as error:
        _warn(f"autotune: a file that can be written is required, got '{path}': {error}.")
    _saved.update(found)


@contextlib.contextmanager
def _locked(path: Path) -> Any:
    """Other processes that merge into the file wait."""
    with path.open("ab") as file:
        if fcntl is not None:
            with contextlib.suppress(OSError):  # A file system without locks.
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _read() -> dict[str, dict[str, str]]:
    """Algorithms by machine and layer; nothing, with a warning, of a file that is none."""
    path = cache_path()
    try:
        content = json.loads(path.read_bytes())
        if content["format"] != _FORMAT:
            return {}
        machines = content["machines"]
        if all(isinstance(v, str) for layers in machines.values() for v in layers.values()):
            return machines  # type: ignore[no-any-return]
        raise ValueError("algorithms must be names")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        _warn(f"autotune: a file of choices is required, got '{path}': {error}. It is ignored.")
        return {}


@functools.cache
def _machine() -> str:
    """What the fastest algorithm depends on besides layer and threads."""
    from importlib.metadata import version

    processor = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
    return f"toolkit {version('toolkit')}, {processor}, {_core.isa()}"


def _warn(message: str) -> None:
    warnings.warn(message, ToolkitWarning, stacklevel=3)

"""The profile of a session as a file of Chrome's trace events, as onnxruntime writes it."""

from __future__ import annotations

import datetime
import json
import os
import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from toolkit import dtypes
from toolkit.graph.atomic import write_atomically
from toolkit.runtime import _core
from toolkit.runtime.api.describe import type_name
from toolkit.runtime.api.environment import CPU
from toolkit.runtime.measure.profile import size_in_bytes


class Profiler:
    """Collects what the programs of a session cost; it writes the file when it ends, or is dropped.

    Args:
        prefix: of the file's name, to which the time is appended.
    """

    def __init__(self, prefix: str) -> None:
        now = datetime.datetime.now()
        stamp = f"{now:%Y-%m-%d_%H-%M-%S}_{now.microsecond // 1000:03d}"
        self.path = f"{prefix}_{stamp}.json"
        self.start = time.perf_counter()
        self.start_ns = time.perf_counter_ns()
        self._programs: list[_core.Program] = []
        self._events: list[dict[str, Any]] = []
        self._finish = weakref.finalize(
            self, _write, self.path, self._programs, self._events, self.start
        )

    def watch(self, program: _core.Program) -> None:
        """Profiles a program from now on."""
        program.enable_profile(True)
        self._programs.append(program)

    def note(self, name: str, start: float) -> None:
        """An event of the session that began at `start` and ends now."""
        self._events.append(
            _event("Session", name, start - self.start, time.perf_counter() - start)
        )

    def end(self) -> str:
        """Writes the file; its name."""
        self._finish()
        return self.path


def _write(
    path: str, programs: Sequence[_core.Program], events: Sequence[dict[str, Any]], origin: float
) -> None:
    every = list(events)
    for program in programs:
        every += _nodes(program.profile(), origin)
        program.enable_profile(False)
    every.sort(key=lambda e: (e["ts"], -e["dur"]))
    text = "[\n" + ",\n".join(json.dumps(e) for e in every) + "\n]\n"
    write_atomically(Path(path), text.encode())


def _event(
    category: str, name: str, start: float, seconds: float, args: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    return {
        "cat": category,
        "pid": os.getpid(),
        "tid": threading.get_native_id(),
        "dur": int(seconds * 1e6),
        "ts": int(start * 1e6),
        "ph": "X",
        "name": name,
        "args": dict(args or {}),
    }


def _nodes(found: Mapping[str, Any], origin: float) -> Iterator[dict[str, Any]]:
    """One event a node and run; the shapes are those of the latest run."""
    rows = found["nodes"]
    described = [_described(i, row) for i, row in enumerate(rows)]
    for i, start, seconds in found["events"]:
        name = f"{rows[i]['name']}_kernel_time"
        yield _event("Node", name, start - origin, seconds, described[i])
    for row in rows:
        for body in row["bodies"]:
            yield from _nodes(body, origin)


def _described(index: int, row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "op_name": row["op_type"],
        "provider": CPU,
        "node_index": str(index),
        "input_type_shape": _shapes(row["inputs"]),
        "output_type_shape": _shapes(row["outputs"]),
        "activation_size": str(_bytes(row["inputs"])),
        "output_size": str(_bytes(row["outputs"])),
    }


def _shapes(values: Sequence[Any]) -> list[dict[str, list[int]]]:
    return [
        {type_name(dtypes.BY_ONNX[v[0]]): list(v[1])}
        for v in values
        if v is not None and v[0] in dtypes.BY_ONNX
    ]


def _bytes(values: Sequence[Any]) -> int:
    return sum(map(size_in_bytes, values))

"""Where a run's time goes: every node of the native program, against the machine's peaks.

Nodes are those that run, after fusion. What a body of If, Loop or Scan costs is listed under its
own nodes, and the node that runs it keeps the rest. Bytes are those of all inputs and outputs, so a
node whose values lie in a cache can exceed the memory's peak.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

from toolkit import dtypes
from toolkit.graph.atomic import write_atomically
from toolkit.runtime import _core
from toolkit.runtime.measure.operations import count

_EVENTS = 200_000  # Of the top program, below what the core keeps.
_VIEWS = frozenset(
    ["Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Shape", "Size", "ConstantOfShape"]
)
# Operators that read of their first input only what they give.
_PICKS = frozenset(["Gather", "GatherElements", "GatherND", "Slice"])


@dataclass(frozen=True)
class NodeProfile:
    """What one node costs in one run.

    Attributes:
        seconds: the median over runs; in a body, the mean. Without what bodies inside cost.
        operations: additions and multiplications; see `operations`.
        bytes: of its inputs and outputs.
        depth: how many bodies it is in.
    """

    name: str
    op_type: str
    algorithm: str
    shapes: str
    seconds: float
    operations: int
    bytes: int
    depth: int = 0


@dataclass(frozen=True)
class Profile:
    """The nodes in the order of the program, with the peaks to compare them with.

    Attributes:
        runs: how many were measured.
        peak_operations: float32 operations a second; 0: not measured.
        peak_bytes: bytes a second from memory; 0: not measured.
        events: (name, operator, start, seconds) of every node of every run.
    """

    nodes: list[NodeProfile]
    runs: int
    peak_operations: float
    peak_bytes: float
    events: list[tuple[str, str, float, float]] = field(repr=False)

    @property
    def seconds(self) -> float:
        """Of one run, in nodes."""
        return sum(node.seconds for node in self.nodes)

    def by_operator(self) -> list[NodeProfile]:
        """Sums over the nodes of an operator, the dearest first; `shapes` says how many."""
        groups: dict[str, list[NodeProfile]] = {}
        for node in self.nodes:
            groups.setdefault(node.op_type, []).append(node)
        sums = [
            NodeProfile(
                name=op_type,
                op_type=op_type,
                algorithm="",
                shapes=f"{len(group)} nodes",
                seconds=sum(n.seconds for n in group),
                operations=sum(n.operations for n in group),
                bytes=sum(n.bytes for n in group),
            )
            for op_type, group in groups.items()
        ]
        return sorted(sums, key=lambda n: -n.seconds)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        values = asdict(self)
        del values["events"]
        return {**values, "seconds": self.seconds}

    def as_text(self, most: int = 30) -> str:
        """Tables for a person: the dearest nodes, then operators."""
        peaks = (
            f"peaks: {self.peak_operations / 1e9:.0f} GFLOP/s, {self.peak_bytes / 1e9:.1f} GB/s"
            if self.peak_operations
            else "peaks: not measured"
        )
        dearest = sorted(self.nodes, key=lambda n: -n.seconds)[:most]
        head = f"{self.seconds * 1e3:.3f} ms in {len(self.nodes)} nodes, {self.runs} runs; {peaks}"
        parts = [head, self._table("node", dearest)]
        if len(dearest) < len(self.nodes):
            parts[-1] += f"\n... and {len(self.nodes) - len(dearest)} more"
        return "\n\n".join([*parts, self._table("operator", self.by_operator())])

    def _table(self, title: str, nodes: Sequence[NodeProfile]) -> str:
        whole = self.seconds or 1.0
        rows = [[title, "ms", "%", "GFLOP/s", "% peak", "GB/s", "% peak", "algorithm", "shapes"]]
        for node in nodes:
            named = node.name if title == "operator" else f"{node.op_type} {node.name}"
            rows.append(
                [
                    "  " * node.depth + _short(named, 44),
                    f"{node.seconds * 1e3:.3f}",
                    f"{node.seconds / whole * 100:.1f}",
                    *_rate(node.operations, node.seconds, self.peak_operations),
                    *_rate(node.bytes, node.seconds, self.peak_bytes),
                    node.algorithm,
                    _short(node.shapes, 60),
                ]
            )
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        texts = (0, 7, 8)
        return "\n".join(
            "  ".join(
                cell.ljust(width) if i in texts else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        )

    def write_trace(self, path: str | os.PathLike[str]) -> None:
        """Writes all events in Chrome's trace format, for chrome://tracing or Perfetto."""
        origin = min((start for _, _, start, _ in self.events), default=0.0)
        events = [
            {
                "name": f"{op_type} {name}",
                "cat": op_type,
                "ph": "X",
                "ts": (start - origin) * 1e6,
                "dur": seconds * 1e6,
                "pid": 0,
                "tid": 0,
            }
            for name, op_type, start, seconds in self.events
        ]
        text = json.dumps({"traceEvents": events, "displayTimeUnit": "ms"})
        write_atomically(Path(path), text.encode())


def profile(
    program: _core.Program, run: Callable[[], object], seconds: float = 1.0, peaks: bool = True
) -> Profile:
    """Runs a program for a while with its profile on.

    Args:
        program: what `run` executes.
        run: one run.
        seconds: about how long, at least 3 runs.
        peaks: measure the machine too, which takes a fifth of a second once.
    """
    run()  # Plans memory, packs weights, wakes threads.
    limit = max(3, _EVENTS // max(1, program.num_instructions))
    program.enable_profile(True)
    try:
        end, runs = time.perf_counter() + seconds, 0
        while runs < 3 or (runs < limit and time.perf_counter() < end):
            run()
            runs += 1
    finally:
        found = program.profile()
        program.enable_profile(False)
    most = _peaks(_core.get_num_threads()) if peaks else (0.0, 0.0)
    runs = max(1, found["runs"])
    return Profile(list(_nodes(found, runs)), found["runs"], *most, list(_events(found)))


def operations(program: _core.Program, run: Callable[[], object]) -> int:
    """Additions and multiplications of one run."""
    program.enable_profile(True)
    try:
        run()
    finally:
        found = program.profile()
        program.enable_profile(False)
    return sum(node.operations for node in _nodes(found, 1))


def _nodes(
    found: Mapping[str, Any], runs: int, depth: int = 0, prefix: str = ""
) -> Iterator[NodeProfile]:
    times: dict[int, list[float]] = {}
    for i, _, seconds in found["events"]:
        times.setdefault(i, []).append(seconds)
    for i, node in enumerate(found["nodes"]):
        inner = sum(n["seconds"] for body in node["bodies"] for n in body["nodes"]) / runs
        whole = node["seconds"] / runs if depth else statistics.median(times.get(i, [0.0]))
        inputs, outputs = node["inputs"], node["outputs"]
        name = prefix + node["name"]
        ran = bool(inputs or outputs)  # A body may not have run.
        yield NodeProfile(
            name=name,
            op_type=node["op_type"],
            algorithm=node["algorithm"],
            shapes=", ".join(_text(v) for v in inputs) + " -> " + ", ".join(map(_text, outputs)),
            seconds=max(0.0, whole - inner),
            operations=count(node["op_type"], _shapes(inputs), _shapes(outputs)) if ran else 0,
            bytes=_bytes(node["op_type"], inputs, outputs),
            depth=depth,
        )
        for body in node["bodies"]:
            yield from _nodes(body, runs, depth + 1, f"{name}/")


def _events(found: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str, float, float]]:
    nodes = found["nodes"]
    for i, start, seconds in found["events"]:
        yield prefix + nodes[i]["name"], nodes[i]["op_type"], start, seconds
    for node in nodes:
        for body in node["bodies"]:
            yield from _events(body, f"{prefix}{node['name']}/")


def _shapes(values: Sequence[Any]) -> list[Any]:
    return [None if v is None else v[1] for v in values]


def _bytes(op_type: str, inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    if op_type in _VIEWS:
        return 0
    given = sum(map(size_in_bytes, outputs))
    if op_type in _PICKS:
        return given * 2 + sum(map(size_in_bytes, inputs[1:]))
    return given + sum(map(size_in_bytes, inputs))


def size_in_bytes(value: Any) -> int:
    """The bytes of a value as `Program.profile` describes it."""
    if value is None or value[0] not in dtypes.BY_ONNX:
        return 0
    return int(prod(value[1]) * dtypes.BY_ONNX[value[0]].itemsize)


def _text(value: Any) -> str:
    return "-" if value is None else "x".join(map(str, value[1])) or "scalar"


def _rate(amount: int, seconds: float, peak: float) -> tuple[str, str]:
    """Billions a second and percent of the peak."""
    if not amount or not seconds:
        return "", ""
    return f"{amount / seconds / 1e9:.1f}", f"{amount / seconds / peak * 100:.0f}" if peak else ""


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else "..." + text[3 - most :]


@cache
def _peaks(threads: int) -> tuple[float, float]:
    return _core.measure_peaks()

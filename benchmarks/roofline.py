"""How near the zoo's networks come to what the machine allows, and how much memory they take.

    python benchmarks/roofline.py [--threads 1 2] [--seconds 1] [--only TEXT]
                                  [--tables limit gaps memory] [--peers ...]

The limit of a run is the sum over the nodes that it executes of the greater of two times:
multiplications and additions of the algorithm that the node chose (Winograd needs fewer than the
model writes) at the peak of registers, and its constants, in the layout that it reads them in, at
the measured bandwidth of a working set of that size. What is fed and given is read or written once
more. Transforms, activations, normalizations and what passes between nodes cost nothing in it: no
run is faster, and none of these algorithms can be.

Bandwidth is of constants, inputs and outputs together: a small network's lie in a cache.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil, prod
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import toolkit as tk
from benchmarks import inference
from benchmarks.harness import timed
from benchmarks.inference import Case
from toolkit.runtime import InferenceSession, SessionOptions, _core
from toolkit.runtime.measure import operations
from toolkit.runtime.measure.profile import size_in_bytes

# The goals of two threads, to the faster peer; of files as shipped in the geometric mean.
GOALS = {
    "vgg16": 2.5, "unet": 2.3, "resnet18": 1.8, "resnet50": 1.25, "convnext_tiny": 1.3,
    "mobilenet_v2": 1.1, "bert_base": 1.08, "gpt2, prefill": 1.08, "gpt2, step": 1.1, "lstm": 1.3,
    "mlp, batch 1": 1.5, "mlp, batch 64": 1.05, "chain": 2.4,
    "rapidocr": 1.2, "silero": 1.2, "magika": 1.2,
}  # fmt: skip
_TABLES = ("limit", "gaps", "memory")
_GROUPS = 4  # Of a network, in the table of gaps.
_TILES = {"winograd2": 2, "winograd4": 4, "winograd6": 6}
_PICKS = frozenset(["Gather", "GatherElements", "GatherND", "Slice"])  # Read what they give.


@dataclass(frozen=True)
class Work:
    """Of a node: operations as it executes them, and bytes of constants that it reads."""

    operations: int
    bytes: int


@dataclass(frozen=True)
class Limit:
    """Of a run, in seconds and bytes.

    Attributes:
        seconds: no run of these algorithms is faster.
        memory: of these, in nodes that wait for memory and for what is fed and given.
        executed, constants, passed: operations; bytes of constants; of inputs and outputs.
        bandwidth: bytes a second of a working set of that size.
    """

    seconds: float
    memory: float
    executed: int
    constants: int
    passed: int
    bandwidth: float


def work_of(node: Mapping[str, Any]) -> Work:
    """What a node of `Program.profile` has to do at least."""
    inputs, outputs = node["inputs"], node["outputs"]
    shapes = [None if v is None else v[1] for v in inputs]
    results = [None if v is None else v[1] for v in outputs]
    if not inputs and not outputs:  # In a body that did not run.
        return Work(0, 0)
    count = operations.count(node["op_type"], shapes, results)
    sizes = [size_in_bytes(v) if v is not None and v[2] else 0 for v in inputs]
    if node["op_type"] in _PICKS and sizes[0]:
        sizes[0] = size_in_bytes(outputs[0])
    tile = _TILES.get(node["algorithm"])
    if tile and sizes[1]:  # A weight of 3 x 3 becomes one of (tile + 2) x (tile + 2).
        points = (tile + 2) ** 2
        tiles = results[0][0] * prod(ceil(side / tile) for side in results[0][2:])
        count = 2 * tiles * points * prod(shapes[1][:2])
        sizes[1] = sizes[1] * points // prod(shapes[1][2:])
    return Work(count, sum(sizes))


def works_of(nodes: Sequence[Mapping[str, Any]]) -> list[Work]:
    """Of all nodes, those in bodies that ran included."""
    bodies = (body["nodes"] for node in nodes for body in node["bodies"])
    return [work_of(node) for node in nodes] + [w for body in bodies for w in works_of(body)]


def limit_of(works: Sequence[Work], passed: int, peak: float, bandwidth: float) -> Limit:
    """The sum over the nodes, each bound by arithmetic or by memory."""
    seconds = memory = passed / bandwidth
    for work in works:
        least = max(work.operations / peak, work.bytes / bandwidth)
        seconds += least
        memory += least if work.bytes / bandwidth >= work.operations / peak else 0.0
    constants = sum(work.bytes for work in works)
    executed = sum(work.operations for work in works)
    return Limit(seconds, memory, executed, constants, passed, bandwidth)


def profiled(case: Case, threads: int, seconds: float = 0.0) -> dict[str, Any]:
    """As `Program.profile` tells it of some runs after the first; `passed`: bytes fed and given."""
    session = InferenceSession(case.path, SessionOptions(intra_op_num_threads=threads))
    program, run = session.native_program(), partial(session.run, None, case.feed)
    values = [*case.feed.values(), *run()]
    program.enable_profile(True)
    timed(run, max(1, int(seconds / timed(run, 1))))
    told = program.profile()
    program.enable_profile(False)
    return {**told, "passed": sum(np.asarray(v).nbytes for v in values)}


def measured_limit(case: Case, threads: int) -> tuple[Limit, float]:
    """The limit of a case, and the peak of registers, both as the machine is now."""
    told = profiled(case, threads)
    works, passed = works_of(told["nodes"]), told["passed"]
    peak, bandwidth = _core.measure_peaks(passed + sum(work.bytes for work in works))
    return limit_of(works, passed, peak, bandwidth), peak


def _head(title: str, columns: Sequence[str]) -> None:
    print(f"\n{title}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}", flush=True)


def limits(found: Sequence[Case], options: argparse.Namespace, threads: int) -> None:
    """Prints for each case the limit, how near each side is, and the ratio at the limit."""
    tk.set_num_threads(threads)
    columns = ["network", "GFLOP written", "executed", "constants MiB", "fed + given MiB", "GB/s"]
    columns += ["peak GFLOP/s", "limit ms", "of it memory %", "ours ms", "% of limit"]
    columns += [f"{p} ms (% of peak)" for p in options.peers]
    columns += ["ratio", "goal", "at the limit"]
    _head(f"{threads} threads", columns)
    for case in found:
        limit, peak = measured_limit(case, threads)
        medians = inference.measure(case, options.peers, threads, options.seconds, perf_counter)
        print(_limit_row(case, limit, peak, medians, options.peers), flush=True)


def _limit_row(
    case: Case, limit: Limit, peak: float, medians: Mapping[str, float], peers: Sequence[str]
) -> str:
    ours = medians["ours"]
    best = min((medians[p] for p in peers if p in medians), default=np.nan)
    cells = [case.name, f"{case.operations / 1e9:.3f}", f"{limit.executed / 1e9:.3f}"]
    cells += [f"{limit.constants / 2**20:.1f}", f"{limit.passed / 2**20:.1f}"]
    cells += [f"{limit.bandwidth / 1e9:.0f}", f"{peak / 1e9:.0f}", f"{limit.seconds * 1e3:.3f}"]
    cells += [f"{limit.memory / limit.seconds * 100:.0f}"]
    cells += [f"{ours * 1e3:.3f}", f"{limit.seconds / ours * 100:.0f}"]
    for peer in peers:
        took = medians.get(peer)
        share = 0.0 if took is None else case.operations / took / peak * 100
        cells.append("-" if took is None else f"{took * 1e3:.3f} ({share:.0f})")
    goal = next((goal for name, goal in GOALS.items() if case.name.startswith(name)), None)
    cells += [f"{best / ours:.2f}", str(goal or "-"), f"{best / limit.seconds:.2f}"]
    return f"| {' | '.join(cells)} |"


def gaps(found: Sequence[Case], options: argparse.Namespace, threads: int) -> None:
    """Prints where the time beyond the limit goes: by operator and algorithm, the most first."""
    tk.set_num_threads(threads)
    columns = ["network", "operator", "nodes", "limit ms", "ms", "beyond ms"]
    _head(f"{threads} threads", columns)
    for case in found:
        told = profiled(case, threads, options.seconds)
        works = [(node, work_of(node)) for node in told["nodes"]]
        peak, bandwidth = _core.measure_peaks(max(1, sum(work.bytes for _, work in works)))
        groups: dict[str, list[tuple[float, float]]] = {}
        for node, work in works:
            least = max(work.operations / peak, work.bytes / bandwidth)
            name = f"{node['op_type']} {node['algorithm']}".strip()
            groups.setdefault(name, []).append((least, node["seconds"] / told["runs"]))
        sums = {name: np.sum(times, axis=0) * 1e3 for name, times in groups.items()}
        for name in sorted(sums, key=lambda n: sums[n][0] - sums[n][1])[:_GROUPS]:
            least, took = sums[name]
            cells = [case.name, name, str(len(groups[name]))]
            cells += [f"{t:.3f}" for t in (least, took, took - least)]
            print(f"| {' | '.join(cells)} |", flush=True)


def memory(found: Sequence[Case], options: argparse.Namespace, folder: Path) -> None:
    """Prints the arena beside what is alive, and resident memory in a fresh process each."""
    threads = options.threads[-1]
    sides = ["ours", *(p for p in options.peers if p in inference.PEERS)]
    columns = ["network", "live", "arena", "arena / live", "constants", "packed"]
    columns += [f"{s}: peak of 1 run, of 3, held" for s in sides]
    _head(
        f"MiB, {threads} threads; a fresh process: its peaks, and what it holds in the end", columns
    )
    for case in found:
        session = InferenceSession(case.path, SessionOptions(intra_op_num_threads=threads))
        session.run(None, case.feed)
        used = session.memory_report()
        factor = f"{used.arena / used.live:.2f}" if used.live else "-"
        cells = [case.name, *(f"{n / 2**20:.2f}" for n in (used.live, used.arena)), factor]
        cells += [f"{n / 2**20:.1f}" for n in (used.constants, used.packed)]
        for side in sides:
            try:
                told = inference.first_run(case, side, threads, folder, busy=False)
            except subprocess.CalledProcessError:
                cells.append("-")
            else:
                cells.append(", ".join(f"{told[k]:.0f}" for k in ("mib", "later_mib", "held_mib")))
        print(f"| {' | '.join(cells)} |", flush=True)


def main(arguments: list[str] | None = None) -> None:
    """Parses the command line and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--only", default="", help="names that contain this")
    parser.add_argument("--peers", nargs="*", default=list(inference.PEERS))
    parser.add_argument("--tables", nargs="+", default=_TABLES, choices=_TABLES)
    parser.add_argument("--folder", type=Path, help="keep the files here")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(exist_ok=True)
        found = list(inference.cases(options.only, folder))
        for name, table in (("limit", limits), ("gaps", gaps)):
            for threads in options.threads if name in options.tables else ():
                table(found, options, threads)
        if "memory" in options.tables:
            memory(found, options, Path(temporary))


if __name__ == "__main__":
    main()

"""Inference of the zoo's networks: ours, onnxruntime and openvino on the same `.onnx` files.

`--peers` may also name torch: the same network in eager mode, for those that are no file.

    python benchmarks/inference.py [--threads 1 2] [--seconds 3] [--only TEXT] [--peers ...]

Prints for each number of threads a Markdown table of medians; the ratio is to the faster peer, so
more than 1 is better for us. A second table gives, in a fresh process each, the seconds until the
first result and the peak of resident memory. `--busy`: on a machine with other work, the clock
with one thread is the processor's.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import toolkit as tk
from benchmarks.zoo import FILES, NETWORKS, Network
from toolkit.errors import InvalidArgumentError
from toolkit.runtime import InferenceSession, SessionOptions, _core
from toolkit.runtime.measure import peers
from toolkit.runtime.measure.profile import operations

FIRST_RUN = Path(__file__).parent / "first_run.py"
PEERS = ("onnxruntime", "openvino")  # Of files.
TOLERANCE = 1e-3  # Of the largest absolute value of an output.


@dataclass(frozen=True)
class Case:
    """A model file and what to feed."""

    name: str
    path: Path
    feed: Mapping[str, np.ndarray]
    network: Network | None = None  # None: a file that a package holds.

    def load(self, side: str, threads: int) -> peers.Run:
        """The model in a runtime, or in torch."""
        if side != "torch":
            return peers.load(side, self.path, threads, self.feed)
        if self.network is None:
            raise InvalidArgumentError("a network of the zoo is required, got a file.")
        import torch

        torch.set_num_threads(threads)
        model = self.network.build(torch)

        def run(feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
            with torch.inference_mode():
                found = model(*map(torch.from_numpy, feed.values()))
            return [y.numpy() for y in (found if isinstance(found, tuple) else (found,))]

        return run

    @cached_property
    def operations(self) -> int:
        """Of the file's own operators, convolutions by the direct sum."""
        options = SessionOptions(graph_optimization_level=0)  # Nothing is fused.
        session = InferenceSession(self.path, options)
        return operations(session.native_program(), lambda: session.run(None, self.feed))


def cases(only: str, folder: Path) -> Iterator[Case]:
    """The networks and files whose name contains `only`, written to `folder` where needed."""
    written: dict[tuple[Any, int], Path] = {}  # Cases of other sizes share a file.
    for name, network in NETWORKS.items():
        if only in name:
            slug = re.sub(r"\W+", "_", name)
            path = written.setdefault((network.make, id(network.dynamic)), folder / f"{slug}.onnx")
            if not path.exists():
                network.save(path)
            feed = dict(zip(_input_names(path), network.example(), strict=True))
            yield Case(name, path, feed, network)
    for name, file in FILES.items():
        if only in name:
            if file.path is None:
                print(f"{name}: {file.package} is not installed", file=sys.stderr)
            else:
                yield Case(name, file.path, file.example())


def _input_names(path: Path) -> list[str]:
    import onnx

    return [v.name for v in onnx.load(path, load_external_data=False).graph.input]


def measure(
    case: Case, sides: list[str], threads: int, seconds: float, clock: Callable[[], float]
) -> dict[str, float]:
    """Medians by side, ours first; a side that cannot run the model is left out."""
    runs = {"ours": case.load("ours", threads)}
    for side in sides:
        try:
            run = case.load(side, threads)
            run(case.feed)
        except Exception as error:
            print(f"{case.name}: {side}: {' '.join(str(error).split())[:200]}", file=sys.stderr)
        else:
            runs[side] = run
    found = peers.measure(runs, case.feed, seconds, clock)
    for side, error in found.errors.items():
        if not error <= TOLERANCE:
            raise SystemExit(f"{case.name}: outputs of {side} differ from ours by {error:.1e}")
    return found.medians


def table(found: list[Case], options: argparse.Namespace, threads: int) -> None:
    """Prints the medians of all cases."""
    tk.set_num_threads(threads)
    clock = time.process_time if options.busy and threads == 1 else time.perf_counter
    sides = options.peers
    columns = ["network", "ours ms", *(f"{p} ms" for p in sides), "ratio to the faster"]
    columns += ["GFLOP", "ours GFLOP/s", "% of peak"]
    peak, _ = _core.measure_peaks()
    print(f"\n{threads} threads, peak {peak / 1e9:.0f} GFLOP/s\n")
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    ratios = []
    for case in found:
        medians = measure(case, sides, threads, options.seconds, clock)
        cells = [f"{medians[s] * 1e3:.3f}" if s in medians else "-" for s in ("ours", *sides)]
        ratio = min((medians[p] for p in sides if p in medians), default=np.nan) / medians["ours"]
        ratios += [ratio] if np.isfinite(ratio) else []
        speed = case.operations / medians["ours"]
        cells += [f"{ratio:.2f}", f"{case.operations / 1e9:.3f}", f"{speed / 1e9:.0f}"]
        print(f"| {case.name} | {' | '.join(cells)} | {speed / peak * 100:.0f} |", flush=True)
    mean = np.exp(np.mean(np.log(ratios or [np.nan])))
    above = sum(r > 1 for r in ratios)
    print(f"\nGeometric mean of {len(ratios)} ratios: {mean:.2f}; above 1: {above}")


def first_run(case: Case, side: str, threads: int, folder: Path, busy: bool) -> dict[str, float]:
    """What `first_run.py` reports of a fresh process."""
    inputs = folder / "inputs.npz"
    np.savez(inputs, **case.feed)
    command = [sys.executable, "-W", "ignore", FIRST_RUN, side, case.path, inputs, str(threads)]
    command += ["busy"] if busy and threads == 1 else []
    # Modules compiled beforehand, as those of an installed package are.
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(folder / "compiled")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def first_runs(found: list[Case], options: argparse.Namespace, folder: Path) -> None:
    """Prints the time to the first result and the peak of memory, the best of some processes."""
    sides = ["ours", *(p for p in options.peers if p in PEERS)]
    columns = ["network", "file MiB", *(f"{s} s (import + load + run)" for s in sides)]
    columns += ["load + run to the faster", *(f"{s} peak MiB" for s in sides)]
    print(f"\nFirst result in a fresh process, {options.threads[-1]} threads\n")
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for case in found:
        runs: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
        failed: set[str] = set()
        for side in sides * options.processes:
            try:
                if side not in failed:
                    runs[side].append(
                        first_run(case, side, options.threads[-1], folder, options.busy)
                    )
            except subprocess.CalledProcessError as error:
                print(f"{case.name}: {side}: {error.stderr[-200:]}", file=sys.stderr)
                failed.add(side)
        print(_first_row(case, runs, failed), flush=True)


def _first_row(case: Case, runs: dict[str, list[dict[str, float]]], failed: set[str]) -> str:
    times, peaks, seconds = [], [], {}
    for side, found in runs.items():
        if side in failed:
            times.append("-")
            peaks.append("-")
            continue
        best = min(found, key=lambda r: r["load"] + r["run"])
        seconds[side] = best["load"] + best["run"]
        parts = f"{best['import']:.3f} + {best['load']:.3f} + {best['run']:.3f}"
        times.append(f"{best['import'] + seconds[side]:.3f} ({parts})")
        peaks.append(f"{min(r['mib'] for r in found):.0f}")
    ours = seconds.pop("ours", np.nan)
    ratio = f"{ours / min(seconds.values(), default=np.nan):.2f}"
    size = case.path.stat().st_size / 2**20
    return f"| {case.name} | {size:.1f} | {' | '.join([*times, ratio, *peaks])} |"


def main(arguments: list[str] | None = None) -> None:
    """Parses the command line and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--only", default="", help="names that contain this")
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=[*PEERS, "torch"])
    parser.add_argument("--busy", action="store_true")
    parser.add_argument(
        "--tables", nargs="+", default=["speed", "first"], choices=["speed", "first"]
    )
    parser.add_argument("--processes", type=int, default=3, help="fresh processes of each side")
    parser.add_argument("--folder", type=Path, help="keep the files here")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(exist_ok=True)
        found = list(cases(options.only, folder))
        if "speed" in options.tables:
            for threads in options.threads:
                table(found, options, threads)
        if "first" in options.tables:
            first_runs(found, options, Path(temporary))


if __name__ == "__main__":
    main()

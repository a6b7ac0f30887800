"""Load time and resident memory of a model whose weights lie in a file of their own.

    python benchmarks/big_model.py [--gib 3] [--folder FOLDER] [--threads 1] [--processes 1]

The model: two stacks of MatMul, each an output of its own. A fresh process of each side, ours and
onnxruntime, loads it, runs half of the layers (one output) and then all of them. The table gives
seconds and what `/proc/self/status` says is resident beyond what the imports took: all, that of
anonymous memory, that of mapped files (which the kernel can drop without writing). The files are
deleted afterwards. The exit status is 1 where ours holds more than 1.2 times the weights at any
step: both sides pack, and so touch, all of them at load.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

LIMIT = 1.2  # Resident bytes to bytes touched.
SIDES = ("ours", "onnxruntime")
_ALIGNED = 4096
_FIELDS = {"rss": "VmRSS", "anonymous": "RssAnon", "mapped": "RssFile"}


def write_model(folder: Path, layers: int, width: int) -> Path:
    """Writes two stacks of `layers` products by square weights; their bytes lie in `big.data`.

    One random block serves all layers, rotated for each: the file has no holes, and no two weights
    are the same, which onnxruntime would hold once.
    """
    import onnx
    from onnx import TensorProto, helper

    scale = np.float32(width**-0.5)
    block = np.random.default_rng(0).standard_normal(width * width, np.float32) * scale
    nodes, weights = [], []
    with open(folder / "big.data", "wb") as file:
        for stack in "ab":
            value = "x"
            for layer in range(layers):
                name, result = f"{stack}{layer}.weight", f"{stack}{layer}"
                tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[width, width])
                tensor.data_location = TensorProto.EXTERNAL
                place = {"location": "big.data", "offset": file.tell(), "length": block.nbytes}
                for key, entry in place.items():
                    tensor.external_data.add(key=key, value=str(entry))
                file.write(np.roll(block, len(weights) * width).data)
                file.write(bytes(-block.nbytes % _ALIGNED))
                weights.append(tensor)
                nodes.append(helper.make_node("MatMul", [value, name], [result]))
                value = result
    float32, rows = TensorProto.FLOAT, ["rows", width]
    outputs = [f"{stack}{layers - 1}" for stack in "ab"]
    graph = helper.make_graph(
        nodes,
        "big",
        [helper.make_tensor_value_info("x", float32, rows)],
        [helper.make_tensor_value_info(name, float32, rows) for name in outputs],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.save(model, folder / "big.onnx")
    return folder / "big.onnx"


def resident() -> dict[str, int]:
    """Bytes of this process that are in memory."""
    with open("/proc/self/status") as status:
        lines = dict(line.split(":", 1) for line in status)
    return {name: int(lines[field].split()[0]) * 1024 for name, field in _FIELDS.items()}


def one_side(side: str, path: str, threads: int) -> dict[str, Any]:
    """Loads and runs in this process: the seconds, and the memory after each step."""
    if side == "ours":
        from toolkit.runtime import InferenceSession, SessionOptions
    else:
        from onnxruntime import InferenceSession, SessionOptions
    options = SessionOptions()
    options.intra_op_num_threads = threads
    start, clock = resident(), time.perf_counter()
    session = InferenceSession(path, options, providers=["CPUExecutionProvider"])
    seconds = {"load": time.perf_counter() - clock}
    memory = {"load": resident()}
    width = session.get_inputs()[0].shape[1]
    names = [o.name for o in session.get_outputs()]
    feed = {"x": np.random.default_rng(1).standard_normal((1, width), np.float32)}
    sums = {}
    for step, wanted in (("half", names[:1]), ("all", names)):
        clock = time.perf_counter()
        sums[step] = [float(np.abs(y).sum()) for y in session.run(wanted, feed)]
        seconds[step] = time.perf_counter() - clock
        memory[step] = resident()
    more = {s: {k: v - start[k] for k, v in found.items()} for s, found in memory.items()}
    return {"seconds": seconds, "memory": more, "sums": sums}


def measure(side: str, path: Path, threads: int) -> dict[str, Any]:
    """`one_side` in a fresh process."""
    command = [sys.executable, "-W", "ignore", __file__, "--side", side]
    command += ["--model", str(path), "--threads", str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gib", type=float, default=3.0)
    parser.add_argument("--width", type=int, default=4096)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--processes", type=int, default=1, help="of each side; the fastest counts")
    parser.add_argument("--folder", help="where the files lie for the time of the run")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(one_side(options.side, options.model, options.threads)))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        layers = max(1, round(options.gib * 2**30 / options.width**2 / 4 / 2))
        path = write_model(Path(folder), layers, options.width)
        size = (path.parent / "big.data").stat().st_size
        found: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
        for _ in range(options.processes):
            for side in SIDES:
                found[side].append(measure(side, path, options.threads))
    sys.exit(not report(found, size))


def report(found: dict[str, list[dict[str, Any]]], size: int) -> bool:
    """Prints the table; whether ours holds no more than it may."""
    print(f"{size / 2**30:.2f} GiB of weights; MiB beyond the imports: all (anonymous + mapped)\n")
    print("| side | step | s | touched MiB | resident MiB | ratio |\n|---|---|---|---|---|---|")
    good = True
    for side, runs in found.items():
        for step, touched in (("load", 0), ("half", size // 2), ("all", size)):
            memory = runs[0]["memory"][step]
            mib = {k: v / 2**20 for k, v in memory.items()}
            cell = f"{mib['rss']:.0f} ({mib['anonymous']:.0f} + {mib['mapped']:.0f})"
            ratio = f"{memory['rss'] / touched:.2f}" if touched else "-"
            best = min(run["seconds"][step] for run in runs)
            print(f"| {side} | {step} | {best:.2f} | {touched / 2**20:.0f} | {cell} | {ratio} |")
            if side == "ours":
                good = good and memory["rss"] <= LIMIT * size
    sums = [runs[0]["sums"]["all"] for runs in found.values()]
    return good and bool(np.allclose(*sums, rtol=1e-3))


if __name__ == "__main__":
    main()

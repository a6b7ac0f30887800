"""A decoding step of GPT-2 (124M) after 512 tokens, with float32, int8 and int4 weights.

    python benchmarks/decode.py [--threads 2 1] [--seconds 3] [--group 32] [--only int4]

"cache" appends keys and values in place (`InferenceSession.kv_cache`); "run" is `session.run` on
the file as it stands, which copies them, as onnxruntime's does. Weights are blocks of `group` rows
with a float32 scale, by `toolkit.convert.quantize_weights` in DequantizeLinear; onnxruntime makes
its MatMulNBits of them, which we do exactly and it does by default with activations of 8 bits
("onnxruntime exact": its option that keeps them float32). GB/s: of weights as stored and the past.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import toolkit as tk
from benchmarks.harness import compare
from benchmarks.zoo import NETWORKS
from toolkit.convert import quantize_weights
from toolkit.graph.io import save_model
from toolkit.runtime import InferenceSession

NAME, PAST = "gpt2, step after 512", 512
PARAMETERS = 12 * (768 * 2304 + 768 * 768 + 2 * 768 * 3072) + 768 * 50257  # That a step multiplies.
TOLERANCE = 1e-3
PEERS = ("onnxruntime", "onnxruntime exact")


def peer(path: Path, threads: int, feed: dict[str, Any], exact: bool) -> Callable[[], Any]:
    """A step in onnxruntime; `exact`: no activations of 8 bits."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    if exact:
        options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    return lambda: session.run(None, feed)


def sides(path: Path, threads: int) -> dict[str, Callable[[], Any]]:
    """What takes turns; each gives the scores first."""
    tk.set_num_threads(threads)
    session = InferenceSession(path)
    names = [v.name for v in session.get_inputs()]
    feed = dict(zip(names, NETWORKS[NAME].example(), strict=True))
    presents = [v.name for v in session.get_outputs()][1:]
    cache = InferenceSession(path).kv_cache(dict(zip(names[2:], presents, strict=True)), 2 * PAST)
    cache.load({n: feed[n] for n in names[2:]})
    tokens = {n: feed[n] for n in names[:2]}

    def step() -> Any:
        cache.truncate(PAST)
        return cache.run(None, tokens)

    runs = {"cache": step, "run": lambda: session.run(None, feed)}
    return runs | {name: peer(path, threads, feed, name.endswith("exact")) for name in PEERS}


def main() -> None:
    """Prints a table for each number of threads."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[2, 1])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--group", type=int, default=32)
    parser.add_argument("--only", default="", help="weights that contain this")
    parser.add_argument("--folder", type=Path, help="keep the files here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        files = {"float32": folder / "float32.onnx"}
        if not files["float32"].exists():
            NETWORKS[NAME].save(files["float32"])
        for bits in (8, 4):
            files[f"int{bits}"] = path = folder / f"int{bits}_{options.group}.onnx"
            if not path.exists():
                save_model(quantize_weights(files["float32"], bits, options.group), path, opset=21)
        for threads in options.threads:
            columns = [
                f"weights, {threads} threads",
                "cache ms",
                "run ms",
                *(f"{p} ms" for p in PEERS),
            ]
            columns += [*(f"cache vs {p}" for p in PEERS), "run vs onnxruntime", "cache GB/s"]
            print(f"\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
            for name, path in files.items():
                if options.only not in name:
                    continue
                runs = sides(path, threads)
                scores = {side: run()[0] for side, run in runs.items()}
                for side in ("run", "onnxruntime exact"):
                    error = (
                        np.abs(scores[side] - scores["cache"]).max() / np.abs(scores[side]).max()
                    )
                    if not error <= TOLERANCE:
                        raise SystemExit(f"{name}: scores of {side} differ by {error:.1e}")
                times = compare(name, runs, options.seconds).medians
                each = 4 if name == "float32" else int(name[3:]) / 8 + 4 / options.group
                read = PARAMETERS * each + 24 * 12 * PAST * 64 * 4
                ours = times["cache"]
                cells = [f"{t * 1e3:.2f}" for t in times.values()]
                cells += [f"{times[p] / ours:.2f}" for p in PEERS]
                cells += [f"{times[PEERS[0]] / times['run']:.2f}", f"{read / ours / 1e9:.0f}"]
                print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()

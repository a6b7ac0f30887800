"""The reference models of `toolkit.models` beside onnxruntime.

    python benchmarks/models.py [--threads 2] [--seconds 5] [--only NAME]

Prints a Markdown table; the ratio is theirs to ours, so more is better for us.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnxruntime

sys.path.insert(0, str(Path(__file__).parents[1]))

import toolkit as tk
from benchmarks.harness import Comparison, compare, header
from toolkit import models
from toolkit.runtime import InferenceSession


def inference(name: str, batch: int, threads: int, seconds: float) -> Comparison:
    """One call of a session on the exported file."""
    model = models.create(name).eval()
    x = models.example_input(name, batch)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.onnx"
        tk.save(path, model, inputs=x)
        ours = InferenceSession(path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        theirs = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feed = {ours.get_inputs()[0].name: x.numpy()}
    a, b = ours.run(None, feed)[0], theirs.run(None, feed)[0]
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)
    return compare(
        f"{name}, batch {batch}",
        {"ours": lambda: ours.run(None, feed), "onnxruntime": lambda: theirs.run(None, feed)},
        seconds,
    )


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=tk.get_num_threads())
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--only", choices=list(models.MODELS))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    tk.set_num_threads(options.threads)
    names = [options.only] if options.only else list(models.MODELS)
    version = f"onnxruntime {onnxruntime.__version__}"
    print(f"{options.threads} threads, {tk.runtime._core.isa()}, {version}")
    print("\n" + header("ours", "onnxruntime"))
    for name in names:
        for batch in (1, 32 if name != "char_gpt" else 8):
            row = inference(name, batch, options.threads, options.seconds)
            print(row.line(), flush=True)


if __name__ == "__main__":
    main()

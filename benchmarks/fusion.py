"""What fusion gives: elementwise chains, a perceptron, a training step; beside peers and unfused.

    python benchmarks/fusion.py [--threads 2] [--seconds 4] [--only chain|mlp|char_gpt]

"plain" is our own runtime with TOOLKIT_OPT=0. Ratios are theirs to ours.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(Path(__file__).parents[1]))

import toolkit as tk
from benchmarks.harness import Comparison, compare, header
from benchmarks.training import JOBS, Step
from toolkit.runtime import InferenceSession


def unfused(build: Callable[[], Any]) -> Any:
    """What `build` makes when every operator is to run on its own."""
    os.environ["TOOLKIT_OPT"] = "0"
    try:
        return build()
    finally:
        del os.environ["TOOLKIT_OPT"]


def chain(count: int) -> onnx.ModelProto:
    """The model relu(tanh(x * a + b) - x): five operators, scalar a and b."""
    nodes = [
        helper.make_node("Mul", ["x", "a"], ["t0"]),
        helper.make_node("Add", ["t0", "b"], ["t1"]),
        helper.make_node("Tanh", ["t1"], ["t2"]),
        helper.make_node("Sub", ["t2", "x"], ["t3"]),
        helper.make_node("Relu", ["t3"], ["y"]),
    ]
    scalars = [numpy_helper.from_array(np.float32(v), n) for n, v in (("a", 1.5), ("b", 0.25))]
    return _model(nodes, (count,), (count,), scalars)


def mlp() -> onnx.ModelProto:
    """784-512-512-10, as exporters write it: Gemm and Relu."""
    rng = np.random.default_rng(0)
    nodes, weights, last = [], [], "x"
    sizes = [784, 512, 512, 10]
    for i, (m, n) in enumerate(pairwise(sizes)):
        weight = rng.standard_normal((n, m)).astype(np.float32) / np.float32(m**0.5)
        weights.append(numpy_helper.from_array(weight, f"w{i}"))
        weights.append(numpy_helper.from_array(np.zeros(n, np.float32), f"b{i}"))
        out = f"h{i}" if i < 2 else "y"
        nodes.append(helper.make_node("Gemm", [last, f"w{i}", f"b{i}"], [out], transB=1))
        if i < 2:
            nodes.append(helper.make_node("Relu", [out], [f"r{i}"]))
        last = f"r{i}"
    return _model(nodes, ("n", 784), ("n", 10), weights)


def _model(nodes: Any, x: Any, y: Any, initializers: Any) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, y)],
        initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def inference(name: str, model: onnx.ModelProto, shape: Any, options: Any) -> Comparison:
    """A session's call beside onnxruntime's."""
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    ours = InferenceSession(model)
    plain = unfused(lambda: InferenceSession(model))
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    theirs = onnxruntime.InferenceSession(
        model.SerializeToString(), settings, providers=["CPUExecutionProvider"]
    )
    feed = {"x": x}
    want = theirs.run(None, feed)[0]
    np.testing.assert_allclose(ours.run(None, feed)[0], want, rtol=1e-3, atol=1e-4)
    sides = {
        "ours": lambda: ours.run(None, feed),
        "onnxruntime": lambda: theirs.run(None, feed),
        "plain": lambda: plain.run(None, feed),
    }
    return compare(name, sides, options.seconds)


def training(options: Any) -> Comparison:
    """A step of a character GPT with AdamW beside torch eager."""
    name, job = next((n, j) for n, j in JOBS.items() if n.startswith("char gpt"))

    def build() -> Step:
        step = job.ours()
        step()
        return step

    sides = {"ours": build(), "torch eager": job.torch(), "plain": unfused(build)}
    return compare(name, sides, options.seconds)


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=tk.get_num_threads())
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--only", choices=["chain", "mlp", "char_gpt"])
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    tk.set_num_threads(options.threads)
    torch.set_num_threads(options.threads)
    wanted = [options.only] if options.only else ["chain", "mlp", "char_gpt"]
    print(f"{options.threads} threads, {tk.runtime._core.isa()}\n")
    print(header("ours", "onnxruntime", "plain"))
    if "chain" in wanted:
        for count in (1 << 16, 1 << 22):
            name = f"chain of 5 with tanh, {count}"
            print(inference(name, chain(count), (count,), options).line())
    if "mlp" in wanted:
        for batch in (1, 64):
            name = f"MLP 784-512-512-10, batch {batch}"
            print(inference(name, mlp(), (batch, 784), options).line())
    if "char_gpt" in wanted:
        print("\n" + header("ours", "torch eager", "plain"))
        print(training(options).line())


if __name__ == "__main__":
    main()

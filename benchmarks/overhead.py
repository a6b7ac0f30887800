"""What small calls cost: an eager operation beside numpy and torch, a session beside onnxruntime.

    python benchmarks/overhead.py

Adds (2, 3) float32 tensors, with and without gradients recorded; runs a network of three layers of
64 units and a chain of 100 nodes, unfused, that hardly compute. A thousand a turn, one thread.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper

sys.path.insert(0, str(Path(__file__).parents[1]))

import toolkit as tk
from benchmarks.harness import compare
from toolkit.runtime import InferenceSession, SessionOptions

COUNT = 1000


def repeat(operation: Callable[[], object]) -> Callable[[], None]:
    """A thousand calls."""

    def run() -> None:
        for _ in range(COUNT):
            operation()

    return run


def layers() -> onnx.ModelProto:
    """Three products of (1, 64) with a bias, the first two with a Relu."""
    rng = np.random.default_rng(0)
    nodes, weights = [], {}
    for k in range(3):
        weights[f"w{k}"] = rng.standard_normal((64, 64)).astype(np.float32) / 8
        weights[f"b{k}"] = rng.standard_normal(64).astype(np.float32)
        nodes.append(helper.make_node("Gemm", [f"x{k}", f"w{k}", f"b{k}"], [f"y{k}"]))
        nodes.append(helper.make_node("Relu", [f"y{k}"], [f"x{k + 1}"]))
    return model(nodes[:-1], "x0", "y2", ["batch", 64], weights)


def chain(count: int) -> onnx.ModelProto:
    """Transpositions of (4, 4), one after the other."""
    nodes = [
        helper.make_node("Transpose", [f"x{k}"], [f"x{k + 1}"], perm=[1, 0]) for k in range(count)
    ]
    return model(nodes, "x0", f"x{count}", [4, 4], {})


def model(
    nodes: Sequence[onnx.NodeProto],
    x: str,
    y: str,
    shape: Sequence[int | str],
    weights: Mapping[str, np.ndarray],
) -> onnx.ModelProto:
    """A model of one input and one output of the same shape."""
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in (x, y)]
    initial = [onnx.numpy_helper.from_array(v, k) for k, v in weights.items()]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], initial)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def sessions() -> None:
    """Prints microseconds a call of a session."""
    tk.set_num_threads(1)
    x = np.random.default_rng(0).standard_normal((1, 64)).astype(np.float32)
    cases = {
        "3 layers of 64": (layers(), x, 99),
        "1 node": (chain(1), x[:, :16].reshape(4, 4), 0),
        "101 nodes": (chain(101), x[:, :16].reshape(4, 4), 0),
    }
    print("\n| session.run | ours us | onnxruntime us | ratio |\n|" + "---|" * 4)
    for name, (made, value, level) in cases.items():
        text, feed = made.SerializeToString(), {"x0": value}
        ours = InferenceSession(text, SessionOptions(graph_optimization_level=level))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        if not level:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        theirs = onnxruntime.InferenceSession(text, options, providers=["CPUExecutionProvider"])
        sides = {
            "ours": repeat(partial(ours.run, None, feed)),
            "onnxruntime": repeat(partial(theirs.run, None, feed)),
        }
        medians = compare(name, sides, seconds=2).medians
        us = {side: seconds * 1e6 / COUNT for side, seconds in medians.items()}
        ratio = us["onnxruntime"] / us["ours"]
        print(f"| {name} | {us['ours']:.2f} | {us['onnxruntime']:.2f} | {ratio:.2f} |")


def main() -> None:
    """Prints microseconds an operation and a call."""
    a = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
    x, p = tk.tensor(a), torch.tensor(a)
    gx, gp = tk.tensor(a, requires_grad=True), torch.tensor(a, requires_grad=True)
    cases = {
        "x + y": (lambda: x + x, lambda: a + a, lambda: p + p),
        "x * 2.0": (lambda: x * 2.0, lambda: a * 2.0, lambda: p * 2.0),
        "x.sum()": (lambda: x.sum(), lambda: a.sum(), lambda: p.sum()),
        "x @ x.T": (lambda: x @ x.T, lambda: a @ a.T, lambda: p @ p.T),
        "x + y, recorded": (lambda: gx + gx, lambda: a + a, lambda: gp + gp),
    }
    print("| operation | ours us | numpy us | torch us | ours - numpy us |\n|" + "---|" * 5)
    for name, (ours, numpy, peer) in cases.items():
        sides = {"ours": repeat(ours), "numpy": repeat(numpy), "torch": repeat(peer)}
        medians = compare(name, sides, seconds=2).medians
        us = {side: seconds * 1e6 / COUNT for side, seconds in medians.items()}
        print(
            f"| {name} | {us['ours']:.2f} | {us['numpy']:.2f} | {us['torch']:.2f} "
            f"| {us['ours'] - us['numpy']:.2f} |"
        )
    sessions()


if __name__ == "__main__":
    main()

"""What small calls cost: eager operations beside torch, a session beside onnxruntime.

    python benchmarks/overhead.py [part of a row's name ...]

Operations on tensors of a few elements, which hardly compute; a network of three layers of 64 units
and a chain of 100 nodes, unfused, as sessions. A few hundred a turn, one thread.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper

sys.path.insert(0, str(Path(__file__).parents[1]))

import toolkit as tk
from benchmarks.harness import compare
from toolkit.runtime import InferenceSession, SessionOptions

COUNT = 300


def repeat(operation: Callable[[], object]) -> Callable[[], None]:
    """Several calls."""

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


def pointwise(m: Any, x: Any) -> dict[str, Callable[[], object]]:
    """Operations on elements, in both libraries' words."""
    y, mask, one = x + 1, x > 0, x[0, 0].clone()
    return {
        "x + y": lambda: x + y,
        "x * 2.0": lambda: x * 2.0,
        "x / y": lambda: x / y,
        "m.add(x, y, alpha=2)": lambda: m.add(x, y, alpha=2),
        "x > y": lambda: x > y,
        "m.where(mask, x, y)": lambda: m.where(mask, x, y),
        "m.exp(x)": lambda: m.exp(x),
        "m.relu(x)": lambda: m.relu(x),
        "m.clamp(x, -1, 1)": lambda: m.clamp(x, -1, 1),
        "x.add_(0.0)": lambda: x.add_(0.0),
        "x += 0.0": partial(operator.iadd, x, 0.0),
        "x.to(float64)": lambda: x.to(m.float64),
        "x.masked_fill(mask, 0)": lambda: x.masked_fill(mask, 0.0),
        "F.dropout(x, 0.5)": lambda: m.nn.functional.dropout(x, 0.5),
        "x.detach()": lambda: x.detach(),
        "x.item()": one.item,
    }


def shapes(m: Any, x: Any) -> dict[str, Callable[[], object]]:
    """Reductions, indexing and views."""
    index, places = m.tensor([1, 0]), m.zeros(4, 2, dtype=m.int64)
    return {
        "x.sum()": lambda: x.sum(),
        "x.mean(1)": lambda: x.mean(1),
        "x.max(1)": lambda: x.max(1),
        "x.argmax(1)": lambda: x.argmax(1),
        "x[1]": lambda: x[1],
        "x[:, 1:3]": lambda: x[:, 1:3],
        "x[index]": lambda: x[index],
        "x.gather(1, places)": lambda: x.gather(1, places),
        "F.embedding(index, x)": lambda: m.nn.functional.embedding(index, x),
        "x.reshape(-1)": lambda: x.reshape(-1),
        "x.view(2, 8)": lambda: x.view(2, 8),
        "x.permute(1, 0)": lambda: x.permute(1, 0),
        "x.expand(3, 4, 4)": lambda: x.expand(3, 4, 4),
        "x.transpose(0, 1)": lambda: x.transpose(0, 1),
        "x.unsqueeze(0)": lambda: x.unsqueeze(0),
        "m.cat([x, x])": lambda: m.cat([x, x]),
        "m.stack([x, x])": lambda: m.stack([x, x]),
        "m.zeros(2, 3)": lambda: m.zeros(2, 3),
    }


def layers_of(m: Any, x: Any) -> dict[str, Callable[[], object]]:
    """Products and layers, without and with gradients recorded."""
    image, kernel = m.ones(1, 3, 8, 8), m.ones(4, 3, 3, 3)
    weight, bias = m.ones(4, 4), m.ones(4)
    square = m.ones(4, 4)
    gx = m.ones(4, 4, requires_grad=True)
    f = m.nn.functional
    return {
        "x @ y": lambda: square @ square,
        "F.linear(x, w, b)": lambda: f.linear(square, weight, bias),
        "F.softmax(x, 1)": lambda: f.softmax(square, 1),
        "F.layer_norm(x)": lambda: f.layer_norm(square, (4,), bias, bias),
        "F.conv2d(x, w)": lambda: f.conv2d(image, kernel),
        "F.max_pool2d(x, 2)": lambda: f.max_pool2d(image, 2),
        "x + y, recorded": lambda: gx + gx,
        "x @ y, recorded": lambda: gx @ gx,
    }


def steps(m: Any) -> dict[str, Callable[[], object]]:
    """An MLP of two layers: forward, backward, both; an optimizer's step, of 4 and 10 tensors."""
    net = m.nn.Sequential(m.nn.Linear(8, 16), m.nn.ReLU(), m.nn.Linear(16, 4))
    deep = m.nn.Sequential(*(m.nn.Linear(8, 8) for _ in range(5)))
    x = m.ones(4, 8)
    optimizer = m.optim.SGD(net.parameters(), lr=1e-6, momentum=0.9)
    adam = m.optim.AdamW(net.parameters(), lr=1e-6)

    loss = net(x).sum()

    def both() -> None:
        optimizer.zero_grad()
        net(x).sum().backward()

    both()
    deep(x).sum().backward()
    return {
        "MLP forward": lambda: net(x),
        "MLP backward": lambda: loss.backward(retain_graph=True),
        "MLP forward, backward": both,
        "SGD.step": optimizer.step,
        "AdamW.step": adam.step,
        "SGD.step, 10 tensors": m.optim.SGD(deep.parameters(), lr=1e-6).step,
        "Adam.step, 10 tensors": m.optim.Adam(deep.parameters(), lr=1e-6).step,
    }


def operations(m: Any, array: np.ndarray) -> dict[str, Callable[[], object]]:
    """All rows of the table on one side."""
    x = m.tensor(array)
    return {**pointwise(m, x), **shapes(m, x), **layers_of(m, x), **steps(m)}


def main() -> None:
    """Prints microseconds a call; arguments choose rows by parts of their names."""
    array = np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32)
    tk.set_num_threads(1)
    torch.set_num_threads(1)
    ours, theirs = operations(tk, array), operations(torch, array)
    wanted = sys.argv[1:]
    print("| operation | ours us | torch us | ours / torch |\n|" + "---|" * 4)
    ratios = []
    for name, operation in ours.items():
        if wanted and not any(w in name for w in wanted):
            continue
        sides = {"ours": repeat(operation), "torch": repeat(theirs[name])}
        medians = compare(name, sides, seconds=0.5).medians
        us = {side: seconds * 1e6 / COUNT for side, seconds in medians.items()}
        ratios.append(us["ours"] / us["torch"])
        print(f"| {name} | {us['ours']:.2f} | {us['torch']:.2f} | {ratios[-1]:.2f} |", flush=True)
    print(f"\nGeometric mean {np.exp(np.mean(np.log(ratios))):.2f}, largest {max(ratios):.2f}.")
    if not wanted:
        sessions()


if __name__ == "__main__":
    main()

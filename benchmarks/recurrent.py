"""Recurrent stacks: inference beside onnxruntime, a training step beside torch eager.

    python benchmarks/recurrent.py [--threads 2] [--seconds 3]

Two layers of hidden size 256, 64 time steps; the sides take turns.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(Path(__file__).parents[1]))

import toolkit as tk
from benchmarks.harness import Comparison, compare, header
from toolkit import nn, optim
from toolkit.runtime import InferenceSession, _core
from toolkit.train import TrainStep

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


def stack(
    op_type: str, steps: int, batch: int, hidden: int, layers: int = 2, directions: int = 2
) -> onnx.ModelProto:
    """Layers of one operator; each takes the former's directions side by side."""
    rng = np.random.default_rng(0)
    gates = GATES[op_type] * hidden
    nodes, weights, x, width = [], [], "x", hidden
    direction = "bidirectional" if directions == 2 else "forward"
    for layer in range(layers):
        for name, shape in (
            ("W", (directions, gates, width)),
            ("R", (directions, gates, hidden)),
            ("B", (directions, 2 * gates)),
        ):
            value = rng.uniform(-0.06, 0.06, shape).astype(np.float32)
            weights.append(numpy_helper.from_array(value, f"{name}{layer}"))
        nodes.append(
            helper.make_node(
                op_type,
                [x, *(f"{name}{layer}" for name in "WRB")],
                [f"y{layer}"],
                hidden_size=hidden,
                direction=direction,
                **({"linear_before_reset": 1} if op_type == "GRU" else {}),
            )
        )
        nodes.append(helper.make_node("Transpose", [f"y{layer}"], [f"t{layer}"], perm=[0, 2, 1, 3]))
        nodes.append(helper.make_node("Reshape", [f"t{layer}", "flat"], [f"x{layer}"]))
        x, width = f"x{layer}", directions * hidden
    weights.append(numpy_helper.from_array(np.array([0, 0, -1], np.int64), "flat"))
    info = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [steps, batch, hidden]),
        helper.make_tensor_value_info(x, TensorProto.FLOAT, [steps, batch, width]),
    ]
    graph = helper.make_graph(nodes, op_type, info[:1], info[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def inference(
    op_type: str, directions: int, batch: int, threads: int, seconds: float
) -> Comparison:
    """One call of a session on the same file."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    data = stack(op_type, 64, batch, 256, 2, directions).SerializeToString()
    ours = InferenceSession(data)
    theirs = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    feed = {"x": np.random.default_rng(1).standard_normal((64, batch, 256), dtype=np.float32)}
    np.testing.assert_allclose(
        ours.run(None, feed)[0], theirs.run(None, feed)[0], rtol=1e-4, atol=1e-5
    )
    sides = {"ours": lambda: ours.run(None, feed), "onnxruntime": lambda: theirs.run(None, feed)}
    way = "bidirectional" if directions == 2 else "one direction"
    return compare(f"{op_type}, {way}, batch {batch}", sides, seconds)


class First(nn.Module):
    """A stack's output without its states."""

    def __init__(self, op_type: str) -> None:
        super().__init__()
        self.rnn = getattr(nn, op_type)(256, 256, 2, bidirectional=True)

    def forward(self, x: tk.Tensor) -> tk.Tensor:
        """Y alone."""
        y: tk.Tensor = self.rnn(x)[0]
        return y


def training(op_type: str, batch: int, seconds: float) -> Comparison:
    """Forward, mean square error, backward and SGD's update, on the same batch."""
    model = First(op_type)
    step = TrainStep(model, nn.functional.mse_loss, optim.SGD(model.parameters(), lr=0.01))
    rng = np.random.default_rng(1)
    x = rng.standard_normal((64, batch, 256), dtype=np.float32)
    y = rng.standard_normal((64, batch, 512), dtype=np.float32)
    theirs = getattr(torch.nn, op_type)(256, 256, 2, bidirectional=True)
    theirs.load_state_dict(
        {k.removeprefix("rnn."): torch.tensor(v.numpy()) for k, v in model.state_dict().items()}
    )
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.01)
    tx, ty = torch.from_numpy(x), torch.from_numpy(y)

    def torch_step() -> float:
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(theirs(tx)[0], ty)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    np.testing.assert_allclose(float(step(x, y)[0]), torch_step(), rtol=1e-4)
    sides = {"ours": lambda: float(step(x, y)[0]), "torch eager": torch_step}
    return compare(f"{op_type}, bidirectional, batch {batch}, SGD", sides, seconds)


def main() -> None:
    """Prints two Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=_core.get_num_threads())
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    _core.set_num_threads(options.threads)
    torch.set_num_threads(options.threads)
    print(f"{_core.isa()}, {options.threads} threads, onnxruntime {onnxruntime.__version__}\n")
    print(header("ours", "onnxruntime"))
    for op_type, directions in (("LSTM", 2), ("GRU", 2), ("RNN", 2), ("LSTM", 1), ("GRU", 1)):
        for batch in (1, 16):
            print(inference(op_type, directions, batch, options.threads, options.seconds).line())
    print("\n" + header("ours", "torch eager"))
    for op_type in ("LSTM", "GRU"):
        for batch in (1, 16):
            print(training(op_type, batch, options.seconds).line())


if __name__ == "__main__":
    main()

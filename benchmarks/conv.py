"""Convolutions layer by layer: inference beside onnxruntime, forward and backward beside torch.

    python benchmarks/conv.py [--threads 2] [--seconds 2] [--only NAME]

Prints two Markdown tables. The weights of inference are constants on both sides. With one thread
the clock is the thread's own processor time, so that a busy machine disturbs the ratio less.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.harness import Comparison, compare, header
from toolkit.runtime import _core


@dataclass(frozen=True)
class Layer:
    """Images of side `size`; channels are those of all groups."""

    name: str
    batch: int
    before: int
    after: int
    size: int
    kernel: int = 3
    stride: int = 1
    group: int = 1

    @property
    def attributes(self) -> dict[str, object]:
        """Of Conv; the padding keeps the size."""
        pad = self.kernel // 2
        return {"strides": [self.stride] * 2, "pads": [pad] * 4, "group": self.group}

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x, w and b."""
        rng = np.random.default_rng(0)
        per_group = self.before // self.group
        x = rng.standard_normal((self.batch, self.before, self.size, self.size))
        w = rng.standard_normal((self.after, per_group, self.kernel, self.kernel))
        w /= np.sqrt(per_group * self.kernel**2)
        return tuple(a.astype(np.float32) for a in (x, w, rng.standard_normal(self.after)))  # type: ignore[return-value]

    @property
    def operations(self) -> float:
        """Multiplications and additions of the direct sum."""
        out = (self.size + 2 * (self.kernel // 2) - self.kernel) // self.stride + 1
        taps = self.kernel**2 * self.before // self.group
        return 2.0 * self.batch * self.after * taps * out**2


INFERENCE = [
    Layer("3x3 64 to 64, 56", 1, 64, 64, 56),
    Layer("3x3 128 to 128, 28", 1, 128, 128, 28),
    Layer("3x3 256 to 256, 14", 1, 256, 256, 14),
    Layer("3x3 512 to 512, 7", 1, 512, 512, 7),
    Layer("3x3 64 to 64, 224", 1, 64, 64, 224),
    Layer("3x3 3 to 64, 224", 1, 3, 64, 224),
    Layer("7x7 stride 2, 3 to 64, 224", 1, 3, 64, 224, 7, 2),
    Layer("3x3 stride 2, 64 to 128, 56", 1, 64, 128, 56, 3, 2),
    Layer("5x5 32 to 64, 28", 1, 32, 64, 28, 5),
    Layer("1x1 64 to 256, 56", 1, 64, 256, 56, 1),
    Layer("1x1 1024 to 256, 14", 1, 1024, 256, 14, 1),
    Layer("depthwise 3x3, 96, 112", 1, 96, 96, 112, 3, 1, 96),
    Layer("depthwise 3x3 stride 2, 96, 112", 1, 96, 96, 112, 3, 2, 96),
    Layer("depthwise 7x7, 96, 56", 1, 96, 96, 56, 7, 1, 96),
    *(
        layer
        for n in (1, 32)
        for layer in (
            Layer(f"digits_cnn 1, batch {n}", n, 1, 32, 8),
            Layer(f"digits_cnn 2, batch {n}", n, 32, 64, 8),
            Layer(f"digits_cnn 3, batch {n}", n, 64, 64, 4),
            Layer(f"mnist_cnn 1, batch {n}", n, 1, 32, 28),
            Layer(f"mnist_cnn 2, batch {n}", n, 32, 64, 28),
        )
    ),
    Layer("resnet18_cifar 1, batch 32", 32, 64, 64, 32),
    Layer("resnet18_cifar 2, batch 32", 32, 128, 128, 16),
    Layer("resnet18_cifar 3, batch 32", 32, 256, 256, 8),
    Layer("resnet18_cifar 4, batch 32", 32, 512, 512, 4),
]
TRAINING = [layer for layer in INFERENCE if layer.batch > 1]


def program_of(nodes: list[tuple[str, str, dict]], constants: dict, inputs: list[str]):
    """A native program; a node is (operator, its inputs, attributes) and gives `y<its index>`."""
    program, slots = _core.Program(), {}
    for name in inputs:
        slots[name] = program.add_input(name)
    for name, array in constants.items():
        slots[name] = program.add_constant(_core.Tensor.from_array(array))
    for i, (op, names, attributes) in enumerate(nodes):
        slots[f"y{i}"] = program.add_slot()
        domain = "toolkit.grad" if "Grad" in op else ""
        operands = [slots[n] for n in names.split()]
        program.add_node(domain, op, op, attributes, operands, [slots[f"y{i}"]])
        program.add_output(slots[f"y{i}"])
    program.finalize()
    return program


def ort_session(layer: Layer, w: np.ndarray, b: np.ndarray, threads: int):
    """A session of one Conv in onnxruntime."""
    shape = [layer.batch, layer.before, layer.size, layer.size]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w", "b"], ["y"], **layer.attributes)],
        "conv",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(w, "w"), numpy_helper.from_array(b, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def inference(layer: Layer, threads: int, seconds: float, clock: Callable[[], float]) -> Comparison:
    """One call of each side."""
    x, w, b = layer.arrays()
    session = ort_session(layer, w, b, threads)
    program = program_of([("Conv", "x w b", layer.attributes)], {"w": w, "b": b}, ["x"])
    value = _core.Tensor.from_array(x)
    want = session.run(None, {"x": x})[0]
    np.testing.assert_allclose(program.run([value])[0].numpy(), want, rtol=1e-3, atol=1e-4)
    sides = {"ours": lambda: program.run([value]), "ort": lambda: session.run(None, {"x": x})}
    return compare(layer.name, sides, seconds, clock=clock)


def training(layer: Layer, seconds: float, clock: Callable[[], float]) -> Comparison:
    """Forward, the gradient of x and that of w."""
    x, w, b = layer.arrays()
    attributes = layer.attributes
    nodes = [
        ("Conv", "x w b", attributes),
        ("ConvGradInput", "dy w xs", attributes),
        ("ConvGradWeight", "x dy ws", attributes),
    ]
    shapes = {"xs": np.array(x.shape), "ws": np.array(w.shape)}
    program = program_of(nodes, shapes, ["x", "w", "b", "dy"])
    tx, tw = (torch.from_numpy(a).requires_grad_() for a in (x, w))
    tb, pad = torch.from_numpy(b), layer.kernel // 2

    def forward() -> torch.Tensor:
        return torch.conv2d(tx, tw, tb, layer.stride, pad, 1, layer.group)

    dy = torch.randn_like(forward())
    feed = [_core.Tensor.from_array(a) for a in (x, w, b, dy.numpy())]
    sides = {
        "ours": lambda: program.run(feed),
        "torch": lambda: torch.autograd.grad(forward(), (tx, tw), dy),
    }
    return compare(layer.name, sides, seconds, clock=clock)


def main() -> None:
    """Parses the command line and prints the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    threads, seconds = arguments.threads, arguments.seconds
    torch.set_num_threads(threads)
    _core.set_num_threads(threads)
    clock = time.thread_time if threads == 1 else time.perf_counter
    for title, layers, peer in (("inference", INFERENCE, "ort"), ("training", TRAINING, "torch")):
        head, rule = header("ours", peer).split("\n")
        print(f"\n{title}, {threads} threads\n\n{head} ours GFLOP/s |\n{rule}---|")
        for layer in layers:
            if arguments.only in layer.name:
                if peer == "ort":
                    result = inference(layer, threads, seconds, clock)
                else:
                    result = training(layer, seconds, clock)
                speed = layer.operations / result.medians["ours"] / 1e9
                print(
                    f"{result.line()} {speed * (1 if peer == 'ort' else 3):.0f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()

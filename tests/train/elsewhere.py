"""A small network with all that exporters of training refuse, and loops that are not ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx.reference import ReferenceEvaluator

import toolkit as tk
from toolkit import nn, optim
from toolkit.train import TrainStep

RATE = 1e-2


class Net(nn.Module):
    """Conv, BatchNorm and Dropout.

    Smooth, since the gradient at a kink of ReLU or at a tie of MaxPool may differ by more than
    rounding between runtimes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.pool = nn.AvgPool2d(2)
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(4 * 4 * 4, 10)

    def forward(self, x):
        x = self.pool(nn.functional.gelu(self.norm(self.conv(x))))
        return self.head(self.drop(x.flatten(1)))


def batches(count: int, size: int = 12, repeat: int = 8) -> Iterator[tuple[Any, Any]]:
    """Noisy images of ten classes, again after `repeat` batches."""
    rng = np.random.default_rng(7)
    means = rng.standard_normal((10, 1, 8, 8))
    data = []
    for _ in range(repeat):
        labels = rng.integers(0, 10, size)
        noise = rng.standard_normal((size, 1, 8, 8))
        data.append(((means[labels] + noise).astype(np.float32), labels))
    for i in range(count):
        yield data[i % repeat]


def make_step(**options: Any) -> TrainStep:
    """A step of `Net` by AdamW that has seen a batch; always the same one."""
    tk.manual_seed(3)
    net = Net()
    optimizer = optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=RATE)
    step = TrainStep(net, nn.CrossEntropyLoss(), optimizer, **options)
    return step.prepare(*next(batches(1)))


Run = Callable[[Mapping[str, Any]], dict[str, Any]]


def ort(path: Path) -> Run:
    """The model in onnxruntime."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    known = {v.name for v in (*session.get_inputs(), *session.get_overridable_initializers())}

    def run(feed: Mapping[str, Any]) -> dict[str, Any]:
        taken = {name: value for name, value in feed.items() if name in known}
        return dict(zip(names, session.run(names, taken), strict=True))

    return run


def reference(path: Path) -> Run:
    """The model in `onnx.reference`."""
    model = onnx.load(path)
    evaluator = ReferenceEvaluator(model)
    known = {v.name for v in model.graph.input}

    def run(feed: Mapping[str, Any]) -> dict[str, Any]:
        taken = {name: value for name, value in feed.items() if name in known}
        return dict(zip(evaluator.output_names, evaluator.run(None, taken), strict=True))

    return run


def train(run: Run, table: Mapping[str, Any], states: dict[str, Any], data: Any) -> list[float]:
    """Losses of the loop that a user writes; `states` holds what comes out last."""
    losses = []
    updates = table["models"]["step"]["updates"]
    rate = np.array(RATE, np.float32)
    for x, y in data:
        results = run({"x": x, "target": y, "lr": rate, **states})
        states.update({state: results[output] for output, state in updates.items()})
        losses.append(float(results["loss"]))
    return losses

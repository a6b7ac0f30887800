"""The reference models: inference beside onnxruntime, a training step beside torch eager.

    python benchmarks/models.py [--threads 2] [--seconds 5] [--only NAME]

Prints two Markdown tables. All sides take turns in one process and use the same weights, inputs and
number of threads; the ratio is theirs to ours, so more is better for us.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

import toolkit as tk
from benchmarks.harness import Comparison, compare, header
from tests.models import twins
from toolkit import models, nn, optim
from toolkit.runtime import InferenceSession
from toolkit.train import TrainStep

# name: (batch of a training step, torch's twin, torch's loss)
CASES: dict[str, tuple[int, Any, Any]] = {
    "mlp": (64, twins.MLP, torch.nn.functional.cross_entropy),
    "digits_cnn": (64, twins.DigitsCNN, torch.nn.functional.cross_entropy),
    "mnist_cnn": (64, twins.MnistCNN, torch.nn.functional.nll_loss),
    "resnet18_cifar": (32, twins.ResNet18, torch.nn.functional.cross_entropy),
    "char_gpt": (8, twins.CharGPT, twins.token_cross_entropy),
}


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


def training(name: str, seconds: float) -> Comparison:
    """One step: forward, loss, backward and Adam's update, on the same batch."""
    batch, twin, twin_loss = CASES[name]
    model = models.create(name)
    x = models.example_input(name, batch)
    shape = tuple(x.shape) if name == "char_gpt" else (batch,)
    y = np.random.default_rng(0).integers(0, 10, shape)
    step = TrainStep(model, _loss(name), optim.Adam(model.parameters(), lr=1e-3))
    theirs = twin()
    theirs.load_state_dict({k: torch.tensor(np.array(v)) for k, v in model.state_dict().items()})
    optimizer = torch.optim.Adam(theirs.parameters(), lr=1e-3)
    tx, ty = torch.from_numpy(x.numpy()), torch.from_numpy(y)

    def torch_step() -> float:
        optimizer.zero_grad()
        loss = twin_loss(theirs(tx), ty)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return compare(
        f"{name}, batch {batch}, Adam",
        {"ours": lambda: float(step(x, y)[0]), "torch eager": torch_step},
        seconds,
    )


def _loss(name: str) -> Any:
    from toolkit.models.training import LOSSES

    loss = LOSSES[models.default_loss(name)]()
    assert isinstance(loss, nn.Module) or callable(loss)
    return loss


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=tk.get_num_threads())
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--only", choices=list(CASES))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    tk.set_num_threads(options.threads)
    torch.set_num_threads(options.threads)
    names = [options.only] if options.only else list(CASES)
    text = io.StringIO()
    print(header("ours", "onnxruntime"), file=text)
    for name in names:
        for batch in (1, 32 if name != "char_gpt" else 8):
            row = inference(name, batch, options.threads, options.seconds)
            print(row.line(), file=text)
    print("\n" + header("ours", "torch eager"), file=text)
    for name in names:
        print(training(name, options.seconds).line(), file=text)
    versions = f"onnxruntime {onnxruntime.__version__}, torch {torch.__version__}"
    print(f"{options.threads} threads, {tk.runtime._core.isa()}, {versions}\n\n{text.getvalue()}")


if __name__ == "__main__":
    main()

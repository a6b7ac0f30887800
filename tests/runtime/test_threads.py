"""Whole networks give the same bits on 1, 2, 3 and 4 threads: results, losses and every state.

Single operators are in `tests/test_ops.py`, drawn convolutions in `test_conv_algorithms.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

import toolkit as tk
from benchmarks.zoo import Network, sequence, vision
from toolkit import models, optim
from toolkit.models.training import LOSSES
from toolkit.runtime import InferenceSession
from toolkit.train import TrainStep

THREADS = (1, 2, 3, 4)


def same_on_all_threads(run: Callable[[], Iterator[np.ndarray]]) -> None:
    """`run` yields arrays; it is called once for each number of threads."""
    want = None
    for threads in THREADS:
        tk.set_num_threads(threads)
        got = [(a.shape, a.tobytes()) for a in run()]
        assert got
        want = want or got
        assert [i for i, pair in enumerate(zip(want, got, strict=True)) if pair[0] != pair[1]] == []


def image(size: int, batch: int = 1, channels: int = 3):
    return lambda rng: (rng.standard_normal((batch, channels, size, size), np.float32),)


NETWORKS: dict[str, Network] = {
    "resnet18": Network(vision.resnet18, image(96)),
    "mobilenet_v2": Network(vision.mobilenet_v2, image(96)),
    "unet": Network(lambda lib: vision.unet(lib, width=8), image(64)),
    "convnext_tiny": Network(vision.convnext_tiny, image(64)),
    "lstm": Network(sequence.lstm, lambda rng: (rng.standard_normal((3, 9, 256), np.float32),)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name, tmp_path):
    network = NETWORKS[name]
    network.save(tmp_path / "m.onnx")
    session = InferenceSession(tmp_path / "m.onnx")
    feed = {v.name: a for v, a in zip(session.get_inputs(), network.example(), strict=True)}
    same_on_all_threads(lambda: session.run(None, feed))


OPTIONS = {"resnet18_cifar": {"width": 16}, "char_gpt": {"layers": 2}}


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("name", models.MODELS)
def test_models(name, batch, tmp_path):
    model = models.create(name, **OPTIONS.get(name, {})).eval()
    x = models.example_input(name, batch=batch)
    model.save(tmp_path / "m.onnx", x)
    session = InferenceSession(tmp_path / "m.onnx")
    feed = {session.get_inputs()[0].name: x.numpy()}
    same_on_all_threads(lambda: session.run(None, feed))


def target_of(name: str, batch: int) -> np.ndarray:
    info = models.info(name)
    shape = (batch, *info.input_shape) if info.loss == "token_ce" else (batch,)
    return np.random.default_rng(0).integers(0, info.num_classes, shape)


OPTIMIZERS = {
    "mlp": lambda p: optim.SGD(p, lr=0.1, momentum=0.9),
    "digits_cnn": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "mnist_cnn": lambda p: optim.Adam(p, lr=1e-3),
    "resnet18_cifar": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=5e-4),
    "char_gpt": lambda p: optim.AdamW(p, lr=1e-3),
    "svm": lambda p: optim.Adam(p, lr=1e-2, weight_decay=1e-3),
    "kernel_svm": lambda p: optim.SGD(p, lr=0.1, weight_decay=1e-3),
    "hmm": lambda p: optim.Adam(p, lr=1e-2),
}


@pytest.mark.parametrize("name", models.MODELS)
def test_training_steps(name):
    x = models.example_input(name, batch=6)
    y = target_of(name, 6)

    def run():
        tk.manual_seed(0)
        model = models.create(name, **OPTIONS.get(name, {}))
        loss = LOSSES[models.default_loss(name)]()
        step = TrainStep(model, loss, OPTIMIZERS[name](model.parameters()), clip_grad_norm=1.0)
        for _ in range(3):
            value, _ = step(x, y)
            yield value.numpy()
        yield from step.state_dict().values()

    same_on_all_threads(run)

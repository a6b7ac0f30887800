"""Every reference model as one file: checked, run elsewhere, and trained elsewhere by step.onnx."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import toolkit as tk
from tests.models.test_models_torch import LOSSES, MODELS, SMALL_GPT, batch
from toolkit import models, optim
from toolkit.runtime import InferenceSession
from toolkit.train import TrainStep

ort = pytest.importorskip("onnxruntime")

# Name: options, samples. Wide enough that every layer is there; Dropout drops.
TRAINED = {
    "mlp": ({}, 16),
    "digits_cnn": ({}, 16),
    "mnist_cnn": ({}, 4),
    "resnet18_cifar": ({"width": 8}, 2),
    "char_gpt": ({**SMALL_GPT, "dropout": 0.2}, 4),
    "svm": ({}, 16),
    "kernel_svm": ({}, 16),
    "hmm": ({}, 4),
}
STEPS = 20
# A ReLU that rounding tips the other way makes a jump that grows from step to step, and 17 layers
# have many: there a low rate keeps it out of the weights. Momenta feel it at once.
RATES = {"resnet18_cifar": 2**-13}
MOMENTA = {"resnet18_cifar": 5e-2}


def make_step(name: str, options: dict) -> TrainStep:
    tk.manual_seed(5)
    model = models.create(name, **options)
    loss = LOSSES[models.default_loss(name)][0]
    return TrainStep(model, loss, optim.SGD(model.parameters(), RATES.get(name, 2**-7), 0.75))


def session_of(source) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # A state is an input with a default: that is meant.
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", MODELS)
def test_the_saved_file_is_standard(name, tmp_path):
    """At full size, trained for a step: full check, and the same outputs in onnxruntime."""
    options, _, n = MODELS[name]
    step = make_step(name, options)
    x, y = batch(name, options, n)
    step(x, y)
    path = tmp_path / "m.onnx"
    step.save(path)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    theirs, ours = session_of(path), InferenceSession(path)
    (feature,) = [a.name for a in theirs.get_inputs()]
    for size in (n, 1):
        x, _ = batch(name, options, size, seed=size)
        (want,) = theirs.run(None, {feature: x})
        np.testing.assert_allclose(ours.run(None, {feature: x})[0], want, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(step.predict(x)[0], want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", TRAINED)
def test_onnxruntime_trains_the_exported_step(name, tmp_path):
    """20 runs of step.onnx, states fed back, end at our parameters; BatchNorm, Dropout included."""
    options, n = TRAINED[name]
    step = make_step(name, options)
    step.prepare(*batch(name, options, n))
    path = tmp_path / "step.onnx"
    tk.export_train_step(path, step)
    proto = onnx.load(path)
    onnx.checker.check_model(proto, full_check=True)
    assert {node.domain for node in proto.graph.node} <= {"", "ai.onnx"} and not proto.functions
    drops = any(m.p > 0 for m in step.model.modules() if type(m).__name__ == "Dropout")
    assert drops is ("rng_state.next" in {v.name for v in proto.graph.output})
    session = session_of(path)
    names = [o.name for o in session.get_outputs()]
    before = {k: v.copy() for k, v in step.state_dict().items()}
    (feature,) = [v.name for v in step.graph.features]
    (target,) = [v.name for v in step.graph.targets]
    feed = {"lr": np.array(step.learning_rates()[0], np.float32)}
    for i in range(STEPS):
        size = n if i % 5 else n + 1  # The batch is symbolic.
        x, y = batch(name, options, size, seed=i)
        ours, _ = step(x, y)
        results = dict(zip(names, session.run(names, {**feed, feature: x, target: y}), strict=True))
        assert results["loss"] == pytest.approx(float(ours), rel=1e-3)
        feed |= {k.removesuffix(".next"): v for k, v in results.items() if k.endswith(".next")}
    moved = 0
    for key, array in step.state_dict().items():
        if key not in feed:
            continue
        atol = MOMENTA.get(name, 1e-4) if key.endswith("momentum_buffer") else 1e-4
        np.testing.assert_allclose(feed[key], array, rtol=1e-4, atol=atol, err_msg=key)
        moved += not np.array_equal(before[key], array)
    assert moved >= len(list(step.model.parameters()))

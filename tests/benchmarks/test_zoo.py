"""The benchmarks' networks: torch's and toolkit's compute the same, and the file too."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

import toolkit as tk
from benchmarks.zoo import FILES, NETWORKS, Network, fill, sequence, small, vision
from toolkit.runtime import InferenceSession

torch = pytest.importorskip("torch")


def image(size: int):
    return lambda rng: (rng.standard_normal((1, 3, size, size), np.float32),)


def tokens(length: int):
    def inputs(rng):
        mask = np.ones((2, length), np.int64)
        mask[1, length - 3 :] = 0
        return rng.integers(0, 50, (2, length)), mask

    return inputs


def prompt(length: int, past: int, layers: int = 2, heads: int = 4, width: int = 32):
    def inputs(rng):
        shape = (1, heads, past, width // heads)
        cache = [rng.standard_normal(shape, np.float32) for _ in range(2 * layers)]
        positions = np.arange(past, past + length)[None]
        return (rng.integers(0, 50, (1, length)), positions, *(cache if past else ()))

    return inputs


GPT = partial(sequence.gpt2, vocabulary=50, longest=64, layers=2, heads=4, width=32)
# Those that are quick at a small size; the others take seconds to draw their weights.
SMALL: dict[str, Network] = {
    "resnet18": Network(vision.resnet18, image(64)),
    "resnet50": Network(vision.resnet50, image(64)),
    "resnet18, small": Network(partial(vision.resnet18, classes=10, small=True), image(32)),
    "mobilenet_v2": Network(vision.mobilenet_v2, image(64)),
    "convnext_tiny": Network(vision.convnext_tiny, image(64)),
    "convnext, small": Network(
        partial(vision.convnext_tiny, width=16, depths=(1, 1, 2, 1), classes=10), image(64)
    ),
    "vgg, small": Network(partial(vision.vgg16, width=8, side=1, hidden=64, classes=10), image(32)),
    "bert, small": Network(
        partial(sequence.bert_base, width=32, heads=4, layers=2, vocabulary=50),
        tokens(9),
        {n: {0: "batch", 1: "length"} for n in ("input_ids", "attention_mask")},
    ),
    "unet": Network(partial(vision.unet, width=4), image(32)),
    "mnist_convnet": Network(
        vision.mnist_convnet, lambda rng: (rng.standard_normal((2, 1, 28, 28), np.float32),)
    ),
    "gpt2, prefill": Network(GPT, prompt(7, 0)),
    "gpt2, step": Network(GPT, prompt(1, 9)),
    "char_gpt": Network(sequence.char_gpt, lambda rng: (rng.integers(0, 96, (2, 16)),)),
    "lstm": Network(sequence.lstm, lambda rng: (rng.standard_normal((1, 5, 256), np.float32),)),
    "lstm_language_model": Network(
        sequence.lstm_language_model, lambda rng: (rng.integers(0, 1000, (2, 6)),)
    ),
    "mlp": replace(NETWORKS["mlp, batch 1"]),
    "chain": Network(small.chain, lambda rng: (rng.standard_normal(1000, np.float32),)),
}


@pytest.mark.parametrize("name", SMALL)
def test_networks_agree(name, tmp_path):
    network = SMALL[name]
    arrays = network.example()
    with torch.inference_mode():
        want = network.build(torch)(*map(torch.from_numpy, arrays))
    want = [y.numpy() for y in (want if isinstance(want, tuple) else (want,))]
    with tk.inference_mode():
        got = network.build(tk)(*map(tk.from_numpy, arrays))
    got = [y.numpy() for y in (got if isinstance(got, tuple) else (got,))]
    network.save(tmp_path / "m.onnx")
    session = InferenceSession(tmp_path / "m.onnx")
    names = [v.name for v in session.get_inputs()]
    from_file = session.run(None, dict(zip(names, arrays, strict=True)))
    for w, g, f in zip(want, got, from_file, strict=True):
        assert np.abs(w).max() > 1e-2  # The weights keep activations alive.
        for found in (g, f):
            np.testing.assert_allclose(found, w, rtol=1e-3, atol=1e-4 * np.abs(w).max())


def test_weights_depend_on_the_seed_alone():
    a, b, c = (small.mlp(tk) for _ in range(3))
    for model, seed in ((a, 0), (b, 0), (c, 1)):
        fill(tk, model, seed)
    first, same, other = (m[0].weight.detach().numpy() for m in (a, b, c))
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("name", FILES)
def test_files_run(name):
    file = FILES[name]
    if file.path is None:
        pytest.skip(f"{file.package} is not installed")
    session = InferenceSession(file.path)
    assert {v.name for v in session.get_inputs()} == set(file.example())
    if "det" not in name and "rec" not in name:  # Seconds under a sanitizer.
        assert all(np.isfinite(y).all() for y in session.run(None, file.example()))


def test_names_of_decoding_inputs():
    """Every key and value of the past has a dynamic length in the file."""
    step = NETWORKS["gpt2, step after 512"]
    assert len(step.example()) == 26
    assert set(step.dynamic) >= {f"input_{i}" for i in range(2, 26)}

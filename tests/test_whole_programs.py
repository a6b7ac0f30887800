"""Whole programs of `tests/programs`: with imports changed they train to what torch trains to.

Both begin with the same weights but draw their own batches and noise, so that what is compared is
where a run ends, within a tolerance by number, and a bound that both reach, so that a run that
learns nothing fails.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import toolkit as tk

PROGRAMS = Path(__file__).parent / "programs"
IMPORT = re.compile(r"^( *)import torch$", re.MULTILINE)
NESTED = re.compile(r"^( *)import (torch\.[\w.]+)$", re.MULTILINE)
NAMED = re.compile(r"^( *(?:import|from) )torch\b", re.MULTILINE)


class End(NamedTuple):
    """How close the two runs end, and a bound that both stay under (`most`) or over (`least`)."""

    rtol: float = 0.0
    atol: float = 0.0
    most: float = float("inf")
    least: float = float("-inf")


EXACT = End(2e-4, 2e-5)
COEFFICIENTS = [f"{kind}_{k}" for kind in ("weight", "parameter") for k in range(4)]
ENDS = {
    "mnist_convnet": {"loss": End(atol=0.12, most=0.3), "accuracy": End(atol=0.03, least=0.93)},
    "vae": {"loss": End(rtol=0.05, most=27)},
    "word_lstm": {"loss": End(rtol=0.2, most=0.9), "perplexity": End(rtol=0.2, most=2.5)},
    "transformer_lm": {"loss": End(rtol=0.15, most=0.9)},
    "dcgan": {
        "to_real": End(rtol=0.2, most=5), "to_fake": End(rtol=0.2, most=5.5),
        "mean": End(atol=0.15), "spread": End(atol=0.15, least=0.3),
    },
    "actor_critic": {"steps": End(atol=40, least=60)},
    "dqn": {"steps": End(atol=50, least=50)},
    "seq2seq": {"whole": End(atol=0.3, least=0.5)},
    "neural_style": {"part": End(rtol=0.05, most=0.3), "mean": End(atol=0.01)},
    "fine_tuning": {
        "same_bits": End(least=1), "frozen": End(least=1),
        "accuracy": End(atol=0.1, least=0.8), "average": End(atol=0.12, least=0.75),
    },
    "tied_autoencoder": {
        "checked": End(least=1), "hooks": End(least=1),
        "loss": End(rtol=0.1, most=0.025), "center": End(atol=0.4),
    },
    "regression": dict.fromkeys(("by_hand", "by_autograd", *COEFFICIENTS), EXACT),
    "gpt": {"loss": End(rtol=0.15, most=0.9), "known_words": End(atol=0.3, least=0.6)},
    "vit": {"loss": End(atol=0.12, most=0.6), "accuracy": End(atol=0.05, least=0.92)},
    "super_resolution": {"psnr": End(atol=1.5, least=14.5), "of_plain": End(atol=0.2, most=0.7)},
    "time_sequence": {"loss": End(atol=4e-3, most=5e-3)},
    "graph_convolution": {"accuracy": End(atol=0.06, least=0.9)},
    "siamese": {"accuracy": End(atol=0.12, least=0.7)},
}  # fmt: skip


def imports_changed(source: str) -> str:
    """The program with `toolkit` in the place of `torch`, in its import statements only."""
    source = NESTED.sub(r"\1import \2; import torch", source)
    source = IMPORT.sub(r"\1import toolkit as torch", source)
    return NAMED.sub(r"\1toolkit", source.replace("; import torch", "; import toolkit as torch"))


# Input by input the dimensions that vary; others: dimension 0 of all inputs.
DYNAMIC = {
    "word_lstm": {"input": {1: "b"}, "hidden_0": {1: "b"}, "hidden_1": {1: "b"}},
    "transformer_lm": {"src": {0: "length", 1: "b"}},
    "gpt": {"idx": {0: "b", 1: "length"}},
    "graph_convolution": {"features": {0: "nodes"}, "adjacency": {0: "nodes", 1: "nodes"}},
}


class SameStart:
    """Optimizers made before a first step begin with one run's weights, in both runs.

    A program names its parameters to its optimizers in one order, whatever it runs on.
    """

    def __init__(self, monkeypatch) -> None:
        self.patch, self.weights = monkeypatch, []

    def __call__(self, optim, given: bool) -> None:
        """Notes the weights that optimizers of `optim` are made for, or sets those noted."""
        made, noted = optim.Optimizer.__init__, iter(self.weights if given else [])
        stepped = []

        def init(optimizer, *args, **kwargs):
            made(optimizer, *args, **kwargs)
            optimizer.register_step_post_hook(lambda *_: stepped.append(True))
            if stepped:
                return
            for p in (p for group in optimizer.param_groups for p in group["params"]):
                if given:
                    p.data.copy_(tk.from_numpy(next(noted)))
                else:
                    self.weights.append(p.detach().numpy().copy())

        self.patch.setattr(optim.Optimizer, "__init__", init)


def run(name: str, change: bool):
    """What `main()` of the program gives."""
    source = (PROGRAMS / f"{name}.py").read_text()
    scope: dict[str, object] = {"__name__": name}
    exec(compile(imports_changed(source) if change else source, f"{name}.py", "exec"), scope)
    return scope["main"]()


def flat(value) -> list[np.ndarray]:
    """The arrays of nested tuples of tensors, in order."""
    if isinstance(value, (tuple, list)):
        return [array for item in value for array in flat(item)]
    return [value.detach().numpy()]


def resized(inputs, session):
    """The inputs, one shorter along each dimension that the file leaves open (of 1: twice)."""
    shapes = iter([i.shape for i in session.get_inputs()])

    def smaller(value):
        if isinstance(value, (tuple, list)):
            return tuple(map(smaller, value))
        for axis, size in enumerate(next(shapes)):
            if isinstance(size, str):
                n = value.shape[axis]
                value = value.narrow(axis, 0, n - 1) if n > 1 else tk.cat([value, value], axis)
        return value

    return smaller(inputs)


@pytest.mark.parametrize("name", ENDS)
def test_program_ends_where_torch_ends(name, tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # Tensors are small, and cores are shared with other tests.
    ort = pytest.importorskip("onnxruntime")
    same_start = SameStart(monkeypatch)
    same_start(torch.optim, given=False)
    same_start(tk.optim, given=True)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        _, _, theirs = run(name, change=False)
    torch.set_num_threads(threads)
    model, inputs, ours = run(name, change=True)
    assert ours.keys() == theirs.keys() == ENDS[name].keys()
    for key, end in ENDS[name].items():
        both = f"{name}: {key} is {ours[key]} here, {theirs[key]} in torch"
        assert end.least <= min(ours[key], theirs[key]), both
        assert max(ours[key], theirs[key]) <= end.most, both
        assert abs(ours[key] - theirs[key]) <= end.atol + end.rtol * abs(theirs[key]), both

    path = tmp_path / f"{name}.onnx"
    tk.save(path, model, inputs=inputs, dynamic=DYNAMIC.get(name))
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    model.eval()
    for given in (inputs, resized(inputs, session)):
        feeds = dict(zip([i.name for i in session.get_inputs()], flat(given), strict=True))
        with tk.no_grad():
            want = flat(model(*given))
        for got, value in zip(session.run(None, feeds), want, strict=True):
            np.testing.assert_allclose(got, value, rtol=1e-3, atol=1e-4)

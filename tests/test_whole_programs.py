"""Whole programs of `tests/programs`: with imports changed they train to what torch trains to.

Each draws its own weights and batches, so that what is compared is where a run ends, within a
tolerance by number, and a bound that both reach, so that a run that learns nothing fails.
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


@pytest.mark.parametrize("name", ENDS)
def test_program_ends_where_torch_ends(name, tmp_path):
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # Tensors are small, and cores are shared with other tests.
    ort = pytest.importorskip("onnxruntime")
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
    tk.save(path, model, inputs=inputs)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    feeds = dict(zip([i.name for i in session.get_inputs()], flat(inputs), strict=True))
    model.eval()
    with tk.no_grad():
        want = flat(model(*inputs))
    for got, value in zip(session.run(None, feeds), want, strict=True):
        np.testing.assert_allclose(got, value, rtol=1e-3, atol=1e-4)

"""Networks that the benchmarks run: written once, for `torch` and `toolkit`, and real files.

`NETWORKS` names each with example inputs. Weights are random but the same on both sides
(`fill`), and scaled so that activations keep their size through the layers.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.zoo import sequence, small, vision

Arrays = tuple[np.ndarray, ...]
Dynamic = Mapping[str, Mapping[int, str]] | None


@dataclass(frozen=True)
class Network:
    """How to make a network, an example of its inputs, and which dimensions its file leaves open.

    `dynamic` is as `tk.save` takes it; None: the first dimension of every input.
    """

    make: Callable[[Any], Any]
    inputs: Callable[[np.random.Generator], Arrays]
    dynamic: Dynamic = None

    def build(self, lib: Any, seed: int = 0) -> Any:
        """The network of `torch` or `toolkit` with the weights of `seed`, for inference."""
        model = self.make(lib).eval()
        fill(lib, model, seed)
        return model

    def example(self, seed: int = 0) -> Arrays:
        """Inputs drawn from `seed`."""
        return self.inputs(np.random.default_rng(seed))

    def save(self, path: str | Path) -> None:
        """Writes toolkit's network as `.onnx`."""
        import toolkit as tk

        inputs = tuple(tk.from_numpy(a) for a in self.example())
        tk.save(path, self.build(tk), inputs=inputs, dynamic=self.dynamic)


@dataclass(frozen=True)
class File:
    """An `.onnx` file of a package, with inputs by name."""

    package: str
    file: str
    inputs: Callable[[np.random.Generator], dict[str, np.ndarray]]

    @property
    def path(self) -> Path | None:
        """Where it is; None if the package is not installed, which is not imported."""
        spec = importlib.util.find_spec(self.package)
        if spec is None or not spec.submodule_search_locations:
            return None
        return Path(spec.submodule_search_locations[0]) / self.file

    def example(self, seed: int = 0) -> dict[str, np.ndarray]:
        """Inputs drawn from `seed`."""
        return self.inputs(np.random.default_rng(seed))


def fill(lib: Any, model: Any, seed: int) -> None:
    """Draws every parameter and statistic: He's scale for weights, near 1 or 0 for the rest."""
    rng = np.random.default_rng(seed)
    tables = {
        f"{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, lib.nn.Embedding)
    }
    recurrent = {
        f"{name}.{key}"
        for name, module in model.named_modules()
        if isinstance(module, lib.nn.LSTM)
        for key in module.state_dict()
    }
    state = {}
    for name, value in model.state_dict().items():
        shape, kind = tuple(value.shape), name.rsplit(".", 1)[-1]
        if kind == "num_batches_tracked":
            continue
        if name in tables:
            array = rng.standard_normal(shape, np.float32) * 0.02
        elif name in recurrent:
            array = rng.uniform(-0.06, 0.06, shape)
        elif kind == "running_var":
            array = rng.uniform(0.8, 1.2, shape)
        elif kind in ("bias", "running_mean"):
            array = rng.standard_normal(shape, np.float32) * 0.05
        elif len(shape) > 1:
            array = rng.standard_normal(shape, np.float32) * np.sqrt(2 / np.prod(shape[1:]))
        else:
            array = rng.uniform(0.3, 0.7, shape)
        state[name] = lib.from_numpy(np.ascontiguousarray(array, np.float32))
    model.load_state_dict(state, strict=False)


def _normal(*shape: int) -> Callable[[np.random.Generator], Arrays]:
    return lambda rng: (rng.standard_normal(shape, np.float32),)


def _tokens(length: int) -> Callable[[np.random.Generator], Arrays]:
    """Ids and a mask whose last eighth is padding."""

    def inputs(rng: np.random.Generator) -> Arrays:
        mask = np.ones((1, length), np.int64)
        mask[:, length - length // 8 :] = 0
        return rng.integers(0, 30522, (1, length)), mask

    return inputs


def _prompt(length: int, past: int) -> Callable[[np.random.Generator], Arrays]:
    """Ids, positions, and for each of 12 layers the keys and values of `past` tokens."""

    def inputs(rng: np.random.Generator) -> Arrays:
        ids = rng.integers(0, 50257, (1, length))
        positions = np.arange(past, past + length)[None]
        cache = [rng.standard_normal((1, 12, past, 64), np.float32) for _ in range(24)]
        return (ids, positions, *cache) if past else (ids, positions)

    return inputs


_TEXT = {name: {0: "batch", 1: "length"} for name in ("input_ids", "attention_mask")}
_GPT = {name: {0: "batch", 1: "length"} for name in ("input_ids", "position_ids")}
_PAST = {f"input_{i}": {0: "batch", 2: "past"} for i in range(2, 26)}
_STEP = {"input_ids": {0: "batch"}, "position_ids": {0: "batch"}, **_PAST}

NETWORKS: dict[str, Network] = {
    "vgg16": Network(vision.vgg16, _normal(1, 3, 224, 224)),
    "unet": Network(vision.unet, _normal(1, 3, 256, 256)),
    "resnet18": Network(vision.resnet18, _normal(1, 3, 224, 224)),
    "resnet50": Network(vision.resnet50, _normal(1, 3, 224, 224)),
    "convnext_tiny": Network(vision.convnext_tiny, _normal(1, 3, 224, 224)),
    "mobilenet_v2": Network(vision.mobilenet_v2, _normal(1, 3, 224, 224)),
    "bert_base, T 128": Network(sequence.bert_base, _tokens(128), _TEXT),
    "bert_base, T 512": Network(sequence.bert_base, _tokens(512), _TEXT),
    "gpt2, prefill 64": Network(sequence.gpt2, _prompt(64, 0), _GPT),
    "gpt2, step after 512": Network(sequence.gpt2, _prompt(1, 512), _STEP),
    "lstm, 2 layers both ways, T 128": Network(sequence.lstm, _normal(1, 128, 256)),
    "mlp, batch 1": Network(small.mlp, _normal(1, 784)),
    "mlp, batch 64": Network(small.mlp, _normal(64, 784)),
    "1,000 nodes": Network(small.thousand_nodes, _normal(4, 32)),
    "chain of 5, 64 thousand": Network(small.chain, _normal(1 << 16)),
    "chain of 5, 4 million": Network(small.chain, _normal(1 << 22)),
}


def _image(height: int, width: int, batch: int = 1) -> Callable[..., dict[str, np.ndarray]]:
    """Noise over dark strokes on white, in [-1, 1]."""

    def inputs(rng: np.random.Generator) -> dict[str, np.ndarray]:
        x = np.ones((batch, 3, height, width), np.float32)
        for _ in range(max(8, width // 16)):
            top, left = rng.integers(height * 3 // 4), rng.integers(width)
            x[:, :, top : top + height // 8, left : left + 3] = -1
        return {"x": x - 0.1 * np.abs(rng.standard_normal(x.shape, np.float32))}

    return inputs


def _speech(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """32 ms at 16 kHz after 4 ms of context."""
    sound = np.sin(np.arange(576) * 0.09) * rng.uniform(0.2, 0.4, 576)
    return {
        "input": sound[None].astype(np.float32),
        "state": rng.standard_normal((2, 1, 128), np.float32) * np.float32(0.1),
        "sr": np.array(16000),
    }


def _bytes(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {"bytes": rng.integers(0, 257, (1, 2048), np.int32)}


_OCR = "rapidocr_onnxruntime"
FILES: dict[str, File] = {
    "rapidocr det, 640x640": File(_OCR, "models/ch_PP-OCRv4_det_infer.onnx", _image(640, 640)),
    "rapidocr rec, 6 lines 48x320": File(
        _OCR, "models/ch_PP-OCRv4_rec_infer.onnx", _image(48, 320, 6)
    ),
    "rapidocr cls, 6 lines 48x192": File(
        _OCR, "models/ch_ppocr_mobile_v2.0_cls_infer.onnx", _image(48, 192, 6)
    ),
    "silero_vad, 32 ms": File("silero_vad", "data/silero_vad.onnx", _speech),
    "magika, 1 file": File("magika", "models/standard_v3_3/model.onnx", _bytes),
}

__all__ = ["FILES", "NETWORKS", "File", "Network", "fill"]

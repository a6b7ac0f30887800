"""Models that people ship in packages: our session against onnxruntime on the same inputs.

The packages are installed without their dependencies (extra `real`), only for their files.
openwakeword is not among them, for its licence; its models run where it is installed.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toolkit.graph.io import load_model, to_proto
from toolkit.runtime import InferenceSession

AUDIO = {"state": (2, 1, 128), "batch": 1}
# By file: the size of each dimension that has no number, by its name, or the input's whole shape.
SIZES: dict[str, dict[str, Any]] = {
    "magika/models/standard_v3_3/model.onnx": {"bytes": (3, 2048)},
    "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx": {"x": (1, 3, 96, 160)},
    "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx": {"x": (2, 3, 48, 160)},
    "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx": {"x": (2, 3, 48, 192)},
    "silero_vad/data/silero_vad.onnx": {**AUDIO, "input": (1, 576)},
    "silero_vad/data/silero_vad_16k_op15.onnx": {**AUDIO, "input": (1, 576)},
    "silero_vad/data/silero_vad_16k_sequence.onnx": {"input": (5, 576)},
    "silero_vad/data/silero_vad_half.onnx": {**AUDIO, "input": (1, 576)},
    "silero_vad/data/silero_vad_op18_ifless.onnx": {**AUDIO, "input": (1, 576)},
    "silero_vad/data/silero_vad_openvino_16k.onnx": {},
    "openwakeword/resources/models/alexa_v0.1.onnx": {},
    "openwakeword/resources/models/embedding_model.onnx": {"input_1": (2, 76, 32, 1)},
    "openwakeword/resources/models/hey_jarvis_v0.1.onnx": {},
    "openwakeword/resources/models/hey_marvin_v0.1.onnx": {},
    "openwakeword/resources/models/hey_mycroft_v0.1.onnx": {"input_1": (2, 16, 96)},
    "openwakeword/resources/models/melspectrogram.onnx": {"input": (1, 16000)},
    "openwakeword/resources/models/silero_vad.onnx": {
        "input": (1, 1536), "h": (2, 1, 64), "c": (2, 1, 64),
    },
    "openwakeword/resources/models/timer_v0.1.onnx": {},
    "openwakeword/resources/models/weather_v0.1.onnx": {},
}  # fmt: skip


def path_of(file: str) -> Path:
    """The file in its package, which is found without importing it: its dependencies lack."""
    package = file.split("/")[0]
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"{package} is not installed")
    return Path(spec.submodule_search_locations[0]).parent / file


def feeds_of(inputs: Any, sizes: Mapping[str, Any], seed: int) -> Iterator[dict[str, np.ndarray]]:
    """Noise, and for images a line of text too; `sr` is a sampling rate."""
    rng = np.random.default_rng(seed)
    for kind in ("noise", "text"):
        feeds = {}
        for item in inputs:
            shape = sizes.get(item.name, item.shape)
            if item.name == "sr":
                feeds[item.name] = np.array(16000)
            elif kind == "text" and len(shape) == 4 and shape[1] == 3:
                feeds[item.name] = np.broadcast_to(line_of_text(*shape[2:]), shape).copy()
            elif item.type == "tensor(int32)":
                feeds[item.name] = rng.integers(0, 257, shape, np.int32)
            else:
                feeds[item.name] = rng.standard_normal(shape).astype(np.float32)
        yield feeds


def line_of_text(height: int, width: int) -> np.ndarray:
    """Black on white, in [-1, 1]."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("L", (width, height), 255)
    font = ImageFont.load_default(size=height // 2)
    ImageDraw.Draw(image).text((4, height // 5), "Model 42", fill=0, font=font)
    return np.asarray(image, np.float32) / 127.5 - 1


@pytest.mark.parametrize("file", SIZES)
def test_a_real_model_gives_what_onnxruntime_gives(file: str) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    path = path_of(file)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    theirs = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
    ours = InferenceSession(path)
    assert [v.name for v in ours.get_inputs()] == [v.name for v in theirs.get_inputs()]
    assert [v.name for v in ours.get_outputs()] == [v.name for v in theirs.get_outputs()]
    for feeds in feeds_of(theirs.get_inputs(), SIZES[file], seed=len(file)):
        want, got = theirs.run(None, feeds), ours.run(None, feeds)
        for g, w in zip(got, want, strict=True):
            assert g.dtype == w.dtype
            # onnxruntime's Sigmoid is off by 1e-7 near zero.
            np.testing.assert_allclose(g, w, rtol=1e-4, atol=2e-7 + 1e-5 * np.abs(w).max())


@pytest.mark.parametrize("opset", [11, 17, 23])
@pytest.mark.parametrize("file", [f for f in SIZES if not f.startswith("openwakeword")])
def test_a_real_model_leaves_at_another_opset(file: str, opset: int) -> None:
    """Upgraded on load and taken down again, onnxruntime gives what it gave before."""
    onnxruntime = pytest.importorskip("onnxruntime")
    path = path_of(file)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    before = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
    proto = to_proto(load_model(path), opset)
    assert proto.opset_import[0].version == opset
    text = proto.SerializeToString()
    after = onnxruntime.InferenceSession(text, options, ["CPUExecutionProvider"])
    feeds = next(feeds_of(before.get_inputs(), SIZES[file], seed=len(file)))
    for g, w in zip(after.run(None, feeds), before.run(None, feeds), strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-4, atol=1e-6 + 1e-5 * np.abs(w).max())

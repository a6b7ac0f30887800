"""Programs that import onnxruntime, each with onnxruntime and with our runtime in its place.

Their packages (extra `real`) and what these import (extra `clients`) need not be installed.
openwakeword is in no extra, for its licence; its test runs where it is installed.
"""

from __future__ import annotations

import importlib
import json
import sys
import wave
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toolkit.runtime import InferenceSession, install_as_onnxruntime

RATE = 16000
pytestmark = pytest.mark.filterwarnings("default")  # The clients have warnings of their own.


def both(package: str, use: Callable[[], Any], *needs: str) -> tuple[Any, Any]:
    """What a client gives with onnxruntime and with our runtime; each time it is imported anew."""
    for name in ("onnxruntime", package, *needs):
        pytest.importorskip(name, exc_type=ImportError)
    found: list[Any] = []
    runs = []
    run = InferenceSession.run
    patch = pytest.MonkeyPatch()
    patch.setattr(InferenceSession, "run", lambda *a: (runs.append(len(found)), run(*a))[1])
    for place in (nullcontext, install_as_onnxruntime):
        before = {n: m for n, m in sys.modules.items() if n.split(".")[0] == package}
        for name in before:
            del sys.modules[name]
        with place():
            found.append(use())
        for name in [n for n in sys.modules if n.split(".")[0] == package]:
            del sys.modules[name]
        sys.modules.update(before)
    patch.undo()
    assert set(runs) == {1}
    return found[0], found[1]


def page(path: Path) -> list[str]:
    """An image of some lines of text; the lines."""
    from PIL import Image, ImageDraw, ImageFont

    lines = ["Interchange first", "one graph, one file", "Total: 42.50 EUR"]
    image = Image.new("RGB", (480, 220), "white")
    for i, line in enumerate(lines):
        font = ImageFont.load_default(size=34 - 4 * i)
        ImageDraw.Draw(image).text((20, 20 + 62 * i), line, fill="black", font=font)
    image.save(path)
    return lines


def speech() -> np.ndarray:
    """Four seconds: noise, then two spoken-like stretches of syllables with a pause between.

    A syllable is a glottal pulse train with falling pitch through three resonances (formants).
    """
    from scipy.signal import lfilter

    rng = np.random.default_rng(0)
    t = np.arange(4 * RATE) / RATE
    voiced = ((t > 0.8) & (t < 1.9)) | ((t > 2.6) & (t < 3.6))
    pitch = 130 + 18 * np.sin(2 * np.pi * 0.9 * t) - 6 * t
    pulses = np.diff(np.floor(np.cumsum(pitch / RATE)), prepend=0)
    vowels = ((730, 1090, 2440), (270, 2290, 3010), (570, 840, 2410), (530, 1840, 2480))
    y = np.zeros_like(t)
    step = RATE // 5
    for i, start in enumerate(range(0, len(t), step)):
        part = pulses[start : start + step] + 0.01 * rng.standard_normal(step)
        for f in vowels[i % len(vowels)]:
            r = np.exp(-np.pi * 90 / RATE)
            part = lfilter([1 - r], [1, -2 * r * np.cos(2 * np.pi * f / RATE), r * r], part)
        y[start : start + step] = part * np.hanning(step) ** 0.5
    y *= voiced
    return (0.3 * y / np.abs(y).max() + 0.001 * rng.standard_normal(len(t))).astype(np.float32)


def test_rapidocr_reads_a_page(tmp_path):
    lines = page(tmp_path / "page.png")

    def read() -> list[Any]:
        client = importlib.import_module("rapidocr_onnxruntime")
        found, _ = client.RapidOCR()(str(tmp_path / "page.png"))
        return found

    theirs, ours = both("rapidocr_onnxruntime", read, "cv2", "pyclipper", "shapely")
    assert [text for _, text, _ in ours] == [text for _, text, _ in theirs]
    assert [text.replace(" ", "") for _, text, _ in ours] == [s.replace(" ", "") for s in lines]
    for (box, _, score), (want, _, expected) in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(box, want, atol=1)
        assert abs(float(score) - float(expected)) < 1e-3


@pytest.mark.parametrize("sequence", [False, True])
def test_silero_finds_the_speech(sequence):
    audio = speech()

    def find() -> Any:
        import torch

        client = importlib.import_module("silero_vad")
        if sequence:
            model = client.load_silero_vad(sequence=True)
            return model.audio_forward(audio), []
        model = client.load_silero_vad(onnx=True)
        found = client.get_speech_timestamps(torch.from_numpy(audio), model, sampling_rate=RATE)
        return model.audio_forward(torch.from_numpy(audio), RATE).numpy(), found

    (theirs, times), (ours, found) = both("silero_vad", find, "torch", "scipy")
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert found == times
    if not sequence:
        inside = [s for s in found if s["start"] > 0.5 * RATE and s["end"] < 3.9 * RATE]
        assert inside == found and len(found) >= 1


def test_magika_names_file_types(tmp_path):
    files = {
        "a.py": b"import os\n\n\ndef main(path: str) -> None:\n    print(os.listdir(path))\n" * 8,
        "b.json": json.dumps({"name": "x", "items": list(range(80))}).encode(),
        "c.html": b"<!DOCTYPE html><html><body><p>text</p></body></html>\n" * 9,
        "d.c": b'#include <stdio.h>\nint main(void) { printf("x\\n"); return 0; }\n' * 6,
        "e.md": b"# Title\n\nSome *text* with a [link](http://example.org).\n\n- item\n" * 6,
        "f.csv": b"id,name,value\n1,a,0.5\n2,b,0.25\n" * 20,
    }
    for name, text in files.items():
        (tmp_path / name).write_bytes(text)
    paths = [tmp_path / name for name in files]
    page(tmp_path / "g.png")
    with wave.open(str(tmp_path / "h.wav"), "wb") as out:
        out.setparams((1, 2, RATE, 0, "NONE", ""))
        out.writeframes((speech() * 32767).astype(np.int16).tobytes())
    paths += [tmp_path / "g.png", tmp_path / "h.wav"]

    def name() -> list[tuple[str, float]]:
        client = importlib.import_module("magika").Magika()
        return [(r.output.label, r.score) for r in client.identify_paths(paths)]

    theirs, ours = both("magika", name, "scipy")
    assert [str(label) for label, _ in ours] == [str(label) for label, _ in theirs]
    assert [str(label) for label, _ in ours] == [
        "python", "json", "html", "c", "markdown", "csv", "png", "wav",
    ]  # fmt: skip
    np.testing.assert_allclose([s for _, s in ours], [s for _, s in theirs], atol=1e-5)


def test_openwakeword_scores_a_recording():
    pcm = (speech() * 32767).astype(np.int16)

    def score() -> dict[str, np.ndarray]:
        model = importlib.import_module("openwakeword.model").Model()
        rows = [model.predict(pcm[i : i + 1280]) for i in range(0, len(pcm) - 1279, 1280)]
        return {k: np.array([row[k] for row in rows]) for k in rows[0]}

    theirs, ours = both("openwakeword", score, "scipy")
    assert ours.keys() == theirs.keys() and ours
    for key, want in theirs.items():
        np.testing.assert_allclose(ours[key], want, atol=1e-4)

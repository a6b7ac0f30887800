"""Measured choice of convolutions' algorithms: which layers, the file, and later processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.runtime.plain import error
from toolkit.errors import ToolkitWarning
from toolkit.runtime import autotune

SCRIPT = """
import sys
import numpy as np
import toolkit as tk
from tests.runtime.test_conv_algorithms import conv_model, node
from toolkit.runtime import InferenceSession, SessionOptions, autotune
rng = np.random.default_rng(0)
width = int(sys.argv[1])
shape = (1, width, 12, 12)
w = rng.standard_normal((width, width, 3, 3)).astype(np.float32)
layers = [node("Conv", "x w", "c", pads=[1] * 4), node("Relu", "c", "y")]
options = SessionOptions()
options.autotune = sys.argv[2] == "session"
session = InferenceSession(conv_model(layers, {"w": w}, ["x"], shape), options)
x = rng.standard_normal(shape).astype(np.float32)
results = {session.run(None, {"x": x})[0].tobytes() for _ in range(3)}
assert len(results) == 1
if sys.argv[2] == "step":
    model = tk.nn.Sequential(tk.nn.Conv2d(width, 8, 3), tk.nn.Conv2d(8, 8, 3))
    (model(tk.tensor(x, requires_grad=True)).square().sum()).backward()
program = session.native_program()
program.enable_profile(True)
session.run(None, {"x": x})
print(program.profile()["nodes"][0]["algorithm"], results.pop().hex())
"""


def start(folder, width: int, how: str, **env: str) -> subprocess.Popen:
    variables = os.environ | {"TOOLKIT_CACHE_DIR": str(folder)} | env
    command = [sys.executable, "-W", "error", "-c", SCRIPT, str(width), how]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=variables, text=True, **pipes)


def ran(process: subprocess.Popen) -> tuple[str, np.ndarray]:
    """The algorithm and the result."""
    out, err = process.communicate()
    assert process.returncode == 0, err
    name, _, bits = out.strip().partition(" ")
    return name, np.frombuffer(bytes.fromhex(bits), np.float32)


def layers(folder) -> dict[str, str]:
    content = json.loads((folder / "autotune.json").read_text())
    (found,) = content["machines"].values()
    return found


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """The folder, algorithm and result of a session that measured."""
    folder = tmp_path_factory.mktemp("measured")
    return folder, *ran(start(folder, 24, "session"))


def test_what_is_measured_is_kept(measured, tmp_path):
    folder, name, got = measured
    ((layer, kept),) = layers(folder).items()
    assert (kept, layer.split()[0]) == (name, "forward")
    variables = {"TOOLKIT_OPT": "0", "TOOLKIT_AUTOTUNE": "1"}
    _, want = ran(start(tmp_path / "other", 24, "all", **variables))
    assert error(got, want) < 1e-5
    assert not (tmp_path / "other").exists()  # The plain path has no choice.


@pytest.mark.parametrize("name", ["im2col", "winograd4"])
def test_a_choice_in_the_file_is_taken(measured, tmp_path, name):
    content = json.loads((measured[0] / "autotune.json").read_text())
    for found in content["machines"].values():
        found.update(dict.fromkeys(found, name))
    (tmp_path / "autotune.json").write_text(json.dumps(content))
    results = [ran(start(tmp_path, 24, "session")) for _ in range(2)]
    assert results[0][0] == name
    assert results[0][1].tobytes() == results[1][1].tobytes()
    assert set(layers(tmp_path).values()) == {name}
    if name == "winograd4":
        assert "winograd" not in ran(start(tmp_path, 24, "session", TOOLKIT_WINOGRAD="0"))[0]


def test_training_is_measured_too(tmp_path):
    ran(start(tmp_path, 16, "step", TOOLKIT_AUTOTUNE="1"))
    passes = {layer.split()[0] for layer in layers(tmp_path)}
    assert passes == {"forward", "forward-once", "input-gradient", "weight-gradient"}


def test_processes_at_once_keep_what_each_found(tmp_path):
    widths = (8, 12, 16)
    for process in [start(tmp_path, width, "session") for width in widths]:
        ran(process)
    assert {layer.split()[4] for layer in layers(tmp_path)} == {f"c{width}" for width in widths}


BROKEN = ["", "{", "[]", '{"format": 1}', '{"format": 1, "machines": {"a": {"b": 3}}}', "\x00\xff"]


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_file_is_ignored_with_a_warning(tmp_path, monkeypatch, text):
    monkeypatch.setenv("TOOLKIT_CACHE_DIR", str(tmp_path))
    (tmp_path / "autotune.json").write_text(text, encoding="latin-1")
    with pytest.warns(ToolkitWarning, match=r"autotune: a file of choices is required, got .*json"):
        assert autotune._read() == {}


def test_another_format_and_unknown_algorithms_are_left_out(tmp_path, monkeypatch):
    monkeypatch.setenv("TOOLKIT_CACHE_DIR", str(tmp_path))
    (tmp_path / "autotune.json").write_text('{"format": 2, "machines": 7}')
    assert autotune._read() == {}
    assert not autotune._core.add_autotuned("forward of nothing", "fft")
    assert "forward of nothing" not in autotune._core.autotuned()


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TOOLKIT_CACHE_DIR", str(tmp_path / "file"))
    monkeypatch.setattr(autotune, "_saved", {})
    monkeypatch.setattr(autotune._core, "autotuned", lambda: {"a layer": "direct"})
    with pytest.warns(ToolkitWarning, match="a file that can be written is required"):
        autotune.save()


def test_the_users_folder(monkeypatch):
    monkeypatch.delenv("TOOLKIT_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    if sys.platform == "linux":
        assert str(autotune.cache_path()) == "/somewhere/toolkit/autotune.json"
    monkeypatch.setenv("TOOLKIT_CACHE_DIR", "/elsewhere")
    assert str(autotune.cache_path()) == os.path.join("/elsewhere", "autotune.json")

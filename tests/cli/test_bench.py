"""`toolkit bench` and `toolkit profile`: what they print, never how fast anything is."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.cli.test_cli import call, model

__all__ = ["model"]


@pytest.mark.parametrize("command", ["bench", "profile"])
def test_help(command):
    code, text = call(command, "--help")
    assert code == 0
    assert "Example:" in text


def test_bench_alone(model):
    code, text = call("bench", model, "--seconds", "0", "--threads", "1")
    assert code == 0, text
    assert "1 threads" in text
    assert "ours: " in text


def test_bench_beside_onnxruntime(model):
    pytest.importorskip("onnxruntime")
    options = ["--compare", "ort", "--seconds", "0", "--threads", "1", "--batch", "5"]
    code, text = call("bench", model, *options)
    assert code == 0, text
    assert "times ours; outputs differ by " in text
    code, text = call("--json", "bench", model, *options)
    report = json.loads(text)
    assert list(report["seconds"]) == ["ours", "onnxruntime"]
    assert report["errors"]["onnxruntime"] < 1e-5


def test_bench_beside_openvino(model):
    pytest.importorskip("openvino")
    code, text = call(
        "--json", "bench", model, "--compare", "openvino", "--seconds", "0", "--threads", "1"
    )
    assert code == 0, text
    assert json.loads(text)["errors"]["openvino"] < 1e-5


def test_a_runtime_that_is_not_installed(model, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    code, text = call("bench", model, "--compare", "openvino", "--seconds", "0")
    assert code == 1
    assert "openvino is required for the comparison, got none. pip install openvino" in text


def test_sizes_and_inputs(model, tmp_path):
    """--batch and --dim give open dimensions a size; an array has its own."""
    quick = ["--seconds", "0", "--threads", "1", "-v"]
    np.save(tmp_path / "x.npy", np.ones((3, 4), np.float32))
    for options, want in (
        ([], "[1, 4]"),
        (["--batch", "6"], "[6, 4]"),
        (["--dim", "batch=7"], "[7, 4]"),
        (["--dim", "batch=7", "--batch", "6"], "[7, 4]"),
        (["--input", f"x={tmp_path / 'x.npy'}"], "[3, 4]"),
    ):
        code, text = call("bench", model, *options, *quick)
        assert code == 0, text
        assert f"x: float32{want} given" in text
    for options, message in (
        (["--dim", "length=7"], "a dimension among ['batch'] is required, got 'length'"),
        (["--dim", "batch=none"], "a positive size is required, got 'batch=none'"),
        (["--dim", "batch"], "NAME=VALUE is required"),
        (["--input", "z=random"], "an input among ['x'] is required, got 'z'"),
        (["--compare", "torch"], "Invalid value for '--compare'"),
    ):
        code, text = call("bench", model, *options, *quick)
        assert code != 0
        assert message in " ".join(text.split())


def test_profile(model, tmp_path):
    code, text = call(
        "profile", model, "--seconds", "0", "--trace", str(tmp_path / "t.json"), "--batch", "64"
    )
    assert code == 0, text
    assert "GFLOP/s" in text
    assert "MatMul" in text
    assert json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    code, text = call("--json", "profile", model, "--seconds", "0", "--batch", "64")
    report = json.loads(text)
    assert sum(n["operations"] for n in report["nodes"]) == 2 * 64 * 4 * 3
    assert report["runs"] >= 3


def test_memory(model):
    code, text = call("profile", model, "--memory")
    assert code == 0, text
    assert "arena" in text
    code, text = call("--json", "profile", model, "--memory", "--batch", "9")
    assert json.loads(text)["outputs"] == 9 * (3 + 4) * 4


@pytest.mark.parametrize("command", ["bench", "profile"])
def test_a_missing_file(command, tmp_path):
    code, text = call(command, str(tmp_path / "none.onnx"))
    assert code == 1
    assert text.startswith("Error: ")
    assert len(text.splitlines()) == 1

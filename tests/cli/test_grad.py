"""`toolkit grad`: happy paths beside finite differences, errors that say what there is."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.autodiff.helpers import model_of, rand, run
from tests.cli.test_cli import call


@pytest.fixture
def net(tmp_path):
    """L(x) = mean(tanh(x w)^2) as a file."""
    nodes = [
        helper.make_node("MatMul", ["x", "fc.weight"], ["h"]),
        helper.make_node("Tanh", ["h"], ["y"]),
        helper.make_node("Mul", ["y", "y"], ["s"]),
        helper.make_node("ReduceMean", ["s"], ["loss"], keepdims=0),
    ]
    path = tmp_path / "net.onnx"
    weights = {"fc.weight": rand(3, 4)}
    onnx.save(model_of(nodes, {"x": rand(5, 3)}, ["y", "loss"], initializers=weights), path)
    return str(path)


def test_help():
    code, text = call("grad", "--help")
    assert code == 0
    assert "Usage:" in text and "Example:" in text


def test_gradient_of_a_loss(net, tmp_path):
    out = tmp_path / "grad.onnx"
    code, text = call(
        "grad", net, "--wrt", "*.weight", "--loss", "loss", "--inline", "-o", str(out)
    )
    assert code == 0, text
    assert f"Saved {out}." in text and "outputs y, loss, d_fc.weight" in text
    model = onnx.load(out)
    onnx.checker.check_model(model, full_check=True)
    assert {n.domain for n in model.graph.node} == {""}
    x, w = rand(5, 3).astype(np.float64), rand(3, 4).astype(np.float64)
    y = np.tanh(x @ w)
    want = x.T @ (2 * y * (1 - y * y) / y.size)
    np.testing.assert_allclose(run(model, {"x": rand(5, 3)})["d_fc.weight"], want, rtol=1e-4)


def test_second_order_and_opset_as_json(net, tmp_path):
    out = tmp_path / "grad.onnx"
    options = ["--wrt", "x", "--wrt", "fc.weight", "--loss", "loss", "--order", "2"]
    code, text = call("--json", "grad", net, *options, "--opset", "18", "-o", str(out))
    assert code == 0, text
    found = json.loads(text)
    assert found["inputs"] == ["x", "v_x", "v_fc.weight"]
    assert found["outputs"] == ["y", "loss", "d_x", "d_fc.weight", "d2_x", "d2_fc.weight"]
    assert {e.domain: e.version for e in onnx.load(out).opset_import}[""] == 18


def test_vector_jacobian_product(net, tmp_path):
    out = tmp_path / "grad.onnx"
    code, text = call("grad", net, "--wrt", "x", "--outputs", "y", "-o", str(out))
    assert code == 0, text
    assert "inputs x, d_y\n" in text


@pytest.mark.parametrize(
    ("args", "code", "match"),
    [
        (["--wrt", "x"], 2, "Missing option '-o'"),
        (["--loss", "loss", "-o", "g.onnx"], 2, "Missing option '--wrt'"),
        (["--wrt", "z", "-o", "g.onnx"], 1, "got 'z'. The model has x, fc.weight"),
        (["--wrt", "z*", "-o", "g.onnx"], 1, "got 'z*'. The model has x, fc.weight"),
        (["--wrt", "x", "--loss", "l", "-o", "g.onnx"], 1, "It has y, loss"),
        (["--wrt", "x", "--loss", "y", "-o", "g.onnx"], 1, "got 'y' of shape (5, 4). Reduce it"),
        (["--wrt", "x", "--order", "0", "-o", "g.onnx"], 2, "--order"),
    ],
)
def test_bad_input(net, args, code, match, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    got, text = call("grad", net, *args)
    assert got == code
    assert match in text
    assert not (tmp_path / "g.onnx").exists()


def test_for_a_browser(net, tmp_path):
    from toolkit.graph.targets import check_target

    out, same = tmp_path / "grad.onnx", tmp_path / "same.onnx"
    options = ["--wrt", "x", "--loss", "loss", "--target", "ortweb"]
    code, text = call("grad", net, *options, "-o", str(out))
    assert code == 0, text
    assert check_target(out, "ortweb") == []
    code, text = call("convert", str(out), str(same), "--to", "ort")
    assert code == 0, text
    assert check_target(same, "ort") == []


def test_what_a_browser_lacks_is_named(tmp_path):
    node = helper.make_node("NonZero", ["x"], ["y"], "where")
    path = tmp_path / "m.onnx"
    onnx.save(model_of([node], {"x": rand(3)}, ["y"]), path)
    code, text = call("convert", str(path), str(tmp_path / "o.onnx"), "--to", "ortweb")
    assert code == 1
    assert "NonZero 'where': there is no kernel for NonZero" in text

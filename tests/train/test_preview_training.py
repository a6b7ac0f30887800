"""A training file as the standard describes it: Gradient and Adagrad in its training_info."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import toolkit as tk

DOMAIN = "ai.onnx.preview.training"
WEIGHTS = np.array([[1, 2], [3, 4]], np.float32)


def training_file() -> onnx.ModelProto:
    """A linear model, its squared error to t, and a step of Adagrad on W."""
    info = helper.make_tensor_value_info
    matrix = ["N", 2]
    inference = helper.make_graph(
        [helper.make_node("MatMul", ["x", "W"], ["y"])],
        "inference",
        [info("x", TensorProto.FLOAT, matrix)],
        [info("y", TensorProto.FLOAT, matrix)],
        [numpy_helper.from_array(WEIGHTS, "W")],
    )
    gradient = {"xs": ["W"], "zs": ["x", "t"], "y": "loss", "domain": DOMAIN}
    algorithm = helper.make_graph(
        [
            helper.make_node("Sub", ["y", "t"], ["error"]),
            helper.make_node("Mul", ["error", "error"], ["squares"]),
            helper.make_node("ReduceMean", ["squares"], ["loss"], keepdims=0),
            helper.make_node("Gradient", ["W", "x", "t"], ["dW"], **gradient),
            helper.make_node(
                "Adagrad", ["R", "T", "W", "dW", "H"], ["W_new", "H_new"], domain=DOMAIN
            ),
            helper.make_node("Add", ["T", "one"], ["T_new"]),
        ],
        "algorithm",
        [info("t", TensorProto.FLOAT, matrix)],
        [
            info("loss", TensorProto.FLOAT, []),
            info("W_new", TensorProto.FLOAT, [2, 2]),
            info("H_new", TensorProto.FLOAT, [2, 2]),
            info("T_new", TensorProto.INT64, []),
        ],
        [
            numpy_helper.from_array(np.array(0.5, np.float32), "R"),
            numpy_helper.from_array(np.array(0, np.int64), "T"),
            numpy_helper.from_array(np.array(1, np.int64), "one"),
            numpy_helper.from_array(np.zeros((2, 2), np.float32), "H"),
        ],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1)]
    model = helper.make_model(inference, opset_imports=opsets, ir_version=8)
    training = model.training_info.add()
    training.algorithm.CopyFrom(algorithm)
    for key in ("W", "H", "T"):
        training.update_binding.add(key=key, value=f"{key}_new")
    return model


def test_a_file_with_gradient_and_adagrad_trains(tmp_path):
    onnx.save(training_file(), tmp_path / "training.onnx")
    step = tk.load_training(tmp_path / "training.onnx")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, 2)).astype(np.float32)
    t = x @ np.array([[0.5, -1], [1, 0.25]], np.float32)
    w, h = WEIGHTS.astype(np.float64), np.zeros((2, 2))
    for _ in range(5):
        error = x @ w - t
        loss, _ = step(x, t)
        np.testing.assert_allclose(loss.numpy(), (error**2).mean(), rtol=1e-5)
        g = 2 * x.T @ error / error.size
        h += g * g
        w -= 0.5 * g / (np.sqrt(h) + 1e-6)

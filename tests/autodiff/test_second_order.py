"""Gradients of gradients beside torch's double backward, static and symbolic."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from onnx import helper

from tests.autodiff.helpers import check_second_order, rand

node = helper.make_node
X = rand(3, 4)
X4 = rand(2, 4, 6, 5)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def unary(op: str, f):
    return [node(op, ["x"], ["y"])], {"x": X}, f, {}


def then_tanh(op: str, inputs: list[str], feeds, f, constants=None, **attributes):
    """A linear operator with something to curve behind it."""
    nodes = [node(op, inputs, ["y"], **attributes), node("Tanh", ["y"], ["z"])]
    return nodes, feeds, lambda **k: f(**k).tanh(), constants or {}


CASES = {
    "Tanh": unary("Tanh", lambda x: x.tanh()),
    "Exp": unary("Exp", lambda x: x.exp()),
    "Gelu": unary("Gelu", lambda x: F.gelu(x)),
    "Elu": unary("Elu", lambda x: F.elu(x)),
    "Mish": unary("Mish", lambda x: F.mish(x)),
    "Softplus": unary("Softplus", lambda x: F.softplus(x)),
    "Relu": unary("Relu", lambda x: F.relu(x)),
    "Softmax": unary("Softmax", lambda x: x.softmax(-1)),
    "LogSoftmax": unary("LogSoftmax", lambda x: x.log_softmax(-1)),
    "ReduceL2": ([node("ReduceL2", ["x"], ["y"], keepdims=0)], {"x": X}, lambda x: x.norm(), {}),
    "Div": (
        [node("Div", ["x", "y"], ["z"])],
        {"x": rand(3, 4, low=0.3), "y": rand(4, low=0.4, seed=2)},
        lambda x, y: x / y,
        {},
    ),
    "Pow": (
        [node("Pow", ["x", "y"], ["z"])],
        {"x": rand(3, 4, low=0.3), "y": rand(4, low=0.4, seed=2)},
        lambda x, y: x**y,
        {},
    ),
    "MatMul": (
        [node("MatMul", ["x", "y"], ["z"])],
        {"x": rand(2, 3, 4), "y": rand(4, 5)},
        lambda x, y: x @ y,
        {},
    ),
    "Einsum": (
        [node("Einsum", ["x", "y"], ["z"], equation="ij,kj->ik")],
        {"x": X, "y": rand(2, 4)},
        lambda x, y: x @ y.T,
        {},
    ),
    "Conv": (
        [node("Conv", ["x", "w", "b"], ["y"], strides=[2, 1], pads=[1, 0, 1, 1], group=2)],
        {"x": X4, "w": rand(4, 2, 3, 2), "b": rand(4)},
        lambda x, w, b: F.conv2d(F.pad(x, (0, 1, 1, 1)), w, b, (2, 1), 0, 1, 2),
        {},
    ),
    "MaxPool": then_tanh(
        "MaxPool",
        ["x"],
        {"x": X4},
        lambda x: F.max_pool2d(x, 2),
        kernel_shape=[2, 2],
        strides=[2, 2],
    ),
    "AveragePool": then_tanh(
        "AveragePool",
        ["x"],
        {"x": X4},
        lambda x: F.avg_pool2d(x, 2, 2, 1, False, False),
        kernel_shape=[2, 2],
        strides=[2, 2],
        pads=[1, 1, 1, 1],
    ),
    "SoftmaxCrossEntropyLoss": (
        [node("SoftmaxCrossEntropyLoss", ["x", "t"], ["y"])],
        {"x": X, "t": ints(0, 3, 1)},
        lambda x, t: F.cross_entropy(x, t),
        {},
    ),
    "LayerNormalization": (
        [node("LayerNormalization", ["x", "s", "b"], ["y"])],
        {"x": X, "s": rand(4), "b": rand(4, seed=3)},
        lambda x, s, b: F.layer_norm(x, (4,), s, b),
        {},
    ),
    "BatchNormalization": (
        [node("BatchNormalization", list("xsbmv"), ["y", "rm", "rv"], training_mode=1)],
        {"x": rand(4, 3, 2, 2), "s": rand(3), "b": rand(3, seed=1)},
        lambda x, s, b: F.batch_norm(x, None, None, s, b, True),
        {"m": rand(3), "v": rand(3, low=0.5)},
    ),
    "Gather": then_tanh("Gather", ["x", "i"], {"x": X, "i": ints(0, 2, 2)}, lambda x, i: x[i]),
    "GatherElements": then_tanh(
        "GatherElements",
        ["x", "i"],
        {"x": X, "i": np.zeros((3, 2), np.int64)},
        lambda x, i: torch.gather(x, 1, i),
        axis=1,
    ),
    "Slice": then_tanh(
        "Slice",
        ["x", "s", "e", "a", "p"],
        {"x": X},
        lambda x: x[:, 1::2],
        {"s": ints(1), "e": ints(9), "a": ints(1), "p": ints(2)},
    ),
    "ReduceMax": then_tanh(
        "ReduceMax", ["x", "a"], {"x": X}, lambda x: x.amax(1), {"a": ints(1)}, keepdims=0
    ),
    "Pad": then_tanh(
        "Pad",
        ["x", "p"],
        {"x": X},
        lambda x: F.pad(x, (1, 2), "reflect"),
        {"p": ints(0, 1, 0, 2)},
        mode="reflect",
    ),
}


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "symbolic"])
@pytest.mark.parametrize("name", CASES)
def test_second_order(name, dynamic):
    nodes, feeds, reference, constants = CASES[name]
    check_second_order(nodes, feeds, reference, dynamic=dynamic, initializers=constants)

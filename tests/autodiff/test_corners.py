"""What the operator table cannot reach: constants that a rule reads, ties, values at the limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx import helper, numpy_helper

from tests.autodiff.helpers import check, model_of, rand, run
from toolkit.autodiff import grad_model
from toolkit.runtime import InferenceSession

node = helper.make_node


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0, 3.0, -1.0])
def test_powers_by_a_constant(exponent):
    e = {"e": np.array(exponent, np.float32)}
    x = np.array([-2, -0.5, 0.5, 1.5], np.float32)
    check(node("Pow", ["x", "e"], ["y"]), {"x": x}, lambda x: x**exponent, initializers=e)


@pytest.mark.parametrize("op", ["Max", "Min"])
def test_three_that_tie_share(op):
    feeds = {n: np.round(rand(4, 5, seed=k)) for k, n in enumerate("xyz")}
    f = torch.amax if op == "Max" else torch.amin
    check(node(op, ["x", "y", "z"], ["m"]), feeds, lambda x, y, z: f(torch.stack([x, y, z]), 0))


@pytest.mark.parametrize("reduction", ["max", "min"])
@pytest.mark.parametrize("op", ["ScatterElements", "ScatterND"])
def test_scattered_values_that_tie_share(op, reduction):
    x = np.array([1, 2, 2, 0, 5], np.float32)
    u = np.array([2, 2, 1, 0, 2, 9], np.float32)
    at = np.array([1, 1, 2, 3, 0, 4], np.int64)
    i = {"i": at if op == "ScatterElements" else at[:, None]}
    check(
        node(op, ["x", "i", "u"], ["y"], reduction=reduction), {"x": x, "u": u},
        lambda x, u: x.scatter_reduce(0, torch.from_numpy(at), u, f"a{reduction}"),
        initializers=i, opset=18,
    )  # fmt: skip


@pytest.mark.parametrize("trains", [True, False])
def test_dropout_by_a_ratio_at_run_time(trains):
    feeds = {"x": rand(200) + 3, "r": np.array(0.25, np.float32), "t": np.array(trains)}
    model = model_of([node("Dropout", ["x", "r", "t"], ["y"], seed=3)], feeds, ["y"])
    got = run(grad_model(model, ["x"]), {**feeds, "d_y": np.ones(200, np.float32)})
    assert (got["y"] == 0).any() == trains
    np.testing.assert_allclose(got["d_x"] * feeds["x"], got["y"], rtol=1e-5)


def ours(nodes, feeds, initializers, dy):
    """D_x by our runtime, where onnxruntime computes something else."""
    kind = helper.np_dtype_to_tensor_dtype(dy.dtype)
    infos = [helper.make_tensor_value_info(n, kind, dy.shape) for n in "xy"]
    constants = [numpy_helper.from_array(a, n) for n, a in initializers.items()]
    graph = helper.make_graph(nodes, "g", infos[:1], infos[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    session = InferenceSession(grad_model(model, ["x"]).SerializeToString())
    return session.run(["d_x"], {**feeds, "d_y": dy})[0]


def test_mean_variance_normalization_of_almost_nothing():
    """The epsilon counts."""
    x, dy = 1e-9 * rand(2, 3, 4, 4).astype(np.float64), rand(2, 3, 4, 4, seed=1).astype(np.float64)
    dx = ours([node("MeanVarianceNormalization", ["x"], ["y"])], {"x": x}, {}, dy)
    t = torch.tensor(x, requires_grad=True)
    centered = t - t.mean((0, 2, 3), True)
    y = centered / (centered.square().mean((0, 2, 3), True).sqrt() + 1e-9)
    y.backward(torch.tensor(dy))
    np.testing.assert_allclose(dx, t.grad.numpy(), rtol=1e-9)


def test_a_scalar_without_pads():
    """Onnxruntime pads no scalars."""
    pads = {"p": np.zeros(0, np.int64)}
    x, dy = np.array(2, np.float32), np.array(3, np.float32)
    assert ours([node("Pad", ["x", "p"], ["y"])], {"x": x}, pads, dy) == 3

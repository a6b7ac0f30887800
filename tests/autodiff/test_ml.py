"""Gradients of ai.onnx.ml's operators on floats beside torch's."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from toolkit.autodiff import grad_model
from toolkit.runtime import InferenceSession

X = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
W = np.random.default_rng(1).normal(size=(2, 3)).astype(np.float32)
AT = np.array([[2, 0, 2]], np.int64)


CASES = {
    "Scaler": ({"scale": [2.0, -1.0, 0.5], "offset": [1.0, 0.0, 2.0]}, 3,
               lambda x: (x - torch.tensor([1.0, 0, 2])) * torch.tensor([2.0, -1, 0.5])),
    "Imputer": ({"imputed_value_floats": [5.0], "replaced_value_float": float(X[1, 2])}, 3,
                lambda x: torch.where(x == float(X[1, 2]), 5.0, x)),
    "LinearRegressor": ({"targets": 2, "coefficients": W.reshape(-1).tolist(),
                         "intercepts": [1.0, 2.0]}, 2,
                        lambda x: x @ torch.tensor(W).T + torch.tensor([1.0, 2.0])),
    "Normalizer_L1": ({"norm": "L1"}, 3, lambda x: x / x.abs().sum(-1, keepdim=True)),
    "Normalizer_L2": ({"norm": "L2"}, 3, lambda x: x / x.square().sum(-1, keepdim=True).sqrt()),
    "ArrayFeatureExtractor": ({}, 3, lambda x: x[:, [2, 0, 2]]),
    "FeatureVectorizer": ({"inputdimensions": [3, 3]}, 6, lambda x: torch.cat([x, x], -1)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_gradient(name):
    attributes, width, reference = CASES[name]
    op_type = name.partition("_")[0]
    inputs = {"ArrayFeatureExtractor": ["x", "i"], "FeatureVectorizer": ["x", "x"]}
    node = helper.make_node(
        op_type, inputs.get(op_type, ["x"]), ["y"], domain="ai.onnx.ml", **attributes
    )
    graph = helper.make_graph(
        [node], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["B", width])],
        [onnx.numpy_helper.from_array(AT, "i")],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 4)]
    graded = grad_model(helper.make_model(graph, opset_imports=opsets, ir_version=10), ["x"])
    dy = np.random.default_rng(2).normal(size=(4, width)).astype(np.float32)
    y, dx = InferenceSession(graded.SerializeToString()).run(None, {"x": X, "d_y": dy})
    x = torch.tensor(X, requires_grad=True)
    want = reference(x)
    want.backward(torch.tensor(dy))
    np.testing.assert_allclose(y, want.detach().numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(dx, x.grad.numpy(), rtol=1e-5, atol=1e-6)

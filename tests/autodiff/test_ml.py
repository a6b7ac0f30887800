"""Gradients of ai.onnx.ml's operators on floats beside torch's."""

import math

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from toolkit.autodiff import grad_model
from toolkit.errors import UnsupportedOperatorError
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
    "Normalizer_MAX": ({}, 3, lambda x: x / x.max(-1, keepdim=True).values),
    "FeatureVectorizer": ({"inputdimensions": [3, 3]}, 6, lambda x: torch.cat([x, x], -1)),
    "FeatureVectorizer_cut": ({"inputdimensions": [2, 5]}, 7,
                              lambda x: torch.cat([x[:, :2], x, torch.zeros(len(x), 2)], -1)),
    "FeatureVectorizer_own": ({}, 6, lambda x: torch.cat([x, x], -1)),
}  # fmt: skip


def probit(p):
    return math.sqrt(2.0) * torch.erfinv(2.0 * p - 1.0)


TRANSFORMS = {
    "NONE": lambda z: z,
    "SOFTMAX": lambda z: z.softmax(-1),
    "SOFTMAX_ZERO": lambda z: z.softmax(-1),
    "LOGISTIC": torch.sigmoid,
    "PROBIT": probit,
}
SMALL = [0.02 * v for v in W.reshape(-1).tolist()]  # So that scores are probabilities.
HALF = [0.8, 0.25]
for name, transform in TRANSFORMS.items():
    weight, bias = torch.tensor(SMALL).reshape(2, 3), torch.tensor(HALF)
    linear = {"coefficients": SMALL, "intercepts": HALF, "post_transform": name}

    def scores(x, transform=transform, weight=weight, bias=bias):
        return transform(x @ weight.T + bias)

    CASES[f"LinearRegressor_{name}"] = ({"targets": 2, **linear}, 2, scores)
    CASES[f"LinearClassifier_{name}"] = ({"classlabels_ints": [3, 5], **linear}, 2, scores)

LABELS = {"classlabels_strings": ["no", "yes"]}


def both(s):
    return torch.cat([1.0 - s, s], -1)


def one_score(x):
    return x @ weight[:1].T


CASES |= {
    "LinearClassifier_one": (
        {"coefficients": SMALL[:3], "intercepts": [0.0], **LABELS}, 2,
        lambda x: both(one_score(x)),
    ),
    "LinearClassifier_one_LOGISTIC": (
        {"coefficients": SMALL[:3], "intercepts": [0.5], "post_transform": "LOGISTIC", **LABELS}, 2,
        lambda x: both(torch.sigmoid(one_score(x) + 0.5)),
    ),
    "LinearClassifier_one_PROBIT": (
        {"coefficients": SMALL[:3], "intercepts": [0.8], "post_transform": "PROBIT", **LABELS}, 2,
        lambda x: probit(both(one_score(x) + 0.8)),
    ),
}  # fmt: skip

VECTORS = np.random.default_rng(3).uniform(-1, 1, (6, 3)).astype(np.float32)
WEIGHTS = np.random.default_rng(4).uniform(-1, 1, (2, 6)).astype(np.float32)
KERNELS = {
    "LINEAR": ([0.0, 0.0, 0.0], lambda x, v: x @ v.T),
    "POLY": ([0.3, 0.5, 3.0], lambda x, v: (0.3 * (x @ v.T) + 0.5) ** 3),
    "RBF": ([0.4, 0.0, 0.0], lambda x, v: torch.exp(-0.4 * torch.cdist(x, v).square())),
    "SIGMOID": ([0.2, 0.1, 0.0], lambda x, v: torch.tanh(0.2 * (x @ v.T) + 0.1)),
}
COUNTS, RHO = [2, 3, 1], [0.1, -0.2, 0.3]


def pairs(kernels):
    """The decisions between the classes 0 and 1, 0 and 2, 1 and 2."""
    a = torch.tensor(WEIGHTS)
    ends = (0, 2, 5, 6)

    def part(row, of):
        span = slice(ends[of], ends[of + 1])
        return (a[row, span] * kernels[:, span]).sum(-1)

    columns = [part(j - 1, i) + part(i, j) for i, j in ((0, 1), (0, 2), (1, 2))]
    return torch.stack(columns, -1) + torch.tensor(RHO)


for name, (params, kernel) in KERNELS.items():
    machine = {"kernel_type": name, "kernel_params": params}
    vectors = {"support_vectors": VECTORS.reshape(-1).tolist()}

    def value(x, kernel=kernel):
        return kernel(x, torch.tensor(VECTORS)) @ torch.tensor(WEIGHTS[0])[:, None] + 0.3

    def decisions(x, kernel=kernel):
        return pairs(kernel(x, torch.tensor(VECTORS)))

    def of_two(x, kernel=kernel):
        s = kernel(x, torch.tensor(VECTORS[:5])) @ torch.tensor(WEIGHTS[0, :5])[:, None] + 0.1
        return torch.cat([-s, s], -1)

    one = {"coefficients": WEIGHTS[0].tolist(), "rho": [0.3], "n_supports": 6}
    three = {"coefficients": WEIGHTS.reshape(-1).tolist(), "rho": RHO, "vectors_per_class": COUNTS}
    two = {"coefficients": WEIGHTS[0, :5].tolist(), "rho": [0.1], "vectors_per_class": [2, 3],
           "support_vectors": VECTORS[:5].reshape(-1).tolist(), **LABELS}  # fmt: skip
    CASES[f"SVMRegressor_{name}"] = (machine | vectors | one, 1, value)
    CASES[f"SVMClassifier_{name}"] = (
        machine | vectors | three | {"classlabels_ints": [3, 5, 9]}, 3, decisions,
    )  # fmt: skip
    CASES[f"SVMClassifier_{name}_two"] = (machine | two, 2, of_two)

CASES |= {
    "SVMRegressor_coefficients": (
        {"coefficients": SMALL[:3], "rho": [0.3], "post_transform": "LOGISTIC"}, 1,
        lambda x: torch.sigmoid(one_score(x) + 0.3),
    ),
    "SVMRegressor_one_class": (
        {"coefficients": SMALL[:3], "rho": [0.0], "one_class": 1}, 1,
        lambda x: one_score(x).sign() + 0.0 * one_score(x),
    ),
    "SVMClassifier_coefficients": (
        {"coefficients": SMALL, "rho": [0.3], "post_transform": "SOFTMAX", **LABELS}, 2,
        lambda x: (x @ weight.T + 0.3).softmax(-1),
    ),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_gradient(name, dtype):
    attributes, width, reference = CASES[name]
    op_type = name.partition("_")[0]
    inputs = {"ArrayFeatureExtractor": ["x", "i"], "FeatureVectorizer": ["x", "x"]}
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    keeps = op_type in ("Imputer", "ArrayFeatureExtractor")
    classifies = op_type.endswith("Classifier")
    node = helper.make_node(
        op_type, inputs.get(op_type, ["x"]), ["label", "y"] if classifies else ["y"],
        domain="ai.onnx.ml", **attributes,
    )  # fmt: skip
    graph = helper.make_graph(
        [node], "g",
        [helper.make_tensor_value_info("x", kind, ["B", 3])],
        [helper.make_tensor_value_info("y", kind if keeps else TensorProto.FLOAT, ["B", width])],
        [onnx.numpy_helper.from_array(AT, "i")],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 4)]
    graded = grad_model(helper.make_model(graph, opset_imports=opsets, ir_version=10), ["x"])
    dy = np.random.default_rng(2).normal(size=(4, width)).astype(dtype if keeps else np.float32)
    y, dx = InferenceSession(graded.SerializeToString()).run(
        None, {"x": X.astype(dtype), "d_y": dy}
    )
    assert dx.dtype == dtype
    x = torch.tensor(X, requires_grad=True)
    want = reference(x)
    want.backward(torch.tensor(dy))
    # PROBIT's values are an approximation.
    rtol, atol = (3e-2, 3e-3) if "PROBIT" in name else (2e-5, 2e-6)
    np.testing.assert_allclose(y, want.detach().numpy(), rtol=rtol, atol=atol)
    np.testing.assert_allclose(dx, x.grad.numpy(), rtol=rtol, atol=atol)


@pytest.mark.parametrize("name", CASES)
def test_a_vector_is_one_row(name):
    attributes, _, _ = CASES[name]
    op_type = name.partition("_")[0]
    inputs = {"ArrayFeatureExtractor": ["x", "i"], "FeatureVectorizer": ["x", "x"]}
    outputs = ["label", "y"] if op_type.endswith("Classifier") else ["y"]
    node = helper.make_node(
        op_type, inputs.get(op_type, ["x"]), outputs, domain="ai.onnx.ml", **attributes
    )
    found = []
    for shape in ([3], [1, 3]):
        graph = helper.make_graph(
            [node], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [onnx.numpy_helper.from_array(AT, "i")],
        )  # fmt: skip
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 4)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        y = InferenceSession(model.SerializeToString()).run(["y"], {"x": X[0].reshape(shape)})[0]
        graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, y.shape))
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        dy = np.random.default_rng(2).normal(size=y.size).reshape(y.shape).astype(np.float32)
        graded = InferenceSession(grad_model(model, ["x"]).SerializeToString())
        dx = graded.run(["d_x"], {"x": X[0].reshape(shape), "d_y": dy})[0]
        assert list(dx.shape) == shape
        found.append(dx.ravel())
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6)


def test_features_of_an_array_of_rank_3():
    node = helper.make_node("ArrayFeatureExtractor", ["x", "i"], ["y"], domain="ai.onnx.ml")
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [2, 4, 3]) for n in "xy"]
    graph = helper.make_graph(
        [node], "g", infos[:1], infos[1:], [onnx.numpy_helper.from_array(AT, "i")]
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 4)]
    model = grad_model(helper.make_model(graph, opset_imports=opsets, ir_version=10), ["x"])
    x, dy = np.random.default_rng(3).normal(size=(2, 2, 4, 3)).astype(np.float32)
    (dx,) = InferenceSession(model.SerializeToString()).run(["d_x"], {"x": x, "d_y": dy})
    want = np.stack([dy[..., 1], 0 * dy[..., 1], dy[..., 0] + dy[..., 2]], -1)
    np.testing.assert_allclose(dx, want, rtol=1e-6)


def test_coupled_probabilities_are_refused():
    attributes, _, _ = CASES["SVMClassifier_RBF"]
    node = helper.make_node("SVMClassifier", ["x"], ["l", "y"], domain="ai.onnx.ml", **attributes,
                            prob_a=[1.0, 1.0, 1.0], prob_b=[0.0, 0.0, 0.0])  # fmt: skip
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["B", 3]) for n in "xy"]
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 4)]
    model = helper.make_model(
        helper.make_graph([node], "g", infos[:1], infos[1:]), opset_imports=opsets, ir_version=10
    )
    with pytest.raises(UnsupportedOperatorError, match="SVMClassifier"):
        grad_model(model, ["x"])

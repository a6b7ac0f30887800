"""FlexAttention through its body: modifying subgraphs, what they capture, and its gradient."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from toolkit.autodiff import grad_model
from toolkit.errors import InvalidModelError
from toolkit.runtime import InferenceSession

SHAPES = {"q": (2, 4, 3, 8), "k": (2, 2, 5, 8), "v": (2, 2, 5, 6)}


def modifier(*nodes, inputs=("s",)):
    """A subgraph from s to t."""
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [2, 4, 3, 5]) for n in inputs]
    result = helper.make_tensor_value_info("t", TensorProto.FLOAT, [2, 4, 3, 5])
    return helper.make_graph(list(nodes), "modifier", infos, [result])


def model(**attributes) -> onnx.ModelProto:
    """One FlexAttention beside a bias (heads, 1, keys) that modifiers may read."""
    inputs = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, s)
        for n, s in {**SHAPES, "bias": (4, 1, 5)}.items()
    ]
    node = helper.make_node(
        "FlexAttention", ["q", "k", "v"], ["y"], domain="ai.onnx.preview", **attributes
    )
    twice = helper.make_node("Add", ["bias", "bias"], ["s"])  # Its name recurs inside.
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, (2, 4, 3, 6))
    graph = helper.make_graph([twice, node], "flex", inputs, [output])
    opsets = [helper.make_opsetid("", 26), helper.make_opsetid("ai.onnx.preview", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=12)


@pytest.fixture
def feed():
    rng = np.random.default_rng(0)
    shapes = {**SHAPES, "bias": (4, 1, 5)}
    return {n: rng.standard_normal(s).astype(np.float32) for n, s in shapes.items()}


def expected(q, k, v, score=lambda s: s, prob=lambda p: p):
    """By numpy or torch, whichever holds the numbers."""
    import torch

    q, k, v = (torch.as_tensor(x) for x in (q, k, v))
    k, v = k.repeat_interleave(2, 1), v.repeat_interleave(2, 1)
    return prob(torch.softmax(score(q @ k.mT * q.shape[-1] ** -0.5), -1)) @ v


def test_plain_is_attention(feed):
    got = InferenceSession(model().SerializeToString()).run(None, feed)[0]
    want = expected(feed["q"], feed["k"], feed["v"])
    np.testing.assert_allclose(got, want, 1e-5, 1e-6)


MODS = {
    "score_mod": modifier(
        helper.make_node("Add", ["s", "bias"], ["u"]), helper.make_node("Tanh", ["u"], ["t"])
    ),
    "prob_mod": modifier(helper.make_node("Mul", ["s", "s"], ["t"])),
}


def modified(torch, q, k, v, bias):
    return expected(q, k, v, lambda s: torch.tanh(s + bias), lambda p: p * p)


def test_modifiers_read_outer_values(feed):
    torch = pytest.importorskip("torch")
    got = InferenceSession(model(**MODS).SerializeToString()).run(None, feed)[0]
    want = modified(torch, *(torch.from_numpy(feed[n]) for n in ("q", "k", "v", "bias")))
    np.testing.assert_allclose(got, want, 1e-5, 1e-6)


def test_gradient_reaches_what_modifiers_read(feed):
    torch = pytest.importorskip("torch")
    names = ["q", "k", "v", "bias"]
    grad = grad_model(model(**MODS), names, ["y"])
    dy = np.random.default_rng(1).standard_normal((2, 4, 3, 6)).astype(np.float32)
    got = InferenceSession(grad.SerializeToString()).run(
        [f"d_{n}" for n in names], feed | {"d_y": dy}
    )
    xs = [torch.from_numpy(feed[n]).double().requires_grad_() for n in names]
    want = torch.autograd.grad(modified(torch, *xs), xs, torch.from_numpy(dy).double())
    for name, g, w in zip(names, got, want, strict=True):
        np.testing.assert_allclose(g, w, 1e-4, 1e-5, err_msg=name)


def test_a_modifier_takes_one_input(feed):
    bad = modifier(helper.make_node("Add", ["s", "r"], ["t"]), inputs=("s", "r"))
    with pytest.raises(InvalidModelError, match="one input and one output is required, got 2"):
        InferenceSession(model(score_mod=bad).SerializeToString()).run(None, feed)

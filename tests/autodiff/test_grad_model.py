"""`grad_model`: names, order, errors, opsets."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from onnx import helper

from tests.autodiff.helpers import finite_differences, model_of, rand, run
from toolkit.autodiff import grad_model
from toolkit.errors import (
    DTypeError,
    InvalidArgumentError,
    InvalidModelError,
    ShapeError,
    UnsupportedOperatorError,
)

node = helper.make_node


def small_net(dynamic: bool = False, dtype=np.float32) -> tuple[onnx.ModelProto, dict]:
    feeds = {
        "x": rand(5, 3).astype(dtype),
        "w": rand(3, 4).astype(dtype),
        "b": rand(4).astype(dtype),
        "k": np.array([1, 0, 2, 2], np.int64),
    }
    nodes = [
        node("MatMul", ["x", "w"], ["h"]),
        node("Add", ["h", "b"], ["d_w_"]),
        node("Tanh", ["d_w_"], ["t"]),
        node("Gather", ["t", "k"], ["g"]),
        node("ReduceSum", ["g", "axes"], ["y"], keepdims=0),
        node("Softmax", ["t"], ["p"]),
        node("ArgMax", ["t"], ["best"], axis=1),
    ]
    axes = {"axes": np.array([0], np.int64)}
    return model_of(nodes, feeds, ["y", "p", "best"], dynamic, axes), feeds


@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize("dynamic", [True, False])
def test_inputs_and_outputs(dynamic, inline):
    model, _ = small_net(dynamic)
    graded = grad_model(model, ["w", "x"], inline=inline)
    onnx.checker.check_model(graded, full_check=True)
    assert [v.name for v in graded.graph.input] == ["x", "w", "b", "k", "d_y", "d_p"]
    assert [v.name for v in graded.graph.output] == ["y", "p", "best", "d_w", "d_x"]
    assert bool(graded.functions) is not inline
    domains = {n.domain for n in graded.graph.node}
    assert domains == {""} if inline else "toolkit.grad" in domains
    for value in graded.graph.output:
        assert value.type.tensor_type.HasField("shape")


def test_numbers_match_finite_differences():
    model, feeds = small_net(dtype=np.float64)
    dys = {"d_y": rand(4).astype(np.float64), "d_p": rand(5, 4).astype(np.float64)}
    got = run(grad_model(model, ["w", "x", "b"]), {**feeds, **dys})
    for name in ("w", "x", "b"):
        want = finite_differences(model, feeds, dys, name)
        np.testing.assert_allclose(got[f"d_{name}"], want, rtol=1e-6, atol=1e-7)


def test_chosen_outputs():
    model, feeds = small_net()
    graded = grad_model(model, ["x"], ["p"])
    assert [v.name for v in graded.graph.input][4:] == ["d_p"]
    zeros = run(grad_model(model, ["x"]), {**feeds, "d_y": np.zeros(4, np.float32), "d_p": _ones()})
    only = run(graded, {**feeds, "d_p": _ones()})
    np.testing.assert_allclose(only["d_x"], zeros["d_x"], atol=1e-7)


def _ones():
    return np.ones((5, 4), np.float32)


def test_initializers_stay_and_have_gradients():
    nodes = [node("Gemm", ["x", "w", "b"], ["y"])]
    weights = {"w": rand(3, 4), "b": rand(4)}
    model = model_of(nodes, {"x": rand(5, 3)}, ["y"], initializers=weights)
    graded = grad_model(model, ["w", "b"])
    assert {i.name for i in graded.graph.initializer} >= {"w", "b"}
    got = run(graded, {"x": rand(5, 3), "d_y": _ones()})
    np.testing.assert_allclose(got["d_b"], _ones().sum(0))
    np.testing.assert_allclose(got["d_w"], rand(5, 3).T @ _ones(), rtol=1e-5)


def test_no_path_is_zeros():
    model = model_of(
        [node("Sin", ["x"], ["y"]), node("Floor", ["z"], ["f"])],
        {"x": rand(3), "z": rand(2, 2)},
        ["y", "f"],
        dynamic=True,
    )
    got = run(
        grad_model(model, ["x", "z"]),
        {"x": rand(3), "z": rand(2, 2), "d_y": rand(3), "d_f": rand(2, 2)},
    )
    np.testing.assert_array_equal(got["d_z"], np.zeros((2, 2), np.float32))


def test_dead_nodes_are_left_out():
    model, _ = small_net()
    graded = grad_model(model, ["b"], ["p"])
    produced = {o for n in graded.graph.node for o in n.output}
    read = {i for n in graded.graph.node for i in n.input} | {v.name for v in graded.graph.output}
    assert produced - {""} <= read


@pytest.mark.parametrize("opset", [18, 20, 21, 22, 23])
def test_opset(opset):
    model, feeds = small_net()
    graded = grad_model(model, ["x"], opset=opset)
    assert [e.version for e in graded.opset_import if e.domain == ""] == [opset]
    onnx.checker.check_model(graded)
    run(graded, {**feeds, "d_y": rand(4), "d_p": rand(5, 4)})


def test_sources_are_equal_and_unchanged(tmp_path):
    model, _ = small_net()
    text = model.SerializeToString()
    path = tmp_path / "m.onnx"
    path.write_bytes(text)
    first = grad_model(model, ["x"])
    assert model.SerializeToString() == text
    assert grad_model(text, ["x"]) == first
    assert grad_model(path, ["x"]) == first
    assert grad_model(ir.serde.deserialize_model(model), ["x"]).graph == first.graph


def test_inner_values_make_room():
    feeds = {"x": rand(3)}
    model = model_of([node("Sin", ["x"], ["d_x"]), node("Cos", ["d_x"], ["y"])], feeds, ["y"])
    got = run(grad_model(model, ["x"]), {**feeds, "d_y": np.ones(3, np.float32)})
    want = -np.sin(np.sin(feeds["x"])) * np.cos(feeds["x"])
    np.testing.assert_allclose(got["d_x"], want, rtol=1e-5)


def test_errors():
    model, _ = small_net()
    with pytest.raises(InvalidArgumentError, match="wrt must name inputs or initializers, got 'q'"):
        grad_model(model, ["q"])
    with pytest.raises(InvalidArgumentError, match="outputs must name outputs of the model, got"):
        grad_model(model, ["x"], ["h"])
    with pytest.raises(DTypeError, match="wrt must name float values, got 'k' of int64"):
        grad_model(model, ["k"])
    with pytest.raises(DTypeError, match="outputs must name float values, got 'best' of int64"):
        grad_model(model, ["x"], ["best"])
    with pytest.raises(InvalidArgumentError, match="name 'd_x' is required"):
        grad_model(model, ["x", "x"])
    with pytest.raises(InvalidModelError):
        grad_model(b"not a model", ["x"])
    taken = model_of([node("Add", ["x", "d_x"], ["y"])], {"x": rand(3), "d_x": rand(3)}, ["y"])
    with pytest.raises(InvalidArgumentError, match=r"'d_x' is required .* Rename"):
        grad_model(taken, ["x"])


def net_with_loss(rows: int | str = 5) -> tuple[onnx.ModelProto, dict]:
    """A scalar loss of two weights, in float64."""
    feeds = {"x": rand(5, 3).astype(np.float64)}
    weights = {"a.weight": rand(3, 4).astype(np.float64), "b.weight": rand(4).astype(np.float64)}
    nodes = [
        node("MatMul", ["x", "a.weight"], ["h"]),
        node("Tanh", ["h"], ["t"]),
        node("MatMul", ["t", "b.weight"], ["y"]),
        node("Exp", ["y"], ["e"]),
        node("ReduceMean", ["e"], ["loss"], keepdims=0),
    ]
    return model_of(nodes, feeds, ["y", "loss"], initializers=weights), {**feeds, **weights}


def torch_loss(x, a, b):
    return torch.exp(torch.tanh(x @ a) @ b).mean()


def test_loss_and_patterns():
    model, feeds = net_with_loss()
    graded = grad_model(model, ["*.weight", "x"], loss="loss")
    assert [v.name for v in graded.graph.input] == ["x"]
    names = ["d_a.weight", "d_b.weight", "d_x"]
    assert [v.name for v in graded.graph.output] == ["y", "loss", *names]
    got = run(graded, {"x": feeds["x"]})
    x, a, b = (torch.tensor(v, requires_grad=True) for v in feeds.values())
    want = torch.autograd.grad(torch_loss(x, a, b), (a, b, x))
    for name, w in zip(names, want, strict=True):
        np.testing.assert_allclose(got[name], w.numpy(), rtol=1e-10, atol=1e-12)


def test_higher_orders_are_derivatives_along_the_directions():
    """d2 is the Hessian times v, d3 the next derivative along v, beside torch."""
    model, feeds = net_with_loss()
    wrt = ["a.weight", "b.weight"]
    graded = grad_model(model, wrt, loss="loss", order=3, inline=True)
    v = {f"v_{n}": rand(*feeds[n].shape, seed=5).astype(np.float64) for n in wrt}
    assert [i.name for i in graded.graph.input] == ["x", *v]
    got = run(graded, {"x": feeds["x"], **v})
    x, *ws = (torch.tensor(f, requires_grad=True) for f in feeds.values())
    found = torch.autograd.grad(torch_loss(x, *ws), ws, create_graph=True)
    for prefix in ("d", "d2", "d3"):
        for name, w in zip(wrt, found, strict=True):
            np.testing.assert_allclose(
                got[f"{prefix}_{name}"], w.detach().numpy(), rtol=1e-9, atol=1e-10
            )
        along = sum((g * torch.tensor(d)).sum() for g, d in zip(found, v.values(), strict=True))
        found = torch.autograd.grad(along, ws, create_graph=True)


def test_second_order_of_outputs_holds_the_cotangents_fixed():
    model, feeds = net_with_loss()
    graded = grad_model(model, ["x"], ["y"], order=2)
    dy, v = rand(5).astype(np.float64), rand(5, 3, seed=2).astype(np.float64)
    got = run(graded, {"x": feeds["x"], "d_y": dy, "v_x": v})
    x, a, b = (torch.tensor(f) for f in feeds.values())
    want = torch.autograd.functional.hvp(
        lambda x: (torch.tanh(x @ a) @ b * torch.tensor(dy)).sum(), x, torch.tensor(v)
    )[1]
    np.testing.assert_allclose(got["d2_x"], want.numpy(), rtol=1e-10)


def test_second_derivative_of_a_linear_model_is_zeros():
    model = model_of([node("ReduceSum", ["x"], ["y"], keepdims=0)], {"x": rand(3)}, ["y"])
    got = run(grad_model(model, ["x"], loss="y", order=3), {"x": rand(3), "v_x": rand(3)})
    np.testing.assert_array_equal(got["d_x"], np.ones(3, np.float32))
    np.testing.assert_array_equal(got["d2_x"], np.zeros(3, np.float32))
    np.testing.assert_array_equal(got["d3_x"], np.zeros(3, np.float32))


def test_errors_of_losses_patterns_and_orders():
    model, _ = net_with_loss()
    with pytest.raises(ShapeError, match=r"one element is required, got 'y' of shape \(5\)"):
        grad_model(model, ["x"], loss="y")
    with pytest.raises(InvalidArgumentError, match=r"outputs of the model, got 'l'.* y, loss"):
        grad_model(model, ["x"], loss="l")
    with pytest.raises(InvalidArgumentError, match="loss or outputs"):
        grad_model(model, ["x"], ["y"], loss="loss")
    with pytest.raises(InvalidArgumentError, match=r"got 'q\*'. The model has x, a.weight"):
        grad_model(model, ["q*"], loss="loss")
    with pytest.raises(InvalidArgumentError, match="at least one"):
        grad_model(model, [], loss="loss")
    with pytest.raises(InvalidArgumentError, match="order of 1 or more"):
        grad_model(model, ["x"], loss="loss", order=0)


def test_unknown_rank_is_named():
    """A composite's body is written for ranks: where none is known, an error says so."""
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 21]>'
        "g (float[N] x, int64[K] s, int64[2] k) => (float y) "
        "{ r = Reshape(x, s) t = Gather<axis = 1>(r, k) y = ReduceSum<keepdims = 0>(t) }"
    )
    with pytest.raises(UnsupportedOperatorError, match=r"inputs of known rank are required"):
        grad_model(model, ["x"])

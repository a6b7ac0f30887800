"""What `vmap` does where an operator has no rule: bodies, a Scan over the examples, or an error."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

import toolkit as tk
from tests.autodiff.test_func import assert_same, rand
from toolkit import func, nn
from toolkit.autodiff.batching.walk import batch_graph
from toolkit.errors import ToolkitError
from toolkit.graph.build import Builder
from toolkit.graph.io import save_model
from toolkit.nn.export import export

node, info = helper.make_node, helper.make_tensor_value_info
FLOAT, INT, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def module(tmp_path, nodes, inputs, outputs, initializers=()):
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(initializers))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    path = tmp_path / "m.onnx"
    onnx.save(model, path)
    return tk.load(path)


def branches():
    return {
        "then_branch": helper.make_graph(
            [node("Exp", ["x"], ["a"])], "t", [], [info("a", FLOAT, [4])]
        ),
        "else_branch": helper.make_graph(
            [node("Mul", ["x", "k"], ["e"])], "e", [], [info("e", FLOAT, [4])]
        ),
    }


def test_a_branch_of_each_example(tmp_path):
    nodes = [
        node("ReduceSum", ["x"], ["s"], keepdims=0),
        node("Greater", ["s", "zero"], ["c"]),
        node("If", ["c"], ["y"], **branches()),
    ]
    zero = helper.make_tensor("zero", FLOAT, [], [0.0])
    k = helper.make_tensor("k", FLOAT, [4], [1.0, 2.0, 3.0, 4.0])
    m = module(tmp_path, nodes, [info("x", FLOAT, [4])], [info("y", FLOAT, [4])], [zero, k])
    x = rand(6, 4).astype("f4")
    assert len({s > 0 for s in x.sum(1)}) == 2
    factor = np.array([1, 2, 3, 4], "f4")
    with tk.no_grad():
        got = func.vmap(m)(tk.tensor(x)).numpy()
    want = np.stack([np.exp(r) if r.sum() > 0 else r * factor for r in x])
    np.testing.assert_allclose(got, want, rtol=1e-6)
    slopes = func.vmap(func.grad(lambda a: m(a).sum()))(tk.tensor(x)).detach().numpy()
    want = np.stack([np.exp(r) if r.sum() > 0 else factor for r in x])
    np.testing.assert_allclose(slopes, want, rtol=1e-6)


def test_a_loop_of_each_example(tmp_path):
    body = helper.make_graph(
        [node("Mul", ["a", "w"], ["b"]), node("Identity", ["go"], ["on"])],
        "body",
        [info("i", INT, []), info("go", BOOL, []), info("a", FLOAT, [4])],
        [info("on", BOOL, []), info("b", FLOAT, [4])],
    )
    nodes = [node("Loop", ["n", "", "x"], ["y"], body=body)]
    inputs = [info("x", FLOAT, [4]), info("w", FLOAT, [4]), info("n", INT, [])]
    m = module(tmp_path, nodes, inputs, [info("y", FLOAT, [4])])
    x, w = rand(3, 4).astype("f4"), rand(3, 4, seed=2).astype("f4")
    turns = np.array([0, 2, 3])
    with tk.no_grad():
        got = func.vmap(m)(tk.tensor(x), tk.tensor(w), tk.tensor(turns)).numpy()
        shared = func.vmap(m, in_dims=(0, None, None))(
            tk.tensor(x), tk.tensor(w[0]), tk.tensor(np.array(2))
        )
    np.testing.assert_allclose(got, x * w ** turns[:, None], rtol=1e-5)
    np.testing.assert_allclose(shared.numpy(), x * w[0] ** 2, rtol=1e-5)


def test_sequences_are_an_error():
    graph, outer = (ir.Graph([], [], nodes=[], opset_imports={"": 28}) for _ in range(2))
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([4]))
    xs = ir.Value(name="xs", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([3, 4]))
    b = Builder(graph)
    y = b.ConcatFromSequence(b.SplitToSequence(x, axis=0), axis=0)
    outside = Builder(outer)
    with pytest.raises(ToolkitError, match="got the sequence or optional"):
        batch_graph(outside, graph, {x: xs}, [y], 3, outside.ints([3]))


def test_recurrent_layers():
    torch.manual_seed(0)
    theirs = torch.nn.GRU(3, 4, batch_first=True).double()
    mine = nn.GRU(3, 4, batch_first=True).double()
    mine.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    x = rand(3, 2, 5, 3)
    params = {k: v.detach() for k, v in mine.named_parameters()}

    def loss(p, a):
        return (func.functional_call(mine, p, (a,))[0] ** 2).sum()

    got = func.vmap(func.grad(loss), in_dims=(None, 0))(params, tk.tensor(x))
    for k, example in enumerate(x):
        theirs.zero_grad()
        (theirs(torch.tensor(example))[0] ** 2).sum().backward()
        for name, p in theirs.named_parameters():
            np.testing.assert_allclose(got[name].numpy()[k], p.grad.numpy(), rtol=1e-8, atol=1e-12)


RESIZED = {
    "scale": {"scale_factor": 2.0, "mode": "bilinear", "align_corners": False},
    "size": {"size": (5, 3), "mode": "bilinear", "align_corners": True},
    "nearest": {"scale_factor": 1.5, "mode": "nearest"},
}


@pytest.mark.parametrize("name", RESIZED)
def test_resize(name):
    def run(lib, F):
        def f(a):
            return lib.nn.functional.interpolate(a, **RESIZED[name])

        x = lib.tensor(rand(3, 2, 2, 4, 4))
        return F.vmap(f)(x), F.vmap(F.grad(lambda a: (f(a) ** 2).sum()))(x)

    assert_same(run(tk, func), run(torch, torch.func), rtol=1e-6, atol=1e-8)


class Ensemble(nn.Module):
    """Weights of each example, and how many there are is known at run time only."""

    def forward(self, w, x):
        return func.vmap(lambda k, a: nn.functional.conv2d(a, k, padding=1))(w, x)


def test_a_batch_of_unknown_size(tmp_path):
    w, x = rand(3, 4, 2, 3, 3).astype("f4"), rand(3, 2, 2, 5, 5).astype("f4")
    model = export(Ensemble(), (tk.tensor(w), tk.tensor(x)))
    path = tmp_path / "ensemble.onnx"
    save_model(model, path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for n in (3, 2):
        (got,) = session.run(None, {"w": w[:n], "x": x[:n]})
        want = torch.func.vmap(lambda k, a: torch.nn.functional.conv2d(a, k, padding=1))(
            torch.tensor(w[:n]), torch.tensor(x[:n])
        )
        np.testing.assert_allclose(got, want.numpy(), rtol=1e-4, atol=1e-5)


def test_detached_outside_of_a_trace():
    """A gradient does not flow to what a tensor was detached from."""
    w = tk.tensor(rand(4), requires_grad=True)
    d = w.detach()
    x = tk.tensor(rand(3, 4))
    y = func.vmap(lambda a: (a * d).sum())(x)
    assert not y.requires_grad
    z = func.vmap(lambda a: (a * d * w).sum())(x).sum()
    z.backward()
    np.testing.assert_allclose(w.grad.numpy(), (rand(3, 4) * rand(4)).sum(0))

"""Bodies of composite operators, run by onnxruntime beside torch; `attach` and `inline`."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
import torch.nn.functional as F

from tests.autodiff.helpers import rand, run
from toolkit.errors import UnsupportedOperatorError
from toolkit.graph import functions
from toolkit.graph.build import Builder
from toolkit.graph.io import to_proto

CONTRACT = {
    "toolkit.grad": """SumToShape ConvGradInput ConvGradWeight MaxPoolGrad AveragePoolGrad
        SoftmaxGrad LogSoftmaxGrad SoftmaxCrossEntropyLossGrad LayerNormalizationGrad
        BatchNormalizationGrad GatherGrad SliceGrad""",
    "toolkit.nn": "BatchNormTraining",
    "toolkit.optim": "SGD Adam AdamW",
    "toolkit.random": "Dropout Uniform Normal",
}


@pytest.mark.parametrize("domain", CONTRACT)
def test_every_composite_has_a_body(domain):
    for name in CONTRACT[domain].split():
        assert functions.find(domain, name) is not None, name
        assert functions.find(domain, f"{name}__detail") is not None


def model_of(
    domain: str,
    name: str,
    feeds: dict[str, np.ndarray],
    inputs: list[str | None],
    outputs: int,
    symbolic: bool = False,
    **attributes: Any,
) -> ir.Model:
    """A model of one composite call, whose outputs are y0, y1 and so on."""
    values = {}
    for key, array in feeds.items():
        shape: list[Any] = list(array.shape)
        if symbolic and array.dtype.kind == "f":
            shape = [f"{key}{i}" for i in range(array.ndim)]
        kind = ir.TensorType(ir.DataType.from_numpy(array.dtype))
        values[key] = ir.Value(name=key, type=kind, shape=ir.Shape(shape))
    graph = ir.Graph(list(values.values()), [], nodes=[], opset_imports={"": 28}, name="g")
    operands = [None if i is None else values[i] for i in inputs]
    made = Builder(graph).call(domain, name, operands, attributes, outputs)
    for i, value in enumerate(made if outputs > 1 else (made,)):
        value.name = f"y{i}"
        if value.shape is None:
            value.shape = ir.Shape([])
        graph.outputs.append(value)
    return ir.Model(graph, ir_version=10)


def bodies(domain, name, feeds, inputs, outputs=1, **attributes):
    """What the body gives, attached and inlined, with static and with symbolic shapes."""
    results = []
    for symbolic in (False, True):
        for inline in (False, True):
            model = model_of(domain, name, feeds, inputs, outputs, symbolic, **attributes)
            proto = to_proto(model, 21, inline=inline)
            for value in proto.graph.output:
                value.type.tensor_type.ClearField("shape")
            assert bool(proto.functions) is not inline
            got = run(proto, feeds)
            results.append([got[f"y{i}"] for i in range(outputs)])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    return results[0]


def close(got, want, rtol=1e-5, atol=1e-5):
    np.testing.assert_allclose(got, want.detach().numpy(), rtol=rtol, atol=atol)


def test_sum_to_shape():
    dy = rand(2, 3, 4)
    for shape in [(2, 3, 4), (3, 4), (1, 4), (3, 1), (1,), (), (2, 1, 1)]:
        feeds = {"dy": dy, "shape": np.array(shape, np.int64)}
        (got,) = bodies("toolkit.grad", "SumToShape", feeds, ["dy", "shape"])
        t = torch.zeros(shape, requires_grad=True)
        (t + torch.zeros(2, 3, 4)).backward(torch.tensor(dy))
        close(got, t.grad)


def test_softmax_gradients():
    x = torch.tensor(rand(3, 5), requires_grad=True)
    dy = torch.tensor(rand(3, 5, seed=1))
    for name, f in (("SoftmaxGrad", torch.softmax), ("LogSoftmaxGrad", torch.log_softmax)):
        for axis in (0, 1, -1):
            y = f(x, axis)
            (want,) = torch.autograd.grad(y, x, dy)
            feeds = {"y": y.detach().numpy(), "dy": dy.numpy()}
            (got,) = bodies("toolkit.grad", name, feeds, ["y", "dy"], axis=axis)
            close(got, want)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_layer_normalization(axis):
    x = torch.tensor(rand(2, 3, 4), requires_grad=True)
    shape = x.shape[axis:]
    s = torch.tensor(rand(*shape), requires_grad=True)
    b = torch.zeros(shape, requires_grad=True)
    dy = torch.tensor(rand(2, 3, 4, seed=1))
    want = torch.autograd.grad(F.layer_norm(x, shape, s, b, 1e-3), (x, s, b), dy)
    feeds = {"x": x.detach().numpy(), "s": s.detach().numpy(), "dy": dy.numpy()}
    got = bodies(
        "toolkit.grad",
        "LayerNormalizationGrad",
        feeds,
        ["x", "s", "dy"],
        3,
        axis=axis,
        epsilon=1e-3,
    )
    for a, w in zip(got, want, strict=True):
        close(a, w)


@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 2), (4, 3, 2, 5)])
def test_batch_normalization(shape):
    x = torch.tensor(rand(*shape), requires_grad=True)
    s = torch.tensor(rand(3, low=0.5), requires_grad=True)
    b = torch.tensor(rand(3, seed=1), requires_grad=True)
    mean, var = torch.tensor(rand(3, seed=2)), torch.tensor(rand(3, low=0.5))
    feeds = {"x": x, "s": s, "b": b, "m": mean, "v": var}
    feeds = {k: v.detach().numpy().copy() for k, v in feeds.items()}
    got = bodies(
        "toolkit.nn", "BatchNormTraining", feeds, list("xsbmv"), 3, epsilon=1e-3, momentum=0.3
    )
    y = F.batch_norm(x, mean, var, s, b, True, 0.3, 1e-3)
    for a, w in zip(got, (y, mean, var), strict=True):
        close(a, w)
    dy = torch.tensor(rand(*shape, seed=5))
    want = torch.autograd.grad(y, (x, s, b), dy)
    feeds = {"x": feeds["x"], "s": feeds["s"], "dy": dy.numpy()}
    got = bodies("toolkit.grad", "BatchNormalizationGrad", feeds, ["x", "s", "dy"], 3, epsilon=1e-3)
    for a, w in zip(got, want, strict=True):
        close(a, w, atol=1e-4)


@pytest.mark.parametrize("indices", [[0, 2, 2], [[-1, 0], [1, 1]], 1, []])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_gather_grad(axis, indices):
    x = torch.zeros((3, 3, 3), requires_grad=True)
    i = np.array(indices, np.int64)
    y = x[(slice(None),) * axis + (torch.tensor(i),)] if i.ndim else x.select(axis, int(i))
    dy = torch.tensor(rand(*y.shape))
    (want,) = torch.autograd.grad(y, x, dy)
    feeds = {"dy": dy.numpy(), "i": i, "s": np.array([3, 3, 3], np.int64)}
    (got,) = bodies("toolkit.grad", "GatherGrad", feeds, ["dy", "i", "s"], axis=axis)
    close(got, want)


@pytest.mark.parametrize(
    "start,end,step", [(1, 3, None), (-3, 99, None), (4, -99, -2), (0, 5, 2), (2, 2, None)]
)
def test_slice_grad(start, end, step):
    x = np.zeros((2, 5, 3), np.float32)
    stop = None if step is not None and step < 0 else end
    window = (slice(None), slice(start, stop, step))
    dy = rand(*x[window].shape)
    want = x.copy()
    want[window] = dy
    feeds = {"dy": dy, "shape": np.array(x.shape, np.int64)}
    for name, number in (("starts", start), ("ends", end), ("axes", -2), ("steps", step)):
        if number is not None:
            feeds[name] = np.array([number], np.int64)
    (got,) = bodies("toolkit.grad", "SliceGrad", feeds, list(feeds))
    np.testing.assert_array_equal(got, want)


OPTIMIZERS = [
    ("SGD", torch.optim.SGD, {}),
    ("SGD", torch.optim.SGD, {"momentum": 0.9, "dampening": 0.1, "weight_decay": 0.01}),
    ("SGD", torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    ("Adam", torch.optim.Adam, {"weight_decay": 0.01}),
    ("Adam", torch.optim.Adam, {"amsgrad": True, "betas": (0.8, 0.95)}),
    ("AdamW", torch.optim.AdamW, {"weight_decay": 0.1}),
    ("AdamW", torch.optim.AdamW, {"amsgrad": True}),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name,other,options", OPTIMIZERS)
def test_optimizers_stay_with_torch(name, other, options, dtype):
    p = torch.tensor(rand(4, 3).astype(dtype), requires_grad=True)
    optimizer = other([p], lr=0.05, **options)
    given = dict(options)
    betas = given.pop("betas", (0.9, 0.999))
    feeds = {"p": p.detach().numpy().copy(), "g": np.zeros((4, 3), dtype)}
    zeros = np.zeros((4, 3), dtype)
    if name == "SGD":
        states = ["buf"] if "momentum" in options else []
        order = ["p", "g", states[0] if states else None, "lr", "step"]
    else:
        given |= {"beta1": betas[0], "beta2": betas[1], "epsilon": 1e-8}
        states = ["m", "v"] + (["vmax"] if "amsgrad" in options else [])
        order = ["p", "g", "m", "v", "lr", "step", *states[2:]]
    feeds |= dict.fromkeys(states, zeros)
    feeds |= {"lr": np.array(0.05, np.float32), "step": np.array(1, np.int64)}
    proto = to_proto(model_of("toolkit.optim", name, feeds, order, 1 + len(states), **given), 21)
    for value in proto.graph.output:
        value.type.tensor_type.ClearField("shape")
    for step in range(1, 6):
        g = rand(4, 3, seed=step).astype(dtype)
        p.grad = torch.tensor(g)
        optimizer.step()
        got = run(proto, feeds | {"g": g, "step": np.array(step, np.int64)})
        feeds |= {key: got[f"y{i}"] for i, key in enumerate(["p", *states])}
        close(feeds["p"], p, rtol=2e-6 if dtype == np.float32 else 2e-7, atol=1e-7)


def test_a_body_is_shared_by_calls_of_one_kind():
    graph = model_of(
        "toolkit.grad", "SoftmaxGrad", {"y": rand(3, 4), "d": rand(3, 4)}, ["y", "d"], 1
    )
    b = Builder(graph.graph)
    y, d = graph.graph.inputs
    b.call("toolkit.grad", "SoftmaxGrad", [d, y])
    b.call("toolkit.grad", "SoftmaxGrad", [d, y], {"axis": 0})
    functions.attach(graph)
    assert len(graph.functions) == 2
    names = [n.op_type for n in graph.graph if n.domain]
    assert names[0] == names[1] != names[2] and names[0].startswith("SoftmaxGrad__")
    assert graph.opset_imports["toolkit.grad"] == 1


def test_attached_models_pass_the_checker():
    feeds = {"x": rand(1, 2, 4, 4), "dy": rand(1, 3, 4, 4), "s": np.array([3, 2, 3, 3], np.int64)}
    model = model_of(
        "toolkit.grad", "ConvGradWeight", feeds, ["x", "dy", "s"], 1, pads=[1, 1, 1, 1], group=1
    )
    for opset in (18, 21, 23):
        onnx.checker.check_model(to_proto(model, opset))
        onnx.checker.check_model(to_proto(model, opset, inline=True))


def test_a_composite_without_a_body_is_refused():
    feeds = {"x": rand(3)}
    for change in (functions.attach, functions.inline):
        with pytest.raises(UnsupportedOperatorError, match=r"toolkit\.grad\.Nothing .* a body"):
            change(model_of("toolkit.grad", "Nothing", feeds, ["x"], 1))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("labels", [[1, 1, 1], [0, 1, 2], [0, 2, 0]], ids=str)
def test_cross_entropy_gradient_where_labels_are_ignored(labels, weighted):
    """Every label, or every weight that counts: 0 / 0 in a mean. Kernel, body and torch agree."""
    from toolkit.runtime import _core

    x, y = rand(3, 4), np.array(labels, np.int64)
    x[y == 1] = np.nan  # What is ignored may be anything.
    weights = np.array([0, 1, 0, 2], np.float32)
    feeds = {"x": x, "y": y, "d": np.array(2, np.float32)}
    inputs = ["x", "y", "d"]
    if weighted:
        feeds["w"] = weights
        inputs.append("w")
    leaf = torch.tensor(np.nan_to_num(x), requires_grad=True)
    loss = F.cross_entropy(
        leaf, torch.tensor(y), torch.tensor(weights) if weighted else None, ignore_index=1
    )
    (want,) = torch.autograd.grad(loss, leaf, torch.tensor(2.0))
    (body,) = bodies("toolkit.grad", "SoftmaxCrossEntropyLossGrad", feeds, inputs, ignore_index=1)
    op = _core.Op("toolkit.grad", "SoftmaxCrossEntropyLossGrad", {"ignore_index": 1})
    (kernel,) = op.run([_core.Tensor.from_array(feeds[name]) for name in inputs], 1)
    assert torch.isnan(loss).item() == bool((y == 1).all() or weighted)
    close(body, want)
    close(kernel.numpy(), want)

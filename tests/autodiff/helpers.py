"""Models of a few nodes, and their gradient graphs run by onnxruntime beside torch's autograd."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

from toolkit.autodiff import grad_model, gradients
from toolkit.graph.build import Builder
from toolkit.graph.io import load_model, to_proto

Array = np.ndarray

OPSET = 21


def model_of(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Array],
    outputs: Sequence[str],
    dynamic: bool = False,
    initializers: Mapping[str, Array] | None = None,
    opset: int = OPSET,
    functions: Sequence[onnx.FunctionProto] = (),
) -> onnx.ModelProto:
    """A model of the nodes; `dynamic` makes every dimension of its float inputs symbolic."""
    infos = []
    for name, array in inputs.items():
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        shape: list[Any] = list(array.shape)
        if dynamic and array.dtype.kind == "f":
            shape = [f"{name}_{i}" for i in range(array.ndim)]
        infos.append(helper.make_tensor_value_info(name, kind, shape))
    graph = helper.make_graph(
        list(nodes),
        "g",
        infos,
        [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in outputs],
        [numpy_helper.from_array(a, name) for name, a in (initializers or {}).items()],
    )
    for value in graph.output:
        value.ClearField("type")
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", opset)],
        functions=list(functions),
        ir_version=10,
    )
    for name, y in run(model, inputs).items():
        value = next(v for v in model.graph.output if v.name == name)
        shape = [f"{name}_{i}" if dynamic else n for i, n in enumerate(y.shape)]
        kind = helper.np_dtype_to_tensor_dtype(y.dtype)
        value.CopyFrom(helper.make_tensor_value_info(name, kind, shape))
    return model


def run(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """All outputs by name, from onnxruntime without graph optimisation."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [v.name for v in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


def cotangents(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """A random cotangent for each float output."""
    rng = np.random.default_rng(7)
    return {
        f"d_{name}": np.asarray(rng.standard_normal(y.shape)).astype(y.dtype)
        for name, y in run(model, feeds).items()
        if y.dtype.kind == "f"
    }


def check(
    nodes: Sequence[onnx.NodeProto] | onnx.NodeProto,
    feeds: Mapping[str, Array],
    reference: Callable[..., Any],
    *,
    wrt: Sequence[str] | None = None,
    dynamic: bool = False,
    opset: int = OPSET,
    inline: bool = True,
    rtol: float = 1e-4,
    atol: float = 1e-5,
    initializers: Mapping[str, Array] | None = None,
) -> onnx.ModelProto:
    """Compare the gradients of nodes with torch's of `reference(**tensors)`; give the model."""
    nodes = [nodes] if isinstance(nodes, onnx.NodeProto) else list(nodes)
    consumed = {name for node in nodes for name in node.input}
    outputs = [name for node in nodes for name in node.output if name and name not in consumed]
    model = model_of(nodes, feeds, outputs, dynamic, initializers, opset)
    wrt = [k for k, v in feeds.items() if v.dtype.kind == "f"] if wrt is None else wrt
    dys = cotangents(model, feeds)
    graded = grad_model(model, wrt, opset=opset, inline=inline)
    onnx.checker.check_model(graded)
    got = run(graded, {**feeds, **dys})
    tensors = {k: torch.tensor(v, requires_grad=k in wrt) for k, v in feeds.items()}
    result = reference(**tensors)
    results = result if isinstance(result, tuple) else (result,)
    results = tuple(r for r in results if r.dtype.is_floating_point)
    for name, want in zip(dys, results, strict=True):
        np.testing.assert_allclose(got[name[2:]], want.detach().numpy(), rtol=rtol, atol=atol)
    torch.autograd.backward(results, [torch.tensor(d) for d in dys.values()])
    for name in wrt:
        grad = tensors[name].grad
        want = np.zeros_like(feeds[name]) if grad is None else grad.numpy()
        np.testing.assert_allclose(got[f"d_{name}"], want, rtol=rtol, atol=atol, err_msg=name)
    return graded


def finite_differences(
    model: onnx.ModelProto, feeds: Mapping[str, Array], dys: Mapping[str, Array], name: str
) -> Array:
    """The float64 central differences of <outputs, dys> in one input."""
    x, step = feeds[name], 1e-6
    result = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        sides = []
        for sign in (1, -1):
            moved = x.copy()
            moved[i] += sign * step
            out = run(model, {**feeds, name: moved})
            sides.append(sum(float((out[k[2:]] * d).sum()) for k, d in dys.items()))
        result[i] = (sides[0] - sides[1]) / (2 * step)
    return result


def rand(*shape: int, seed: int = 0, low: float = -2.0, high: float = 2.0) -> Array:
    """Uniform float32 numbers."""
    rng = np.random.default_rng(seed + sum(shape))
    return rng.uniform(low, high, shape).astype(np.float32)


def check_second_order(
    nodes: Sequence[onnx.NodeProto] | onnx.NodeProto,
    feeds: Mapping[str, Array],
    reference: Callable[..., Any],
    *,
    dynamic: bool = False,
    initializers: Mapping[str, Array] | None = None,
    opset: int = OPSET,
    rtol: float = 1e-3,
    atol: float = 1e-4,
) -> None:
    """Compare gradients of gradients (in inputs and in the cotangent) with torch's.

    With g = the gradients of <y, dy> in the inputs, h = <g, c> for random c is differentiated by
    the inputs and by dy.
    """
    nodes = [nodes] if isinstance(nodes, onnx.NodeProto) else list(nodes)
    outputs = [nodes[-1].output[0]]
    model = load_model(model_of(nodes, feeds, outputs, dynamic, initializers, opset))
    graph, y = model.graph, model.graph.outputs[0]
    floats = [v for v in graph.inputs if feeds[str(v.name)].dtype.kind == "f"]
    dy = ir.Value(name="dy", type=y.type, shape=y.shape)
    graph.inputs.append(dy)
    first = gradients(graph, [y], [dy], floats)
    probes = [ir.Value(name=f"c_{v.name}", type=v.type, shape=v.shape) for v in floats]
    graph.inputs.extend(probes)
    second = gradients(graph, first, probes, [*floats, dy])
    names = [f"h_{v.name}" for v in [*floats, dy]]
    graph.outputs.clear()
    b = Builder(graph)
    for name, source, value in zip(names, [*floats, dy], second, strict=True):
        result = b.zeros(b.shape(source), source.dtype) if value is None else b.Identity(value)
        result.name, result.shape = name, source.shape
        graph.outputs.append(result)

    tensors = {k: torch.tensor(v, requires_grad=v.dtype.kind == "f") for k, v in feeds.items()}
    out = reference(**tensors)
    rng = np.random.default_rng(3)
    seed = torch.tensor(
        np.asarray(rng.standard_normal(out.shape), np.asarray(out.detach()).dtype),
        requires_grad=True,
    )
    wanted = [tensors[str(v.name)] for v in floats]
    grads = torch.autograd.grad(out, wanted, seed, create_graph=True, allow_unused=True)
    extra = {f"c_{v.name}": rand(*feeds[str(v.name)].shape, seed=9) for v in floats}
    parts = [
        (g * torch.tensor(extra[f"c_{v.name}"])).sum()
        for g, v in zip(grads, floats, strict=True)
        if g is not None
    ]
    total = torch.stack(parts).sum()
    want = torch.autograd.grad(total, [*wanted, seed], allow_unused=True)
    got = run(to_proto(model, opset, inline=True), {**feeds, "dy": seed.detach().numpy(), **extra})
    for name, source, w in zip(names, [*wanted, seed], want, strict=True):
        expected = np.zeros(source.shape) if w is None else w.numpy()
        np.testing.assert_allclose(got[name], expected, rtol=rtol, atol=atol, err_msg=name)

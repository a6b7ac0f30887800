"""Operators of onnxruntime beside what onnxruntime-training 1.19.2 gave, or a formula in numpy."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from onnx import helper, numpy_helper

import toolkit as tk
from tests.convert.test_ort_contrib import FORMULAS, ROWS
from tests.tolerances import assert_close
from toolkit import errors
from toolkit.graph import contrib
from toolkit.graph.contrib import refused
from toolkit.graph.io import load_model
from toolkit.runtime import InferenceSession

RECORDED = zipfile.ZipFile(Path(__file__).parent / "data" / "ort_operators.zip")
MS = "com.microsoft"


def recorded(name: str):
    """(model, inputs, expected outputs) of a case."""
    model = onnx.ModelProto.FromString(RECORDED.read(name))
    arrays = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    fed = {v.name: arrays[v.name] for v in model.graph.input}
    expected = {k[9:]: v for k, v in arrays.items() if k.startswith("expected/")}
    kept = [t for t in model.graph.initializer if t.name in arrays.keys() - fed.keys()]
    del model.graph.initializer[:]
    model.graph.initializer.extend(t for t in kept if not t.name.startswith("expected/"))
    contrib.adopt(model)
    return model, fed, expected


def run(model: onnx.ModelProto, fed) -> dict[str, np.ndarray]:
    session = InferenceSession(model.SerializeToString())
    return dict(zip([v.name for v in session.get_outputs()], session.run(None, fed), strict=True))


@pytest.mark.parametrize("name", RECORDED.namelist())
def test_recorded(name):
    model, fed, expected = recorded(name)
    found = run(model, fed)
    assert found.keys() == expected.keys()
    for key, want in expected.items():
        got = found[key]
        if "BroadcastGradientArgs" in name:  # Axes in any order.
            got, want = np.sort(got), np.sort(want)
        assert_close(got, want, scale=4.0, message=key)


@pytest.mark.parametrize("name", RECORDED.namelist())
def test_only_standard_operators_are_left(name):
    model, _, _ = recorded(name)
    written = load_model(model)
    assert {n.domain for n in written.graph.all_nodes()} <= {"", "toolkit.grad"}
    assert MS not in written.opset_imports


def call(op, inputs, outputs=1, **attributes) -> list[np.ndarray]:
    names = [f"x{k}" for k in range(len(inputs))]
    results = [f"y{k}" for k in range(outputs)]
    node = helper.make_node(op, names, results, domain=MS, **attributes)
    infos = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
        for n, v in zip(names, inputs, strict=True)
    ]
    ends = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in results]
    graph = helper.make_graph([node], op, infos, ends)
    imports = [helper.make_opsetid("", 17), helper.make_opsetid(MS, 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    return list(run(model, dict(zip(names, inputs, strict=True))).values())


def draw(rng, *shape) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


# Those that onnxruntime 1.19.2 has no CPU kernel for.
def test_scaled_sums(rng):
    x, y = draw(rng, 2, 3), draw(rng, 2, 3)
    assert_close(call("ScaledSum", [x, y], scale_0=0.5, scale_1=2.0)[0], x / 2 + y * 2)
    for got, scale in zip(
        call("BatchScale", [x], 2, scale_0=0.5, scale_1=2.0), (0.5, 2), strict=True
    ):
        assert_close(got, x * np.float32(scale))


def test_finite(rng):
    x, odd = draw(rng, 4), np.array([1, np.inf, -np.inf], np.float32)
    assert call("IsFinite", [odd])[0].tolist() == [True, False, False]
    assert call("IsAllFinite", [x, x])[0].tolist() is True
    assert call("IsAllFinite", [x, odd])[0].tolist() is False
    assert call("IsAllFinite", [x, odd], isnan_only=1)[0].tolist() is True
    assert call("IsAllFinite", [np.array([np.nan], np.float32)], isinf_only=1)[0].tolist() is True


def test_mixed_precision_scale(rng):
    x, y, scale = draw(rng, 3), draw(rng, 2, 2), np.array(2.0, np.float32)
    first, second = call("MixedPrecisionScale", [scale, x, y], 2, to=10)
    assert_close(first, (x * 2).astype(np.float16))
    assert_close(second, (y * 2).astype(np.float16))
    fused = call("MixedPrecisionScale", [scale, x, y], to=10, fuse_outputs=1)[0]
    assert_close(fused, np.concatenate([x * 2, (y * 2).ravel()]).astype(np.float16))


def test_pass_through(rng):
    x, y = draw(rng, 3), draw(rng, 2)
    first, second = call("PassThrough", [x, y], 2)
    assert_close(first, x)
    assert_close(second, y)


def test_conv_transpose_grad(rng):
    x, w, dy = draw(rng, 2, 3, 4, 4), draw(rng, 3, 4, 3, 3), draw(rng, 2, 4, 7, 7)
    tx, tw = (torch.tensor(v, requires_grad=True) for v in (x, w))
    bias = torch.zeros(4, requires_grad=True)
    torch.nn.functional.conv_transpose2d(tx, tw, bias, stride=2, padding=1).backward(
        torch.from_numpy(dy)
    )
    how = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    got = call("ConvTransposeGrad", [dy, x, w], 3, **how)
    for value, tensor in zip(got, (tx, tw, bias), strict=True):
        assert_close(value, tensor.grad.numpy(), scale=10.0)
    with pytest.raises(errors.UnsupportedOperatorError, match="pads as numbers are required"):
        call("ConvTransposeGrad", [dy, x, w], 3, auto_pad="SAME_UPPER", **how)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("op", ["BitmaskDropout", "BiasDropout"])
def test_dropouts_with_their_gradients(op, training, rng):
    x, bias, dy = draw(rng, 40, 50), draw(rng, 50), draw(rng, 40, 50)
    masked = [["ratio", "training"], ["x", "bias", "", "ratio", "training"]][op == "BiasDropout"]
    operands = masked if op == "BiasDropout" else ["x", *masked]
    grad = "DropoutGrad" if op == "BiasDropout" else "BitmaskDropoutGrad"
    nodes = [
        helper.make_node(op, operands, ["y", "mask"], domain=MS),
        helper.make_node(grad, ["dy", "mask", "ratio", "training"], ["dx"], domain=MS),
    ]
    infos = [
        helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, v.shape)
        for n, v in {"x": x, "bias": bias, "dy": dy}.items()
    ]
    ends = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, x.shape) for n in ("y", "dx")]
    constants = [
        numpy_helper.from_array(np.array(0.25, np.float32), "ratio"),
        numpy_helper.from_array(np.array(training), "training"),
    ]
    graph = helper.make_graph(nodes, op, infos, ends, constants)
    imports = [helper.make_opsetid("", 17), helper.make_opsetid(MS, 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    found = run(model, {"x": x, "bias": bias, "dy": dy})
    full = x + bias if op == "BiasDropout" else x
    if not training:
        assert_close(found["y"], full)
        assert_close(found["dx"], dy)
        return
    kept = found["y"] != 0
    assert 0.7 < kept.mean() < 0.8
    assert_close(found["y"], np.where(kept, full / np.float32(0.75), 0).astype(np.float32))
    assert_close(found["dx"], np.where(kept, dy / np.float32(0.75), 0).astype(np.float32))


def test_gradients_of_what_is_written_out(rng, tmp_path):
    """A file with operators of onnxruntime is a module that trains."""
    x, w = draw(rng, 3, 8), draw(rng, 8, 4)
    nodes = [
        helper.make_node("FusedMatMul", ["x", "w"], ["h"], domain=MS, alpha=0.5),
        helper.make_node("BiasGelu", ["h", "c"], ["g"], domain=MS),
        helper.make_node("SimplifiedLayerNormalization", ["g", "s"], ["y"], domain=MS, axis=-1),
    ]
    weights = {"w": w, "c": draw(rng, 4), "s": draw(rng, 4)}
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 8])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 4])],
        [numpy_helper.from_array(v, n) for n, v in weights.items()],
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid(MS, 1)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=8), tmp_path / "net.onnx")
    net = tk.load(tmp_path / "net.onnx")
    net(tk.tensor(x)).square().sum().backward()
    t = {n: torch.tensor(v, requires_grad=True) for n, v in weights.items()}
    h = torch.nn.functional.gelu(torch.from_numpy(x) @ t["w"] * 0.5 + t["c"])
    y = torch.nn.functional.rms_norm(h, (4,), t["s"], eps=1e-5)
    y.square().sum().backward()
    for name, parameter in net.named_parameters():
        assert_close(parameter.grad.numpy(), t[name].grad.numpy(), scale=40.0, message=name)


def test_unknown_ranks_are_an_error():
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT))
    y = ir.Value(name="y", type=ir.TensorType(ir.DataType.FLOAT))
    node = ir.node("FusedMatMul", [x, y], {"transA": 1}, domain=MS)
    graph = ir.Graph([x, y], list(node.outputs), nodes=[node], opset_imports={"": 28, MS: 1})
    with pytest.raises(errors.UnsupportedOperatorError, match="inputs of known rank are required"):
        contrib.write_out(ir.Model(graph, ir_version=10))


def test_every_operator_has_a_case():
    found = {node.op_type for name in RECORDED.namelist() for node in recorded(name)[0].graph.node}
    elsewhere = {"ScaledSum", "BatchScale", "IsFinite", "IsAllFinite", "MixedPrecisionScale"}
    elsewhere |= {"PassThrough", "ConvTransposeGrad", "BitmaskDropout", "BitmaskDropoutGrad"}
    elsewhere |= {"BiasDropout"} | {row[0] for row in (*ROWS, *(case[0] for case in FORMULAS))}
    elsewhere |= refused.HINTS.keys()
    assert contrib.bodies().keys() == (found & contrib.bodies().keys()) | elsewhere

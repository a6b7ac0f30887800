"""Pools and their gradients against torch, onnxruntime and numpy."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F

from tests.runtime.oracle import reference, run, single_node_model
from tests.tolerances import assert_close
from toolkit.errors import DTypeError, InvalidArgumentError, ShapeError
from toolkit.runtime import _core

MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
AVERAGE = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
SPATIAL = [(9,), (12, 13), (40, 70), (6, 7, 8)]


@pytest.fixture(autouse=True)
def _one_torch_thread():
    torch.set_num_threads(1)


def draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """Halves in a small range: ties are many, sums exact."""
    return (rng.integers(-9, 10, shape) / 2).astype(dtype)


def check_against_torch(rng, dtype, spatial, window) -> None:
    """Values, indices and gradients of one window."""
    rank, (k, s, d, p, ceil) = len(spatial), window
    x = draw(rng, (2, 3, *spatial), dtype)
    attributes = {
        "kernel_shape": [k] * rank,
        "strides": [s] * rank,
        "dilations": [d] * rank,
        "pads": [p] * 2 * rank,
        "ceil_mode": ceil,
    }
    tx = torch.tensor(x, requires_grad=True)
    ty, ti = MAX[rank](tx, k, s, p, d, ceil_mode=bool(ceil), return_indices=True)
    y, indices = run("MaxPool", [x], attributes, outputs=2)
    plane = np.arange(6).reshape(2, 3, *[1] * rank) * int(np.prod(spatial))
    np.testing.assert_array_equal(y, ty.detach().numpy())
    np.testing.assert_array_equal(indices, ti.numpy() + plane)
    np.testing.assert_array_equal(run("MaxPool", [x], attributes)[0], y)
    dy = draw(rng, y.shape, dtype)
    (want,) = torch.autograd.grad(ty, tx, torch.tensor(dy))
    got = run("MaxPoolGrad", [x, dy], attributes, domain="toolkit.grad")[0]
    np.testing.assert_array_equal(got, want.numpy())
    if d > 1:
        return
    for include in (0, 1):
        attributes["count_include_pad"] = include
        ty = AVERAGE[rank](tx, k, s, p, bool(ceil), bool(include))
        assert_close(run("AveragePool", [x], attributes)[0], ty.detach().numpy())
        (want,) = torch.autograd.grad(ty, tx, torch.tensor(dy))
        shape = np.array(x.shape)
        got = run("AveragePoolGrad", [dy, shape], attributes, domain="toolkit.grad")[0]
        assert_close(got, want.numpy(), scale=2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("spatial", SPATIAL)
def test_against_torch(rng, dtype, spatial):
    for window in itertools.product((2, 3), (1, 2, 3), (1, 2), (0, 1), (0, 1)):
        check_against_torch(rng, dtype, spatial, window)


def by_onnxruntime(op_type, x, attributes, outputs=1) -> list[np.ndarray]:
    model = single_node_model(op_type, [x], attributes, outputs, opset=21)
    for i, output in enumerate(model.graph.output):
        kind = onnx.helper.np_dtype_to_tensor_dtype(x.dtype) if i == 0 else onnx.TensorProto.INT64
        output.type.tensor_type.elem_type = kind
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x0": x})


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("spatial", [(9,), (11, 8), (7, 5, 6)])
def test_auto_pad_as_onnxruntime(rng, auto_pad, spatial):
    rank = len(spatial)
    x = draw(rng, (2, 3, *spatial), np.float32)
    for k, s in itertools.product((1, 2, 3, 4), (1, 2, 3)):
        if k < s:
            continue  # onnxruntime refuses the negative padding that this can ask for.
        attributes = {"kernel_shape": [k] * rank, "auto_pad": auto_pad, "strides": [s] * rank}
        for op_type in ("MaxPool", "AveragePool", "LpPool"):
            want = by_onnxruntime(op_type, x, attributes)[0]
            assert_close(run(op_type, [x], attributes)[0], want, message=f"{op_type} {attributes}")


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int8, np.uint8])
def test_max_pool_types_order_and_asymmetric_pads(rng, dtype):
    x = draw(rng, (2, 3, 7, 6), dtype)
    for order, pads in itertools.product((0, 1), ([0, 1, 1, 0], [1, 0, 0, 1], [2, 1, 0, 1])):
        attributes = {"kernel_shape": [3, 2], "strides": [2, 1], "storage_order": order}
        attributes["pads"] = pads
        got = run("MaxPool", [x], attributes, outputs=2)
        for g, w in zip(got, by_onnxruntime("MaxPool", x, attributes, outputs=2), strict=True):
            np.testing.assert_array_equal(g, w)


@pytest.mark.parametrize("p", [1, 2, 3])
def test_lp_pool(rng, p):
    x = rng.standard_normal((2, 3, 9, 8)).astype(np.float32)
    for pads, dilation in itertools.product(([0, 0, 0, 0], [1, 0, 2, 1]), (1, 2)):
        attributes = {"kernel_shape": [3, 2], "pads": pads, "p": p, "dilations": [dilation] * 2}
        want = by_onnxruntime("LpPool", x, attributes)[0]
        assert_close(run("LpPool", [x], attributes)[0], want, scale=4)


def test_dilated_average(rng):
    x = draw(rng, (1, 2, 9, 8), np.float32)
    for include, pads in itertools.product((0, 1), ([0, 0, 0, 0], [1, 2, 2, 1])):
        attributes = {"kernel_shape": [3, 2], "dilations": [2, 3], "pads": pads}
        attributes["count_include_pad"] = include
        want = reference("AveragePool", [x], attributes)[0]
        assert_close(run("AveragePool", [x], attributes)[0], want)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "shape", [(2, 3, 1), (2, 3, 7, 9), (1, 5, 33, 17), (2, 2, 3, 4, 5), (0, 2, 3)]
)
def test_global_pools(rng, dtype, shape):
    x = rng.standard_normal(shape).astype(dtype)
    axes = tuple(range(2, len(shape)))
    assert_close(run("GlobalAveragePool", [x])[0], x.mean(axes, keepdims=True), scale=2)
    assert_close(run("GlobalMaxPool", [x])[0], x.max(axes, keepdims=True))
    for p in (1, 2, 3):
        want = (np.abs(x) ** p).sum(axes, keepdims=True) ** dtype(1 / p)
        assert_close(run("GlobalLpPool", [x], {"p": p})[0], want, scale=4)


def test_special_values():
    x = np.array([[[-np.inf, -np.inf, np.nan, 1, np.inf, 0]]], np.float32)
    y, indices = run("MaxPool", [x], {"kernel_shape": [2]}, outputs=2)
    np.testing.assert_array_equal(y, [[[-np.inf, np.nan, np.nan, np.inf, np.inf]]])
    np.testing.assert_array_equal(indices, [[[0, 2, 2, 4, 4]]])
    np.testing.assert_array_equal(run("MaxPool", [x], {"kernel_shape": [2]})[0], y)
    assert np.isnan(run("GlobalMaxPool", [x])[0]).all()


def test_zero_size():
    attributes = {"kernel_shape": [2, 2]}
    for op_type in ("MaxPool", "AveragePool", "LpPool"):
        assert run(op_type, [np.zeros((0, 3, 4, 4), np.float32)], attributes)[0].shape == (
            0,
            3,
            3,
            3,
        )
        assert run(op_type, [np.zeros((2, 0, 4, 4), np.float32)], attributes)[0].shape == (
            2,
            0,
            3,
            3,
        )
    assert np.isnan(run("GlobalAveragePool", [np.zeros((1, 1, 0), np.float32)])[0]).all()


def test_threads_do_not_change_a_bit(rng):
    x = rng.standard_normal((3, 5, 33, 35)).astype(np.float32)
    attributes = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4}
    results = set()
    for threads in (1, 2, 3):
        _core.set_num_threads(threads)
        bits = [run(t, [x], attributes)[0].tobytes() for t in ("MaxPool", "AveragePool", "LpPool")]
        bits.append(run("GlobalAveragePool", [x])[0].tobytes())
        results.add(b"".join(bits))
    assert len(results) == 1


@pytest.mark.parametrize("isa", ["x86-64-v2", "x86-64-v3"])
def test_other_instruction_sets(isa):
    script = (
        "import itertools; import numpy as np; from tests.runtime import test_pool as t;"
        "from toolkit.runtime import _core; assert _core.isa() == " + repr(isa) + ";"
        "[t.check_against_torch(np.random.default_rng(0), np.float32, s, (k, st, 1, 1, 1))"
        " for s in t.SPATIAL for k in (2, 3) for st in (1, 2, 3)]"
    )
    env = os.environ | {"TOOLKIT_ISA": isa, "TOOLKIT_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", script], env=env, check=True)


X = np.zeros((1, 2, 5, 5), np.float32)
K = {"kernel_shape": [3, 3]}


@pytest.mark.parametrize(
    ("op_type", "inputs", "attributes", "error", "match"),
    [
        ("MaxPool", [X], {}, InvalidArgumentError, "kernel_shape is required"),
        ("MaxPool", [X[0, 0]], K, ShapeError, "at least one spatial dimension"),
        ("MaxPool", [X], {"kernel_shape": [3]}, ShapeError, "kernel must have 2 dimensions"),
        ("MaxPool", [X], {"kernel_shape": [6, 3]}, ShapeError, "must fit into the padded input"),
        ("MaxPool", [X], K | {"pads": [3, 0, 0, 0]}, InvalidArgumentError, "smaller than"),
        ("MaxPool", [X], K | {"strides": [0, 1]}, InvalidArgumentError, "at least 1, got"),
        ("MaxPool", [X.astype(np.int32)], K, DTypeError, "int32"),
        ("AveragePool", [X], K | {"dilations": [1]}, ShapeError, "dilations must have 2 values"),
        ("LpPool", [X], K | {"p": 0}, InvalidArgumentError, "p must be at least 1"),
        ("GlobalMaxPool", [X[0, 0]], {}, ShapeError, "at least one spatial dimension"),
        ("GlobalMaxPool", [X[:, :, :0]], {}, ShapeError, "at least one element"),
        ("MaxPoolGrad", [X, X], K, ShapeError, r"output shape \(1, 2, 3, 3\)"),
        ("AveragePoolGrad", [X, np.array([1, 2, 5, 5])], K, ShapeError, "output shape"),
        ("AveragePoolGrad", [X, np.array([1, 2, 5, -5])], K, ShapeError, "not be negative"),
        ("AveragePoolGrad", [X, np.array(1)], K, ShapeError, "vector of int64"),
    ],
)  # fmt: skip
def test_errors_name_what_is_required(op_type, inputs, attributes, error, match):
    domain = "toolkit.grad" if op_type.endswith("Grad") else ""
    with pytest.raises(error, match=match):
        run(op_type, inputs, attributes, domain=domain)

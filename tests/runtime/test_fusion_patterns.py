"""Operators that exporters write out become one kernel, and only those."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tests.runtime.test_fusion import counts, model_of, plain
from tests.tolerances import assert_close
from toolkit.runtime import InferenceSession

F, L = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64


class Graph:
    """Writes nodes by calling operators on names; numbers become constants."""

    def __init__(self, dtype=np.float32):
        self.dtype = dtype
        self.nodes, self.initializers = [], []
        self.names = itertools.count()

    def __getattr__(self, op_type):
        def call(*inputs, **attributes):
            ends = [x if isinstance(x, str) else self.constant(x) for x in inputs]
            name = f"{op_type}_{next(self.names)}"
            self.nodes.append(helper.make_node(op_type, ends, [name], name, **attributes))
            return name

        return call

    def constant(self, value):
        name = f"c{next(self.names)}"
        dtype = np.int64 if isinstance(value, (list, np.int64)) else self.dtype
        self.initializers.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def model(self, output, *more, shape=("n", 6, 16), also=()):
        element = helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype))
        inputs = {"x": (element, shape)} | dict.fromkeys(also, (element, (shape[-1],)))
        return model_of(
            self.nodes, inputs, dict.fromkeys((output, *more), element), self.initializers
        )


def check(model, expected, scale=4):
    """Runs the expected operators, and gives what the plain path gives."""
    assert counts(model) == expected
    rng = np.random.default_rng(0)
    feed = {}
    for value in model.graph.input:
        dims = [d.dim_value or 3 for d in value.type.tensor_type.shape.dim]
        dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        feed[value.name] = (3 * rng.standard_normal(dims)).astype(dtype)
    got = InferenceSession(model).run(None, feed)
    for a, b in zip(got, InferenceSession(model, plain()).run(None, feed), strict=True):
        assert_close(a, b, scale)


def gelu_torch(g):
    """As torch exports it: x / sqrt(2), erf, + 1, x *, * 0.5."""
    return g.Mul(g.Mul("x", g.Add(g.Erf(g.Div("x", 2**0.5)), 1.0)), 0.5)


def gelu_half_first(g):
    return g.Mul(g.Mul(0.5, "x"), g.Add(1.0, g.Erf(g.Mul("x", 0.70710678))))


def gelu_tanh(g):
    cubic = g.Add("x", g.Mul(0.044715, g.Pow("x", 3.0)))
    return g.Mul(g.Mul(0.5, "x"), g.Add(g.Tanh(g.Mul(0.7978845608, cubic)), 1.0))


def gelu_tanh_products(g):
    cubic = g.Add("x", g.Mul(g.Mul(g.Mul("x", "x"), "x"), 0.044715))
    return g.Mul("x", g.Mul(0.5, g.Add(1.0, g.Tanh(g.Mul(cubic, 0.79788456)))))


def gelu_fast(g):
    bracket = g.Add(1.0, g.Mul(g.Mul(0.044715, "x"), "x"))
    return g.Mul(g.Mul(0.5, "x"), g.Add(1.0, g.Tanh(g.Mul(g.Mul("x", 0.7978845608), bracket))))


@pytest.mark.parametrize(
    "write", [gelu_torch, gelu_half_first, gelu_tanh, gelu_tanh_products, gelu_fast]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_gelu(write, dtype):
    g = Graph(dtype)
    rounded = dtype == np.float64 and write in (gelu_half_first, gelu_tanh_products)
    check(g.model(write(g)), ["Elementwise" if rounded else "Gelu"])


def test_gelu_refuses_other_numbers():
    for scale, half, one in ((0.72, 0.5, 1.0), (2**-0.5, 0.4, 1.0), (2**-0.5, 0.5, 0.9)):
        g = Graph()
        y = g.Mul(g.Mul("x", g.Add(g.Erf(g.Mul("x", scale)), one)), half)
        check(g.model(y), ["Elementwise"])


def test_gelu_refuses_another_x():
    g = Graph()
    y = g.Mul(g.Mul("x", g.Add(g.Erf(g.Div("b", 2**0.5)), 1.0)), 0.5)
    assert "Gelu" not in counts(g.model(y, also=["b"]))


def test_gelu_refuses_when_its_inside_is_read():
    g = Graph()
    erf = g.Erf(g.Div("x", 2**0.5))
    y = g.Mul(g.Mul("x", g.Add(erf, 1.0)), 0.5)
    assert "Gelu" not in counts(g.model(y, erf))


def test_swish():
    g = Graph()
    check(g.model(g.Mul("x", g.Sigmoid("x"))), ["Swish"])
    g = Graph()
    check(g.model(g.Mul(g.Sigmoid(g.Mul(1.702, "x")), "x")), ["Swish"])


def test_swish_refuses():
    g = Graph()
    check(g.model(g.Mul("x", g.Sigmoid(g.Add("x", 1.0)))), ["Elementwise"])
    g = Graph()
    gate = g.Sigmoid("x")
    check(g.model(g.Mul("x", gate), gate), ["Sigmoid", "Mul"])


def test_hard_swish_and_mish():
    g = Graph()
    check(g.model(g.Div(g.Mul("x", g.Clip(g.Add("x", 3.0), 0.0, 6.0)), 6.0)), ["HardSwish"])
    g = Graph()
    check(g.model(g.Mul("x", g.HardSigmoid("x", alpha=1 / 6, beta=0.5))), ["HardSwish"])
    g = Graph()
    check(g.model(g.Mul("x", g.Tanh(g.Softplus("x")))), ["Mish"])


def test_hard_swish_and_mish_refuse():
    g = Graph()
    check(g.model(g.Mul("x", g.HardSigmoid("x"))), ["Elementwise"])
    g = Graph()
    y = g.Div(g.Mul("x", g.Clip(g.Add("x", 2.0), 0.0, 6.0)), 6.0)
    check(g.model(y), ["Elementwise"])
    g = Graph()
    check(g.model(g.Mul("x", g.Tanh(g.Softplus(g.Neg("x"))))), ["Elementwise"])


def softmax(g, axis=-1, other=None, keep=1, shifted=True):
    top = g.ReduceMax("x", [axis], keepdims=keep)
    e = g.Exp(g.Sub("x", top) if shifted else "x")
    return g.Div(e, g.ReduceSum(e, [axis if other is None else other], keepdims=1))


@pytest.mark.parametrize("axis", [-1, 1, -2, 0])
def test_softmax(axis):
    g = Graph()
    check(g.model(softmax(g, axis)), ["Softmax"])


def test_softmax_refuses():
    g = Graph()
    assert "Softmax" not in counts(g.model(softmax(g, -1, 1)))
    g = Graph()
    assert "Softmax" not in counts(g.model(softmax(g, shifted=False)))


def layer_norm(g, bias=True, axis=-1, square=None, reciprocal=False, rms=False):
    d = "x" if rms else g.Sub("x", g.ReduceMean("x", [-1], keepdims=1))
    squared = g.Mul(d, d) if square == "mul" else g.Pow(d, 3.0 if square == "cube" else 2.0)
    deviation = g.Sqrt(g.Add(g.ReduceMean(squared, [axis], keepdims=1), 1e-5))
    y = g.Mul(d, g.Reciprocal(deviation)) if reciprocal else g.Div(d, deviation)
    y = g.Mul(y, "w") if not rms else g.Mul("w", y)
    return g.Add(y, "b") if bias else y


@pytest.mark.parametrize("options", [{}, {"square": "mul"}, {"reciprocal": True}, {"bias": False}])
@pytest.mark.parametrize("rms", [False, True])
def test_layer_norm(options, rms):
    g = Graph()
    y = layer_norm(g, **{"rms": rms} | options)
    bias = options.get("bias", True)
    name = "RMSNormalization" if rms else "LayerNormalization"
    found = [name, "Add"] if rms and bias else [name]
    check(g.model(y, also=["w", "b"] if bias else ["w"]), found, 8)


@pytest.mark.parametrize("options", [{"axis": -2}, {"square": "cube"}])
def test_layer_norm_refuses(options):
    g = Graph()
    found = counts(g.model(layer_norm(g, **options), also=["w", "b"]))
    assert not {"LayerNormalization", "RMSNormalization"} & set(found)


def test_layer_norm_refuses_a_scale_of_another_shape():
    g = Graph()
    y = layer_norm(g)
    model = g.model(y, shape=(4, 6, 1), also=["w", "b"])
    model.graph.input[1].type.tensor_type.shape.dim[0].dim_value = 16
    assert "LayerNormalization" not in counts(model)

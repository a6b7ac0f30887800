"""Activations of onnxruntime and the gradients of activations."""

from __future__ import annotations

import math
from typing import Any

from toolkit.graph.build import Builder
from toolkit.graph.contrib.registry import Call, contrib

V = Any  # An ir.Value under `arithmetic`.


@contrib("Gelu")
def gelu(c: Call, x: V) -> V:
    """x Phi(x)."""
    return c.b.Gelu(x)


@contrib("BiasGelu")
def bias_gelu(c: Call, x: V, bias: V) -> V:
    """Gelu(x + bias)."""
    return c.b.Gelu(x + bias)


@contrib("FastGelu")
def fast_gelu(c: Call, x: V, bias: V = None) -> V:
    """Gelu of x + bias, by tanh."""
    return c.b.Gelu(x if bias is None else x + bias, approximate="tanh")


@contrib("QuickGelu")
def quick_gelu(c: Call, x: V) -> V:
    """x sigmoid(alpha x)."""
    return x * c.b.Sigmoid(x * c.attr("alpha", 1.702))


@contrib("GeluGrad", "BiasGeluGrad_dX")
def gelu_grad(c: Call, dy: V, x: V, bias: V = None) -> V:
    """dx = dy (Phi(x) + x phi(x)) at x + bias."""
    b, x = c.b, x if bias is None else x + bias
    cdf = (b.Erf(x * math.sqrt(0.5)) + 1.0) * 0.5
    pdf = b.Exp(x * x * -0.5) * (1.0 / math.sqrt(2.0 * math.pi))
    return dy * (cdf + x * pdf)


@contrib("FastGeluGrad", "BiasFastGeluGrad_dX")
def fast_gelu_grad(c: Call, dy: V, x: V, bias: V = None) -> V:
    """dx = dy (1 + t + x (1 - t^2) u') / 2, t = tanh(u), u = sqrt(2/pi) (x + 0.044715 x^3)."""
    x = x if bias is None else x + bias
    k, square = math.sqrt(2.0 / math.pi), x * x
    t = c.b.Tanh(x * (square * (0.044715 * k) + k))
    slope = square * (3 * 0.044715 * k) + k
    return dy * ((t + 1.0 + x * (1.0 - t * t) * slope) * 0.5)


@contrib("QuickGeluGrad")
def quick_gelu_grad(c: Call, dy: V, x: V) -> V:
    """dx = dy s (1 + alpha x (1 - s)), s = sigmoid(alpha x)."""
    z = x * c.attr("alpha", 1.702)
    s = c.b.Sigmoid(z)
    return dy * (s * (z * (1.0 - s) + 1.0))


@contrib("ReluGrad")
def relu_grad(c: Call, dy: V, x: V) -> V:
    """dy where x > 0, or y: their signs agree."""
    return c.b.Where(c.b.Greater(x, 0.0), dy, 0.0)


@contrib("LeakyReluGrad")
def leaky_relu_grad(c: Call, dy: V, y: V) -> V:
    """dy where y > 0, else alpha dy."""
    return c.b.Where(c.b.Greater(y, 0.0), dy, dy * c.attr("alpha", 0.01))


@contrib("SigmoidGrad")
def sigmoid_grad(c: Call, dy: V, y: V) -> V:
    """dy y (1 - y)."""
    return dy * y * (1.0 - y)


@contrib("TanhGrad")
def tanh_grad(c: Call, dy: V, y: V) -> V:
    """dy (1 - y^2)."""
    return dy * (1.0 - y * y)


@contrib("SoftmaxGrad_13", "SoftmaxGrad")
def softmax_grad(c: Call, dy: V, y: V) -> V:
    """y (dy - sum(y dy)) along axis; before opset 13 along all axes from it on."""
    return _along(c, "SoftmaxGrad", dy, y)


@contrib("LogSoftmaxGrad_13", "LogSoftmaxGrad")
def log_softmax_grad(c: Call, dy: V, y: V) -> V:
    """dy - e^y sum(dy), along the axes of `SoftmaxGrad`."""
    return _along(c, "LogSoftmaxGrad", dy, y)


def _along(c: Call, name: str, dy: V, y: V) -> V:
    b, rank = c.b, c.rank(y)
    if c.node.op_type.endswith("_13"):
        return c.grad(name, y, dy, axis=c.attr("axis", -1))
    axis = c.attr("axis", 1) % max(rank, 1)
    if axis == rank - 1:
        return c.grad(name, y, dy, axis=-1)
    flat = c.grad(name, _flat(b, y, axis), _flat(b, dy, axis), axis=-1)
    return b.Reshape(flat, b.shape(y), allowzero=1)


def _flat(b: Builder, x: V, axis: int) -> V:
    """x as a matrix: the axes before, those from `axis` on."""
    return b.Flatten(x, axis=axis)

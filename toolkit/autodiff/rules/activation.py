"""Gradients of activation functions; at kinks they take torch's side."""

from __future__ import annotations

import math
from typing import Any

from toolkit.autodiff.registry import Result, Vjp, derivative, not_differentiable, vjp

V = Any  # An ir.Value under `arithmetic`.

derivative("Sigmoid")(lambda b, x, y: y * (1.0 - y))
derivative("Tanh")(lambda b, x, y: 1.0 - y * y)
derivative("Softplus")(lambda b, x, y: b.Sigmoid(x))

not_differentiable("Hardmax", reason="Piecewise constant: zero wherever it exists.")


@vjp("Relu")
def relu(c: Vjp, x: V) -> Result:
    """dx = dy where y > 0, else 0."""
    return c.b.Where(c.b.Greater(c.y, 0.0), c.dy, 0.0)  # type: ignore[no-any-return]


@vjp("LeakyRelu")
def leaky_relu(c: Vjp, x: V) -> V:
    """dx = dy where x > 0, else alpha dy."""
    return c.b.Where(c.b.Greater(x, 0.0), c.dy, c.dy * c.attr("alpha"))


@vjp("PRelu", broadcasts=True)
def prelu(c: Vjp, x: V, slope: V) -> Result:
    """dx = dy where x > 0, else slope dy; dslope = sum of dy x where x <= 0."""
    b = c.b
    positive = b.Greater(x, 0.0)
    return (
        lambda: b.Where(positive, c.dy, c.dy * slope),
        lambda: b.Where(positive, 0.0, c.dy * x),
    )


@vjp("ThresholdedRelu")
def thresholded_relu(c: Vjp, x: V) -> V:
    """dx = dy where x > alpha, else 0."""
    return c.b.Where(c.b.Greater(x, c.attr("alpha")), c.dy, 0.0)


@vjp("Elu")
def elu(c: Vjp, x: V) -> V:
    """dx = dy where x > 0, else dy alpha e^x = dy (y + alpha)."""
    return c.b.Where(c.b.Greater(x, 0.0), c.dy, c.dy * (c.y + c.attr("alpha")))


@vjp("Selu")
def selu(c: Vjp, x: V) -> V:
    """dx = gamma dy where x > 0, else dy gamma alpha e^x = dy (y + gamma alpha)."""
    gamma, alpha = c.attr("gamma"), c.attr("alpha")
    return c.b.Where(c.b.Greater(x, 0.0), c.dy * gamma, c.dy * (c.y + gamma * alpha))


@vjp("Celu")
def celu(c: Vjp, x: V) -> V:
    """dx = dy where x > 0, else dy e^(x/alpha) = dy (y/alpha + 1)."""
    return c.b.Where(c.b.Greater(x, 0.0), c.dy, c.dy * (c.y * (1.0 / c.attr("alpha")) + 1.0))


@vjp("HardSigmoid")
def hard_sigmoid(c: Vjp, x: V) -> V:
    """dx = alpha dy where 0 < y < 1, else 0."""
    b = c.b
    inside = b.And(b.Greater(c.y, 0.0), b.Less(c.y, 1.0))
    return b.Where(inside, c.dy * c.attr("alpha"), 0.0)


@vjp("HardSwish")
def hard_swish(c: Vjp, x: V) -> V:
    """dx = 0 where x <= -3, dy (x/3 + 1/2) where -3 < x < 3, dy where x >= 3."""
    b = c.b
    slope = x * (1.0 / 3.0) + 0.5
    return c.dy * b.Where(b.LessOrEqual(x, -3.0), 0.0, b.Where(b.Less(x, 3.0), slope, 1.0))


@vjp("Softsign")
def softsign(c: Vjp, x: V) -> V:
    """dx = dy / (1 + |x|)^2."""
    scale = c.b.Abs(x) + 1.0
    return c.dy / (scale * scale)


@vjp("Mish")
def mish(c: Vjp, x: V) -> V:
    """dx = dy (t + x s (1 - t^2)), t = tanh(softplus(x)), s = sigmoid(x)."""
    b = c.b
    t = b.Tanh(b.Softplus(x))
    return c.dy * (t + x * b.Sigmoid(x) * (1.0 - t * t))


@vjp("Swish")
def swish(c: Vjp, x: V) -> V:
    """dx = dy s (1 + alpha x (1 - s)), s = sigmoid(alpha x)."""
    alpha = c.attr("alpha", 1.0)
    z = x if alpha == 1.0 else x * alpha
    s = c.b.Sigmoid(z)
    return c.dy * (s * (z * (1.0 - s) + 1.0))


@vjp("SwiGLU")
def swiglu(c: Vjp, x: V, linear: V) -> Result:
    """y = x s b, s = sigmoid(alpha x): dx = dy b s (1 + alpha x (1 - s)), db = dy x s."""
    b, alpha = c.b, c.attr("alpha", 1.0)
    z = x if alpha == 1.0 else x * alpha
    s = b.Sigmoid(z)
    return lambda: c.dy * linear * (s * (z * (1.0 - s) + 1.0)), lambda: c.dy * (x * s)


@vjp("Gelu")
def gelu(c: Vjp, x: V) -> V:
    """dx = dy (Phi(x) + x phi(x)), the normal distribution and density.

    With approximate = "tanh": u = sqrt(2/pi) (x + 0.044715 x^3), t = tanh(u) and
    dx = dy (1 + t + x (1 - t^2) u') / 2.
    """
    b = c.b
    if c.attr("approximate") == "tanh":
        k = math.sqrt(2.0 / math.pi)
        square = x * x
        t = b.Tanh(x * (square * (0.044715 * k) + k))
        slope = square * (3 * 0.044715 * k) + k
        return c.dy * ((t + 1.0 + x * (1.0 - t * t) * slope) * 0.5)
    cdf = (b.Erf(x * math.sqrt(0.5)) + 1.0) * 0.5
    pdf = b.Exp(x * x * -0.5) * (1.0 / math.sqrt(2.0 * math.pi))
    return c.dy * (cdf + x * pdf)


@vjp("Shrink")
def shrink(c: Vjp, x: V) -> V:
    """dx = dy where |x| > lambd, else 0."""
    return c.b.Where(c.b.Greater(c.b.Abs(x), c.attr("lambd")), c.dy, 0.0)


@vjp("Softmax")
def softmax(c: Vjp, x: V) -> V:
    """dx = y (dy - sum(y dy)) along axis: toolkit.grad.SoftmaxGrad."""
    return c.grad("SoftmaxGrad", c.y, c.dy, axis=c.attr("axis", -1))


@vjp("LogSoftmax")
def log_softmax(c: Vjp, x: V) -> V:
    """dx = dy - e^y sum(dy) along axis: toolkit.grad.LogSoftmaxGrad."""
    return c.grad("LogSoftmaxGrad", c.y, c.dy, axis=c.attr("axis", -1))

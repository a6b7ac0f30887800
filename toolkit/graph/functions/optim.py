"""Bodies of optimizer steps: torch's formulas."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir

from toolkit.graph.build import Builder
from toolkit.graph.functions.registry import Attributes, composite

V = Any  # An ir.Value under `arithmetic`.

OPTIM = "toolkit.optim"


def number(a: Attributes, name: str, default: float) -> float:
    """An attribute as the decimal that was meant: a file holds it as float32."""
    return float(str(np.float32(a.get(name, default))))


@composite(OPTIM, "SGD", "p g buf lr step", "new_p new_buf")
def sgd(b: Builder, a: Attributes, p: V, g: V, buf: V, lr: V, step: V) -> Any:
    """g += weight_decay p; buf = momentum buf + (1 - dampening) g, at the first step g.

    p -= lr buf, with nesterov p -= lr (g + momentum buf).
    """
    momentum, decay = number(a, "momentum", 0.0), number(a, "weight_decay", 0.0)
    rate = b.cast(lr, p.dtype)
    if decay:
        g = g + p * decay
    if buf is None:
        return p - rate * g
    moved = buf * momentum + g * (1.0 - number(a, "dampening", 0.0))
    moved = b.Where(b.Equal(step, 1), g, moved)
    direction = g + moved * momentum if a.get("nesterov", 0) else moved
    return p - rate * direction, moved


def _adam(
    b: Builder, a: Attributes, p: V, g: V, m: V, v: V, lr: V, step: V, vmax: V, decoupled: bool
) -> Any:
    beta1, beta2 = number(a, "beta1", 0.9), number(a, "beta2", 0.999)
    epsilon = number(a, "epsilon", 1e-8)
    decay = number(a, "weight_decay", 1e-2 if decoupled else 0.0)
    t, rate = b.Cast(step, to=_DOUBLE), b.Cast(lr, to=_DOUBLE)
    correction1 = 1.0 - b.Pow(b.const(beta1, _DOUBLE), t)
    correction2 = 1.0 - b.Pow(b.const(beta2, _DOUBLE), t)
    if decay and decoupled:
        p = p * b.cast(1.0 - rate * decay, p.dtype)
    elif decay:
        g = g + p * decay
    m = m + (g - m) * (1.0 - beta1)
    v = v * beta2 + g * g * (1.0 - beta2)
    largest = v
    if a.get("amsgrad", 0):
        vmax = largest = b.Max(vmax, v)
    root = b.Sqrt(largest) / b.cast(b.Sqrt(correction2), p.dtype) + epsilon
    p = p - m / root * b.cast(rate / correction1, p.dtype)
    return (p, m, v) if vmax is None else (p, m, v, vmax)


_DOUBLE = int(ir.DataType.DOUBLE)


@composite(OPTIM, "Adam", "p g m v lr step vmax", "new_p new_m new_v new_vmax")
def adam(b: Builder, a: Attributes, p: V, g: V, m: V, v: V, lr: V, step: V, vmax: V = None) -> Any:
    """g += weight_decay p; m, v = moving averages of g, g^2; vmax = max(vmax, v) with amsgrad.

    p -= lr / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + epsilon).
    """
    return _adam(b, a, p, g, m, v, lr, step, vmax, decoupled=False)


@composite(OPTIM, "AdamW", "p g m v lr step vmax", "new_p new_m new_v new_vmax")
def adamw(b: Builder, a: Attributes, p: V, g: V, m: V, v: V, lr: V, step: V, vmax: V = None) -> Any:
    """As Adam, with p *= 1 - lr weight_decay instead of adding to the gradient."""
    return _adam(b, a, p, g, m, v, lr, step, vmax, decoupled=True)


@composite(OPTIM, "AdamWOptimizer", "p g m v lr step", "new_p new_m new_v")
def adamw_optimizer(
    b: Builder, a: Attributes, p: V, g: V, m: V, v: V, lr: V, step: V
) -> tuple[V, V, V]:
    """onnxruntime's AdamW; with adam_mode 1 that of transformers: the decay comes last.

    Mode 0: p *= 1 - lr weight_decay; p -= lr / c1 m / (sqrt(v) / sqrt(c2) + epsilon). Mode 1:
    p -= lr sqrt(c2) / c1 m / (sqrt(v) + epsilon); p *= 1 - lr weight_decay. With correct_bias
    c1, c2 are 1 - alpha^t, 1 - beta^t, else 1.
    """
    alpha, beta = number(a, "alpha", 0.9), number(a, "beta", 0.999)
    epsilon, decay = number(a, "epsilon", 1e-8), number(a, "weight_decay", 1e-2)
    rate, first = b.Cast(lr, to=_DOUBLE), not a.get("adam_mode", 0)
    m = m * alpha + g * (1.0 - alpha)
    v = v * beta + g * g * (1.0 - beta)
    size, root = rate, b.Sqrt(v)
    kept = b.cast(1.0 - rate * decay, p.dtype) if decay else None
    if kept is not None and first:
        p = p * kept
    if a.get("correct_bias", 1):
        t = b.Cast(step, to=_DOUBLE)
        size = size / (1.0 - b.Pow(b.const(alpha, _DOUBLE), t))
        second = b.Sqrt(1.0 - b.Pow(b.const(beta, _DOUBLE), t))
        if first:
            root = root / b.cast(second, p.dtype)
        else:
            size = size * second
    p = p - m / (root + epsilon) * b.cast(size, p.dtype)
    if kept is not None and not first:
        p = p * kept
    return p, m, v


@composite(OPTIM, "GradNormPower", "g", "power")
def grad_norm_power(b: Builder, a: Attributes, g: V) -> V:
    """The sum of |g|^p, in float32 at least; the largest |g| for p = infinity."""
    order = a.get("norm_type", 2.0)
    g = b.cast(g, wide(g))
    if order == 2.0:
        return b.ReduceSumSquare(g, keepdims=0)
    if np.isinf(order):
        return b.ReduceMax(b.Abs(g), keepdims=0)
    size = b.Abs(g)
    return b.ReduceSum(
        size if order == 1.0 else b.Pow(size, number(a, "norm_type", 2.0)), keepdims=0
    )


@composite(OPTIM, "ClipGradNorm", "g norm", "clipped")
def clip_grad_norm(b: Builder, a: Attributes, g: V, norm: V) -> V:
    """g min(1, max_norm / (norm + 1e-6)); `norm` is that of all gradients together."""
    scale = number(a, "max_norm", 1.0) / (norm + 1e-6)
    return g * b.cast(b.Min(scale, 1.0), g.dtype)


@composite(OPTIM, "ClipGradValue", "g", "clipped")
def clip_grad_value(b: Builder, a: Attributes, g: V) -> V:
    """g within [-clip_value, clip_value]."""
    largest = b.const(number(a, "clip_value", 1.0), g.dtype)
    return b.Clip(g, b.Neg(largest), largest)


@composite(OPTIM, "NonFinite", "g", "found")
def non_finite(b: Builder, a: Attributes, g: V) -> V:
    """1 if an element is infinite or NaN, else 0, as float32."""
    finite = b.LessOrEqual(b.Abs(g), b.const(_largest(g), g.dtype))
    count = b.ReduceSum(b.cast(b.Not(finite), ir.DataType.FLOAT), keepdims=0)
    return b.cast(b.Greater(count, 0.0), ir.DataType.FLOAT)


def _largest(g: V) -> float:
    return float(ml_dtypes.finfo(g.dtype.numpy()).max)  # type: ignore[no-untyped-call]


def wide(g: V) -> ir.DataType:
    """The type that sums of `g` are taken in: float32 at least."""
    return ir.DataType.DOUBLE if g.dtype == ir.DataType.DOUBLE else ir.DataType.FLOAT

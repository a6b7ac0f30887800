"""Bodies of optimizer steps whose states are like the parameter: torch's formulas.

Inputs are (p, g, lr, step, states...), outputs (new_p, new_states...); d = g + weight_decay p.
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from toolkit.graph.build import Builder
from toolkit.graph.functions.optim import OPTIM, number
from toolkit.graph.functions.registry import Attributes, composite

V = Any  # An ir.Value under `arithmetic`.

_DOUBLE = ir.DataType.DOUBLE


def decayed(b: Builder, a: Attributes, p: V, g: V, lr: V, decoupled: bool = False) -> tuple[V, V]:
    """Parameter and gradient: p (1 - lr weight_decay) if `decoupled`, else g + weight_decay p."""
    decay = number(a, "weight_decay", 0.0)
    if not decay:
        return p, g
    if decoupled:
        return p * b.cast(1.0 - b.cast(lr, _DOUBLE) * decay, p.dtype), g
    return p, g + p * decay


def power(b: Builder, base: float, t: V) -> V:
    """`base` to the power of a step count, in double."""
    return b.Pow(b.const(base, _DOUBLE), b.cast(t, _DOUBLE))


def moments(b: Builder, a: Attributes, g: V, m: V, v: V) -> tuple[V, V]:
    """The moving averages of g and g^2."""
    beta1, beta2 = number(a, "beta1", 0.9), number(a, "beta2", 0.999)
    return m + (g - m) * (1.0 - beta1), v * beta2 + g * g * (1.0 - beta2)


@composite(OPTIM, "NAdam", "p g lr step m v product", "new_p new_m new_v new_product")
def nadam(b: Builder, a: Attributes, p: V, g: V, lr: V, step: V, m: V, v: V, product: V) -> Any:
    """mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2); product *= mu_t; r = sqrt(v / (1 - beta2^t)).

    p -= lr (1 - mu_t) / (1 - product) d / (r + epsilon);
    p -= lr mu_(t+1) / (1 - product mu_(t+1)) m / (r + epsilon).
    """
    beta1, decay = number(a, "beta1", 0.9), number(a, "momentum_decay", 4e-3)
    rate, t = b.cast(lr, _DOUBLE), b.cast(step, _DOUBLE)
    p, g = decayed(b, a, p, g, lr, bool(a.get("decoupled_weight_decay", 0)))
    now, later = (beta1 * (1.0 - 0.5 * power(b, 0.96, k * decay)) for k in (t, t + 1.0))
    product = product * b.cast(now, product.dtype)
    known = b.cast(product, _DOUBLE)
    m, v = moments(b, a, g, m, v)
    scale = b.Sqrt(1.0 - power(b, number(a, "beta2", 0.999), t))
    root = b.Sqrt(v) / b.cast(scale, p.dtype) + number(a, "epsilon", 1e-8)
    p = p - g / root * b.cast(rate * (1.0 - now) / (1.0 - known), p.dtype)
    return p - m / root * b.cast(rate * later / (1.0 - known * later), p.dtype), m, v, product


@composite(OPTIM, "RAdam", "p g lr step m v", "new_p new_m new_v")
def radam(b: Builder, a: Attributes, p: V, g: V, lr: V, step: V, m: V, v: V) -> Any:
    """rho = rho_inf - 2 t beta2^t / (1 - beta2^t), with rho_inf = 2 / (1 - beta2) - 1.

    p -= lr / (1 - beta1^t) m until rho > 5; then that times
    sqrt(1 - beta2^t) / (sqrt(v) + epsilon) and
    sqrt((rho - 4) (rho - 2) rho_inf / ((rho_inf - 4) (rho_inf - 2) rho)).
    """
    beta1, beta2 = number(a, "beta1", 0.9), number(a, "beta2", 0.999)
    t = b.cast(step, _DOUBLE)
    p, g = decayed(b, a, p, g, lr, bool(a.get("decoupled_weight_decay", 0)))
    m, v = moments(b, a, g, m, v)
    last, gone = 2.0 / (1.0 - beta2) - 1.0, power(b, beta2, t)
    rho = last - 2.0 * t * gone / (1.0 - gone)
    long = b.Greater(rho, 5.0)
    safe = b.Where(long, rho, b.const(6.0, _DOUBLE))  # No root of a negative number.
    part = (safe - 4.0) * (safe - 2.0) * last / ((last - 4.0) * (last - 2.0) * safe)
    rect = b.Where(long, b.Sqrt(part) * b.Sqrt(1.0 - gone), b.const(1.0, _DOUBLE))
    rate = b.cast(b.cast(lr, _DOUBLE) / (1.0 - power(b, beta1, t)) * rect, p.dtype)
    root = b.Sqrt(v) + number(a, "epsilon", 1e-8)
    return p - m * rate / b.Where(long, root, b.const(1.0, p.dtype)), m, v


@composite(OPTIM, "Adamax", "p g lr step m u", "new_p new_m new_u")
def adamax(b: Builder, a: Attributes, p: V, g: V, lr: V, step: V, m: V, u: V) -> Any:
    """u = max(beta2 u, |d| + epsilon); p -= lr / (1 - beta1^t) m / u."""
    beta1, beta2 = number(a, "beta1", 0.9), number(a, "beta2", 0.999)
    p, g = decayed(b, a, p, g, lr)
    m = m + (g - m) * (1.0 - beta1)
    u = b.Max(u * beta2, b.Abs(g) + number(a, "epsilon", 1e-8))
    rate = b.cast(lr, _DOUBLE) / (1.0 - power(b, beta1, step))
    return p - m / u * b.cast(rate, p.dtype), m, u


@composite(OPTIM, "Adagrad", "p g lr step sum", "new_p new_sum")
def adagrad(b: Builder, a: Attributes, p: V, g: V, lr: V, step: V, total: V) -> Any:
    """sum += d^2; p -= lr / (1 + (t - 1) lr_decay) d / (sqrt(sum) + epsilon)."""
    p, g = decayed(b, a, p, g, lr)
    total = total + g * g
    before = b.cast(step, _DOUBLE) - 1.0
    rate = b.cast(lr, _DOUBLE) / (1.0 + before * number(a, "lr_decay", 0.0))
    root = b.Sqrt(total) + number(a, "epsilon", 1e-10)
    return p - g / root * b.cast(rate, p.dtype), total


@composite(OPTIM, "Adadelta", "p g lr step v u", "new_p new_v new_u")
def adadelta(b: Builder, a: Attributes, p: V, g: V, lr: V, step: V, v: V, u: V) -> Any:
    """v, u = averages of d^2, e^2; e = d sqrt(u + epsilon) / sqrt(v + epsilon); p -= lr e."""
    rho, epsilon = number(a, "rho", 0.9), number(a, "epsilon", 1e-6)
    p, g = decayed(b, a, p, g, lr)
    v = v * rho + g * g * (1.0 - rho)
    e = b.Sqrt(u + epsilon) / b.Sqrt(v + epsilon) * g
    return p - e * b.cast(lr, p.dtype), v, u * rho + e * e * (1.0 - rho)


@composite(OPTIM, "RMSprop", "p g lr step v state2 state3", "new_p new_v new_state2 new_state3")
def rmsprop(
    b: Builder, a: Attributes, p: V, g: V, lr: V, step: V, v: V, first: V = None, second: V = None
) -> Any:
    """v = alpha v + (1 - alpha) d^2; e = d / (sqrt(v) + epsilon); p -= lr e.

    With momentum state2 = momentum state2 + e in e's place. If centered the last state is the
    average of d, whose square is taken from v.
    """
    alpha, momentum = number(a, "alpha", 0.99), number(a, "momentum", 0.0)
    p, g = decayed(b, a, p, g, lr)
    v = spread = v * alpha + g * g * (1.0 - alpha)
    buffer: V = first
    mean: V = second if momentum else first
    states = [v]
    if a.get("centered", 0):
        mean = mean + (g - mean) * (1.0 - alpha)
        spread = v - mean * mean
    e = g / (b.Sqrt(spread) + number(a, "epsilon", 1e-8))
    if momentum:
        e = buffer * momentum + e
        states.append(e)
    if a.get("centered", 0):
        states.append(mean)
    return p - e * b.cast(lr, p.dtype), *states


@composite(OPTIM, "Rprop", "p g lr step before size", "new_p new_before new_size")
def rprop(b: Builder, a: Attributes, p: V, g: V, lr: V, step: V, before: V, size: V) -> Any:
    """size *= eta_plus where g keeps its sign, eta_minus where it turns; there g is taken as 0.

    size is kept within [step_size_min, step_size_max]; p -= sign(g) size.
    """
    turn, zero, one = g * before, b.const(0.0, g.dtype), b.const(1.0, g.dtype)
    turned = b.Less(turn, zero)
    minus = b.const(number(a, "eta_minus", 0.5), g.dtype)
    plus = b.const(number(a, "eta_plus", 1.2), g.dtype)
    factor = b.Where(turned, minus, b.Where(b.Greater(turn, zero), plus, one))
    low, high = number(a, "step_size_min", 1e-6), number(a, "step_size_max", 50.0)
    size = b.Clip(size * factor, b.const(low, g.dtype), b.const(high, g.dtype))
    g = b.Where(turned, zero, g)
    return p - b.Sign(g) * size, g, size


@composite(OPTIM, "ASGD", "p g lr step ax eta mu", "new_p new_ax new_eta new_mu")
def asgd(b: Builder, a: Attributes, p: V, g: V, lr: V, step: V, ax: V, eta: V, mu: V) -> Any:
    """p = p (1 - lambd eta) - eta d; ax += mu (p - ax), at mu = 1 ax = p.

    Then eta = lr / (1 + lambd lr t)^alpha, mu = 1 / max(1, t - t0).
    """
    lambd = number(a, "lambd", 1e-4)
    rate, t = b.cast(lr, _DOUBLE), b.cast(step, _DOUBLE)
    _, g = decayed(b, a, p, g, lr)
    p = p * b.cast(1.0 - b.cast(eta, _DOUBLE) * lambd, p.dtype) - g * b.cast(eta, p.dtype)
    first = b.Equal(mu, b.const(1.0, mu.dtype))
    ax = b.Where(first, p, ax + (p - ax) * b.cast(mu, p.dtype))
    alpha = b.const(number(a, "alpha", 0.75), _DOUBLE)
    later = rate / b.Pow(1.0 + rate * lambd * t, alpha)
    share = 1.0 / b.Max(t - number(a, "t0", 1e6), b.const(1.0, _DOUBLE))
    return p, ax, b.cast(later, eta.dtype), b.cast(share, mu.dtype)


@composite(OPTIM, "Lion", "p g lr step m", "new_p new_m")
def lion(b: Builder, a: Attributes, p: V, g: V, lr: V, step: V, m: V) -> Any:
    """p = p (1 - lr weight_decay) - lr sign(beta1 m + (1 - beta1) g); m = average of g by beta2."""
    beta1, beta2 = number(a, "beta1", 0.9), number(a, "beta2", 0.99)
    p, _ = decayed(b, a, p, g, lr, decoupled=True)
    direction = b.Sign(m * beta1 + g * (1.0 - beta1))
    return p - direction * b.cast(lr, p.dtype), m * beta2 + g * (1.0 - beta2)

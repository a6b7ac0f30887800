"""Bodies of optimizer steps that take norms or products of whole parameters.

Inputs are (p, g, lr, step, states...), outputs (new_p, new_states...).
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import onnx_ir as ir

from toolkit.graph.build import Builder
from toolkit.graph.functions.optim import OPTIM, number, wide
from toolkit.graph.functions.optim_pointwise import decayed, moments, power
from toolkit.graph.functions.registry import Attributes, composite

V = Any  # An ir.Value under `arithmetic`.

_DOUBLE, _FLOAT, _BFLOAT16 = ir.DataType.DOUBLE, ir.DataType.FLOAT, ir.DataType.BFLOAT16


def _norm(b: Builder, x: V) -> V:
    return b.Sqrt(b.ReduceSumSquare(b.cast(x, wide(x)), keepdims=0))


def _root_mean_square(b: Builder, x: V) -> V:
    return b.cast(_norm(b, x), _DOUBLE) / b.Sqrt(b.cast(b.Size(x), _DOUBLE))


@composite(OPTIM, "LAMB", "p g lr step m v", "new_p new_m new_v")
def lamb(b: Builder, a: Attributes, p: V, g: V, lr: V, step: V, m: V, v: V) -> Any:
    """u = m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + epsilon) + weight_decay p.

    p -= lr |p| / |u| u; the ratio is 1 where a norm is 0 (You et al., 2020, algorithm 2).
    """
    beta1, beta2 = number(a, "beta1", 0.9), number(a, "beta2", 0.999)
    m, v = moments(b, a, g, m, v)
    c1 = b.cast(1.0 - power(b, beta1, step), p.dtype)
    c2 = b.cast(b.Sqrt(1.0 - power(b, beta2, step)), p.dtype)
    u = m / c1 / (b.Sqrt(v) / c2 + number(a, "epsilon", 1e-6))
    u = u + p * number(a, "weight_decay", 0.01)
    weight, size = _norm(b, p), _norm(b, u)
    one = b.const(1.0, weight.dtype)
    trusted = b.And(b.Greater(weight, 0.0), b.Greater(size, 0.0))
    ratio = b.Where(trusted, weight / b.Where(trusted, size, one), one)
    return p - u * b.cast(ratio * b.cast(lr, ratio.dtype), p.dtype), m, v


@composite(OPTIM, "Adafactor", "p g lr step rows columns", "new_p new_rows new_columns")
def adafactor(
    b: Builder, a: Attributes, p: V, g: V, lr: V, step: V, rows: V, columns: V = None
) -> Any:
    """Averages of g^2 over rows and over columns, v = rows columns / mean(rows) (Shazeer, 2018).

    Of a vector `rows` is the average of g^2 itself. 1 - beta2 = t^beta2_decay; u = g / sqrt(v);
    p -= max(epsilon2, rms(p)) min(lr, 1 / sqrt(t)) u / max(1, rms(u) / d). epsilon1 is the type's
    precision if it is not given.
    """
    t, rate = b.cast(step, _DOUBLE), b.cast(lr, _DOUBLE)
    epsilon1 = number(a, "epsilon1", _precision(p))
    take = b.cast(b.Pow(t, b.const(number(a, "beta2_decay", -0.8), _DOUBLE)), p.dtype)
    least = b.const(number(a, "epsilon2", 1e-3), _DOUBLE)
    size = b.Max(least, _root_mean_square(b, p)) * b.Min(rate, 1.0 / b.Sqrt(t))
    p, _ = decayed(b, a, p, g, lr, decoupled=True)
    square = g * g
    if columns is None:
        rows = v = rows + (square - rows) * take
        states = [rows]
    else:
        rows = rows + (b.ReduceMean(square, [-1]) - rows) * take
        columns = columns + (b.ReduceMean(square, [-2]) - columns) * take
        mean = b.Max(b.ReduceMean(rows, [-2]), b.const(epsilon1, p.dtype))
        v, states = rows * columns / mean, [rows, columns]
    u = g / b.Sqrt(b.Max(v, b.const(epsilon1 * epsilon1, p.dtype)))
    over = b.Max(b.const(1.0, _DOUBLE), _root_mean_square(b, u) / number(a, "d", 1.0))
    return p - u * b.cast(size / over, p.dtype), *states


def _precision(p: V) -> float:
    return float(ml_dtypes.finfo(p.dtype.numpy()).eps)  # type: ignore[no-untyped-call]


@composite(OPTIM, "Muon", "p g lr step buf", "new_p new_buf")
def muon(b: Builder, a: Attributes, p: V, g: V, lr: V, step: V, buf: V) -> Any:
    """buf = average of g by `momentum`; u = buf, with nesterov the average of g and buf.

    p = p (1 - lr weight_decay) - lr s NS(u): NS takes u nearly to the closest orthogonal matrix.
    s is sqrt(max(1, rows / columns)), with `adjust` "match_rms_adamw" 0.2 sqrt(max(rows, columns))
    (Jordan, 2024).
    """
    momentum = number(a, "momentum", 0.95)
    buf = buf + (g - buf) * (1.0 - momentum)
    u = g + (buf - g) * momentum if a.get("nesterov", 1) else buf
    rows, columns = (b.cast(b.Squeeze(b.dim(p, axis), [0]), _DOUBLE) for axis in (0, 1))
    if a.get("adjust", "original") == "match_rms_adamw":
        scale = b.Sqrt(b.Max(rows, columns)) * 0.2
    else:
        scale = b.Sqrt(b.Max(rows / columns, b.const(1.0, _DOUBLE)))
    p, _ = decayed(b, a, p, g, lr, decoupled=True)
    u = b.cast(_orthogonal(b, a, u), p.dtype)
    return p - u * b.cast(b.cast(lr, _DOUBLE) * scale, p.dtype), buf


def _orthogonal(b: Builder, a: Attributes, u: V) -> V:
    """Newton-Schulz: x = u / |u|; x = k0 x + (k1 A + k2 A A) x with A = x x^T, `steps` times.

    Rounded to bfloat16 after each line, as torch has it; of a tall matrix the transpose is taken.
    """
    k = [float(str(c)) for c in a["coefficients"]]

    def rounded(x: V) -> V:
        return b.Cast(b.Cast(x, to=int(_BFLOAT16)), to=int(_FLOAT))

    x = rounded(u)
    if a.get("tall", 0):
        x = b.Transpose(x, perm=[1, 0])
    least = b.const(number(a, "epsilon", 1e-7), _FLOAT)
    x = rounded(x / b.Max(rounded(_norm(b, x)), rounded(least)))
    for _ in range(int(a.get("steps", 5))):
        gram = rounded(b.MatMul(x, b.Transpose(x, perm=[1, 0])))
        update = rounded(gram * k[1] + b.MatMul(gram, gram) * k[2])
        x = rounded(x * k[0] + b.MatMul(update, x))
    return b.Transpose(x, perm=[1, 0]) if a.get("tall", 0) else x

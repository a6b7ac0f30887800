"""Gradients of the linear and support vector machines of ai.onnx.ml: of values and scores."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir

from toolkit.autodiff.registry import Result, Vjp, vjp
from toolkit.autodiff.rules._common import named_like

V = Any  # An ir.Value under `arithmetic`.
ML = "ai.onnx.ml"


def _numbers(c: Vjp, name: str, *shape: int) -> np.ndarray:
    return np.asarray(c.attr(name, ()), np.float32).reshape(shape or -1)


def _before(c: Vjp, transform: str, y: V, dy: V) -> V:
    """The cotangent before a post_transform.

    LOGISTIC: dy y (1 - y). SOFTMAX: y (dy - sum(y dy)); of SOFTMAX_ZERO zero scores are no part.
    PROBIT: dy / phi(y), phi the normal density; its values are an approximation.
    """
    b = c.b
    if transform == "LOGISTIC":
        return dy * (y * (1.0 - y))
    if transform == "PROBIT":
        return dy * (b.Exp(y * y * 0.5) * math.sqrt(2.0 * math.pi))
    if transform in ("SOFTMAX", "SOFTMAX_ZERO"):
        return c.grad("SoftmaxGrad", y, dy, axis=1)
    return dy


def _rows(c: Vjp, dx: V, x: V) -> V:
    """Rows as X has them: (N, F), or (F) for one."""
    return named_like(c.b.Reshape(dx, c.b.shape(x), allowzero=1), x)


def _features(c: Vjp, x: V) -> V:
    """X as float32 rows."""
    x = c.b.cast(x, ir.DataType.FLOAT)
    return c.b.Unsqueeze(x, [0]) if x.shape is not None and len(x.shape) == 1 else x


@vjp("LinearRegressor", domain=ML)
def linear_regressor(c: Vjp, x: V) -> V:
    """y = p(x Wᵀ + b), p the post_transform: dx = p'(dy) W."""
    weight = _numbers(c, "coefficients", int(c.attr("targets", 1)), -1)
    dz = _before(c, c.attr("post_transform"), c.y, c.dy)
    return _rows(c, c.b.MatMul(dz, c.b.const(weight)), x)


@vjp("LinearClassifier", domain=ML, all_outputs=True)
def linear_classifier(c: Vjp, x: V) -> V:
    """Scores as LinearRegressor; of one score s for two labels, (1 - s, s), ds = dz₁ - dz₀."""
    dy = c.cotangents[1]
    if dy is None:
        return None
    b, y, transform = c.b, c.outputs[1], c.attr("post_transform")
    coefficients = _numbers(c, "coefficients")
    labels = len(c.attr("classlabels_ints") or c.attr("classlabels_strings") or ())
    width = None if x.shape is None else x.shape[-1]
    classes = len(_numbers(c, "intercepts"))
    if not classes:
        classes = len(coefficients) // width if isinstance(width, int) else labels
    if classes == 1 and labels == 2:
        dy = _before(c, transform, y, dy) if transform == "PROBIT" else dy
        dy = b.MatMul(dy, b.const(np.array([[-1.0], [1.0]], np.float32)))
        if transform == "LOGISTIC":
            dy = _before(c, transform, b.Slice(y, [1], [2], [1]), dy)
    else:
        dy = _before(c, transform, y, dy)
    return _rows(c, b.MatMul(dy, b.const(coefficients.reshape(classes, -1))), x)


def _kernel_gradient(c: Vjp, x: V, vectors: np.ndarray, dk: V) -> V:
    """dx of K(x, v), given dK (N, vectors): with t = gamma x vᵀ + c, LINEAR: dK v; POLY: dK degree
    gamma t^(degree - 1) v; SIGMOID: dK gamma (1 - tanh(t)²) v; RBF: 2 gamma dK K (v - x).
    """
    b, kind = c.b, c.attr("kernel_type", "LINEAR")
    gamma, offset, degree = (float(p) for p in c.attr("kernel_params", (0.0, 0.0, 0.0)))
    v = b.const(vectors)
    if kind == "LINEAR":
        return b.MatMul(dk, v)
    t = b.MatMul(x, b.const(np.ascontiguousarray(vectors.T)))
    if kind == "RBF":
        square = b.ReduceSumSquare(x, [1]) + b.const((vectors**2).sum(1)[None])
        dk = dk * b.Exp((square - t * 2.0) * -gamma) * (2.0 * gamma)
        return b.MatMul(dk, v) - x * b.ReduceSum(dk, [1])
    t = t * gamma + offset
    if kind == "POLY":
        slope = b.Pow(t, degree - 1.0) * (degree * gamma)
    else:
        t = b.Tanh(t)
        slope = (1.0 - t * t) * gamma
    return b.MatMul(dk * slope, v)


@vjp("SVMRegressor", domain=ML)
def svm_regressor(c: Vjp, x: V) -> V:
    """y = p(sum of a_j K(x, v_j) + rho): dx by dK = p'(dy) aᵀ; one_class gives steps: none."""
    if c.attr("one_class"):
        return None
    b, count = c.b, int(c.attr("n_supports"))
    transform = c.attr("post_transform")
    dy = _before(c, transform, c.y, c.dy) if transform in ("LOGISTIC", "PROBIT") else c.dy
    weight = b.const(_numbers(c, "coefficients", 1, -1))
    dk = b.MatMul(dy, weight)
    if count <= 0:
        return _rows(c, dk, x)
    vectors = _numbers(c, "support_vectors", count, -1)
    return _rows(c, _kernel_gradient(c, _features(c, x), vectors, dk), x)


@vjp("SVMClassifier", domain=ML, all_outputs=True)
def svm_classifier(c: Vjp, x: V) -> Result | Any:
    """Scores of linear machines, or of pairs of classes: s = A K(x, v) + rho, dK = ds A; of one
    pair, (-s, s). Probabilities of pairs, coupled by iterations, are refused.
    """
    dy = c.cotangents[1]
    if dy is None:
        return None
    b = c.b
    counts = [int(n) for n in c.attr("vectors_per_class", ())]
    classes = len(c.attr("classlabels_ints") or c.attr("classlabels_strings"))
    dy = _before(c, c.attr("post_transform"), c.outputs[1], dy)
    if not sum(counts):
        weight = _numbers(c, "coefficients", classes, -1)
        return _rows(c, b.MatMul(dy, b.const(weight)), x)
    if c.attr("prob_a"):
        return NotImplemented
    if classes == 2:
        dy = b.MatMul(dy, b.const(np.array([[-1.0], [1.0]], np.float32)))
    dk = b.MatMul(dy, b.const(_pairs(c, counts)))
    vectors = _numbers(c, "support_vectors", sum(counts), -1)
    return _rows(c, _kernel_gradient(c, _features(c, x), vectors, dk), x)


def _pairs(c: Vjp, counts: list[int]) -> np.ndarray:
    """(pairs, vectors): row j - 1 of the coefficients for the vectors of class i, row i for j's."""
    given = _numbers(c, "coefficients", len(counts) - 1, -1)
    starts = np.concatenate([[0], np.cumsum(counts)])
    rows = []
    for i in range(len(counts)):
        for j in range(i + 1, len(counts)):
            row = np.zeros(starts[-1], np.float32)
            for one, other in ((i, j - 1), (j, i)):
                part = slice(starts[one], starts[one + 1])
                row[part] = given[other, part]
            rows.append(row)
    return np.array(rows)

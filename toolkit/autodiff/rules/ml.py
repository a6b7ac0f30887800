"""Gradients of ai.onnx.ml: what scales, selects and multiplies; trees and labels have none."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from toolkit.autodiff.registry import Result, Vjp, not_differentiable, vjp
from toolkit.autodiff.rules._common import named_like, rank_of

V = Any  # An ir.Value under `arithmetic`.
ML = "ai.onnx.ml"

not_differentiable(
    "TreeEnsemble", "TreeEnsembleClassifier", "TreeEnsembleRegressor", "Binarizer",
    domain=ML, reason="Piecewise constant: zero wherever it exists.",
)  # fmt: skip
not_differentiable(
    "CastMap", "CategoryMapper", "DictVectorizer", "LabelEncoder", "OneHotEncoder", "ZipMap",
    domain=ML, reason="Maps categories, labels or maps.",
)  # fmt: skip
not_differentiable(
    "Adagrad", "Adam", "Momentum", domain="ai.onnx.preview.training",
    reason="A step of an optimizer takes its gradients as constants.",
)  # fmt: skip
not_differentiable(
    "Gradient", domain="ai.onnx.preview.training",
    reason="Written out as nodes on loading, and those are differentiated.",
)  # fmt: skip


@vjp("Scaler", domain=ML)
def scaler(c: Vjp, x: V) -> V:
    """dx = dy scale."""
    scale = c.b.const(np.asarray(c.attr("scale", [1.0]), np.float32))
    return named_like(c.b.Mul(c.b.cast(c.dy, ir.DataType.FLOAT), scale), x)


@vjp("Imputer", domain=ML)
def imputer(c: Vjp, x: V) -> V:
    """dx = dy where x was kept."""
    missing = float(c.attr("replaced_value_float", 0.0))
    replaced = c.b.IsNaN(x) if np.isnan(missing) else c.b.Equal(x, missing)
    return named_like(c.b.Where(replaced, c.b.const(0.0, c.dy.dtype), c.dy), x)


@vjp("ArrayFeatureExtractor", domain=ML)
def array_feature_extractor(c: Vjp, x: V, indices: V) -> Result:
    """dx = dy added at the positions along the last axis."""
    axis = max(rank_of(c, x) - 1, 0)
    flat = c.b.Reshape(indices, [-1])
    shape = c.b.shape(x)
    if axis == 0:
        dy = c.b.Reshape(c.dy, [-1])
    else:
        dy = c.b.Reshape(c.dy, c.b.Concat(c.b.Slice(shape, [0], [-1], [0]), [-1], axis=0))
    return named_like(c.grad("GatherGrad", dy, flat, shape, axis=axis), x), None


@vjp("LinearRegressor", domain=ML)
def linear_regressor(c: Vjp, x: V) -> V:
    """y = x Wᵀ + b: dx = dy W, without a post_transform."""
    if c.attr("post_transform") not in (None, "NONE", b"NONE"):
        return NotImplemented
    targets = int(c.attr("targets", 1))
    weight = np.asarray(c.attr("coefficients"), np.float32).reshape(targets, -1)
    return named_like(c.b.Reshape(c.b.MatMul(c.dy, c.b.const(weight)), c.b.shape(x)), x)


@vjp("FeatureVectorizer", domain=ML)
def feature_vectorizer(c: Vjp, *inputs: V) -> Result:
    """Each dx is its columns of dy."""
    widths = [int(w) for w in c.attr("inputdimensions")]
    results, start = [], 0
    for x, width in zip(inputs, widths, strict=True):
        part = c.b.Slice(c.dy, [start], [start + width], [-1])
        results.append(named_like(c.b.Reshape(part, c.b.shape(x)), x))
        start += width
    return tuple(results)


@vjp("Normalizer", domain=ML)
def normalizer(c: Vjp, x: V) -> V:
    """y = x / n. L1: dx = (dy - sign(x) sum(dy y)) / n; L2: dx = (dy - y sum(dy y)) / n."""
    b, norm = c.b, c.attr("norm")
    norm = norm.decode() if isinstance(norm, bytes) else norm
    if norm == "MAX":
        return NotImplemented
    size = b.ReduceL1(x, [-1]) if norm == "L1" else b.ReduceL2(x, [-1])
    size = b.Where(b.Equal(size, 0.0), b.const(1.0, x.dtype), size)
    inner = b.ReduceSum(c.dy * c.y, [-1])
    return (c.dy - (b.Sign(x) if norm == "L1" else c.y) * inner) / size


@vjp("SVMRegressor", "SVMClassifier", "LinearClassifier", domain=ML, all_outputs=True)
def refused(c: Vjp, *inputs: V) -> Any:
    """No rule: the walk says so. Their scores would have one, their labels none."""
    return NotImplemented

"""Gradients of ai.onnx.ml: what scales and selects; trees and labels have none."""

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


@vjp("FeatureVectorizer", domain=ML)
def feature_vectorizer(c: Vjp, *inputs: V) -> Result:
    """Each dx is its columns of dy, cut or padded with zeros to its own width."""
    b, given = c.b, c.attr("inputdimensions")
    dy, start, results = c.dy, b.ints([0]), []
    for i, x in enumerate(inputs):
        own = b.Shape(x, start=-1)
        width = own if given is None else b.ints([int(given[i])])
        end = start + width
        part = b.Slice(dy, start, b.Min(end, start + own), [1])
        if given is not None:
            missing = b.Max(own - width, b.ints([0]))
            part = b.Pad(part, b.Concat(b.ints([0]), missing, axis=0), None, b.ints([1]))
        results.append(named_like(b.Reshape(part, b.shape(x), allowzero=1), x))
        start = end
    return tuple(results)


@vjp("Normalizer", domain=ML)
def normalizer(c: Vjp, x: V) -> V:
    """y = x / n, n not zero, s = sum(dy y): dx = (dy - n' s) / n, n' the slope of the norm:

    L1: sign(x); L2: y; MAX: one at the first largest element.
    """
    b, norm = c.b, c.attr("norm")
    x = b.cast(x, ir.DataType.FLOAT)
    if norm == "MAX":
        size = b.ReduceMax(x, [-1])
        length = b.Squeeze(b.Shape(x, start=-1), [0])
        first = b.ArgMax(x, axis=-1, keepdims=1)
        slope = b.cast(b.Equal(b.Range(b.const(0), length, b.const(1)), first), x.dtype)
    elif norm == "L1":
        size, slope = b.ReduceL1(x, [-1]), b.Sign(x)
    else:
        size, slope = b.ReduceL2(x, [-1]), c.y
    zero = b.Equal(size, 0.0)
    inner = b.Where(zero, 0.0, b.ReduceSum(c.dy * c.y, [-1]))
    return (c.dy - slope * inner) / b.Where(zero, 1.0, size)

"""What onnxruntime's optimizer fuses: products, convolutions and sums with what follows them."""

from __future__ import annotations

import math
from typing import Any

import onnx_ir as ir

from toolkit.graph.contrib.matmul import fused_mat_mul
from toolkit.graph.contrib.registry import Call, contrib

V = Any  # An ir.Value under `arithmetic`.
WINDOW = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")


def activated(c: Call, y: V, params: list[float] | None = None) -> V:
    """The activation that the node names, applied to y."""
    b, kind = c.b, c.attr("activation", "")
    if params is None:
        names = ("activation_alpha", "activation_beta", "activation_gamma")
        params = [c.attr(n, None) for n in names]
    p = [v for v in params if v is not None]
    if kind in ("", "Identity"):
        return y
    if kind in ("Relu", "Sigmoid", "Tanh", "Softplus", "Softsign", "HardSwish", "Gelu", "Erf"):
        return getattr(b, kind)(y)
    if kind == "Clip":
        return b.Clip(y, *p[:2])
    if kind in ("LeakyRelu", "Elu", "ThresholdedRelu", "Swish"):
        return getattr(b, kind)(y, **({"alpha": p[0]} if p else {}))
    if kind == "HardSigmoid":
        return b.HardSigmoid(y, **dict(zip(("alpha", "beta"), p, strict=False)))
    if kind == "Softmax":
        return b.Softmax(y, axis=c.attr("activation_axis", -1))
    raise c.fail("an activation among ONNX's is required", f"'{kind}'")


@contrib("FusedGemm")
def fused_gemm(c: Call, a: V, w: V, bias: V = None) -> V:
    """activation(alpha op(a) op(w) + beta bias)."""
    return activated(c, c.b.Gemm(a, w, bias, **c.taken("alpha", "beta", "transA", "transB")))


@contrib("FusedMatMulActivation")
def fused_mat_mul_activation(c: Call, a: V, w: V) -> V:
    """activation(alpha op(a) op(w))."""
    return activated(c, fused_mat_mul(c, a, w))


@contrib("GemmFastGelu")
def gemm_fast_gelu(c: Call, x: V, w: V, bias: V = None) -> V:
    """Gelu of x w + bias, by tanh."""
    y = c.b.MatMul(x, w)
    return c.b.Gelu(y if bias is None else y + bias, approximate="tanh")


@contrib("FusedConv")
def fused_conv(c: Call, x: V, w: V, bias: V = None, z: V = None) -> V:
    """activation(Conv(x, w) + bias + z)."""
    y = c.b.Conv(x, w, bias, **c.taken(*WINDOW))
    return activated(c, y if z is None else y + z, list(c.attr("activation_params", ())))


@contrib("NhwcFusedConv", "NhwcConv")
def nhwc_fused_conv(c: Call, x: V, w: V, bias: V = None, z: V = None) -> V:
    """As FusedConv with the channels of x, z and y last; those of w are not."""
    y = channels_last(c, c.b.Conv(channels_first(c, x), w, bias, **c.taken(*WINDOW)))
    return activated(c, y if z is None else y + z, list(c.attr("activation_params", ())))


@contrib("NhwcMaxPool")
def nhwc_max_pool(c: Call, x: V) -> V:
    """MaxPool with the channels last."""
    how = c.taken("auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "strides")
    return channels_last(c, c.b.MaxPool(channels_first(c, x), **how))


def channels_first(c: Call, x: V) -> V:
    """NHWC as NCHW."""
    rank = c.rank(x)
    return c.b.Transpose(x, perm=[0, rank - 1, *range(1, rank - 1)])


def channels_last(c: Call, x: V) -> V:
    """NCHW as NHWC."""
    rank = c.rank(x)
    return c.b.Transpose(x, perm=[0, *range(2, rank), 1])


@contrib("ConvTransposeWithDynamicPads")
def conv_transpose_with_dynamic_pads(c: Call, x: V, w: V, pads: V = None, bias: V = None) -> V:
    """ConvTranspose without pads, of which pads takes the border off."""
    b = c.b
    how = c.taken("dilations", "group", "kernel_shape", "output_padding", "strides")
    y = b.ConvTranspose(x, w, bias, **how)
    if pads is None:
        return y
    half = c.rank(x) - 2
    spatial = b.Shape(y, start=2)
    return b.Slice(
        y, b.Slice(pads, [0], [half]), spatial - b.Slice(pads, [half], [2 * half]),
        list(range(2, 2 + half)),
    )  # fmt: skip


@contrib("BiasAdd")
def bias_add(c: Call, x: V, bias: V, skip: V) -> V:
    """x + bias + skip."""
    return x + bias + skip


@contrib("BiasSoftmax")
def bias_softmax(c: Call, x: V, bias: V) -> V:
    """Softmax over axis and all behind it, of x + bias; its broadcast may be outer."""
    b, rank = c.b, c.rank(x)
    axis = c.attr("axis", 1) % rank
    if not c.attr("is_inner_broadcast", 1) and c.rank(bias) < rank:
        bias = b.Unsqueeze(bias, list(range(axis, axis + rank - c.rank(bias))))
    y = x + bias
    if axis == rank - 1:
        return b.Softmax(y, axis=-1)
    flat = b.Flatten(y, axis=axis)
    return b.Reshape(b.Softmax(flat, axis=-1), b.shape(y))


@contrib("BiasSplitGelu")
def bias_split_gelu(c: Call, x: V, bias: V) -> V:
    """left Gelu(right) of the halves of x + bias."""
    left, right = c.b.Split(x + bias, axis=-1, num_outputs=2, _outputs=2)
    return left * c.b.Gelu(right)


@contrib("GroupNorm", "SkipGroupNorm")
def group_norm(c: Call, x: V, gamma: V, beta: V, skip: V = None, bias: V = None) -> tuple[V, ...]:
    """GroupNormalization of x + skip + bias, and Swish if `activation`; the sum besides."""
    b, last = c.b, c.attr("channels_last", 1)
    total = x if skip is None else x + skip
    total = total if bias is None else total + bias
    kind = total.dtype
    y = channels_first(c, total) if last else total
    y = b.GroupNormalization(
        y, b.cast(gamma, kind), b.cast(beta, kind), num_groups=c.attr("groups", 1),
        epsilon=c.attr("epsilon", 1e-5), stash_type=1,
    )  # fmt: skip
    y = y * b.Sigmoid(y) if c.attr("activation", 0) else y
    return channels_last(c, y) if last else y, total


@contrib("ScaledSiLU")
def scaled_silu(c: Call, x: V, scale: V = None) -> V:
    """x sigmoid(alpha x) scale."""
    y = x * c.b.Sigmoid(x * c.attr("alpha", 1.0))
    return y if scale is None else y * c.b.cast(scale, y.dtype)


@contrib("CDist")
def c_dist(c: Call, x: V, y: V) -> V:
    """Distances of the rows of two matrices: |x|^2 + |y|^2 - 2 x y."""
    b, metric = c.b, c.attr("metric", "sqeuclidean")
    squares = b.ReduceSum(x * x, [1]) + b.Transpose(b.ReduceSum(y * y, [1]), perm=[1, 0])
    least = b.Max(squares - 2.0 * b.MatMul(x, b.Transpose(y, perm=[1, 0])), 0.0)
    return b.Sqrt(least) if metric == "euclidean" else least


def lowest(kind: ir.DataType | None) -> float:
    """The least number of a float type."""
    if kind is None or not kind.is_floating_point():
        return -math.inf
    return float(-65504.0 if kind == ir.DataType.FLOAT16 else -3.4028234663852886e38)

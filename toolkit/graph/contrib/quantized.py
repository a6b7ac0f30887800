"""Operators on codes: by integers where sums are exact, else by the numbers that they stand for."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from toolkit.graph.contrib.attention import attention_of
from toolkit.graph.contrib.fused import WINDOW, channels_first, channels_last
from toolkit.graph.contrib.registry import Call, contrib
from toolkit.graph.contrib.transformer import embed_layer_normalization

V = Any  # An ir.Value under `arithmetic`.
FLOAT = ir.DataType.FLOAT


def number(c: Call, x: V) -> V:
    """A scale or zero point of one element as a scalar."""
    dims = x.shape
    return x if dims is None or list(dims) != [1] else c.b.Squeeze(x, [0])


def real(c: Call, x: V, scale: V, zero: V = None, **how: Any) -> V:
    """DequantizeLinear."""
    scale, zero = number(c, scale), zero if zero is None else number(c, zero)
    return c.b.DequantizeLinear(x, scale, zero, **how)


def codes(c: Call, y: V, scale: V, zero: V, kind: ir.DataType, **how: Any) -> V:
    """QuantizeLinear to codes of a type."""
    zero = c.b.const(0, kind) if zero is None else number(c, zero)
    return c.b.QuantizeLinear(y, number(c, scale), zero, **how)


@contrib("QuantizeLinear")
def quantize_linear(c: Call, x: V, scale: V, zero: V = None) -> V:
    """ONNX's QuantizeLinear."""
    how = c.taken("axis")
    return codes(c, x, c.b.cast(scale, x.dtype), zero, ir.DataType.UINT8, **how)


@contrib("DequantizeLinear")
def dequantize_linear(c: Call, x: V, scale: V, zero: V = None) -> V:
    """ONNX's DequantizeLinear."""
    return real(c, x, scale, zero, **c.taken("axis"))


@contrib("QLinearAdd", "QLinearMul")
def qlinear_binary(
    c: Call, x: V, x_scale: V, x_zero: V, y: V, y_scale: V, y_zero: V, scale: V, zero: V = None
) -> V:
    """Of the numbers that the codes stand for."""
    left, right = real(c, x, x_scale, x_zero), real(c, y, y_scale, y_zero)
    z = left + right if c.node.op_type == "QLinearAdd" else left * right
    return codes(c, z, scale, zero, x.dtype)


@contrib("QLinearSigmoid")
def qlinear_sigmoid(c: Call, x: V, x_scale: V, x_zero: V, scale: V, zero: V = None) -> V:
    """Sigmoid of the numbers."""
    return codes(c, c.b.Sigmoid(real(c, x, x_scale, x_zero)), scale, zero, x.dtype)


@contrib("QLinearLeakyRelu")
def qlinear_leaky_relu(c: Call, x: V, x_scale: V, x_zero: V, scale: V, zero: V = None) -> V:
    """LeakyRelu of the numbers."""
    y = c.b.LeakyRelu(real(c, x, x_scale, x_zero), alpha=c.attr("alpha", 0.01))
    return codes(c, y, scale, zero, x.dtype)


@contrib("QLinearSoftmax")
def qlinear_softmax(c: Call, x: V, x_scale: V, x_zero: V, scale: V, zero: V = None) -> V:
    """Softmax of the numbers; before opset 13 over axis and all behind it."""
    b, axis, y = c.b, c.attr("axis", -1), real(c, x, x_scale, x_zero)
    if c.attr("opset", 13) >= 13:
        y = b.Softmax(y, axis=axis)
    else:
        y = b.Reshape(b.Softmax(b.Flatten(y, axis=axis), axis=-1), b.shape(x))
    return codes(c, y, scale, zero, x.dtype)


@contrib("QLinearReduceMean")
def qlinear_reduce_mean(c: Call, x: V, x_scale: V, x_zero: V, scale: V, zero: V = None) -> V:
    """ReduceMean of the numbers."""
    axes, keep = list(c.attr("axes", ())), c.attr("keepdims", 1)
    y = c.b.ReduceMean(real(c, x, x_scale, x_zero), axes, keepdims=keep)
    return codes(c, y, scale, zero, x.dtype)


@contrib("QLinearConcat")
def qlinear_concat(c: Call, scale: V, zero: V, *inputs: V) -> V:
    """Concat of the numbers; inputs come as codes, scale, zero point."""
    parts = [inputs[i : i + 3] for i in range(0, len(inputs), 3)]
    y = c.b.Concat(*(real(c, *part) for part in parts), axis=c.attr("axis", 0))
    return codes(c, y, scale, zero, parts[0][0].dtype)


@contrib("QLinearWhere")
def qlinear_where(
    c: Call, condition: V, x: V, x_scale: V, x_zero: V, y: V, y_scale: V, y_zero: V, scale: V,
    zero: V = None,
) -> V:  # fmt: skip
    """Where of the numbers."""
    z = c.b.Where(condition, real(c, x, x_scale, x_zero), real(c, y, y_scale, y_zero))
    return codes(c, z, scale, zero, x.dtype)


@contrib("QLinearAveragePool")
def qlinear_average_pool(c: Call, x: V, x_scale: V, x_zero: V, scale: V, zero: V = None) -> V:
    """AveragePool of the numbers."""
    how = c.taken("auto_pad", "ceil_mode", "count_include_pad", "kernel_shape", "pads", "strides")
    y = _pooled(c, real(c, x, x_scale, x_zero), lambda v: c.b.AveragePool(v, **how))
    return codes(c, y, scale, zero, x.dtype)


@contrib("QLinearGlobalAveragePool")
def qlinear_global_average_pool(
    c: Call, x: V, x_scale: V, x_zero: V, scale: V, zero: V = None
) -> V:
    """GlobalAveragePool of the numbers."""
    y = _pooled(c, real(c, x, x_scale, x_zero), c.b.GlobalAveragePool)
    return codes(c, y, scale, zero, x.dtype)


def _pooled(c: Call, x: V, pool: Any) -> V:
    if not c.attr("channels_last", 0):
        return pool(x)
    return channels_last(c, pool(channels_first(c, x)))


@contrib("QLinearConv")
def qlinear_conv(
    c: Call, x: V, x_scale: V, x_zero: V, w: V, w_scale: V, w_zero: V, scale: V, zero: V,
    bias: V = None,
) -> V:  # fmt: skip
    """ONNX's QLinearConv; channels_last is for x and y alone."""
    last = c.attr("channels_last", 0)
    x = channels_first(c, x) if last else x
    one = (number(c, v) for v in (x_scale, x_zero))
    kept = (number(c, v) for v in (w_scale, w_zero, scale, zero))
    y = c.b.QLinearConv(x, *one, w, *kept, bias, **c.taken(*WINDOW))
    return channels_last(c, y) if last else y


@contrib("QGemm")
def qgemm(
    c: Call, a: V, a_scale: V, a_zero: V, w: V, w_scale: V, w_zero: V, bias: V = None,
    scale: V = None, zero: V = None,
) -> V:  # fmt: skip
    """alpha a w + bias, whose scale is alpha a_scale w_scale, as codes or as numbers."""
    b = c.b
    a = b.Transpose(a, perm=[1, 0]) if c.attr("transA", 0) else a
    w = b.Transpose(w, perm=[1, 0]) if c.attr("transB", 0) else w
    sums = b.MatMulInteger(a, w, number(c, a_zero), number(c, w_zero))
    sums = sums if bias is None else sums + bias
    factor = number(c, a_scale) * number(c, w_scale) * c.attr("alpha", 1.0)
    y = b.cast(sums, FLOAT) * factor
    return y if scale is None else codes(c, y, scale, zero, a.dtype)


@contrib("MatMulIntegerToFloat")
def matmul_integer_to_float(
    c: Call, a: V, w: V, a_scale: V, w_scale: V, a_zero: V = None, w_zero: V = None, bias: V = None
) -> V:
    """MatMulInteger(a, w) a_scale w_scale + bias."""
    a_zero, w_zero = (v if v is None else number(c, v) for v in (a_zero, w_zero))
    y = c.b.cast(c.b.MatMulInteger(a, w, a_zero, w_zero), a_scale.dtype)
    y = y * (number(c, a_scale) * number(c, w_scale))
    return y if bias is None else y + bias


@contrib("DynamicQuantizeMatMul")
def dynamic_quantize_matmul(c: Call, a: V, w: V, w_scale: V, w_zero: V = None, bias: V = None) -> V:
    """MatMulIntegerToFloat of DynamicQuantizeLinear(a)."""
    x, scale, zero = c.b.DynamicQuantizeLinear(a, _outputs=3)
    return matmul_integer_to_float(c, x, w, scale, w_scale, zero, w_zero, bias)


@contrib("DynamicQuantizeLSTM")
def dynamic_quantize_lstm(
    c: Call, x: V, w: V, r: V, bias: V = None, lengths: V = None, h: V = None, state: V = None,
    peepholes: V = None, w_scale: V = None, w_zero: V = None, r_scale: V = None, r_zero: V = None,
) -> tuple[V, ...]:  # fmt: skip
    """LSTM of DynamicQuantizeLinear(x) with the numbers of w and r, whose matrices lie transposed.

    onnxruntime rounds the hidden state to 8 bits too before each step; here it is not.
    """
    b = c.b
    weights = []
    for matrix, scale, zero in ((w, w_scale, w_zero), (r, r_scale, r_zero)):
        factor = b.Unsqueeze(scale, [1] if c.rank(scale) == 2 else [1, 2])
        shift = b.Unsqueeze(zero, [1] if c.rank(zero) == 2 else [1, 2])
        exact = b.cast(matrix, FLOAT) - b.cast(shift, FLOAT)
        weights.append(b.Transpose(exact * factor, perm=[0, 2, 1]))
    rounded = b.DynamicQuantizeLinear(x, _outputs=3)
    how = c.taken(
        "activation_alpha", "activation_beta", "activations", "clip", "direction", "hidden_size",
        "input_forget",
    )  # fmt: skip
    x = b.DequantizeLinear(*rounded)
    operands = (x, *weights, bias, lengths, h, state, peepholes)
    y, y_h, y_c = b.LSTM(*operands, _outputs=3, **how)
    return y, y_h, y_c


@contrib("QAttention")
def qattention(
    c: Call, x: V, w: V, bias: V, x_scale: V, w_scale: V, mask: V = None, x_zero: V = None,
    w_zero: V = None, past: V = None,
) -> tuple[V, ...]:  # fmt: skip
    """Attention whose product by the weights is one of integers."""
    qkv = matmul_integer_to_float(c, x, w, x_scale, w_scale, x_zero, w_zero, bias)
    return attention_of(c, qkv, mask, past)


@contrib("QEmbedLayerNormalization")
def qembed_layer_normalization(
    c: Call, ids: V, segments: V, words: V, positions: V, segment_table: V, gamma: V, beta: V,
    mask: V, *numbers: V,
) -> tuple[V, ...]:  # fmt: skip
    """EmbedLayerNormalization of tables of codes; scales come first, then zero points."""
    tables = (words, positions, segment_table, gamma, beta)
    exact = [
        None if t is None else real(c, t, s, z)
        for t, s, z in zip(tables, numbers[:5], numbers[5:], strict=True)
    ]
    y, count, *_ = embed_layer_normalization(c, ids, segments, *exact, mask)
    return y, count


@contrib("MulInteger")
def mul_integer(c: Call, a: V, a_zero: V, w: V, w_zero: V = None) -> V:
    """(a - a_zero) (w - w_zero) in int32."""
    kind = ir.DataType.INT32
    wide = [
        c.b.cast(x, kind) if z is None else c.b.cast(x, kind) - c.b.cast(z, kind)
        for x, z in ((a, a_zero), (w, w_zero))
    ]
    return wide[0] * wide[1]


@contrib("ReduceSumInteger")
def reduce_sum_integer(c: Call, x: V) -> V:
    """ReduceSum in int32 or uint32."""
    wide = ir.DataType.UINT32 if x.dtype == ir.DataType.UINT8 else ir.DataType.INT32
    axes, keep = list(c.attr("axes", ())), c.attr("keepdims", 1)
    return c.b.ReduceSum(c.b.cast(x, wide), axes, keepdims=keep)


@contrib("MatMulInteger16")
def matmul_integer_16(c: Call, a: V, w: V) -> V:
    """MatMul in int32."""
    kind = ir.DataType.INT32
    return c.b.MatMul(c.b.cast(a, kind), c.b.cast(w, kind))

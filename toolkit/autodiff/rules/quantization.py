"""Gradients of quantization: straight through the rounding (Bengio et al., 2013).

A quantized tensor's cotangent is one of the real numbers that its integers stand for. With the
scales' gradients the rules of a pair of QuantizeLinear and DequantizeLinear compose to those of LSQ
(Esser et al., "Learned step size quantization", 2020).
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from toolkit.autodiff.registry import Result, Vjp, not_differentiable, vjp
from toolkit.autodiff.rules._common import named_like, rank_of, reshape_like
from toolkit.graph.build import static_dims

V = Any  # An ir.Value under `arithmetic`.

not_differentiable(
    "ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul",
    reason="Computes on integers; learn with QuantizeLinear and DequantizeLinear around floats.",
)  # fmt: skip

_POWERS = ir.DataType.FLOAT8E8M0
# The largest finite numbers.
_LARGEST = {
    ir.DataType.FLOAT8E4M3FN: 448.0,
    ir.DataType.FLOAT8E4M3FNUZ: 240.0,
    ir.DataType.FLOAT8E5M2: 57344.0,
    ir.DataType.FLOAT8E5M2FNUZ: 57344.0,
    ir.DataType.FLOAT4E2M1: 6.0,
    ir.DataType.FLOAT6E2M3: 7.5,
    ir.DataType.FLOAT6E3M2: 28.0,
}


@vjp("DequantizeLinear")
def dequantize_linear(c: Vjp, x: V, scale: V, zero: V = None) -> Result:
    """dx = dy s; ds = the sum of dy (x - z) over the elements of a scale."""
    dy = c.dy

    def dscale() -> V:
        steps = _dequantize(c, x, c.b.full(c.b.shape(scale), 1, scale.dtype), zero)
        return _sum_by_scale(c, dy * c.b.cast(steps, dy.dtype), x, scale)

    return lambda: dy * _spread(c, scale, x, dy.dtype), dscale


@vjp("QuantizeLinear")
def quantize_linear(c: Vjp, x: V, scale: V, zero: V = None) -> Result:
    """dx = dy / s where round(x / s) + z lies in the type's range; ds = the sum of -dx x / s."""
    b, dtype = c.b, c.dy.dtype
    wide = b.cast(x, dtype)
    s = _spread(c, scale, x, dtype)
    if c.y.dtype in _LARGEST:
        inside = b.Not(b.Greater(b.Abs(wide), s * _LARGEST[c.y.dtype]))
    else:
        # What was not clipped is at most half a step away, a little more after rounding.
        back = b.cast(_dequantize(c, c.y, scale, zero), dtype)
        inside = b.Not(b.Greater(b.Abs(wide - back), s * 0.501))
    dx = b.Where(inside, c.dy / s, 0.0)
    return dx, lambda: _sum_by_scale(c, -(dx * wide / s), x, scale)


def _dequantize(c: Vjp, x: V, scale: V, zero: V | None) -> V:
    """With the granularity of the node."""
    given: dict[str, Any] = {
        k: c.attributes[k].value for k in ("axis", "block_size") if k in c.attributes
    }
    if scale.dtype == _POWERS:
        given["output_dtype"] = int(ir.DataType.FLOAT)
    return c.b.DequantizeLinear(x, scale, zero, **given)


def _spread(c: Vjp, scale: V, x: V, dtype: ir.DataType) -> V:
    """The scale of each element."""
    if _is_one(scale):
        return c.b.cast(c.b.Reshape(scale, c.b.ints([])), dtype)
    ones = named_like(c.b.full(c.b.shape(x), 1, ir.DataType.INT8), x)
    return named_like(c.b.cast(_dequantize(c, ones, scale, None), dtype), x)


def _is_one(scale: ir.Value) -> bool:
    dims = static_dims(scale)
    return dims is not None and len(dims) <= 1 and all(d == 1 for d in dims)


def _sum_by_scale(c: Vjp, terms: V, x: V, scale: V) -> V:
    """The sums of `terms` over the elements that share a scale."""
    b = c.b
    if _is_one(scale) or rank_of(c, scale) == 0:
        return reshape_like(b, b.ReduceSum(terms, keepdims=0), scale)
    rank = rank_of(c, x)
    axis = 0 if rank == 1 else c.attr("axis", 1) % rank
    block = c.attr("block_size", 0)
    if not block:
        others = [i for i in range(rank) if i != axis]
        return named_like(b.ReduceSum(terms, others, keepdims=0) if others else terms, scale)
    # Whole blocks: zeros to the end, then a dimension for the place in the block.
    count = b.dim(scale, axis)
    missing = b.Sub(b.Mul(count, block), b.dim(x, axis))
    padded = b.Pad(terms, b.Concat(b.ints([0]), missing, axis=0), None, b.ints([axis]))
    parts = [b.dim(x, i) for i in range(rank)]
    parts[axis : axis + 1] = [count, b.ints([block])]
    split = b.Reshape(padded, b.Concat(*parts, axis=0))
    return named_like(b.ReduceSum(split, [axis + 1], keepdims=0), scale)

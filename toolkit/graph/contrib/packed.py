"""Weights in blocks of 2, 4 or 8 bits, several in a byte, with a scale a block."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from toolkit.graph.build import constant_of
from toolkit.graph.contrib.registry import Call, contrib

V = Any  # An ir.Value under `arithmetic`.
UINT8 = ir.DataType.UINT8
# The types whose elements are that many bits; DequantizeLinear in blocks takes them.
_CODES = {2: ir.DataType.UINT2, 4: ir.DataType.UINT4, 8: UINT8}


@contrib("MatMulNBits")
def matmul_nbits(
    c: Call, a: V, packed: V, scales: V, zeros: V = None, order: V = None, bias: V = None
) -> V:
    """a w' + bias, w (N, K) by DequantizeLinear in blocks of K, or of the columns `order` names."""
    b, bits, block = c.b, c.attr("bits", 4), c.attr("block_size", 32)
    rows, width = c.attr("N", 0), c.attr("K", 0)
    if bits not in _CODES or c.attr("weight_prepacked", 0):
        raise c.fail("2, 4 or 8 bits as the file format has them is required", "packed otherwise")
    blocks = -(-width // block)
    w = _columns(c, packed, bits, [rows, blocks * block])
    scales = b.Reshape(scales, [rows, blocks])
    if zeros is None:
        zeros = b.const(np.full((rows, blocks), 1 << (bits - 1), np.uint8), _CODES[bits])
    elif zeros.dtype == UINT8:
        zeros = _columns(c, zeros, bits, [rows, -(-blocks * bits // 8) * 8 // bits])
        if zeros.shape is None or zeros.shape[1] != blocks:
            zeros = b.Slice(zeros, [0], [blocks], [1])
    if order is not None:
        weights = _ordered(c, w, scales, b.Reshape(zeros, [rows, blocks]), order)
    elif zeros.dtype == _CODES[bits]:
        weights = b.DequantizeLinear(w, scales, zeros, axis=1, block_size=block)
    else:  # Zero points that are numbers.
        exact = b.cast(b.cast(w, UINT8), a.dtype)
        parts = b.Reshape(exact, [rows, blocks, block])
        parts = parts - b.Unsqueeze(b.Reshape(zeros, [rows, blocks]), [2])
        weights = b.Reshape(parts * b.Unsqueeze(scales, [2]), [rows, blocks * block])
    if blocks * block != width:
        weights = b.Slice(weights, [0], [width], [1])
    y = b.MatMul(a, b.Transpose(weights, perm=[1, 0]))
    return y if bias is None else y + bias


def _ordered(c: Call, w: V, scales: V, zeros: V, order: V) -> V:
    """(w - zero) scale by the block that each column is of, whichever these are."""
    b, kind = c.b, scales.dtype
    lack = b.dim(w, 1) - b.dim(order, 0)  # Perhaps it leaves out what fills the last block.
    order = b.Pad(b.cast(order, ir.DataType.INT64), b.Concat([0], lack, axis=0))
    shift = zeros if zeros.dtype == kind else b.cast(b.cast(zeros, UINT8), kind)
    shift, factor = (b.Gather(v, order, axis=1) for v in (shift, scales))
    return (b.cast(b.cast(w, UINT8), kind) - shift) * factor


def _columns(c: Call, packed: V, bits: int, shape: list[int]) -> V:
    """Bytes as a matrix of codes, those of low bits first; a constant is unpacked now."""
    array = constant_of(packed)
    if array is not None:
        return c.b.const(_unpacked(np.asarray(array), bits).reshape(shape), _CODES[bits])
    return c.b.cast(c.b.Reshape(unpack(c, packed, bits), shape), _CODES[bits])


def _unpacked(array: np.ndarray[Any, Any], bits: int) -> np.ndarray[Any, Any]:
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    return (array.reshape(-1, 1) >> shifts) & np.uint8((1 << bits) - 1)


def unpack(c: Call, packed: V, bits: int) -> V:
    """Bytes as codes along one more axis."""
    b = c.b
    if bits == 8:
        return packed
    shifts = b.const(np.arange(0, 8, bits, dtype=np.uint8))
    shifted = b.BitShift(b.Unsqueeze(packed, [-1]), shifts, direction="RIGHT")
    return b.BitwiseAnd(shifted, b.const((1 << bits) - 1, UINT8))


@contrib("GatherBlockQuantized")
def gather_block_quantized(c: Call, data: V, indices: V, scales: V, zeros: V = None) -> V:
    """DequantizeLinear in blocks of what Gather takes of data, scales and zero points."""
    b, bits, block = c.b, c.attr("bits", 4), c.attr("block_size", 128)
    rank = c.rank(data)
    gather, axis = c.attr("gather_axis", 0) % rank, c.attr("quantize_axis", 1) % rank
    if gather == axis or block == 0:
        raise c.fail("blocks along another axis than the gathered one are required", "the same")
    taken = [
        None if v is None else b.Gather(v, indices, axis=gather) for v in (data, scales, zeros)
    ]
    x, scale, zero = taken
    assert scale is not None
    axis += c.rank(indices) - 1 if axis > gather else 0
    if data.dtype == UINT8:
        x = _last(c, x, bits)
        if zero is not None:
            zero = _cut(c, _last(c, zero, bits), scale)
        else:
            zero = b.Expand(b.const(1 << (bits - 1), UINT8), b.shape(scale))
    return b.DequantizeLinear(x, scale, zero, axis=axis, block_size=block)


def _last(c: Call, x: V, bits: int) -> V:
    """Unpacked along the last axis."""
    if bits == 8:
        return x
    lead = c.b.Shape(x, end=-1)
    return c.b.Reshape(unpack(c, x, bits), c.b.Concat(lead, [-1], axis=0))


def _cut(c: Call, zero: V, scale: V) -> V:
    """Without the codes that fill the last byte."""
    return c.b.Slice(zero, [0], c.b.Shape(scale, start=-1), [-1])

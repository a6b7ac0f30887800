"""Bodies of the random operators: Philox4x32-10 (Salmon et al. 2011) in integer operators.

Any runtime draws the same words, hence the same uniforms and masks to the bit; normal numbers agree
up to the runtimes' log, sin and cos.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from toolkit.graph.build import Builder
from toolkit.graph.functions.registry import Attributes, composite

V = Any  # An ir.Value under `arithmetic`.

ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)


def _low(b: Builder, x: V) -> V:
    return b.BitwiseAnd(x, _LOW)


def _shift(b: Builder, x: V, bits: int, direction: str = "RIGHT") -> V:
    return b.BitShift(x, np.uint64(bits), direction=direction)


def _words(b: Builder, state: V, call: int, blocks: V) -> V:
    """The 32-bit words of the first `blocks` blocks, in uint64 (4 * blocks).

    The state is read by Split, which is never folded: an initializer may be a state that changes.

    With counters (c0, c1, c2, c3) a round is c0, c2 = hi(c2 m1) ^ c1 ^ k0, hi(c0 m0) ^ c3 ^ k1 and
    c1, c3 = lo(c2 m1), lo(c0 m0). Both halves are computed at once on even = (c0, c2) and
    odd = (c1, c3) of shape (1, 2, blocks).
    """
    seed, offset = b.Split(state, _outputs=2, num_outputs=2, axis=0)
    block = b.cast(b.Range(b.const(0), blocks, b.const(1)), ir.DataType.UINT64)
    # uint64 has no Add everywhere; in int64 it wraps alike.
    offset = b.cast(b.cast(offset, ir.DataType.INT64) + call, ir.DataType.UINT64)
    zero = b.Mul(block, np.uint64(0))
    even = _pair(b, _low(b, block), b.BitwiseXor(_low(b, offset), zero))
    odd = _pair(b, _shift(b, block, 32), b.BitwiseXor(_shift(b, offset, 32), zero))
    multipliers = b.const(np.array(MULTIPLIERS, np.uint64).reshape(1, 2, 1))
    for key in _keys(b, seed):
        product = b.Gather(b.Mul(even, multipliers), [1, 0], axis=1)
        even = b.BitwiseXor(b.BitwiseXor(_shift(b, product, 32), odd), key)
        odd = _low(b, product)
    return b.Reshape(b.Transpose(b.Concat(even, odd, axis=0), perm=[2, 1, 0]), [-1])


def _pair(b: Builder, x: V, y: V) -> V:
    """Two vectors as (1, 2, n)."""
    return b.Concat(b.Unsqueeze(x, [0, 1]), b.Unsqueeze(y, [0, 1]), axis=1)


def _keys(b: Builder, seed: V) -> tuple[V, ...]:
    """The round keys, each (1, 2, 1): the halves of the seed, moved on by Weyl sequences."""
    steps = np.arange(ROUNDS, dtype=np.int64)[:, None] * np.array(WEYL, np.int64)
    halves = b.cast(b.Concat(_low(b, seed), _shift(b, seed, 32), axis=0), ir.DataType.INT64)
    keys = b.cast(b.Reshape(halves, [1, 2, 1]) + steps[:, :, None], ir.DataType.UINT64)
    found: tuple[V, ...] = b.Split(_low(b, keys), _outputs=ROUNDS, num_outputs=ROUNDS, axis=0)
    return found


def blocks_of(b: Builder, size: V, dtype: ir.DataType) -> V:
    """The number of blocks that hold `size` uniforms: four float32 or two float64 each."""
    return (size + 3) / 4 if dtype == ir.DataType.FLOAT else (size + 1) / 2


def _uniforms(b: Builder, state: V, call: int, size: V, dtype: ir.DataType) -> V:
    """At least `size` uniforms in [0, 1), whole blocks of them."""
    words = _words(b, state, call, blocks_of(b, size, dtype))
    if dtype == ir.DataType.FLOAT:
        return b.cast(_shift(b, words, 8), dtype) * 2.0**-24
    first, second = b.Split(b.Reshape(words, [-1, 2]), _outputs=2, num_outputs=2, axis=1)
    both = b.BitwiseOr(_shift(b, first, 32, "LEFT"), second)
    return b.Reshape(b.cast(_shift(b, both, 11), dtype) * 2.0**-53, [-1])


def shaped(b: Builder, x: V, size: V, shape: V) -> V:
    """The first `size` elements of a vector in a shape."""
    return b.Reshape(b.Slice(x, [0], b.Reshape(size, [1])), shape, allowzero=1)


def normals(b: Builder, u: V) -> V:
    """Box and Muller (1958): r cos(2 pi u2) and r sin(2 pi u2), r = sqrt(-2 ln(1 - u1))."""
    u1, u2 = b.Split(b.Reshape(u, [-1, 2]), _outputs=2, num_outputs=2, axis=1)
    r = b.Sqrt(b.Log(1.0 - u1) * -2.0)
    angle = u2 * (2 * np.pi)
    return b.Reshape(b.Concat(r * b.Cos(angle), r * b.Sin(angle), axis=1), [-1])


def dropped(b: Builder, a: Attributes, x: V, u: V) -> tuple[V, V]:
    """mask = u >= ratio, y = x mask / (1 - ratio)."""
    ratio = np.float32(a.get("ratio", 0.5))
    mask = b.GreaterOrEqual(u, ratio)
    one = x.dtype.numpy().type(1)
    scale = one / (one - one * ratio) if ratio < 1 else 0 * one
    return x * b.Where(mask, b.const(scale, x.dtype), b.const(0, x.dtype)), mask


@composite("toolkit.random", "Uniform", "shape state", "y")
def uniform(b: Builder, a: Attributes, shape: V, state: V) -> V:
    """u = (word >> 8) 2^-24, or 53 bits of two words in float64."""
    dtype = ir.DataType(a.get("dtype", 1))
    size = b.ReduceProd(shape, keepdims=0)
    return shaped(b, _uniforms(b, state, a.get("call", 0), size, dtype), size, shape)


@composite("toolkit.random", "Normal", "shape state", "y")
def normal(b: Builder, a: Attributes, shape: V, state: V) -> V:
    """Pairs of uniforms by Box and Muller."""
    dtype = ir.DataType(a.get("dtype", 1))
    size = b.ReduceProd(shape, keepdims=0)
    u = _uniforms(b, state, a.get("call", 0), size, dtype)
    return shaped(b, normals(b, u), size, shape)


@composite("toolkit.random", "Dropout", "x state", "y mask")
def dropout(b: Builder, a: Attributes, x: V, state: V) -> tuple[V, V]:
    """mask = u >= ratio, y = x mask / (1 - ratio)."""
    size = b.Size(x)
    u = _uniforms(b, state, a.get("call", 0), size, ir.DataType.FLOAT)
    return dropped(b, a, x, shaped(b, u, size, b.Shape(x)))

"""Rewrites of random draws: Philox4x32-10 without 64-bit integers and without bitwise operators.

A 32-bit word is eight digits of 4 bits. A product with a constant is a MatMul of digits, whose sums
stay below 2^24 and so are exact in float32; exclusive or is a table. The words, hence masks and
uniforms, are those of `toolkit.graph.functions.random` to the bit.

Digits of two words lie as (blocks, 4, 4): the low half of word 0, that of word 1, the high half of
word 0, that of word 1; four digits each, the lowest first.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import onnx_ir as ir

from toolkit.graph.functions.random import (
    MULTIPLIERS,
    ROUNDS,
    WEYL,
    blocks_of,
    dropped,
    normals,
    shaped,
)
from toolkit.graph.targets.registry import Call, rewrite

V = Any  # An ir.Value under `arithmetic`.

INT32, INT64, UINT64, FLOAT = (
    ir.DataType.INT32,
    ir.DataType.INT64,
    ir.DataType.UINT64,
    ir.DataType.FLOAT,
)
_HALF = 2**16
_DIGITS = np.array([1, 16, 256, 4096], np.int32)


@functools.cache
def _products() -> np.ndarray[Any, Any]:
    """(16 digits of two words, 8): quarters of 16 bits of word 1 m1 and of word 0 m0, in turn.

    The words come swapped, as a round wants them.
    """
    matrix = np.zeros((16, 8), np.float32)
    for digit in range(16):
        place, shift = divmod(digit, 4)
        half, word = divmod(place, 2)
        product = MULTIPLIERS[word] << (16 * half + 4 * shift)
        for quarter in range(4):
            matrix[digit, 2 * quarter + 1 - word] = product >> 16 * quarter & 0xFFFF
    return matrix


@functools.cache
def _exclusive_or() -> np.ndarray[Any, Any]:
    """A ^ b ^ c at 256 a + 16 b + c."""
    i = np.arange(4096)
    return ((i >> 8) ^ (i >> 4 & 15) ^ (i & 15)).astype(np.float32)


@functools.cache
def _weights() -> np.ndarray[Any, Any]:
    """(32 digits of even and odd words, 4): (word >> 8) 2^-24 of even 0, odd 0, even 1, odd 1."""
    matrix = np.zeros((32, 4), np.float32)
    for digit in range(32):
        odd, rest = divmod(digit, 16)
        half, word = divmod(rest // 4, 2)
        bits = 16 * half + 4 * (rest % 4)
        if bits >= 8:
            matrix[digit, 2 * word + odd] = 2.0 ** (bits - 8 - 24)
    return matrix


def _halves(c: Call, word: V) -> V:
    """The four halves of 16 bits of a uint64 (1,), the lowest first, on the CPU as int64."""
    b = c.b
    powers = np.array([1, 2**16, 2**32, 2**48], np.uint64)
    return b.cast(b.Mod(b.Div(word, powers), np.uint64(_HALF)), INT64)


def _digits(c: Call, halves: V) -> V:
    """Halves (…) as digits (…, 4)."""
    b = c.b
    shifted = b.Unsqueeze(halves, [-1]) / _DIGITS
    return shifted - shifted / np.int32(16) * np.int32(16)


def _keys(c: Call, seed: V) -> tuple[V, ...]:
    """Digits of the round keys, each (1, 4, 4)."""
    b = c.b
    low = b.Mul(_halves(c, seed), [1, _HALF, 1, _HALF])
    words = b.ReduceSum(b.Reshape(low, [2, 2]), [1], keepdims=0)
    steps = np.arange(ROUNDS, dtype=np.int64)[:, None] * np.array(WEYL * 2, np.int64)
    moved = b.Mod(b.Gather(words, [0, 1, 0, 1]) + steps, 2**32)
    halves = b.Mod(b.Div(moved, [1, 1, _HALF, _HALF]), _HALF)
    digits = _digits(c, b.cast(halves, INT32))
    found: tuple[V, ...] = b.Split(digits, _outputs=ROUNDS, num_outputs=ROUNDS, axis=0)
    return found


def _counters(c: Call, offset: V, blocks: V) -> tuple[V, V]:
    """Digits of (block, low word of the offset) and of (0, its high word)."""
    b = c.b
    count = b.cast(blocks, INT32)
    block = b.Range(b.const(0, INT32), count, b.const(1, INT32))
    zero = block * np.int32(0)
    low0, low1, high0, high1 = b.Split(
        b.cast(_halves(c, offset), INT32), _outputs=4, num_outputs=4, axis=0
    )
    upper = block / np.int32(_HALF)
    lower = block - upper * np.int32(_HALF)
    columns = [b.Unsqueeze(v, [1]) for v in (lower, zero + low0, upper, zero + low1)]
    nothing = b.const([0], INT32)
    odd = b.Unsqueeze(b.Concat(nothing, high0, nothing, high1, axis=0), [0])
    return _digits(c, b.Concat(*columns, axis=1)), _digits(c, odd)


def _words(c: Call, state: V, call: int, blocks: V) -> tuple[V, V]:
    """Digits of the even and of the odd words after all rounds."""
    b = c.b
    seed, offset = b.Split(state, _outputs=2, num_outputs=2, axis=0)
    offset = b.cast(b.cast(offset, INT64) + call, UINT64)
    even, odd = _counters(c, offset, blocks)
    even = b.cast(even, FLOAT)
    for key in _keys(c, seed):
        sums = b.cast(b.MatMul(b.Reshape(even, [-1, 16]), _products()), INT32)
        quarters = list(b.Split(sums, _outputs=4, num_outputs=4, axis=1))
        for i in range(1, 4):
            quarters[i] = quarters[i] + quarters[i - 1] / np.int32(_HALF)
        digits = _digits(c, b.Concat(*quarters, axis=1))
        low, high = b.Split(digits, _outputs=2, num_outputs=2, axis=1)
        place = high * np.int32(256) + (odd * np.int32(16) + key)
        even, odd = b.Gather(_exclusive_or(), place), low
    return even, b.cast(odd, FLOAT)


def _uniforms(c: Call, state: V, size: V) -> V:
    """At least `size` uniforms in [0, 1), whole blocks of them."""
    b = c.b
    both = b.Concat(*_words(c, state, c.attr("call", 0), blocks_of(b, size, FLOAT)), axis=1)
    return b.Reshape(b.MatMul(b.Reshape(both, [-1, 32]), _weights()), [-1])


@rewrite("ortweb", "toolkit.random.Uniform", "toolkit.random.Normal")
def drawn(c: Call, shape: V, state: V) -> V:
    """Uniform numbers, or pairs of them by Box and Muller, in float32."""
    if c.attr("dtype", 1) != FLOAT:
        raise c.refuse("random numbers in float32 are required")
    size = c.b.ReduceProd(shape, keepdims=0)
    u = _uniforms(c, state, size)
    if c.node.op_type.startswith("Normal"):
        u = normals(c.b, u)
    return shaped(c.b, u, size, shape)


@rewrite("ortweb", "toolkit.random.Dropout")
def mask_drawn(c: Call, x: V, state: V) -> tuple[V, V]:
    """Mask = u >= ratio, y = x mask / (1 - ratio)."""
    size = c.b.Size(x)
    u = shaped(c.b, _uniforms(c, state, size), size, c.b.Shape(x))
    return dropped(c.b, c.attributes, x, u)

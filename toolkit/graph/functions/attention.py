"""Bodies of the gradients of attention operators.

Letters: B batch, H heads, L query rows, S keys (past ones first), D head size.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from toolkit.graph.build import Builder
from toolkit.graph.functions.registry import Attributes, composite

V = Any  # An ir.Value under `arithmetic`.


def split_heads(b: Builder, x: V, heads: int | None) -> V:
    """(B, L, H D) as (B, H, L, D); what has 4 dimensions as it is."""
    if len(x.shape) == 4:
        return x
    return b.Transpose(b.Reshape(x, [0, 0, heads, -1]), perm=[0, 2, 1, 3])


def join_heads(b: Builder, x: V, rank: int) -> V:
    """(B, H, L, D) in an operand's rank: as it is, or (B, L, H D)."""
    if rank == 4:
        return x
    return b.Reshape(b.Transpose(x, perm=[0, 2, 1, 3]), [0, 0, -1])


def _swapped(b: Builder, x: V) -> V:
    return b.Transpose(x, perm=[0, 1, 3, 2])


class Heads(NamedTuple):
    """Keys or values for each query head, and back."""

    batch: V
    kv_heads: V
    q_heads: V

    def repeat(self, b: Builder, x: V) -> V:
        """(B, Hkv, S, D) to (B, Hq, S, D)."""
        rest = b.Shape(x, start=2)
        group = b.Div(self.q_heads, self.kv_heads)
        wide = b.Concat(self.batch, self.kv_heads, group, rest, axis=0)
        spread = b.Expand(b.Unsqueeze(x, [2]), wide)
        return b.Reshape(spread, b.Concat(self.batch, self.q_heads, rest, axis=0))

    def add_up(self, b: Builder, x: V) -> V:
        """The transpose of `repeat`."""
        rest = b.Shape(x, start=2)
        group = b.Div(self.q_heads, self.kv_heads)
        shape = b.Concat(self.batch, self.kv_heads, group, rest, axis=0)
        return b.ReduceSum(b.Reshape(x, shape), [2], keepdims=0)


def _position_bias(b: Builder, a: Attributes, rows: V, keys: V, past: V, nonpad: V, like: V) -> V:
    """0 where a row may attend a key by causality, window and length, else -inf; None: always."""
    left, right = a.get("left_window_size", -1), a.get("right_window_size", -1)
    causal = a.get("is_causal", 0)

    def steps(n: V) -> V:
        return b.Range(b.const(0), b.Squeeze(n, [0]), b.const(1))

    key = b.Unsqueeze(steps(keys), [0])
    allowed = []
    if causal or left >= 0 or right >= 0:
        position = b.Unsqueeze(steps(rows), [1])
        if nonpad is not None:
            position = position + b.Reshape(nonpad - rows, [-1, 1, 1, 1])
        elif past is not None:
            position = position + past
        if causal:
            allowed.append(b.LessOrEqual(key, position))
        if left >= 0:
            allowed.append(b.GreaterOrEqual(key, position - left))
        if right >= 0:
            allowed.append(b.LessOrEqual(key, position + right))
    if nonpad is not None:
        allowed.append(b.Less(key, b.Reshape(nonpad, [-1, 1, 1, 1])))
    if not allowed:
        return None
    condition = allowed[0]
    for other in allowed[1:]:
        condition = b.And(condition, other)
    zero, low = b.const(0.0, like.dtype), b.const(-math.inf, like.dtype)
    return b.Where(condition, zero, low)


def _mask_bias(b: Builder, mask: V, keys: V, like: V) -> V:
    """attn_mask as numbers to add, -inf for the keys it does not reach."""
    zero, low = b.const(0.0, like.dtype), b.const(-math.inf, like.dtype)
    bias = b.Where(mask, zero, low) if mask.dtype.name == "BOOL" else b.cast(mask, like.dtype)
    short = b.Concat([0], keys - b.dim(mask, -1), axis=0)
    return b.Pad(bias, short, low, [-1])


def _probabilities(b: Builder, scores: V, bias: V) -> V:
    """softmax(scores + bias); zeros in rows that are masked altogether."""
    if bias is None:
        return b.Softmax(scores, axis=-1)
    masked = b.Equal(b.ReduceMax(bias, [-1]), -math.inf)
    p = b.Softmax(scores + b.Where(masked, 0.0, bias), axis=-1)
    return b.Where(masked, 0.0, p)


@composite(
    "toolkit.grad",
    "AttentionGrad",
    "q k v attn_mask past_key past_value nonpad_kv_seqlen y dy",
    "dq dk dv dpast_key dpast_value dbias",
)
def attention_grad(
    b: Builder, a: Attributes, q: V, k: V, v: V, attn_mask: V, past_key: V, past_value: V,
    nonpad: V, y: V, dy: V,
) -> tuple[V, ...]:  # fmt: skip
    """With P = softmax(S), dP = dy V^T: dS = P (dP - sum(dy y)), dV = P^T dy, dQ = scale dS K,

    dK = scale dS^T Q; dbias = dS for all scores (B, Hq, L, S), the sixth output, with mask_grad=1.
    """
    rank, kv_heads = len(q.shape), a.get("kv_num_heads")
    query = split_heads(b, q, a.get("q_num_heads"))
    new_keys, new_values = split_heads(b, k, kv_heads), split_heads(b, v, kv_heads)
    keys, values, past = new_keys, new_values, None
    if past_key is not None:
        keys = b.Concat(past_key, keys, axis=2)
        values = b.Concat(past_value, values, axis=2)
        past = b.dim(past_key, 2)
    heads = Heads(b.dim(query, 0), b.dim(keys, 1), b.dim(query, 1))
    count = b.dim(keys, 2)
    y, dy = (split_heads(b, x, a.get("q_num_heads")) for x in (y, dy))

    scale = a.get("scale")
    if scale is None:
        scale = b.Reciprocal(b.Sqrt(b.cast(b.dim(query, 3), query.dtype)))
    scaled, each_key = query * scale, heads.repeat(b, keys)
    scores = b.MatMul(scaled, _swapped(b, each_key))
    cap = a.get("softcap", 0.0)
    capped = b.Tanh(scores / cap) if cap else None
    bias = _position_bias(b, a, b.dim(query, 2), count, past, nonpad, query)
    if attn_mask is not None:
        added = _mask_bias(b, attn_mask, count, query)
        bias = added if bias is None else added + bias
    p = _probabilities(b, scores if capped is None else capped * cap, bias)

    dp = b.MatMul(dy, _swapped(b, heads.repeat(b, values)))
    dbias = p * (dp - b.ReduceSum(dy * y, [-1]))
    ds = dbias if capped is None else dbias * (1.0 - capped * capped)
    dq = b.MatMul(ds, each_key) * scale
    dk = heads.add_up(b, b.MatMul(_swapped(b, ds), scaled))
    dv = heads.add_up(b, b.MatMul(_swapped(b, p), dy))
    start = b.ints([0]) if past is None else past
    fresh = [
        join_heads(b, d if past is None else b.Slice(d, start, count, [2]), rank) for d in (dk, dv)
    ]
    old = [b.Slice(d, [0], start, [2]) for d in (dk, dv)]
    results = join_heads(b, dq, rank), *fresh, *old, dbias
    return results[: 6 if a.get("mask_grad", 0) else 3 if past is None else 5]

"""Attention in onnxruntime's forms, as ONNX's operator with a bias that holds all masks.

Letters: N batch, S new tokens, P past tokens, T all tokens, H head size.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from toolkit.graph.contrib.fused import lowest
from toolkit.graph.contrib.registry import Call, contrib
from toolkit.graph.contrib.transformer import rotate

V = Any  # An ir.Value under `arithmetic`.
INT64 = ir.DataType.INT64


@contrib("Attention")
def attention(
    c: Call, x: V, weights: V, bias: V = None, mask: V = None, past: V = None, added: V = None,
    past_length: V = None,
) -> tuple[V, ...]:  # fmt: skip
    """MatMul(x, weights) + bias is Q, K and V beside each other."""
    b = c.b
    y = b.MatMul(x, weights)
    return attention_of(c, y if bias is None else y + bias, mask, past, added, past_length)


def attention_of(
    c: Call, qkv: V, mask: V, past: V = None, added: V = None, past_length: V = None
) -> tuple[V, ...]:
    """Attention of Q, K and V beside each other; the past and present are K and V stacked."""
    b = c.b
    if past_length is not None or c.attr("past_present_share_buffer", 0) or c.attr("do_rotary", 0):
        raise c.fail("a past of its own, not rotated, is required", "a shared buffer or do_rotary")
    sizes = list(c.attr("qkv_hidden_sizes", ()))
    if sizes:
        q, k, v = b.Split(qkv, sizes, axis=-1, _outputs=3)
    else:
        q, k, v = b.Split(qkv, axis=-1, num_outputs=3, _outputs=3)
    before = (None, None)
    if past is not None:
        before = tuple(b.Gather(past, b.const(i)) for i in (0, 1))
    y, key, value = _attend(c, q, k, v, mask, added, before)
    if not c.wants(1):
        return (y,)
    if key is None:  # Without a past, K and V of this call.
        key, value = (_heads(c, part, c.attr("num_heads", 1)) for part in (k, v))
    return y, b.Concat(b.Unsqueeze(key, [0]), b.Unsqueeze(value, [0]), axis=0)


@contrib("MultiHeadAttention")
def multi_head_attention(
    c: Call, q: V, k: V = None, v: V = None, bias: V = None, mask: V = None, added: V = None,
    past_key: V = None, past_value: V = None, past_length: V = None, indirection: V = None,
) -> tuple[V, ...]:  # fmt: skip
    """Attention of Q, K and V, with a bias of each beside the others'."""
    b = c.b
    if past_length is not None or indirection is not None or c.wants(3):
        raise c.fail("a past of its own is required", "a shared buffer, indirection or qk")
    if k is None:  # (N, S, heads, 3, H)
        q, k, v = (_packed(c, q, i) for i in range(3))
    elif v is None:  # (N, S, heads, 2, H)
        k, v = (_packed(c, k, i) for i in range(2))
    whole = c.rank(k) == 4  # All keys, as a present: (N, heads, S, H).
    if whole:
        k, v = (_flat(c, x) for x in (k, v))
    if bias is not None:
        sizes = b.Concat(b.dim(q, -1), b.dim(k, -1), b.dim(v, -1), axis=0)
        if whole:  # Theirs was added before.
            q = q + b.Slice(bias, [0], b.dim(q, -1), [0])
        else:
            parts = b.Split(bias, sizes, axis=0, _outputs=3)
            q, k, v = (x + p for x, p in zip((q, k, v), parts, strict=True))
    y, key, value = _attend(c, q, k, v, mask, added, (past_key, past_value))
    if key is None and c.wants(1):
        key, value = (_heads(c, x, c.attr("num_heads", 1)) for x in (k, v))
    return y, key, value


def _attend(
    c: Call, q: V, k: V, v: V, mask: V, added: V, past: tuple[V, V]
) -> tuple[V, V | None, V | None]:
    """ONNX's Attention with the masks of the node; (y, present key, present value)."""
    b, heads = c.b, c.attr("num_heads", 1)
    how = {"q_num_heads": heads, "kv_num_heads": heads, "scale": c.attr("scale", 0.0) or None}
    causal = c.attr("unidirectional", 0)
    new, rows = b.dim(k, 1), b.dim(q, 1)
    total = new if past[0] is None else new + b.dim(past[0], 2)
    bias = added
    if mask is not None:
        padded = _padding(c, mask, b.dim(q, 0), rows, total, q.dtype)
        bias = padded if bias is None else bias + padded
    if causal and past[0] is None and bias is None:
        return b.Attention(q, k, v, is_causal=1, **how), None, None
    if causal:
        later = _causal(c, rows, total, total - rows, q.dtype)
        bias = later if bias is None else bias + later
    if past[0] is None:
        return b.Attention(q, k, v, bias, **how), None, None
    y, key, value = b.Attention(q, k, v, bias, *past, _outputs=3, **how)
    return y, key, value


def _padding(c: Call, mask: V, batch: V, rows: V, total: V, kind: ir.DataType) -> V:
    """What to add to the scores for a mask in one of its forms."""
    b, rank = c.b, c.rank(mask)
    if rank == 1:  # The ends of the rows, and perhaps their starts behind them.
        parts = b.Reshape(b.cast(mask, INT64), b.Concat([-1], batch, axis=0))
        parts = b.Concat(parts, b.full(b.Concat([1], batch, axis=0), 0, INT64), axis=0)
        ends, starts = (b.Unsqueeze(b.Gather(parts, b.const(i)), [1]) for i in (0, 1))
        places = b.Unsqueeze(_range(c, total), [0])
        keep = b.And(b.Less(places, ends), b.GreaterOrEqual(places, starts))
        mask = b.cast(keep, ir.DataType.INT32)
        rank = 2
    if rank == 4:  # (N, 1, most, most): the rows behind the past.
        mask = b.Slice(
            mask, b.Concat(total - rows, [0], axis=0), b.Concat(total, total, axis=0), [2, 3]
        )
    else:
        mask = b.Unsqueeze(mask, [1, 2] if rank == 2 else [1])
    return (1.0 - b.cast(mask, kind)) * c.attr("mask_filter_value", -10000.0)


def _causal(c: Call, rows: V, total: V, first: V, kind: ir.DataType) -> V:
    """The least number where key j is behind query i, which is the token `first` + i."""
    b = c.b
    i = b.Unsqueeze(_range(c, rows) + first, [1])
    j = b.Unsqueeze(_range(c, total), [0])
    zero, least = (b.const(v, kind) for v in (0.0, lowest(kind)))
    return b.Where(b.LessOrEqual(j, i), zero, least)


def _range(c: Call, length: V) -> V:
    return c.b.Range(c.b.const(0), c.b.Squeeze(length, [0]), c.b.const(1))


def _packed(c: Call, x: V, index: int) -> V:
    """One of (N, S, heads, parts, H) as (N, S, heads H)."""
    return c.b.Reshape(c.b.Gather(x, c.b.const(index), axis=3), [0, 0, -1])


def _heads(c: Call, x: V, heads: int) -> V:
    """(N, S, heads H) as (N, heads, S, H)."""
    return c.b.Transpose(c.b.Reshape(x, [0, 0, heads, -1]), perm=[0, 2, 1, 3])


def _flat(c: Call, x: V) -> V:
    """(N, heads, S, H) as (N, S, heads H)."""
    return c.b.Reshape(c.b.Transpose(x, perm=[0, 2, 1, 3]), [0, 0, -1])


@contrib("GroupQueryAttention")
def group_query_attention(
    c: Call, q: V, k: V, v: V, past_key: V, past_value: V, seqlens_k: V, total_length: V,
    cos: V = None, sin: V = None, position_ids: V = None, added: V = None, sink: V = None,
    *more: V,
) -> tuple[V, ...]:  # fmt: skip
    """Attention of grouped heads over a cache, in which each row has seqlens_k + 1 tokens.

    The new tokens of row n are those from T_n - S on, T_n = seqlens_k + 1: they are rotated by
    these positions, written there into the cache, and see what is before them.
    """
    b, heads, groups = c.b, c.attr("num_heads", 1), c.attr("kv_num_heads", 1)
    k_norm = more[3] if len(more) > 3 else None
    q_norm = more[2] if len(more) > 2 else None
    _refuse_of_groups(c, more)
    if k is None:  # Q, K and V beside each other.
        parts = b.Reshape(q, [0, 0, heads + 2 * groups, -1])
        q, k, v = b.Split(parts, [heads, groups, groups], axis=2, _outputs=3)
        q, k, v = (b.Transpose(x, perm=[0, 2, 1, 3]) for x in (q, k, v))
    else:
        q, k, v = _heads(c, q, heads), _heads(c, k, groups), _heads(c, v, groups)
    if q_norm is not None:
        epsilon = c.attr("qk_norm_epsilon", 1e-6)
        q = b.RMSNormalization(q, q_norm, epsilon=c.attr("q_norm_epsilon", epsilon))
        k = b.RMSNormalization(k, k_norm, epsilon=c.attr("k_norm_epsilon", epsilon))
    rows = b.dim(q, 2)
    lengths = b.Reshape(b.cast(seqlens_k, INT64), [-1]) + 1
    first = b.Max(lengths - rows, b.const([0]))  # (N,)
    places = b.Unsqueeze(first, [1]) + b.Unsqueeze(_range(c, rows), [0])  # (N, S)
    if c.attr("do_rotary", 0):
        ids = places if position_ids is None else position_ids
        turn = c.attr("rotary_interleaved", 0)
        q, k = (rotate(c, x, cos, sin, ids, turn, 0, _partial(c, q, cos)) for x in (q, k))
    if past_key is not None:
        total = b.Reshape(b.cast(total_length, INT64), [-1])
        k = _written(c, past_key, k, first, total)
        v = _written(c, past_value, v, first, total)
    bias = _groups_bias(c, places, lengths, b.dim(k, 2), q.dtype)
    if added is not None:  # Of the tokens so far; the cache may be longer.
        lack = b.dim(k, 2) - b.dim(added, 3)
        pads = b.Concat([0] * 7, lack, axis=0)
        bias = bias + b.Pad(added, pads)
    if sink is not None or c.attr("smooth_softmax", -1) == 1:
        y = _with_sink(c, q, k, v, bias, sink)
    else:
        how = {"scale": c.attr("scale", 0.0) or None, "softcap": c.attr("softcap", 0.0) or None}
        y = b.Attention(q, k, v, bias, **how)
    return _flat(c, y), k, v


def _refuse_of_groups(c: Call, more: tuple[V, ...]) -> None:
    scales = [v for v in more[:2] if v is not None]
    if scales or len(more) > 4 or c.attr("sliding_window_cache", 0) or c.wants(3):
        raise c.fail(
            "a cache of floats, as long as the sequence, is required",
            "a quantized or windowed one, query_seqlens or output_qk",
        )


def _partial(c: Call, q: V, cos: V) -> int:
    """rotary_embedding_dim: twice the width of the cache where that is less than the head size."""
    width = cos.shape[-1] if cos.shape is not None else None
    size = q.shape[-1] if q.shape is not None else None
    if isinstance(width, int) and isinstance(size, int):
        return 2 * width if 2 * width < size else 0
    return 0


def _written(c: Call, past: V, new: V, first: V, total: V) -> V:
    """The cache, made as long as all tokens, with the new ones from `first` of each row on."""
    b = c.b
    lack = b.Max(total - b.dim(past, 2), b.const([0]))
    pads = b.Concat([0] * 6, lack, [0], axis=0)
    places = b.Unsqueeze(first, [1, 2, 3]) + b.Unsqueeze(_range(c, b.dim(new, 2)), [1])
    return b.ScatterElements(b.Pad(past, pads), b.Expand(places, b.shape(new)), new, axis=2)


def _groups_bias(c: Call, places: V, lengths: V, total: V, kind: ir.DataType) -> V:
    """(N, 1, S, T): the least number where a query does not see a key."""
    b, window = c.b, c.attr("local_window_size", -1)
    j = b.Reshape(_range(c, total), [1, 1, -1])
    i = b.Unsqueeze(places, [2])
    sees = b.Less(j, b.Unsqueeze(lengths, [1, 2]))
    if c.attr("causal", 1):
        sees = b.LessOrEqual(j, i)
    if window > 0:
        sees = b.And(sees, b.Greater(j, i - window))
    zero, least = (b.const(v, kind) for v in (0.0, lowest(kind)))
    return b.Unsqueeze(b.Where(sees, zero, least), [1])


def _with_sink(c: Call, q: V, k: V, v: V, bias: V, sink: V) -> V:
    """Softmax with one more score a head, the sink's or zero, whose value is zero."""
    b, heads, groups = c.b, c.attr("num_heads", 1), c.attr("kv_num_heads", 1)
    size = q.shape[-1] if q.shape is not None else None
    scale = c.attr("scale", 0.0)
    if not scale:
        if not isinstance(size, int):
            raise c.fail("a known head size is required", "a symbolic one")
        scale = 1.0 / float(np.sqrt(size))
    if groups != heads:  # Each head of K and V for as many of Q.
        order = np.repeat(np.arange(groups), heads // groups)
        k, v = (b.Gather(x, b.const(order), axis=1) for x in (k, v))
    scores = b.MatMul(q, b.Transpose(k, perm=[0, 1, 3, 2])) * scale
    cap = c.attr("softcap", 0.0)
    scores = scores if not cap else b.Tanh(scores * (1.0 / cap)) * cap
    zero = b.ReduceMax(scores, [3]) * 0.0
    last = zero if sink is None else zero + b.cast(b.Reshape(sink, [1, -1, 1, 1]), q.dtype)
    weights = b.Softmax(b.Concat(scores + bias, last, axis=3), axis=-1)
    return b.MatMul(b.Slice(weights, [0], [-1], [3]), v)

"""What onnxruntime's transformers tool writes around attention: norms of sums, embeddings, RoPE."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from toolkit.graph.contrib.registry import Call, contrib

V = Any  # An ir.Value under `arithmetic`.


@contrib("SkipLayerNormalization")
def skip_layer_normalization(
    c: Call, x: V, skip: V, gamma: V, beta: V = None, bias: V = None
) -> tuple[V, ...]:
    """LayerNormalization of x + skip + bias; its statistics and that sum besides."""
    b, total = c.b, _sum(x, skip, bias)
    how = {"axis": -1, "epsilon": c.attr("epsilon", 1e-12)}
    if not c.wants(1) and not c.wants(2):
        return b.LayerNormalization(total, gamma, beta, **how), None, None, total
    return *b.LayerNormalization(total, gamma, beta, _outputs=3, **how), total


@contrib("SkipSimplifiedLayerNormalization")
def skip_simplified_layer_normalization(
    c: Call, x: V, skip: V, gamma: V, bias: V = None
) -> tuple[V, ...]:
    """RMSNormalization of x + skip + bias; its factor and that sum besides."""
    b, total, epsilon = c.b, _sum(x, skip, bias), c.attr("epsilon", 1e-12)
    y = b.RMSNormalization(total, gamma, axis=-1, epsilon=epsilon)
    factor = None
    if c.wants(2):
        factor = b.Reciprocal(b.Sqrt(b.ReduceMean(total * total, [-1]) + epsilon))
    return y, None, factor, total


def _sum(x: V, skip: V, bias: V) -> V:
    return x + skip if bias is None else x + skip + bias


@contrib("EmbedLayerNormalization")
def embed_layer_normalization(
    c: Call, ids: V, segments: V, words: V, positions: V, segment_table: V, gamma: V, beta: V,
    mask: V = None, places: V = None,
) -> tuple[V, ...]:  # fmt: skip
    """LayerNormalization of the sum of embeddings; the number of unmasked words a row besides."""
    b = c.b
    if places is None:
        length = b.Squeeze(b.dim(ids, 1), [0])
        places = b.Unsqueeze(b.Range(b.const(0), length, b.const(1)), [0])
    total = b.Gather(words, ids) + b.Gather(positions, places)
    if segments is not None and segment_table is not None:
        total = total + b.Gather(segment_table, segments)
    y = b.LayerNormalization(total, gamma, beta, axis=-1, epsilon=c.attr("epsilon", 1e-12))
    if not c.wants(1):
        count = None
    elif mask is None:
        count = b.Expand(b.const(0, ir.DataType.INT32), b.dim(ids, 0))
    else:
        count = b.ReduceSum(b.cast(mask, ir.DataType.INT32), [1], keepdims=0)
    return y, count, total


@contrib("RotaryEmbedding")
def rotary_embedding(c: Call, x: V, position_ids: V, cos: V, sin: V) -> V:
    """ONNX's RotaryEmbedding; one position is the first of the sequence's."""
    if c.attr("is_packed_batching", 0) or c.attr("scale", 1.0) != 1.0:
        raise c.fail("one sequence a row, not scaled, is required", "is_packed_batching or scale")
    b = c.b
    length = b.dim(x, -2)
    if c.rank(position_ids) == 1:
        zero, one = b.const(0), b.const(1)
        steps = b.Range(zero, b.Squeeze(length, [0]), one) + b.cast(position_ids, ir.DataType.INT64)
        position_ids = b.Expand(b.Unsqueeze(steps, [0]), b.Concat(b.dim(x, 0), length, axis=0))
    return rotate(
        c, x, cos, sin, position_ids, c.attr("interleaved", 0), c.attr("num_heads", 0),
        c.attr("rotary_embedding_dim", 0),
    )  # fmt: skip


def rotate(
    c: Call, x: V, cos: V, sin: V, position_ids: V, interleaved: int, heads: int = 0, dim: int = 0
) -> V:
    """RotaryEmbedding of (N, L, D) or (N, heads, L, head size), by the positions of its tokens."""
    b = c.b
    ids = b.cast(position_ids, ir.DataType.INT64)
    how = {"interleaved": interleaved, "rotary_embedding_dim": dim}
    if c.rank(x) == 4:
        return b.RotaryEmbedding(x, cos, sin, ids, **how)
    if heads:
        return b.RotaryEmbedding(x, cos, sin, ids, num_heads=heads, **how)
    # As many heads as there are head sizes, which is twice the cache's.
    split = b.Concat([0, 0, -1], b.dim(cos, 1) * 2, axis=0)
    parts = b.Transpose(b.Reshape(x, split), perm=[0, 2, 1, 3])
    turned = b.Transpose(b.RotaryEmbedding(parts, cos, sin, ids, **how), perm=[0, 2, 1, 3])
    return b.Reshape(turned, b.shape(x))


@contrib("RelativePositionBias")
def relative_position_bias(c: Call, table: V, query_length: V, key_length: V) -> V:
    """T5's buckets of distances: exact to half of them, logarithmic to max_distance."""
    b, both = c.b, c.attr("is_bidirectional", 0)
    buckets: V = b.dim(table, 0)
    half = b.Squeeze(b.Div(buckets, 2) if both else buckets, [0])
    exact = b.Div(half, 2)
    far = c.attr("max_distance", 128)
    lengths = [
        b.Squeeze(b.cast(v, ir.DataType.INT64), _ones(c, v)) for v in (query_length, key_length)
    ]
    rows, columns = (b.Range(b.const(0), v, b.const(1)) for v in lengths)
    distance = b.Unsqueeze(rows, [1]) - b.Unsqueeze(columns, [0])  # To the past is positive.
    zero = b.const(0)
    size = b.Abs(distance) if both else b.Max(distance, zero)
    as_float = b.cast(b.Max(size, b.const(1)), ir.DataType.FLOAT)
    start = b.cast(exact, ir.DataType.FLOAT)
    steps = b.cast(half - exact, ir.DataType.FLOAT)
    large = exact + b.cast(
        b.Log(as_float / start) / b.Log(b.const(float(far)) / start) * steps, ir.DataType.INT64
    )
    bucket = b.Where(b.Less(size, exact), size, b.Min(large, half - 1))
    if both:
        bucket = bucket + b.Where(b.Less(distance, zero), half, zero)
    return b.Unsqueeze(b.Transpose(b.Gather(table, bucket), perm=[2, 0, 1]), [0])


def _ones(c: Call, x: V) -> list[int] | None:
    return list(range(c.rank(x))) or None

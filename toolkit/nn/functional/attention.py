"""Attention, as in `torch.nn.functional`: ONNX's Attention, or its parts where weights drop out."""

from __future__ import annotations

import math
from typing import Any

from toolkit._tensor.autocast import lower
from toolkit._tensor.elementwise import where
from toolkit.errors import InvalidArgumentError, ShapeError
from toolkit.nn.functional.dropout import dropout
from toolkit.ops.dispatch import apply, apply1, apply2, handle
from toolkit.tensor import Tensor

_MATMUL = handle("MatMul")


def causal_mask(length: Any, width: Any) -> Tensor:
    """Bool (length, width): row i sees columns 0..i."""
    from toolkit.tensor import arange

    return arange(length).unsqueeze(1) >= arange(width).unsqueeze(0)


@lower
def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(query key^T scale + mask) value; zeros where a mask leaves nothing.

    Args:
        query: (..., L, E).
        key: (..., S, E).
        value: (..., S, Ev).
        attn_mask: bool (True: attend) or added to the scores; broadcasts to (..., L, S).
        dropout_p: probability of dropping an attention weight.
        is_causal: position i sees positions 0..i; excludes `attn_mask`.
        scale: 1 / sqrt(E) if None.
        enable_gqa: repeat the heads (dimension -3) of key and value for those of the query.

    Returns:
        (..., L, Ev).
    """
    if is_causal and attn_mask is not None:
        raise InvalidArgumentError(
            "scaled_dot_product_attention: either attn_mask or is_causal is required, got both."
        )
    if enable_gqa:
        heads, groups = query.shape[-3], key.shape[-3]
        if heads % groups:
            raise ShapeError(
                "scaled_dot_product_attention: query heads that are a multiple of the key heads "
                f"are required, got {heads} and {groups}."
            )
    if dropout_p == 0.0 and _fits_operator(query, key, value, attn_mask, enable_gqa):
        return _operator(query, key, value, attn_mask, is_causal, scale)
    if enable_gqa:
        key = key.repeat_interleave(heads // groups, -3)
        value = value.repeat_interleave(heads // groups, -3)
    weights = attention_weights(query, key, attn_mask, is_causal, scale)
    if dropout_p > 0.0:
        weights = dropout(weights, dropout_p)
    return apply2(_MATMUL, weights, value)


@lower
def attention_weights(
    query: Tensor,
    key: Tensor,
    attn_mask: Tensor | None = None,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """softmax(query key^T scale + mask), (..., L, S)."""
    factor = 1.0 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = apply2(_MATMUL, query * factor, key.transpose(-2, -1))
    if is_causal:
        attn_mask = causal_mask(query.shape[-2], key.shape[-2])
    if attn_mask is not None:
        if attn_mask.dtype.name == "bool":
            scores = where(attn_mask, scores, -math.inf)
        else:
            scores = scores + attn_mask
    return apply1(handle("Softmax", axis=-1), scores)


@lower
def packed_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    num_heads: int,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
) -> Tensor:
    """`scaled_dot_product_attention` of heads that lie side by side, so that none is moved.

    Args:
        query: (N, L, num_heads E).
        key: (N, S, num_heads E).
        value: (N, S, num_heads Ev).
        num_heads: how many heads.
        attn_mask: bool (True: attend) or added to the scores; broadcasts to (N, num_heads, L, S).
        dropout_p: probability of dropping an attention weight.
        is_causal: position i sees positions 0..i.

    Returns:
        (N, L, num_heads Ev).
    """
    if dropout_p > 0.0:
        q, k, v = (split_heads(x, num_heads) for x in (query, key, value))
        return join_heads(scaled_dot_product_attention(q, k, v, attn_mask, dropout_p, is_causal))
    h = handle("Attention", q_num_heads=num_heads, kv_num_heads=num_heads, is_causal=int(is_causal))
    if attn_mask is None:
        return apply(h, query, key, value)
    return apply(h, query, key, value, _whole_rows(attn_mask, key.shape[1]))


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(N, L, heads E) to (N, heads, L, E)."""
    width = x.shape[2]
    each = width // heads if isinstance(width, int) else -1
    return x.reshape(x.shape[0], x.shape[1], heads, each).transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    """(N, heads, L, E) to (N, L, heads E)."""
    x = x.transpose(1, 2)
    heads, each = x.shape[2:]
    width = heads * each if isinstance(heads, int) and isinstance(each, int) else -1
    return x.reshape(x.shape[0], x.shape[1], width)


def _fits_operator(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, gqa: bool
) -> bool:
    """Whether ONNX's Attention takes these: (N, H, L, E) or fewer dimensions, none to broadcast."""
    rank = query.dim()
    if not 2 <= rank <= 4 or key.dim() != rank or value.dim() != rank:
        return False
    same = rank - 3 if gqa else rank - 2
    if tuple(key.shape[:-2]) != tuple(value.shape[:-2]):
        return False
    if tuple(query.shape[:same]) != tuple(key.shape[:same]):
        return False
    return mask is None or 1 <= mask.dim() <= rank


def _operator(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    is_causal: bool,
    scale: float | None,
) -> Tensor:
    missing = 4 - query.dim()
    for _ in range(missing):
        query, key, value = query.unsqueeze(0), key.unsqueeze(0), value.unsqueeze(0)
    h = handle("Attention", is_causal=int(is_causal), scale=None if scale is None else float(scale))
    if mask is None:
        y = apply(h, query, key, value)
    else:
        y = apply(h, query, key, value, _whole_rows(mask, key.shape[2]))
    for _ in range(missing):
        y = y.squeeze(0)
    return y


def _whole_rows(mask: Tensor, keys: Any) -> Tensor:
    """The mask with its last dimension written out: the operator would take 1 for a short mask."""
    if isinstance(mask.shape[-1], int) and mask.shape[-1] == 1:
        return mask.expand(*mask.shape[:-1], keys)
    return mask

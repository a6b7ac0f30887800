"""Multi-head attention on given weights; the parts that `nn.MultiheadAttention` is made of."""

from __future__ import annotations

import math
from typing import Any

from toolkit._tensor.elementwise import where
from toolkit.errors import DTypeError, InvalidArgumentError, ShapeError
from toolkit.nn.functional.attention import (
    attention_weights,
    join_heads,
    packed_attention,
    split_heads,
)
from toolkit.nn.functional.dropout import dropout
from toolkit.nn.functional.linear import linear
from toolkit.ops.dispatch import call
from toolkit.tensor import Tensor, cat, ones, zeros


def multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """`nn.MultiheadAttention` as a function of its parameters.

    Args:
        query: (L, N, D) or (L, D).
        key: (S, N, kdim) or (S, kdim).
        value: (S, N, vdim) or (S, vdim).
        embed_dim_to_check: D.
        num_heads: how many heads.
        in_proj_weight: (3 D, D), unless `use_separate_proj_weight`.
        in_proj_bias: (3 D,).
        bias_k: (1, 1, D), a key after the given ones.
        bias_v: its value.
        add_zero_attn: a key and value of zeros after them.
        dropout_p: probability of dropping an attention weight in training.
        out_proj_weight: (D, D).
        out_proj_bias: (D,).
        training: whether weights drop out.
        key_padding_mask: (N, S), keys to ignore: True, or numbers to add to the scores.
        need_weights: whether to return the weights.
        attn_mask: (L, S) or (N heads, L, S): True forbids, numbers are added to the scores.
        use_separate_proj_weight: take the three that follow.
        q_proj_weight: (D, D).
        k_proj_weight: (D, kdim).
        v_proj_weight: (D, vdim).
        static_k: (N heads, S, D / heads), projected keys to take instead.
        static_v: the same of values.
        average_attn_weights: the weights' mean over the heads instead of each head's.
        is_causal: a hint that attn_mask, which must be given, is the causal mask.

    Returns:
        The result (L, N, D), and the weights (N, L, S), (N, heads, L, S) or None.
    """
    check_widths(query, embed_dim_to_check, num_heads)
    q, k, v, padding, batched = batch_first(query, key, value, key_padding_mask, False)
    weights = in_proj_weight
    if use_separate_proj_weight:
        weights = None
        if q_proj_weight is None or k_proj_weight is None or v_proj_weight is None:
            raise InvalidArgumentError(
                "multi_head_attention_forward: q_proj_weight, k_proj_weight and v_proj_weight are "
                "required with use_separate_proj_weight, got None."
            )
    separate: Any = (q_proj_weight, k_proj_weight, v_proj_weight)
    q, k, v = project(q, k, v, weights, separate, in_proj_bias)
    if static_k is not None:
        k = join_heads(static_k.reshape(-1, num_heads, *static_k.shape[1:]))
    if static_v is not None:
        v = join_heads(static_v.reshape(-1, num_heads, *static_v.shape[1:]))
    y, p = attend(
        q, k, v, num_heads, attn_mask, padding, (bias_k, bias_v, add_zero_attn),
        dropout_p if training else 0.0, need_weights, is_causal,
    )  # fmt: skip
    y = linear(y, out_proj_weight, out_proj_bias)
    return outputs(y, p, batched, False, average_attn_weights)


def check_widths(query: Tensor, embed_dim: int, num_heads: int) -> None:
    """The query is as wide as the weights, and that can be divided among the heads."""
    if isinstance(query.shape[-1], int) and query.shape[-1] != embed_dim:
        raise ShapeError(
            f"was expecting embedding dimension of {embed_dim}, but got {query.shape[-1]}"
        )
    if embed_dim % num_heads:
        raise InvalidArgumentError(f"embed_dim {embed_dim} not divisible by num_heads {num_heads}")


def batch_first(
    query: Tensor, key: Tensor, value: Tensor, padding: Tensor | None, first: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, bool]:
    """All as (N, L, D), and whether they had a batch; equal ones stay the same object."""
    rank = query.dim()
    if rank not in (2, 3) or key.dim() != rank or value.dim() != rank:
        raise ShapeError(
            "MultiheadAttention: query, key and value of 2 or of 3 dimensions are required, got "
            f"{rank}, {key.dim()} and {value.dim()}."
        )
    if padding is not None and padding.dim() != rank - 1:
        raise ShapeError(
            f"MultiheadAttention: key_padding_mask of {rank - 1} dimensions is required for "
            f"{rank}-D query, key and value, got {padding.dim()}."
        )
    same = key is query, value is key
    if rank == 2:
        query = query.unsqueeze(0)
        key = query if same[0] else key.unsqueeze(0)
        value = key if same[1] else value.unsqueeze(0)
        return query, key, value, None if padding is None else padding.unsqueeze(0), False
    if not first:
        query = query.transpose(0, 1)
        key = query if same[0] else key.transpose(0, 1)
        value = key if same[1] else value.transpose(0, 1)
    return query, key, value, padding, True


def project(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    joined: Tensor | None,
    separate: tuple[Tensor, Tensor, Tensor],
    bias: Tensor | None,
) -> tuple[Tensor, ...]:
    """Queries, keys and values by one weight (3 D, D) or by three."""
    if joined is None:
        weights: Any = separate
    elif key is query and value is key:
        made = linear(query, joined, bias)
        return tuple(call("Split", (made,), {"axis": -1, "num_outputs": 3}, 3))
    else:
        weights = joined.split(joined.shape[0] // 3, 0)
    biases = (None, None, None) if bias is None else bias.split(bias.shape[0] // 3, 0)
    return tuple(
        linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True)
    )


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    heads: int,
    attn_mask: Tensor | None,
    padding: Tensor | None,
    extra: tuple[Tensor | None, Tensor | None, bool],
    dropout_p: float,
    need_weights: bool,
    is_causal: bool,
) -> tuple[Tensor, Tensor | None]:
    """Heads of projected (N, L, D), side by side again, and their weights (N, heads, L, S).

    `extra`: one more key and its value, and whether zeros follow.
    """
    if is_causal and attn_mask is None:
        raise InvalidArgumentError(
            "MultiheadAttention: attn_mask is required with the hint is_causal, got none."
        )
    plain = extra[0] is None and not extra[2]
    causal = is_causal and padding is None and not need_weights and plain
    widths = q.shape[1], k.shape[1], q.shape[0]
    k, v, more = _with_extra_keys(k, v, *extra)
    mask = None if causal else _mask(attn_mask, padding, q, heads, widths, more)
    if not need_weights:
        return packed_attention(q, k, v, heads, mask, dropout_p, causal), None
    q, k, v = (split_heads(x, heads) for x in (q, k, v))
    p = attention_weights(q, k, mask, causal)
    if dropout_p > 0.0:
        p = dropout(p, dropout_p)
    return join_heads(p @ v), p


def outputs(
    y: Tensor, p: Any, batched: bool, first: bool, average: bool
) -> tuple[Tensor, Tensor | None]:
    """Result and weights in the layout of the query."""
    if p is not None and average:
        p = p.mean(1)
    if not batched:
        return y.squeeze(0), None if p is None else p.squeeze(0)
    return y if first else y.transpose(0, 1), p


def _with_extra_keys(
    k: Tensor, v: Tensor, bias_k: Tensor | None, bias_v: Tensor | None, add_zero: bool
) -> tuple[Tensor, Tensor, int]:
    """The learned and the zero key behind the others, and how many they are."""
    extra = 0
    batch, width = k.shape[0], k.shape[2]
    if bias_k is not None and bias_v is not None:
        k = cat([k, bias_k.expand(batch, 1, width)], 1)
        v = cat([v, bias_v.expand(batch, 1, width)], 1)
        extra += 1
    if add_zero:
        nothing = zeros(batch, 1, width, dtype=k.dtype)
        k, v = cat([k, nothing], 1), cat([v, nothing], 1)
        extra += 1
    return k, v, extra


def _mask(
    attn_mask: Tensor | None,
    padding: Tensor | None,
    q: Tensor,
    heads: int,
    sizes: tuple[Any, Any, Any],
    extra: int,
) -> Tensor | None:
    """Both masks as one that F.scaled_dot_product_attention takes, (..., L, S)."""
    parts = []
    if attn_mask is not None:
        _check_mask("attn_mask", attn_mask, sizes, heads)
        if attn_mask.dim() == 3:
            attn_mask = attn_mask.reshape(-1, heads, *attn_mask.shape[1:])
        parts.append(attn_mask)
    if padding is not None:
        _check_mask("key_padding_mask", padding, sizes, heads)
        parts.append(padding.unsqueeze(1).unsqueeze(1))
    if not parts:
        return None
    if all(p.dtype.name == "bool" for p in parts):
        parts = [~p for p in parts]
        mask = parts[0] if len(parts) == 1 else parts[0] & parts[1]
    else:
        parts = [_additive(p, q) for p in parts]
        mask = parts[0] if len(parts) == 1 else parts[0] + parts[1]
    if extra:
        open_ = ones if mask.dtype.name == "bool" else zeros
        more = open_(*mask.shape[:-1], extra, dtype=mask.dtype)
        mask = cat([mask, more], -1)
    return mask


def _check_mask(name: str, mask: Tensor, sizes: tuple[Any, Any, Any], heads: int) -> None:
    if mask.dtype.name != "bool" and not mask.is_floating_point():
        raise DTypeError(f"only bool and floating types of {name} are supported, got {mask.dtype}")
    length, width, batch = sizes
    if name == "key_padding_mask":
        want: tuple[Any, ...] = (batch, width)
    elif mask.dim() == 2:
        want = (length, width)
    elif mask.dim() == 3:
        want = (batch * heads, length, width)
    else:
        raise ShapeError(f"attn_mask of 2 or 3 dimensions is required, got {mask.dim()}.")
    got = tuple(mask.shape)
    known = zip(want, got, strict=True)
    if any(isinstance(w, int) and isinstance(g, int) and w != g for w, g in known):
        raise ShapeError(
            f"The shape of the {mask.dim()}D {name} is {list(got)}, but should be {list(want)}."
        )


def _additive(mask: Tensor, like: Tensor) -> Tensor:
    if mask.dtype.name == "bool":
        return where(mask, -math.inf, zeros(1, dtype=like.dtype))  # type: ignore[no-any-return]
    return mask

"""Multi-head attention, as `torch.nn.MultiheadAttention`."""

from __future__ import annotations

import math
from typing import Any

from toolkit._tensor.elementwise import where
from toolkit.errors import InvalidArgumentError, ShapeError
from toolkit.nn import functional as F
from toolkit.nn import init
from toolkit.nn.functional.attention import (
    attention_weights,
    join_heads,
    packed_attention,
    split_heads,
)
from toolkit.nn.linear import Linear
from toolkit.nn.module import Module
from toolkit.nn.parameter import Parameter
from toolkit.ops.dispatch import call
from toolkit.tensor import Tensor, cat, empty, ones, zeros


class NonDynamicallyQuantizableLinear(Linear):
    """A Linear under the name that PyTorch gives an attention's output projection."""


class MultiheadAttention(Module):
    """Attention in `num_heads` parts of projected queries, keys and values, projected again.

    Args:
        embed_dim: D of queries and results, a multiple of num_heads.
        num_heads: how many heads.
        dropout: probability of dropping an attention weight in training.
        bias: whether the projections have one.
        add_bias_kv: a learned key and value after the given ones.
        add_zero_attn: a key and value of zeros after them.
        kdim: D of keys if not embed_dim.
        vdim: D of values if not embed_dim.
        batch_first: (N, L, D) instead of (L, N, D).
        device: where the parameters are.
        dtype: their element type.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if embed_dim <= 0 or num_heads <= 0 or embed_dim % num_heads:
            raise InvalidArgumentError(
                "MultiheadAttention: an embed_dim above 0 that is a multiple of num_heads is "
                f"required, got {embed_dim} and {num_heads}."
            )
        super().__init__()
        how: dict[str, Any] = {"device": device, "dtype": dtype}
        self.embed_dim = embed_dim
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self.num_heads = num_heads
        self.dropout = dropout
        self.batch_first = batch_first
        self.head_dim = embed_dim // num_heads
        self.add_zero_attn = add_zero_attn
        if self.kdim == self.vdim == embed_dim:
            self.in_proj_weight = Parameter(empty(3 * embed_dim, embed_dim, **how))
            for name in ("q_proj_weight", "k_proj_weight", "v_proj_weight"):
                self.register_parameter(name, None)
        else:
            self.q_proj_weight = Parameter(empty(embed_dim, embed_dim, **how))
            self.k_proj_weight = Parameter(empty(embed_dim, self.kdim, **how))
            self.v_proj_weight = Parameter(empty(embed_dim, self.vdim, **how))
            self.register_parameter("in_proj_weight", None)
        if bias:
            self.in_proj_bias = Parameter(empty(3 * embed_dim, **how))
        else:
            self.register_parameter("in_proj_bias", None)
        self.out_proj = NonDynamicallyQuantizableLinear(embed_dim, embed_dim, bias=bias, **how)
        if add_bias_kv:
            self.bias_k = Parameter(empty(1, 1, embed_dim, **how))
            self.bias_v = Parameter(empty(1, 1, embed_dim, **how))
        else:
            self.register_parameter("bias_k", None)
            self.register_parameter("bias_v", None)
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        """Xavier's uniform distribution for the projections, zero for their biases."""
        weights = self.in_proj_weight, self.q_proj_weight, self.k_proj_weight, self.v_proj_weight
        for weight in weights:
            if weight is not None:
                init.xavier_uniform_(weight)
        if self.in_proj_bias is not None:
            init.zeros_(self.in_proj_bias)
            init.zeros_(self.out_proj.bias)
        for extra in (self.bias_k, self.bias_v):
            if extra is not None:
                init.xavier_normal_(extra)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attends.

        Args:
            query: (L, N, D), (N, L, D) with batch_first, or (L, D).
            key: (S, N, kdim) and so on.
            value: (S, N, vdim) and so on.
            key_padding_mask: (N, S), keys to ignore: True, or numbers to add to the scores.
            need_weights: whether to return the weights; without, nothing of size L x S is kept.
            attn_mask: (L, S) or (N heads, L, S): True forbids, numbers are added to the scores.
            average_attn_weights: the weights' mean over the heads instead of each head's.
            is_causal: a hint that attn_mask, which must be given, is the causal mask.

        Returns:
            The result in query's layout, and the weights (N, L, S), (N, heads, L, S) or None.
        """
        if is_causal and attn_mask is None:
            raise InvalidArgumentError(
                "MultiheadAttention: attn_mask is required with the hint is_causal, got none."
            )
        batched = query.dim() == 3
        if not batched:
            if query.dim() != 2 or key.dim() != 2 or value.dim() != 2:
                raise ShapeError(
                    "MultiheadAttention: query, key and value of 2 or of 3 dimensions are "
                    f"required, got {query.dim()}, {key.dim()} and {value.dim()}."
                )
            query, key, value = query.unsqueeze(0), key.unsqueeze(0), value.unsqueeze(0)
            if key_padding_mask is not None:
                key_padding_mask = key_padding_mask.unsqueeze(0)
        elif not self.batch_first:
            same = key is query, value is key
            query = query.transpose(0, 1)
            key = query if same[0] else key.transpose(0, 1)
            value = key if same[1] else value.transpose(0, 1)
        q, k, v = self._project(query, key, value)
        causal = is_causal and key_padding_mask is None and not need_weights
        causal = causal and self.bias_k is None and not self.add_zero_attn
        k, v, extra = self._with_extra_keys(k, v)
        mask = None if causal else self._mask(attn_mask, key_padding_mask, q, extra)
        y, weights = self._attend(q, k, v, mask, causal, need_weights)
        y = self.out_proj(y)
        if weights is not None and average_attn_weights:
            weights = weights.mean(1)
        if not batched:
            return y.squeeze(0), None if weights is None else weights.squeeze(0)
        return y if self.batch_first else y.transpose(0, 1), weights

    def _project(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        d, bias = self.embed_dim, self.in_proj_bias
        if self.in_proj_weight is None:
            weights = self.q_proj_weight, self.k_proj_weight, self.v_proj_weight
        elif key is query and value is key:
            joined = F.linear(query, self.in_proj_weight, bias)
            return tuple(call("Split", (joined,), {"axis": -1, "num_outputs": 3}, 3))
        else:
            weights = tuple(self.in_proj_weight.split(d, 0))
        biases = (None, None, None) if bias is None else tuple(bias.split(d, 0))
        return tuple(
            F.linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True)
        )

    def _with_extra_keys(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, int]:
        """The learned and the zero key behind the others, and how many they are."""
        extra = 0
        batch = k.shape[0]
        if self.bias_k is not None:
            k = cat([k, self.bias_k.expand(batch, 1, self.embed_dim)], 1)
            v = cat([v, self.bias_v.expand(batch, 1, self.embed_dim)], 1)
            extra += 1
        if self.add_zero_attn:
            nothing = zeros(batch, 1, self.embed_dim, dtype=k.dtype)
            k, v = cat([k, nothing], 1), cat([v, nothing], 1)
            extra += 1
        return k, v, extra

    def _mask(
        self, attn_mask: Tensor | None, padding: Tensor | None, q: Tensor, extra: int
    ) -> Tensor | None:
        """Both masks as one that F.scaled_dot_product_attention takes, (…, L, S)."""
        parts = []
        if attn_mask is not None:
            if attn_mask.dim() == 3:
                attn_mask = attn_mask.reshape(-1, self.num_heads, *attn_mask.shape[1:])
            elif attn_mask.dim() != 2:
                raise ShapeError(
                    "MultiheadAttention: attn_mask of 2 or 3 dimensions is required, "
                    f"got {attn_mask.dim()}."
                )
            parts.append(attn_mask)
        if padding is not None:
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

    def _attend(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool, weights: bool
    ) -> tuple[Tensor, Tensor | None]:
        dropout = self.dropout if self.training else 0.0
        if not weights:
            return packed_attention(q, k, v, self.num_heads, mask, dropout, causal), None
        q, k, v = (split_heads(x, self.num_heads) for x in (q, k, v))
        p = attention_weights(q, k, mask, causal)
        if dropout > 0.0:
            p = F.dropout(p, dropout)
        return join_heads(p @ v), p


def _additive(mask: Tensor, like: Tensor) -> Tensor:
    if mask.dtype.name == "bool":
        return where(mask, -math.inf, zeros(1, dtype=like.dtype))  # type: ignore[no-any-return]
    return mask

"""Multi-head attention, as `torch.nn.MultiheadAttention`."""

from __future__ import annotations

from typing import Any

from toolkit.errors import InvalidArgumentError
from toolkit.nn import init
from toolkit.nn.functional.multihead import attend, batch_first, check_widths, outputs, project
from toolkit.nn.linear import Linear
from toolkit.nn.module import Module
from toolkit.nn.parameter import Parameter
from toolkit.tensor import Tensor, empty


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
        check_widths(query, self.embed_dim, self.num_heads)
        q, k, v, padding, batched = batch_first(
            query, key, value, key_padding_mask, self.batch_first
        )
        q, k, v = self._project(q, k, v)
        y, p = attend(
            q, k, v, self.num_heads, attn_mask, padding,
            (self.bias_k, self.bias_v, self.add_zero_attn),
            self.dropout if self.training else 0.0, need_weights, is_causal,
        )  # fmt: skip
        return outputs(self.out_proj(y), p, batched, self.batch_first, average_attn_weights)

    def _project(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        weights = self.q_proj_weight, self.k_proj_weight, self.v_proj_weight
        return project(query, key, value, self.in_proj_weight, weights, self.in_proj_bias)

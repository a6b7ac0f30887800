"""Gradients of attention operators."""

from __future__ import annotations

from typing import Any

from toolkit.autodiff.registry import Result, Vjp, vjp
from toolkit.autodiff.rules._common import named_like, rank_of
from toolkit.graph.functions.attention import join_heads

V = Any  # An ir.Value under `arithmetic`.

_SHARED = ("is_causal", "kv_num_heads", "left_window_size", "q_num_heads", "right_window_size",
           "scale", "softcap")  # fmt: skip


@vjp("Attention", broadcasts=True, all_outputs=True)
def attention(
    c: Vjp, q: V, k: V, v: V, attn_mask: V = None, past_key: V = None, past_value: V = None,
    nonpad: V = None,
) -> Result:  # fmt: skip
    """With P = softmax(scale Q K^T + mask), dP = dy V^T, dS = P (dP - sum(dy y)):

    dQ = scale dS K, dK = scale dS^T Q, dV = P^T dy, dmask = dS: toolkit.grad.AttentionGrad. The
    cotangents of present_key and present_value are split between past and new ones. One of
    qk_matmul_output goes through the body.
    """
    dy, dkeys, dvalues, dqk = (*c.cotangents, None, None, None)[:4]
    if dqk is not None:
        return NotImplemented  # type: ignore[no-any-return]
    dq, dk, dv, dpast_key, dpast_value, dmask = [None] * 6
    rank = rank_of(c, q)
    if dy is not None:
        attributes = {name: c.attributes[name] for name in _SHARED if name in c.attributes}
        inputs = q, k, v, attn_mask, past_key, past_value, nonpad, c.y, dy
        outputs = 3 if past_key is None else 5
        if c.need(3):
            attributes["mask_grad"], outputs = 1, 6
        dq, dk, dv, *rest = c.grad("AttentionGrad", *inputs, outputs=outputs, **attributes)
        for value, like in ((dq, q), (dk, k), (dv, v)):
            named_like(value, like)
        if past_key is not None:
            dpast_key, dpast_value = named_like(rest[0], past_key), named_like(rest[1], past_value)
        if c.need(3):
            dmask = c.b.Slice(rest[2], [0], c.b.dim(attn_mask, -1), [3])
    dk, dpast_key = _with_present(c, dk, dpast_key, dkeys, k, past_key, rank)
    dv, dpast_value = _with_present(c, dv, dpast_value, dvalues, v, past_value, rank)
    return dq, dk, dv, dmask, dpast_key, dpast_value, None


def _with_present(c: Vjp, fresh: V, old: V, present: V, like: V, past: V, rank: int) -> tuple[V, V]:
    """Adds the cotangent of a present output, (B, Hkv, S, D), to those of the new and the past."""
    if present is None:
        return fresh, old
    b = c.b
    new, before = present, None
    if past is not None:
        length = b.dim(past, 2)
        new = b.Slice(present, length, b.dim(present, 2), [2])
        before = named_like(b.Slice(present, [0], length, [2]), past)
        old = before if old is None else old + before
    new = named_like(join_heads(b, new, rank), like)
    return new if fresh is None else fresh + new, old

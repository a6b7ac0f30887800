"""Gradients of attention operators."""

from __future__ import annotations

from typing import Any

from toolkit.autodiff.registry import Result, Vjp, vjp
from toolkit.autodiff.rules._common import dims_vector, named_like, rank_of
from toolkit.graph.build import known_dims
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


@vjp("RotaryEmbedding")
def rotary_embedding(c: Vjp, x: V, cos: V, sin: V, position_ids: V = None) -> Result:
    """A turn by an angle: dx is dy turned by the opposite one. Caches go through the body."""
    if c.need(1) or c.need(2):
        return NotImplemented  # type: ignore[no-any-return]
    b = c.b
    inputs = [c.dy, cos, b.Neg(sin), position_ids]
    return b.call("", "RotaryEmbedding", inputs, c.attributes), None, None, None


@vjp("LinearAttention", all_outputs=True)
def linear_attention(
    c: Vjp, query: V, key: V, value: V, past_state: V = None, decay: V = None, beta: V = None
) -> Result:
    """The recurrence walked back, toolkit.grad.LinearAttentionGrad: with S_t = D_t + k u^T,

    dS += scale q do^T, dq = scale S do, du = dS^T k, dk = dS u, and so on through u and D.
    """
    dy, dpresent = (*c.cotangents, None)[:2]
    attributes = {k: v for k, v in c.attributes.items() if k != "chunk_size"}
    optional = past_state, decay, beta
    count = 3 + sum(x is not None for x in optional)
    inputs = query, key, value, *optional, dy, dpresent
    found = list(c.grad("LinearAttentionGrad", *inputs, outputs=count, **attributes))
    results = found[:3]
    rest = iter(found[3:])
    results += [None if x is None else next(rest) for x in optional]
    for dx, x in zip(results, (query, key, value, *optional), strict=True):
        if dx is not None:
            named_like(dx, x)
    return tuple(results)


@vjp("CausalConvWithState", all_outputs=True)
def causal_conv_with_state(c: Vjp, x: V, weight: V, bias: V = None, past_state: V = None) -> Result:
    """A depthwise Conv of z = [past, x], with dc = dy silu'(c) where it is activated:

    dz = Conv's transpose of dc plus dpresent at its end, split into dpast and dx; dw = the
    correlation of z with dc; dbias = sum of dc.
    """
    b = c.b
    dims = known_dims(weight)
    if dims is None or not isinstance(dims[0], int) or not isinstance(dims[2], int):
        return NotImplemented  # type: ignore[no-any-return]
    channels, k = dims[0], dims[2]
    dc, dpresent = (*c.cotangents, None)[:2]
    shape = dims_vector(b, [b.dim(x, 0), channels, k - 1])
    before = b.zeros(shape, x.dtype) if past_state is None else past_state
    z = b.Concat(before, x, axis=2)
    how: dict[str, Any] = {"group": channels, "kernel_shape": [k]}
    if dc is not None and c.attr("activation", "none") in ("silu", "swish"):
        y, _ = b.CausalConvWithState(x, weight, bias, past_state, _outputs=2)
        s = b.Sigmoid(y)
        dc = dc * (s * (1.0 + y * (1.0 - s)))
    dz: V = None
    if dc is not None:
        dz = c.grad("ConvGradInput", dc, weight, b.shape(z), **how)
    if dpresent is not None:
        head = b.Concat([0, 0], b.dim(x, 2), [0, 0, 0], axis=0)
        late = b.Pad(dpresent, head)
        dz = late if dz is None else dz + late
    return (
        lambda: named_like(b.Slice(dz, [k - 1], b.dim(z, 2), [2]), x),
        None if dc is None else lambda: c.grad("ConvGradWeight", z, dc, b.shape(weight), **how),
        None if dc is None else lambda: b.ReduceSum(dc, [0, 2], keepdims=0),
        None if past_state is None else lambda: b.Slice(dz, [0], [k - 1], [2]),
    )

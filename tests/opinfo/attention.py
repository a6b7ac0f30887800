"""Attention and its gradient, rotary embeddings, linear attention, causal convolution."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np

from tests.opinfo.core import OpInfo, S, Sample, i64

# (batch, query heads, key heads, rows, keys, head size, value's head size).
SMALL = (2, 2, 2, 4, 6, 8, 5)
GROUPED = (2, 6, 2, 3, 7, 4, 8)
WIDE = (1, 3, 1, 67, 150, 17, 33)  # Every remainder of the blocks.
DECODE = (2, 4, 2, 1, 9, 8, 8)


def qkv(d, sizes, packed=False):
    batch, heads, kv_heads, rows, keys, head, v_head = sizes
    if packed:
        inputs = d(batch, rows, heads * head), d(batch, keys, kv_heads * head)
        return (*inputs, d(batch, keys, kv_heads * v_head))
    inputs = d(batch, heads, rows, head), d(batch, kv_heads, keys, head)
    return (*inputs, d(batch, kv_heads, keys, v_head))


def past_of(d, sizes, length):
    batch, _, kv_heads, _, _, head, v_head = sizes
    return d(batch, kv_heads, length, head), d(batch, kv_heads, length, v_head)


def heads_of(sizes, packed):
    return {"q_num_heads": sizes[1], "kv_num_heads": sizes[2]} if packed else {}


def masks(d, sizes, past=0):
    """One of every kind and rank: bool and float, broadcast, shorter than the keys."""
    batch, heads, _, rows, keys, *_ = sizes
    keys += past
    yield d(rows, keys)
    yield d.bools(batch, 1, rows, keys)
    yield d(keys)
    yield d(heads, 1, keys)
    yield d(batch, heads, rows, keys - 2)
    yield d.bools(1, 1, 1, keys - 1)
    empty_row = np.ones((rows, keys), bool)
    empty_row[0] = False
    yield empty_row


def plain_attention(d):
    for sizes, packed, causal in itertools.product(
        (SMALL, GROUPED, WIDE, DECODE), (False, True), (0, 1)
    ):
        how = {"is_causal": causal} | heads_of(sizes, packed)
        yield S(*qkv(d, sizes, packed), **how)
    for mask, causal in itertools.product(masks(d, GROUPED), (0, 1)):
        yield S(*qkv(d, GROUPED), mask, is_causal=causal)
    for packed, causal in itertools.product((False, True), (0, 1)):
        how = {"is_causal": causal} | heads_of(SMALL, packed)
        for mask in (None, *masks(d, SMALL, 3)):
            yield S(*qkv(d, SMALL, packed), mask, *past_of(d, SMALL, 3), outputs=3, **how)
    yield S(*qkv(d, SMALL), None, *past_of(d, SMALL, 3))
    for sizes, causal in itertools.product((SMALL, DECODE), (0, 1)):
        seen = i64(5, 2)
        yield S(*qkv(d, sizes), None, None, None, seen, is_causal=causal)
        yield S(*qkv(d, sizes), next(masks(d, sizes)), None, None, seen, is_causal=causal)
    for left, right, causal in itertools.product((-1, 0, 2), (-1, 0, 3), (0, 1)):
        how = {"left_window_size": left, "right_window_size": right, "is_causal": causal}
        yield S(*qkv(d, SMALL), **how)
    yield S(*qkv(d, WIDE), left_window_size=9, right_window_size=3)
    yield S(*qkv(d, SMALL), None, *past_of(d, SMALL, 2), left_window_size=1, outputs=3)
    yield S(*qkv(d, SMALL), None, None, None, i64(6, 3), left_window_size=1)
    yield S(*qkv(d, SMALL), softcap=2.0)
    yield S(*qkv(d, WIDE), d(67, 150), softcap=1.5, scale=0.5625, is_causal=1)
    yield S(*qkv(d, GROUPED, True), scale=0.25, **heads_of(GROUPED, True))
    yield S(*qkv(d, (2, 2, 2, 3, 1, 4, 4)))
    yield S(*qkv(d, (1, 2, 1, 2, 5, 1, 1)), is_causal=1)


def attention_samples(d):
    yield from plain_attention(d)
    for mode, softcap, causal in itertools.product(range(4), (0.0, 3.0), (0, 1)):
        how = {"qk_matmul_output_mode": mode, "softcap": softcap, "is_causal": causal}
        yield S(*qkv(d, SMALL), outputs=4, **how)
        yield S(*qkv(d, GROUPED), d(3, 7), outputs=4, **how)
        yield S(*qkv(d, DECODE), None, *past_of(d, DECODE, 3), outputs=4, **how)
    for mode in range(4):
        mask = next(itertools.islice(masks(d, GROUPED), 6, 7))
        yield S(*qkv(d, GROUPED), mask, outputs=4, qk_matmul_output_mode=mode)
    yield S(*qkv(d, WIDE), outputs=4, qk_matmul_output_mode=3, is_causal=1)
    yield S(*qkv(d, SMALL), d(4, 6).astype(np.int32))
    yield S(*qkv(d, SMALL), softmax_precision=11 if d.dtype == np.float64 else 1)
    yield S(*qkv(d, (0, 2, 2, 3, 4, 5, 6)))
    yield S(*qkv(d, (1, 2, 2, 0, 4, 5, 6)))


def attention_grads(d):
    """Without the scores' output at masked places, where it is -inf or no number moves it."""
    for sample in plain_attention(d):
        if sample.inputs[0].size < 2000:
            yield sample
    for mode in range(4):
        yield S(*qkv(d, SMALL), outputs=4, qk_matmul_output_mode=mode, softcap=3.0)
        yield S(*qkv(d, GROUPED), d(3, 7), outputs=4, qk_matmul_output_mode=mode)


def attention_big(d):
    for sizes in ((2, 4, 2, 200, 333, 32, 32), (1, 1, 1, 701, 701, 16, 16)):
        for causal in (0, 1):
            yield S(*qkv(d, sizes), is_causal=causal)
    yield S(*qkv(d, (1, 2, 1, 1, 2111, 64, 64)))
    yield S(*qkv(d, (2, 4, 2, 65, 65, 16, 16), True), q_num_heads=4, kv_num_heads=2)


def attention_reference(sample: Sample) -> list[np.ndarray]:
    from tests import opcheck

    inputs = list(sample.inputs)
    if len(inputs) > 3 and inputs[3] is not None:
        q, mask, heads = inputs[0], inputs[3], sample.attributes.get("q_num_heads")
        rows = (heads, q.shape[1]) if heads else q.shape[1:3]
        inputs[3] = np.broadcast_to(mask, (q.shape[0], *rows, mask.shape[-1])).copy()
    row = OpInfo("Attention", attention_samples)
    sample = replace(sample, inputs=tuple(inputs))
    results = opcheck.onnx_reference(row, sample)
    attributes = sample.attributes
    if len(results) > 3 and not attributes.get("qk_matmul_output_mode"):
        raw = replace(sample, attributes={**attributes, "softcap": 0.0})
        results[3] = opcheck.onnx_reference(row, raw)[3]
    return results


def attention_grad_reference(sample: Sample) -> list[np.ndarray]:
    """Torch's own derivatives of the definition, in float64."""
    import torch

    attrs = sample.attributes
    given = [None if x is None else torch.from_numpy(x) for x in sample.inputs]
    given = [x if x is None or not x.is_floating_point() else x.double() for x in given]
    wrt = [x for x in given[:6] if x is not None and x.is_floating_point()]
    for x in wrt:
        x.requires_grad_()
    q, k, v, mask, past_key, past_value, nonpad, _, dy = given
    y, bias = torch_attention(attrs, q, k, v, mask, past_key, past_value, nonpad)
    found = iter(torch.autograd.grad(y, [*wrt, bias], dy))
    grads = [next(found) if any(x is w for w in wrt) else None for x in given[:6]]
    dq, dk, dv, _, dpast_key, dpast_value = grads
    results = [dq, dk, dv, dpast_key, dpast_value, list(found)[-1]]
    dtype = sample.inputs[0].dtype
    return [None if g is None else g.numpy().astype(dtype) for g in results]


def torch_attention(attrs, q, k, v, mask=None, past_key=None, past_value=None, nonpad=None):
    """(Y, a zero bias of all scores that took part), by the schema's text."""
    import torch

    packed = q.dim() == 3

    def heads(x, name):
        return x.unflatten(2, (attrs[name], -1)).transpose(1, 2) if packed else x

    q, k, v = heads(q, "q_num_heads"), heads(k, "kv_num_heads"), heads(v, "kv_num_heads")
    offset = torch.zeros(1, dtype=torch.int64)
    if past_key is not None:
        offset += past_key.shape[2]
        k, v = torch.cat([past_key, k], 2), torch.cat([past_value, v], 2)
    group = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    scores = q @ k.transpose(2, 3) * attrs.get("scale", q.shape[3] ** -0.5)
    if cap := attrs.get("softcap"):
        scores = cap * torch.tanh(scores / cap)
    keys = torch.arange(k.shape[2])
    allowed = torch.ones(q.shape[0], 1, q.shape[2], k.shape[2], dtype=torch.bool)
    if nonpad is not None:
        offset = nonpad - q.shape[2]
        allowed = allowed & (keys < nonpad[:, None, None, None])
    position = (torch.arange(q.shape[2]) + offset[:, None])[:, None, :, None]
    if attrs.get("is_causal"):
        allowed = allowed & (keys <= position)
    if (left := attrs.get("left_window_size", -1)) >= 0:
        allowed = allowed & (keys >= position - left)
    if (right := attrs.get("right_window_size", -1)) >= 0:
        allowed = allowed & (keys <= position + right)
    if mask is not None:
        short = k.shape[2] - mask.shape[-1]
        if mask.dtype == torch.bool:
            allowed = allowed & torch.nn.functional.pad(mask, (0, short))
        else:
            scores = scores + torch.nn.functional.pad(mask, (0, short), value=-torch.inf)
    bias = torch.zeros_like(scores).requires_grad_()
    scores = (scores + bias).masked_fill(~allowed, -torch.inf)
    empty = (scores == -torch.inf).all(-1, keepdim=True)
    p = torch.softmax(scores.masked_fill(empty, 0), -1).masked_fill(empty, 0)
    y = p @ v
    return (y.transpose(1, 2).flatten(2) if packed else y), bias


def attention_grad_big(d):
    for sizes in ((2, 4, 2, 200, 333, 32, 32), (1, 1, 1, 701, 701, 16, 16)):
        inputs = qkv(d, sizes)
        y = d(*inputs[0].shape)
        yield S(*inputs, None, None, None, None, y, d(*y.shape), outputs=3, is_causal=1)
    sizes = (2, 4, 2, 65, 65, 16, 16)
    y = d(2, 65, 64)
    how = heads_of(sizes, True)
    yield S(
        *qkv(d, sizes, True),
        d(65, 65),
        None,
        None,
        None,
        y,
        d(*y.shape),
        outputs=6,
        mask_grad=1,
        **how,
    )


def attention_grad_samples(d):
    """Inputs of Attention, then Y and dY (any numbers)."""
    for sample in attention_grads(d):
        if sample.outputs == 4:
            continue
        y = attention_reference(replace(sample, outputs=1))[0]
        inputs = [*sample.inputs, None, None, None, None][:7]
        outputs, attributes = 3 if inputs[4] is None else 5, dict(sample.attributes)
        if inputs[3] is not None and inputs[3].dtype == d.dtype:
            outputs, attributes["mask_grad"] = 6, 1
        yield S(*inputs, y, d(*y.shape), outputs=outputs, **attributes)


def rotary_samples(d):
    for batch, heads, length, head, part, inter in (
        (2, 3, 4, 8, 0, 0), (2, 3, 4, 8, 4, 1), (1, 2, 5, 34, 0, 1), (1, 1, 3, 70, 66, 0),
    ):  # fmt: skip
        half = (part or head) // 2
        how = {"interleaved": inter, "rotary_embedding_dim": part}
        ids = d.index(9, batch, length, negative=False)
        table, each = (d(9, half), d(9, half)), (d(batch, length, half), d(batch, length, half))
        yield S(d(batch, heads, length, head), *table, ids, **how)
        yield S(d(batch, heads, length, head), *each, **how)
        packed = d(batch, length, heads * head)
        yield S(packed, *table, ids, num_heads=heads, **how)
        yield S(packed, *each, num_heads=heads, **how)


def linear_samples(d):
    rules = ("linear", "gated", "delta", "gated_delta")
    sizes = ((2, 5, 2, 2, 4, 3), (1, 7, 6, 2, 5, 37), (1, 1, 1, 1, 3, 4), (2, 0, 2, 1, 3, 4))
    for rule, (batch, steps, q_heads, heads, keys, values) in itertools.product(rules, sizes):
        how = {"q_num_heads": q_heads, "kv_num_heads": heads, "update_rule": rule}
        for past, wide in ((False, False), (True, True)):
            decay = d(batch, steps, heads * keys if wide else heads, low=-2, high=0)
            beta = d(batch, steps, heads if wide else 1, low=0, high=1)
            yield S(
                d(batch, steps, q_heads * keys, low=-1, high=1),
                d(batch, steps, heads * keys, low=-0.5, high=0.5),
                d(batch, steps, heads * values),
                d(batch, heads, keys, values) if past else None,
                decay if "gated" in rule else None,
                beta if "delta" in rule else None,
                outputs=2, **how, **({"scale": 0.25} if past else {}),
            )  # fmt: skip


def linear_attention(sample, *given):
    """The schema's recurrence on torch tensors."""
    import torch

    query, key, value, past, decay, beta = given
    attrs = sample.attributes
    heads, group = attrs["kv_num_heads"], attrs["q_num_heads"] // attrs["kv_num_heads"]
    q, k, v = (x.unflatten(2, (-1, x.shape[2] // n)) for x, n in (
        (query, heads * group), (key, heads), (value, heads)))  # fmt: skip
    state = torch.zeros(q.shape[0], heads, k.shape[3], v.shape[3], dtype=q.dtype)
    state = state if past is None else past
    outputs = []
    for t in range(q.shape[1]):
        if decay is not None:
            state = state * decay[:, t].unflatten(1, (heads, -1)).exp()[..., None]
        u = v[:, t]
        if beta is not None:
            u = beta[:, t, :, None] * (u - torch.einsum("bhdm,bhd->bhm", state, k[:, t]))
        state = state + k[:, t][..., None] * u[:, :, None]
        read = torch.einsum("bhdm,bhd->bhm", state.repeat_interleave(group, 1), q[:, t])
        outputs.append(read * (attrs.get("scale") or k.shape[3] ** -0.5))
    y = torch.stack(outputs, 1) if outputs else v.new_zeros(*q.shape[:3], v.shape[3])
    return y.flatten(2), state


def linear_grad_samples(d):
    for sample in linear_samples(d):
        query, _, value, *_ = sample.inputs
        if query.size == 0:
            continue
        attrs = sample.attributes
        heads, values = attrs["q_num_heads"], value.shape[2] // attrs["kv_num_heads"]
        keys = query.shape[2] // heads
        dy = d(*query.shape[:2], heads * values)
        dstate = d(query.shape[0], attrs["kv_num_heads"], keys, values)
        count = 3 + sum(x is not None for x in sample.inputs[3:])
        yield S(*sample.inputs, dy, dstate, outputs=count, **attrs)
        if attrs["update_rule"] == "delta":
            yield S(*sample.inputs, None, dstate, outputs=count, **attrs)
            yield S(*sample.inputs, dy, outputs=count, **attrs)


def linear_grad_reference(sample: Sample) -> list[np.ndarray]:
    import torch

    given = [None if x is None else torch.from_numpy(x).double() for x in (*sample.inputs, None)]
    wrt = [x.requires_grad_() for x in given[:6] if x is not None]
    outputs = linear_attention(sample, *given[:6])
    pairs = [(y, dy) for y, dy in zip(outputs, given[6:8], strict=True) if dy is not None]
    ys, dys = zip(*pairs, strict=True)
    grads = torch.autograd.grad(ys, wrt, dys, allow_unused=True)
    dtype = sample.inputs[0].dtype
    zeros = [np.zeros(tuple(x.shape), dtype) for x in wrt]
    return [z if g is None else g.numpy().astype(dtype) for g, z in zip(grads, zeros, strict=True)]


def linear_big(d):
    how = {"q_num_heads": 4, "kv_num_heads": 2, "outputs": 2}
    inputs = d(2, 65, 4 * 32, low=-1, high=1), d(2, 65, 2 * 32, low=-0.2, high=0.2)
    rates = d(2, 65, 2, low=-1, high=0), d(2, 65, 2, low=0, high=1)
    yield S(*inputs, d(2, 65, 2 * 70), None, *rates, **how)


def causal_conv_samples(d):
    for batch, channels, length, k in ((2, 3, 7, 4), (1, 2, 67, 3), (2, 3, 2, 5), (1, 4, 5, 1)):
        x, w = d(batch, channels, length), d(channels, 1, k)
        for activation in ("none", "silu"):
            how = {"outputs": 2, "activation": activation}
            yield S(x, w, d(channels), d(batch, channels, k - 1), **how)
            yield S(x, w, **how)
            yield S(x, w, None, d(batch, channels, k - 1), **how)
    yield S(d(1, 2, 0), d(2, 1, 3), None, d(1, 2, 2), outputs=2)


ROWS = [
    OpInfo("Attention", attention_samples, grad=(0, 1, 2, 3, 4, 5), tolerance=16,
           grad_samples=attention_grads, reference=attention_reference,
           why="causality over a mask of one row; raw scores with a softcap", big=attention_big),
    OpInfo("AttentionGrad", attention_grad_samples, "toolkit.grad", tolerance=64, grad=(0, 1, 2, 8),
           reference=attention_grad_reference, big=attention_grad_big),
    OpInfo("RotaryEmbedding", rotary_samples, dtypes=("float32",), tolerance=4,
           big=lambda d: [S(d(2, 4, 65, 64), d(70, 32), d(70, 32), d.index(70, 2, 65, negative=False))]),
    OpInfo("LinearAttention", linear_samples, dtypes=("float32",), tolerance=16, big=linear_big),
    OpInfo("LinearAttentionGrad", linear_grad_samples, "toolkit.grad", tolerance=64, grad=(),
           reference=linear_grad_reference, big=lambda d: [
               S(*s.inputs, d(2, 65, 280), outputs=5, **s.attributes) for s in linear_big(d)]),
    OpInfo("CausalConvWithState", causal_conv_samples, dtypes=("float32",), tolerance=4,
           big=lambda d: [S(d(2, 33, 701), d(33, 1, 4), d(33), activation="silu")]),
]  # fmt: skip

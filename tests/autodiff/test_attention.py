"""Gradients of the attention family that the schemas keep in float32, beside torch in float64."""

from __future__ import annotations

import numpy as np
import pytest

from tests import gradcheck, opcheck
from tests.opinfo import OPS
from tests.opinfo.attention import linear_attention
from toolkit.autodiff import grad_model

torch = pytest.importorskip("torch")

ROWS = {op.op_type: op for op in OPS if not op.domain}


def rotary(sample, x, cos, sin, ids=None):
    attrs = sample.attributes
    if packed := x.dim() == 3:
        x = x.unflatten(2, (attrs["num_heads"], -1)).transpose(1, 2)
    if ids is not None:
        cos, sin = cos[ids], sin[ids]
    cos, sin = cos[:, None], sin[:, None]
    part = attrs.get("rotary_embedding_dim") or x.shape[-1]
    turned, rest = x[..., :part], x[..., part:]
    if attrs.get("interleaved"):
        a, b = turned[..., ::2], turned[..., 1::2]
        turned = torch.stack([cos * a - sin * b, sin * a + cos * b], -1).flatten(-2)
    else:
        a, b = turned.chunk(2, -1)
        turned = torch.cat([cos * a - sin * b, sin * a + cos * b], -1)
    y = torch.cat([turned, rest], -1)
    return [y.transpose(1, 2).flatten(2) if packed else y]


def causal_conv(sample, x, w, bias=None, past=None):
    k = w.shape[2]
    past = x.new_zeros(*x.shape[:2], k - 1) if past is None else past
    z = torch.cat([past, x], 2)
    y = torch.nn.functional.conv1d(z, w, bias, groups=w.shape[0])
    if sample.attributes.get("activation", "none") != "none":
        y = torch.nn.functional.silu(y)
    return [y, z[:, :, z.shape[2] - (k - 1) :]]


CASES = {
    "RotaryEmbedding": rotary,
    "LinearAttention": linear_attention,
    "CausalConvWithState": causal_conv,
}


@pytest.mark.parametrize("name", [*CASES, "RotaryEmbedding alone"])
def test_gradient_beside_torch(name, rng):
    """Also of the input alone: the caches of a RotaryEmbedding are mostly constants."""
    name, _, alone = name.partition(" ")
    op = ROWS[name]
    for sample in op.samples(op.draw("float32", "grad")):
        if any(x is not None and x.size == 0 for x in sample.inputs):
            continue
        inputs = list(sample.inputs)
        wrt = [i for i, x in enumerate(inputs) if x is not None and x.dtype.kind == "f"]
        wrt = wrt[:1] if alone else wrt
        ys = opcheck.run(op, sample)
        produced = [i for i, y in enumerate(ys) if y is not None and y.size]
        model = grad_model(
            opcheck.model(op, sample, ys), [f"x{i}" for i in wrt], [f"y{i}" for i in produced]
        )
        dys = {i: rng.standard_normal(ys[i].shape).astype(np.float32) for i in produced}
        feed = opcheck.feed(sample) | {f"d_y{i}": d for i, d in dys.items()}
        got = gradcheck.session(model).run([f"d_x{i}" for i in wrt], feed)

        given = [None if x is None else torch.from_numpy(x) for x in inputs]
        given = [x.double() if x is not None and x.is_floating_point() else x for x in given]
        given += [None] * (6 - len(given) if name == "LinearAttention" else 0)
        for i in wrt:
            given[i].requires_grad_()
        outputs = CASES[name](sample, *given)
        want = torch.autograd.grad(
            [outputs[i] for i in produced], [given[i] for i in wrt],
            [torch.from_numpy(d).double() for d in dys.values()], materialize_grads=True,
        )  # fmt: skip
        for i, g, w in zip(wrt, got, want, strict=True):
            scale = max(1.0, float(w.abs().max()))
            np.testing.assert_allclose(g, w, 2e-5, 2e-5 * scale, err_msg=f"d_x{i} of {sample}")

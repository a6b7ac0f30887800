"""Attention written out, by exporters and by our export to older opsets, beside the plain path."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

import toolkit as tk
from benchmarks.zoo import fill
from benchmarks.zoo.sequence import gpt2
from tests.runtime.test_fusion import counts, model_of, plain
from tests.runtime.test_fusion_patterns import Graph
from tests.tolerances import assert_close
from toolkit import nn
from toolkit.runtime import InferenceSession


class Written(Graph):
    """A graph of inputs q, k, v in one of the layouts, and what else is drawn."""

    def __init__(self, dtype, batch, heads, groups, rows, keys, size, v_size, open_dims):
        super().__init__(dtype)
        self.sizes = batch, heads, groups, rows, keys, size, v_size
        self.open = open_dims
        self.inputs = {}

    def input(self, name, shape, names, dtype=None):
        element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype or self.dtype))
        declared = [n if self.open and n else s for s, n in zip(shape, names, strict=True)]
        self.inputs[name] = (element, tuple(declared), shape)
        return name

    def operand(self, name, length, axis, heads, size, packed):
        """(B, heads, length, size), from (B, length, heads size) if packed."""
        batch = self.sizes[0]
        if not packed:
            return self.input(name, (batch, heads, length, size), ("b", "", axis, ""))
        self.input(name, (batch, length, heads * size), ("b", axis, ""))
        return self.Transpose(self.Reshape(name, [0, 0, heads, size]), perm=[0, 2, 1, 3])

    def finish(self, output, outputs=()):
        element = helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype))
        shapes = {n: (e, d) for n, (e, d, _) in self.inputs.items()}
        return model_of(
            self.nodes, shapes, dict.fromkeys((output, *outputs), element), self.initializers
        )

    def feed(self, seed):
        rng = np.random.default_rng(seed)
        found = {}
        for name, (element, _, shape) in self.inputs.items():
            dtype = helper.tensor_dtype_to_np_dtype(element)
            x = rng.standard_normal(shape)
            if name == "bias":
                x = np.where(rng.random(shape) < 0.3, -np.inf, x)
            found[name] = x > -1 if name == "keep" else x.astype(dtype)
        return found


@st.composite
def attentions(draw):
    """(model, feed, how many outputs): every choice that the pass knows."""
    batch, groups = draw(st.sampled_from([1, 2])), draw(st.sampled_from([1, 1, 2]))
    kv_heads = draw(st.sampled_from([1, 3]))
    heads = kv_heads * groups
    rows, keys = draw(st.sampled_from([1, 3, 20])), draw(st.sampled_from([1, 2, 7, 33]))
    size, v_size = draw(st.sampled_from([1, 4, 17])), draw(st.sampled_from([3, 16]))
    dtype = draw(st.sampled_from([np.float32, np.float64, np.float16]))
    packed, past = draw(st.booleans()), draw(st.sampled_from([None, 0, 5]))
    g = Written(dtype, batch, heads, groups, rows, keys, size, v_size, draw(st.booleans()))
    q = g.operand("q", rows, "l", heads, size, packed)
    k = g.operand("k", keys, "s", kv_heads, size, packed)
    v = g.operand("v", keys, "s", kv_heads, v_size, packed)
    outputs = []
    if past is not None:
        names = ("b", "", "p", "")
        k = g.Concat(g.input("past_k", (batch, kv_heads, past, size), names), k, axis=2)
        v = g.Concat(g.input("past_v", (batch, kv_heads, past, v_size), names), v, axis=-2)
        outputs, keys = [k, v], keys + past
    if groups > 1:
        k, v = repeat(g, k, groups, size), repeat(g, v, groups, v_size)
    scale = draw(st.sampled_from(["q", "both", "scores", "div", "none"]))
    if scale in ("q", "both"):
        q = g.Mul(q, 0.5)
    whole, k = k, g.Transpose(k, perm=[0, 1, 3, 2])
    if scale == "both":
        k = g.Mul(0.7, k)
    scores = g.MatMul(q, k)
    if scale == "scores":
        scores = g.Mul(scores, 0.3)
    if scale == "div":
        scores = g.Div(scores, 2.0)
    mask = draw(st.sampled_from(["", "bias", "guarded", "where", "causal"]))
    shape = [draw(st.sampled_from([s, 1])) for s in (batch, heads, rows, keys)]
    shape = shape[draw(st.sampled_from([0, 0, 1, 2, 3])) :]
    names = ["b", "", "l", ""][4 - len(shape) :]
    names = [n if s > 1 else "" for n, s in zip(names, shape, strict=True)]
    if mask in ("bias", "guarded"):
        bias = g.input("bias", shape, names)
        order = (scores, bias) if draw(st.booleans()) else (bias, scores)
        scores = g.Add(*order)
    if mask == "where":
        scores = g.Where(g.input("keep", shape, names, bool), scores, -np.inf)
    if mask == "causal":
        scores = g.Add(scores, causal(g, q, whole, None if past is None else "past_k"))
    p = g.Softmax(scores, axis=-1)
    if mask == "guarded":
        top = g.ReduceMax(bias, [-1], keepdims=1)
        p = g.Where(g.Equal(top, -np.inf), 0.0, p)
    y = g.MatMul(p, v)
    if packed:
        y = g.Reshape(g.Transpose(y, perm=[0, 2, 1, 3]), [0, -1, heads * v_size])
    return g.finish(y, outputs), g.feed(draw(st.integers(0, 1000)))


def causal(g, q, k, past):
    """-inf for the keys behind a row's own, which lies behind the past; else 0."""

    def length(x):
        return g.Shape(x, start=2, end=3)

    def count(x):
        return g.Range(np.int64(0), g.Squeeze(length(x)), np.int64(1))

    rows = g.Unsqueeze(count(q), [1])
    rows = rows if past is None else g.Add(rows, length(past))
    return g.Where(g.Less(rows, g.Unsqueeze(count(k), [0])), -np.inf, 0.0)


def repeat(g, x, groups, size):
    """Every head `groups` times, as exporters write it."""
    heads, shape = g.sizes[1] // groups, g.Shape(x)
    batch, length = g.Shape(x, start=0, end=1), g.Slice(shape, [2], [3])
    wide = g.Unsqueeze(x, [2])
    wide = g.Expand(wide, g.Concat(batch, [heads], [groups], length, [size], axis=0))
    return g.Reshape(wide, g.Concat(batch, [heads * groups], length, [size], axis=0))


@settings(max_examples=250, deadline=None)
@given(attentions())
def test_attention_equals_the_plain_path(case):
    model, feed = case
    with np.errstate(invalid="ignore"):
        want = InferenceSession(model, plain()).run(None, feed)
        session = InferenceSession(model)
        for _ in range(2):
            for got, expected in zip(session.run(None, feed), want, strict=True):
                assert_close(got, expected, 20)


def graph(**sizes):
    default = {"batch": 2, "heads": 4, "groups": 1, "rows": 3, "keys": 5, "size": 8, "v_size": 8}
    g = Written(np.float32, *(default | sizes).values(), open_dims=True)
    _, heads, groups, rows, keys, size, v_size = g.sizes
    q = g.operand("q", rows, "l", heads, size, False)
    k = g.operand("k", keys, "s", heads // groups, size, False)
    v = g.operand("v", keys, "s", heads // groups, v_size, False)
    return g, q, k, v


def attend(g, q, k, v):
    scores = g.MatMul(q, g.Transpose(k, perm=[0, 1, 3, 2]))
    return scores, g.MatMul(g.Softmax(scores, axis=-1), v)


def test_it_is_one_kernel():
    g, q, k, v = graph()
    assert counts(g.finish(attend(g, q, k, v)[1])) == ["Attention"]


def test_past_and_present_join_it():
    g, q, k, v = graph()
    names = ("b", "", "p", "")
    k = g.Concat(g.input("past_k", (2, 4, 6, 8), names), k, axis=2)
    v = g.Concat(g.input("past_v", (2, 4, 6, 8), names), v, axis=2)
    assert counts(g.finish(attend(g, q, k, v)[1], (k, v))) == ["Attention"]


def test_repeated_heads_are_read_where_they_lie():
    g, q, k, v = graph(groups=2)
    k, v = (repeat(g, x, 2, 8) for x in (k, v))
    assert counts(g.finish(attend(g, q, k, v)[1])) == ["Attention"]


def test_scores_that_are_read_stay():
    g, q, k, v = graph()
    scores, y = attend(g, q, k, v)
    assert "Attention" not in counts(g.finish(y, (scores,)))


class Masked(nn.Module):
    def forward(self, x, keep):
        q, k, v = (x.unflatten(-1, (2, -1)).transpose(1, 2) * s for s in (1.0, 0.5, 2.0))
        y = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=keep)
        return y.transpose(1, 2).flatten(2)


def small_gpt():
    model = gpt2(tk, 50, 32, 2, 2, 16).eval()
    fill(tk, model, 0)
    return model


RNG = np.random.default_rng(0)
PAST = [RNG.standard_normal((1, 2, 6, 8)).astype(np.float32) for _ in range(4)]
EXPORTS = {
    "causal": (small_gpt, ([[3, 4, 5]], [[0, 1, 2]])),
    "past": (small_gpt, ([[7]], [[6]], *PAST)),
    "mask": (Masked, (RNG.standard_normal((2, 5, 8), np.float32), RNG.random((2, 1, 1, 5)) > 0.3)),
}


@pytest.mark.parametrize("name", EXPORTS)
def test_exports_to_older_opsets_are_recognised(name, tmp_path):
    """The body of Attention, as `tk.save` writes it for opset 21."""
    make, arrays = EXPORTS[name]
    path = tmp_path / "m.onnx"
    tk.save(path, make(), inputs=tuple(tk.tensor(np.asarray(a)) for a in arrays), opset=21)
    session = InferenceSession(path)
    feed = {v.name: np.asarray(a) for v, a in zip(session.get_inputs(), arrays, strict=True)}
    want = InferenceSession(path, plain()).run(None, feed)
    for got, expected in zip(session.run(None, feed), want, strict=True):
        assert_close(got, expected, 20)
    found = counts(str(path))
    assert "Attention" in found and "Softmax" not in found, found

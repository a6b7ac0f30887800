"""ops.If, ops.Loop and ops.Scan on eager tensors, beside torch's loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx import parser

import toolkit as tk
from toolkit.errors import InvalidArgumentError

X = np.array([0.3, -0.7, 0.5], np.float32)
W = np.array([0.8, 0.4, -0.6], np.float32)
ROWS = np.random.default_rng(0).uniform(-1, 1, (4, 3)).astype(np.float32)


def graph(text: str):
    return parser.parse_graph(text)


TURN = graph("""turn (int64 i, bool c, float[3] h) => (bool more, float[3] o, float[3] s) {
    more = Identity (c)
    hw = Mul (h, w)
    o = Sin (hw)
    s = Identity (o)
}""")
STEP = graph("""step (float[3] h, float[3] e) => (float[3] o, float[3] s) {
    he = Mul (h, e)
    o = Tanh (he)
    s = Exp (o)
}""")
THEN = graph("a () => (float[3] p) { p = Mul (x, w) }")
ELSE = graph("b () => (float[3] q) { q = Sin (x) }")


def leaves(*arrays):
    ours = [tk.tensor(a, requires_grad=True) for a in arrays]
    return ours, [torch.tensor(a, requires_grad=True) for a in arrays]


def compare(ours, theirs, sources, twins) -> None:
    for y, t in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(y.detach().numpy(), t.detach().numpy(), rtol=1e-5, atol=1e-6)
    sum((y * y).sum() for y in ours).backward()
    sum((t * t).sum() for t in theirs).backward()
    for x, t in zip(sources, twins, strict=True):
        want = np.zeros_like(X) if t.grad is None else t.grad.numpy()
        got = np.zeros_like(X) if x.grad is None else x.grad.numpy()
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("turns", [0, 1, 3])
def test_loop(turns):
    (x, w), (tx, tw) = leaves(X, W)
    y, ys = tk.ops.Loop(tk.tensor(turns), tk.tensor(True), x, outer={"w": w}, body=TURN)
    h, states = tx, []
    for _ in range(turns):
        h = torch.sin(h * tw)
        states.append(h)
    assert ys.shape[0] == turns
    ours, theirs = ([y, ys], [h, torch.stack(states)]) if turns else ([y], [h])
    compare(ours, theirs, [x, w], [tx, tw])


def test_scan():
    (h, x), (th, tx) = leaves(X, ROWS)
    last, ys = tk.ops.Scan(h, x, body=STEP, num_scan_inputs=1)
    state, out = th, []
    for row in tx:
        state = torch.tanh(state * row)
        out.append(state.exp())
    compare([last, ys], [state, torch.stack(out)], [h, x], [th, tx])


@pytest.mark.parametrize("taken", [True, False])
def test_if(taken):
    (x, w), (tx, tw) = leaves(X, W)
    y = tk.ops.If(
        tk.tensor(taken), outer={"x": x, "w": w}, then_branch=THEN, else_branch=ELSE
    )  # fmt: skip
    compare([y], [tx * tw if taken else tx.sin()], [x, w], [tx, tw])


def test_retained_and_freed():
    (x, w), _ = leaves(X, W)
    y, _ = tk.ops.Loop(tk.tensor(2), tk.tensor(True), x, outer={"w": w}, body=TURN)
    y.sum().backward(retain_graph=True)
    first = x.grad.numpy().copy()
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * first, rtol=1e-6)
    with pytest.raises(InvalidArgumentError, match="second time"):
        y.sum().backward()


def test_outer_values_are_required():
    with pytest.raises(InvalidArgumentError, match=r"reads? from outside, \['w'\]"):
        tk.ops.Loop(tk.tensor(2), tk.tensor(True), tk.tensor(X), body=TURN)


def test_dropout_keeps_its_mask():
    (x,), _ = leaves(np.full(64, 2.0, np.float32))
    y = tk.ops.Dropout(x, tk.tensor(0.25), tk.tensor(True))
    y.sum().backward()
    assert (y.detach().numpy() == 0).any()
    np.testing.assert_allclose(x.grad.numpy(), y.detach().numpy() / 2.0, rtol=1e-6)


def test_the_gradient_reads_what_the_loop_read():
    """A write between the two gives the tensor a new value: that of the tape stays."""
    x, w = tk.tensor(X, requires_grad=True), tk.tensor(W, requires_grad=True)
    (tx, tw) = (torch.tensor(a, requires_grad=True) for a in (X, W))
    y, _ = tk.ops.Loop(tk.tensor(1), tk.tensor(True), x, outer={"w": w}, body=TURN)
    with tk.no_grad():
        w.mul_(10.0)
    compare([y], [torch.sin(tx * tw)], (x, w), (tx, tw))

"""Control flow of a loaded model, eagerly: values and derivatives of the first and second order."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import toolkit as tk
from toolkit.errors import InvalidArgumentError, UnsupportedOperatorError

HEAD = '<ir_version: 10, opset_import: ["" : 21]>\n'
POWER = """g (float[N] x, int64 turns) => (float[N] y) <float[1] w = {1.5}> {
  yes = Constant<value = bool {1}>()
  y = Loop(turns, yes, x) <body = b (int64 i, bool c, float[N] h) => (bool c2, float[N] h2) {
    c2 = Identity(c)
    h2 = Mul(h, w)
  }>
}"""
BRANCH = """g (float[N] x) => (float[N] y, int64 which) <float[1] w = {1.5}> {
  zero = Constant<value = float {0}>()
  s = ReduceSum<keepdims = 0>(x)
  c = Greater(s, zero)
  y, which = If(c) <
    then_branch = t () => (float[N] a, int64 k) {
      a = Mul(x, x)
      k = Constant<value = int64 {1}>()
    },
    else_branch = e () => (float[N] a, int64 k) {
      a = Mul(x, w)
      k = Constant<value = int64 {0}>()
    }>
}"""
ITEMS = """g (float[N] x) => (float[N] y) {
  one = Constant<value = int64 {1}>()
  yes = Constant<value = bool {1}>()
  empty = SequenceEmpty()
  made = Loop(one, yes, empty) <body = b (int64 i, bool c, seq(float[N]) s)
      => (bool c2, seq(float[N]) s2) {
    c2 = Identity(c)
    d = Mul(x, x)
    s2 = SequenceInsert(s, d)
  }>
  y = ConcatFromSequence<axis = 0>(made)
}"""


def module(text: str) -> tk.nn.Module:
    return tk.load(onnx.parser.parse_model(HEAD + text).SerializeToString())


@pytest.mark.parametrize("turns", [0, 1, 3])
def test_a_loop_to_the_second_order(turns):
    net = module(POWER)
    x = tk.tensor([2.0, -1.0], requires_grad=True)
    y = net(x, tk.tensor(turns))
    (w,) = net.parameters()
    n, v, s = turns, 1.5, 1.0  # s: the sum of x.
    np.testing.assert_allclose(y.detach().numpy(), np.array([2.0, -1.0]) * v**n, rtol=1e-6)
    dw, dx = tk.autograd.grad(y.sum(), [w, x], create_graph=True)
    np.testing.assert_allclose(dw.detach().numpy(), [n * s * v ** max(n - 1, 0)], rtol=1e-6)
    np.testing.assert_allclose(dx.detach().numpy(), [v**n] * 2, rtol=1e-6)
    if n:
        dw.sum().backward()
        np.testing.assert_allclose(w.grad.numpy(), [n * (n - 1) * s * v ** max(n - 2, 0)])
        np.testing.assert_allclose(x.grad.numpy(), [n * v ** (n - 1)] * 2)


def test_an_if_takes_the_gradient_of_its_branch():
    net = module(BRANCH)
    (w,) = net.parameters()
    for values, dx, dw in (([1.0, 2.0], [2.0, 4.0], 0.0), ([-1.0, -3.0], [1.5, 1.5], -4.0)):
        net.zero_grad()
        x = tk.tensor(values, requires_grad=True)
        y, which = net(x)
        y.sum().backward()
        assert int(which) == (dw == 0.0)
        np.testing.assert_allclose(x.grad.numpy(), dx)
        np.testing.assert_allclose(0.0 if w.grad is None else w.grad.numpy(), dw)


def test_what_changes_later_is_seen():
    net = module(POWER)
    (w,) = net.parameters()
    x = tk.tensor([2.0], requires_grad=True)
    y = net(x, tk.tensor(2))
    with tk.no_grad():
        w.mul_(10.0)
    with pytest.raises(InvalidArgumentError, match="modified by an inplace operation"):
        y.sum().backward()


def test_sequences_need_a_compiled_step():
    net = module(ITEMS)
    with tk.no_grad():
        np.testing.assert_allclose(net(tk.tensor([3.0])).numpy(), [9.0])
    with pytest.raises(UnsupportedOperatorError, match="a compiled step is required"):
        net(tk.tensor([3.0], requires_grad=True))

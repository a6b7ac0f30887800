"""Transformed functions are traced once, and again when anything they depend on has changed."""

from __future__ import annotations

import functools
import random
import types

import numpy as np
import pytest

import toolkit as tk
from toolkit import func, nn

X = np.arange(6, dtype=np.float32).reshape(3, 2) + 1

SCALE = 2.0
WEIGHT = tk.tensor([1.0, 2.0])
SETTINGS = {"power": 2, "names": ["a"]}
helpers = types.ModuleType("helpers")
helpers.shift = 1.0


class Options:
    scale = 3.0

    def __init__(self):
        self.offset = 1.0
        self.w = tk.tensor([1.0, 1.0])

    def apply(self, x):
        return x * self.scale * self.w + self.offset


def of_globals(x):
    return (x * WEIGHT * SCALE) ** SETTINGS["power"] + helpers.shift


def by_default(x, k=2.0):
    return x * k


def traces_of(call):
    before = func.cache_info().traces
    call()
    return func.cache_info().traces - before


def test_a_second_call_does_not_trace():
    x = tk.tensor(X)
    for f in (of_globals, by_default, Options().apply, functools.partial(by_default, k=3.0)):
        mapped = func.vmap(f)
        mapped(x)
        assert traces_of(lambda m=mapped: m(x)) == 0, f
        assert traces_of(lambda m=mapped: m(x + 1)) == 0, f
        assert traces_of(lambda m=mapped: m(x[:2])) == 1, f  # Another shape.
        assert traces_of(lambda f=f: func.vmap(f)(x)) == 0, f
        assert traces_of(lambda f=f: func.vmap(f, out_dims=1)(x)) == 1, f
    for k in range(2):  # A function made anew of the same code.
        count = traces_of(lambda: func.jacrev(lambda a: (a * WEIGHT).exp())(x[0]))
        assert count == 1 - k
    count = traces_of(lambda: func.hessian(lambda a: (a * WEIGHT).exp().sum())(x[0]))
    assert count == 1


def changed(f, change, x=X):
    """The results of a mapped function before and after a change, checked against plain calls."""
    mapped = func.vmap(f)
    t = tk.tensor(x)
    results = []
    for step in (None, change):
        if step is not None:
            step()
        got = mapped(t).numpy()
        want = np.stack([f(row).detach().numpy() for row in t])
        np.testing.assert_allclose(got, want, rtol=1e-6)
        results.append(got)
        np.testing.assert_array_equal(mapped(t).numpy(), got)
    assert (results[0] != results[1]).any(), "the change has no effect"


def test_globals(monkeypatch):
    module = __name__
    changed(of_globals, lambda: monkeypatch.setattr(f"{module}.SCALE", 3.0))
    changed(of_globals, lambda: monkeypatch.setattr(f"{module}.WEIGHT", tk.tensor([5.0, 6.0])))
    changed(of_globals, lambda: monkeypatch.setitem(SETTINGS, "power", 3))
    changed(of_globals, lambda: monkeypatch.setattr(helpers, "shift", 7.0))
    changed(lambda x: of_globals(x) + 1, lambda: monkeypatch.setitem(SETTINGS, "power", 4))


def test_a_written_tensor_is_read_again_without_tracing():
    w = tk.tensor([1.0, 2.0])
    f = func.vmap(lambda x: x * w)
    f(tk.tensor(X))
    w.mul_(3)
    assert traces_of(lambda: np.testing.assert_allclose(f(tk.tensor(X)).numpy(), X * [3, 6])) == 0


def test_closures_and_objects(monkeypatch):
    box = {"k": 2.0}
    changed(lambda x: x * box["k"], lambda: box.update(k=3.0))
    k = 2.0

    def rebind():
        nonlocal k
        k = 5.0

    changed(lambda x: x * k, rebind)
    o = Options()
    changed(o.apply, lambda: setattr(o, "offset", 4.0))
    changed(o.apply, lambda: setattr(o, "w", tk.tensor([2.0, 3.0])))
    changed(o.apply, lambda: monkeypatch.setattr(Options, "scale", 5.0))
    changed(lambda x: Options().apply(x), lambda: monkeypatch.setattr(Options, "scale", 6.0))
    changed(
        o.apply, lambda: monkeypatch.setattr(Options, "apply", lambda self, x: x * 9 + self.offset)
        or setattr(o, "offset", 0.5),
    )  # fmt: skip
    changed(by_default, lambda: monkeypatch.setattr(by_default, "__defaults__", (7.0,)))


def test_modules():
    m = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).eval()
    before = func.vmap(lambda x: m(x[None])[0])
    before(tk.tensor(X))
    with tk.no_grad():
        m[0].weight.mul_(2)
    assert traces_of(lambda: before(tk.tensor(X))) == 0

    def call(x):
        return m(x[None])[0].detach()

    changed(call, lambda: m[0].weight.data.add_(1))
    changed(call, lambda: setattr(m[0], "weight", nn.Parameter(tk.tensor(X[:2]))))
    changed(call, lambda: setattr(m, "1", nn.Identity()))
    drop = nn.Dropout(0.5).eval()
    mapped = func.vmap(drop, randomness="different")
    ones = tk.ones(4, 50)
    assert (mapped(ones).numpy() == 1).all()
    drop.train()
    assert (mapped(ones).numpy() != 1).any()


def test_values_that_python_reads():
    w = tk.tensor([2.0])
    changed(lambda x: x * w.item(), lambda: w.add_(1))
    changed(lambda x: x * float(w.numpy()[0]), lambda: w.add_(1))


def test_gradients_of_closed_over_tensors():
    p = tk.tensor([1.0, 2.0], requires_grad=True)
    (p * p).sum().backward()

    def later():
        p.grad = tk.tensor([7.0, 8.0])

    changed(lambda x: x * p.grad, later)


def test_draws_from_outside_are_drawn_each_time():
    x = tk.tensor(X)
    for draw in (random.random, np.random.rand, lambda: np.random.default_rng().random()):
        f = func.vmap(lambda a, draw=draw: a + float(draw()))
        assert (f(x).numpy() != f(x).numpy()).any()
    f = func.vmap(lambda a: a + np.random.rand())
    assert (f(x).numpy() != f(x).numpy()).any()
    g = func.vmap(lambda a: a + tk.rand(2), randomness="same")
    g(x)
    assert traces_of(lambda: g(x)) == 0
    assert (g(x).numpy() != g(x).numpy()).any()


def test_side_effects_happen_each_time():
    calls = []
    f = func.vmap(lambda a: calls.append(1) or a * 2)
    for count in (1, 2, 3):
        f(tk.tensor(X))
        assert len(calls) == count


def test_modes():
    w = tk.tensor([1.0, 2.0], requires_grad=True)
    f = func.vmap(lambda x: x * w)
    assert f(tk.tensor(X)).requires_grad
    with tk.no_grad():
        assert not f(tk.tensor(X)).requires_grad
    assert f(tk.tensor(X)).requires_grad


@pytest.mark.parametrize("n", [1, 2])
def test_cycles(n):
    loop = {"k": 2.0}
    loop["self"] = [loop] * n
    changed(lambda x: x * loop["k"], lambda: loop.update(k=4.0))

"""Long tapes in pieces: gradients as of the whole, and few structures for any length."""

import numpy as np
import pytest
from against import data

import toolkit as tk
from toolkit import nn
from toolkit._tensor import pieces, segments


def unrolled(length, hook=None):
    """Loss and parameters of a cell that is unrolled, read at each step by a second loop."""
    tk.manual_seed(0)
    cell, head = nn.LSTMCell(3, 5), nn.Linear(5, 2)
    state = tk.zeros(2, 5), tk.zeros(2, 5)
    kept = []
    for t in range(length):
        state = cell(tk.tensor(data(2, 3, seed=t)), state)
        kept.append(state[0])
    if hook:
        for y in kept[::7]:
            y.register_hook(hook)
    losses = [head(y).tanh().square().mean() * (1 + i % 3) for i, y in enumerate(kept)]
    return tk.stack(losses).sum(), [*cell.parameters(), *head.parameters()]


def carried(length):
    """A state that is written to in place, and a value that all steps share."""
    w = tk.tensor(data(4, seed=1), requires_grad=True)
    scale = w.exp()
    state = tk.zeros(100, 4)
    x = w * 1
    for t in range(length):
        x = (x * scale).sin() + w
        state[t] = x
    return (state * tk.arange(1.0, 101)[:, None]).sum(), [w]


def grads(make, *args):
    loss, params = make(*args)
    loss.backward()
    return [p.grad.numpy() for p in params]


@pytest.mark.parametrize("make", [unrolled, carried])
@pytest.mark.parametrize("hook", [None, lambda g: g * 2])
def test_pieces_give_the_gradients_of_the_whole(make, hook, monkeypatch):
    args = (40, hook) if make is unrolled else (60,)
    found = grads(make, *args)
    again = grads(make, *args)
    monkeypatch.setattr(pieces, "LONG", 10**9)
    for a, b, whole in zip(found, again, grads(make, *args), strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_allclose(a, whole, rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("make", [unrolled, carried])
def test_other_lengths_compile_little(make):
    grads(make, 64)
    before = segments.cache_info().misses
    for length in range(65, 75):
        grads(make, length)
    # What holds all steps at once: their stack, or the writes.
    assert segments.cache_info().misses - before <= 40


def test_the_order_is_kept_and_nothing_is_lost():
    class Op:
        pass

    class Step:
        def __init__(self, op):
            self.op = op

    ops = [Op() for _ in range(6)]
    draw = np.random.default_rng(0)
    for size in (1, 5, 200, 1000):
        order = [Step(ops[i]) for i in draw.integers(0, 6, size)]
        made = pieces.split(order)
        assert [r for piece in made for r in piece] == order
    loop = [Step(op) for _ in range(300) for op in ops]
    sizes = [len(piece) for piece in pieces.split(loop)]
    assert max(sizes) == 96 and len(sizes) <= 300 * 6 // 96 + 6

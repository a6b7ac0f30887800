"""Seeds, generators and distributions."""

import numpy as np
import pytest
from against import compare, refused, tk


def test_seed_repeats_and_moves_on():
    tk.manual_seed(3)
    a, b = tk.rand(5), tk.rand(5)
    tk.manual_seed(3)
    assert tk.rand(5).equal(a) and tk.rand(5).equal(b) and not a.equal(b)
    assert tk.initial_seed() == 3
    state = tk.get_rng_state()
    c = tk.randn(4)
    tk.set_rng_state(state)
    assert tk.randn(4).equal(c)


def test_generators_are_streams_of_their_own():
    g, h = tk.Generator().manual_seed(1), tk.Generator().manual_seed(1)
    tk.manual_seed(9)
    before = tk.get_rng_state()
    assert tk.rand(3, generator=g).equal(tk.rand(3, generator=h))
    assert tk.get_rng_state().equal(before)
    assert g.get_state().tolist() == [1, 1] and g.initial_seed() == 1


def test_moments():
    tk.manual_seed(0)
    u, z = tk.rand(200_000), tk.randn(200_000)
    assert u.min().item() >= 0 and u.max().item() < 1
    assert abs(u.mean().item() - 0.5) < 0.005 and abs(u.var().item() - 1 / 12) < 0.002
    assert abs(z.mean().item()) < 0.01 and abs(z.std().item() - 1) < 0.01
    assert abs((z**4).mean().item() - 3) < 0.1
    d = tk.rand(1000, dtype=tk.float64)
    assert d.dtype is tk.float64 and tk.randn(3, dtype=tk.float64).dtype is tk.float64
    n = tk.normal(2.0, 3.0, (50_000,))
    assert abs(n.mean().item() - 2) < 0.06 and abs(n.std().item() - 3) < 0.06


def test_integers_and_permutations():
    tk.manual_seed(0)
    i = tk.randint(-3, 4, (10_000,))
    assert i.dtype is tk.int64 and set(i.tolist()) == set(range(-3, 4))
    assert tk.randint(5, (3, 2)).shape == (3, 2)
    p = tk.randperm(100)
    assert p.dtype is tk.int64 and sorted(p.tolist()) == list(range(100))
    assert p.tolist() != list(range(100))


def test_multinomial_and_bernoulli():
    tk.manual_seed(0)
    p = tk.tensor([0.0, 1.0, 3.0, 0.0])
    draws = tk.multinomial(p, 20_000, replacement=True)
    counts = draws.bincount(minlength=4).tolist()
    assert counts[0] == counts[3] == 0 and abs(counts[2] / 20_000 - 0.75) < 0.02
    assert sorted(tk.multinomial(p, 2).tolist()) == [1, 2]
    rows = tk.multinomial(tk.tensor([[1.0, 0.0], [0.0, 1.0]]), 3, replacement=True)
    assert rows.tolist() == [[0, 0, 0], [1, 1, 1]]
    first = np.mean([tk.multinomial(tk.tensor([1.0, 3.0]), 2)[0].item() for _ in range(600)])
    assert abs(first - 0.75) < 0.07
    b = tk.bernoulli(tk.full((10_000,), 0.3))
    assert b.dtype is tk.float32 and abs(b.mean().item() - 0.3) < 0.02
    with pytest.raises(RuntimeError, match="not enough non-negative"):
        tk.multinomial(p, 3)


def test_in_place_draws():
    tk.manual_seed(0)
    x = tk.empty(10_000)
    assert x.uniform_(1, 2).min().item() + 1e-3 > 1 and x.max().item() < 2
    assert abs(x.normal_(5, 0.1).mean().item() - 5) < 0.01
    assert abs(x.bernoulli_(0.2).mean().item() - 0.2) < 0.02
    assert set(tk.empty(100).random_(3).tolist()) <= {0.0, 1.0, 2.0}
    w = tk.ones(3, requires_grad=True)
    with tk.no_grad():
        w.normal_()
    assert w.is_leaf and w.requires_grad
    with pytest.raises(RuntimeError, match="leaf"):
        w.uniform_()


def test_dropout():
    tk.manual_seed(0)
    x = tk.ones(10_000, requires_grad=True)
    y, mask = tk.random.dropout(x, 0.25)
    assert mask.dtype is tk.bool and abs(mask.float().mean().item() - 0.75) < 0.02
    np.testing.assert_allclose(y.detach().numpy(), mask.numpy() / 0.75, rtol=1e-6)
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), mask.numpy() / 0.75, rtol=1e-6)


def test_likes_and_flags():
    def run(m):
        x = m.zeros(2, 3, dtype=m.float64)
        made = [m.rand_like(x), m.randn_like(x), m.rand(2, requires_grad=True), m.randn((2, 3))]
        return [[list(t.shape), t.requires_grad, str(t.dtype).split(".")[1]] for t in made]

    compare(run)
    assert "expects 'from' to be less than 'to'" in refused(lambda m: m.randint(3, 3, (2,)))


DRAWS = [  # (method, arguments, mean, standard deviation)
    ("exponential_", (2.0,), 0.5, 0.5),
    ("log_normal_", (0.0, 0.5), np.exp(0.125), np.sqrt((np.exp(0.25) - 1) * np.exp(0.25))),
    ("geometric_", (0.25,), 4.0, np.sqrt(12)),
    ("uniform_", (-1.0, 3.0), 1.0, 4 / np.sqrt(12)),
    ("normal_", (2.0, 3.0), 2.0, 3.0),
    ("bernoulli_", (0.3,), 0.3, np.sqrt(0.21)),
]


@pytest.mark.parametrize(("name", "arguments", "mean", "std"), DRAWS)
def test_draws_in_place(name, arguments, mean, std):
    tk.manual_seed(4)
    n = 50_000
    x = getattr(tk.empty(n), name)(*arguments)
    assert abs(x.mean().item() - mean) < 6 * std / np.sqrt(n)
    assert abs(x.std().item() / std - 1) < 0.06
    g = tk.Generator().manual_seed(7)
    h = tk.Generator().manual_seed(7)
    a = getattr(tk.empty(5), name)(*arguments, generator=g)
    assert a.equal(getattr(tk.empty(5), name)(*arguments, generator=h))


def test_cauchy_in_place():
    tk.manual_seed(5)
    x = tk.empty(50_000).cauchy_(1.0, 2.0).numpy()
    quartiles = np.quantile(x, [0.25, 0.5, 0.75])
    np.testing.assert_allclose(quartiles, [-1, 1, 3], atol=0.1)


def test_poisson_and_binomial():
    tk.manual_seed(6)
    for rate in (0.5, 7.0, 200.0):
        x = tk.poisson(tk.full((20_000,), rate)).numpy()
        assert (x == np.floor(x)).all() and (x >= 0).all()
        assert abs(x.mean() - rate) < 6 * np.sqrt(rate / 20_000)
        assert abs(x.var() / rate - 1) < 0.1
    x = tk.binomial(tk.full((20_000,), 12.0), tk.full((20_000,), 0.3)).numpy()
    assert abs(x.mean() - 3.6) < 0.06 and abs(x.var() - 2.52) < 0.2


def test_fork_rng():
    tk.manual_seed(8)
    want = tk.rand(3)
    tk.manual_seed(8)
    with tk.fork_rng():
        tk.rand(5)
    assert tk.rand(3).equal(want)

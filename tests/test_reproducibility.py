"""The same seed gives the same numbers: eagerly, compiled, with any threads, in any process."""

from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys

import numpy as np
import pytest

import toolkit as tk
from toolkit import data, nn
from toolkit import distributions as D
from toolkit.errors import InvalidArgumentError
from toolkit.nn import functional as F

N = 50_000  # Elements: enough that threads share them.
X = np.linspace(0.05, 0.95, N, dtype=np.float32)

# What takes `generator=`, as torch's does.
WITH_GENERATOR = {
    "rand": lambda **g: tk.rand(N, **g),
    "rand float64": lambda **g: tk.rand(N, dtype=tk.float64, **g),
    "randn": lambda **g: tk.randn(N, **g),
    "randint": lambda **g: tk.randint(0, 1000, (N,), **g),
    "randperm": lambda **g: tk.randperm(N, **g),
    "normal": lambda **g: tk.normal(0.5, 2.0, (N,), **g),
    "normal of tensors": lambda **g: tk.normal(tk.tensor(X), tk.tensor(X), **g),
    "bernoulli": lambda **g: tk.bernoulli(tk.tensor(X), **g),
    "Tensor.bernoulli": lambda **g: tk.tensor(X).bernoulli(**g),
    "multinomial": lambda **g: tk.multinomial(tk.tensor(X[::100].copy()), 40, **g),
    "multinomial replaced": lambda **g: tk.tensor(X[::100].copy()).multinomial(500, True, **g),
    "poisson": lambda **g: tk.poisson(tk.tensor(X[:500] * 9), **g),
    "rand_like": lambda **g: tk.rand_like(tk.tensor(X), **g),
    "randn_like": lambda **g: tk.randn_like(tk.tensor(X), **g),
    "randint_like": lambda **g: tk.randint_like(tk.tensor(X), 9, **g),
    "uniform_": lambda **g: tk.zeros(N).uniform_(-1, 2, **g),
    "normal_": lambda **g: tk.zeros(N).normal_(1, 2, **g),
    "bernoulli_": lambda **g: tk.zeros(N).bernoulli_(0.3, **g),
    "random_": lambda **g: tk.zeros(N).random_(0, 7, **g),
    "exponential_": lambda **g: tk.zeros(N).exponential_(2.0, **g),
    "geometric_": lambda **g: tk.zeros(N).geometric_(0.3, **g),
    "cauchy_": lambda **g: tk.zeros(N).cauchy_(**g),
    "log_normal_": lambda **g: tk.zeros(N).log_normal_(**g),
}
# What draws from the default generator.
BY_DEFAULT = {
    "dropout": lambda: F.dropout(tk.tensor(X), 0.4),
    "alpha_dropout": lambda: F.alpha_dropout(tk.tensor(X), 0.4, training=True),
    "rrelu": lambda: F.rrelu(-tk.tensor(X), training=True),
    "gumbel_softmax": lambda: F.gumbel_softmax(tk.tensor(X.reshape(-1, 50)), hard=True),
    "Normal": lambda: D.Normal(tk.tensor(X), 2.0).rsample(),
    "Gamma": lambda: D.Gamma(tk.tensor(X[:999]), 2.0).sample((3,)),
    "Categorical": lambda: D.Categorical(tk.tensor(X.reshape(-1, 50))).sample((2,)),
    "VonMises": lambda: D.VonMises(tk.tensor(X[:999]), 2.0).sample((2,)),
    "Wishart": lambda: D.Wishart(5.0, tk.eye(3)).sample((50,)),
}
# What Python decides, so that no graph holds it.
IN_PYTHON = {
    "binomial": lambda **g: tk.binomial(tk.full((N // 10,), 6.0), tk.tensor(X[: N // 10]), **g),
    "init": lambda **g: nn.init.kaiming_normal_(tk.zeros(50, 40), **g),
    "trunc_normal_": lambda **g: nn.init.trunc_normal_(tk.zeros(50, 40), **g),
    "orthogonal_": lambda **g: nn.init.orthogonal_(tk.zeros(20, 20), **g),
    "random_split": lambda **g: tk.tensor(data.random_split(range(99), [40, 59], **g)[0].indices),
    "RandomSampler": lambda **g: tk.tensor(list(data.RandomSampler(range(99), **g))),
    "SubsetRandomSampler": lambda **g: tk.tensor(list(data.SubsetRandomSampler(range(99), **g))),
    "WeightedRandomSampler": lambda **g: tk.tensor(
        list(data.WeightedRandomSampler(X[:99].tolist(), 50, **g))
    ),
    "DataLoader": lambda **g: tk.cat(
        [x for (x,) in data.DataLoader(data.TensorDataset(tk.arange(99)), 8, True, **g)]
    ),
    "Linear": lambda: nn.Linear(9, 9).weight.detach(),
    "modules": lambda: nn.LSTM(4, 5).weight_hh_l0.detach(),
}
TAKES = {**WITH_GENERATOR, **{k: f for k, f in IN_PYTHON.items() if f.__code__.co_flags & 8}}
ALL = {**WITH_GENERATOR, **BY_DEFAULT, **IN_PYTHON}


def numbers(name, seed=7):
    tk.manual_seed(seed)
    return ALL[name]().numpy()


@pytest.mark.parametrize("name", ALL)
def test_a_seed(name):
    """Again the same, other numbers for another seed, and as many draws made of the stream."""
    first = numbers(name)
    state = tk.get_rng_state().tolist()
    second = numbers(name)
    np.testing.assert_array_equal(first, second)
    assert tk.get_rng_state().tolist() == state
    assert not np.array_equal(first, numbers(name, 8))


@pytest.mark.parametrize("name", ALL)
def test_threads(name):
    """One and two threads."""
    before, found = tk.get_num_threads(), []
    try:
        for count in (1, 2):
            tk.set_num_threads(count)
            found.append(numbers(name))
    finally:
        tk.set_num_threads(before)
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("name", [*WITH_GENERATOR, *BY_DEFAULT])
def test_compiled(name):
    """The first and the second call of a compiled function; what is drawn afterwards, too."""
    f, compiled = ALL[name], tk.compile(ALL[name], fullgraph=True)
    found = []
    for call in (f, compiled):
        tk.manual_seed(7)
        found.append([call().numpy(), call().numpy(), tk.rand(3).numpy()])
    for eager, traced in zip(*found, strict=True):
        if eager.dtype.kind == "f":
            np.testing.assert_allclose(traced, eager, 2e-6, 1e-6)
        else:
            np.testing.assert_array_equal(traced, eager)
    assert tk.compiler.explain(compiled)[:3] == (1, 0, 0)


@pytest.mark.parametrize("name", TAKES)
def test_a_generator(name):
    """Its numbers are the default generator's of that seed, which is left alone."""
    g = tk.Generator().manual_seed(7)
    want = numbers(name)
    tk.manual_seed(1)
    before = tk.get_rng_state()
    np.testing.assert_array_equal(TAKES[name](generator=g).numpy(), want)
    assert tk.get_rng_state().equal(before)
    with pytest.raises((TypeError, AttributeError)):
        TAKES[name](generator="7")


def test_a_generator_in_a_compiled_function():
    g = tk.Generator().manual_seed(3)
    f = tk.compile(lambda x: x + tk.rand(4, generator=g), fullgraph=True)
    found = [f(tk.zeros(4)).tolist() for _ in range(3)]
    g.manual_seed(3)
    assert found == [tk.rand(4, generator=g).tolist() for _ in range(3)]
    assert tk.compiler.explain(f)[:3] == (1, 0, 0)


def digest():
    """All rows, in one number."""
    total = hashlib.sha256()
    for name in ALL:
        total.update(np.ascontiguousarray(numbers(name)).tobytes())
    return total.hexdigest()


def test_another_process():
    code = "from tests.test_reproducibility import digest; print(digest())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == digest()


def test_states_seeds_and_copies():
    g = tk.Generator(device="cpu").manual_seed(5)
    assert str(g.device) == "cpu" and g.initial_seed() == 5
    state = g.get_state()
    first = tk.rand(3, generator=g)
    twin, copied = g.clone_state(), pickle.loads(pickle.dumps(g))
    assert g.get_offset() == 1
    second = tk.rand(3, generator=g)
    assert second.equal(tk.rand(3, generator=twin))
    assert second.equal(tk.rand(3, generator=copied))
    assert g.set_state(state) is g and tk.rand(3, generator=g).equal(first)
    g.set_offset(1)
    assert tk.rand(3, generator=g).equal(second)
    assert g.seed() == g.initial_seed() and tk.seed() == tk.initial_seed()
    assert tk.manual_seed(-1) is tk.default_generator and tk.initial_seed() == 2**64 - 1


def test_fork_rng():
    tk.manual_seed(1)
    before = tk.get_rng_state()
    with pytest.raises(KeyError), tk.random.fork_rng():
        tk.rand(3)
        raise KeyError
    assert tk.get_rng_state().equal(before)
    with tk.random.fork_rng(enabled=False):
        tk.rand(3)
    assert not tk.get_rng_state().equal(before)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: tk.manual_seed(2**64), InvalidArgumentError),
        (lambda: tk.manual_seed("a"), ValueError),
        (lambda: tk.set_rng_state(tk.zeros(2)), TypeError),
        (lambda: tk.set_rng_state([1, 2]), TypeError),
        (lambda: tk.Generator().set_state(tk.get_rng_state()[:1]), InvalidArgumentError),
        (lambda: tk.Generator("cuda"), InvalidArgumentError),
        (lambda: tk.compile(lambda: tk.manual_seed(1), fullgraph=True)(), InvalidArgumentError),
    ],
)
def test_refusals(call, error):
    with pytest.raises(error):
        call()

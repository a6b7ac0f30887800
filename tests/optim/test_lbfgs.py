"""LBFGS against torch's, evaluation by evaluation."""

import numpy as np
import pytest

import toolkit as tk
from toolkit import nn, optim
from toolkit.errors import InvalidArgumentError

torch = pytest.importorskip("torch")


def rosenbrock(x):
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def wavy(x):
    return (x**4 - 3 * x**2 + x).sum() + (3 * x).sin().sum()


def quadratic(x):
    return ((x * x) * (1 + x.abs())).sum() + (x[:-1] * x[1:]).sum()


def pair(start, function):
    found = []
    for lib, parameter in ((tk, nn.Parameter), (torch, torch.nn.Parameter)):
        params = [parameter(lib.tensor(start[:2])), parameter(lib.tensor(start[2:].reshape(2, -1)))]
        found.append((params, counted(lib, params, function)))
    return found


def counted(lib, params, function):
    def closure():
        for p in params:
            p.grad = None
        loss = function(lib.cat([params[0], params[1].reshape(-1)]))
        loss.backward()
        closure.losses.append(float(loss.detach()))
        return loss

    closure.losses = []
    return closure


OPTIONS = [
    {"lr": 1e-3},
    {"lr": 0.01, "max_iter": 5, "history_size": 3},
    {"line_search_fn": "strong_wolfe"},
    {"line_search_fn": "strong_wolfe", "max_iter": 4, "history_size": 2},
    {"line_search_fn": "strong_wolfe", "max_iter": 10, "max_eval": 7},
    {"line_search_fn": "strong_wolfe", "tolerance_grad": 1e-2, "lr": 0.5},
]


@pytest.mark.parametrize("function", [rosenbrock, wavy, quadratic])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_follows_torch(function, options):
    start = np.random.default_rng(1).standard_normal(6)
    (ours, mine), (theirs, other) = pair(start, function)
    a, b = optim.LBFGS(ours, **options), torch.optim.LBFGS(theirs, **options)
    for _ in range(5):
        got, want = a.step(mine), b.step(other)
        np.testing.assert_allclose(got.item(), want.item(), 1e-7, 1e-9)
        assert len(mine.losses) == len(other.losses)
        np.testing.assert_allclose(mine.losses, other.losses, 1e-6, 1e-9)
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), 1e-6, 1e-8)
    state, wanted = a.state_dict(), b.state_dict()
    assert state["param_groups"] == wanted["param_groups"]
    assert state["state"].keys() == wanted["state"].keys()
    for key in ("n_iter", "func_evals"):
        assert state["state"][0][key] == wanted["state"][0][key]
    assert state["state"][0].keys() == wanted["state"][0].keys()


@pytest.mark.parametrize("search", [None, "strong_wolfe"])
@pytest.mark.parametrize("source", ["torch", "toolkit"])
def test_state_dict_goes_on(source, search):
    start = np.random.default_rng(2).standard_normal(6)
    (ours, mine), (theirs, other) = pair(start, rosenbrock)
    options = {"lr": 1e-3 if search is None else 1.0, "max_iter": 4, "line_search_fn": search}
    a, b = optim.LBFGS(ours, **options), torch.optim.LBFGS(theirs, **options)
    for _ in range(2):
        a.step(mine)
        b.step(other)
    again = optim.LBFGS(ours)
    again.load_state_dict(a.state_dict() if source == "toolkit" else b.state_dict())
    again.step(mine)
    b.step(other)
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), 1e-7, 1e-9)


def test_finds_the_minimum_in_float32():
    x = nn.Parameter(tk.tensor([-1.2, 1.0]))
    optimizer = optim.LBFGS([x], line_search_fn="strong_wolfe", max_iter=50)

    def closure():
        optimizer.zero_grad()
        loss = rosenbrock(x)
        loss.backward()
        return loss

    optimizer.step(closure)
    np.testing.assert_allclose(x.detach().numpy(), [1, 1], atol=2e-3)


def test_refusals():
    p, q = nn.Parameter(tk.ones(2)), nn.Parameter(tk.ones(2))
    with pytest.raises(InvalidArgumentError, match="a closure is required"):
        optim.LBFGS([p]).step()
    with pytest.raises(InvalidArgumentError, match="per-parameter options"):
        optim.LBFGS([{"params": [p]}, {"params": [q]}])
    with pytest.raises(RuntimeError, match="only 'strong_wolfe' is supported"):
        optim.LBFGS([p], line_search_fn="armijo").step(lambda: p.sum())

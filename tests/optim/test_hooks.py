"""Hooks, subclasses with a step of their own, counts, tensors as rates, copies."""

import copy
import pickle

import numpy as np
import pytest

import toolkit as tk
from toolkit import nn, optim
from toolkit.errors import InvalidArgumentError, UnsupportedOperatorError
from toolkit.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from toolkit.train import TrainStep

torch = pytest.importorskip("torch")


def made(kind=optim.SGD, **options):
    p = nn.Parameter(tk.ones(2))
    p.grad = tk.ones(2)
    return p, kind([p], lr=0.5, **options)


def test_step_hooks_run_in_order_and_may_change_the_arguments():
    _, optimizer = made()
    seen = []
    handles = [
        register_optimizer_step_pre_hook(lambda o, a, k: seen.append("all before")),
        optimizer.register_step_pre_hook(lambda o, a, k: ((lambda: 3.0,), {})),
        optimizer.register_step_post_hook(lambda o, a, k: seen.append((o is optimizer, len(a)))),
        register_optimizer_step_post_hook(lambda o, a, k: seen.append("all after")),
    ]
    assert optimizer.step() == 3.0
    assert seen == ["all before", (True, 1), "all after"]
    for handle in handles:
        handle.remove()
    assert optimizer.step() is None and len(seen) == 3
    optimizer.register_step_pre_hook(lambda o, a, k: 7)
    with pytest.raises(RuntimeError, match="None or a tuple"):
        optimizer.step()


def test_state_dict_hooks():
    _, optimizer = made(momentum=0.9)
    optimizer.step()
    seen = []
    optimizer.register_state_dict_pre_hook(lambda o: seen.append("second"))
    optimizer.register_state_dict_pre_hook(lambda o: seen.append("first"), prepend=True)
    optimizer.register_state_dict_post_hook(lambda o, s: {**s, "more": 1})
    state = optimizer.state_dict()
    assert seen == ["first", "second"] and state["more"] == 1
    _, other = made(momentum=0.9)

    def rename(o, s):
        return {"state": s["old"], "param_groups": s["param_groups"]}

    other.register_load_state_dict_pre_hook(rename)
    other.register_load_state_dict_post_hook(lambda o: seen.append("loaded"))
    other.load_state_dict({"old": state["state"], "param_groups": state["param_groups"]})
    assert seen[-1] == "loaded"
    assert other.state_dict()["state"][0]["momentum_buffer"].tolist() == [1, 1]


class SignDescent(optim.Optimizer):
    """As users write one: a step over param_groups and state."""

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})

    @tk.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p]["calls"] = self.state[p].get("calls", 0) + 1
                p.add_(p.grad.sign(), alpha=-group["lr"])


def test_a_step_of_ones_own():
    p, optimizer = made(SignDescent)
    seen = []
    optimizer.register_step_post_hook(lambda o, a, k: seen.append(o))
    optimizer.step()
    assert p.tolist() == [0.5, 0.5] and seen == [optimizer]
    assert optimizer.state_dict()["state"] == {0: {"calls": 1}}
    net = nn.Linear(2, 1)
    with pytest.raises(InvalidArgumentError, match="SignDescent: an optimizer with an operator"):
        TrainStep(net, nn.MSELoss(), SignDescent(net.parameters(), 0.1))(
            tk.ones(1, 2), tk.ones(1, 1)
        )
    with pytest.raises(InvalidArgumentError, match="LBFGS: an optimizer with an operator"):
        TrainStep(net, nn.MSELoss(), optim.LBFGS(net.parameters()))(tk.ones(1, 2), tk.ones(1, 1))


def test_each_parameter_counts_its_own_steps():
    """Also after loading, where the counts of two groups are equal."""
    ps = [nn.Parameter(tk.ones(2)) for _ in range(3)]
    optimizer = optim.Adam([{"params": ps[:2]}, {"params": ps[2:], "lr": 0.1}])
    given = [(0, 1, 2), (0, 2), (0, 1, 2), (1,)]
    for members in given:
        for i, p in enumerate(ps):
            p.grad = tk.ones(2) if i in members else None
        optimizer.step()
    counts = [int(optimizer.state[p]["step"]) for p in ps]
    assert counts == [3, 3, 3]
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for members in ((0, 2), (0, 1, 2)):
        for i, p in enumerate(ps):
            p.grad = tk.ones(2) if i in members else None
        optimizer.step()
    assert [int(optimizer.state[p]["step"]) for p in ps] == [5, 4, 5]


def test_a_tensor_as_rate():
    p, q = nn.Parameter(tk.ones(2)), torch.nn.Parameter(torch.ones(2))
    lr = tk.tensor(0.5)
    mine, other = optim.SGD([p], lr=lr), torch.optim.SGD([q], lr=torch.tensor(0.5))
    a = optim.lr_scheduler.ExponentialLR(mine, 0.5)
    b = torch.optim.lr_scheduler.ExponentialLR(other, 0.5)
    for _ in range(3):
        p.grad, q.grad = tk.ones(2), torch.ones(2)
        for step in (mine, other, a, b):
            step.step()
        assert mine.param_groups[0]["lr"] is lr
        assert lr.item() == other.param_groups[0]["lr"].item()
    np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), 1e-6)
    with pytest.raises(InvalidArgumentError, match="Tensor lr must be 1-element"):
        optim.Adam([p], lr=tk.ones(2))


@pytest.mark.parametrize("way", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_copies_go_on(way):
    _, optimizer = made(optim.Adam)
    optimizer.step()
    twin = way(optimizer)
    q = twin.param_groups[0]["params"][0]
    assert twin.state[q]["exp_avg"].tolist() == pytest.approx([0.1, 0.1])
    q.grad = tk.ones(2)
    twin.step()
    optimizer.step()
    assert q.tolist() == optimizer.param_groups[0]["params"][0].tolist()


def test_refusals():
    p = nn.Parameter(tk.ones(2))
    with pytest.raises(UnsupportedOperatorError, match="SparseAdam: sparse gradients"):
        optim.SparseAdam([p])
    with pytest.raises(InvalidArgumentError, match="Muon only supports 2D"):
        optim.Muon([p])
    with pytest.raises(InvalidArgumentError, match="Invalid eta values"):
        optim.Rprop([p], etas=(1.5, 2.0))
    with pytest.raises(InvalidArgumentError, match="Invalid rho value"):
        optim.Adadelta([p], rho=2.0)
    with pytest.raises(InvalidArgumentError, match="d should be >= 1"):
        optim.Adafactor([p], d=0.5)
    with pytest.raises(RuntimeError, match="cannot be `True` together"):
        optim.Adam([p], foreach=True, fused=True)

"""Averages of weights and statistics against torch's."""

import copy

import numpy as np
import pytest

import toolkit as tk
from toolkit import nn, optim
from toolkit.errors import InvalidArgumentError

torch = pytest.importorskip("torch")
ours, theirs = optim.swa_utils, torch.optim.swa_utils


def nets():
    rng = np.random.default_rng(0)
    made = []
    for lib in (nn, torch.nn):
        made.append(lib.Sequential(lib.Linear(3, 4), lib.BatchNorm1d(4), lib.Linear(4, 2)))
    arrays = [rng.standard_normal(tuple(p.shape)).astype(np.float32) for p in made[0].parameters()]
    with tk.no_grad(), torch.no_grad():
        for p, q, a in zip(made[0].parameters(), made[1].parameters(), arrays, strict=True):
            p.copy_(tk.tensor(a))
            q.copy_(torch.tensor(a))
    return made


def moved(mine, other, rng):
    with tk.no_grad(), torch.no_grad():
        for p, q in zip(mine.parameters(), other.parameters(), strict=True):
            a = rng.standard_normal(tuple(p.shape)).astype(np.float32)
            p.add_(tk.tensor(a))
            q.add_(torch.tensor(a))
    x = rng.standard_normal((5, 3)).astype(np.float32)
    mine(tk.tensor(x))
    other(torch.tensor(x))


def same(mine, other):
    a, b = mine.state_dict(), other.state_dict()
    assert list(a) == list(b)
    for name, value in b.items():
        np.testing.assert_allclose(a[name].numpy(), value.numpy(), 1e-5, 1e-6, err_msg=name)


WAYS = {
    "mean": lambda m: {},
    "swa": lambda m: {"avg_fn": m.get_swa_avg_fn()},
    "ema": lambda m: {"avg_fn": m.get_ema_avg_fn(0.9)},
    "ema lists": lambda m: {"multi_avg_fn": m.get_ema_multi_avg_fn(0.9), "use_buffers": True},
    "swa lists": lambda m: {"multi_avg_fn": m.get_swa_multi_avg_fn()},
    "own": lambda m: {"avg_fn": lambda a, w, n: a * 0.5 + w / (n + 2)},
}


@pytest.mark.parametrize("way", WAYS)
def test_averaged_model(way):
    rng = np.random.default_rng(1)
    mine, other = nets()
    a, b = (
        ours.AveragedModel(mine, **WAYS[way](ours)),
        theirs.AveragedModel(other, **WAYS[way](theirs)),
    )
    for _ in range(5):
        moved(mine, other, rng)
        a.update_parameters(mine)
        b.update_parameters(other)
        same(a, b)
    x = rng.standard_normal((2, 3)).astype(np.float32)
    a.eval(), b.eval()
    np.testing.assert_allclose(
        a(tk.tensor(x)).detach().numpy(), b(torch.tensor(x)).detach().numpy(), 1e-4, 1e-5
    )
    again = ours.AveragedModel(copy.deepcopy(mine))
    again.load_state_dict(a.state_dict())
    assert int(again.n_averaged) == 5


def test_update_bn():
    rng = np.random.default_rng(2)
    mine, other = nets()
    batches = [rng.standard_normal((n, 3)).astype(np.float32) for n in (4, 6, 5)]
    mine.eval(), other.eval()
    ours.update_bn([(tk.tensor(x), 0) for x in batches], mine)
    theirs.update_bn([torch.tensor(x) for x in batches], other)
    same(mine, other)
    assert not mine.training and mine[1].momentum == 0.1
    ours.update_bn([tk.ones(2, 3)], nn.Linear(3, 1))  # Without such layers nothing is run.


def test_a_training_with_averages():
    """As the documentation of SWA has it: train, average, refresh the statistics."""
    rng = np.random.default_rng(3)
    x = tk.tensor(rng.standard_normal((64, 3)).astype(np.float32))
    y = (x[:, 0] > x[:, 1]).long()
    mine, _ = nets()
    optimizer = optim.SGD(mine.parameters(), lr=0.5)
    averaged = ours.AveragedModel(mine)
    schedule = ours.SWALR(optimizer, 0.05, anneal_epochs=3)
    for epoch in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(mine(x), y).backward()
        optimizer.step()
        if epoch > 40:
            averaged.update_parameters(mine)
            schedule.step()
    ours.update_bn([x], averaged)
    averaged.eval()
    assert (averaged(x).argmax(1) == y).float().mean().item() > 0.9


def test_refusals():
    with pytest.raises(InvalidArgumentError, match="Invalid decay value"):
        ours.get_ema_avg_fn(1.5)
    with pytest.raises(AssertionError, match="Only one of avg_fn"):
        swa = ours.get_swa_avg_fn()
        ours.AveragedModel(nn.Linear(1, 1), avg_fn=swa, multi_avg_fn=ours.get_swa_multi_avg_fn())

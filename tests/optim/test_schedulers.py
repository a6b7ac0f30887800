"""Schedules against torch's, step by step, and their states."""

import json

import numpy as np
import pytest

import toolkit as tk
from toolkit import nn, optim
from toolkit.errors import InvalidArgumentError
from toolkit.optim import lr_scheduler as ours

torch = pytest.importorskip("torch")
theirs = torch.optim.lr_scheduler


def warmup(s, o):
    return s.SequentialLR(o, [s.LinearLR(o, 0.1, 1.0, 10), s.CosineAnnealingLR(o, 40)], [10])


def three(s, o):
    parts = [s.ConstantLR(o, 0.1, 3), s.ExponentialLR(o, 0.9), s.StepLR(o, 4, 0.5)]
    return s.SequentialLR(o, parts, [5, 20])


def nested(s, o):
    inner = s.SequentialLR(o, [s.ConstantLR(o, 0.5, 2), s.ExponentialLR(o, 0.9)], [4])
    return s.SequentialLR(o, [inner, s.StepLR(o, 3)], [12])


def chained(s, o):
    return s.ChainedScheduler([s.ConstantLR(o, 0.1, 9), s.ExponentialLR(o, 0.97)])


def restarts(s, o):
    parts = [s.LinearLR(o, 0.1, 1.0, 5), s.CosineAnnealingWarmRestarts(o, 4, 2)]
    parts.append(s.MultiplicativeLR(o, lambda e: 0.9))
    return s.SequentialLR(o, parts, [5, 40])


def swa(s):
    return torch.optim.swa_utils if s is theirs else optim.swa_utils


CASES = {
    "StepLR": lambda s, o: s.StepLR(o, 7, 0.3),
    "MultiStepLR": lambda s, o: s.MultiStepLR(o, [3, 20, 20, 50], 0.5),
    "ExponentialLR": lambda s, o: s.ExponentialLR(o, 0.97),
    "LambdaLR": lambda s, o: s.LambdaLR(o, [lambda e: 0.9**e, lambda e: 1 / (1 + e)]),
    "ConstantLR": lambda s, o: s.ConstantLR(o, 0.25, 9),
    "LinearLR": lambda s, o: s.LinearLR(o, 0.1, 0.8, 30),
    "CosineAnnealingLR": lambda s, o: s.CosineAnnealingLR(o, 40, 1e-3),
    "OneCycleLR": lambda s, o: s.OneCycleLR(o, 1.0, total_steps=120),
    "OneCycleLR linear": lambda s, o: s.OneCycleLR(
        o, [1.0, 0.5], epochs=12, steps_per_epoch=10, anneal_strategy="linear", three_phase=True
    ),
    "OneCycleLR plain": lambda s, o: s.OneCycleLR(o, 1.0, total_steps=101, cycle_momentum=False),
    "MultiplicativeLR": lambda s, o: s.MultiplicativeLR(o, [lambda e: 0.95, lambda e: 1 - 0.1 / e]),
    "PolynomialLR": lambda s, o: s.PolynomialLR(o, 30, 2.0),
    "PolynomialLR line": lambda s, o: s.PolynomialLR(o),
    "WarmRestarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 7, eta_min=1e-3),
    "WarmRestarts longer": lambda s, o: s.CosineAnnealingWarmRestarts(o, 3, 2),
    "CyclicLR": lambda s, o: s.CyclicLR(o, 0.01, [0.1, 0.2], 7),
    "CyclicLR 2": lambda s, o: s.CyclicLR(
        o, [0.01, 0.02], 0.1, 5, 9, "triangular2", base_momentum=0.5, max_momentum=[0.6, 0.7]
    ),
    "CyclicLR range": lambda s, o: s.CyclicLR(
        o, 0.01, 0.1, 5, mode="exp_range", gamma=0.97, cycle_momentum=False
    ),
    "CyclicLR own": lambda s, o: s.CyclicLR(
        o, 0.01, 0.1, 5, scale_fn=lambda t: 1 / (1 + t), scale_mode="iterations"
    ),
    "ChainedScheduler": chained,
    "SequentialLR restarts": restarts,
    "SWALR": lambda s, o: swa(s).SWALR(o, [0.05, 0.02]),
    "SWALR line": lambda s, o: swa(s).SWALR(o, 0.05, 20, "linear"),
    "SWALR at once": lambda s, o: swa(s).SWALR(o, 0.05, 0),
    "SequentialLR warmup": warmup,
    "SequentialLR three": three,
    "SequentialLR nested": nested,
}


def optimizers(kind="SGD", **options):
    options = options or ({"momentum": 0.9} if kind == "SGD" else {})
    a = [{"params": [nn.Parameter(tk.ones(2))]}, {"params": [nn.Parameter(tk.ones(2))], "lr": 0.3}]
    b = [{"params": [torch.nn.Parameter(torch.ones(2))]} for _ in range(2)]
    b[1]["lr"] = 0.3
    mine, other = (
        getattr(optim, kind)(a, lr=0.1, **options),
        getattr(torch.optim, kind)(b, lr=0.1, **options),
    )
    return mine, other


def rates(optimizer):
    keys = ("lr", "momentum", "betas")
    return [[g[k] for k in keys if k in g] for g in optimizer.param_groups]


def flat(values):
    return np.array([np.hstack([np.ravel(v) for v in group]) for group in values])


@pytest.mark.filterwarnings("ignore:Detected call of .lr_scheduler.step")  # torch, nested.
@pytest.mark.parametrize("kind", ["SGD", "Adam"])
@pytest.mark.parametrize("name", CASES)
def test_100_steps(name, kind):
    mine, other = optimizers(kind)
    a, b = CASES[name](ours, mine), CASES[name](theirs, other)
    for _ in range(100):
        np.testing.assert_allclose(flat(rates(mine)), flat(rates(other)), 1e-12, 1e-15)
        np.testing.assert_allclose(a.get_last_lr(), b.get_last_lr(), 1e-12, 1e-15)
        other.step()
        a.step()
        b.step()


@pytest.mark.parametrize("through_json", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_state_dict_goes_on(name, through_json):
    mine, _ = optimizers()
    a = CASES[name](ours, mine)
    for _ in range(23):
        a.step()
    state = a.state_dict()
    assert "optimizer" not in state
    state = json.loads(json.dumps(state)) if through_json else state
    again, _ = optimizers()
    b = CASES[name](ours, again)
    b.load_state_dict(state)
    for group, before in zip(again.param_groups, mine.param_groups, strict=True):
        group.update({k: v for k, v in before.items() if k != "params"})
    for _ in range(40):
        a.step()
        b.step()
        assert rates(mine) == rates(again)


TAKEN = ["StepLR", "ExponentialLR", "CosineAnnealingLR", "LinearLR", "PolynomialLR", "SWALR",
         "WarmRestarts longer", "CyclicLR 2", "ChainedScheduler", "MultiplicativeLR"]  # fmt: skip


@pytest.mark.parametrize("name", TAKEN)
def test_state_of_torch_is_taken(name):
    mine, other = optimizers()
    a, b = CASES[name](ours, mine), CASES[name](theirs, other)
    for _ in range(9):
        other.step()
        b.step()
    a.load_state_dict(b.state_dict())
    for g, h in zip(mine.param_groups, other.param_groups, strict=True):
        g["lr"] = h["lr"]
    for _ in range(9):
        a.step()
        b.step()
    np.testing.assert_allclose(a.get_last_lr(), b.get_last_lr(), 1e-12)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mode": "max", "factor": 0.5, "patience": 2},
        {"threshold_mode": "abs", "threshold": 0.05, "patience": 1, "cooldown": 3},
        {"patience": 0, "min_lr": [0.01, 0.02], "eps": 1e-3},
        {"mode": "max", "threshold_mode": "abs", "threshold": 0.1, "patience": 3},
    ],
)
def test_reduce_on_plateau(options):
    mine, other = optimizers()
    a, b = ours.ReduceLROnPlateau(mine, **options), theirs.ReduceLROnPlateau(other, **options)
    metrics = np.random.default_rng(0).random(100).cumsum() % 1.7
    for metric in metrics:
        a.step(metric)
        b.step(metric)
        assert rates(mine) == rates(other)
        assert a.num_bad_epochs == b.num_bad_epochs
    state = json.loads(json.dumps(a.state_dict()))
    a.load_state_dict(state)


def test_schedules_chain():
    mine, other = optimizers()
    pairs = [(CASES[n](ours, mine), CASES[n](theirs, other)) for n in ("StepLR", "ExponentialLR")]
    for _ in range(30):
        other.step()
        for a, b in pairs:
            a.step()
            b.step()
        np.testing.assert_allclose(flat(rates(mine)), flat(rates(other)), 1e-12)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda o: ours.StepLR(o, 3, last_epoch=4), "'initial_lr' is required"),
        (lambda o: ours.LambdaLR(o, [abs]), "2 values are required, got 1"),
        (lambda o: ours.OneCycleLR(o, 1.0), "total_steps, or epochs"),
        (lambda o: ours.OneCycleLR(o, 1.0, total_steps=0), "total_steps > 0"),
        (lambda o: ours.OneCycleLR(o, 1.0, total_steps=5, pct_start=2), "pct_start"),
        (lambda o: ours.OneCycleLR(o, 1.0, total_steps=5, anneal_strategy="x"), "cos or linear"),
        (lambda o: ours.LinearLR(o, 0), "start_factor"),
        (lambda o: ours.ConstantLR(o, 2), "factor in"),
        (lambda o: ours.SequentialLR(o, [], []), "one milestone fewer"),
        (lambda o: ours.ReduceLROnPlateau(o, factor=1), "factor < 1"),
        (lambda o: ours.ReduceLROnPlateau(o, mode="x"), "mode min or max"),
        (lambda o: ours.ReduceLROnPlateau(o).step(), "got no metric"),
    ],
)
def test_refusals(build, message):
    with pytest.raises(InvalidArgumentError, match=message):
        build(optimizers()[0])


def test_too_many_steps_of_one_cycle():
    schedule = ours.OneCycleLR(optimizers()[0], 1.0, total_steps=3)
    for _ in range(3):
        schedule.step()
    with pytest.raises(InvalidArgumentError, match="at most 3 steps"):
        schedule.step()


def test_a_fraction_of_an_epoch():
    mine, other = optimizers()
    a = ours.CosineAnnealingWarmRestarts(mine, 5, 3)
    b = theirs.CosineAnnealingWarmRestarts(other, 5, 3)
    for epoch in (0.25, 3.5, 5.0, 7.3, 19.9, 26.0, None, None, 2.5, None, 200.0):
        a.step(epoch)
        b.step(epoch)
        np.testing.assert_allclose(a.get_last_lr(), b.get_last_lr(), 1e-12)
        assert (a.T_i, a.last_epoch) == (b.T_i, b.last_epoch)
    with pytest.raises(InvalidArgumentError, match="non-negative epoch"):
        a.step(-1)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda s, o: s.CosineAnnealingWarmRestarts(o, 0), "positive integer T_0"),
        (lambda s, o: s.CosineAnnealingWarmRestarts(o, 3, 0), "T_mult >= 1"),
        (lambda s, o: s.CyclicLR(o, 0.1, 0.2, mode="square"), "mode is invalid"),
        (lambda s, o: s.CyclicLR(o, [0.1], 0.2), "CyclicLR: base_lr: 2 values"),
        (lambda s, o: s.ChainedScheduler([]), "at least one scheduler"),
        (lambda s, o: s.ChainedScheduler([s.ReduceLROnPlateau(o)]), "ReduceLROnPlateau"),
        (lambda s, o: optim.swa_utils.SWALR(o, 0.1, anneal_strategy="step"), "anneal_strategy"),
        (lambda s, o: optim.swa_utils.SWALR(o, 0.1, anneal_epochs=-1), "anneal_epochs"),
    ],
)
def test_options_of_the_newer_ones(build, message):
    with pytest.raises(InvalidArgumentError, match=message):
        build(ours, optimizers()[0])


def test_momentum_is_required():
    mine = optim.Adagrad([nn.Parameter(tk.ones(2))])
    with pytest.raises(InvalidArgumentError, match="CyclicLR: an optimizer with momentum"):
        ours.CyclicLR(mine, 0.1, 0.2)

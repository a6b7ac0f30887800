"""Schedules in a training step: in its graph, in its file, and as PyTorch's loop has them."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

import toolkit as tk
from toolkit import errors, nn, optim
from toolkit.optim import lr_scheduler as s
from toolkit.train import GradScaler, Trainer, TrainStep

RNG = np.random.default_rng(0)
X = RNG.standard_normal((8, 5)).astype(np.float32)
Y = RNG.standard_normal((8, 3)).astype(np.float32)


def nested(o):
    inner = s.SequentialLR(o, [s.ConstantLR(o, 0.5, 2), s.ExponentialLR(o, 0.9)], [4])
    return s.SequentialLR(o, [inner, s.StepLR(o, 3)], [9])


CLOSED = {
    "StepLR": lambda o: s.StepLR(o, 4, 0.3),
    "MultiStepLR": lambda o: s.MultiStepLR(o, [0, 3, 7, 7, 15], 0.5),
    "ExponentialLR": lambda o: s.ExponentialLR(o, 0.9),
    "ConstantLR": lambda o: s.ConstantLR(o, 0.25, 5),
    "ConstantLR for ever": lambda o: s.ConstantLR(o, 0.25, 0),
    "LinearLR": lambda o: s.LinearLR(o, 0.1, 0.8, 7),
    "CosineAnnealingLR": lambda o: s.CosineAnnealingLR(o, 6, 1e-3),
    "OneCycleLR": lambda o: s.OneCycleLR(o, 0.5, total_steps=20, cycle_momentum=False),
    "OneCycleLR linear": lambda o: s.OneCycleLR(
        o, 0.5, total_steps=20, anneal_strategy="linear", three_phase=True, cycle_momentum=False
    ),
    "PolynomialLR": lambda o: s.PolynomialLR(o, 9, 2.0),
    "WarmRestarts": lambda o: s.CosineAnnealingWarmRestarts(o, 3),
    "WarmRestarts longer": lambda o: s.CosineAnnealingWarmRestarts(o, 2, 3, 1e-3),
    "CyclicLR": lambda o: s.CyclicLR(o, 0.01, 0.1, 3, 4, cycle_momentum=False),
    "CyclicLR 2": lambda o: s.CyclicLR(o, 0.01, 0.1, 2, mode="triangular2", cycle_momentum=False),
    "CyclicLR range": lambda o: s.CyclicLR(
        o, 0.01, 0.1, 3, mode="exp_range", gamma=0.9, cycle_momentum=False
    ),
    "SequentialLR": lambda o: s.SequentialLR(
        o, [s.LinearLR(o, 0.1, 1.0, 5), s.CosineAnnealingLR(o, 12)], [5]
    ),
}
OF_FILES = {
    "nested": nested,
    "chained": lambda o: s.ChainedScheduler([s.ConstantLR(o, 0.5, 4), s.ExponentialLR(o, 0.9)]),
    "SWALR": lambda o: optim.swa_utils.SWALR(o, 0.01, 6),
}
DRIVEN = {
    "LambdaLR": lambda o: s.LambdaLR(o, lambda e: 1 / (1 + e)),
    "MultiplicativeLR": lambda o: s.MultiplicativeLR(o, lambda e: 0.9),
    "CyclicLR own": lambda o: s.CyclicLR(
        o, 0.01, 0.1, 3, cycle_momentum=False, scale_fn=lambda t: 1 / t
    ),
    **OF_FILES,
}


def make(schedule, every: int = 1, groups: bool = False, **options) -> TrainStep:
    tk.manual_seed(2)
    net = nn.Linear(5, 3)
    params = [{"params": [net.weight]}, {"params": [net.bias], "lr": 0.02}] if groups else None
    optimizer = optim.SGD(params or net.parameters(), lr=0.1, momentum=0.5)
    scheduler = schedule(optimizer) if schedule is not None else None
    return TrainStep(
        net, nn.MSELoss(), optimizer, scheduler=scheduler, schedule_every=every, **options
    )


def states(step: TrainStep) -> dict[str, np.ndarray]:
    return {name: array.copy() for name, array in step.state_dict().items()}


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    assert a.keys() == b.keys()
    for name, array in a.items():
        np.testing.assert_array_equal(array, b[name], err_msg=name)


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("name", [*CLOSED, *DRIVEN])
def test_rates_and_weights_are_those_of_the_python_loop(name, every):
    schedule = {**CLOSED, **DRIVEN}[name]
    mine, loop = make(schedule, every, groups=True), make(None, groups=True)
    scheduler = schedule(loop.optimizer)
    for i in range(18):
        np.testing.assert_allclose(mine.learning_rates(), loop.learning_rates(), 1e-6, 1e-9)
        np.testing.assert_allclose(
            [g["lr"] for g in mine.param_groups], loop.learning_rates(), 1e-12, 1e-15
        )
        mine(X, Y)
        loop(X, Y)
        if i % every == every - 1:
            scheduler.step()
    assert bool(mine.graph.scheduled) == (name in CLOSED)
    for key, array in loop.state_dict().items():
        np.testing.assert_allclose(mine.state_dict()[key], array, 1e-5, 1e-7, err_msg=key)


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("name", [*CLOSED, *OF_FILES])
def test_goes_on_bit_for_bit_from_a_file(tmp_path, name, every):
    schedule = {**CLOSED, **DRIVEN}[name]
    whole, first = make(schedule, every, True), make(schedule, every, True)
    for _ in range(7):
        whole(X, Y)
        first(X, Y)
    first.save(tmp_path / "m.onnx")
    onnx.checker.check_model(tmp_path / "m.onnx", full_check=True)
    second = tk.load_training(tmp_path / "m.onnx")
    third = make(schedule, every, True)
    third.adopt(tk.load_training(tmp_path / "m.onnx"))
    assert type(second.scheduler) is type(whole.scheduler)
    for _ in range(7):
        for step in (whole, second, third):
            step(X, Y)
    for step in (second, third):
        same(states(whole), states(step))
        assert step.learning_rates() == whole.learning_rates()
        assert [g["lr"] for g in step.param_groups] == [g["lr"] for g in whole.param_groups]
    second.save(tmp_path / "a.onnx")
    whole.save(tmp_path / "b.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


@pytest.mark.parametrize("name", CLOSED)
def test_the_schedule_runs_in_onnxruntime(tmp_path, name):
    import onnxruntime

    step = make(CLOSED[name], groups=True).prepare(X, Y)
    tk.export_train_step(tmp_path / "step.onnx", step)
    session = onnxruntime.InferenceSession(tmp_path / "step.onnx")
    feed = {"input": X, "target": Y}
    assert "lr" not in {v.name for v in session.get_inputs()}
    names = [o.name for o in session.get_outputs()]
    for _ in range(12):
        step(X, Y)
        results = dict(zip(names, session.run(None, feed), strict=True))
        feed |= {n.removesuffix(".next"): v for n, v in results.items() if n.endswith(".next")}
    assert feed["schedule.step"] == 12
    np.testing.assert_allclose(feed["weight"], step.state_dict()["weight"], 1e-5, 1e-6)


@pytest.mark.parametrize("name", ["LambdaLR", "MultiplicativeLR", "CyclicLR own"])
def test_a_function_of_the_caller_is_asked_for(tmp_path, name):
    schedule = DRIVEN[name]
    whole, first = make(schedule, 2), make(schedule, 2)
    for _ in range(5):
        whole(X, Y)
        first(X, Y)
    first.save(tmp_path / "m.onnx")
    second = tk.load_training(tmp_path / "m.onnx")
    with pytest.raises(errors.InvalidArgumentError, match=rf"step\.scheduler = {name.split()[0]}"):
        second(X, Y)
    second.save(tmp_path / "again.onnx")
    second = tk.load_training(tmp_path / "again.onnx")
    second.scheduler = schedule(second.optimizer)
    third = make(schedule, 2)
    third.adopt(tk.load_training(tmp_path / "m.onnx"))
    for _ in range(5):
        for step in (whole, second, third):
            step(X, Y)
    same(states(whole), states(second))
    same(states(whole), states(third))
    wrong = tk.load_training(tmp_path / "m.onnx")
    wrong.scheduler = s.StepLR(wrong.optimizer, 2)
    with pytest.raises(errors.InvalidArgumentError, match=f"a {name.split()[0]} is required"):
        wrong(X, Y)


def test_a_schedule_that_follows_a_metric(tmp_path):
    def plateau(o):
        return s.ReduceLROnPlateau(o, factor=0.5, patience=1, cooldown=1)

    metrics = [1.0, 0.9, 0.95, 0.93, 0.94, 0.92, 0.91, 0.95]
    whole, first = make(plateau, 0), make(plateau, 0)
    for metric in metrics[:4]:
        for step in (whole, first):
            step(X, Y)
            step.scheduler.step(metric)
    first.save(tmp_path / "m.onnx")
    second = tk.load_training(tmp_path / "m.onnx")
    assert second.scheduler.best == 0.9
    for metric in metrics[4:]:
        for step in (whole, second):
            step(X, Y)
            step.scheduler.step(metric)
    assert whole.learning_rates() == second.learning_rates() != [0.1]
    same(states(whole), states(second))
    with pytest.raises(errors.InvalidArgumentError, match="schedule_every=0 is required"):
        make(plateau, 1)


@pytest.mark.parametrize("name", ["SequentialLR", "LambdaLR"])
def test_only_steps_that_are_done_count(name):
    """Micro-batches that update nothing, and gradients that are not finite, do not move it."""
    schedule = {**CLOSED, **DRIVEN}[name]
    step = make(schedule, accumulate=3, grad_scaler=GradScaler(init_scale=4.0))
    rates = [0.1 * f for f in (0.1, 0.28, 0.46)] if name in CLOSED else [0.1, 0.05, 0.1 / 3]
    for k in range(7):
        assert step.learning_rates()[0] == pytest.approx(rates[k // 3])
        step(X, Y)
    bad = np.full_like(X, np.inf)
    for x in (X, bad, X):
        step(x, Y)
    assert step.learning_rates()[0] == pytest.approx(rates[2])


def test_starts_anew(tmp_path):
    step = make(CLOSED["SequentialLR"])
    step.prepare(X, Y)
    before, rates = states(step), step.learning_rates()
    for _ in range(8):
        step(X, Y)
    after = states(step)
    step.save(tmp_path / "m.onnx")
    for again in (step, tk.load_training(tmp_path / "m.onnx")):
        again.initialize()
        same(before, states(again))
        assert again.learning_rates() == rates
        for _ in range(8):
            again(X, Y)
        same(after, states(again))


def test_options_may_change_on_the_way():
    step, loop = make(CLOSED["CosineAnnealingLR"]), make(None)
    scheduler = CLOSED["CosineAnnealingLR"](loop.optimizer)
    for k in range(9):
        for one in (step, loop):
            one.param_groups[0]["momentum"] = 0.5 if k < 4 else 0.25
            one(X, Y)
        scheduler.step()
    np.testing.assert_allclose(step.state_dict()["weight"], loop.state_dict()["weight"], 1e-5, 1e-7)


def test_what_does_not_fit_is_refused():
    step = make(CLOSED["StepLR"])
    step(X, Y)
    step.param_groups[0]["lr"] = 0.5
    with pytest.raises(errors.InvalidArgumentError, match="the rates of its schedule are required"):
        step(X, Y)
    with pytest.raises(errors.InvalidArgumentError, match="cycle_momentum=False is required"):
        make(lambda o: s.OneCycleLR(o, 0.5, total_steps=20))
    with pytest.raises(errors.InvalidArgumentError, match="schedule_every of 0 or more"):
        make(CLOSED["StepLR"], -1)
    with pytest.raises(errors.InvalidArgumentError, match="on the step's own optimizer"):
        make(lambda o: s.StepLR(make(None).optimizer, 3))
    with pytest.raises(errors.InvalidArgumentError, match="got str"):
        make(lambda o: "cosine")


def test_chained_schedules_are_driven_from_python():
    step = make(lambda o: (s.ConstantLR(o, 0.5, 3), s.ExponentialLR(o, 0.9))[1])
    step(X, Y)
    assert not step.graph.scheduled
    assert step.learning_rates() == pytest.approx([0.1 * 0.5 * 0.9])


def test_a_state_that_is_no_json_is_named(tmp_path):
    class Odd(s.LRScheduler):
        def get_lr(self):
            self.memory = np.zeros(2)
            return self._rates()

    step = make(Odd)
    step(X, Y)
    with pytest.raises(
        errors.InvalidArgumentError, match="numbers and strings is required, got Odd"
    ):
        step.save(tmp_path / "m.onnx")


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(type=7),
        lambda d: d.pop("state"),
        lambda d: d["state"].update(step=1),
        lambda d: d["state"].update(last_epoch="x"),
        lambda d: d["state"].pop("T_max"),
    ],
)
def test_a_malformed_schedule_in_a_file_is_refused(tmp_path, change):
    step = make(CLOSED["CosineAnnealingLR"])
    step(X, Y)
    step.save(tmp_path / "m.onnx")
    proto = onnx.load(tmp_path / "m.onnx")
    (entry,) = [e for e in proto.metadata_props if e.key == "toolkit.training"]
    roles = json.loads(entry.value)
    change(roles["schedule"]["scheduler"])
    entry.value = json.dumps(roles)
    onnx.save(proto, tmp_path / "m.onnx")
    with pytest.raises(errors.InvalidModelError, match="the state of a toolkit"):
        tk.load_training(tmp_path / "m.onnx")


def test_save_takes_a_schedule(tmp_path):
    tk.manual_seed(0)
    net = nn.Linear(5, 3)
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    scheduler = s.StepLR(optimizer, 2, 0.5)
    x, y = tk.as_tensor(X), tk.as_tensor(Y)
    tk.save(tmp_path / "m.onnx", net, optimizer=optimizer, loss=nn.MSELoss(), inputs=x, target=y,
            scheduler=scheduler, schedule_every=2)  # fmt: skip
    step = tk.load_training(tmp_path / "m.onnx")
    rates = []
    for _ in range(8):
        rates.append(step.learning_rates()[0])
        step(X, Y)
    assert rates == pytest.approx([0.1] * 4 + [0.05] * 4)
    assert step.learning_rates() == pytest.approx([0.025])


def test_a_trainer_logs_the_rates_of_the_step(tmp_path):
    step = make(CLOSED["ExponentialLR"])
    trainer = Trainer(step, run_dir=tmp_path, progress=False)
    history = trainer.fit([(X, Y)] * 3, epochs=2)
    assert history["lr"] == pytest.approx([0.1 * 0.9**3, 0.1 * 0.9**6])
    again = Trainer(make(CLOSED["ExponentialLR"]), run_dir=tmp_path, progress=False)
    assert again.resume()
    assert again.fit([(X, Y)] * 3, epochs=3)["lr"][-1] == pytest.approx(0.1 * 0.9**9)
    assert again.step.scheduler.last_epoch == 9

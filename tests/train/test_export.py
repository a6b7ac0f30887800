"""Exported training steps: other runtimes train as ours does, and the weights come home."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

from tests.train.elsewhere import RATE, Net, batches, make_step, ort, reference, train
from toolkit import errors, nn, optim
from toolkit.convert.states import read_arrays, write_arrays
from toolkit.graph.targets import check_target
from toolkit.train import TrainStep, export_training, import_state, load_training


def curve(step: TrainStep, count: int, **how) -> list[float]:
    return [float(step(x, y)[0]) for x, y in batches(count, **how)]


def assert_standard(path) -> None:
    """Operators of ONNX only, and any number of samples."""
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    assert not model.functions
    x = next(v for v in model.graph.input if v.name == "x")
    assert x.type.tensor_type.shape.dim[0].dim_param


def states_of(step: TrainStep) -> dict[str, np.ndarray]:
    return {name: array.copy() for name, array in step.state_dict().items()}


def test_200_steps_in_onnxruntime_are_ours(tmp_path):
    """AdamW, BatchNorm and Dropout, flat: the same losses, and the same weights at the end."""
    step = make_step()
    table = export_training(step, tmp_path)
    assert_standard(tmp_path / "step.onnx")
    states: dict = {}
    got = train(ort(tmp_path / "step.onnx"), table, states, batches(200))
    want = curve(step, 200)
    assert want[-1] < 0.5 * want[0]
    np.testing.assert_allclose(got, want, atol=1e-4)
    for name, array in states.items():
        np.testing.assert_allclose(array, step.state_dict()[name], rtol=1e-3, atol=1e-4)


def test_3_steps_in_the_reference_are_ours(tmp_path):
    step = make_step()
    table = export_training(step, tmp_path, target="reference")
    states = read_arrays(tmp_path / table["state"]["file"])
    got = train(reference(tmp_path / "step.onnx"), table, states, batches(3))
    np.testing.assert_allclose(got, curve(step, 3), rtol=1e-4)


def test_a_browsers_step_avoids_what_it_lacks(tmp_path):
    step = make_step()
    table = export_training(step, tmp_path, target="ortweb")
    assert_standard(tmp_path / "step.onnx")
    assert check_target(tmp_path / "step.onnx", "ortweb") == []
    states = read_arrays(tmp_path / "state.safetensors")
    got = train(ort(tmp_path / "step.onnx"), table, states, batches(30))
    np.testing.assert_allclose(got, curve(step, 30), atol=1e-4)
    np.testing.assert_array_equal(states["rng_state"], step.state_dict()["rng_state"])


def test_any_batch_size(tmp_path):
    step = make_step()
    export_training(step, tmp_path)
    run = ort(tmp_path / "step.onnx")
    x, y = next(batches(1, size=5))
    got = run({"x": x, "target": y, "lr": np.array(RATE, np.float32)})
    np.testing.assert_allclose(got["loss"], step(x, y)[0].numpy(), rtol=1e-5)


OPTIONS = [{}, {"accumulate": 3, "clip_grad_norm": 0.5}, {"clip_grad_value": 0.01}]


@pytest.mark.parametrize("options", OPTIONS, ids=["plain", "accumulate", "clip"])
@pytest.mark.parametrize("target", ["ort", "ortweb"])
def test_artifacts_train_as_one_step_does(tmp_path, options, target):
    """Gradients of one model, fed to the next: as ours, and as evaluation gives it."""
    step = make_step(**options)
    table = export_training(step, tmp_path, "artifacts", target)
    models = table["models"]
    assert [m["file"] for m in models.values()] == [
        "training_model.onnx", "optimizer_model.onnx", "eval_model.onnx"
    ]  # fmt: skip
    for model in models.values():
        assert check_target(tmp_path / model["file"], target) == []
    states = read_arrays(tmp_path / table["state"]["file"])
    runs = {name: ort(tmp_path / m["file"]) for name, m in models.items()}
    for x, y in batches(7):
        feed = {"x": x, "target": y, "lr": np.array(RATE, np.float32)}
        first = runs["training_model"]({**feed, **states})
        assert {f"{n}.grad" for n in ("conv.weight", "head.bias", "norm.weight")} <= set(first)
        second = runs["optimizer_model"]({**feed, **states, **first})
        for name, results in (("training_model", first), ("optimizer_model", second)):
            states.update({s: results[o] for o, s in models[name]["updates"].items()})
        np.testing.assert_allclose(first["loss"], step(x, y)[0].numpy(), rtol=1e-4)
    x, y = next(batches(1))
    loss, outputs = step.evaluate(x, y)
    got = runs["eval_model"]({"x": x, "target": y, **states})
    np.testing.assert_allclose(got["eval_loss"], loss, rtol=1e-4)
    np.testing.assert_allclose(got["output"], outputs[0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("layout", ["step", "artifacts"])
def test_a_schedule_in_the_graph(tmp_path, layout):
    """With a scheduler the rate is no input: the step counts."""
    step = make_step()
    scheduler = optim.lr_scheduler.CosineAnnealingLR(step.optimizer, T_max=6)
    step = TrainStep(step.model, nn.CrossEntropyLoss(), step.optimizer, scheduler=scheduler)
    step.prepare(*next(batches(1)))
    table = export_training(step, tmp_path, layout, state="npz")
    assert table["learning_rates"] == {}
    states = read_arrays(tmp_path / table["state"]["file"])
    runs = [(ort(tmp_path / m["file"]), m["updates"]) for m in table["models"].values()]
    for x, y in batches(6):
        results: dict = {}
        for run, updates in runs[:2]:
            results |= run({"x": x, "target": y, **states, **results})
            states.update({s: results[o] for o, s in updates.items()})
        np.testing.assert_allclose(results["loss"], step(x, y)[0].numpy(), rtol=1e-4)
    for name, array in states.items():
        np.testing.assert_allclose(array, step.state_dict()[name], rtol=1e-3, atol=1e-4)


def test_the_one_file_is_a_layout(tmp_path):
    step = make_step()
    assert export_training(step, tmp_path, "training-info")["models"]["training"]["file"]
    again = load_training(tmp_path / "training.onnx")
    for x, y in batches(2):
        assert float(again(x, y)[0]) == float(step(x, y)[0])


@pytest.mark.parametrize("state", ["initializers", "safetensors", "npz", "bin", "onnx"])
def test_first_states_come_in_each_form(tmp_path, state):
    """The table says which; what any of them gives starts the same training."""
    step = make_step()
    table = export_training(step, tmp_path, state=state)
    assert json.loads((tmp_path / "training.json").read_text()) == table
    held = {t.name for t in onnx.load(tmp_path / "step.onnx").graph.initializer}
    names = [t["name"] for t in table["state"]["tensors"]]
    assert held.issuperset(names) == (state == "initializers")
    if state == "initializers":
        states = {}
    elif state == "onnx":
        states = ort(tmp_path / "state.onnx")({})
        assert list(states) == names
    else:
        from toolkit.train.imports import specs_of

        states = read_arrays(tmp_path / f"state.{state}", specs_of(table))
    got = train(ort(tmp_path / "step.onnx"), table, states, batches(2))
    np.testing.assert_allclose(got, curve(step, 2), rtol=1e-5)


def test_frozen_weights_are_no_states(tmp_path):
    step = make_step()
    step.model.conv.requires_grad_(False)
    step = TrainStep(step.model, nn.CrossEntropyLoss(), optim.SGD(
        [p for p in step.model.parameters() if p.requires_grad], lr=0.1, momentum=0.9
    )).prepare(*next(batches(1)))  # fmt: skip
    table = export_training(step, tmp_path)
    names = {t["name"] for t in table["state"]["tensors"]}
    assert "conv.weight" not in names
    assert {"head.weight", "optimizer.head.weight.momentum_buffer", "norm.running_mean"} <= names
    weights = {t["name"] for t in table["state"]["tensors"] if t["weight"]}
    assert weights == {"head.weight", "head.bias", "norm.weight", "norm.bias", "norm.running_mean",
                       "norm.running_var"}  # fmt: skip


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"layout": "flat"}, "a layout among step, artifacts, training-info is required"),
        ({"target": "web"}, "a target among ort, ortweb, reference is required, got 'web'"),
        ({"state": "pickle"}, "a state among .* is required, got 'pickle'"),
        ({"layout": "artifacts", "state": "initializers"}, "a file of states is required"),
        ({"layout": "training-info", "target": "ortweb"}, "layout 'step' or 'artifacts'"),
    ],
)
def test_what_does_not_go_is_refused(tmp_path, options, match):
    with pytest.raises(errors.InvalidArgumentError, match=match):
        export_training(make_step(), tmp_path / "out", **options)


def test_a_step_from_a_file_has_no_artifacts(tmp_path):
    make_step().save(tmp_path / "m.onnx")
    step = load_training(tmp_path / "m.onnx")
    export_training(step, tmp_path)
    with pytest.raises(errors.InvalidArgumentError, match="a step of a module is required"):
        export_training(step, tmp_path, "artifacts")


# -- the way home ------------------------------------------------------------------------------


@pytest.fixture
def trained(tmp_path):
    """A model file, its export, and the states after some steps."""
    step = make_step()
    model = Net()
    model.load_state_dict(step.model.state_dict())
    model.save(tmp_path / "net.onnx", inputs=next(batches(1))[0])
    table = export_training(step, tmp_path / "out", state="npz")
    states = read_arrays(tmp_path / "out" / "state.npz")
    train(ort(tmp_path / "out" / "step.onnx"), table, states, batches(5))
    return tmp_path, step, states


@pytest.mark.parametrize("ending", ["npz", "safetensors", "json", "bin"])
def test_weights_come_home(trained, ending):
    folder, step, states = trained
    write_arrays(folder / "out" / f"new.{ending}", states)
    found = import_state(folder / "net.onnx", folder / "out" / f"new.{ending}", folder / "t.onnx")
    assert {"conv.weight", "norm.running_var", "head.bias"} <= set(found["weights"])
    assert {"rng_state", "optimizer.step"} <= set(found["left"])
    old, new = onnx.load(folder / "net.onnx"), onnx.load(folder / "t.onnx")
    for tensor in new.graph.initializer:
        if tensor.name in states:
            got = onnx.numpy_helper.to_array(tensor)
            np.testing.assert_array_equal(got, states[tensor.name])
    for model in (old, new):
        del model.graph.initializer[:]
    assert old == new
    x, y = next(batches(1))
    for bx, by in batches(5):
        step(bx, by)
    got = ort(folder / "t.onnx")({"x": x})["output"]
    np.testing.assert_allclose(got, step.evaluate(x, y)[1][0], rtol=1e-3, atol=1e-4)


def test_training_goes_on_from_what_came_home(trained):
    """Optimizer, step count and random state too, where the file has a place for them."""
    folder, step, states = trained
    step.save(folder / "one.onnx")
    write_arrays(folder / "new.npz", states)
    found = import_state(folder / "one.onnx", folder / "new.npz", folder / "again.onnx")
    assert set(found["states"]) == set(states) and not found["left"]
    again = load_training(folder / "again.onnx")
    for name, array in states.items():
        np.testing.assert_array_equal(again.state_dict()[name], array)
    curve(step, 5)
    x, y = next(batches(1))
    np.testing.assert_allclose(float(again(x, y)[0]), float(step(x, y)[0]), rtol=1e-4)


def test_states_of_another_model_are_refused(trained):
    folder, _, states = trained
    cases = [
        ({"a": states["conv.weight"]}, errors.InvalidArgumentError, "all weights of the table"),
        ({**states, "head.bias": np.zeros(3, np.float32)}, errors.ShapeError, r"float32\[10\]"),
        ({**states, "head.bias": np.zeros(10)}, errors.ShapeError, r"got float64\[10\]"),
    ]
    for arrays, error, match in cases:
        write_arrays(folder / "out" / "bad.npz", arrays)
        with pytest.raises(error, match=match):
            import_state(folder / "net.onnx", folder / "out" / "bad.npz", folder / "t.onnx")
        assert not (folder / "t.onnx").exists()
    write_arrays(folder / "alone.npz", {"a": states["conv.weight"]})
    with pytest.raises(errors.InvalidArgumentError, match="weights of the model, as"):
        import_state(folder / "net.onnx", folder / "alone.npz", folder / "t.onnx")
    (folder / "table.json").write_text("{}")
    with pytest.raises(errors.InvalidArgumentError, match=r"the training.json of an export"):
        import_state(folder / "net.onnx", folder / "alone.npz", folder / "t.onnx",
                     folder / "table.json")  # fmt: skip

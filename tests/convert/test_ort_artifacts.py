"""Artifacts that onnxruntime-training 1.19.2 made: run, trained on and written again.

The oracles are torch on the same network, and what onnxruntime-training itself recorded.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import toolkit as tk
from tests.convert.networks import CASES, LOSSES, NOT_RUN, STEPS, batches
from tests.tolerances import ARTIFACTS, assert_close
from toolkit import errors, nn, optim
from toolkit.cli.main import cli
from toolkit.convert.ort_checkpoint import read_checkpoint, write_checkpoint
from toolkit.train import (
    TrainStep,
    convert_artifacts,
    load_artifacts,
    save_artifacts_checkpoint,
)

RECORDED = zipfile.ZipFile(Path(__file__).parent / "data" / "ort_artifacts.zip")
RATES = {case: rate for case, (*_, rate) in (CASES | NOT_RUN).items()}


@pytest.fixture
def folder_of(tmp_path):
    """Writes the files of a case; gives their folder."""

    def extract(case: str) -> Path:
        for name in RECORDED.namelist():
            if name.startswith(f"{case}/"):
                RECORDED.extract(name, tmp_path)
        return tmp_path / case

    return extract


@pytest.fixture(autouse=True)
def _one_thread_of_torch():
    """Its threads spin; beside other tests that costs seconds."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def load(folder: Path, **options) -> TrainStep:
    return load_artifacts(folder, learning_rate=RATES[folder.name], **options)


def train(step: TrainStep, case: str, begin: int = 0, end: int = STEPS) -> np.ndarray:
    """The losses of some steps."""
    losses = [step(*batch)[0].item() for batch in list(batches(case))[begin:end]]
    return np.array(losses, np.float32)


@pytest.mark.parametrize("case", CASES)
def test_beside_onnxruntime(case, folder_of):
    folder = folder_of(case)
    step = load(folder)
    *losses, last = np.load(folder / "losses.npy")
    assert_close(train(step, case), np.array(losses), tolerance=ARTIFACTS)
    loss, _ = step.evaluate(*list(batches(case))[-1])
    assert_close(np.float32(loss), last, tolerance=ARTIFACTS)
    want, states = read_checkpoint(folder / "checkpoint20"), step.state_dict()
    for name, array in {**want.parameters, **want.frozen}.items():
        assert_close(states[name], array, tolerance=ARTIFACTS, message=name)


class TransformersAdamW(torch.optim.Optimizer):
    """The optimizer that onnxruntime's artifacts hold: the decay last, epsilon not corrected."""

    def __init__(self, params, lr, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.0):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                if not state:
                    state.update(t=0, m=torch.zeros_like(p), v=torch.zeros_like(p))
                state["t"] += 1
                beta1, beta2 = group["betas"]
                state["m"].mul_(beta1).add_(p.grad, alpha=1 - beta1)
                state["v"].mul_(beta2).addcmul_(p.grad, p.grad, value=1 - beta2)
                size = group["lr"] * (1 - beta2 ** state["t"]) ** 0.5 / (1 - beta1 ** state["t"])
                p.addcdiv_(state["m"], state["v"].sqrt().add_(group["eps"]), value=-size)
                p.mul_(1 - group["lr"] * group["decay"])


def torch_optimizer(kind: str, parameters, rate: float) -> torch.optim.Optimizer:
    if kind == "sgd":
        return torch.optim.SGD(parameters, lr=rate)
    if kind == "torch_adamw":
        return torch.optim.AdamW(parameters, lr=rate, eps=1e-3, weight_decay=0.1)
    if kind == "clip":
        return TransformersAdamW(parameters, rate, (0.8, 0.9), 1e-3, 0.1)
    return TransformersAdamW(parameters, rate)


@pytest.mark.parametrize("case", [*CASES, "conv_any"])
def test_beside_torch(case, folder_of):
    """Loss and weights of 20 steps; onnxruntime's running variance is the biased one."""
    kind, _, loss, optimizer_kind, rate = (CASES | NOT_RUN)[case]
    folder = folder_of(case)
    step = load(folder)
    network = kind().train()
    start = read_checkpoint(folder / "checkpoint")
    given = {k: torch.from_numpy(v) for k, v in {**start.parameters, **start.frozen}.items()}
    network.load_state_dict(given, strict="norm.running_mean" not in given)
    optimizer = torch_optimizer(optimizer_kind, network.parameters(), rate)
    losses = []
    for x, y in batches(case):
        optimizer.zero_grad()
        value = LOSSES[loss](network(torch.from_numpy(x)), torch.from_numpy(y))
        value.backward()
        if optimizer_kind == "clip":
            torch.nn.utils.clip_grad_norm_(network.parameters(), 0.5)
        optimizer.step()
        losses.append(value.item())
    assert_close(train(step, case), np.array(losses, np.float32), tolerance=ARTIFACTS)
    states = step.state_dict()
    for name, tensor in network.state_dict().items():
        if name.endswith(("running_var", "num_batches_tracked")):
            continue
        assert_close(states[name], tensor.numpy(), tolerance=ARTIFACTS, message=name)


@pytest.mark.parametrize("case", ["mlp_adamw", "conv_sgd"])
def test_goes_on_from_a_later_checkpoint(case, folder_of):
    folder = folder_of(case)
    step = load(folder, checkpoint=folder / "checkpoint10")
    assert int(step.state_dict()["optimizer.step"]) == 10
    want = np.load(folder / "losses.npy")[10:STEPS]
    assert_close(train(step, case, 10), want, tolerance=ARTIFACTS)


def test_statistics_that_are_no_weights(folder_of):
    """Without `frozen_params` they are constants of both models; evaluation sees them move."""
    folder = folder_of("conv_sgd")
    start, want = read_checkpoint(folder / "checkpoint"), read_checkpoint(folder / "checkpoint20")
    for name in ("training_model.onnx", "eval_model.onnx"):
        proto = onnx.load(folder / name)
        for stat, array in start.frozen.items():
            (place,) = [v for v in proto.graph.input if v.name == stat]
            proto.graph.input.remove(place)
            proto.graph.initializer.append(onnx.numpy_helper.from_array(array, stat))
        onnx.save(proto, folder / name)
    start.frozen.clear()
    write_checkpoint(folder / "checkpoint", start)
    step = load(folder)
    train(step, "conv_sgd")
    for name, array in want.frozen.items():
        assert_close(step.state_dict()[name], array, tolerance=ARTIFACTS, message=name)
    loss, _ = step.evaluate(*list(batches("conv_sgd"))[-1])
    assert_close(np.float32(loss), np.load(folder / "losses.npy")[-1], tolerance=ARTIFACTS)


@pytest.mark.parametrize("case", ["mlp_adamw", "conv_sgd"])
def test_checkpoint_back(case, folder_of, tmp_path):
    """The same that onnxruntime writes after these steps, also through the one file."""
    folder = folder_of(case)
    step = load(folder)
    train(step, case, 0, 10)
    step.save(tmp_path / "half.onnx")
    step = tk.load_training(tmp_path / "half.onnx")
    train(step, case, 10)
    save_artifacts_checkpoint(step, tmp_path / "checkpoint")
    got, want = read_checkpoint(tmp_path / "checkpoint"), read_checkpoint(folder / "checkpoint20")
    assert got.parameters.keys() == want.parameters.keys()
    assert got.frozen.keys() == want.frozen.keys()
    for name, array in {**want.parameters, **want.frozen}.items():
        assert_close({**got.parameters, **got.frozen}[name], array, tolerance=ARTIFACTS)
    (mine,), (theirs,) = got.groups, want.groups
    assert (mine.name, mine.step) == (theirs.name, theirs.step)
    assert mine.states.keys() == theirs.states.keys()
    for name, held in theirs.states.items():  # SGD's are zeros, and required.
        assert_close(mine.states[name], held, tolerance=ARTIFACTS)


@pytest.mark.parametrize("case", ["mlp_clip", "conv_sgd", "transformer", "recurrent"])
def test_one_file(case, folder_of, tmp_path):
    """Standard operators, valid, goes on bit by bit; its inference graph runs in onnxruntime."""
    ort = pytest.importorskip("onnxruntime")
    step = load(folder_of(case))
    train(step, case, 0, 3)
    step.save(tmp_path / "one.onnx")
    proto = onnx.load(tmp_path / "one.onnx")
    onnx.checker.check_model(proto, full_check=True)
    assert not any(e.domain == "com.microsoft" for e in proto.opset_import)
    again = tk.load_training(tmp_path / "one.onnx")
    np.testing.assert_array_equal(train(again, case, 3, 6), train(step, case, 3, 6))
    again = tk.load_training(tmp_path / "one.onnx")
    x = list(batches(case))[5][0]
    session = ort.InferenceSession(tmp_path / "one.onnx", providers=["CPUExecutionProvider"])
    (name,) = [v.name for v in session.get_inputs()]
    for got, want in zip(session.run(None, {name: x}), again.predict(x), strict=True):
        assert_close(got, want, scale=20.0)


@pytest.mark.parametrize("case", ["mlp_adamw", "mlp_bce", "conv_any", "transformer"])
def test_step_for_other_runtimes(case, folder_of, tmp_path):
    ort = pytest.importorskip("onnxruntime")
    step = load(folder_of(case))
    tk.export_train_step(tmp_path / "step.onnx", step)
    proto = onnx.load(tmp_path / "step.onnx")
    assert all(not node.domain for node in proto.graph.node)
    session = quiet_session(ort, tmp_path / "step.onnx")
    states = {t.name: onnx.numpy_helper.to_array(t) for t in proto.graph.initializer}
    states = {v.name: states[v.name] for v in proto.graph.input if v.name in states}
    outputs = [v.name for v in session.get_outputs()]
    losses = []
    for x, y in list(batches(case))[:4]:
        fed = {step.graph.features[0].name: x, step.graph.targets[0].name: y}
        fed["lr"] = np.array(RATES[case], np.float32)
        found = dict(zip(outputs, session.run(None, states | fed), strict=True))
        states = {name: found.get(f"{name}.next", old) for name, old in states.items()}
        losses.append(found[step.graph.loss.name])
    assert_close(train(step, case, 0, 4), np.array(losses), tolerance=ARTIFACTS)


def quiet_session(ort, path: Path):
    """States that are inputs with a default are a warning there."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def test_dropout(folder_of, tmp_path):
    """Its masks follow from the seed, here, in the gradients, in the one file and elsewhere."""
    ort = pytest.importorskip("onnxruntime")
    folder = folder_of("dropout")
    tk.manual_seed(11)
    masks = [tk.random.dropout(tk.ones(6, 16), 0.5)[0].numpy() for _ in range(STEPS)]
    assert 0.3 < np.mean(masks) / 2 < 0.7
    tk.manual_seed(11)
    step = load(folder)
    step.save(tmp_path / "one.onnx")
    tk.export_train_step(tmp_path / "step.onnx", step)
    losses = train(step, "dropout")
    start = read_checkpoint(folder / "checkpoint").parameters
    t = {k: torch.tensor(v, requires_grad=True) for k, v in start.items()}
    optimizer = torch.optim.SGD(t.values(), lr=RATES["dropout"])
    want = []
    for (x, y), mask in zip(batches("dropout"), masks, strict=True):
        optimizer.zero_grad()
        h = torch.relu(torch.from_numpy(x) @ t["a.weight"].T + t["a.bias"])
        out = (h * torch.from_numpy(mask)) @ t["b.weight"].T + t["b.bias"]
        loss = torch.nn.functional.cross_entropy(out, torch.from_numpy(y))
        loss.backward()
        optimizer.step()
        want.append(loss.item())
    assert_close(losses, np.array(want, np.float32), tolerance=ARTIFACTS)
    for name, tensor in t.items():
        assert_close(step.state_dict()[name], tensor.detach().numpy(), tolerance=ARTIFACTS)
    np.testing.assert_array_equal(train(tk.load_training(tmp_path / "one.onnx"), "dropout"), losses)
    x, y = next(batches("dropout"))
    session = quiet_session(ort, tmp_path / "step.onnx")
    fed = {"input": x, "labels": y, "lr": np.array(0.1, np.float32)}
    assert_close(session.run([step.graph.loss.name], fed)[0], losses[0], tolerance=ARTIFACTS)


def test_sums_of_micro_batches(folder_of):
    """As `module(...)` twice before `optimizer.step()`: gradients are added, not averaged."""
    folder = folder_of("mlp_bce")
    step = load(folder, accumulate=2)
    start = read_checkpoint(folder / "checkpoint").parameters
    network = CASES["mlp_bce"][0]()
    network.load_state_dict({k: torch.from_numpy(v) for k, v in start.items()})
    optimizer = torch.optim.SGD(network.parameters(), lr=RATES["mlp_bce"])
    for i, (x, y) in enumerate(batches("mlp_bce")):
        LOSSES["bce"](network(torch.from_numpy(x)), torch.from_numpy(y)).backward()
        if i % 2:
            optimizer.step()
            optimizer.zero_grad()
    train(step, "mlp_bce")
    for name, tensor in network.state_dict().items():
        assert_close(step.state_dict()[name], tensor.numpy(), tolerance=ARTIFACTS)


def test_roles(folder_of):
    step = load(folder_of("mlp_bce"))
    names = [[v.name for v in vs] for vs in (step.graph.features, step.graph.targets)]
    assert names == [["input"], ["target"]]
    assert [v.name for v in step.graph.predictions] == ["output"]
    x, y = next(batches("mlp_bce"))
    _, (output,) = step(x, y)
    assert output.shape == (6, 4)
    chosen = load_artifacts(folder_of("transformer"), outputs=["output", "/norm2/Add_1_output_0"])
    tokens, _ = next(batches("transformer"))
    assert [v.shape for v in chosen.predict(tokens)] == [(4, 11), (4, 7, 16)]
    assert chosen.learning_rates() == [pytest.approx(1e-3)]


def test_inference_model_trains_with_another_optimizer(folder_of, tmp_path):
    """The one file's own graph is a module as any other."""
    load(folder_of("conv_any")).save(tmp_path / "one.onnx")
    net = tk.load(tmp_path / "one.onnx")
    assert "c1.weight" in dict(net.named_parameters())
    step = TrainStep(net, nn.CrossEntropyLoss(), optim.AdamW(net.parameters(), lr=1e-2))
    x, y = next(batches("conv_any"))
    losses = [step(x, y)[0].item() for _ in range(20)]
    assert losses[-1] < losses[0] / 2


def test_folder_is_a_training_file(folder_of):
    step = tk.load_training(folder_of("mlp_adamw"))
    step.param_groups[0]["lr"] = RATES["mlp_adamw"]
    want = np.load(folder_of("mlp_adamw") / "losses.npy")[:3]
    assert_close(train(step, "mlp_adamw", 0, 3), want, tolerance=ARTIFACTS)


def test_prefix(folder_of):
    folder = folder_of("mlp_adamw")
    for path in list(folder.iterdir()):
        path.rename(folder / f"net_{path.name}")
    assert load_artifacts(folder, prefix="net_").learning_rates() == [pytest.approx(1e-3)]


def test_missing_and_damaged_files(folder_of):
    folder = folder_of("mlp_adamw")
    for name in ("training_model.onnx", "eval_model.onnx", "optimizer_model.onnx"):
        path = folder / name
        text = path.read_bytes()
        path.unlink()
        with pytest.raises(errors.InvalidModelError, match=f"'?{name}'? is required, got"):
            load(folder)
        path.write_bytes(text[: len(text) // 2])
        with pytest.raises(errors.InvalidModelError, match="which does not parse"):
            load(folder)
        path.write_bytes(text)
    (folder / "checkpoint").unlink()
    with pytest.raises(errors.InvalidModelError, match="a readable file is required"):
        load(folder)


def test_bytes_at_random(folder_of, rng):
    """Damaged models are trained on or refused."""
    folder = folder_of("mlp_clip")
    names = ("training_model.onnx", "eval_model.onnx", "optimizer_model.onnx")
    texts = {name: (folder / name).read_bytes() for name in names}
    x, y = next(batches("mlp_clip"))
    refused = 0
    for k in range(90):
        name = names[k % 3]
        damaged = bytearray(texts[name])
        for _ in range(rng.integers(1, 5)):
            damaged[rng.integers(0, len(damaged))] = rng.integers(0, 256)
        (folder / name).write_bytes(damaged)
        try:
            load(folder)(x, y)
        except errors.ToolkitError:
            refused += 1
        (folder / name).write_bytes(texts[name])
    assert refused > 45


def test_checkpoint_of_another_model(folder_of, tmp_path):
    folder, other = folder_of("mlp_adamw"), folder_of("conv_sgd")
    with pytest.raises(errors.InvalidModelError, match="a checkpoint with all weights is required"):
        load(folder, checkpoint=other / "checkpoint")
    found = read_checkpoint(folder / "checkpoint20")
    found.groups[0].states["a.bias"]["momentum0"] = np.zeros(3, np.float32)
    write_checkpoint(tmp_path / "odd", found)
    with pytest.raises(errors.InvalidModelError, match=r"a momentum0 of shape \(16,\) is required"):
        load(folder, checkpoint=tmp_path / "odd")
    found.parameters["a.weight"] = np.zeros((16, 9), np.float32)
    write_checkpoint(tmp_path / "odd", found)
    with pytest.raises(
        errors.InvalidModelError, match=r"'a.weight' of shape \(16, 8\) is required"
    ):
        load(folder, checkpoint=tmp_path / "odd")


def test_other_optimizers(folder_of):
    folder = folder_of("mlp_adamw")
    proto = onnx.load(folder / "optimizer_model.onnx")
    proto.graph.node[0].op_type = "LambOptimizer"
    onnx.save(proto, folder / "optimizer_model.onnx")
    with pytest.raises(errors.UnsupportedOperatorError, match=r"got \['LambOptimizer'\]"):
        load(folder)


def test_names_that_are_not_there(folder_of):
    folder = folder_of("mlp_adamw")
    with pytest.raises(errors.InvalidArgumentError, match="outputs among the model's values"):
        load(folder, outputs=["logits"])
    with pytest.raises(errors.InvalidArgumentError, match=r"targets among \['input', 'labels'\]"):
        load(folder, targets=["label"])
    with pytest.raises(errors.InvalidArgumentError, match="a step from onnxruntime's artifacts"):
        save_artifacts_checkpoint(
            TrainStep(nn.Linear(2, 2), nn.MSELoss(), None), folder / "checkpoint"
        )


@pytest.mark.parametrize("layout", ["training-info", "step", "model"])
def test_command_line(layout, folder_of, tmp_path):
    folder, target = folder_of("conv_sgd"), tmp_path / "out.onnx"
    args = ["convert", str(folder), str(target), "--opset", "19", "--layout", layout]
    cli.main([*args, "--checkpoint", str(folder / "checkpoint20")], standalone_mode=False)
    proto = onnx.load(target)
    onnx.checker.check_model(proto, full_check=True)
    assert {e.domain: e.version for e in proto.opset_import}[""] == 19
    assert bool(proto.training_info) is (layout == "training-info")
    want = read_checkpoint(folder / "checkpoint20").parameters["c1.weight"]
    weights = {t.name: onnx.numpy_helper.to_array(t) for t in proto.graph.initializer}
    np.testing.assert_array_equal(weights["c1.weight"], want)
    if layout == "step":
        assert all(not node.domain for node in proto.graph.node)
        return
    x, y = list(batches("conv_sgd"))[-1]
    logits = tk.load(target)(tk.tensor(x))
    loss = nn.functional.cross_entropy(logits, tk.tensor(y)).detach().numpy()
    assert_close(loss, np.load(folder / "losses.npy")[-1], tolerance=ARTIFACTS)


def test_command_line_needs_a_folder():
    args = ["convert", "a.onnx", "b.onnx", "--layout", "step"]
    with pytest.raises(errors.InvalidArgumentError, match="a folder of training artifacts"):
        cli.main(args, standalone_mode=False)


def test_layouts(folder_of, tmp_path):
    folder = folder_of("mlp_adamw")
    with pytest.raises(errors.InvalidArgumentError, match="a layout among"):
        convert_artifacts(folder, tmp_path / "out.onnx", "artifacts")
    with pytest.raises(
        errors.InvalidArgumentError, match="layout 'step' is required with a runtime"
    ):
        convert_artifacts(folder, tmp_path / "out.onnx", "model", runtime="ort")

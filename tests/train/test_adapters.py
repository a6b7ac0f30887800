"""LoRA and DoRA on `nn` layers, beside torch with the whole adapted weight written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import toolkit as tk
from tests.tolerances import FORWARD, GRADIENT
from toolkit import errors, nn, optim
from toolkit.train import TrainStep, load_adapters, lora, merge, save_adapters, unload
from toolkit.train.adapters import formula

SCALE = 16 / 4  # alpha / r below.
EXACT = {"rtol": GRADIENT[0], "atol": GRADIENT[1]}  # In float64.
CLOSE = {"rtol": FORWARD["float32"][0], "atol": FORWARD["float32"][1]}


class Attend(nn.Module):
    def __init__(self):
        super().__init__()
        self.attn = nn.MultiheadAttention(12, 3, batch_first=True)

    def forward(self, x):
        return self.attn(x, x, x, need_weights=False)[0]


class TorchAttend(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.attn = torch.nn.MultiheadAttention(12, 3, batch_first=True)

    def forward(self, x):
        return self.attn(x, x, x, need_weights=False)[0]


class Wrap(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)


class TorchWrap(torch.nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)


def wrapped(name, *args, **options):
    return lambda: (
        Wrap(getattr(nn, name)(*args, **options)),
        TorchWrap(getattr(torch.nn, name)(*args, **options)),
    )


CASES = {
    "linear": (wrapped("Linear", 6, 9), (5, 6)),
    "linear of three dimensions": (wrapped("Linear", 6, 9, bias=False), (2, 5, 6)),
    "conv": (wrapped("Conv2d", 4, 6, 3, stride=2, padding=1, dilation=2), (2, 4, 9, 9)),
    "conv of groups": (wrapped("Conv2d", 4, 6, 3, groups=2, bias=False), (2, 4, 6, 6)),
    "conv1d, padded in circles": (
        wrapped("Conv1d", 3, 5, 3, padding=1, padding_mode="circular"),
        (2, 3, 8),
    ),
    "embedding": (wrapped("Embedding", 11, 7), "ids"),
    "attention": (lambda: (Attend(), TorchAttend()), (2, 5, 12)),
}


def adapted_weight(weight, a, b, magnitude, kind):
    """W + s B A, for DoRA with its norms set to the magnitudes; the norms get no gradient."""
    if kind.startswith("conv"):
        groups = a.shape[0] // 4
        pairs = zip(a.chunk(groups), b.chunk(groups), strict=True)
        product = torch.cat([v.flatten(1) @ u.flatten(1) for u, v in pairs]).view(weight.shape)
    elif kind == "embedding":
        product = (b @ a).T
    else:
        product = b @ a
    moved = weight + SCALE * product
    if magnitude is None:
        return moved
    axes = (0,) if kind == "embedding" else tuple(range(1, weight.dim()))
    shape = (1, -1) if kind == "embedding" else (-1, *[1] * (weight.dim() - 1))
    norm = moved.detach().square().sum(axes).sqrt()
    return moved * (magnitude / norm).reshape(shape)


def twins(case, dora, rng):
    """Ours with adapters of random values, and torch's weights and factors as leaves."""
    make, shape = CASES[case]
    ours, theirs = make()
    ours.double()
    theirs.double()
    state = {k: v.detach().numpy() for k, v in theirs.state_dict().items()}
    ours.load_state_dict(state)
    lora(ours, r=4, alpha=16, targets="*", dora=dora)
    for name, p in ours.named_parameters():
        if "lora" in name:
            with tk.no_grad():
                p.copy_(tk.tensor(rng.uniform(0.01, 0.1, p.shape)))
    base = {k: torch.tensor(v) for k, v in state.items()}
    factors = {
        name: torch.tensor(p.detach().numpy().copy(), requires_grad=True)
        for name, p in ours.named_parameters()
        if p.requires_grad
    }
    if shape == "ids":
        x = rng.integers(0, 11, (3, 5))
    else:
        x = rng.standard_normal(shape).astype(np.float64)
    return ours, theirs, base, factors, x


def torch_output(theirs, base, factors, x, case):
    weights = dict(base)
    for stem in {name.split(".lora")[0] for name in factors}:
        table = f"{stem}.lora_embedding_A" in factors
        names = ("lora_embedding_{}" if table else "lora_{}.weight").format
        a, b = (factors[f"{stem}.{names(factor)}"] for factor in "AB")
        key = f"{stem}.weight" if f"{stem}.weight" in base else f"{stem}.in_proj_weight"
        magnitude = factors.get(f"{stem}.lora_magnitude_vector")
        weights[key] = adapted_weight(base[key], a, b, magnitude, case)
    return torch.func.functional_call(theirs, weights, (torch.tensor(x),))


@pytest.mark.parametrize("dora", [False, True], ids=["lora", "dora"])
@pytest.mark.parametrize(
    ("case", "wide"), [*((c, 16) for c in CASES), *((c, 0) for c in CASES if c.startswith("conv"))]
)
def test_beside_torch(case, wide, dora, rng, monkeypatch):
    """Outputs and gradients, three steps of training in one program, and the merged weight.

    `wide`: convolutions apply the adapted weight, or (0) the factors.
    """
    monkeypatch.setattr(formula, "_WIDE", wide)
    ours, theirs, base, factors, x = twins(case, dora, rng)
    out = torch_output(theirs, base, factors, x, case)
    found = ours(tk.tensor(x))
    np.testing.assert_allclose(found.detach().numpy(), out.detach().numpy(), **EXACT)
    goal = rng.standard_normal(out.shape).astype(np.float64)
    found.square().mean().backward()
    out.square().mean().backward()
    for name, p in ours.named_parameters():
        if name in factors:
            got, want = p.grad.numpy(), factors[name].grad.numpy()
            np.testing.assert_allclose(got, want, **EXACT, err_msg=name)
        else:
            assert p.grad is None
    before = {k: v.numpy().copy() for k, v in ours.state_dict().items() if k in base}
    step = TrainStep(ours, nn.MSELoss(), optim.SGD(ours.parameters(), lr=2.0**-5))
    optimizer = torch.optim.SGD(factors.values(), lr=2.0**-5)
    for _ in range(3):
        loss, _ = step(tk.tensor(x), tk.tensor(goal))
        optimizer.zero_grad()
        want = torch.nn.functional.mse_loss(
            torch_output(theirs, base, factors, x, case), torch.tensor(goal)
        )
        want.backward()
        optimizer.step()
        assert math.isclose(float(loss), want.item(), rel_tol=1e-9)
    for name, factor in factors.items():
        got = ours.get_parameter(name).detach().numpy()
        np.testing.assert_allclose(got, factor.detach().numpy(), **EXACT, err_msg=name)
    for name, value in before.items():
        np.testing.assert_array_equal(ours.state_dict()[name].numpy(), value)
    ours.eval()
    separate = ours(tk.tensor(x)).detach().numpy()
    merge(ours)
    np.testing.assert_allclose(ours(tk.tensor(x)).detach().numpy(), separate, **EXACT)
    assert ours.state_dict().keys() == base.keys()
    assert all(p.requires_grad for p in ours.parameters())


def small():
    tk.manual_seed(3)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))


def test_what_peft_draws():
    """A is drawn as a Linear's weight, B is zero; an Embedding the other way about."""
    model = lora(small(), r=2)
    a, b = model[0].lora_A.weight.detach().numpy(), model[0].lora_B.weight.detach().numpy()
    assert a.shape == (2, 6) and b.shape == (8, 2) and not b.any()
    assert 0 < np.abs(a).max() <= 1 / math.sqrt(6)
    table = lora(Wrap(nn.Embedding(9, 4)), r=2, targets="layer", dora=True).layer
    assert table.lora_embedding_A.shape == (2, 9) and table.lora_embedding_B.shape == (4, 2)
    assert not table.lora_embedding_A.detach().numpy().any()
    np.testing.assert_allclose(
        table.lora_magnitude_vector.detach().numpy(),
        np.linalg.norm(table.weight.detach().numpy(), axis=0),
        rtol=1e-6,
    )


@pytest.mark.parametrize(
    ("options", "scale"),
    [({}, 1.0), ({"alpha": 16}, 4.0), ({"alpha": 16, "rslora": True}, 8.0)],
)
def test_scaling(options, scale):
    model = lora(Wrap(nn.Linear(3, 3, bias=False)), r=4, **options)
    with tk.no_grad():
        model.layer.lora_B.weight.fill_(1.0)
    update = model(tk.ones(1, 3)).detach().numpy() - model.layer.weight.detach().numpy().sum(1)
    want = scale * model.layer.lora_A.weight.detach().numpy().sum()
    np.testing.assert_allclose(update[0], [want] * 3, rtol=1e-5)


def test_only_adapters_have_gradients_and_optimizer_state():
    model = lora(small(), r=2, targets=["0", "2"], modules_to_save="4")
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert trained == {
        "0.lora_A.weight", "0.lora_B.weight", "2.lora_A.weight", "2.lora_B.weight",
        "4.weight", "4.bias",
    }  # fmt: skip
    step = TrainStep(model, nn.CrossEntropyLoss(), optim.AdamW(model.parameters()))
    step(tk.zeros(4, 6), tk.zeros(4, dtype=tk.int64))
    moments = {n.removesuffix(".exp_avg") for n in step.state_dict() if n.endswith(".exp_avg")}
    assert moments == {f"optimizer.{n}" for n in trained}


def test_dropout_is_on_the_input_of_the_adapter_in_training_only(rng):
    x = tk.tensor(rng.standard_normal((64, 6)).astype(np.float32))
    model = lora(Wrap(nn.Linear(6, 5)), r=2, dropout=0.5)
    with tk.no_grad():
        model.layer.lora_B.weight.fill_(0.5)
    model.eval()
    still = model(x).detach().numpy()
    np.testing.assert_array_equal(still, model(x).detach().numpy())
    model.train()
    base = x.numpy() @ model.layer.weight.detach().numpy().T + model.layer.bias.detach().numpy()
    a = model.layer.lora_A.weight.detach().numpy()
    tk.manual_seed(5)
    update = model(x).detach().numpy() - base
    tk.manual_seed(5)
    mask = nn.functional.dropout(tk.ones(64, 6), 0.5).numpy()
    np.testing.assert_allclose(
        update, ((x.numpy() * mask) @ a.T @ np.full((2, 5), 0.5)), rtol=1e-4, atol=1e-5
    )


def test_bfloat16_weights_train_float32_adapters(rng):
    model = lora(small().bfloat16(), r=2, dora=True, modules_to_save=())
    assert model[0].lora_A.weight.dtype is tk.float32
    x = tk.tensor(rng.standard_normal((8, 6)).astype(np.float32)).to(tk.bfloat16)
    model(x).float().sum().backward()
    assert model[4].lora_B.weight.grad is not None
    assert model(x).dtype is tk.bfloat16
    merge(model)
    assert model[0].weight.dtype is tk.bfloat16


def test_unload_and_copies(rng):
    import copy

    x = tk.tensor(rng.standard_normal((8, 6)).astype(np.float32))
    model = small()
    before = model(x).detach().numpy()
    lora(model, r=2)
    with tk.no_grad():
        model[0].lora_B.weight.fill_(1.0)
    twin = copy.deepcopy(model)
    after = model(x).detach().numpy()
    assert np.abs(after - before).max() > 1e-3
    unload(model)
    assert type(model[0]) is nn.Linear and "lora" not in repr(model)
    np.testing.assert_array_equal(model(x).detach().numpy(), before)
    np.testing.assert_allclose(twin(x).detach().numpy(), after, rtol=1e-6)
    np.testing.assert_allclose(merge(twin)(x).detach().numpy(), after, **CLOSE)


@pytest.mark.parametrize("dora", [False, True], ids=["lora", "dora"])
def test_a_file_of_adapters(tmp_path, rng, dora):
    """Small, without the base's weights; read onto a copy it gives the same outputs."""
    x = tk.tensor(rng.standard_normal((8, 6)).astype(np.float32))
    model = lora(small(), r=2, alpha=5, dora=dora, targets="0", modules_to_save="4")
    step = TrainStep(model, nn.CrossEntropyLoss(), optim.AdamW(model.parameters(), lr=0.1))
    for _ in range(3):
        step(x, tk.zeros(8, dtype=tk.int64))
    save_adapters(model, tmp_path / "adapters.onnx")
    import onnx

    stored = onnx.load(tmp_path / "adapters.onnx")
    onnx.checker.check_model(stored)
    names = {"0.lora_A.weight", "0.lora_B.weight", "4.weight", "4.bias"}
    names |= {"0.lora_magnitude_vector"} if dora else set()
    assert {t.name for t in stored.graph.initializer} == names
    fresh = load_adapters(small(), tmp_path / "adapters.onnx")
    np.testing.assert_array_equal(fresh(x).detach().numpy(), model(x).detach().numpy())
    load_adapters(model, tmp_path / "adapters.onnx")  # Onto adapters that are there.
    with pytest.raises(errors.InvalidArgumentError, match=r"adapters of LoraConfig.*r=2"):
        load_adapters(lora(small(), r=3), tmp_path / "adapters.onnx")
    small().save(tmp_path / "model.onnx", inputs=x)
    with pytest.raises(errors.InvalidModelError, match="a file that save_adapters wrote"):
        load_adapters(small(), tmp_path / "model.onnx")


def test_the_whole_training_in_one_file(tmp_path, rng):
    """A step with adapters is saved and goes on from its file to the same bits."""
    x = tk.tensor(rng.standard_normal((8, 6)).astype(np.float32))
    y = tk.zeros(8, dtype=tk.int64)
    model = lora(small(), r=2, dropout=0.2)
    step = TrainStep(model, nn.CrossEntropyLoss(), optim.AdamW(model.parameters(), lr=0.1))
    step(x, y)
    step.save(tmp_path / "step.onnx")
    resumed = tk.load_training(tmp_path / "step.onnx")
    assert [float(step(x, y)[0]) for _ in range(3)] == [float(resumed(x, y)[0]) for _ in range(3)]


def test_shared_weights_get_no_adapter():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(7, 4)
            self.body = nn.Linear(4, 4)
            self.head = nn.Linear(4, 7, bias=False)
            self.head.weight = self.table.weight

        def forward(self, x):
            return self.head(self.body(self.table(x)))

    with pytest.warns(errors.ToolkitWarning, match="got shared ones at table, head"):
        model = lora(Tied(), targets="*")
    assert {n for n, p in model.named_parameters() if p.requires_grad} == {
        "body.lora_A.weight",
        "body.lora_B.weight",
    }


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"r": 0}, "a rank r of 1 or more is required, got 0"),
        ({"dropout": 1.0}, "a dropout from 0 to below 1 is required, got 1.0"),
        ({"targets": "atn"}, r"got 'atn'. Near names: 'attn"),
        ({"targets": ["attn", "query"]}, r"got 'query'. Near names"),
        ({"modules_to_save": "head"}, "as modules_to_save, got 'head'"),
    ],
)
def test_what_is_refused(options, text):
    model = Attend()
    with pytest.raises(errors.InvalidArgumentError, match=text):
        lora(model, **options)
    assert all(p.requires_grad for p in model.parameters())


def test_order_of_calls():
    model = lora(small())
    with pytest.raises(errors.InvalidArgumentError, match="without adapters is required"):
        lora(model)
    merge(model)
    for call in (merge, unload, lambda m: save_adapters(m, "x.onnx")):
        with pytest.raises(errors.InvalidArgumentError, match=r"with adapters|lora was called"):
            call(model)


def test_dora_of_a_row_of_zeros(rng):
    """As pruned networks have: its norm divides, and nothing becomes NaN."""
    model = small()
    with tk.no_grad():
        model[0].weight[3] = 0.0
    x = tk.tensor(rng.standard_normal((8, 6)).astype(np.float32))
    before = model(x).detach().numpy()
    lora(model, r=2, dora=True)
    np.testing.assert_allclose(model(x).detach().numpy(), before, **CLOSE)
    step = TrainStep(model, nn.CrossEntropyLoss(), optim.AdamW(model.parameters(), lr=0.1))
    for _ in range(3):
        step(x, tk.zeros(8, dtype=tk.int64))
    want = model(x).detach().numpy()
    assert np.isfinite(want).all()
    np.testing.assert_allclose(merge(model)(x).detach().numpy(), want, **CLOSE)

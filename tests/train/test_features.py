"""Cached features: the head trained on them equals the model trained with its body frozen."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest

import toolkit as tk
from tests.tolerances import FORWARD
from toolkit import errors, nn, optim
from toolkit.data import DataLoader, TensorDataset
from toolkit.train import Trainer, TrainStep, cache_features, load_features, lora, merge

RTOL, ATOL = (4 * t for t in FORWARD["float32"])


def data(rng, count=50):
    x = rng.standard_normal((count, 3, 8, 8)).astype(np.float32)
    return TensorDataset(tk.tensor(x), tk.tensor(rng.integers(0, 4, count)))


def net():
    tk.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(),
        nn.Linear(216, 16), nn.ReLU(), nn.Linear(16, 4),
    )  # fmt: skip
    for child in list(model)[:4]:
        child.requires_grad_(False)
    return model


def fit(model, dataset, epochs=2):
    step = TrainStep(model, nn.CrossEntropyLoss(), optim.AdamW(model.parameters(), lr=0.01))
    loader = DataLoader(dataset, 16, shuffle=True, generator=0)
    return Trainer(step, progress=False).fit(loader, epochs=epochs)["loss"]


def state(model):
    return {k: v.numpy().copy() for k, v in model.state_dict().items()}


def test_the_head_of_a_sequential(rng):
    dataset = data(rng)
    whole, parted = net(), net()
    cached = cache_features(parted, dataset, batch_size=7)
    assert cached.at == ["3"] and [n for n, _ in cached.head.named_parameters()] == [
        "4.weight", "4.bias", "6.weight", "6.bias",
    ]  # fmt: skip
    features, labels = cached.data[:]
    assert features.shape == (50, 216) and labels.tolist() == dataset[:][1].tolist()
    before = state(parted)
    losses = fit(cached.head, cached.data)
    parted.eval()
    out = parted(dataset[:][0]).detach().numpy()
    expected = cached.head.eval()(features).detach().numpy()
    np.testing.assert_allclose(out, expected, RTOL, ATOL)
    after = state(parted)
    for name in before:
        assert np.array_equal(before[name], after[name]) == (name.split(".")[0] in "0123")
    # The same steps through the whole model, its BatchNorm by the running statistics.
    frozen = nn.Sequential(*list(whole)[:4]).eval()

    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.rest = nn.Sequential(*list(whole)[4:])

        def forward(self, x):
            return self.rest(frozen(x).detach())

    assert losses == pytest.approx(fit(Whole(), dataset), rel=1e-5)


def test_a_folder_of_features(rng, tmp_path):
    """Memory-mapped, the same as in memory; replaced as a whole; nothing half-written is left."""
    dataset, model = data(rng), net()
    kept = cache_features(model, DataLoader(dataset, 16, shuffle=True), folder=tmp_path / "train")
    plain = cache_features(model, dataset)
    for a, b in zip(kept.data[:], plain.data[:], strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert sorted(p.name for p in (tmp_path / "train").iterdir()) == [
        "0.npy",
        "1.npy",
        "index.json",
    ]
    assert json.loads((tmp_path / "train" / "index.json").read_text())["at"] == ["3"]
    assert np.load(tmp_path / "train" / "0.npy").shape == (50, 216)
    opened = load_features(tmp_path / "train")
    with tk.no_grad():
        opened.tensors[0].zero_()  # In this process only.
    again = load_features(tmp_path / "train")
    np.testing.assert_array_equal(again[:][0].numpy(), plain.data[:][0].numpy())
    fit(kept.head, again, 1)
    held_out = kept.extract(data(rng, 9), tmp_path / "train")
    assert len(held_out) == 9 and len(load_features(tmp_path / "train")) == 9
    assert [p.name for p in tmp_path.iterdir()] == ["train"]

    class Breaks(TensorDataset):
        def get_batch(self, indices):
            raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        kept.extract(Breaks(*dataset.tensors), tmp_path / "train")
    assert len(load_features(tmp_path / "train")) == 9
    assert [p.name for p in tmp_path.iterdir()] == ["train"]
    (tmp_path / "other").mkdir()
    with pytest.raises(errors.InvalidArgumentError, match="a new folder, or one of features"):
        kept.extract(dataset, tmp_path / "other")
    with pytest.raises(errors.InvalidArgumentError, match="a folder that cache_features wrote"):
        load_features(tmp_path / "other")


def test_what_is_refused_of_a_sequential(rng):
    dataset = data(rng, 4)
    assert cache_features(net(), dataset, at="2").data[:][0].shape == (4, 6, 6, 6)
    with pytest.raises(errors.InvalidArgumentError, match=r"got '6'. Near names: "):
        cache_features(net(), dataset, at="6")
    with pytest.raises(errors.InvalidArgumentError, match="got a first one that trains"):
        cache_features(net().requires_grad_(True), dataset)
    with pytest.raises(errors.InvalidArgumentError, match="got none that trains"):
        cache_features(net().requires_grad_(False), dataset)
    with pytest.raises(
        errors.InvalidArgumentError, match="or a Sequential is required, got Linear"
    ):
        cache_features(nn.Linear(3, 3), dataset)
    with pytest.raises(errors.ShapeError, match=r"a row for each of the 4 samples"):
        cache_features(nn.Sequential(nn.Flatten(0), nn.Linear(768, 2)), dataset, at="0")


@pytest.fixture
def loaded(tmp_path):
    """A file whose last layers train."""
    net().save(tmp_path / "net.onnx", inputs=tk.zeros(2, 3, 8, 8))

    def load(*trainable):
        return tk.load(tmp_path / "net.onnx", trainable=trainable or ["4.*", "6.*"])

    return load


def test_the_head_of_a_file(rng, loaded, tmp_path):
    """The same losses and weights as through the whole model, whose file is written as ever."""
    dataset, parted, whole = data(rng), loaded(), loaded()
    cached = cache_features(parted, dataset)
    assert cached.at == ["3.Reshape.out"] and cached.data[:][0].shape == (50, 216)
    assert {n for n, _ in cached.head.named_parameters()} == {
        "4.weight", "4.bias", "6.weight", "6.bias",
    }  # fmt: skip
    losses = fit(cached.head, cached.data)
    assert losses == pytest.approx(fit(whole, dataset), rel=1e-5)
    for name, value in state(whole).items():
        np.testing.assert_allclose(state(parted)[name], value, RTOL, ATOL, err_msg=name)
    parted.save(tmp_path / "tuned.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "tuned.onnx")
    x = dataset[:][0].numpy()
    (there,) = session.run(None, {session.get_inputs()[0].name: x})
    parts = cached.head.eval()(cached.body.eval()(dataset[:][0])).detach().numpy()
    np.testing.assert_allclose(there, parts, RTOL, ATOL)
    stored = {t.name: t for t in onnx.load(tmp_path / "tuned.onnx").graph.initializer}
    for tensor in onnx.load(tmp_path / "net.onnx").graph.initializer:
        changed = tensor.name.split(".")[0] in ("4", "6")
        assert (stored[tensor.name] == tensor) != changed


def test_where_the_frozen_part_ends(rng, loaded):
    dataset = data(rng, 6)
    assert cache_features(loaded(), dataset, at="2.Relu.out").data[:][0].shape == (6, 6, 6, 6)
    assert cache_features(loaded("6.*"), dataset).at == ["5.Relu.out"]
    with pytest.raises(errors.InvalidArgumentError, match="got one that reads the inputs and"):
        cache_features(loaded("*"), dataset)
    with pytest.raises(errors.InvalidArgumentError, match="got none that trains"):
        cache_features(loaded().freeze("*"), dataset)
    with pytest.raises(errors.InvalidArgumentError, match=r"got '2.Rel'. Near names: '2.Relu.out'"):
        cache_features(loaded(), dataset, at="2.Rel")


def test_adapters_on_the_head(rng, loaded):
    """Adapters train where a weight does not; merged, they are in the whole model."""
    dataset = data(rng)
    model = lora(loaded(), 4, targets="6", dropout=0.1)
    cached = cache_features(model, dataset)
    assert cached.at == ["5.Relu.out"]
    before = state(model)
    losses = fit(cached.head, cached.data, 4)
    assert losses[-1] < losses[0]
    after = state(model)
    moved = [n for n in before if not np.array_equal(before[n], after[n])]
    assert sorted(moved) == ["6.lora_A.weight", "6.lora_B.weight"]
    want = cached.head.eval()(cached.data[:][0]).detach().numpy()
    np.testing.assert_allclose(model.eval()(dataset[:][0]).detach().numpy(), want, RTOL, ATOL)
    merge(model)
    np.testing.assert_allclose(model(dataset[:][0]).detach().numpy(), want, RTOL, ATOL)


def test_more_than_one_value(rng, tmp_path):
    """A head that reads two values of the frozen part, and a target of its own shape."""

    class Skips(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(5, 6), nn.Linear(6, 6), nn.Linear(6, 2)

        def forward(self, x, y):
            h = self.a(x).relu() * y
            return self.c(self.b(h).tanh() + h)

    tk.manual_seed(0)
    x, y = (tk.tensor(rng.standard_normal(s).astype(np.float32)) for s in ((20, 5), (20, 1)))
    Skips().save(tmp_path / "net.onnx", inputs=(x[:2], y[:2]))
    goal = tk.tensor(rng.standard_normal((20, 2)).astype(np.float32))
    model = tk.load(tmp_path / "net.onnx", trainable="c.*")
    assert len(cache_features(model, TensorDataset(x, y, goal)).at) == 1
    model.unfreeze("b.*")
    cached = cache_features(model, TensorDataset(x, y, goal))
    assert len(cached.at) == 1  # h, which both read.
    parts = cache_features(model, TensorDataset(x, y, goal), at=["b.Gemm.out", cached.at[0]])
    assert [tuple(t.shape) for t in parts.data.tensors] == [(20, 6), (20, 6), (20, 2)]
    step = TrainStep(cached.head, nn.MSELoss(), optim.SGD(cached.head.parameters(), lr=0.1))
    losses = [float(step(*cached.data[:])[0]) for _ in range(5)]
    assert losses[-1] < losses[0]

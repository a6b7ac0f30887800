"""The registry, export with a symbolic batch, and training on the real digits."""

import numpy as np
import pytest

import toolkit as tk
from toolkit import models, nn, optim
from toolkit.data import DataLoader, Meta, load
from toolkit.errors import InvalidArgumentError


@pytest.mark.parametrize("name", models.MODELS)
def test_registry(name):
    info = models.info(name)
    model = models.create(name)
    y = model(models.example_input(name, batch=3))
    assert y.shape[0] == 3 and y.shape[-1] == info.num_classes
    assert info.summary and models.default_loss(name) == info.loss


def test_sizes_are_those_of_the_originals():
    def count(name):
        return sum(p.numel() for p in models.create(name).parameters())

    assert count("mnist_cnn") == 1_199_882  # pytorch/examples, mnist.
    assert count("resnet18_cifar") == 11_173_962  # As ResNet-18 for CIFAR-10 is known.


@pytest.mark.parametrize("name", models.MODELS)
def test_exports_with_a_symbolic_batch(name, tmp_path):
    ort = pytest.importorskip("onnxruntime")
    options = {"width": 8} if name == "resnet18_cifar" else {}
    model = models.create(name, **options).eval()
    path = tmp_path / "m.onnx"
    model.save(path, models.example_input(name, batch=2))
    ours = tk.runtime.InferenceSession(path)
    theirs = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    for n in (1, 3):
        x = models.example_input(name, batch=n, seed=n)
        want = model(x).detach().numpy()
        feed = {ours.get_inputs()[0].name: x.numpy()}
        np.testing.assert_allclose(ours.run(None, feed)[0], want, 1e-4, 1e-5)
        np.testing.assert_allclose(theirs.run(None, feed)[0], want, 1e-4, 1e-5)
    names = {node.name for node in tk.load(path)._model.graph}
    assert name == "hmm" or any("." in n or "/" in n for n in names)  # It has no submodules.


def test_create_for_data():
    def meta(shape, classes=3, dtype="float32", task="classification"):
        names = tuple(str(i) for i in range(classes))
        return Meta("test", task, shape, dtype, "int64", names)

    x = tk.randn(2, 3, 12, 16)
    for name in ("mlp", "digits_cnn", "mnist_cnn", "resnet18_cifar"):
        model = models.create_for(name, meta((3, 12, 16)))
        assert model(x).shape == (2, 3), name
    mlp = models.create_for("mlp", meta((5,), 0, task="regression"))
    assert mlp(tk.randn(4, 5)).shape == (4, 1)
    gpt = models.create_for("char_gpt", meta((16,), 7, "int64", "language"))
    assert gpt(tk.zeros(2, 16, dtype=tk.int64)).shape == (2, 16, 7)
    with pytest.raises(InvalidArgumentError, match="required by 'char_gpt'"):
        models.create_for("char_gpt", meta((3, 8, 8)))
    with pytest.raises(InvalidArgumentError, match="required by 'mnist_cnn'"):
        models.create_for("mnist_cnn", meta((5,)))


def test_refusals():
    with pytest.raises(InvalidArgumentError, match=r"one of mlp, .* is required, got 'vgg'"):
        models.create("vgg")
    with pytest.raises(InvalidArgumentError, match="options of 'mlp' are required"):
        models.create("mlp", depth=3)
    with pytest.raises(InvalidArgumentError, match="multiple of heads"):
        models.create("char_gpt", width=10, heads=3)


def test_gpt_is_causal():
    model = models.create("char_gpt", layers=2, block_size=16).eval()
    x = np.random.default_rng(0).integers(0, 96, (2, 16))
    y = x.copy()
    y[:, 9:] = 5
    a, b = model(tk.tensor(x)).detach().numpy(), model(tk.tensor(y)).detach().numpy()
    np.testing.assert_allclose(a[:, :9], b[:, :9], atol=1e-5)
    assert np.abs(a[:, 9:] - b[:, 9:]).max() > 1e-3
    assert model(tk.tensor(x[:, :5])).shape == (2, 5, 96)


def test_dropout_and_batch_norm_make_a_difference_in_training():
    model = models.create("digits_cnn")
    x = models.example_input("digits_cnn", batch=8)
    a, b = model(x).detach().numpy(), model(x).detach().numpy()
    assert np.abs(a - b).max() > 1e-3
    model.eval()
    assert np.array_equal(model(x).detach().numpy(), model(x).detach().numpy())


def test_digits_cnn_learns_the_digits():
    """At least 97 % of the held-out fifth after 5 epochs of eager training."""
    tk.manual_seed(0)
    train, test, meta = load("digits")
    model = models.create_for("digits_cnn", meta)
    optimizer = optim.AdamW(model.parameters(), lr=5e-3)
    loader = DataLoader(train, batch_size=64, shuffle=True, generator=0)
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, epochs=5, steps_per_epoch=len(loader))
    loss_fn = nn.CrossEntropyLoss()
    for _ in range(5):
        for x, y in loader:
            optimizer.zero_grad()
            loss_fn(model(x), y).backward()
            optimizer.step()
            schedule.step()
    x, y = test.tensors
    with tk.no_grad():
        scores = model.eval()(x)
    assert (scores.numpy().argmax(1) == y.numpy()).mean() >= 0.97

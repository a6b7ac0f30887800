"""Initial values: torch's distributions by their statistics, exact fills by their numbers."""

import math

import numpy as np
import pytest

import toolkit as tk
from toolkit import nn
from toolkit.errors import InvalidArgumentError
from toolkit.nn import init

torch = pytest.importorskip("torch")


def stats(array):
    return [array.mean(), array.std(), array.min(), array.max()]


RANDOM = [
    ("uniform_", {"a": -2.0, "b": 0.5}),
    ("normal_", {"mean": 1.0, "std": 0.5}),
    ("trunc_normal_", {"std": 2.0, "a": -1.0, "b": 3.0}),
    ("xavier_uniform_", {"gain": 2.0}),
    ("xavier_normal_", {}),
    ("kaiming_uniform_", {"a": math.sqrt(5)}),
    ("kaiming_uniform_", {"mode": "fan_out", "nonlinearity": "relu"}),
    ("kaiming_normal_", {"nonlinearity": "tanh"}),
]


@pytest.mark.parametrize(("name", "options"), RANDOM)
def test_statistics(name, options):
    tk.manual_seed(1)
    torch.manual_seed(1)
    shape = (200, 60, 3, 3)
    ours = getattr(init, name)(tk.empty(*shape), **options).numpy()
    theirs = getattr(torch.nn.init, name)(torch.empty(*shape), **options).numpy()
    bounded = "uniform" in name or "trunc" in name
    count = 4 if bounded else 2
    scale = theirs.std()
    np.testing.assert_allclose(stats(ours)[:count], stats(theirs)[:count], 5e-3, 0.02 * scale)
    tk.manual_seed(1)
    again = getattr(init, name)(tk.empty(*shape), **options).numpy()
    assert np.array_equal(ours, again)


def test_exact_fills():
    for name, args, shape in [
        ("ones_", (), (2, 3)),
        ("zeros_", (), (2,)),
        ("constant_", (0.3,), (4,)),
        ("eye_", (), (3, 5)),
        ("dirac_", (), (4, 2, 3, 5)),
        ("dirac_", (2,), (4, 2, 3)),
    ]:
        ours = getattr(init, name)(tk.empty(*shape), *args).numpy()
        theirs = getattr(torch.nn.init, name)(torch.empty(*shape), *args).numpy()
        np.testing.assert_allclose(ours, theirs, err_msg=name)


def test_orthogonal_and_sparse():
    for shape in ((6, 10), (10, 6), (4, 2, 3)):
        w = init.orthogonal_(tk.empty(*shape), gain=2.0).numpy().reshape(shape[0], -1)
        small = w @ w.T if w.shape[0] < w.shape[1] else w.T @ w
        np.testing.assert_allclose(small, 4 * np.eye(len(small)), atol=1e-5)
    w = init.sparse_(tk.empty(50, 8), 0.3).numpy()
    assert ((w == 0).sum(0) == 15).all()


def test_gains():
    for name in ("linear", "conv2d", "sigmoid", "tanh", "relu", "leaky_relu", "selu"):
        assert init.calculate_gain(name) == torch.nn.init.calculate_gain(name)
    assert init.calculate_gain("leaky_relu", 0.3) == torch.nn.init.calculate_gain("leaky_relu", 0.3)


LAYERS = [
    ("Linear", (300, 200)),
    ("Conv2d", (64, 48, 3)),
    ("ConvTranspose2d", (64, 48, 3)),
    ("Conv1d", (64, 96, 5, 1, 0, 1, 4)),
    ("Embedding", (500, 40)),
    ("Bilinear", (20, 30, 40)),
    ("BatchNorm2d", (8,)),
    ("LayerNorm", (8,)),
    ("PReLU", (3,)),
]


@pytest.mark.parametrize(("name", "args"), LAYERS)
def test_layers_begin_as_torchs(name, args):
    tk.manual_seed(0)
    torch.manual_seed(0)
    ours, theirs = getattr(nn, name)(*args), getattr(torch.nn, name)(*args)
    for (key, p), q in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        a, b = p.numpy(), q.numpy()
        assert a.shape == b.shape and a.dtype == b.dtype
        if b.size < 100 and b.std() == 0:
            assert np.array_equal(a, b)
        elif b.size > 5000:
            np.testing.assert_allclose(
                stats(a)[:2], stats(b)[:2], 0.03, 0.02 * b.std(), err_msg=key
            )
            if name != "Embedding":
                np.testing.assert_allclose(stats(a)[2:], stats(b)[2:], 5e-3, err_msg=key)
        else:
            limit = np.abs(b).max()
            assert 0.8 * limit < np.abs(a).max() < 1.2 * limit


def test_in_place_and_without_gradient():
    p = nn.Parameter(tk.zeros(3, 3))
    assert init.normal_(p) is p and p.requires_grad and p.is_leaf


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: init.kaiming_uniform_(tk.empty(3)), "2 dimensions or more"),
        (lambda: init.kaiming_uniform_(tk.empty(3, 3), mode="fan"), "fan_in or fan_out"),
        (lambda: init.calculate_gain("swish"), "got 'swish'"),
        (lambda: init.eye_(tk.empty(3)), "2 dimensions"),
        (lambda: init.dirac_(tk.empty(3, 3)), "3 to 5"),
        (lambda: init.dirac_(tk.empty(3, 3, 3), 2), "multiple of groups"),
        (lambda: init.orthogonal_(tk.empty(3)), "2 dimensions"),
        (lambda: init.trunc_normal_(tk.empty(3), a=1.0, b=0.0), "a < b"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(InvalidArgumentError, match=message):
        call()

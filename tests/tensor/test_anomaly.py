"""Anomaly detection beside torch's: the same errors, and the forward line in them."""

import warnings

import numpy as np
import pytest
from against import tk, torch

from toolkit.errors import ToolkitError
from toolkit.utils.checkpoint import checkpoint

ANY = pytest.mark.parametrize("m", [tk, torch], ids=["toolkit", "torch"])


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def leaf(m, *values):
    return m.tensor(values, requires_grad=True)


def function(m, backward):
    class Mine(m.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return backward(g)

    return Mine.apply


CASES = {
    "sqrt": (lambda m, x: (x.sqrt() * 0).sum(), "SqrtBackward0", 0),
    "second input": (lambda m, x: ((1 + x.detach()) / x * 0).sum(), "DivBackward0", 1),
    "pow": (lambda m, x: ((x**0.5) * 0).sum(), "PowBackward0", 0),
    "function": (lambda m, x: function(m, lambda g: g * float("nan"))(x).sum(), "MineBackward", 0),
}


@ANY
@pytest.mark.parametrize("case", CASES)
def test_nan_names_the_function(m, case):
    run, name, i = CASES[case]
    with m.autograd.detect_anomaly():
        y = run(m, leaf(m, 0.0, -1.0))
        with pytest.raises(RuntimeError) as found:
            y.backward()
    text = str(found.value)
    assert text.startswith(f"Function '{name}' returned nan values in its {i}th output.")
    assert m is torch or "\n  test_anomaly.py:" in text
    with m.autograd.detect_anomaly(check_nan=False):
        run(m, leaf(m, 0.0, -1.0)).backward()
    run(m, leaf(m, 0.0, -1.0)).backward()


def test_an_error_in_backward_names_the_forward_line():
    def fails(g):
        raise KeyError("mine")

    with tk.autograd.detect_anomaly():
        y = function(tk, fails)(leaf(tk, 1.0))  # The forward line.
        with pytest.raises(KeyError) as found:
            y.backward()
        z = leaf(tk, 1.0).exp()  # The line of the hook.
        z.register_hook(lambda g: g.reshape(7))
        with pytest.raises(ToolkitError) as hooked:
            z.backward()
    (note,) = found.value.__notes__
    assert "MineBackward" in note
    assert "The forward line." in note
    at, note = hooked.value.__notes__
    assert "g.reshape(7)" in at
    assert "ExpBackward0" in note
    assert "The line of the hook." in note


def test_a_record_from_before_says_so():
    y = leaf(tk, -1.0).sqrt()
    with tk.autograd.detect_anomaly(), pytest.raises(RuntimeError, match="detection was off"):
        y.backward()


@ANY
def test_the_modes(m):
    a = m.autograd
    assert not m.is_anomaly_enabled()
    with pytest.warns(UserWarning, match="Anomaly Detection has been enabled"):
        mode = a.detect_anomaly(check_nan=False)
    with mode:
        assert m.is_anomaly_enabled()
        assert not m.is_anomaly_check_nan_enabled()
        with a.set_detect_anomaly(False):
            assert not m.is_anomaly_enabled()
        assert m.is_anomaly_enabled()
    assert not m.is_anomaly_enabled()
    a.set_detect_anomaly(True)
    assert m.is_anomaly_enabled()
    assert m.is_anomaly_check_nan_enabled()
    m.set_anomaly_enabled(False)
    assert not m.is_anomaly_enabled()


def composed(m, x):
    from torch.utils.checkpoint import checkpoint as torchs

    again = checkpoint if m is tk else torchs
    y = again(lambda x: (x.exp() * x).tanh(), x, use_reentrant=False)
    top, _ = (y + function(m, lambda g: g * 3)(x)).sort(descending=True)
    return (top[:2] * y[1:]).sum() + x.std()


@pytest.mark.parametrize("again", [False, True])
def test_the_gradients_are_the_same(again):
    found = []
    for m in (tk, torch):
        x = leaf(m, 0.3, -0.5, 0.9)
        with m.autograd.set_detect_anomaly(True):
            (g,) = m.autograd.grad(composed(m, x), x, create_graph=again)
            if again:
                (g,) = m.autograd.grad(g.square().sum(), x)
            composed(m, x).backward()
        found.append([g.detach().numpy(), x.grad.numpy()])
    for got, want in zip(*found, strict=True):
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=1e-6)

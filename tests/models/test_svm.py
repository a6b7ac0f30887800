"""The support vector machine beside scikit-learn's on the breast-cancer data."""

from __future__ import annotations

import csv

import numpy as np
import pytest

import toolkit as tk
from tests.cli.test_cli import call
from toolkit.errors import InvalidArgumentError
from toolkit.models.svm import SVM, hinge_loss, kernel_svm

svm = pytest.importorskip("sklearn.svm")


@pytest.fixture(scope="module")
def data():
    from sklearn.datasets import load_breast_cancer

    bunch = load_breast_cancer()
    x, y = bunch.data, bunch.target
    order = np.random.default_rng(0).permutation(len(x))
    train, test = order[:455], order[455:]
    x = (x - x[train].mean(0)) / x[train].std(0)
    return x[train].astype(np.float32), y[train], x[test].astype(np.float32), y[test]


def objective(w, b, x, y, c):
    """What scikit-learn's SVC minimises."""
    return 0.5 * (w**2).sum() + c * np.maximum(0, 1 - (2 * y - 1) * (x @ w + b)).sum()


@pytest.mark.parametrize("c", [0.05, 1.0])
def test_linear(data, c):
    """The same minimum, distances to the plane and classes."""
    x, y, unseen, truth = data
    theirs = svm.SVC(kernel="linear", C=c).fit(x, y)
    tk.manual_seed(0)
    ours = SVM(30).fit(x, y, C=c)
    w, b = ours.plane.weight.detach().numpy()[0], ours.plane.bias.item()
    best = objective(theirs.coef_[0], theirs.intercept_[0], x, y, c)
    assert objective(w, b, x, y, c) <= best * 1.001
    got, want = ours.decision_function(unseen).numpy(), theirs.decision_function(unseen)
    np.testing.assert_allclose(got, want, 0.02, 0.06)
    assert (ours.predict(unseen).numpy() == theirs.predict(unseen)).mean() >= 0.99
    assert (ours.predict(unseen).numpy() == truth).mean() >= 0.95


def test_kernel(data):
    """Random features stand in for the Gaussian kernel, the better the more there are."""
    x, y, unseen, truth = data
    theirs = svm.SVC(kernel="rbf", C=1.0).fit(x, y)
    want = theirs.decision_function(unseen)
    errors = []
    for components in (64, 1024):
        tk.manual_seed(0)
        ours = kernel_svm(components=components).fit(x, y, steps=400)
        errors.append(np.abs(ours.decision_function(unseen).numpy() - want).mean())
    assert errors[1] < errors[0] / 2 and errors[1] < 0.12
    assert (ours.predict(unseen).numpy() == theirs.predict(unseen)).mean() >= 0.97
    assert (ours.predict(unseen).numpy() == truth).mean() >= 0.95


def test_random_features_estimate_the_kernel():
    tk.manual_seed(0)
    m = SVM(5, kernel="rbf", gamma=0.3, components=20_000)
    x = np.random.default_rng(0).standard_normal((6, 5)).astype(np.float32)
    z = m.features(tk.tensor(x)).numpy()
    distances = ((x[:, None] - x[None]) ** 2).sum(-1)
    np.testing.assert_allclose(z @ z.T, np.exp(-0.3 * distances), atol=0.03)


def test_three_classes():
    """One against the rest: each plane as good as scikit-learn's of that problem."""
    from sklearn.datasets import load_iris

    bunch = load_iris()
    x = ((bunch.data - bunch.data.mean(0)) / bunch.data.std(0)).astype(np.float32)
    tk.manual_seed(0)
    ours = SVM(4, num_classes=3).fit(x, bunch.target)
    scores = ours.decision_function(x).numpy()
    assert scores.shape == (150, 3)
    for k in range(3):
        one = (bunch.target == k).astype(int)
        theirs = svm.SVC(kernel="linear", C=1.0).fit(x, one)
        weight, bias = (p.detach().numpy()[k] for p in (ours.plane.weight, ours.plane.bias))
        best = objective(theirs.coef_[0], theirs.intercept_[0], x, one, 1.0)
        assert objective(weight, bias, x, one, 1.0) <= best * 1.005
    np.testing.assert_array_equal(ours.predict(x).numpy(), scores.argmax(1))


def test_the_file_in_onnxruntime(data, tmp_path):
    ort = pytest.importorskip("onnxruntime")
    x, y, unseen, _ = data
    for kind in (SVM, kernel_svm):
        ours = kind().fit(x, y, steps=50)
        ours.save(tmp_path / "svm.onnx", tk.tensor(x[:2]))
        session = ort.InferenceSession(tmp_path / "svm.onnx")
        (scores,) = session.run(None, {"x": unseen})
        np.testing.assert_allclose(scores[:, 1], ours.decision_function(unseen).numpy(), 1e-4, 1e-5)
        np.testing.assert_array_equal(scores.argmax(1), ours.predict(unseen).numpy())


@pytest.mark.parametrize(
    ("line", "metric", "at_least"),
    [
        ("svm --data breast_cancer --weight-decay 0.002 --epochs 10 --lr 0.01", "accuracy", 0.93),
        ("kernel_svm --data digits?shape=64 --epochs 5 --lr 0.01", "accuracy", 0.9),
        ("hmm --data text:words.txt?block=16 --epochs 4 --lr 0.1", "token_accuracy", 0.5),
    ],
)
def test_the_command_line(line, metric, at_least, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words.txt").write_text("abcabcabcabc " * 400)
    assert call("train", *line.split(), "-o", "run", "-q")[0] == 0
    assert (tmp_path / "run" / "best.onnx").exists()
    with open("run/log.csv") as file:
        last = list(csv.DictReader(file))[-1]
    assert float(last[f"val_{metric}"]) >= at_least


def test_the_loss():
    scores = tk.tensor([[2.0, -0.5, 0.0], [0.5, 0.2, -3.0]], requires_grad=True)
    loss = hinge_loss(scores, tk.tensor([0, 1]))
    # Row 1: 0, 0.5, 1; row 2: 1.5, 0.8, 0.
    np.testing.assert_allclose(loss.item(), 3.8 / 6, rtol=1e-6)
    loss.backward()
    np.testing.assert_allclose(scores.grad.numpy() * 6, [[0, 1, 1], [1, -1, 0]], atol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SVM(2, kernel="poly"), "one of .*'poly'"),
        (lambda: SVM(2, num_classes=1), "2 classes or more"),
        (lambda: SVM(2).fit(np.zeros((3, 2)), [0, 1]), "got 3 samples, 2 classes"),
        (lambda: SVM(2).fit(np.zeros((2, 2)), [0, 1], C=0.0), "C > 0"),
        (lambda: SVM(2).fit(np.zeros((2, 2)), [0, 2]), "classes from 0 to 1"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(InvalidArgumentError, match=message):
        call()

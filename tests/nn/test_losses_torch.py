"""Every loss beside torch's: value and gradients, for all reductions."""

import numpy as np
import pytest

import toolkit as tk
from toolkit import nn
from toolkit.errors import DTypeError, InvalidArgumentError, ShapeError
from toolkit.nn import functional as F

torch = pytest.importorskip("torch")

from tests.nn.twins import check_call, values  # noqa: E402

X, SPATIAL = (6, 5), (3, 5, 4, 2)
WEIGHT = np.array([0.5, 1.0, 2.0, 0.1, 3.0])


def labels(shape, ignore=None, classes=5):
    y = np.random.default_rng(4).integers(0, classes, (shape[0], *shape[2:]))
    if ignore is not None:
        y.flat[::3] = ignore
    return y


def pair(name, **options):
    def build(module, tensor):
        made = {k: tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
        loss = getattr(module, name)(**made)
        return loss.double() if hasattr(loss, "double") else loss

    ours, theirs = build(nn, tk.tensor), build(torch.nn, torch.tensor)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    return ours, theirs


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", [X, SPATIAL])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"weight": WEIGHT},
        {"ignore_index": 2},
        {"weight": WEIGHT, "ignore_index": -1},
        {"label_smoothing": 0.1},
        {"label_smoothing": 0.3, "weight": WEIGHT, "ignore_index": 2},
    ],
    ids=str,
)
def test_cross_entropy(options, shape, reduction):
    y = labels(shape, options.get("ignore_index"))
    check_call(*pair("CrossEntropyLoss", reduction=reduction, **options), values(shape) * 3, y)
    if "label_smoothing" not in options:
        log_p = np.log(values(shape, kind="probability"))
        check_call(*pair("NLLLoss", reduction=reduction, **options), log_p, y)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", [X, SPATIAL])
@pytest.mark.parametrize("options", [{}, {"weight": WEIGHT}, {"label_smoothing": 0.2}], ids=str)
def test_cross_entropy_of_probabilities(options, shape, reduction):
    target = values(shape, seed=3, kind="probability")
    check_call(*pair("CrossEntropyLoss", reduction=reduction, **options), values(shape), target)


def test_single_sample():
    check_call(*pair("CrossEntropyLoss"), values((5,)), np.array(3))
    check_call(*pair("CrossEntropyLoss", reduction="none"), values((5,)), np.array(3))
    check_call(*pair("NLLLoss"), values((5,)), np.array(3))


def test_int32_labels():
    x, y = values(X), labels(X)
    a = F.cross_entropy(tk.tensor(x), tk.tensor(y.astype(np.int32)))
    assert a.item() == F.cross_entropy(tk.tensor(x), tk.tensor(y)).item()


def test_huge_scores():
    check_call(*pair("CrossEntropyLoss"), values(X) * 1e4, labels(X))
    check_call(*pair("BCEWithLogitsLoss"), values(X) * 1e3, values(X, 1, "unit"))


ELEMENTWISE = [
    ("MSELoss", {}, "normal"),
    ("L1Loss", {}, "normal"),
    ("SmoothL1Loss", {}, "normal"),
    ("SmoothL1Loss", {"beta": 0.3}, "normal"),
    ("SmoothL1Loss", {"beta": 0.0}, "normal"),
    ("HuberLoss", {"delta": 0.7}, "normal"),
    ("BCELoss", {}, "unit"),
    ("BCELoss", {"weight": WEIGHT}, "unit"),
    ("BCEWithLogitsLoss", {}, "normal"),
    ("BCEWithLogitsLoss", {"weight": WEIGHT, "pos_weight": WEIGHT + 1}, "normal"),
    ("KLDivLoss", {}, "probability"),
    ("KLDivLoss", {"log_target": True}, "normal"),
]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(("name", "options", "kind"), ELEMENTWISE, ids=str)
@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")  # torch's KLDivLoss.
def test_elementwise(name, options, kind, reduction):
    target = {"BCELoss": "unit", "BCEWithLogitsLoss": "unit", "KLDivLoss": kind}.get(name, "normal")
    x, y = values(X, 0, kind), values(X, 1, target)
    if name == "KLDivLoss":
        x = np.log(values(X, 0, "probability"))
    check_call(*pair(name, reduction=reduction, **options), x, y)


def test_kl_div_batchmean_and_zero_targets():
    y = values(X, 1, "probability")
    y[0, 2] = 0.0
    x = np.log(values(X, 0, "probability"))
    ours, theirs = pair("KLDivLoss", reduction="batchmean")
    a = ours(tk.tensor(x), tk.tensor(y)).item()
    assert abs(a - theirs(torch.tensor(x), torch.tensor(y)).item()) < 1e-12


def test_other_losses():
    var = values(X, 2, "unit")
    for full in (False, True):
        check_call(*pair("GaussianNLLLoss", full=full), values(X), values(X, 1), var)
    sign = np.where(values(X, 1) > 0, 1, -1)
    check_call(*pair("HingeEmbeddingLoss", margin=0.8), values(X), sign)


def test_probabilities_of_zero_and_one():
    p = np.array([[0.0, 1.0, 0.5]])
    y = np.array([[0.0, 0.0, 1.0]])
    check_call(*pair("BCELoss"), p, y, differentiable=False)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: F.cross_entropy(x, tk.zeros(5, dtype=tk.int64)), ShapeError, r"shape \[6\]"),
        (lambda x: F.cross_entropy(x, tk.zeros(6, dtype=tk.bool)), DTypeError, "class indices"),
        (lambda x: F.cross_entropy(x, tk.zeros(6, 4)), ShapeError, "input's size"),
        (lambda x: F.cross_entropy(x, x, reduction="max"), InvalidArgumentError, "max is not"),
        (lambda x: F.cross_entropy(x, x, label_smoothing=2.0), InvalidArgumentError, "smoothing"),
        (lambda x: F.binary_cross_entropy(x, tk.zeros(6)), ShapeError, "input's size"),
        (lambda x: F.huber_loss(x, x, delta=0.0), InvalidArgumentError, "delta > 0"),
        (lambda x: F.smooth_l1_loss(x, x, beta=-1.0), InvalidArgumentError, "beta >= 0"),
        (lambda x: nn.MSELoss(reduction="maximum"), InvalidArgumentError, "not a valid value"),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call(tk.zeros(6, 5))


def test_label_out_of_range():
    with pytest.raises(tk.errors.ToolkitError, match="9"):
        F.cross_entropy(tk.zeros(2, 5), tk.tensor([0, 9]))


@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("labels", [[-100, -100], [0, 1], [0, -100]], ids=str)
def test_nothing_counts(name, reduction, labels):
    """All labels ignored, or of weight 0: the mean is 0 / 0, loss and gradient as torch's."""
    x = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
    for weights in (None, np.zeros(3, np.float32)):
        results = []
        for lib, f in ((tk, nn.functional), (torch, torch.nn.functional)):
            leaf = lib.tensor(x, requires_grad=True)
            w = None if weights is None else lib.tensor(weights)
            y = lib.tensor(np.array(labels))
            loss = getattr(f, name)(leaf, y, weight=w, reduction=reduction)
            loss.sum().backward()
            results.append((loss.detach().numpy(), leaf.grad.numpy()))
        for a, b in zip(*results, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)

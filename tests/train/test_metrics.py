"""Metrics beside scikit-learn's, fed in batches of odd sizes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as reference
from sklearn.utils.class_weight import compute_class_weight

from toolkit import errors
from toolkit.train import class_weights
from toolkit.train.metrics import Confusion, create, higher_is_better

RNG = np.random.default_rng(0)
CLASSES = 5
LOGITS = RNG.standard_normal((101, CLASSES)).astype(np.float32)
LABELS = RNG.integers(0, 3, 101)  # Two classes never occur, but are predicted.


def fed(name, output=LOGITS, target=LABELS):
    metric = create(name)
    for start in range(0, len(output), 7):
        metric.update(output[start : start + 7], target[start : start + 7])
    return metric.value()


@pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
@pytest.mark.parametrize("kind", ["precision", "recall", "f1"])
def test_averages_over_classes(kind, average):
    fn = getattr(reference, f"{kind}_score")
    want = fn(LABELS, LOGITS.argmax(1), average=average, zero_division=0)
    assert fed(f"{kind}_{average}") == pytest.approx(want)
    if average == "macro":
        assert fed(kind) == pytest.approx(want)


@pytest.mark.parametrize("kind", ["precision", "recall", "f1"])
def test_of_the_positive_class(kind):
    fn = getattr(reference, f"{kind}_score")
    labels = LABELS > 0
    two = LOGITS[:, :2]
    assert fed(f"{kind}_binary", two, labels.astype(np.int64)) == pytest.approx(
        fn(labels, two.argmax(1))
    )
    logit = LOGITS[:, :1]
    assert fed(f"{kind}_binary", logit, labels[:, None].astype(np.float32)) == pytest.approx(
        fn(labels, logit[:, 0] > 0)
    )


@pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
def test_several_labels_a_sample(average):
    truth = RNG.integers(0, 2, LOGITS.shape)
    want = reference.f1_score(truth, LOGITS > 0, average=average)
    assert fed(f"f1_{average}", LOGITS, truth.astype(np.float32)) == pytest.approx(want)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_top_k(k):
    want = reference.top_k_accuracy_score(LABELS, LOGITS, k=k, labels=range(CLASSES))
    assert fed(f"top{k}") == pytest.approx(want)
    assert fed("top1") == fed("accuracy")


def test_ties_are_not_hits():
    """Of equal logits the first class is the guess, as argmax has it."""
    assert fed("top1", np.zeros((4, 3), np.float32), np.arange(4) % 3) == 0.5


def test_confusion_matrix():
    meter = Confusion("f1")
    for start in range(0, 101, 7):
        meter.update(LOGITS[start : start + 7], LABELS[start : start + 7])
    want = reference.confusion_matrix(LABELS, LOGITS.argmax(1), labels=range(CLASSES))
    np.testing.assert_array_equal(meter.matrix, want)


def test_images_of_classes_and_ignored_pixels():
    logits = RNG.standard_normal((6, 3, 4, 4)).astype(np.float32)
    labels = RNG.integers(0, 3, (6, 4, 4))
    labels[:, 0] = -100
    kept = labels != -100
    guess = logits.argmax(1)
    assert fed("accuracy", logits, labels) == pytest.approx(
        reference.accuracy_score(labels[kept], guess[kept])
    )
    assert fed("f1", logits, labels) == pytest.approx(
        reference.f1_score(labels[kept], guess[kept], average="macro")
    )
    tokens = np.moveaxis(logits.reshape(6, 3, 16), 1, -1)
    assert fed("token_accuracy", tokens, labels.reshape(6, 16)) == fed("accuracy", logits, labels)


def test_regression():
    y, f = RNG.standard_normal((2, 40, 3)).astype(np.float32)
    assert fed("mse", f, y) == pytest.approx(reference.mean_squared_error(y, f), rel=1e-6)
    assert fed("rmse", f, y) == pytest.approx(math.sqrt(reference.mean_squared_error(y, f)))
    assert fed("mae", f, y) == pytest.approx(reference.mean_absolute_error(y, f), rel=1e-6)
    assert fed("r2", f, y) == pytest.approx(reference.r2_score(y, f))


def test_class_weights_balance():
    want = compute_class_weight("balanced", classes=np.arange(3), y=LABELS)
    np.testing.assert_allclose(class_weights(LABELS, 3), want, rtol=1e-6)
    assert class_weights(LABELS, 4)[3] == 0
    with pytest.raises(errors.InvalidArgumentError, match=r"labels in \[0, 2\) are required"):
        class_weights(LABELS, 2)


def test_names():
    assert higher_is_better("f1_micro") and not higher_is_better("rmse")
    assert not higher_is_better("loss")
    assert math.isnan(create("f1").value()) and math.isnan(create("accuracy").value())
    with pytest.raises(errors.InvalidArgumentError, match=r"metric: one of accuracy, .* 'auc'"):
        create("auc")
    with pytest.raises(errors.ShapeError, match="one dimension"):
        create("accuracy").update(LOGITS, LOGITS.astype(np.int64))
    with pytest.raises(errors.InvalidArgumentError, match=r"f1: labels in \[0, 5\)"):
        create("f1").update(LOGITS, LABELS + 7)

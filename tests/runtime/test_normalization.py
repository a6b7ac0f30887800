"""Softmax, losses, normalizations and their gradients against torch."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tests.runtime import oracle
from toolkit import errors
from toolkit.runtime import _core

torch = pytest.importorskip("torch")
F = torch.nn.functional
inf, nan = np.inf, np.nan
by_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda t: t.__name__)


def run(op_type, *inputs, outputs=1, domain="", **attributes):
    return oracle.run(op_type, list(inputs), attributes, outputs, domain)


def t(x):
    return torch.from_numpy(x).double()


def close(got, want, dtype, scale=1.0):
    want = want.detach().numpy() if isinstance(want, torch.Tensor) else want
    assert got.dtype == dtype and got.shape == want.shape
    rtol, atol = (5e-6, 2e-6) if dtype == np.float32 else (1e-12, 1e-12)
    np.testing.assert_allclose(got, want, rtol=rtol * scale, atol=atol * scale)


@by_dtype
def test_softmax_and_gradients(dtype):
    rng = np.random.default_rng(0)
    for shape in [(7,), (3, 5), (4, 1000), (2, 3, 4), (2, 10, 300), (0, 3), (3, 0), (3, 33, 17)]:
        x, dy = (rng.normal(size=shape).astype(dtype) * 5 for _ in range(2))
        for axis in range(-1, len(shape)):
            for op_type, f in (("Softmax", torch.softmax), ("LogSoftmax", torch.log_softmax)):
                leaf = t(x).requires_grad_()
                y = f(leaf, axis)
                close(run(op_type, x, axis=axis)[0], y, dtype)
                (dx,) = torch.autograd.grad(y, leaf, t(dy))
                value = y.detach().numpy().astype(dtype)
                got = run(op_type + "Grad", value, dy, axis=axis, domain="toolkit.grad")[0]
                close(got, dx, dtype, 20)


def test_softmax_of_extremes():
    x = np.array([[1000, 0, -1000], [-inf, 0, -inf], [nan, 0, 1], [-1e30, -1e30, -inf]], np.float32)
    np.testing.assert_array_equal(
        run("Softmax", x)[0], [[1, 0, 0], [0, 1, 0], [nan] * 3, [0.5, 0.5, 0]]
    )
    log = run("LogSoftmax", x)[0]
    np.testing.assert_array_equal(log[0], [0, -1000, -2000])
    assert np.isnan(log[2]).all()
    columns = np.ascontiguousarray(x.T)
    np.testing.assert_array_equal(run("Softmax", columns, axis=0)[0], run("Softmax", x)[0].T)
    payload = np.array([0x7FC00123, 0, 0], np.uint32).view(np.float32)  # A NaN with a payload.
    assert np.isnan(run("Softmax", payload)[0]).all()


def test_hardmax():
    x = np.array([[1, 3, 3], [nan, 1, 2]], np.float32)
    np.testing.assert_array_equal(run("Hardmax", x)[0], [[0, 1, 0], [1, 0, 0]])
    np.testing.assert_array_equal(run("Hardmax", x[:1], axis=0)[0], [[1, 1, 1]])


@by_dtype
@pytest.mark.parametrize("spatial", [(), (4,), (3, 5), (200,)], ids=str)
def test_cross_entropy(dtype, spatial):
    rng = np.random.default_rng(0)
    for reduction, weighted, ignore in itertools.product(
        ("none", "sum", "mean"), (False, True), (None, 2, -7)
    ):
        x = rng.normal(size=(6, 7, *spatial)).astype(dtype) * 3
        labels = rng.integers(0, 7, (6, *spatial))
        if ignore == -7:
            labels.flat[::3] = -7
        w = rng.random(7).astype(dtype) if weighted else None
        attributes = {"reduction": reduction}
        if ignore is not None:
            attributes["ignore_index"] = ignore
        leaf = t(x).requires_grad_()
        loss = F.cross_entropy(
            leaf,
            torch.from_numpy(labels),
            weight=None if w is None else t(w),
            reduction=reduction,
            ignore_index=-100 if ignore is None else ignore,
        )
        got, log_prob = run("SoftmaxCrossEntropyLoss", x, labels, w, outputs=2, **attributes)
        close(got, loss, dtype)
        close(log_prob, F.log_softmax(leaf, 1), dtype)
        close(run("SoftmaxCrossEntropyLoss", x, labels, w, **attributes)[0], loss, dtype)
        close(run("NegativeLogLikelihoodLoss", log_prob, labels, w, **attributes)[0], loss, dtype)
        dloss = np.asarray(rng.normal(size=loss.shape)).astype(dtype)
        (dx,) = torch.autograd.grad(loss, leaf, t(dloss))
        got = run("SoftmaxCrossEntropyLossGrad", x, labels.astype(np.int32), dloss, w,
                  domain="toolkit.grad", **attributes)[0]  # fmt: skip
        close(got, dx, dtype)


def test_cross_entropy_where_every_label_is_ignored():
    x, labels = np.zeros((2, 3), np.float32), np.array([1, 1])
    assert np.isnan(run("SoftmaxCrossEntropyLoss", x, labels, ignore_index=1)[0])
    dx = run("SoftmaxCrossEntropyLossGrad", x, labels, np.float32(1), ignore_index=1,
             domain="toolkit.grad")[0]  # fmt: skip
    np.testing.assert_array_equal(dx, np.zeros_like(x))


@by_dtype
def test_layer_norm_and_gradient(dtype):
    rng = np.random.default_rng(0)
    for shape, axis in [
        ((4, 7), -1),
        ((65, 768), 1),
        ((2, 3, 130), 1),
        ((3, 5000), -1),
        ((6, 5), 0),
    ]:
        x, dy = (rng.normal(size=shape).astype(dtype) for _ in range(2))
        x += 30  # The mean is far from zero.
        tail = shape[axis:]
        scale, bias = (rng.normal(size=tail).astype(dtype) for _ in range(2))
        leaves = [t(v).requires_grad_() for v in (x, scale, bias)]
        y = F.layer_norm(leaves[0], tail, leaves[1], leaves[2], 1e-5)
        got, mean, inverse = run("LayerNormalization", x, scale, bias, axis=axis, outputs=3)
        close(got, y, dtype, 8)
        over = tuple(range(axis % len(shape), len(shape)))
        np.testing.assert_allclose(mean, x.astype(np.float64).mean(over, keepdims=True), rtol=1e-6)
        variance = x.astype(np.float64).var(over, keepdims=True)
        np.testing.assert_allclose(inverse, 1 / np.sqrt(variance + 1e-5), rtol=2e-6)
        grads = torch.autograd.grad(y, leaves, t(dy))
        got = run("LayerNormalizationGrad", x, scale, dy, axis=axis, epsilon=1e-5, outputs=3,
                  domain="toolkit.grad")  # fmt: skip
        for g, w in zip(got, grads, strict=True):
            close(g, w, dtype, 40)


def test_layer_norm_scale_broadcasts():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3, 5)).astype(np.float32)
    plain = F.layer_norm(t(x), (3, 5)).numpy()
    for shape in ((5,), (1, 5), (3, 1), (2, 1, 1), (1,), ()):
        scale = np.asarray(rng.normal(size=shape)).astype(np.float32)
        close(
            run("LayerNormalization", x, scale, scale, axis=1)[0],
            plain * scale + scale,
            np.float32,
            4,
        )


@by_dtype
def test_rms_norm(dtype):
    rng = np.random.default_rng(0)
    for shape in [(4, 7), (3, 5000), (2, 3, 64)]:
        x, scale = rng.normal(size=shape).astype(dtype), rng.normal(size=shape[-1:]).astype(dtype)
        close(
            run("RMSNormalization", x, scale, epsilon=1e-5)[0],
            F.rms_norm(t(x), shape[-1:], t(scale), 1e-5),
            dtype,
            4,
        )


BATCHES = [
    (5, 3),
    (300, 70),
    (4, 3, 5),
    (4, 3, 8),
    (2, 3, 4, 5),
    (3, 17, 2, 2),
    (40, 5, 3),
    (2, 6, 30, 40),
]


@by_dtype
@pytest.mark.parametrize("shape", BATCHES, ids=str)
def test_batch_norm(shape, dtype):
    rng = np.random.default_rng(0)
    x, dy = (rng.normal(size=shape).astype(dtype) for _ in range(2))
    x += 20
    c = shape[1]
    scale, bias, mean = (rng.normal(size=c).astype(dtype) for _ in range(3))
    var = rng.random(c).astype(dtype) + 0.5
    want = F.batch_norm(t(x), t(mean), t(var), t(scale), t(bias), False, 0.1, 1e-5)
    got = run("BatchNormalization", x, scale, bias, mean, var, epsilon=1e-5)[0]
    close(got, want, dtype, 8)

    leaves = [t(v).requires_grad_() for v in (x, scale, bias)]
    rm, rv = t(mean).clone(), t(var).clone()
    y = F.batch_norm(leaves[0], rm, rv, leaves[1], leaves[2], True, 0.1, 1e-5)
    got = run("BatchNormTraining", x, scale, bias, mean, var, epsilon=1e-5, momentum=0.1, outputs=3,
              domain="toolkit.nn")  # fmt: skip
    close(got[0], y, dtype, 10)
    close(got[1], rm, dtype)
    close(got[2], rv, dtype)
    over = tuple(i for i in range(len(shape)) if i != 1)
    got = run("BatchNormalization", x, scale, bias, mean, var, epsilon=1e-5, momentum=0.7,
              training_mode=1, outputs=3)  # fmt: skip
    close(got[0], y, dtype, 10)
    close(got[1], mean * 0.7 + x.astype(np.float64).mean(over) * 0.3, dtype, 2)
    close(got[2], var * 0.7 + x.astype(np.float64).var(over) * 0.3, dtype, 2)
    grads = torch.autograd.grad(y, leaves, t(dy))
    got = run(
        "BatchNormalizationGrad", x, scale, dy, epsilon=1e-5, outputs=3, domain="toolkit.grad"
    )
    for g, w in zip(got, grads, strict=True):
        close(g, w, dtype, 40)


@by_dtype
def test_instance_and_group_norm(dtype):
    rng = np.random.default_rng(0)
    for shape in [(2, 6, 5), (1, 6, 9, 11), (3, 6, 2, 2, 2), (2, 6)]:
        x = rng.normal(size=shape).astype(dtype)
        scale, bias = (rng.normal(size=6).astype(dtype) for _ in range(2))
        if len(shape) > 2:
            close(run("InstanceNormalization", x, scale, bias, epsilon=1e-5)[0],
                  F.instance_norm(t(x), weight=t(scale), bias=t(bias)), dtype, 8)  # fmt: skip
        for groups in (1, 2, 3):
            close(run("GroupNormalization", x, scale, bias, num_groups=groups, epsilon=1e-5)[0],
                  F.group_norm(t(x), groups, t(scale), t(bias)), dtype, 8)  # fmt: skip


@by_dtype
def test_local_response_norm(dtype):
    x = np.random.default_rng(0).normal(size=(2, 9, 20, 17)).astype(dtype)
    for size in (1, 3, 5):
        want = F.local_response_norm(t(x), size, 0.3, 0.6, 2.0)
        close(run("LRN", x, size=size, alpha=0.3, beta=0.6, bias=2.0)[0], want, dtype, 2)


def test_results_do_not_depend_on_threads():
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(37, 40, 300)).astype(np.float32) for _ in range(2))
    v = [rng.random(40).astype(np.float32) for _ in range(4)]
    w = [rng.random(300).astype(np.float32) for _ in range(2)]
    calls = [
        ("Softmax", (x,), {"axis": 1}),
        ("LayerNormalization", (x, *w), {"outputs": 3}),
        ("LayerNormalizationGrad", (x, w[0], y), {"outputs": 3, "domain": "toolkit.grad"}),
        ("BatchNormTraining", (x, *v), {"outputs": 3, "domain": "toolkit.nn"}),
        ("BatchNormalizationGrad", (x, v[0], y), {"outputs": 3, "domain": "toolkit.grad"}),
        ("BatchNormTraining", (x[:, :, 0].copy(), *v), {"outputs": 3, "domain": "toolkit.nn"}),
        ("LpNormalization", (x,), {"axis": 1}),
        ("SoftmaxCrossEntropyLoss", (x[0].copy(), np.arange(40)), {}),
    ]
    try:
        for op_type, inputs, options in calls:
            results = []
            for threads in (1, 2, 3):
                _core.set_num_threads(threads)
                results.append(run(op_type, *inputs, **options))
            for other in results[1:]:
                for a, b in zip(results[0], other, strict=True):
                    np.testing.assert_array_equal(a, b)
    finally:
        _core.set_num_threads(2)


def test_errors():
    x, c = np.zeros((2, 3), np.float32), np.zeros(3, np.float32)
    with pytest.raises(errors.OutOfBoundsError, match=r"labels must lie in \[0, 2\], got 3"):
        run("SoftmaxCrossEntropyLoss", x, np.array([0, 3]))
    with pytest.raises(errors.OutOfBoundsError, match="got -1"):
        run("SoftmaxCrossEntropyLoss", x, np.array([0, -1]))
    with pytest.raises(errors.ShapeError, match=r"labels must have shape \(2,\)"):
        run("NegativeLogLikelihoodLoss", x, np.array([0]))
    with pytest.raises(errors.InvalidArgumentError, match="none, sum or mean, got 'avg'"):
        run("SoftmaxCrossEntropyLoss", x, np.array([0, 1]), reduction="avg")
    with pytest.raises(
        errors.ShapeError, match=r"scale, bias, mean and variance must have shape \(3,\)"
    ):
        run("BatchNormalization", x, c, c, c, np.zeros(2, np.float32))
    with pytest.raises(errors.ShapeError, match="scale and bias must broadcast"):
        run("LayerNormalization", x, np.zeros(2, np.float32))
    with pytest.raises(
        errors.InvalidArgumentError, match="num_groups must divide the 3 channels, got 2"
    ):
        run("GroupNormalization", x, c, c, num_groups=2)
    with pytest.raises(errors.OutOfBoundsError, match="axis must lie"):
        run("Softmax", x, axis=2)
    with pytest.raises(errors.InvalidArgumentError, match="'p' must be 1 or 2"):
        run("LpNormalization", x, p=3)
    with pytest.raises(errors.InvalidArgumentError, match="'size' must be positive"):
        run("LRN", x)

"""Kernels and patterns on drawn sizes: against torch in float64, or operator by operator.

What `test_equal_plain.py` does not have.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.opinfo import OPS
from tests.runtime import test_fusion_patterns as patterns
from tests.runtime.oracle import run
from tests.runtime.test_conv_algorithms import error
from tests.runtime.test_fusion import counts, plain
from tests.runtime.test_kv_cache import HEADS, WIDTH, by_hand, exporter
from tests.test_ops import check
from tests.tolerances import assert_close
from toolkit.runtime import InferenceSession

torch = pytest.importorskip("torch")
F = torch.nn.functional
SIZES = st.sampled_from([1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 64, 65, 127, 130, 513, 1100])
SMALL = st.sampled_from([1, 2, 3, 5, 8, 17])


def wide(x: np.ndarray):
    return torch.from_numpy(np.asarray(x)).double()


def assert_near(got: np.ndarray, want, bound: float) -> None:
    """Of the largest number of what is wanted."""
    want = want.detach().numpy()
    assert got.shape == want.shape
    if want.size:
        assert np.abs(got - want).max() <= bound * max(np.abs(want).max(), 1e-3)


@settings(max_examples=60)
@given(
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.lists(st.integers(0, 5), min_size=4, max_size=4),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.integers(1, 9), st.integers(1, 3)),
)
def test_depthwise_of_any_kernel(kernel, strides, dilations, pads, extra, channels):
    group, multiplier = channels
    rng = np.random.default_rng(0)
    sides = [(k - 1) * d + e for k, d, e in zip(kernel, dilations, extra, strict=True)]
    x = rng.standard_normal((2, group, *sides)).astype(np.float32)
    w = rng.standard_normal((group * multiplier, 1, *kernel)).astype(np.float32)
    how = {"group": group, "strides": strides, "dilations": dilations, "pads": pads}
    exact = [x.astype(np.float64), w.astype(np.float64)]
    want = run("Conv", exact, how | {"algorithm": "plain"})[0]
    assert error(run("Conv", [x, w], how)[0], want) < 2e-6
    dy = rng.standard_normal(want.shape)
    shapes = np.array(x.shape), np.array(w.shape)
    for name, (a, b), shape in (
        ("ConvGradInput", (dy, exact[1]), shapes[0]),
        ("ConvGradWeight", (exact[0], dy), shapes[1]),
    ):
        want = run(name, [a, b, shape], how | {"algorithm": "plain"}, domain="toolkit.grad")[0]
        narrow = [a.astype(np.float32), b.astype(np.float32), shape]
        terms = np.abs(a).max() * np.abs(b).max()  # Few terms may cancel.
        assert error(run(name, narrow, how, domain="toolkit.grad")[0], want, terms) < 1e-5


@settings(max_examples=60)
@given(
    st.sampled_from(["layer", "rms", "group", "instance", "batch"]),
    st.tuples(SMALL, st.sampled_from([1, 2, 6, 12])),
    st.lists(SIZES, min_size=1, max_size=2).filter(lambda s: np.prod(s) <= 20_000),
    st.floats(-20, 20),
)
def test_normalizations(kind, front, back, mean):
    rng = np.random.default_rng(0)
    n, c = front
    if kind in ("group", "instance", "batch") and np.prod(back) == 1:
        return  # torch refuses the mean of one number.
    x = (rng.standard_normal((n, c, *back)) + mean).astype(np.float32)
    columns = back[-1] if kind in ("layer", "rms") else c
    scale, bias = rng.standard_normal((2, columns)).astype(np.float32)
    operands = [wide(v) for v in (x, scale, bias)]
    inputs, how = [x, scale, bias], {"epsilon": 1e-3}
    if kind == "layer":
        want = F.layer_norm(operands[0], (columns,), *operands[1:], 1e-3)
        name = "LayerNormalization"
    elif kind == "rms":
        want = F.rms_norm(operands[0], (columns,), operands[1], 1e-3)
        name, inputs = "RMSNormalization", inputs[:2]
    elif kind == "group":
        groups = next(g for g in (3, 2, 1) if c % g == 0)
        want = F.group_norm(operands[0], groups, *operands[1:], 1e-3)
        name, how["num_groups"] = "GroupNormalization", groups
    elif kind == "instance":
        want = F.instance_norm(operands[0].reshape(n, c, -1), None, None, *operands[1:], eps=1e-3)
        name, want = "InstanceNormalization", want.reshape(x.shape)
    else:
        want = F.batch_norm(operands[0], None, None, *operands[1:], training=True, eps=1e-3)
        name, how["training_mode"] = "BatchNormalization", 1
        inputs += [np.zeros(c, np.float32), np.ones(c, np.float32)]
    got = run(name, inputs, how, 3 if kind == "batch" else 1)[0]
    # What the mean takes away of x was rounded at x's size.
    assert_near(got, want, 3e-6 * (1 + abs(mean)))


@settings(max_examples=60)
@given(
    SMALL,
    SIZES,
    st.lists(st.sampled_from([1, 3, 8, 33]), max_size=2),
    st.sampled_from(["none", "sum", "mean"]),
    st.booleans(),
    st.booleans(),
)
def test_cross_entropy_and_its_gradient(n, classes, spatial, reduction, weighted, ignored):
    rng = np.random.default_rng(n)
    x = (rng.standard_normal((n, classes, *spatial)) * 3).astype(np.float32)
    labels = rng.integers(0, classes, (n, *spatial))
    if ignored and labels.size > 1:
        labels.flat[::3] = -7
        labels.flat[-1] = 0  # One that counts.
    w = rng.uniform(0.5, 2, classes).astype(np.float32) if weighted else None
    leaf = wide(x).requires_grad_()
    loss = F.cross_entropy(
        leaf, torch.from_numpy(labels), None if w is None else wide(w), ignore_index=-7,
        reduction=reduction,
    )  # fmt: skip
    how = {"reduction": reduction, "ignore_index": -7}
    assert_near(run("SoftmaxCrossEntropyLoss", [x, labels, w], how)[0], loss, 4e-6)
    dloss = np.asarray(rng.standard_normal(loss.shape)).astype(np.float32)
    (dx,) = torch.autograd.grad(loss, leaf, wide(dloss))
    inputs = [x, labels.astype(np.int32), dloss, w]
    got = run("SoftmaxCrossEntropyLossGrad", inputs, how, domain="toolkit.grad")[0]
    assert_near(got, dx, 4e-6)


OPTIMIZERS = [op for op in OPS if op.domain == "toolkit.optim" and op.reference]


@settings(max_examples=120)
@given(
    st.sampled_from(OPTIMIZERS),
    st.lists(SIZES, max_size=2).filter(lambda s: np.prod(s) <= 70_000),
    st.integers(0, 99),
)
def test_optimizer_updates(op, shape, which):
    """The row's samples, their values repeated to another size."""
    samples = [s for s in op.samples(op.draw("float32")) if s.inputs[0].shape == (33,)]
    if not samples:
        samples = list(op.samples(op.draw("float32")))[:1]
    sample = samples[which % len(samples)]
    old = sample.inputs[0].shape
    if not np.prod(old):
        return
    inputs = tuple(
        np.resize(x, shape) if isinstance(x, np.ndarray) and x.shape == old and x.ndim else x
        for x in sample.inputs
    )
    check(op, replace(sample, inputs=inputs))


GELUS = [patterns.gelu_torch, patterns.gelu_half_first, patterns.gelu_tanh, patterns.gelu_fast]


@settings(max_examples=60)
@given(
    st.sampled_from([*GELUS, "swish", "scaled swish", "softmax", "layer", "rms"]),
    st.tuples(SMALL, SMALL, SIZES),
    st.sampled_from([-1, 1, 0]),
)
def test_written_out(kind, shape, axis):
    """A pattern becomes its operator at every size, and gives what its parts give."""
    g = patterns.Graph()
    also = []
    if callable(kind):
        y, found = kind(g), "Gelu"
    elif kind == "softmax":
        y, found = patterns.softmax(g, axis), "Softmax"
    elif kind in ("layer", "rms"):
        y, also = patterns.layer_norm(g, rms=kind == "rms"), ["w", "b"]
        found = "RMSNormalization" if kind == "rms" else "LayerNormalization"
    else:
        x = g.Mul("x", 1.7) if kind == "scaled swish" else "x"
        y, found = g.Mul("x", g.Sigmoid(x)), "Swish"
    model = g.model(y, shape=shape, also=also)
    assert found in counts(model)
    rng = np.random.default_rng(0)
    feed = {"x": (3 * rng.standard_normal(shape)).astype(np.float32)}
    feed |= {n: rng.standard_normal(shape[-1]).astype(np.float32) for n in also}
    got = InferenceSession(model).run(None, feed)[0]
    assert_close(got, InferenceSession(model, plain()).run(None, feed)[0], 8)


@settings(max_examples=25)
@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=6),
    st.integers(1, 3),
    st.integers(1, 20),
    st.booleans(),
)
def test_a_cache_in_place(lengths, batch, capacity, causal):
    """Prompts and steps of any length; the memory grows where it is too small."""
    rng = np.random.default_rng(0)
    shape = (batch, HEADS)
    steps = [{"x": rng.standard_normal((*shape, n, WIDTH)).astype(np.float32)} for n in lengths]
    model = exporter(causal)
    cache = InferenceSession(model).kv_cache(capacity=capacity)
    assert cache.in_place
    empty = np.zeros((*shape, 0, WIDTH), np.float32)
    for want, feed in zip(by_hand(model, cache._pairs, steps, empty), steps, strict=True):
        assert_close(cache.run(None, feed)[0], want[0], 20)
    assert cache.length == sum(lengths)

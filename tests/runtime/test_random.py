"""Random kernels: bits against Philox in numpy, moments and seeds of ONNX's own operators."""

from __future__ import annotations

import numpy as np
import pytest

from tests.runtime.oracle import run
from tests.runtime.philox import philox, uniform
from toolkit import errors
from toolkit.runtime import _core

SEEDS = [(0, 0, 0), (7, 3, 1), (0xDEADBEEF12345678, 0xFFFFFFFFFFFFFFFF, 2), (1 << 63, 1 << 40, 5)]


def state(seed: int, offset: int) -> np.ndarray:
    return np.array([seed, offset], np.uint64)


def composite(name, inputs, outputs=1, **attributes):
    return run(name, inputs, attributes, outputs, domain="toolkit.random")


def test_philox_known_answers():
    """The vectors of Random123's kat_vectors."""
    ones = 0xFFFFFFFF
    pi = [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344]
    for counter, key, want in [
        ([0] * 4, (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ([ones] * 4, (ones, ones), "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (pi, (0xA4093822, 0x299F31D0), "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ]:
        got = philox(np.array([counter], np.uint64), key)[0]
        assert " ".join(f"{w:08x}" for w in got) == want


@pytest.mark.parametrize(("seed", "offset", "call"), SEEDS)
@pytest.mark.parametrize("n", [0, 1, 3, 4, 17, 1023, 1025, 100_003])
def test_uniform_is_philox(seed, offset, call, n):
    shape = np.array([n], np.int64)
    for code, dtype in [(1, np.float32), (11, np.float64)]:
        (y,) = composite("Uniform", [shape, state(seed, offset)], call=call, dtype=code)
        assert y.dtype == dtype
        np.testing.assert_array_equal(y, uniform(n, seed, offset + call, dtype))


@pytest.mark.parametrize(("code", "dtype", "ulps"), [(1, np.float32, 3), (11, np.float64, 3)])
@pytest.mark.parametrize("n", [1, 2, 7, 4096, 50_001])
def test_normal_is_box_muller(code, dtype, ulps, n):
    (y,) = composite("Normal", [np.array([n], np.int64), state(5, 6)], call=2, dtype=code)
    u = uniform(n + n % 2, 5, 8, dtype)
    r = np.sqrt(dtype(-2) * np.log1p(-u[0::2].astype(np.longdouble))).astype(np.longdouble)
    angle = (dtype(2 * np.pi) * u[1::2]).astype(np.longdouble)
    want = np.stack([r * np.cos(angle), r * np.sin(angle)], 1).reshape(-1)[:n]
    error = np.abs(y - want) / np.spacing(np.maximum(np.abs(want), 1e-3).astype(dtype))
    assert error.max() <= ulps
    if n > 1000:
        assert abs(y.mean()) < 4 / np.sqrt(n)
        assert abs(y.std() - 1) < 4 / np.sqrt(2 * n)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_dropout(dtype, ratio):
    x = np.random.default_rng(0).standard_normal((33, 129)).astype(dtype)
    y, mask = composite("Dropout", [x, state(11, 4)], 2, ratio=ratio, call=3)
    u = uniform(x.size, 11, 7).reshape(x.shape)
    np.testing.assert_array_equal(mask, u >= np.float32(ratio))
    scale = dtype(1) / (dtype(1) - dtype(np.float32(ratio))) if ratio < 1 else dtype(0)
    np.testing.assert_array_equal(y, x * np.where(mask, scale, dtype(0)))
    (alone,) = composite("Dropout", [x, state(11, 4)], 1, ratio=ratio, call=3)
    np.testing.assert_array_equal(alone, y)


def test_threads_do_not_change_bits():
    shape = np.array([3, 40_001], np.int64)
    x = np.ones((3, 40_001), np.float32)
    results = []
    before = _core.get_num_threads()
    try:
        for threads in (1, 2):
            _core.set_num_threads(threads)
            results.append(
                [
                    *composite("Uniform", [shape, state(1, 2)]),
                    *composite("Normal", [shape, state(1, 2)]),
                    *composite("Dropout", [x, state(1, 2)], 2, ratio=0.3),
                    *run("RandomNormal", [], {"shape": [99_999], "seed": 3.0, "dtype": 11}),
                    *run("Bernoulli", [x / 3], {"seed": 3.0}),
                    *run("Multinomial", [x[:, :50]], {"seed": 3.0, "sample_size": 5000}),
                ]
            )
    finally:
        _core.set_num_threads(before)
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("op_type", "attributes", "mean", "std"),
    [
        ("RandomUniform", {"low": -1.0, "high": 3.0}, 1.0, 4 / np.sqrt(12)),
        ("RandomNormal", {"mean": 2.0, "scale": 0.5}, 2.0, 0.5),
    ],
)
def test_standard_distributions(op_type, attributes, mean, std):
    for code, dtype in [(1, np.float32), (11, np.float64)]:
        extra = {**attributes, "seed": 1.5, "dtype": code}
        (y,) = run(op_type, [], {**extra, "shape": [200, 500]})
        (again,) = run(op_type, [], {**extra, "shape": [200, 500]})
        (like,) = run(op_type + "Like", [np.zeros((200, 500), dtype)], extra)
        assert y.shape == (200, 500)
        assert y.dtype == dtype
        np.testing.assert_array_equal(y, again)
        np.testing.assert_array_equal(y, like)
        assert y.mean() == pytest.approx(mean, abs=5 * std / np.sqrt(y.size))
        assert y.std() == pytest.approx(std, rel=0.02)
    (a,) = run(op_type, [], {**attributes, "shape": [50]})
    (b,) = run(op_type, [], {**attributes, "shape": [50]})
    assert (a != b).any()


def test_bernoulli_and_multinomial():
    p = np.broadcast_to(np.array([0.0, 0.25, 1.0], np.float32), (20_000, 3))
    (y,) = run("Bernoulli", [p], {"seed": 1.0, "dtype": 9})
    assert y.dtype == bool
    np.testing.assert_allclose(y.mean(0), [0, 0.25, 1], atol=0.02)
    (y,) = run("Bernoulli", [p.astype(np.float64)], {"seed": 1.0})
    assert y.dtype == np.float64
    logits = np.log(np.array([[0.1, 0.2, 0.7], [0.5, 0.0, 0.5]]) + 1e-30)
    for code, dtype in [(6, np.int32), (7, np.int64)]:
        (y,) = run("Multinomial", [logits], {"seed": 1.0, "sample_size": 20_000, "dtype": code})
        assert y.dtype == dtype
        for row, want in zip(y, np.exp(logits), strict=True):
            np.testing.assert_allclose(np.bincount(row, minlength=3) / row.size, want, atol=0.02)


def test_standard_dropout():
    x = np.random.default_rng(0).standard_normal((50, 200)).astype(np.float32)
    for inputs in ([x], [x, np.float32(0.3).reshape(())], [x, None, np.array(False)]):
        y, mask = run("Dropout", inputs, outputs=2)
        np.testing.assert_array_equal(y, x)
        assert mask.all()
    ratio, training = np.array(0.3, np.float32), np.array(True)
    y, mask = run("Dropout", [x, ratio, training], {"seed": 4}, outputs=2)
    assert mask.mean() == pytest.approx(0.7, abs=0.03)
    np.testing.assert_allclose(y, x * mask / 0.7, rtol=1e-6)
    again, _ = run("Dropout", [x, ratio, training], {"seed": 4}, outputs=2)
    np.testing.assert_array_equal(y, again)


def test_errors():
    shape = np.array([3], np.int64)
    with pytest.raises(errors.InvalidArgumentError, match=r"state must be uint64 \(2,\)"):
        composite("Uniform", [shape, np.array([1, 2], np.int64)])
    with pytest.raises(errors.DTypeError):
        composite("Uniform", [shape, state(0, 0)], dtype=7)
    with pytest.raises(errors.ShapeError, match="negative"):
        composite("Normal", [-shape, state(0, 0)])
    with pytest.raises(errors.InvalidArgumentError, match=r"ratio must lie in \[0, 1\]"):
        composite("Dropout", [np.ones(3, np.float32), state(0, 0)], ratio=1.5)
    with pytest.raises(errors.ShapeError, match="at least one class"):
        run("Multinomial", [np.zeros((2, 0), np.float32)])

"""Dropout and the counter-based generators, against a numpy Philox4x32-10 (Salmon et al. 2011)."""

from __future__ import annotations

import numpy as np

from tests.opinfo.core import FLOATS, OpInfo, S, Sample, i64
from toolkit import dtypes


def philox(blocks: np.ndarray, key: int, stream: int) -> np.ndarray:
    """The four 32-bit words of each block: counter (block, stream), key = seed."""
    mask = np.uint64(0xFFFFFFFF)
    c = [blocks & mask, blocks >> np.uint64(32)]
    c += [np.full_like(blocks, stream & 0xFFFFFFFF), np.full_like(blocks, stream >> 32)]
    k0, k1 = np.uint64(key & 0xFFFFFFFF), np.uint64(key >> 32)
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
        c = [
            (p1 >> np.uint64(32)) ^ c[1] ^ k0,
            p1 & mask,
            (p0 >> np.uint64(32)) ^ c[3] ^ k1,
            p0 & mask,
        ]
        k0, k1 = (k0 + np.uint64(0x9E3779B9)) & mask, (k1 + np.uint64(0xBB67AE85)) & mask
    return np.stack(c, -1)


def uniforms(n: int, state: np.ndarray, call: int, dtype: np.dtype) -> np.ndarray:
    seed, stream = int(state[0]), (int(state[1]) + call) % 2**64
    per_block = 4 if dtype == np.float32 else 2
    blocks = np.arange(-(-n // per_block), dtype=np.uint64)
    words = philox(blocks, seed, stream)
    if dtype == np.float32:
        u = (words >> np.uint64(8)).astype(np.float32) * np.float32(2.0**-24)
    else:
        joined = (words[:, ::2] << np.uint64(32)) | words[:, 1::2]
        u = (joined >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return u.ravel()[:n]


def state(seed: int = 42, offset: int = 0) -> np.ndarray:
    return np.array([seed, offset], np.uint64)


STATES = (state(), state(2**63 + 12345, 7), state(3, 2**32 - 1), state(1, 2**64 - 1))


def composite_dropout_samples(d):
    for i, shape in enumerate(((7,), (65,), (2, 3, 17), (0, 3), ())):
        yield S(d(*shape), STATES[i % 4], outputs=2, ratio=(0.5, 0.1, 0.9)[i % 3], call=i)
    yield S(d(5), state(), outputs=2, ratio=0.0, call=0)
    yield S(d(5), state(), outputs=2, ratio=1.0, call=0)


def composite_dropout(sample: Sample) -> list[np.ndarray]:
    x, key = sample.inputs
    ratio, call = sample.attributes.get("ratio", 0.5), sample.attributes.get("call", 0)
    mask = (uniforms(x.size, key, call, np.dtype(np.float32)) >= np.float32(ratio)).reshape(x.shape)
    kept = 1 - ratio if ratio < 1 else 1
    return [(x * mask / x.dtype.type(kept)).astype(x.dtype), mask]


def generator_samples(d):
    for i, shape in enumerate(((8,), (65,), (3, 17), (0,), (), (2, 1001))):
        yield S(np.array(shape, np.int64), STATES[i % 4], call=i, dtype=to(d))


def dtype_of(sample: Sample) -> np.dtype:
    return np.dtype(dtypes.BY_ONNX[sample.attributes.get("dtype", 1)].numpy)


def uniform(sample: Sample) -> list[np.ndarray]:
    shape, key = sample.inputs
    n = int(np.prod(shape))
    u = uniforms(n, key, sample.attributes.get("call", 0), dtype_of(sample))
    return [u.reshape(shape)]


def normal(sample: Sample) -> list[np.ndarray]:
    shape, key = sample.inputs
    n, dtype = int(np.prod(shape)), dtype_of(sample)
    u = uniforms(n + n % 2, key, sample.attributes.get("call", 0), dtype).astype(np.float64)
    r, angle = np.sqrt(-2 * np.log1p(-u[::2])), 2 * np.pi * u[1::2]
    z = np.stack([r * np.cos(angle), r * np.sin(angle)], -1).ravel()[:n]
    return [z.reshape(shape).astype(dtype)]


def to(d) -> int:
    return dtypes.from_numpy(d.dtype).onnx


N = 20_000
HALVES = ("float16", "bfloat16")
MOMENTS = {"RandomNormal": (0.5, 2.0, -np.inf, np.inf), "RandomUniform": (2.0, np.sqrt(3), -1, 5)}


def random_row(op_type: str, attributes: dict, like: bool) -> OpInfo:
    """A generator of the standard: shape, type, range, moments, the seed."""
    mean, deviation, low, high = MOMENTS[op_type]

    def samples(d):
        for n in (N, 0):
            attrs = {**attributes, "seed": 3.0, "dtype": to(d)}
            yield S(d(n, 1), **attrs) if like else S(shape=[n, 1], **attrs)

    def check(sample: Sample, got) -> None:
        (y,) = got
        assert y.shape in ((N, 1), (0, 1))
        assert y.dtype == dtype_of(sample)
        if y.size:
            y = y.astype(np.float64)
            assert low <= y.min() < y.max() <= high
            assert abs(y.mean() - mean) < 5 * deviation / np.sqrt(N)
            assert abs(y.std() - deviation) < 0.05 * deviation

    return OpInfo(op_type + "Like" * like, samples, check=check, typed_by=None, big=samples,
                  dtypes=HALVES + FLOATS)  # fmt: skip


def bernoulli_samples(d):
    for p in (0.0, 0.3, 1.0):
        yield S(np.full(N, p, d.dtype), seed=3.0)
    for target in dtypes.ALL:
        if target.numpy.kind != "c":
            yield S(np.full((2, 3), 0.5, d.dtype), dtype=target.onnx)


def bernoulli_check(sample: Sample, got) -> None:
    (p,), (y,) = sample.inputs, got
    assert y.shape == p.shape
    assert y.dtype == (dtype_of(sample) if "dtype" in sample.attributes else p.dtype)
    y, p = y.astype(np.float64), p.astype(np.float64)
    assert set(np.unique(y)) <= {0, 1}
    if p.size == N:
        assert abs(y.mean() - float(p[0])) < 0.02


def multinomial_samples(d):
    logits = np.log([[0.2, 0.5, 0.3], [1e-30, 1.0, 1e-30]]).astype(d.dtype)
    yield S(logits, sample_size=N, seed=3.0)
    yield S(logits, sample_size=N, seed=3.0, dtype=7)


def multinomial_check(sample: Sample, got) -> None:
    (y,) = got
    assert y.shape == (2, N)
    assert y.dtype == (np.int64 if sample.attributes.get("dtype") == 7 else np.int32)
    assert (y[1] == 1).all()
    np.testing.assert_allclose(np.bincount(y[0], minlength=3) / N, [0.2, 0.5, 0.3], atol=0.02)


def inference_samples(d):
    yield S(d(7))
    yield S(d(2, 3), np.float32(0.5))
    yield S(d(65), np.float32(0.5), np.bool_(False), outputs=2)
    yield S(d(3, 5), np.float32(0.0), np.bool_(True), outputs=2)
    yield S(d(0, 2), None, np.bool_(False), outputs=2)


def inference(sample: Sample) -> list[np.ndarray]:
    x = sample.inputs[0]
    return [x, np.ones(x.shape, bool)]


ROWS = [
    OpInfo("Dropout", inference_samples, reference=inference, why="outputs None for the mask"),
    OpInfo("Dropout", composite_dropout_samples, "toolkit.random", reference=composite_dropout, grad=(0,),
           big=lambda d: [S(d(100_003), state(), outputs=2, ratio=0.3, call=1)]),
    *(random_row("RandomNormal", {"mean": 0.5, "scale": 2.0}, like) for like in (False, True)),
    *(random_row("RandomUniform", {"low": -1.0, "high": 5.0}, like) for like in (False, True)),
    OpInfo("Bernoulli", bernoulli_samples, check=bernoulli_check,
           big=lambda d: [S(np.full(100_003, 0.3, d.dtype), seed=3.0)]),
    OpInfo("Multinomial", multinomial_samples, check=multinomial_check, dtypes=("float32",),
           big=lambda d: [S(d(65, 33), sample_size=301, seed=3.0)]),
    OpInfo("Uniform", generator_samples, "toolkit.random", reference=uniform, typed_by=None, grad=(),
           big=lambda d: [S(i64(100_003), state(), call=1, dtype=1)]),
    OpInfo("Normal", generator_samples, "toolkit.random", reference=normal, typed_by=None, grad=(),
           tolerance=4, big=lambda d: [S(i64(100_003), state(), call=1, dtype=1)]),
]  # fmt: skip

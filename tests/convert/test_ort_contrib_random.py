"""GroupQueryAttention and weights in blocks of bits, drawn at random, beside onnxruntime."""

from __future__ import annotations

import itertools

import ml_dtypes
import numpy as np
import pytest

from tests.convert.test_ort_contrib import K, by_onnxruntime, caches, model_of
from toolkit.runtime import InferenceSession

SIZE = 16  # Of a head.
COS, SIN = caches(64, SIZE // 2)


def both(row):
    model, fed = model_of(row)
    text = model.SerializeToString()
    return InferenceSession(text).run(None, fed), by_onnxruntime(text, fed)


def close(got, want) -> None:
    assert got.shape == want.shape and got.dtype == want.dtype
    np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5 * max(1.0, np.abs(want).max()))


def attention(rng: np.random.Generator):
    """A row, and the number of tokens of each sequence."""

    def f(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    def maybe(p):
        return rng.random() < p

    past = int(rng.choice([0, 4, 7]))
    batch = int(rng.integers(1, 3)) if past == 0 or maybe(0.5) else 1
    new = 1 if past and batch > 1 else int(rng.choice([1, 3, 6]))  # More it does not take.
    groups = int(rng.integers(1, 3))
    heads, total = groups * int(rng.integers(1, 4)), past + new
    how = {"num_heads": heads, "kv_num_heads": groups}
    how |= {"local_window_size": int(rng.choice([1, 2, 4, 20]))} if maybe(0.4) else {}
    how |= {"softcap": float(rng.choice([1.0, 5.0]))} if maybe(0.3) else {}
    how |= {"scale": 0.4} if maybe(0.3) else {}
    rotated = maybe(0.6)
    how |= {"do_rotary": 1, "rotary_interleaved": int(maybe(0.5))} if rotated else {}
    sink = maybe(0.3)
    how |= {"smooth_softmax": 1} if not sink and maybe(0.4) else {}
    q, k, v = (
        f(batch, new, heads * SIZE),
        f(batch, new, groups * SIZE),
        f(batch, new, groups * SIZE),
    )
    if maybe(0.4):
        q, k, v = np.concatenate([q, k, v], -1), None, None
    shared = 16 if past and maybe(0.5) else past  # The cache as a buffer with room.
    cache = [f(batch, groups, shared, SIZE) if past else None for _ in range(2)]
    lengths = np.full(batch, total - 1, np.int32)
    if (batch > 1 and new > 1) or past:
        lengths[1:] -= 1
    ids = np.maximum(lengths[:, None] + 1 - new, 0) + np.arange(new)
    bias = None
    if maybe(0.2):
        bias = f(batch if maybe(0.5) else 1, heads if maybe(0.5) else 1, new, total)
    inputs = [q, k, v, *cache, lengths, K(np.int32(total))]
    inputs += [K(COS), K(SIN)] if rotated else [None, None]
    inputs += [ids.astype(np.int64) if rotated and maybe(0.3) else None, bias]
    inputs += [f(heads) if sink else None]
    while inputs[-1] is None:
        inputs.pop()
    return ("GroupQueryAttention", inputs, how, 3), lengths + 1


@pytest.mark.parametrize("seed", range(80))
def test_attention_of_groups(seed):
    row, lengths = attention(np.random.default_rng(seed))
    got, want = both(row)
    for n, length in enumerate(lengths):  # What is behind a sequence is not specified.
        new = got[0].shape[1]
        rows = min(new, int(length)) if row[1][3] is None else new
        close(got[0][n, :rows], want[0][n, :rows])
        for a, b in zip(got[1:], want[1:], strict=True):
            assert a.shape == b.shape
            close(a[n, :, :length], b[n, :, :length])


def u8(rng, *shape):
    return rng.integers(0, 256, shape).astype(np.uint8)


def nbits(bits: int, block: int, zeros: str, extra: str, seed: int):
    """A row of MatMulNBits; `zeros`: none, in bytes, or numbers."""
    rng = np.random.default_rng(seed)
    n, flat = int(rng.choice([5, 8, 16])), bool(rng.integers(2))
    k = block * int(rng.integers(1, 4)) + int(rng.choice([0, 4]))
    blocks = -(-k // block)
    scales = rng.random((n, blocks)).astype(np.float32)
    zero = None
    if zeros == "bytes":
        zero = u8(rng, n, -(-blocks * bits // 8))
    elif zeros == "numbers":
        zero = rng.standard_normal((n, blocks)).astype(np.float32)
    x = rng.standard_normal((2, 3, k)).astype(np.float32)
    order = np.sort(rng.integers(0, blocks, k)).astype(np.int32) if extra == "order" else None
    bias = rng.standard_normal(n).astype(np.float32) if extra == "bias" else None
    constants = [v.reshape(-1) if flat and v is not None else v for v in (scales, zero)]
    inputs = [x, K(u8(rng, n, blocks, block * bits // 8))]
    inputs += [None if v is None else K(v) for v in (*constants, order, bias)]
    while inputs[-1] is None:
        inputs.pop()
    return "MatMulNBits", inputs, {"K": k, "N": n, "bits": bits, "block_size": block}


def by_formula(row) -> np.ndarray:
    _, (x, w, scales, zero, *rest), how = row[0], [*row[1], *[None] * 4][:6], row[2]
    bits, block, n, k = (how[name] for name in ("bits", "block_size", "N", "K"))

    def codes(v):
        return ((v.array.reshape(n, -1)[..., None] >> np.arange(0, 8, bits)) % 2**bits).reshape(
            n, -1
        )

    group = np.arange(k) // block if rest[0] is None else rest[0].array
    if zero is None:
        z = np.full((n, 1 + group.max()), 2 ** (bits - 1))
    else:
        z = codes(zero) if zero.array.dtype == np.uint8 else zero.array.reshape(n, -1)
    scale = scales.array.reshape(n, -1)
    weights = (codes(w)[:, :k] - z[:, group]) * scale[:, group].astype(np.float64)
    y = x @ weights.T
    return (y if rest[1] is None else y + rest[1].array).astype(np.float32)


PACKED = [
    (bits, block, zeros, extra)
    for bits, block, zeros, extra in itertools.product(
        (2, 4, 8), (16, 32, 64, 128, 256), ("none", "bytes", "numbers"), ("", "bias", "order")
    )
]


@pytest.mark.parametrize("case", PACKED, ids=lambda c: "-".join(map(str, c)))
def test_products_by_packed_weights(case):
    """Every form by its formula; beside onnxruntime what its CPU kernel has."""
    bits, block, zeros, extra = case
    row = nbits(*case, seed=bits * 1000 + block)
    model, fed = model_of(row, np.float32)
    text = model.SerializeToString()
    (got,) = InferenceSession(text).run(None, fed)
    close(got, by_formula(row))
    # Of columns in another order it reads 2 bits as 4, and leaves out zero points in bytes.
    if (bits == 8 and zeros == "numbers") or (extra == "order" and (bits != 4 or zeros == "bytes")):
        return
    model.graph.node[0].attribute.add(name="accuracy_level", type=2, i=1)  # No 8-bit activations.
    (want,) = by_onnxruntime(model.SerializeToString(), fed)
    close(got, want)


@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("block", [16, 32, 64, 128])
@pytest.mark.parametrize("kind", [2, 4, 8, ml_dtypes.int4, ml_dtypes.uint4])
def test_rows_of_packed_tables(kind, block, zeros):
    rng = np.random.default_rng(block)
    lead = (2, 7) if rng.integers(2) else (7,)
    k = block * int(rng.integers(1, 4))
    packed = isinstance(kind, int)
    bits = kind if packed else 4

    def codes(count):
        if packed:
            return u8(rng, *lead, -(-count * bits // 8))
        low = -8 if kind is ml_dtypes.int4 else 0
        return rng.integers(low, low + 16, (*lead, count)).astype(kind)

    axis = int(rng.integers(len(lead))) if not packed else 0
    ids = rng.integers(0, lead[axis], (2, 3)).astype(rng.choice([np.int32, np.int64]))
    scales = rng.random((*lead, k // block)).astype(np.float32)
    inputs = [K(codes(k)), ids, K(scales), *([K(codes(k // block))] if zeros else [])]
    how = {"block_size": block, "gather_axis": axis, "quantize_axis": len(lead), "bits": bits}
    got, want = both(("GatherBlockQuantized", inputs, how))
    close(got[0], want[0])

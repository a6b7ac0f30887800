"""Philox4x32-10 in numpy: what the toolkit.random operators are checked against."""

from __future__ import annotations

import numpy as np

U = np.uint64


def philox(counter: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """Words (n, 4) uint32 for counters (n, 4) and a key of two 32-bit words."""
    c = [counter[:, i].astype(U) for i in range(4)]
    k = [U(key[0]), U(key[1])]
    low = U(0xFFFFFFFF)
    for _ in range(10):
        p0, p1 = c[0] * U(0xD2511F53), c[2] * U(0xCD9E8D57)
        c = [(p1 >> U(32)) ^ c[1] ^ k[0], p1 & low, (p0 >> U(32)) ^ c[3] ^ k[1], p0 & low]
        k = [(k[0] + U(0x9E3779B9)) & low, (k[1] + U(0xBB67AE85)) & low]
    return np.stack(c, axis=1).astype(np.uint32)


def words(n: int, seed: int, offset: int) -> np.ndarray:
    """The first n words of the stream (seed, offset)."""
    blocks = np.arange((n + 3) // 4, dtype=U)
    offset %= 1 << 64
    counter = np.empty((len(blocks), 4), U)
    counter[:, 0], counter[:, 1] = blocks & U(0xFFFFFFFF), blocks >> U(32)
    counter[:, 2], counter[:, 3] = offset & 0xFFFFFFFF, offset >> 32
    return philox(counter, (seed & 0xFFFFFFFF, seed >> 32)).reshape(-1)[:n]


def uniform(n: int, seed: int, offset: int, dtype: type = np.float32) -> np.ndarray:
    """The first n uniforms of the stream, exact in either dtype."""
    if dtype is np.float32:
        return ((words(n, seed, offset) >> 8) * 2.0**-24).astype(np.float32)
    w = words(2 * n, seed, offset).astype(U)
    return ((w[0::2] << U(32) | w[1::2]) >> U(11)) * 2.0**-53

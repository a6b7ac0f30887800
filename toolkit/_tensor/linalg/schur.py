"""Eigenvalues and eigenvectors of one general matrix, by its Schur form (Golub and Van Loan, 7.5).

Householder reflections to Hessenberg form, then QR steps with Wilkinson's shift, all of it complex.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from toolkit.errors import LinAlgError

Array = np.ndarray[Any, Any]
_EPS = float(np.finfo(np.float64).eps)
_STEPS = 60  # For one eigenvalue; 2 or 3 are usual.


def eigen(a: Array) -> tuple[Array, Array]:
    """Eigenvalues (n,) and eigenvectors in columns (n, n) of norm 1.

    Those of a real matrix are exactly real, or conjugate pairs with the upper one first.
    """
    n = len(a)
    scale = float(np.abs(a).max(initial=0))
    t, z = _schur(a / scale if scale else a)
    vectors = z @ _triangular_vectors(t)
    values = np.diag(t).copy() * (scale or 1.0)
    if n and not np.iscomplexobj(a):
        _make_real(values, vectors, 10 * n * _EPS * float(np.linalg.norm(a)))
    norms = np.sqrt((np.abs(vectors) ** 2).sum(0))
    return values, vectors / np.where(norms == 0, 1, norms)


def _schur(a: Array) -> tuple[Array, Array]:
    """Upper triangular T and unitary Z of a = Z T Z^H."""
    h, z = _hessenberg(a.astype(np.complex128))
    norm = float(np.abs(h).sum()) or 1.0
    high, steps = len(h) - 1, 0
    while high > 0:
        low = high
        while low > 0:
            near = abs(h[low - 1, low - 1]) + abs(h[low, low])
            if abs(h[low, low - 1]) <= _EPS * (near or norm):
                h[low, low - 1] = 0
                break
            low -= 1
        if low == high:
            high, steps = high - 1, 0
            continue
        steps += 1
        if steps > _STEPS:
            raise LinAlgError("linalg.eig: the algorithm failed to converge.")
        shift = _shift(h, high) if steps % 10 else abs(h[high, high - 1]) + h[high, high]
        _qr_step(h, z, low, high, shift)
    return np.triu(h), z


def _hessenberg(h: Array) -> tuple[Array, Array]:
    n = len(h)
    z = np.eye(n, dtype=h.dtype)
    for k in range(n - 2):
        v = h[k + 1 :, k].copy()
        if not np.abs(v[1:]).any():
            continue
        size = np.sqrt((np.abs(v) ** 2).sum())
        v[0] += size * (v[0] / abs(v[0]) if v[0] else 1)
        v /= np.sqrt((np.abs(v) ** 2).sum())
        h[k + 1 :] -= 2 * np.outer(v, v.conj() @ h[k + 1 :])
        h[:, k + 1 :] -= 2 * np.outer(h[:, k + 1 :] @ v, v.conj())
        z[:, k + 1 :] -= 2 * np.outer(z[:, k + 1 :] @ v, v.conj())
        h[k + 2 :, k] = 0
    return h, z


def _shift(h: Array, high: int) -> complex:
    """The eigenvalue of the last 2 x 2 block that is closer to its last element."""
    a, b, c, d = h[high - 1 : high + 1, high - 1 : high + 1].ravel()
    half = (a - d) / 2
    root = np.sqrt(half * half + b * c)
    far = half + root if abs(half + root) >= abs(half - root) else half - root
    return complex(d - b * c / far) if far else complex(d)


def _qr_step(h: Array, z: Array, low: int, high: int, shift: Any) -> None:
    """H - s = Q R, then R Q + s, of the block low..high; the rest turns with it."""
    block = np.arange(low, high + 1)
    h[block, block] -= shift
    turns = []
    for k in range(low, high):
        x, y = h[k, k], h[k + 1, k]
        r = np.sqrt(abs(x) ** 2 + abs(y) ** 2)
        turn = np.array([[x.conjugate(), y.conjugate()], [-y, x]]) / r if r else np.eye(2)
        h[k : k + 2, k:] = turn @ h[k : k + 2, k:]
        turns.append(turn.conj().T)
    for k, turn in zip(range(low, high), turns, strict=True):
        end = min(k + 2, high) + 1
        h[:end, k : k + 2] = h[:end, k : k + 2] @ turn
        z[:, k : k + 2] = z[:, k : k + 2] @ turn
    h[block, block] += shift


def _triangular_vectors(t: Array) -> Array:
    """Eigenvectors of an upper triangular matrix; equal eigenvalues are moved apart a little."""
    n = len(t)
    x = np.eye(n, dtype=t.dtype)
    small = _EPS * max(float(np.abs(t).max(initial=0)), np.finfo(np.float64).tiny)
    for k in range(1, n):
        for i in range(k - 1, -1, -1):
            gap = t[k, k] - t[i, i]
            x[i, k] = (t[i, i + 1 : k + 1] @ x[i + 1 : k + 1, k]) / (
                gap if abs(gap) > small else small
            )
    return x


def _make_real(values: Array, vectors: Array, bound: float) -> None:
    """What the matrix being real implies, in place."""
    left = set(range(len(values)))
    for k in sorted(left, key=lambda i: -values[i].imag):
        if k not in left:
            continue
        left.discard(k)
        twin = min(left, key=lambda i: abs(values[i] - values[k].conjugate()), default=None)
        if values[k].imag <= bound or twin is None:
            largest = vectors[np.abs(vectors[:, k]).argmax(), k]
            values[k] = values[k].real
            vectors[:, k] = (vectors[:, k] / largest).real
            continue
        left.discard(twin)
        first, second = sorted((k, twin))
        value, vector = values[k], vectors[:, k].copy()
        values[first], values[second] = value, value.conjugate()
        vectors[:, first], vectors[:, second] = vector, vector.conj()

"""Runs the same lines on toolkit and on torch and compares everything that can be seen."""

from __future__ import annotations

import numpy as np

import toolkit as tk

torch = __import__("pytest").importorskip("torch")


def data(*shape, seed=0, low=-2.0, high=2.0):
    """Repeatable numbers without ties."""
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


def leaf(m, *shape, seed=0, low=-2.0, high=2.0, dtype="float32"):
    """A tensor that requires grad."""
    array = data(*shape, seed=seed, low=low, high=high)
    return m.tensor(array, dtype=getattr(m, dtype), requires_grad=True)


def same(ours, theirs, rtol=1e-5, atol=1e-6, where="result"):
    """Fails unless values, shapes and element types agree."""
    if isinstance(theirs, torch.Tensor):
        assert isinstance(ours, tk.Tensor), f"{where}: {type(ours)}"
        assert tuple(ours.shape) == tuple(theirs.shape), f"{where}: {ours.shape} {theirs.shape}"
        assert ours.dtype.name == str(theirs.dtype)[6:], f"{where}: {ours.dtype} {theirs.dtype}"
        assert ours.requires_grad == theirs.requires_grad, f"{where}: requires_grad"
        a, b = ours.detach().numpy(), theirs.detach().numpy()
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol, err_msg=where)
    elif isinstance(theirs, (tuple, list)):
        assert len(ours) == len(theirs), where
        for i, (x, y) in enumerate(zip(ours, theirs, strict=True)):
            same(x, y, rtol, atol, f"{where}[{i}]")
    elif isinstance(theirs, (float, np.ndarray)):
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=atol, err_msg=where)
    elif isinstance(theirs, torch.dtype):
        assert ours.name == str(theirs)[6:], where
    else:
        assert ours == theirs, f"{where}: {ours!r} {theirs!r}"


def compare(f, **tolerance):
    """`f(tk)` against `f(torch)`."""
    same(f(tk), f(torch), **tolerance)


def gradients(f, *shapes, low=-2.0, high=2.0, **tolerance):
    """Value and gradients of `f(m, *leaves)` on both sides."""

    def run(m):
        xs = [leaf(m, *s, seed=i + 1, low=low, high=high) for i, s in enumerate(shapes)]
        y = f(m, *xs)
        parts = y if isinstance(y, (tuple, list)) else (y,)
        total = None
        for k, p in enumerate(parts):
            weight = m.tensor(data(*p.shape, seed=90 + k))
            term = (p * weight).sum()
            total = term if total is None else total + term
        total.backward()
        return [*(p.detach() for p in parts), *(x.grad for x in xs)]

    same(run(tk), run(torch), **tolerance)


def refused(f, errors=(RuntimeError, TypeError, ValueError, IndexError)):
    """Both sides raise, ours a clear error of toolkit's or Python's."""
    import pytest

    with pytest.raises(errors):
        f(torch)
    with pytest.raises(errors) as info:
        f(tk)
    return str(info.value)

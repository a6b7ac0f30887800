"""Every row of the table, on toolkit and on torch: values, types, shapes, gradients, refusals."""

from __future__ import annotations

import importlib
import pkgutil
import warnings

import numpy as np
import pytest
import torch

import toolkit as tk
from tests import tolerances
from tests.parity import rows as package
from tests.parity.core import Row, like

TABLE: list[Row] = [
    row
    for found in pkgutil.iter_modules(package.__path__)
    for row in importlib.import_module(f"{package.__name__}.{found.name}").ROWS
]
SAMPLES = [pytest.param(row, dtype, id=name) for row in TABLE for name, dtype in row.samples()]
ERRORS = (RuntimeError, TypeError, ValueError, IndexError, NotImplementedError)


def tensors(value) -> list:
    """The tensors in a result, in order."""
    if isinstance(value, (tuple, list)):
        return [t for v in value for t in tensors(v)]
    return [value] if isinstance(value, (torch.Tensor, tk.Tensor)) else []


def run(m, row: Row, dtype: str) -> tuple:
    """Result and gradients on one side."""
    pairs = [x.tensor(m, dtype, 11 + i, row.grad) for i, x in enumerate(row.inputs)]
    result = row.call(m, *(given for _, given in pairs))
    outputs = [t for t in tensors(result) if t.requires_grad]
    if not row.grad or not outputs:
        return result, []
    total = None
    for k, out in enumerate(outputs):
        weight = np.random.default_rng(90 + k).uniform(-1, 1, tuple(out.shape))
        term = (out * like(out, weight)).sum()
        term = abs(term) if "complex" in str(out.dtype) else term
        total = term if total is None else total + term
    total.backward()
    leaves = [leaf for leaf, _ in pairs if leaf.requires_grad]
    return result, [x.grad for x in [*leaves, *getattr(row.call, "parameters", ())]]


def same(ours, theirs, scale: float, where: str) -> None:
    """Fails unless structure, types, shapes and values agree."""
    if isinstance(theirs, torch.Tensor):
        assert isinstance(ours, tk.Tensor), f"{where}: a tensor is required, got {type(ours)}"
        assert ours.dtype.name == str(theirs.dtype)[6:], where
        assert tuple(ours.shape) == tuple(theirs.shape), where
        assert ours.requires_grad == theirs.requires_grad, f"{where}: requires_grad"
        a, b = ours.detach(), theirs.detach()
        narrow = str(theirs.dtype)[6:] in ("float16", "bfloat16")
        bounds = tolerances.FORWARD[str(theirs.dtype)[6:]] if narrow else None
        if narrow:
            a, b = a.float(), b.float()
        b = b.resolve_conj().resolve_neg()
        bounds = bounds and (bounds[0] * scale, bounds[1] * scale)
        tolerances.assert_close(a.numpy(), b.numpy(), scale, bounds, where)
    elif isinstance(theirs, (tuple, list)):
        assert len(ours) == len(theirs), where
        for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            same(a, b, scale, f"{where}[{i}]")
    elif isinstance(theirs, torch.dtype):
        assert ours.name == str(theirs)[6:], where
    elif isinstance(theirs, float):
        np.testing.assert_allclose(ours, theirs, *tolerances.of("float32", scale), err_msg=where)
    else:
        assert ours == theirs, f"{where}: {theirs!r} is required, got {ours!r}"


@pytest.mark.parametrize(("row", "dtype"), SAMPLES)
def test_parity(row: Row, dtype: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if row.error:
            with pytest.raises((*ERRORS, AssertionError)) as expected:
                run(torch, row, dtype)
            with pytest.raises(ERRORS) as info:
                run(tk, row, dtype)
            assert len(str(info.value)) > 15, "an error says what is required and what was got"
            if row.words:
                assert str(expected.value).strip().splitlines()[0].rstrip(".") in str(info.value)
            return
        theirs, ours = run(torch, row, dtype), run(tk, row, dtype)
    same(ours[0], theirs[0], row.tolerance, "result")
    for i, (a, b) in enumerate(zip(ours[1], theirs[1], strict=True)):
        if a is None or b is None:  # A gradient of zeros may be left out.
            assert not any(g is not None and g.any() for g in (a, b)), f"gradient {i}"
        else:
            same(a, b, 4 * row.tolerance, f"gradient {i}")


def test_names_are_unique() -> None:
    names = [name for row in TABLE for name, _ in row.samples()]
    assert len(names) == len(set(names))

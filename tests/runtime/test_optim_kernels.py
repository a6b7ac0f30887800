"""Optimizer steps against torch.optim, several steps in a row, and in place."""

from __future__ import annotations

import numpy as np
import pytest

from tests.runtime import oracle
from toolkit import errors
from toolkit.runtime import _core

torch = pytest.importorskip("torch")
by_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda t: t.__name__)


def run(op_type, *inputs, outputs, **attributes):
    plain = {k: int(v) if isinstance(v, bool) else v for k, v in attributes.items()}
    return oracle.run(op_type, list(inputs), plain, outputs, "toolkit.optim")


SGD = [
    {},
    {"weight_decay": 0.1},
    {"momentum": 0.9},
    {"momentum": 0.9, "dampening": 0.3},
    {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
]


@by_dtype
@pytest.mark.parametrize("options", SGD, ids=str)
def test_sgd(options, dtype):
    rng = np.random.default_rng(0)
    for shape in ((), (1,), (37,), (3, 5, 7), (0,)):
        p = np.asarray(rng.normal(size=shape)).astype(dtype)
        leaf = torch.from_numpy(p.copy()).double().requires_grad_()
        optimizer = torch.optim.SGD([leaf], lr=float(np.float32(0.1)), **options)
        buf = np.zeros_like(p) if "momentum" in options else None
        for step in range(1, 6):
            g = np.asarray(rng.normal(size=shape)).astype(dtype)
            leaf.grad = torch.from_numpy(g).double()
            optimizer.step()
            outputs = 1 if buf is None else 2
            got = run("SGD", p, g, buf, np.float32(0.1), np.int64(step), outputs=outputs, **options)
            p, buf = got if buf is not None else (got[0], None)
        rtol = 1e-5 if dtype == np.float32 else 1e-13
        np.testing.assert_allclose(p, leaf.detach().numpy(), rtol=rtol, atol=rtol)


@by_dtype
@pytest.mark.parametrize("name", ["Adam", "AdamW"])
@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.1}, {"amsgrad": True}], ids=str)
def test_adam(name, options, dtype):
    rng = np.random.default_rng(0)
    betas = {"beta1": 0.8, "beta2": 0.95, "epsilon": 1e-6}
    settings = {"weight_decay": 0.0} | options
    for shape in ((), (37,), (3, 5, 7), (0,)):
        p = np.asarray(rng.normal(size=shape)).astype(dtype)
        leaf = torch.from_numpy(p.copy()).double().requires_grad_()
        optimizer = getattr(torch.optim, name)(
            [leaf], lr=float(np.float32(0.01)), betas=(0.8, 0.95), eps=1e-6, **settings
        )
        m, v, vmax = (np.zeros_like(p) for _ in range(3))
        for step in range(1, 6):
            g = np.asarray(rng.normal(size=shape)).astype(dtype)
            leaf.grad = torch.from_numpy(g).double()
            optimizer.step()
            more = [vmax] if "amsgrad" in options else []
            p, m, v, *more = run(name, p, g, m, v, np.float32(0.01), np.int64(step), *more,
                                 outputs=3 + len(more), **betas, **settings)  # fmt: skip
            vmax = more[0] if more else vmax
        rtol = 1e-5 if dtype == np.float32 else 1e-13
        np.testing.assert_allclose(p, leaf.detach().numpy(), rtol=rtol, atol=rtol)


def test_state_is_updated_in_place():
    """A program whose states are parameter and moments gives what separate calls give."""
    rng = np.random.default_rng(0)
    p, m = (rng.normal(size=1003).astype(np.float32) for _ in range(2))
    v = rng.random(1003).astype(np.float32)
    program = _core.Program()
    states = [_core.Tensor.from_array(x.copy()) for x in (p, m, v)]
    slots = [program.add_state(s) for s in states]
    g, step = program.add_input("g"), program.add_input("step")
    lr = program.add_constant(_core.Tensor.from_array(np.float32(0.01)))
    new = [program.add_slot() for _ in range(3)]
    inputs = [slots[0], g, *slots[1:], lr, step]
    program.add_node("toolkit.optim", "AdamW", "step", {"weight_decay": 0.1}, inputs, new)
    for slot, value in zip(slots, new, strict=True):
        program.add_update(slot, value)
    program.finalize()
    for i in range(1, 4):
        gradient = rng.normal(size=1003).astype(np.float32)
        count = np.array(i, np.int64)
        program.run([_core.Tensor.from_array(gradient), _core.Tensor.from_array(count)])
        p, m, v = run(
            "AdamW", p, gradient, m, v, np.float32(0.01), count, outputs=3, weight_decay=0.1
        )
        for state, want in zip(states, (p, m, v), strict=True):
            np.testing.assert_array_equal(state.numpy(), want)


def test_attributes_from_a_file_mean_their_decimal():
    """0.999 and its float32, which is what a file holds, give the same bits."""
    rng = np.random.default_rng(0)
    p, g, m = (rng.normal(size=33) for _ in range(3))
    v = rng.random(33)
    values = {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 0.1}
    rounded = {name: float(np.float32(value)) for name, value in values.items()}
    inputs = (p, g, m, v, np.float32(0.01), np.int64(3))
    want = run("AdamW", *inputs, outputs=3, **values)
    for a, b in zip(run("AdamW", *inputs, outputs=3, **rounded), want, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(want[2], v * 0.999 + 0.001 * g * g, rtol=1e-13)


def test_errors():
    p = np.zeros(3, np.float32)
    lr, step = np.float32(0.1), np.int64(1)
    with pytest.raises(errors.ShapeError, match="the gradient must be like the parameter"):
        run("SGD", p, np.zeros(2, np.float32), None, lr, step, outputs=1)
    with pytest.raises(errors.InvalidArgumentError, match="input 2 is required"):
        run("SGD", p, p, None, lr, step, outputs=2, momentum=0.9)
    with pytest.raises(errors.DTypeError, match="step must be an int64 scalar, got int32"):
        run("Adam", p, p, p, p, lr, np.int32(1), outputs=3)
    with pytest.raises(errors.ShapeError, match="lr must be a scalar"):
        run("Adam", p, p, p, p, p, step, outputs=3)

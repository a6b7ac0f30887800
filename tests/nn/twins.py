"""Runs a layer or loss of ours beside torch's, on equal weights, in float64."""

from __future__ import annotations

import numpy as np
import torch

import toolkit as tk

RTOL, ATOL = 1e-7, 1e-9


def values(shape, seed=0, kind="normal"):
    """Random float64 values of a shape."""
    rng = np.random.default_rng(seed)
    if kind == "probability":
        x = rng.random(shape) + 0.05
        return x / x.sum(1, keepdims=True)
    if kind == "unit":
        return rng.uniform(0.02, 0.98, shape)
    return rng.standard_normal(shape)


def close(got, want, message=""):
    """Same shape and nearly the same numbers."""
    got, want = got.detach().numpy(), want.detach().numpy()
    assert got.shape == want.shape, f"{message}: {got.shape} is not {want.shape}"
    np.testing.assert_allclose(got, want, RTOL, ATOL, err_msg=message)


def same_weights(ours, theirs, seed=1):
    """Random float64 weights for both."""
    rng = np.random.default_rng(seed)
    ours.double()
    theirs.double()
    state = theirs.state_dict()
    for name, value in state.items():
        if value.is_floating_point():
            drawn = rng.standard_normal(tuple(value.shape)) * 0.5
            state[name] = torch.tensor(np.abs(drawn) + 0.5 if "var" in name else drawn)
    theirs.load_state_dict(state)
    result = ours.load_state_dict({name: value.numpy() for name, value in state.items()})
    assert str(result) == "<All keys matched successfully>"


def check_module(ours, theirs, *inputs):
    """Text, keys, output, gradients of inputs and parameters, buffers afterwards."""
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    same_weights(ours, theirs)
    check_call(ours, theirs, *inputs)
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        close(p.grad, q.grad, name)
    for (name, a), b in zip(ours.named_buffers(), theirs.buffers(), strict=True):
        close(a, b, name)


def check_call(ours, theirs, *inputs, differentiable=True):
    """Output and gradients of the floating-point inputs."""
    xs = [tk.tensor(x) for x in inputs]
    ys = [torch.tensor(x) for x in inputs]
    for x, y in zip(xs, ys, strict=True):
        if x.is_floating_point() and differentiable:
            x.requires_grad_()
            y.requires_grad_()
    got, want = ours(*xs), theirs(*ys)
    close(got, want, "output")
    if not differentiable:
        return
    weights = values(tuple(want.shape), seed=9)
    (got * tk.tensor(weights)).sum().backward()
    (want * torch.tensor(weights)).sum().backward()
    for i, (x, y) in enumerate(zip(xs, ys, strict=True)):
        if x.is_floating_point():
            if y.grad is None or x.grad is None:
                assert (x.grad is None) == (y.grad is None), f"gradient of input {i}"
            else:
                close(x.grad, y.grad, f"gradient of input {i}")

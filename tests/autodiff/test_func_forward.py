"""Forward mode of every differentiable row of the operator table: the adjoint identity.

<w, J v> = <Jᵀ w, v>. Reverse mode has its own tests against finite differences; forward mode is its
transpose, which needs each rule to be linear in dy and differentiable.
"""

from __future__ import annotations

import functools

import numpy as np
import pytest

from tests import gradcheck, tolerances
from tests.autodiff.test_func_batching import NO_KEY, RANDOM, SEQUENCES, _examples, _tensor
from tests.test_gradients import DIFFERENTIABLE, samples
from toolkit import func, ops
from toolkit.func.staging import staged
from toolkit.runtime.values import to_numpy

COUNT = 4  # Of a row's samples.

ROWS = [op for op in DIFFERENTIABLE if op.op_type not in RANDOM | SEQUENCES]


def usable(op):
    found = [
        s
        for s in samples(op)
        if all(x is None or (isinstance(x, np.ndarray) and x.size) for x in s.inputs)
        and not any(isinstance(a, np.ndarray) for a in s.attributes.values())
    ]
    return found if len(found) <= COUNT else [*found[: COUNT - 1], found[-1]]


def function(op, sample):
    """The operator as a function of its differentiable inputs, and their numbers."""
    wanted = gradcheck.wanted(op, sample)
    inputs = [None if x is None else _tensor(x) for x in sample.inputs]

    def f(*xs):
        given = list(inputs)
        for i, x in zip(wanted, xs, strict=True):
            given[i] = x
        made = ops.call(op.op_type, given, sample.attributes, sample.outputs, op.domain)
        made = made if isinstance(made, tuple) else (made,)
        return tuple(y for y in made if y is not None and y.dtype.is_floating_point)

    return f, wanted


@pytest.mark.parametrize("op", ROWS, ids=lambda op: op.name)
def test_adjoint(op, rng):
    for sample in usable(op):
        f, wanted = function(op, sample)
        xs = tuple(_tensor(sample.inputs[i]) for i in wanted)
        vs = tuple(_tensor(rng.normal(size=x.shape)) for x in xs)
        check(f, xs, vs, rng, op, f"{op.name}({sample})")


def check(f, xs, vs, rng, op, message):
    pushed = staged(lambda xs, vs: func.jvp(f, xs, vs), (xs, vs), NO_KEY)
    values, moved = pushed
    ws = tuple(_tensor(rng.normal(size=y.shape).astype(y.numpy().dtype)) for y in values)

    pulled = staged(functools.partial(pull, f), (xs, ws), NO_KEY)
    left, size = product(ws, moved)
    right, _ = product(pulled, vs)
    rtol, atol = tolerances.GRADIENT
    np.testing.assert_allclose(left, right, rtol=0, atol=rtol * size + atol, err_msg=message)


def pull(f, xs, ws):
    found = func.vjp(f, *xs)[1](ws)
    return found if isinstance(found, tuple) else (found,)


@pytest.mark.parametrize("op", ROWS, ids=lambda op: op.name)
def test_gradients_of_each_example(op, rng):
    """`vmap` of a vector-Jacobian product: the batching of what the gradient rules write."""
    for sample in usable(op)[-2:]:
        f, wanted = function(op, sample)
        examples = [_examples(sample.inputs[i]) for i in wanted]
        singles = [tuple(map(_tensor, parts)) for parts in zip(*examples, strict=True)]
        values = [staged(f, xs, NO_KEY) for xs in singles]
        if any(v.shape != u.shape for vs in values for v, u in zip(vs, values[0], strict=True)):
            continue
        cts = [[rng.normal(size=v.shape) for v in vs] for vs in values]
        count = len(wanted)

        def one(*a, f=f, count=count):
            return pull(f, a[:count], a[count:])

        want = [
            staged(one, (*xs, *map(_tensor, ws)), NO_KEY)
            for xs, ws in zip(singles, cts, strict=True)
        ]
        batch = tuple(_tensor(np.stack(parts)) for parts in examples)
        stacked = tuple(_tensor(np.stack(parts)) for parts in zip(*cts, strict=True))
        got = func.vmap(one)(*batch, *stacked)
        for g, ws in zip(got, zip(*want, strict=True), strict=True):
            expected = np.stack([to_numpy(w._value) for w in ws])
            message = f"{op.name}({sample})"
            tolerances.assert_close(to_numpy(g._value), expected, 1, (1e-6, 1e-7), message)


def product(xs, ys) -> tuple[float, float]:
    """The inner product, and the sum of its terms' sizes."""
    parts = [to_numpy(x._value) * to_numpy(y._value) for x, y in zip(xs, ys, strict=True)]
    return sum(float(p.sum()) for p in parts), sum(float(abs(p).sum()) for p in parts)

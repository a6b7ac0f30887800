"""Forward mode of every differentiable row of the operator table: the adjoint identity.

<w, J v> = <Jᵀ w, v>. Reverse mode has its own tests against finite differences; forward mode is its
transpose, which needs each rule to be linear in dy and differentiable.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests import gradcheck, tolerances
from tests.autodiff.test_func_batching import NO_KEY, RANDOM, SEQUENCES, _tensor
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


@pytest.mark.parametrize("op", ROWS, ids=lambda op: op.name)
def test_adjoint(op, rng):
    for sample in usable(op):
        wanted = gradcheck.wanted(op, sample)
        inputs = [None if x is None else _tensor(x) for x in sample.inputs]

        def f(*xs, sample=sample, wanted=wanted, inputs=inputs):
            given = list(inputs)
            for i, x in zip(wanted, xs, strict=True):
                given[i] = x
            made = ops.call(op.op_type, given, sample.attributes, sample.outputs, op.domain)
            made = made if isinstance(made, tuple) else (made,)
            return tuple(y for y in made if y is not None and y.dtype.is_floating_point)

        xs = tuple(inputs[i] for i in wanted)
        vs = tuple(_tensor(rng.normal(size=x.shape)) for x in xs)
        check(f, xs, vs, rng, op, f"{op.name}({sample})")


def check(f, xs, vs, rng, op, message):
    pushed = staged(lambda xs, vs: func.jvp(f, xs, vs), (xs, vs), NO_KEY)
    values, moved = pushed
    ws = tuple(_tensor(rng.normal(size=y.shape).astype(y.numpy().dtype)) for y in values)

    def pull(xs, ws):
        found = func.vjp(f, *xs)[1](ws)
        return found if isinstance(found, tuple) else (found,)

    pulled = staged(pull, (xs, ws), NO_KEY)
    left, size = product(ws, moved)
    right, _ = product(pulled, vs)
    rtol, atol = tolerances.GRADIENT
    np.testing.assert_allclose(left, right, rtol=0, atol=rtol * size + atol, err_msg=message)


def product(xs, ys) -> tuple[float, float]:
    """The inner product, and the sum of its terms' sizes."""
    parts = [to_numpy(x._value) * to_numpy(y._value) for x, y in zip(xs, ys, strict=True)]
    return sum(float(p.sum()) for p in parts), sum(float(abs(p).sum()) for p in parts)

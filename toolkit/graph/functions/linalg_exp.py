"""Body of the matrix exponential, and the link that gives a pseudoinverse its gradient."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from toolkit.graph.build import Builder
from toolkit.graph.functions.linalg import INT64, LINALG, unit
from toolkit.graph.functions.loop import loop
from toolkit.graph.functions.registry import Attributes, composite

V = Any  # An ir.Value under `arithmetic`.
_GROUP = 4  # The Taylor polynomial has degree 16: powers to the 4th, Horner's rule in the 4th.


@composite(LINALG, "MatrixExp", "x", "y")
def matrix_exp(b: Builder, a: Attributes, x: V) -> V:
    """Scaling to a norm of at most 1/2, Taylor polynomial of degree 16, squaring (Higham 2008)."""
    norm = b.Sqrt(b.ReduceSum(x * x, [-2, -1], keepdims=1))
    raised = b.Floor(b.Log(b.Max(norm, 0.25)) / math.log(2.0)) + 2.0
    squarings = b.Max(raised, 0.0)
    powers = [x * b.Pow(2.0 + 0.0 * squarings, -squarings)]
    for _ in range(1, _GROUP):
        powers.append(b.MatMul(powers[-1], powers[0]))
    one = unit(b, x, b.dim(x, -1), b.dim(x, -1))

    def group(first: int) -> V:
        terms = one * (1.0 / math.factorial(first))
        for p in range(1, _GROUP):
            terms = terms + powers[p - 1] * (1.0 / math.factorial(first + p))
        return terms

    y = group(_GROUP * (_GROUP - 1)) + powers[-1] * (1.0 / math.factorial(_GROUP * _GROUP))
    for k in range(_GROUP - 2, -1, -1):
        y = b.MatMul(y, powers[-1]) + group(_GROUP * k)
    counts = b.Cast(squarings, to=int(INT64))
    most = b.ReduceMax(b.Concat(b.Reshape(counts, [-1]), b.ints([0]), axis=0), keepdims=0)

    def step(s: Builder, index: V, states: Sequence[V]) -> tuple[V, Sequence[V]]:
        squared = s.MatMul(states[0], states[0])
        return None, [s.Where(s.Less(index, counts), squared, states[0])]

    return loop(b, most, [y], step)[0]


@composite(LINALG, "PinvOf", "x pinv", "y")
def pinv_of(b: Builder, a: Attributes, x: V, pinv: V) -> V:
    """The second input, known to be the pseudoinverse of the first: its gradient goes there."""
    return b.Identity(pinv)

"""The gradient of Einsum, for any equation."""

from __future__ import annotations

import string
from collections.abc import Callable
from typing import Any

from toolkit.autodiff.registry import Result, Vjp, vjp
from toolkit.autodiff.rules._common import rank_of
from toolkit.graph.build import Builder, known_dims

V = Any  # An ir.Value under `arithmetic`.


def parse(equation: str, ranks: list[int]) -> tuple[list[str], str]:
    """The operands' terms and the output's, with implicit outputs and ellipses spelled out."""
    equation = equation.replace(" ", "")
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    free = [x for x in string.ascii_letters if x not in equation]
    spans = [
        rank - len(term.replace("...", "")) if "..." in term else 0
        for term, rank in zip(terms, ranks, strict=True)
    ]
    widest = "".join(free[: max(spans, default=0)])
    spelled = [
        term.replace("...", widest[len(widest) - span :])
        for term, span in zip(terms, spans, strict=True)
    ]
    if not arrow:
        letters = sorted(set(left) - set(",."))
        right = "..." + "".join(x for x in letters if left.count(x) == 1)
    return spelled, right.replace("...", widest)


@vjp("Einsum", broadcasts=True)
def einsum(c: Vjp, *xs: V) -> Result:
    """dx_i = einsum of dy with the other operands, to the labels of operand i.

    A label that only operand i has was summed: its cotangent is the same along it. A label that
    repeats within operand i took a diagonal: an identity matrix puts it back.
    """
    terms, out = parse(str(c.attr("equation")), [rank_of(c, x) for x in xs])
    return tuple(_operand(c, terms, out, i) for i in range(len(xs)))


def _operand(c: Vjp, terms: list[str], out: str, i: int) -> Callable[[], V]:
    def rule() -> V:
        b, x = c.b, c.inputs[i]
        assert x is not None
        used = {*out, *"".join(terms)}
        fresh = (s for s in string.ascii_letters if s not in used)
        operands = [(out, c.dy)]
        operands += [(t, c.inputs[j]) for j, t in enumerate(terms) if j != i]
        target = ""
        for axis, label in enumerate(terms[i]):
            if label in target:
                twin = next(fresh)
                operands.append((label + twin, _identity(b, x, axis)))
                target += twin
            else:
                target += label
        present = {s for term, _ in operands for s in term}
        lone = [axis for axis, label in enumerate(target) if label not in present]
        kept = "".join(label for label in target if label in present)
        equation = ",".join(term for term, _ in operands) + "->" + kept
        dx = b.Einsum(*(v for _, v in operands), equation=equation)
        if lone:
            dx = b.Unsqueeze(dx, lone)
        stretched = any(_may_be_one(label, axis, x, operands) for axis, label in enumerate(target))
        return b.Expand(dx, b.shape(x)) if lone or stretched else dx

    return rule


def _may_be_one(label: str, axis: int, x: V, operands: list[tuple[str, V]]) -> bool:
    """Whether the operands that have a label might all have size 1 there, and `x` more.

    The cotangent's labels have the full size.
    """
    sizes = known_dims(x)
    size = None if sizes is None else sizes[axis]
    if size == 1 or label in operands[0][0]:
        return False
    for term, value in operands[1:]:
        dims = known_dims(value)
        if label in term and dims is not None and size is not None:
            other = dims[term.index(label)]
            if other == size and (isinstance(size, int) or size.value is not None):
                return False
    return any(label in term for term, _ in operands[1:])


def _identity(b: Builder, x: V, axis: int) -> V:
    """The identity matrix of the size of one axis of `x`."""
    n = b.Squeeze(b.dim(x, axis), [0])
    steps = b.Range(b.const(0), n, b.const(1))
    return b.cast(b.Equal(b.Unsqueeze(steps, [1]), b.Unsqueeze(steps, [0])), x.dtype)

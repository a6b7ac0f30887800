"""Gradients of matrix functions."""

from __future__ import annotations

from typing import Any

from toolkit.autodiff.registry import Vjp, vjp

V = Any  # An ir.Value under `arithmetic`.


@vjp("Det")
def det(c: Vjp, x: V) -> V:
    """dx = dy times the matrix of cofactors (det(x) x^-T where x is regular): DetGrad."""
    return c.grad("DetGrad", x, c.dy)

"""Batching of elementwise operators: operands aligned at the right, the batch in front."""

from __future__ import annotations

from typing import Any

from toolkit.autodiff.batching.registry import Batch, batching

UNARY = """
Abs Acos Acosh Asin Asinh Atan Atanh BitwiseNot Cast Ceil Celu Cos Cosh Elu Erf Exp Floor Gelu
HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Log Mish Neg Not Reciprocal Relu Round Selu
Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Swish Tan Tanh ThresholdedRelu BitCast
"""
BROADCAST = """
Add And BitShift BitwiseAnd BitwiseOr BitwiseXor Div Equal Greater GreaterOrEqual Less LessOrEqual
Max Mean Min Mod Mul Or Pow Sub Sum Where Xor
"""


@batching(*UNARY.split())
def unary(c: Batch) -> Any:
    """f(x)."""
    return c.emit(c.value(0))


@batching(*BROADCAST.split())
def broadcast(c: Batch) -> Any:
    """f(a, b, ...): (B, 1, ..., a) with (B, b)."""
    rank = c.out_rank()
    return c.emit(*(c.aligned(i, rank) for i in range(len(c.operands))))


@batching("PRelu")
def prelu(c: Batch) -> Any:
    """The slope broadcasts to x, never the other way round."""
    return c.emit(c.full(0), c.aligned(1, c.rank(0)))


@batching("CastLike")
def cast_like(c: Batch) -> Any:
    """The type of the second operand, whatever its shape."""
    return c.emit(c.value(0), c.value(1)) if c.batched(0) else NotImplemented


@batching("Clip")
def clip(c: Batch) -> Any:
    """min(max(x, low), high) where a bound differs from example to example."""
    if c.only(0):
        return c.emit(*(c.value(i) for i in range(len(c.operands))))
    rank = c.rank(0)
    result = c.full(0)
    if c.operand(1) is not None:
        result = c.b.Max(result, c.aligned(1, rank))
    if c.operand(2) is not None:
        result = c.b.Min(result, c.aligned(2, rank))
    return result

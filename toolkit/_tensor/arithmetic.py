"""Operators and binary methods: arithmetic, comparison, logic, matrix products."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from toolkit._tensor import promote
from toolkit._tensor.autocast import narrowed
from toolkit._tensor.base import BOOL, FLOATS, INT64, TensorBase, wrap
from toolkit._tensor.consts import Const, scalar
from toolkit._tensor.promote import (
    binary,
    cast,
    is_number,
    operand,
    result_code,
)
from toolkit._tensor.state import STATE
from toolkit.errors import DTypeError, InvalidArgumentError
from toolkit.ops.dispatch import apply, apply1, apply2, handle

if TYPE_CHECKING:
    from toolkit.tensor import Tensor

ADD, SUB, MUL, DIV = handle("Add"), handle("Sub"), handle("Mul"), handle("Div")
POW, NEG, ABS, FLOOR = handle("Pow"), handle("Neg"), handle("Abs"), handle("Floor")
EQUAL, NOT = handle("Equal"), handle("Not")
LESS, GREATER = handle("Less"), handle("Greater")
LESS_EQUAL, GREATER_EQUAL = handle("LessOrEqual"), handle("GreaterOrEqual")
AND, OR, XOR = handle("And"), handle("Or"), handle("Xor")
BIT_AND, BIT_OR, BIT_XOR = handle("BitwiseAnd"), handle("BitwiseOr"), handle("BitwiseXor")
BIT_NOT, MATMUL, MOD = handle("BitwiseNot"), handle("MatMul"), handle("Mod", fmod=0)
FMOD = handle("Mod", fmod=1)
MAX, MIN = handle("Max"), handle("Min")
WHERE = handle("Where")


def _known(x: Any) -> bool:
    return isinstance(x, (TensorBase, float, int)) or is_number(x)


def _either(a: Any, b: Any) -> bool:
    return a._value.dtype == BOOL and (isinstance(b, bool) or (
        isinstance(b, TensorBase) and b._value.dtype == BOOL))  # fmt: skip


def _bools(a: Any, b: Any) -> bool:
    return a._value.dtype == BOOL and b._value.dtype == BOOL


def add(a: Any, b: Any) -> Any:
    """A + b; bools add as "or"."""
    if isinstance(a, TensorBase) and _either(a, b):
        return apply2(OR, a, operand(b, BOOL))
    return binary(ADD, a, b)


def _scaled(h: Any, general: Any, a: Any, b: Any, alpha: Any) -> Any:
    """`a + alpha * b` or `a - alpha * b`.

    Raises:
        DTypeError: a float alpha beside integers.
    """
    code = a._value.dtype
    if code in FLOATS and isinstance(b, TensorBase) and b._value.dtype == code:
        factor = scalar(alpha, code)
        if a._node is b._node is a._base is b._base is STATE.trace is None:
            return wrap(h.op(a._value, MUL.op(b._value, factor._value)))
        return apply2(h, a, apply2(MUL, b, factor))
    if isinstance(alpha, float) and result_code(a, b) not in FLOATS:
        raise DTypeError(
            "For integral input tensors, argument alpha must not be a floating point number, got "
            f"{alpha}."
        )
    return general(a, mul(b, alpha))


def sub(a: Any, b: Any) -> Any:
    """A - b; bools are refused as in PyTorch."""
    x = a if isinstance(a, TensorBase) else b
    if x._value.dtype == BOOL and result_code(a, b) == BOOL:
        raise DTypeError(
            "Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` or "
            "`logical_xor()` operator instead."
        )
    return binary(SUB, a, b)


def mul(a: Any, b: Any) -> Any:
    """A * b; bools multiply as "and"."""
    if isinstance(a, TensorBase) and _either(a, b):
        return apply2(AND, a, operand(b, BOOL))
    return binary(MUL, a, b)


def div(a: Any, b: Any, rounding_mode: str | None = None) -> Any:
    """True division, or rounded towards zero ("trunc") or minus infinity ("floor")."""
    if rounding_mode is None:
        return binary(DIV, a, b, at_least=promote.default_code)
    if rounding_mode == "trunc":
        _require_divisor(a, b)
        out = binary(DIV, a, b)
        return out.trunc() if out._value.dtype in FLOATS else out
    if rounding_mode != "floor":
        raise InvalidArgumentError(
            f"div: rounding_mode must be None, 'trunc' or 'floor', got {rounding_mode!r}."
        )
    code = result_code(a, b)
    a, b = operand(a, code), operand(b, code)
    if code in FLOATS:
        return apply1(FLOOR, apply2(DIV, a, b))
    _require_divisor(a, b)
    quotient = apply2(DIV, a, b)  # ONNX rounds towards zero.
    rest = apply2(MOD, a, b)  # Has b's sign.
    inexact = apply2(SUB, apply2(SUB, a, rest), apply2(MUL, quotient, b))
    return apply2(SUB, quotient, cast(apply1(NOT, apply2(EQUAL, inexact, operand(0, code))), code))


def _require_divisor(a: Any, b: Any) -> None:
    """Fails where integers are divided by 0; what is not known while a graph is traced passes."""
    kinds = [x._value.dtype in FLOATS for x in (a, b) if isinstance(x, (TensorBase, Const))]
    if any(kinds) or STATE.trace is not None or isinstance(b, float):
        return
    value = b._value if type(b) is Const else b._get() if isinstance(b, TensorBase) else None
    zero = b == 0 if value is None else not value.numpy().all()
    if zero:
        raise InvalidArgumentError(
            "ZeroDivisionError: integers other than 0 are required as divisors, got 0."
        )


def remainder(a: Any, b: Any) -> Any:
    """The rest of floor division; it has the divisor's sign."""
    code = result_code(a, b)
    a, b = operand(a, code), operand(b, code)
    if code not in FLOATS:
        _require_divisor(a, b)
        return apply2(MOD, a, b)
    rest = apply2(FMOD, a, b)  # Exact, unlike a - floor(a / b) b; it has the sign of `a`.
    zero = operand(0.0, code)
    wrong = apply2(XOR, apply2(LESS, rest, zero), apply2(LESS, b, zero))
    return apply(WHERE, apply2(AND, wrong, rest != 0), apply2(ADD, rest, b), rest)


def pow(a: Any, b: Any) -> Any:
    """A ** b."""
    if isinstance(b, int) and b < 0 and isinstance(a, TensorBase) and a._value.dtype not in FLOATS:
        raise InvalidArgumentError("Integers to negative integer powers are not allowed.")
    if isinstance(b, (int, float)) and b == 2 and isinstance(a, TensorBase):
        code = result_code(a, b)
        a = cast(a, code)
        out = apply2(MUL, a, a)
        if out._node is not None and out.grad_fn is not None:
            out.grad_fn.label = "Pow"
        return out
    return binary(POW, a, b)


def _logic(bools: Any, bits: Any, a: Any, b: Any) -> Any:
    code = result_code(a, b)
    if code in FLOATS:
        raise DTypeError(
            f"bitwise operation: bools or integers are required, got {a.dtype.name} and "
            f"{getattr(b, 'dtype', type(b).__name__)}."
        )
    return apply2(bools if code == BOOL else bits, operand(a, code), operand(b, code))


def _compare(h: Any, a: Any, b: Any) -> Any:
    out = binary(h, a, b) if a._value.dtype != BOOL else _compare_bool(h, a, b)
    return out


def _compare_bool(h: Any, a: Any, b: Any) -> Any:
    # Ordering is not defined on bools in ONNX; integers order them as PyTorch does.
    return binary(h, a, b, at_least=0 if h is EQUAL else INT64)


def to_bool(x: Any) -> Any:
    """Elements as bools: whether they are not zero."""
    return cast(x, BOOL)


def _operator(h: Any, general: Any) -> Callable[[Any, Any], Tensor]:
    """An operator's method: at once for two tensors of one float type, else by `general`."""

    def method(self: Any, other: Any) -> Any:
        if isinstance(other, TensorBase):
            code = self._value.dtype
            if code in FLOATS and other._value.dtype == code:
                return apply2(h, self, other)
        elif not _known(other):
            return NotImplemented
        return general(self, other)

    return method


class Arithmetic(TensorBase):
    """Python's operators and the methods of the same meaning."""

    __array_priority__ = 1000  # numpy leaves `array * tensor` to the tensor.

    __add__ = _operator(ADD, add)
    __sub__ = _operator(SUB, sub)
    __mul__ = _operator(MUL, mul)
    __truediv__ = _operator(DIV, div)

    def __floordiv__(self, other: Any) -> Tensor:
        return div(self, other, "floor") if _known(other) else NotImplemented

    def __mod__(self, other: Any) -> Tensor:
        return remainder(self, other) if _known(other) else NotImplemented

    def __pow__(self, other: Any) -> Tensor:
        return pow(self, other) if _known(other) else NotImplemented

    def __matmul__(self, other: Any) -> Tensor:
        return self.matmul(other) if isinstance(other, TensorBase) else NotImplemented

    __radd__ = __add__
    __rmul__ = __mul__

    def __rsub__(self, other: Any) -> Tensor:
        return sub(other, self) if _known(other) else NotImplemented

    def __rtruediv__(self, other: Any) -> Tensor:
        return div(other, self) if _known(other) else NotImplemented

    def __rfloordiv__(self, other: Any) -> Tensor:
        return div(other, self, "floor") if _known(other) else NotImplemented

    def __rmod__(self, other: Any) -> Tensor:
        return remainder(other, self) if _known(other) else NotImplemented

    def __rpow__(self, other: Any) -> Tensor:
        return pow(other, self) if _known(other) else NotImplemented

    def __neg__(self) -> Tensor:
        if self._value.dtype == BOOL:
            raise DTypeError(
                "Negation, the `-` operator, on a bool tensor is not supported. If you are trying "
                "to invert a mask, use the `~` or `logical_not()` operator instead."
            )
        return apply1(NEG, self)

    def __pos__(self) -> Tensor:
        return self  # type: ignore[return-value]

    def __abs__(self) -> Tensor:
        return apply1(ABS, self)

    def __eq__(self, other: Any) -> Tensor:  # type: ignore[override]
        return _compare(EQUAL, self, other) if _known(other) else NotImplemented

    def __ne__(self, other: Any) -> Tensor:  # type: ignore[override]
        if not _known(other):
            return NotImplemented
        return apply1(NOT, _compare(EQUAL, self, other))

    def __lt__(self, other: Any) -> Tensor:
        return _compare(LESS, self, other) if _known(other) else NotImplemented

    def __gt__(self, other: Any) -> Tensor:
        return _compare(GREATER, self, other) if _known(other) else NotImplemented

    def __le__(self, other: Any) -> Tensor:
        return _compare(LESS_EQUAL, self, other) if _known(other) else NotImplemented

    def __ge__(self, other: Any) -> Tensor:
        return _compare(GREATER_EQUAL, self, other) if _known(other) else NotImplemented

    def __hash__(self) -> int:
        return id(self)

    def __and__(self, other: Any) -> Tensor:
        return _logic(AND, BIT_AND, self, other) if _known(other) else NotImplemented

    def __or__(self, other: Any) -> Tensor:
        return _logic(OR, BIT_OR, self, other) if _known(other) else NotImplemented

    def __xor__(self, other: Any) -> Tensor:
        return _logic(XOR, BIT_XOR, self, other) if _known(other) else NotImplemented

    __rand__ = __and__
    __ror__ = __or__
    __rxor__ = __xor__

    def __invert__(self) -> Tensor:
        if self._value.dtype in FLOATS:
            raise DTypeError(f"bitwise_not: bools or integers are required, got {self.dtype.name}.")
        return apply1(NOT if self._value.dtype == BOOL else BIT_NOT, self)

    def __lshift__(self, other: Any) -> Tensor:
        from toolkit._tensor.bits import left_shift

        return left_shift(self, other) if _known(other) else NotImplemented

    def __rshift__(self, other: Any) -> Tensor:
        from toolkit._tensor.bits import right_shift

        return right_shift(self, other) if _known(other) else NotImplemented

    def __rlshift__(self, other: Any) -> Tensor:
        from toolkit._tensor.bits import left_shift

        return left_shift(other, self) if _known(other) else NotImplemented

    def __rrshift__(self, other: Any) -> Tensor:
        from toolkit._tensor.bits import right_shift

        return right_shift(other, self) if _known(other) else NotImplemented

    # -- methods -------------------------------------------------------------------------------

    def add(self, other: Any, *, alpha: Any = 1) -> Tensor:
        """`self + alpha * other`."""
        return add(self, other) if alpha == 1 else _scaled(ADD, add, self, other, alpha)

    def sub(self, other: Any, *, alpha: Any = 1) -> Tensor:
        """`self - alpha * other`."""
        return sub(self, other) if alpha == 1 else _scaled(SUB, sub, self, other, alpha)

    subtract = sub

    def rsub(self, other: Any, *, alpha: Any = 1) -> Tensor:
        """`other - alpha * self`."""
        return sub(other, self if alpha == 1 else mul(self, alpha))

    def mul(self, other: Any) -> Tensor:
        """`self * other`."""
        return mul(self, other)

    multiply = mul

    def div(self, other: Any, *, rounding_mode: str | None = None) -> Tensor:
        """`self / other`, optionally rounded ("trunc", "floor")."""
        return div(self, other, rounding_mode)

    divide = true_divide = div

    def floor_divide(self, other: Any) -> Tensor:
        """`self // other`."""
        return div(self, other, "floor")

    def remainder(self, other: Any) -> Tensor:
        """`self % other`, with the sign of `other`."""
        return remainder(self, other)

    def fmod(self, other: Any) -> Tensor:
        """The rest of division rounded towards zero, with the sign of `self`."""
        _require_divisor(self, other)
        return binary(FMOD, self, other)

    def pow(self, exponent: Any) -> Tensor:
        """`self ** exponent`."""
        return pow(self, exponent)

    def matmul(self, other: Any) -> Tensor:
        """Matrix product with numpy's rules for 1-D and batched operands."""
        if STATE.autocast is not None:
            self, other = narrowed(self, other)
        a, b = self._value.dtype, other._value.dtype
        if a != b:
            raise DTypeError(
                "expected m1 and m2 to have the same dtype, but got: "
                f"{self.dtype.name} != {other.dtype.name}"
            )
        return apply2(MATMUL, self, other)

    def eq(self, other: Any) -> Tensor:
        """Elementwise `self == other`."""
        return _compare(EQUAL, self, other)

    def ne(self, other: Any) -> Tensor:
        """Elementwise `self != other`."""
        return apply1(NOT, _compare(EQUAL, self, other))

    def lt(self, other: Any) -> Tensor:
        """Elementwise `self < other`."""
        return _compare(LESS, self, other)

    def gt(self, other: Any) -> Tensor:
        """Elementwise `self > other`."""
        return _compare(GREATER, self, other)

    def le(self, other: Any) -> Tensor:
        """Elementwise `self <= other`."""
        return _compare(LESS_EQUAL, self, other)

    def ge(self, other: Any) -> Tensor:
        """Elementwise `self >= other`."""
        return _compare(GREATER_EQUAL, self, other)

    not_equal, less, greater, less_equal, greater_equal = ne, lt, gt, le, ge

    def logical_and(self, other: Any) -> Tensor:
        """Whether both are not zero."""
        return apply2(AND, to_bool(self), to_bool(other))

    def logical_or(self, other: Any) -> Tensor:
        """Whether one is not zero."""
        return apply2(OR, to_bool(self), to_bool(other))

    def logical_xor(self, other: Any) -> Tensor:
        """Whether exactly one is not zero."""
        return apply2(XOR, to_bool(self), to_bool(other))

    def logical_not(self) -> Tensor:
        """Whether it is zero."""
        return apply1(NOT, to_bool(self))

    bitwise_and, bitwise_or, bitwise_xor, bitwise_not = __and__, __or__, __xor__, __invert__

    def maximum(self, other: Any) -> Tensor:
        """The larger of two elements."""
        return apply2(OR, self, other) if _bools(self, other) else binary(MAX, self, other)

    def minimum(self, other: Any) -> Tensor:
        """The smaller of two elements."""
        return apply2(AND, self, other) if _bools(self, other) else binary(MIN, self, other)

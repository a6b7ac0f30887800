"""Unary elementwise methods and those with scalar bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from toolkit._tensor.base import BOOL, FLOATS, INT64, TensorBase
from toolkit._tensor.consts import scalar
from toolkit._tensor.promote import cast, floating, operand, result_code
from toolkit.errors import InvalidArgumentError
from toolkit.ops.dispatch import Handle, apply, apply1, handle

if TYPE_CHECKING:
    from toolkit.tensor import Tensor

WHERE, CLIP = handle("Where"), handle("Clip")
_NUMBER = frozenset((int, float, type(None)))  # Bounds that need no promotion beside floats.


def _float(h: Handle) -> Any:
    """A method that promotes integers to floats."""

    def method(self: TensorBase) -> Tensor:
        if self._value.dtype in FLOATS:
            return apply1(h, self)
        return apply1(h, floating(self))

    method.__name__ = method.__qualname__ = h.op_type.lower()
    method.__doc__ = f"Elementwise ONNX {h.op_type}; integers become floats first."
    return method


def _same(h: Handle) -> Any:
    """A method that keeps integers as they are."""

    def method(self: TensorBase) -> Tensor:
        return apply1(h, self)

    method.__name__ = method.__qualname__ = h.op_type.lower()
    method.__doc__ = f"Elementwise ONNX {h.op_type}."
    return method


def _rounding(h: Handle) -> Any:
    """A method that leaves integers alone."""

    def method(self: TensorBase) -> Tensor:
        if self._value.dtype not in FLOATS:
            return self.clone()  # type: ignore[attr-defined]
        return apply1(h, self)

    method.__name__ = method.__qualname__ = h.op_type.lower()
    method.__doc__ = f"Elementwise ONNX {h.op_type}; integers stay as they are."
    return method


def where(condition: Any, a: Any, b: Any) -> Any:
    """Elements of `a` where the condition holds, else of `b` (both may be numbers)."""
    code = result_code(a, b)
    return apply(WHERE, cast(condition, BOOL), operand(a, code), operand(b, code))


class Elementwise(TensorBase):
    """Elementwise functions by PyTorch's names."""

    exp = _float(handle("Exp"))
    log = _float(handle("Log"))
    sqrt = _float(handle("Sqrt"))
    sin = _float(handle("Sin"))
    cos = _float(handle("Cos"))
    tan = _float(handle("Tan"))
    asin = arcsin = _float(handle("Asin"))
    acos = arccos = _float(handle("Acos"))
    atan = arctan = _float(handle("Atan"))
    sinh = _float(handle("Sinh"))
    cosh = _float(handle("Cosh"))
    tanh = _float(handle("Tanh"))
    asinh = arcsinh = _float(handle("Asinh"))
    acosh = arccosh = _float(handle("Acosh"))
    atanh = arctanh = _float(handle("Atanh"))
    sigmoid = _float(handle("Sigmoid"))
    erf = _float(handle("Erf"))
    reciprocal = _float(handle("Reciprocal"))
    softplus = _float(handle("Softplus"))
    relu = _same(handle("Relu"))
    abs = absolute = _same(handle("Abs"))
    neg = negative = _same(handle("Neg"))
    sign = sgn = _same(handle("Sign"))
    floor = _rounding(handle("Floor"))
    ceil = _rounding(handle("Ceil"))
    isnan = _float(handle("IsNaN"))
    isinf = _float(handle("IsInf"))

    def isfinite(self) -> Tensor:
        """Whether it is neither infinite nor NaN."""
        return ~(self.isnan() | self.isinf())

    def round(self, *, decimals: int = 0) -> Tensor:
        """The nearest integer, ties to even."""
        if self._value.dtype not in FLOATS:
            return self.clone()  # type: ignore[attr-defined]
        h = handle("Round")
        if decimals == 0:
            return apply1(h, self)
        scale = 10.0**decimals
        return apply1(h, self * scale) / scale  # type: ignore[operator]

    def frac(self) -> Tensor:
        """The fractional part."""
        return self - self.trunc()  # type: ignore[attr-defined]

    def square(self) -> Tensor:
        """`self ** 2`."""
        return self**2  # type: ignore[operator]

    def rsqrt(self) -> Tensor:
        """`1 / sqrt(self)`."""
        return self.sqrt().reciprocal()

    def silu(self) -> Tensor:
        """`x * sigmoid(x)`."""
        return self * self.sigmoid()

    def gelu(self, approximate: str = "none") -> Tensor:
        """X times the normal distribution function of x, or its tanh approximation."""
        return apply1(handle("Gelu", approximate=approximate), self)

    def clamp(self, min: Any = None, max: Any = None) -> Tensor:
        """Limits elements to [min, max]; the bounds are numbers or tensors.

        Raises:
            InvalidArgumentError: both bounds are None.
        """
        code = self._value.dtype
        if code in FLOATS and type(min) in _NUMBER and type(max) in _NUMBER:
            low = None if min is None else scalar(min, code)
            if low is not None or max is not None:
                return apply(CLIP, self, low, None if max is None else scalar(max, code))
        if min is None and max is None:
            raise InvalidArgumentError("clamp: at least one of 'min' or 'max' must not be None.")
        bounds = [b for b in (min, max) if b is not None]
        code = result_code(self, *bounds)
        x = cast(self, code)
        if any(isinstance(b, TensorBase) and b.dim() for b in bounds):
            if min is not None:
                x = x.maximum(min)
            return x if max is None else x.minimum(max)
        low = None if min is None else operand(min, code)
        high = None if max is None else operand(max, code)
        return apply(handle("Clip"), x, low, high)

    clip = clamp

    def clamp_min(self, min: Any) -> Tensor:
        """Limits elements from below."""
        return self.clamp(min=min)

    def clamp_max(self, max: Any) -> Tensor:
        """Limits elements from above."""
        return self.clamp(max=max)

    def where(self, condition: Any, other: Any) -> Tensor:
        """`self` where the condition holds, else `other`."""
        return where(condition, self, other)

    def masked_fill(self, mask: Any, value: Any) -> Tensor:
        """`value` where the mask holds; the element type stays."""
        code = self._value.dtype
        return apply(WHERE, cast(mask, BOOL), operand(value, code), self)

    def lerp(self, end: Any, weight: Any) -> Tensor:
        """`self + weight * (end - self)`."""
        return self + weight * (end - self)

    def addcmul(self, a: Any, b: Any, *, value: Any = 1) -> Tensor:
        """`self + value * a * b`."""
        return self + value * a * b

    def addcdiv(self, a: Any, b: Any, *, value: Any = 1) -> Tensor:
        """`self + value * a / b`."""
        return self + value * (a / b)

    def heaviside(self, values: Any) -> Tensor:
        """0 below zero, 1 above, `values` at zero."""
        return where(self == 0, values, (self > 0).to(self.dtype))  # type: ignore[attr-defined,comparison-overlap,operator]

    def nan_to_num(self, nan: float = 0.0, posinf: Any = None, neginf: Any = None) -> Tensor:
        """Replaces NaN and infinities; None: the type's largest and smallest number."""
        import numpy as np

        if self._value.dtype not in FLOATS:
            return self.clone()  # type: ignore[attr-defined]
        info = np.finfo(self.dtype.numpy)
        x = where(self.isnan(), nan, self)
        inf = float("inf")
        x = where(x == inf, float(info.max) if posinf is None else posinf, x)
        return where(x == -inf, float(info.min) if neginf is None else neginf, x)

    def isclose(self, other: Any, rtol: float = 1e-5, atol: float = 1e-8) -> Tensor:
        """Whether `|self - other| <= atol + rtol * |other|`."""
        return ((self - other).abs() <= atol + rtol * other.abs()) | (self == other)

    def count_nonzero(self, dim: Any = None) -> Tensor:
        """How many elements are not zero."""
        return cast(cast(self, BOOL), INT64).sum(dim)

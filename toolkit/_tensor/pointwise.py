"""More elementwise functions by PyTorch's names: signs, rounding, logarithms of sums, integers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from toolkit._tensor import promote
from toolkit._tensor.base import BOOL, FLOATS, TensorBase
from toolkit._tensor.elementwise import where
from toolkit._tensor.promote import binary, cast, floating, is_number, operand, result_code
from toolkit.errors import DTypeError, InvalidArgumentError
from toolkit.ops.dispatch import Handle, apply1, handle

if TYPE_CHECKING:
    from toolkit.tensor import Tensor

SPECIAL = "toolkit.special"
IS_INF = {sign: handle("IsInf", detect_negative=int(sign < 0), detect_positive=int(sign > 0))
          for sign in (-1, 1)}  # fmt: skip


def special(name: str) -> Handle:
    """A function of the domain toolkit.special."""
    return handle(name, SPECIAL)


def unary(name: str, meaning: str) -> Any:
    """A function of one tensor; integers become floats first."""
    h = special(name)

    def method(self: Any) -> Tensor:
        return apply1(h, self if self._value.dtype in FLOATS else floating(self))

    method.__name__ = method.__qualname__ = name.lower()
    method.__doc__ = meaning
    return method


def pair(name: str, meaning: str) -> Any:
    """A function of two operands (one may be a number); integers become floats first."""
    h = special(name)

    def method(self: Any, other: Any) -> Tensor:
        return binary(h, self, other, at_least=promote.default_code)

    method.__name__ = method.__qualname__ = name.lower()
    method.__doc__ = meaning
    return method


def incomplete(name: str, meaning: str) -> Any:
    """An incomplete gamma function: floats only, as in PyTorch."""
    h = special(name)

    def method(self: Any, other: Any) -> Tensor:
        floats_only(name.lower(), self, other)
        return binary(h, self, other)

    method.__name__ = method.__qualname__ = name.lower()
    method.__doc__ = meaning
    return method


def floats_only(name: str, self: Any, other: Any) -> None:
    """Refuses operands that are no floats, where PyTorch has no kernel for them."""
    if result_code(self, other) not in FLOATS:
        raise DTypeError(f"{name}: floating tensors are required, got {self.dtype.name}.")


def integers_only(name: str, self: Any, other: Any) -> int:
    """The common integer type of two operands."""
    code = result_code(self, other)
    if code in FLOATS or code == BOOL:
        raise DTypeError(f"{name}: integers are required, got {self.dtype.name}.")
    return code


class Pointwise(TensorBase):
    """Functions that are composites, or several operators."""

    log1p = unary("Log1p", "log(1 + x), precise near 0.")
    expm1 = unary("Expm1", "exp(x) - 1, precise near 0.")
    exp2 = unary("Exp2", "2 to the power of each element.")
    log2 = unary("Log2", "The logarithm of base 2.")
    log10 = unary("Log10", "The logarithm of base 10.")
    erfc = unary("Erfc", "1 - erf(x), precise where erf(x) is near 1.")
    erfinv = unary("ErfInv", "The x whose erf it is.")
    lgamma = unary("Lgamma", "The logarithm of |gamma(x)|.")
    digamma = unary("Digamma", "The derivative of lgamma.")
    sinc = unary("Sinc", "sin(pi x) / (pi x), 1 at 0.")
    atan2 = arctan2 = pair("Atan2", "The angle of the point (other, self).")
    i0 = unary("I0", "The modified Bessel function of the first kind, order 0.")
    igamma = incomplete("Igamma", "The regularised lower incomplete gamma function.")
    igammac = incomplete("Igammac", "The regularised upper incomplete gamma function.")
    copysign = pair("Copysign", "Its magnitude with the sign of `other`.")
    xlogy = pair("Xlogy", "`self * log(other)`, 0 where self is 0.")

    def hypot(self, other: Any) -> Tensor:
        """`sqrt(self^2 + other^2)` without overflow on the way."""
        floats_only("hypot", self, other)
        return binary(special("Hypot"), self, other)

    def nextafter(self, other: Any) -> Tensor:
        """The next number of the type towards `other`."""
        floats_only("nextafter", self, other)
        if self._value.dtype not in (1, 11):
            raise DTypeError(f"nextafter: float32 or float64 is required, got {self.dtype.name}.")
        return binary(special("Nextafter"), self, other)

    def logaddexp(self, other: Any) -> Tensor:
        """log(exp(self) + exp(other))."""
        floats_only("logaddexp", self, other)
        return binary(special("LogAddExp"), self, other)

    def logaddexp2(self, other: Any) -> Tensor:
        """log2(2^self + 2^other)."""
        floats_only("logaddexp2", self, other)
        return binary(special("LogAddExp2"), self, other)

    def trunc(self) -> Tensor:
        """The integer part."""
        if self._value.dtype not in FLOATS:
            return self.clone()  # type: ignore[attr-defined]
        return apply1(special("Trunc"), self)

    fix = trunc

    def deg2rad(self) -> Tensor:
        """Degrees as radians."""
        return floating(self) * (math.pi / 180)

    def rad2deg(self) -> Tensor:
        """Radians as degrees."""
        return floating(self) * (180 / math.pi)

    def positive(self) -> Tensor:
        """Itself.

        Raises:
            DTypeError: of bools.
        """
        if self._value.dtype == BOOL:
            raise DTypeError("The `+` operator, on a bool tensor is not supported.")
        return self  # type: ignore[return-value]

    def float_power(self, exponent: Any) -> Tensor:
        """`self ** exponent` in float64."""
        x: Any = cast(self, 11)
        return x ** (cast(exponent, 11) if isinstance(exponent, TensorBase) else exponent)

    def fmax(self, other: Any) -> Tensor:
        """The larger element; of a number and a NaN, the number."""
        return _choose(self, other, "__ge__")

    def fmin(self, other: Any) -> Tensor:
        """The smaller element; of a number and a NaN, the number."""
        return _choose(self, other, "__le__")

    def frexp(self) -> tuple[Tensor, Tensor]:
        """Mantissas of [0.5, 1) and int32 exponents: `mantissa * 2**exponent` is the tensor."""
        if self._value.dtype not in FLOATS:
            raise DTypeError(f"frexp: a floating tensor is required, got {self.dtype.name}.")
        x: Any = self
        size = x.detach().abs()
        plain = (size > 0) & size.isfinite()
        size = where(plain, size, 1.0)
        e = size.log2().floor() + 1
        e = where(_times_power(size, -e) >= 1, e + 1, e)
        e = where(_times_power(size, -e) < 0.5, e - 1, e)
        e = where(plain, e, 0.0)
        return _times_power(x, -e), cast(e, 6)

    def ldexp(self, other: Any) -> Tensor:
        """`self * 2**other`."""
        return self * (2.0 ** floating(other))

    def signbit(self) -> Tensor:
        """Whether the sign is minus, also of -0.0."""
        x: Any = self
        if self._value.dtype in FLOATS:
            x = binary(special("Copysign"), 1.0, self)
        elif self._value.dtype == BOOL:
            return x & False
        return x < 0

    def isneginf(self) -> Tensor:
        """Whether it is minus infinity."""
        return _is_infinite(self, -1)

    def isposinf(self) -> Tensor:
        """Whether it is plus infinity."""
        return _is_infinite(self, 1)

    def isreal(self) -> Tensor:
        """True: complex numbers are pairs here."""
        x: Any = self
        return (x == x) | (x != x)

    def logit(self, eps: float | None = None) -> Tensor:
        """log(x / (1 - x)), with x clamped to [eps, 1 - eps] if given."""
        x: Any = floating(self)
        x = x if eps is None else x.clamp(eps, 1 - eps)
        return (x / (1 - x)).log()

    def hardshrink(self, lambd: float = 0.5) -> Tensor:
        """0 within [-lambd, lambd], elsewhere itself."""
        x: Any = self
        return where((x >= -lambd) & (x <= lambd), 0.0, x)

    def bitwise_left_shift(self, other: Any) -> Tensor:
        """Bits moved to the left."""
        integers_only("bitwise_left_shift", self, other)
        return self << other

    def bitwise_right_shift(self, other: Any) -> Tensor:
        """Bits moved to the right, the sign kept."""
        integers_only("bitwise_right_shift", self, other)
        return self >> other

    def gcd(self, other: Any) -> Tensor:
        """The greatest common divisor."""
        code = integers_only("gcd", self, other)
        return binary(special("Gcd"), operand_tensor(self, code), operand_tensor(other, code))

    def lcm(self, other: Any) -> Tensor:
        """The least common multiple."""
        code = integers_only("lcm", self, other)
        x: Any = operand_tensor(self, code)
        y: Any = operand_tensor(other, code)
        divisor = x.gcd(y)
        return (x // where(divisor == 0, 1, divisor) * y).abs()

    def polygamma(self, n: int) -> Tensor:
        """The n-th derivative of digamma."""
        return polygamma(n, self)

    def mvlgamma(self, p: int) -> Tensor:
        """The logarithm of the multivariate gamma function of dimension p."""
        if p < 1:
            raise InvalidArgumentError(f"p has to be greater than or equal to 1, got {p}.")
        x: Any = floating(self)
        parts = [(x - 0.5 * i).lgamma() for i in range(p)]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total + p * (p - 1) / 4 * math.log(math.pi)


def operand_tensor(x: Any, code: int) -> Any:
    """A tensor in a type, or a number as a 0-dim one."""
    from toolkit._tensor.factories import tensor

    return cast(x if isinstance(x, TensorBase) else tensor(x), code)


def polygamma(n: int, input: Any) -> Any:
    """The n-th derivative of digamma: (-1)^(n+1) n! zeta(n + 1, x).

    Raises:
        InvalidArgumentError: n is negative.
    """
    if n < 0:
        raise InvalidArgumentError(f"polygamma(n, x) does not support negative n, got {n}.")
    x: Any = floating(input)
    if n == 0:
        return x.digamma()
    sign = 1.0 if n % 2 else -1.0
    if n == 1:  # By reflection below 1/2, as the series would need a term for each unit.
        low = x < 0.5
        value = binary(special("Zeta"), 2.0, where(low, 1 - x, x))
        return where(low, (math.pi / (where(low, x, 0.25) * math.pi).sin()) ** 2 - value, value)
    return binary(special("Zeta"), float(n + 1), x) * (sign * math.factorial(n))


def _times_power(x: Any, e: Any) -> Any:
    """X 2^e in two steps, each within the type's range."""
    half = (e * 0.5).floor()
    return x * half.exp2() * (e - half).exp2()


def _choose(x: Any, y: Any, beats: str) -> Any:
    if not isinstance(y, TensorBase) and not is_number(y):
        raise TypeError(f"fmax, fmin: a tensor is required as 'other', got {type(y).__name__}.")
    code = result_code(x, y)
    x, y = operand_tensor(x, code), operand_tensor(y, code)
    if code not in FLOATS:
        return where(getattr(x, beats)(y), x, y)
    return where(getattr(x, beats)(y) | y.isnan(), x, y)


def _is_infinite(x: Any, sign: int) -> Any:
    if x._value.dtype not in FLOATS:
        return (x == x) & False
    return apply1(IS_INF[sign], x)


__all__ = ["Pointwise", "floats_only", "operand", "pair", "polygamma", "special", "unary"]

"""Elementwise functions: the Tensor's own under the standard's names and promotion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from toolkit._tensor import functions
from toolkit._tensor.elementwise import where
from toolkit.array_api.common import array, both
from toolkit.errors import DTypeError

_Function = Callable[..., Any]

# The standard's name: PyTorch's.
_UNARY = {
    **{name: name for name in (
        "abs", "acos", "acosh", "asin", "asinh", "atan", "atanh", "ceil", "cos", "cosh", "exp",
        "expm1", "floor", "isfinite", "isinf", "isnan", "log", "log1p", "log2", "log10",
        "logical_not", "negative", "reciprocal", "round", "sign", "signbit", "sin", "sinh", "sqrt",
        "square", "tan", "tanh", "trunc",
    )},
    "bitwise_invert": "bitwise_not",
}  # fmt: skip
_BINARY = {
    **{name: name for name in (
        "add", "atan2", "bitwise_and", "bitwise_left_shift", "bitwise_or", "bitwise_right_shift",
        "bitwise_xor", "copysign", "divide", "floor_divide", "greater", "greater_equal", "hypot",
        "less", "less_equal", "logaddexp", "logical_and", "logical_or", "logical_xor", "maximum",
        "minimum", "multiply", "nextafter", "not_equal", "pow", "subtract",
    )},
    "equal": "eq",
}  # fmt: skip
# Those that the standard defines on bools only.
_BOOLS = {"logical_and", "logical_not", "logical_or", "logical_xor"}


def _unary(name: str, theirs: str) -> _Function:
    def function(x: Any, /) -> Any:
        return functions.find(theirs)(array(name, x))

    return _named(function, name)


def _binary(name: str, theirs: str) -> _Function:
    def function(x1: Any, x2: Any, /) -> Any:
        return functions.find(theirs)(*both(name, x1, x2))

    return _named(function, name)


def _named(function: Any, name: str) -> _Function:
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Elementwise `{name}`, as the array API standard defines it."
    made: _Function = function
    return made


globals().update({name: _unary(name, theirs) for name, theirs in _UNARY.items()})
globals().update({name: _binary(name, theirs) for name, theirs in _BINARY.items()})


def clip(x: Any, /, min: Any = None, max: Any = None) -> Any:
    """Elements limited to [min, max]; the bounds are numbers or arrays, and keep the type of x."""
    out = array("clip", x)
    for bound, method in ((min, "maximum"), (max, "minimum")):
        if bound is not None:
            out = getattr(out, method)(both("clip", out, bound)[1].to(x.dtype))
    return out.clone() if out is x else out


def remainder(x1: Any, x2: Any, /) -> Any:
    """The rest of floor division; a zero has the divisor's sign too."""
    a, b = both("remainder", x1, x2)
    rest = a % b
    if not b.dtype.is_floating_point:
        return rest
    return where(rest == 0, where(b < 0, -0.0, 0.0).to(rest.dtype), rest)


def positive(x: Any, /) -> Any:
    """A copy of a numeric array."""
    return array("positive", x).clone()


def conj(x: Any, /) -> Any:
    """The conjugate; a real array itself."""
    return functions.find("conj")(x)


def real(x: Any, /) -> Any:
    """The real part of a complex array."""
    return functions.find("real")(x)


def imag(x: Any, /) -> Any:
    """The imaginary part of a complex array.

    Raises:
        DTypeError: a real array.
    """
    if not hasattr(x, "imag"):
        raise DTypeError(f"imag: a complex array is required, got {x.dtype.name}.")
    return functions.find("imag")(x)


__all__ = sorted([*_UNARY, *_BINARY, "clip", "remainder", "positive", "conj", "real", "imag"])

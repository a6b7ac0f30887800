"""Special functions by the names of `torch.special`, on tensors and numbers."""

from __future__ import annotations

import math
from typing import Any

from toolkit._tensor.base import TensorBase
from toolkit._tensor.outputs import write_out
from toolkit._tensor.pointwise import incomplete, operand_tensor, pair, polygamma, unary
from toolkit._tensor.promote import floating, result_code


def _named(name: str, method: Any) -> Any:
    """A function with `input` (a tensor, or a number beside one) and `out`."""

    def function(input: Any, *args: Any, out: Any = None, **kwargs: Any) -> Any:
        if not isinstance(input, TensorBase):
            tensors = [a for a in args if isinstance(a, TensorBase)]
            if not tensors:
                raise TypeError(
                    f"{name}(): argument 'input' must be Tensor, not {type(input).__name__}"
                )
            input = operand_tensor(input, result_code(input, *tensors))
        result = method(input, *args, **kwargs)
        return result if out is None else write_out(result, out, name)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = method.__doc__
    return function


def _ndtr(x: Any) -> Any:
    """The normal distribution function."""
    return (floating(x) * -math.sqrt(0.5)).erfc() * 0.5


def _expit(x: Any) -> Any:
    """1 / (1 + exp(-x))."""
    return x.sigmoid()


def _spherical_bessel_j0(x: Any) -> Any:
    """sin(x) / x, 1 at 0."""
    return (floating(x) * (1 / math.pi)).sinc()


def _method(name: str) -> Any:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(self, name)(*args, **kwargs)

    method.__doc__ = f"`Tensor.{name}`."
    return method


_BESSEL = {
    "i0": "I0", "i0e": "I0e", "i1": "I1", "i1e": "I1e", "modified_bessel_i0": "I0",
    "modified_bessel_i1": "I1", "modified_bessel_k0": "K0", "modified_bessel_k1": "K1",
    "scaled_modified_bessel_k0": "K0e", "scaled_modified_bessel_k1": "K1e",
    "bessel_j0": "BesselJ0", "bessel_j1": "BesselJ1", "bessel_y0": "BesselY0",
    "bessel_y1": "BesselY1", "airy_ai": "AiryAi",
}  # fmt: skip
FUNCTIONS: dict[str, Any] = {
    name: _named(name, method)
    for name, method in {
        "entr": unary("Entr", "-x ln x, 0 at 0 and -inf below."),
        "erfcx": unary("Erfcx", "exp(x^2) erfc(x)."),
        "log_ndtr": unary("LogNdtr", "The logarithm of `ndtr`."),
        "ndtr": _ndtr,
        "ndtri": unary("Ndtri", "The quantile of the normal distribution."),
        "expit": _expit,
        "xlog1py": pair("Xlog1py", "`self * log1p(other)`, 0 where self is 0."),
        "zeta": pair("Zeta", "Hurwitz' zeta function: the sum of (other + k)^-self."),
        "spherical_bessel_j0": _spherical_bessel_j0,
        "gammainc": incomplete("Igamma", "The regularised lower incomplete gamma function."),
        "gammaincc": incomplete("Igammac", "The regularised upper incomplete gamma function."),
        **{n: unary(op, f"ONNX function {op} of toolkit.special.") for n, op in _BESSEL.items()},
        "gammaln": _method("lgamma"), "psi": _method("digamma"),
        "multigammaln": _method("mvlgamma"),
        **{n: _method(n) for n in (
            "digamma", "erf", "erfc", "erfinv", "exp2", "expm1", "log1p", "logit", "logsumexp",
            "round", "sinc", "softmax", "log_softmax", "xlogy")},
    }.items()
}  # fmt: skip
FUNCTIONS["polygamma"] = polygamma
__all__ = ["FUNCTIONS", "polygamma"]

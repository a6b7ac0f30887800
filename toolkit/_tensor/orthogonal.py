"""Orthogonal polynomials by the names of `torch.special`: their recurrences, written out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from toolkit._tensor import promote
from toolkit._tensor.base import FLOATS, TensorBase
from toolkit._tensor.elementwise import where
from toolkit._tensor.outputs import write_out
from toolkit._tensor.pointwise import operand_tensor
from toolkit._tensor.promote import result_code
from toolkit.errors import InvalidArgumentError

_LIMIT = 1000  # Degrees beyond are more nodes than anyone wants in a graph.
Step = Callable[[Any, int, Any, Any], Any]


def _polynomial(name: str, second: Callable[[Any], Any], step: Step, shifted: bool = False) -> Any:
    """p_0 = 1, p_1 = second(x), p_(k+1) = step(x, k, p_k, p_(k-1))."""

    def function(x: Any, n: Any, *, out: Any = None) -> Any:
        code = result_code(x, n)
        code = code if code in FLOATS else promote.default_code
        x = operand_tensor(x, code)
        x = x * 2 - 1 if shifted else x
        result = _by_tensor(x, n) if isinstance(n, TensorBase) else _by_number(x, int(n))
        return result if out is None else write_out(result, out, name)

    def terms(x: Any, degree: int) -> Any:
        """p_0 … p_degree, one after the other."""
        if degree > _LIMIT:
            raise InvalidArgumentError(
                f"{name}: a degree of at most {_LIMIT} is required, got {degree}."
            )
        before, last = x * 0 + 1, second(x)
        yield before
        for k in range(1, degree + 1):
            yield last
            before, last = last, step(x, k, last, before)

    def _by_number(x: Any, degree: int) -> Any:
        return x * 0 if degree < 0 else [*terms(x, degree)][-1]

    def _by_tensor(x: Any, n: Any) -> Any:
        degrees = n._concrete(name).numpy()
        value = (x * 0) + (n * 0).to(x.dtype)
        for k, term in enumerate(terms(x, int(degrees.max(initial=-1)))):
            value = where(n.long() == k, term, value)
        return value

    function.__name__ = function.__qualname__ = name
    function.__doc__ = (
        f"{name} of degree n at x; 0 where n is negative. A tensor n has to be known."
    )
    return function


def _chebyshev(x: Any, k: int, last: Any, before: Any) -> Any:
    return x * 2 * last - before


_KINDS: dict[str, tuple[Callable[[Any], Any], Step]] = {
    "chebyshev_polynomial_t": (lambda x: x, _chebyshev),
    "chebyshev_polynomial_u": (lambda x: x * 2, _chebyshev),
    "chebyshev_polynomial_v": (lambda x: x * 2 - 1, _chebyshev),
    "chebyshev_polynomial_w": (lambda x: x * 2 + 1, _chebyshev),
    "hermite_polynomial_h": (lambda x: x * 2, lambda x, k, p, q: x * 2 * p - q * (2 * k)),
    "hermite_polynomial_he": (lambda x: x, lambda x, k, p, q: x * p - q * k),
    "laguerre_polynomial_l": (
        lambda x: 1 - x,
        lambda x, k, p, q: ((2 * k + 1 - x) * p - q * k) / (k + 1),
    ),
    "legendre_polynomial_p": (
        lambda x: x,
        lambda x, k, p, q: (x * (2 * k + 1) * p - q * k) / (k + 1),
    ),
}
FUNCTIONS: dict[str, Any] = {name: _polynomial(name, *kind) for name, kind in _KINDS.items()}
FUNCTIONS |= {
    f"shifted_{name}": _polynomial(f"shifted_{name}", *kind, shifted=True)
    for name, kind in _KINDS.items()
    if name.startswith("chebyshev")
}

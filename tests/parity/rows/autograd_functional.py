"""Jacobians, Hessians and products with them, by `torch.autograd.functional`'s names."""

from __future__ import annotations

from typing import Any

from tests.parity.core import FLOATS, Row, d, rows


def one(x: Any) -> Any:
    return x.sin() * x.flip(0)


def two(x: Any, y: Any) -> Any:
    return x.exp().sum() * y.sin(), (x.unsqueeze(1) * y.tanh()).cumsum(0)


def number(x: Any) -> Any:
    return (x.sin() * x.flip(0) ** 2).sum()


def number2(x: Any, y: Any) -> Any:
    return (x.unsqueeze(1) * y.sin()).sum() * x.exp().prod()


def constant(x: Any) -> Any:
    return (x.detach() * 2).sum()


def part(x: Any, y: Any) -> Any:
    return (x**3).sum()


def flat(value: Any) -> Any:
    """Tuples and lists alike."""
    return tuple(map(flat, value)) if isinstance(value, (tuple, list)) else value


def f(m: Any) -> Any:
    return m.autograd.functional


X, Y = d(3), d(2)
CALLS = {
    "jacobian": lambda m, x, y: f(m).jacobian(one, x),
    "jacobian two": lambda m, x, y: f(m).jacobian(two, (x, y)),
    "jacobian tuple of one": lambda m, x, y: f(m).jacobian(one, (x,)),
    "jacobian vectorize": lambda m, x, y: flat(f(m).jacobian(two, (x, y), vectorize=True)),
    "jacobian forward": lambda m, x, y: [t.detach() for row in f(m).jacobian(
        two, (x, y), vectorize=True, strategy="forward-mode") for t in row],
    "jacobian unused": lambda m, x, y: f(m).jacobian(part, (x, y)),
    "jacobian constant": lambda m, x, y: f(m).jacobian(constant, x),
    "jacobian strict": lambda m, x, y: f(m).jacobian(one, x, strict=True),
    "jacobian create_graph": lambda m, x, y: f(m).jacobian(two, (x, y), create_graph=True),
    "jacobian create_graph vectorize": lambda m, x, y: flat(
        f(m).jacobian(two, (x, y), create_graph=True, vectorize=True)),
    "hessian": lambda m, x, y: f(m).hessian(number, x),
    "hessian two": lambda m, x, y: f(m).hessian(number2, (x, y)),
    "hessian vectorize": lambda m, x, y: [
        t.detach() for row in f(m).hessian(number2, (x, y), vectorize=True) for t in row],
    "hessian create_graph": lambda m, x, y: f(m).hessian(number2, (x, y), create_graph=True),
    "hessian strict": lambda m, x, y: f(m).hessian(number, x, strict=True),
    "hessian linear": lambda m, x, y: f(m).hessian(lambda z: z.sum(), x),
    "vjp": lambda m, x, y: f(m).vjp(two, (x, y), (y.detach(), x.detach().unsqueeze(1) * y.detach())),
    "vjp number": lambda m, x, y: f(m).vjp(number, x),
    "vjp create_graph": lambda m, x, y: f(m).vjp(one, x, x.detach(), create_graph=True),
    "vjp unused": lambda m, x, y: f(m).vjp(part, (x, y)),
    "jvp": lambda m, x, y: f(m).jvp(two, (x, y), (x * 2, y * 3)),
    "jvp create_graph": lambda m, x, y: f(m).jvp(one, x, x.detach(), create_graph=True),
    "jvp one element": lambda m, x, y: f(m).jvp(one, x[:1]),
    "vhp": lambda m, x, y: f(m).vhp(number2, (x, y), (x * 2, y * 3)),
    "vhp create_graph": lambda m, x, y: f(m).vhp(number, x, x.detach(), create_graph=True),
    "hvp": lambda m, x, y: f(m).hvp(number2, (x, y), (x * 2, y * 3)),
    "hvp create_graph": lambda m, x, y: f(m).hvp(number, x, x.detach(), create_graph=True),
    "hvp linear": lambda m, x, y: f(m).hvp(part, (x, y), (x, y)),
}  # fmt: skip
REFUSED = {
    "strict constant": lambda m, x, y: f(m).jacobian(constant, x, strict=True),
    "strict unused": lambda m, x, y: f(m).jacobian(part, (x, y), strict=True),
    "strict vectorize": lambda m, x, y: f(m).jacobian(one, x, strict=True, vectorize=True),
    "forward without vectorize": lambda m, x, y: f(m).jacobian(one, x, strategy="forward-mode"),
    "forward create_graph": lambda m, x, y: f(m).jacobian(
        one, x, create_graph=True, vectorize=True, strategy="forward-mode"),
    "strategy": lambda m, x, y: f(m).jacobian(one, x, strategy="sideways"),
    "no tensor": lambda m, x, y: f(m).jacobian(one, [x]),
    "output no tensor": lambda m, x, y: f(m).jacobian(lambda z: 3.0, x),
    "hessian of a vector": lambda m, x, y: f(m).hessian(one, x),
    "hessian of two": lambda m, x, y: f(m).hessian(lambda z: (z.sum(), z.sum()), x),
    "hessian strict linear": lambda m, x, y: f(m).hessian(lambda z: z.sum(), x, strict=True),
    "vjp without v": lambda m, x, y: f(m).vjp(one, x),
    "vjp shape": lambda m, x, y: f(m).vjp(one, x, x[:2]),
    "vjp count": lambda m, x, y: f(m).vjp(one, x, (x, x)),
    "hvp without v": lambda m, x, y: f(m).hvp(number, x),
    "vhp strict": lambda m, x, y: f(m).vhp(part, (x, y), (x, y), strict=True),
}  # fmt: skip
ROWS: list[Row] = [
    *rows("autograd.functional", CALLS, X, Y, dtypes=FLOATS),
    *rows("autograd.functional refuses", REFUSED, X, Y, error=True),
]

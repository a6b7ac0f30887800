"""Eigenvalues of general matrices, and symmetric indefinite ones: products, as signs and order are free."""

from __future__ import annotations

from typing import Any

from tests.parity.core import FLOATS, Row, d, rows


def pairs(z: Any) -> tuple[Any, Any]:
    return z.real, z.imag


def product(a: Any, b: Any) -> tuple[Any, Any]:
    return a[0] @ b[0] - a[1] @ b[1], a[0] @ b[1] + a[1] @ b[0]


def rebuilt(m: Any, x: Any) -> Any:
    """A V - V diag(w), norms, and sums over all eigenvalues that no order changes."""
    w, v = m.linalg.eig(x)
    w, v = pairs(w), pairs(v)
    left = x @ v[0], x @ v[1]
    right = (
        v[0] * w[0].unsqueeze(-2) - v[1] * w[1].unsqueeze(-2),
        v[0] * w[1].unsqueeze(-2) + v[1] * w[0].unsqueeze(-2),
    )
    return [left[0] - right[0], left[1] - right[1], (v[0] ** 2 + v[1] ** 2).sum(-2), w[0].sum(-1), w[1].abs().sum(-1),
            (w[0] ** 2 - w[1] ** 2).sum(-1), m.linalg.eig(x)[0].dtype]  # fmt: skip


def values(m: Any, x: Any) -> Any:
    """Eigenvalues in an order of their own: by magnitude, then by the imaginary part."""
    w = m.linalg.eigvals(x)
    key = (w.real * 3 + w.imag).detach()
    order = key.argsort(-1)
    return [w.real.gather(-1, order), w.imag.gather(-1, order)]


def gauge(m: Any, x: Any) -> Any:
    """A function of the eigenvectors that has no phase: the magnitudes."""
    w, v = m.linalg.eig(x)
    order = (w.real * 3 + w.imag).detach().argsort(-1)
    return [(v.real**2 + v.imag**2).index_select(-1, order), w.real.exp().sum()]


def complex_input(m: Any, x: Any, y: Any) -> Any:
    w, v = m.linalg.eig(m.complex(x, y))
    order = (w.real * 3 + w.imag).detach().argsort(-1)
    return [
        w.real.gather(-1, order),
        w.imag.gather(-1, order),
        (v.real**2 + v.imag**2).index_select(-1, order),
    ]


def indefinite(m: Any, x: Any) -> Any:
    a = (x + x.mT).detach()
    return [*m.linalg.ldl_factor(a), *m.linalg.ldl_factor_ex(a)]


def solved(m: Any, x: Any) -> Any:
    a = (x + x.mT).detach()
    return m.linalg.ldl_solve(*m.linalg.ldl_factor(a), x[..., :2])


def each(name: str, call: Any, inputs: dict[str, Any], **options: Any) -> list[Row]:
    given = {
        "dtypes": FLOATS,
        "tolerance": 100.0,
        "reason": "eigenvectors of a general matrix",
        **options,
    }
    return [Row(f"{name}/{key}", call, [x], **given) for key, x in inputs.items()]


def extreme(m: Any, x: Any, **options: Any) -> Any:
    """Values, and vectors without their signs, of a matrix whose eigenvalues are well apart."""
    n = x.shape[-1]
    a = (x + x.mT) * 0.2 + m.diag(m.arange(n).to(x.dtype) * 3)
    if options.pop("preconditioned", False):
        options["iK"] = m.linalg.inv(a.detach() + m.eye(n, dtype=x.dtype))
    if options.pop("general", False):
        options["B"] = (m.eye(n, dtype=x.dtype) * 2 + (x @ x.mT).detach() * 0.01).detach()
    w, v = m.lobpcg(a, X=x.detach()[..., : options.pop("n", 2)], tol=1e-7, niter=200, **options)
    return [w, v.abs()]


SHAPES = {"4": d(4, 4), "batch": d(2, 3, 3), "1": d(1, 1), "0": d(0, 0), "no matrix": d(0, 2, 2), "7": d(7, 7),
          "transposed": d(3, 3, layout="transposed")}  # fmt: skip
ROWS = [
    *each("linalg.eig", rebuilt, {**SHAPES, "30": d(30, 30)}, grad=False),
    *each("linalg.eigvals", values, {**SHAPES, "20": d(20, 20)}),
    *each("linalg.eig gradient", gauge, {"4": d(4, 4), "3": d(3, 3), "6": d(6, 6)}),
    *[Row("linalg.eig complex", complex_input, [d(4, 4), d(4, 4)], dtypes=FLOATS, grad=False, tolerance=100.0, reason="eigenvectors")],
    *each("linalg.eig special", lambda m, x: [w := m.linalg.eigvals(x * 0), m.linalg.eigvals(m.diag(x[0])).real.sort()[0],
                                              m.linalg.eigvals(m.tensor([[0.0, 1.0], [-1.0, 0.0]])).imag.sort()[0], w.real][1:], {"3": d(3, 3)}, grad=False),
    *each("linalg.ldl_factor", indefinite, {**SHAPES, "20": d(20, 20), "batch of 5": d(3, 5, 5)}, grad=False),
    *each("linalg.ldl_solve", solved, {"4": d(4, 4), "batch": d(2, 3, 3), "12": d(12, 12)}, grad=False),
    *[Row(f"lobpcg/{key}", lambda m, x, o=options: extreme(m, x, **o), [d(*shape)], dtypes=("float64",), grad=grad,
          tolerance=1e6, reason="an iteration stops where a bound on residuals is met")
      for key, options, shape, grad in (
          ("largest", {}, (12, 12), True), ("smallest", {"largest": False, "preconditioned": True}, (12, 12), False),
          ("k below n", {"k": 1, "n": 3}, (12, 12), False), ("B", {"general": True}, (15, 15), False),
          ("basic", {"method": "basic"}, (12, 12), False), ("batch", {}, (2, 9, 9), False))],
    *rows("lobpcg refuses", {
        "small": lambda m, x: m.lobpcg(x, k=2), "shape": lambda m, x: m.lobpcg(x[:2], k=1),
    }, d(4, 4), error=True),
    *rows("linalg.general refuses", {
        "eig shape": lambda m, x: m.linalg.eig(x[:2]), "eig int": lambda m, x: m.linalg.eig(x.long()), "eig nan": lambda m, x: m.linalg.eig(x / 0 * 0),
        "eigvals vector": lambda m, x: m.linalg.eigvals(x[0]), "ldl shape": lambda m, x: m.linalg.ldl_factor(x[:2].detach()),
        "ldl singular": lambda m, x: m.linalg.ldl_factor(x.detach() * 0), "ldl gradient": lambda m, x: m.linalg.ldl_factor(x.requires_grad_()).LD.sum().backward(),
        "ldl_solve shape": lambda m, x: m.linalg.ldl_solve(*m.linalg.ldl_factor(x.detach()), x[:2]),
        "ldl_solve pivots": lambda m, x: m.linalg.ldl_solve(x.detach(), x[0].detach(), x),
        "ldl_factor_ex": lambda m, x: m.linalg.ldl_factor_ex(x.detach() * 0, check_errors=True),
    }, d(3, 3), error=True),
]  # fmt: skip

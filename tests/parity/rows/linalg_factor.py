"""Factorisations: values where they are unique, else products and magnitudes; gradients through them.

Inputs are made well-conditioned inside the calls. Signs of eigenvectors and singular vectors are free.
"""

from __future__ import annotations

from typing import Any

from tests.parity.core import FLOATS, Row, d, rows


def eye(m: Any, x: Any) -> Any:
    return m.eye(x.shape[-1], dtype=x.dtype)


def pd(m: Any, x: Any) -> Any:
    """Positive definite."""
    return x @ x.mT + 2 * eye(m, x)


def sym(m: Any, x: Any) -> Any:
    """Symmetric, with eigenvalues that are well apart."""
    return x + x.mT + 6 * m.diag(m.arange(x.shape[-1]).to(x.dtype))


def apart(m: Any, x: Any) -> Any:
    """Of any shape, with singular values that are well apart."""
    k, n = x.shape[-2:]
    return x + m.eye(k, n, dtype=x.dtype) * (m.arange(n).to(x.dtype) * 4 + 3)


def regular(m: Any, x: Any) -> Any:
    return x + 5 * eye(m, x).flip(0)


def qr_case(mode: str) -> Any:
    return lambda m, x: m.linalg.qr(x, mode)


def svd_case(full: bool) -> Any:
    def call(m: Any, x: Any) -> Any:
        u, s, vh = m.linalg.svd(apart(m, x), full_matrices=full)
        k = min(x.shape[-2:])
        u, vh = u[..., :k], vh[..., :k, :]
        return [s, (u * s.unsqueeze(-2)) @ vh, u.abs(), vh.abs(), tuple(u.shape)]

    return call


def deficient(m: Any, x: Any) -> Any:
    u, s, vh = m.linalg.svd((x @ x.mT)[:, :3] @ x[:3], full_matrices=True)
    k = s.shape[-1]
    return [(u[:, :k] * s) @ vh[:k], u.mT @ u, vh @ vh.mT]


def eigh_case(m: Any, x: Any) -> Any:
    w, v = m.linalg.eigh(sym(m, x))
    return [w, v.abs(), (v * w.exp().clamp(max=9).unsqueeze(-2)) @ v.mT]


LOOSE = {"tolerance": 20.0, "reason": "products of ill-separated values"}
SQUARE = {"4": d(4, 4), "batch": d(2, 3, 3, 3), "1": d(1, 1), "empty": d(0, 3, 3), "0": d(2, 0, 0),
          "transposed": d(3, 3, layout="transposed"), "strided": d(3, 3, layout="strided"),
          "40": d(40, 40)}  # fmt: skip
ANY = {"tall": d(5, 3), "wide": d(3, 5), "square": d(4, 4), "batch": d(2, 4, 3), "no rows": d(0, 3),
       "no columns": d(3, 0), "wide batch": d(2, 2, 4), "transposed": d(4, 3, layout="transposed")}  # fmt: skip


def each(name: str, call: Any, inputs: dict[str, Any], **options: Any) -> list[Row]:
    given = {"dtypes": FLOATS, **LOOSE, **options}
    return [Row(f"{name}/{key}", call, [x], **given) for key, x in inputs.items()]


ROWS = [
    *each("linalg.cholesky", lambda m, x: m.linalg.cholesky(pd(m, x)), SQUARE),
    *each("linalg.cholesky upper", lambda m, x: m.linalg.cholesky(pd(m, x), upper=True), {"3": d(2, 3, 3)}),
    *each("linalg.cholesky_ex", lambda m, x: m.linalg.cholesky_ex(pd(m, x)), {"3": d(2, 3, 3)}),
    *each("cholesky", lambda m, x: [m.cholesky(pd(m, x)), pd(m, x).cholesky(True)], {"3": d(3, 3)}),
    *each("cholesky_solve", lambda m, x: m.cholesky_solve(x[..., :2], m.linalg.cholesky(pd(m, x))), {"3": d(2, 3, 3)}),
    *each("cholesky_solve upper", lambda m, x: m.cholesky_solve(x, m.linalg.cholesky(pd(m, x), upper=True), True),
          {"3": d(3, 3)}),
    *each("cholesky_inverse", lambda m, x: m.cholesky_inverse(m.linalg.cholesky(pd(m, x))), {"3": d(2, 3, 3)}),
    *each("linalg.lu_factor", lambda m, x: m.linalg.lu_factor(regular(m, x)), SQUARE),
    *each("linalg.lu_factor any", lambda m, x: m.linalg.lu_factor_ex(x), ANY, grad=False),
    *each("linalg.lu", lambda m, x: m.linalg.lu(apart(m, x)), ANY),
    *each("lu", lambda m, x: [m.lu(regular(m, x), get_infos=True), m.lu_unpack(*m.lu(regular(m, x)))], {"3": d(2, 3, 3)}),
    *each("lu_unpack parts", lambda m, x: m.lu_unpack(*m.linalg.lu_factor(regular(m, x)), unpack_data=False), {"3": d(3, 3)}, grad=False),
    *[r for mode in ("reduced", "complete") for r in each(
        f"linalg.qr {mode}", qr_case(mode),
        {k: v for k, v in ANY.items() if mode == "reduced" or k in ("wide", "square", "wide batch")})],
    *each("linalg.qr r", qr_case("r"), ANY, grad=False),
    *each("linalg.qr complete tall", qr_case("complete"), {"5": d(5, 3)}, grad=False),
    *each("linalg.qr 70", qr_case("reduced"), {"square": d(70, 70), "tall": d(90, 40)}, grad=False),
    *each("qr", lambda m, x: [m.qr(x), x.qr(False)], {"4": d(4, 4)}),
    *each("geqrf", lambda m, x: m.geqrf(x), ANY, grad=False),
    *each("linalg.householder_product", lambda m, x: m.linalg.householder_product(*m.geqrf(x.detach())),
          {"tall": d(5, 3), "batch": d(2, 3, 3)}, grad=False),
    *each("orgqr", lambda m, x: m.orgqr(x.tril(-1), x[..., 0, :2] * 0.3), {"tall": d(5, 3), "batch": d(2, 3, 3)}),
    *[Row(f"ormqr/{left} {trans}", lambda m, x, y, left=left, trans=trans: m.ormqr(
        *m.geqrf(x.detach()), y if left else y.mT, left, trans), [d(4, 3), d(4, 2)], dtypes=FLOATS)
      for left in (True, False) for trans in (True, False)],
    *each("linalg.eigh", eigh_case, {k: v for k, v in SQUARE.items() if k != "40"}),
    *each("linalg.eigh 40", lambda m, x: m.linalg.eigvalsh(x + x.mT), {"40": d(40, 40)}),
    *each("linalg.eigh U", lambda m, x: m.linalg.eigh(sym(m, x), UPLO="U")[0], {"3": d(2, 3, 3)}),
    *each("linalg.eigh one triangle", lambda m, x: [m.linalg.eigvalsh(x), m.linalg.eigvalsh(x, "U")],
          {"4": d(4, 4)}, grad=False),
    *each("linalg.eigvalsh", lambda m, x: m.linalg.eigvalsh(sym(m, x)), {"3": d(2, 3, 3), "empty": d(0, 2, 2)}),
    *each("linalg.svd full", svd_case(True), {k: v for k, v in ANY.items() if not k.startswith("no")}),
    *each("linalg.svd", svd_case(False), ANY),
    *each("linalg.svd rank", deficient, {"5": d(5, 5)}, grad=False),
    *each("linalg.svdvals", lambda m, x: m.linalg.svdvals(apart(m, x)), ANY),
    *each("linalg.svdvals 60", lambda m, x: m.linalg.svdvals(x), {"60": d(60, 50)}, grad=False),
    *each("svd", lambda m, x: [m.svd(apart(m, x))[1], m.svd(x, compute_uv=False), x.svd(False)[2].shape == (3, 3)],
          {"5": d(5, 3)}),
    *rows("linalg.factor refuses", {
        "cholesky": lambda m, x: m.linalg.cholesky(-pd(m, x)),
        "cholesky batch": lambda m, x: m.linalg.cholesky(m.stack([pd(m, x), -pd(m, x)])),
        "cholesky_ex": lambda m, x: m.linalg.cholesky_ex(-pd(m, x), check_errors=True),
        "cholesky int": lambda m, x: m.linalg.cholesky(x.long()),
        "cholesky half": lambda m, x: m.linalg.cholesky(x.to(m.float16)),
        "cholesky vector": lambda m, x: m.linalg.cholesky(x[0]),
        "cholesky shape": lambda m, x: m.linalg.cholesky(x[:2]),
        "lu_factor": lambda m, x: m.linalg.lu_factor(x * 0),
        "lu pivot": lambda m, x: m.linalg.lu(x, pivot=False),
        "qr mode": lambda m, x: m.linalg.qr(x, "full"),
        "qr vector": lambda m, x: m.linalg.qr(x[0]),
        "qr r grad": lambda m, x: m.linalg.qr(x.requires_grad_(), "r").R.sum().backward(),
        "qr complete grad": lambda m, x: m.linalg.qr(x[:, :2].requires_grad_(), "complete").R.sum().backward(),
        "eigh uplo": lambda m, x: m.linalg.eigh(x, "X"),
        "eigh shape": lambda m, x: m.linalg.eigh(x[:2]),
        "svd nan": lambda m, x: m.linalg.svd(x * float("nan")),
        "svd vector": lambda m, x: m.linalg.svd(x[0]),
        "svd int": lambda m, x: m.linalg.svd(x.long()),
        "svd driver": lambda m, x: m.linalg.svd(x, driver="gesvd"),
        "householder": lambda m, x: m.linalg.householder_product(x[:2], x[0, :1]),
        "lu_unpack": lambda m, x: m.lu_unpack(x, x[0]),
        "symeig": lambda m, x: m.symeig(x), "eig": lambda m, x: m.eig(x), "Tensor.eig": lambda m, x: x.eig(),
        "solve": lambda m, x: m.solve(x, x), "lstsq": lambda m, x: m.lstsq(x, x),
        "matrix_rank": lambda m, x: m.matrix_rank(x), "Tensor.symeig": lambda m, x: x.symeig(),
    }, d(3, 3), error=True),
]  # fmt: skip

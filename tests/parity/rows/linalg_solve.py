"""Systems, inverses, determinants, least squares, ranks."""

from __future__ import annotations

import math

from tests.parity.core import FLOATS, Row, d, rows
from tests.parity.rows.linalg_factor import LOOSE, SQUARE, apart, each, pd, regular

INF = math.inf
AB = {"matrix": (d(3, 3), d(3, 2)), "vector": (d(3, 3), d(3)), "batch": (d(2, 3, 3), d(2, 3, 2)),
      "vectors": (d(2, 3, 3), d(2, 3)), "broadcast": (d(2, 1, 3, 3), d(4, 3, 2)), "one B": (d(2, 3, 3), d(3, 2)),
      "empty": (d(0, 3, 3), d(0, 3, 2)), "no columns": (d(3, 3), d(3, 0)), "0": (d(0, 0), d(0, 2)),
      "transposed": (d(3, 3, layout="transposed"), d(3, 2, layout="strided")), "50": (d(50, 50), d(50, 40))}  # fmt: skip


def pairs(name, call, inputs, **options):
    given = {"dtypes": FLOATS, **LOOSE, **options}
    return [Row(f"{name}/{key}", call, list(xs), **given) for key, xs in inputs.items()]


def some(*keys):
    return {k: AB[k] for k in keys}


def tri(m, x):
    return x * 0.4 + 2 * m.eye(x.shape[-1], dtype=x.dtype)


TRIANGLES = [(u, left, o) for u in (True, False) for left in (True, False) for o in (True, False)]

ROWS = [
    *pairs("linalg.solve", lambda m, a, b: m.linalg.solve(pd(m, a), b), AB),
    *pairs("linalg.solve right", lambda m, a, b: m.linalg.solve(regular(m, a), b.mT, left=False),
           some("matrix", "batch", "broadcast")),
    *pairs("linalg.solve_ex", lambda m, a, b: m.linalg.solve_ex(pd(m, a), b), some("matrix", "vectors")),
    Row("linalg.solve_ex/singular", lambda m, a, b: m.linalg.solve_ex(a * 0, b).info, [d(2, 3, 3), d(2, 3, 2)], grad=False),
    *each("linalg.inv", lambda m, x: m.linalg.inv(regular(m, x)), SQUARE),
    *each("linalg.inv_ex", lambda m, x: m.linalg.inv_ex(pd(m, x)), {"3": d(2, 3, 3)}),
    *each("inverse", lambda m, x: [m.inverse(pd(m, x)), pd(m, x).inverse()], {"3": d(3, 3)}),
    *pairs("linalg.lu_solve", lambda m, a, b: m.linalg.lu_solve(*m.linalg.lu_factor(regular(m, a)), b),
           some("matrix", "batch", "empty")),
    *pairs("linalg.lu_solve adjoint",
           lambda m, a, b: m.linalg.lu_solve(*m.linalg.lu_factor(regular(m, a)), b, adjoint=True), some("batch")),
    *[r for adjoint in (False, True) for r in pairs(
        f"linalg.lu_solve right {adjoint}",
        lambda m, a, b, adjoint=adjoint: m.linalg.lu_solve(
            *m.linalg.lu_factor(regular(m, a)), b.mT, left=False, adjoint=adjoint), some("matrix"))],
    *pairs("lu_solve", lambda m, a, b: m.lu_solve(b, *m.linalg.lu_factor(pd(m, a))), some("matrix")),
    *[r for u, left, o in TRIANGLES for r in pairs(
        f"linalg.solve_triangular {u} {left} {o}",
        lambda m, a, b, u=u, left=left, o=o: m.linalg.solve_triangular(
            tri(m, a), b if left else b.mT, upper=u, left=left, unitriangular=o),
        some("matrix", "broadcast") if u else some("batch"))],
    *pairs("linalg.solve_triangular sizes", lambda m, a, b: m.linalg.solve_triangular(tri(m, a), b, upper=False),
           some("empty", "no columns", "0", "transposed")),
    *[r for t in (True, False) for r in pairs(
        f"triangular_solve {t}", lambda m, a, b, t=t: m.triangular_solve(b, tri(m, a), transpose=t).solution,
        some("matrix", "batch"))],
    *each("linalg.det", lambda m, x: [m.linalg.det(x), m.det(x), x.det()], {k: v for k, v in SQUARE.items() if k != "40"}),
    *each("linalg.slogdet", lambda m, x: m.linalg.slogdet(regular(m, x)), SQUARE),
    *each("slogdet", lambda m, x: [m.slogdet(x), (-x).slogdet()], {"3": d(2, 3, 3)}),
    *each("slogdet singular", lambda m, x: m.slogdet(x * 0), {"3": d(2, 3, 3)}, grad=False),
    *each("logdet", lambda m, x: [m.logdet(pd(m, x)), pd(m, x).logdet()], {"3": d(2, 3, 3), "1": d(1, 1)}),
    *each("logdet negative", lambda m, x: m.logdet(-pd(m, x)), {"3": d(3, 3)}, grad=False),
    *each("linalg.pinv", lambda m, x: m.linalg.pinv(apart(m, x)),
          {"tall": d(5, 3), "wide": d(3, 5), "batch": d(2, 3, 3), "empty": d(0, 3)}),
    *each("linalg.pinv rank", lambda m, x: m.linalg.pinv(x[:, :2] @ x[:2]), {"5": d(5, 5)}, grad=False),
    *each("linalg.pinv hermitian", lambda m, x: m.linalg.pinv(pd(m, x), hermitian=True), {"3": d(2, 3, 3)}),
    *each("linalg.pinv tolerance", lambda m, x: [m.linalg.pinv(x, atol=0.5), m.linalg.pinv(x, rtol=0.3),
                                                 m.linalg.pinv(x, 0.3), m.linalg.pinv(x, atol=0.5, rtol=0.1)],
          {"4": d(4, 3)}, grad=False),
    *each("pinverse", lambda m, x: [m.pinverse(apart(m, x)), x.pinverse()], {"4": d(4, 3)}),
    *each("linalg.matrix_rank", lambda m, x: [
        m.linalg.matrix_rank(x), m.linalg.matrix_rank(x[..., :2] @ x[..., :2, :]), m.linalg.matrix_rank(x, atol=2.0),
        m.linalg.matrix_rank(x, rtol=0.5), m.linalg.matrix_rank(pd(m, x), hermitian=True), m.linalg.matrix_rank(x, 1.0)],
          {"4": d(4, 4), "batch": d(2, 3, 3)}, grad=False),
    *each("linalg.matrix_rank tensor", lambda m, x: m.linalg.matrix_rank(x, atol=m.tensor([0.1, 9.0], dtype=x.dtype)),
          {"batch": d(2, 3, 3)}, grad=False),
    *each("linalg.matrix_rank empty", lambda m, x: m.linalg.matrix_rank(x), {"0": d(0, 3), "batch": d(2, 3, 0)}, grad=False),
    *[r for p in (None, 2, -2, "fro", "nuc", 1, -1, INF, -INF) for r in each(
        f"linalg.cond {p}", lambda m, x, p=p: m.linalg.cond(pd(m, x) + m.diag(m.arange(3).to(x.dtype)), p),
        {"3": d(2, 3, 3)}, grad=p in (None, 2, -2, "nuc"))],
    *each("linalg.cond tall", lambda m, x: m.linalg.cond(apart(m, x)), {"5": d(5, 3)}),
    *each("linalg.cond singular", lambda m, x: m.linalg.cond(x * 0, 1), {"3": d(3, 3)}, grad=False),
    *[r for driver in (None, "gels", "gelsd", "gelss", "gelsy") for r in pairs(
        f"linalg.lstsq {driver}",
        lambda m, a, b, driver=driver: list(m.linalg.lstsq(apart(m, a), b, driver=driver)),
        {"tall": (d(5, 3), d(5, 2)), "square": (d(3, 3), d(3, 2)), "wide": (d(3, 5), d(3, 2)),
         "batch": (d(2, 5, 3), d(2, 5, 2))}, grad=False)],
    *pairs("linalg.lstsq grad", lambda m, a, b: m.linalg.lstsq(apart(m, a), b).solution,
           {"tall": (d(5, 3), d(5, 2)), "vectors": (d(2, 4, 3), d(2, 4))}),
    *each("linalg.tensorinv", lambda m, x: m.linalg.tensorinv((pd(m, x)).reshape(2, 3, 6)), {"6": d(6, 6)}),
    *each("linalg.tensorinv 1", lambda m, x: m.linalg.tensorinv((pd(m, x)).reshape(6, 2, 3), ind=1), {"6": d(6, 6)}),
    *pairs("linalg.tensorsolve", lambda m, a, b: m.linalg.tensorsolve(pd(m, a).reshape(2, 3, 3, 2), b),
           {"6": (d(6, 6), d(2, 3))}),
    *pairs("linalg.tensorsolve dims", lambda m, a, b: m.linalg.tensorsolve(
        pd(m, a).reshape(2, 3, 3, 2).permute(2, 0, 1, 3), b, dims=(0, 3)), {"6": (d(6, 6), d(2, 3))}),
    *rows("linalg.solve refuses", {
        "singular": lambda m, a: m.linalg.solve(a * 0, a), "batch": lambda m, a: m.linalg.inv(m.stack([a, a * 0])),
        "inv": lambda m, a: m.linalg.inv(a * 0), "inv shape": lambda m, a: m.linalg.inv(a[:2]),
        "inv vector": lambda m, a: m.linalg.inv(a[0]), "inv int": lambda m, a: m.linalg.inv(a.long()),
        "inv half": lambda m, a: m.linalg.inv(a.to(m.float16)), "inv_ex": lambda m, a: m.linalg.inv_ex(a * 0, check_errors=True),
        "shapes": lambda m, a: m.linalg.solve(a, a[:2]), "types": lambda m, a: m.linalg.solve(a, a.to(m.float64)),
        "vector right": lambda m, a: m.linalg.solve(a, a[0], left=False),
        "upper": lambda m, a: m.linalg.solve_triangular(a, a), "vector": lambda m, a: m.linalg.solve_triangular(a, a[0], upper=True),
        "det int": lambda m, a: m.linalg.det(a.long()), "det shape": lambda m, a: m.linalg.det(a[:2]),
        "slogdet": lambda m, a: m.linalg.slogdet(a[:2]), "lstsq": lambda m, a: m.linalg.lstsq(a, a[:2]),
        "lstsq driver": lambda m, a: m.linalg.lstsq(a, a, driver="x"), "cond": lambda m, a: m.linalg.cond(a, 3),
        "tensorinv": lambda m, a: m.linalg.tensorinv(a, 3), "tensorsolve": lambda m, a: m.linalg.tensorsolve(a, a),
        "matrix_rank": lambda m, a: m.linalg.matrix_rank(a[0]), "pinv": lambda m, a: m.linalg.pinv(a.long()),
        "lu_solve": lambda m, a: m.linalg.lu_solve(a, a[0], a),
    }, d(3, 3), error=True),
]  # fmt: skip

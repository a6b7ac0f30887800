"""Norms and distances."""

from __future__ import annotations

import math

from tests.parity.core import FLOATS, Row, d, rows
from tests.parity.rows.linalg_factor import LOOSE, apart, each
from tests.parity.rows.linalg_solve import pairs

INF = math.inf
ORDERS = (2, 1, 0, INF, -INF, 3, 2.5, -1, -2, 0.5)
MATRIX = ("fro", "nuc", 1, -1, 2, -2, INF, -INF)
DISTANCES = (0, 0.5, 1, 1.5, 2, 3, INF)

ROWS = [
    *[r for p in ORDERS for r in each(f"linalg.vector_norm {p}", lambda m, x, p=p: [
        m.linalg.vector_norm(x, p), m.linalg.vector_norm(x, p, 1), m.linalg.vector_norm(x, p, (0, 2), True)],
        {"3": d(2, 3, 4), "strided": d(2, 3, 4, layout="strided")})],
    *[r for p in (2, 1, 3, INF, -INF) for r in each(f"linalg.vector_norm zero {p}", lambda m, x, p=p: m.linalg.vector_norm(
        x * 0, p), {"3": d(3)})],
    *[r for p in (2, 1, 0, 3) for r in each(f"linalg.vector_norm empty {p}", lambda m, x, p=p: m.linalg.vector_norm(
        x, p, 0), {"0": d(0, 3), "3": d(3, 0)})],
    *each("linalg.vector_norm dtype", lambda m, x: m.linalg.vector_norm(x, dtype=m.float64), {"3": d(3)}),
    *[r for p in MATRIX for r in each(f"linalg.matrix_norm {p}", lambda m, x, p=p: [
        m.linalg.matrix_norm(apart(m, x), p), m.linalg.matrix_norm(apart(m, x), p, keepdim=True)],
        {"3": d(2, 3, 4), "transposed": d(4, 3, layout="transposed")})],
    *[r for p in ("fro", "nuc", 1, INF) for r in each(f"linalg.matrix_norm dims {p}", lambda m, x, p=p: [
        m.linalg.matrix_norm(x, p, (0, 2)), m.linalg.matrix_norm(x, p, (-1, 0), True)], {"3": d(2, 3, 4)})],
    *[r for p in ("fro", "nuc", 2) for r in each(f"linalg.matrix_norm empty {p}", lambda m, x, p=p: m.linalg.matrix_norm(
        x, p), {"0": d(0, 3), "batch": d(0, 3, 2)}, grad=False)],
    *each("linalg.norm", lambda m, x: [
        m.linalg.norm(x), m.linalg.norm(x, dim=1), m.linalg.norm(x, "fro"), m.linalg.norm(x, 1), m.linalg.norm(x, INF),
        m.linalg.norm(x, 3, dim=0), m.linalg.norm(x, "nuc", dim=(0, 1), keepdim=True), m.linalg.norm(x[0], 3),
        m.linalg.norm(x, dim=(0, 1)), m.linalg.norm(x[0], 0), m.linalg.norm(x, 2)], {"3": d(3, 4)}),
    *each("linalg.norm 3D", lambda m, x: [m.linalg.norm(x), m.linalg.norm(x, dim=(1, 2)), m.linalg.norm(x, 1, (1, 2))],
          {"3": d(2, 3, 4)}),
    *each("norm", lambda m, x: [
        m.norm(x), x.norm(), x.norm(1), x.norm(2, 1), m.norm(x, INF, 0), m.norm(x, p="fro", dim=(0, 1)), m.norm(x, 3, (0, 1)),
        m.norm(x, -INF, 1, True), m.norm(x, "nuc"), x.norm(0), x.norm(p=1.5, dim=-1), x.norm(dtype=m.float64),
        m.norm(x, dim=1), x.norm(2, ()), m.norm(x, 1, dim=(0, 1))], {"3": d(3, 4)}),
    *each("norms named", lambda m, x: [m.nuclear_norm(x), m.frobenius_norm(x, dim=1), m.frobenius_norm(x, dim=(0, 1))],
          {"3": d(3, 4)}),
    *pairs("dist", lambda m, x, y: [m.dist(x, y), x.dist(y, 1), m.dist(x, y, 3), m.dist(x, y, INF)],
           {"3": (d(3, 4), d(3, 4))}),
    *each("renorm", lambda m, x: [m.renorm(x, 2, 0, 1.5), x.renorm(1, 1, 2.0), x.renorm(3, -1, 0.5)], {"3": d(3, 4)}),
    *each("renorm_", lambda m, x: (x * 1).renorm_(2, 0, 1.5), {"3": d(3, 4)}),
    *[r for p in DISTANCES for r in pairs(f"cdist {p}", lambda m, x, y, p=p: m.cdist(x, y, p), {
        "3": (d(3, 4), d(5, 4)), "batch": (d(2, 1, 3, 4), d(3, 2, 4)), "empty": (d(0, 4), d(3, 4)), "0": (d(3, 0), d(2, 0))},
        grad=p not in (0.5, 0))],
    *pairs("cdist many", lambda m, x, y: m.cdist(x, y), {"30": (d(30, 4), d(27, 4))}),
    *[Row(f"cdist mode {i}", lambda m, x, y, mode=mode: m.cdist(x, y, compute_mode=mode), [d(3, 4), d(5, 4)], **LOOSE)
      for i, mode in enumerate(("use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist"))],
    *each("cdist itself", lambda m, x: m.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist"), {"3": d(3, 4)}),
    *[r for p in DISTANCES for r in each(f"pdist {p}", lambda m, x, p=p: m.pdist(x, p), {"4": d(4, 3), "1": d(1, 3)},
                                         grad=p not in (0.5, 0))],
    Row("cosine_similarity", lambda m, x, y: m.cosine_similarity(x, y, dim=-1), [d(3, 4), d(3, 4)], dtypes=FLOATS),
    *rows("norms refuse", {
        "int": lambda m, x: m.linalg.vector_norm(x.long()), "int norm": lambda m, x: m.linalg.norm(x.long()),
        "vector": lambda m, x: m.linalg.matrix_norm(x[0]), "order": lambda m, x: m.linalg.matrix_norm(x, 3),
        "text": lambda m, x: m.linalg.norm(x, "x"), "dims": lambda m, x: m.linalg.matrix_norm(x, dim=(0, 0)),
        "one dim": lambda m, x: m.linalg.matrix_norm(x, dim=(0,)), "empty": lambda m, x: m.linalg.vector_norm(x[:0], INF),
        "vector fro": lambda m, x: m.linalg.norm(x[0], "nuc"), "3D": lambda m, x: m.linalg.norm(x.reshape(1, 3, 4), 2),
        "range": lambda m, x: m.linalg.vector_norm(x, 2, 5), "cdist": lambda m, x: m.cdist(x, x[:, :2]),
        "cdist p": lambda m, x: m.cdist(x, x, -1), "cdist mode": lambda m, x: m.cdist(x, x, compute_mode="mm"),
        "cdist rank": lambda m, x: m.cdist(x[0], x), "pdist": lambda m, x: m.pdist(x[0]),
        "renorm": lambda m, x: m.renorm(x[0], 2, 0, 1.0), "norm text": lambda m, x: m.norm(x, "x"),
    }, d(3, 4), error=True),
]  # fmt: skip

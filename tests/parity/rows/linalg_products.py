"""Products, powers, einsum, and matrices put together from others."""

from __future__ import annotations

from tests.parity.core import FLOATS, NUMBERS, Row, d, rows
from tests.parity.rows.linalg_factor import LOOSE, each, regular
from tests.parity.rows.linalg_solve import pairs

EINSUM = (
    ("ij,jk->ik", (3, 4), (4, 5)), ("ij,jk", (3, 4), (4, 2)), ("bij,bjk->bik", (2, 3, 4), (2, 4, 5)),
    ("ii->i", (4, 4)), ("ii", (4, 4)), ("...ii->...i", (2, 3, 3)), ("ij->ji", (3, 4)), ("ij->", (3, 4)),
    ("i,j->ij", (3,), (4,)), ("i,i", (5,), (5,)), ("...ij,...jk->...ik", (2, 1, 3, 4), (5, 4, 6)),
    ("...,...->...", (2, 3), (3,)), ("...i,...i", (4,), (2, 3, 4)), ("i...->...", (3, 2, 4)), ("...i->i", (3, 2, 4)),
    ("ij,jk,kl->il", (3, 4), (4, 5), (5, 6)), ("bi,ijk,bk->bj", (2, 3), (3, 4, 5), (2, 5)), ("ba", (2, 3)),
    ("aB,Bc", (3, 4), (4, 2)), ("ij,ij->ij", (3, 1), (3, 4)), ("ij,jk->ik", (3, 1), (4, 5)), ("ij,jk->ik", (3, 0), (0, 5)),
    (" i j , j k -> k i ", (3, 4), (4, 5)), ("iij,jk->ik", (3, 3, 4), (4, 5)), ("i,->i", (3,), ()),
)  # fmt: skip


def lists(m, a, b):
    return [m.einsum(a, [0, 1], b, [1, 2], [0, 2]), m.einsum(a, [0, 1], b, [1, 2]), m.einsum(a, [..., 0], [0, ...]),
            m.einsum(a, [51, 3], b, [3, 30], [30, 51])]  # fmt: skip


A, B = d(3, 4), d(4, 5)
ADDED = {"": {}, "beta": {"beta": 2, "alpha": 3}, "no beta": {"beta": 0}}

ROWS = [
    *[Row(f"einsum/{i} {e}", lambda m, *xs, e=e: m.einsum(e, *xs), [d(*s) for s in shapes], dtypes=FLOATS, **LOOSE)
      for i, (e, *shapes) in enumerate(EINSUM)],
    Row("einsum/ints", lambda m, a, b: m.einsum("ij,jk->ik", a, b), [A, B], dtypes=("int32", "int64")),
    Row("einsum/lists", lists, [A, B], dtypes=FLOATS, **LOOSE),
    Row("einsum/list of operands", lambda m, a, b: m.einsum("ij,jk->ik", [a, b]), [A, B]),
    *[Row(f"addmm/{k}", lambda m, c, a, b, o=o: [m.addmm(c, a, b, **o), c.addmm(a, b, **o), m.addmm(c[0], a, b, **o)],
          [d(3, 5), A, B], dtypes=(*FLOATS, "int64"), **LOOSE) for k, o in ADDED.items()],
    *[Row(f"addmv/{k}", lambda m, c, a, b, o=o: [m.addmv(c, a, b, **o), c.addmv(a, b, **o), m.addmv(c[:1], a, b, **o)],
          [d(3), A, d(4)], dtypes=(*FLOATS, "int64"), **LOOSE) for k, o in ADDED.items()],
    *[Row(f"addr/{k}", lambda m, c, a, b, o=o: [m.addr(c, a, b, **o), c.addr(a, b, **o)],
          [d(3, 4), d(3), d(4)], dtypes=NUMBERS, **LOOSE) for k, o in ADDED.items()],
    *[Row(f"addbmm/{k}", lambda m, c, a, b, o=o: [m.addbmm(c, a, b, **o), c.addbmm(a, b, **o)],
          [d(3, 5), d(2, 3, 4), d(2, 4, 5)], dtypes=(*FLOATS, "int64"), **LOOSE) for k, o in ADDED.items()],
    *[Row(f"baddbmm/{k}", lambda m, c, a, b, o=o: [m.baddbmm(c, a, b, **o), c.baddbmm(a, b, **o), m.baddbmm(c[0], a, b, **o)],
          [d(2, 3, 5), d(2, 3, 4), d(2, 4, 5)], dtypes=(*FLOATS, "int64"), **LOOSE) for k, o in ADDED.items()],
    Row("addmm/nan", lambda m, c, a, b: m.addmm(c * float("nan"), a, b, beta=0), [d(3, 5), A, B], grad=False),
    Row("addmm/in place", lambda m, c, a, b: [(c * 1).addmm_(a, b, alpha=2), (c[:, 0] * 1).addmv_(a, b[:, 0]),
                                              (c * 1).addr_(c[:, 0], b[0])], [d(3, 5), A, B], **LOOSE),
    *rows("inner products", {
        "dot": lambda m, x, y: m.dot(x, y), "vdot": lambda m, x, y: m.vdot(x, y), "method": lambda m, x, y: x.vdot(y),
        "inner": lambda m, x, y: m.inner(x, y), "outer": lambda m, x, y: m.outer(x, y), "ger": lambda m, x, y: m.ger(x, y),
    }, d(4), d(4), dtypes=(*FLOATS, "int64")),
    *pairs("linalg.vecdot", lambda m, x, y: [m.linalg.vecdot(x, y), m.linalg.vecdot(x, y, dim=0)], {
        "3": (d(3, 4), d(3, 4)), "broadcast": (d(3, 1), d(3, 4)), "empty": (d(3, 0), d(3, 0))}),
    *pairs("inner", lambda m, x, y: m.inner(x, y), {"2": (d(3, 4), d(5, 4)), "3": (d(2, 3, 4), d(4)), "0": (d(), d(3))}),
    *pairs("linalg.cross", lambda m, x, y: [m.linalg.cross(x, y), m.cross(x, y, dim=-1), x.cross(y, -1)],
           {"3": (d(2, 3), d(2, 3)), "broadcast": (d(4, 1, 3), d(1, 2, 3))}),
    *pairs("linalg.cross dim", lambda m, x, y: [m.linalg.cross(x, y, dim=0), m.cross(x, y), x.cross(y)], {"3": (d(3, 2), d(3, 2))}),
    Row("linalg.cross/ints", lambda m, x, y: m.linalg.cross(x, y), [d(2, 3), d(2, 3)], dtypes=("int32", "int64")),
    *pairs("kron", lambda m, x, y: [m.kron(x, y), x.kron(y)], {
        "2": (d(2, 3), d(4, 2)), "ranks": (d(2), d(3, 2, 2)), "0": (d(), d(2, 2)), "empty": (d(0, 2), d(2, 2))}),
    Row("kron/ints", lambda m, x, y: m.kron(x, y), [d(2, 2), d(2, 2, dtype="int64")], dtypes=NUMBERS),
    *pairs("tensordot", lambda m, x, y: [
        m.tensordot(x, y), m.tensordot(x, y, dims=2), m.tensordot(x, y.permute(1, 2, 0), dims=([1, 2], [2, 0])),
        m.tensordot(x, y, ([-1], [1])), m.tensordot(x[0, 0], y[0, 0], 0)], {"3": (d(2, 3, 4), d(3, 4, 5))}),
    *pairs("linalg.multi_dot", lambda m, x, y: [
        m.linalg.multi_dot([x, y]), m.linalg.multi_dot([x, y, y.mT, x.mT]), m.linalg.multi_dot([x[0], y, y[0]]),
        m.linalg.multi_dot((x[0], y)), m.linalg.multi_dot([x, y[:, 0]]), m.chain_matmul(x, y, y.mT)], {"3": (A, B)}),
    *[r for n in (0, 1, 2, 3, 5, -1, -2) for r in each(f"linalg.matrix_power {n}", lambda m, x, n=n: m.linalg.matrix_power(
        regular(m, x) * 0.3, n), {"3": d(3, 3), "batch": d(2, 2, 2), "empty": d(0, 2, 2), "0": d(0, 0)})],
    *each("matrix_power", lambda m, x: [m.matrix_power(x, 3), x.matrix_power(2)], {"3": d(3, 3)}, dtypes=(*FLOATS, "int64")),
    *each("linalg.matrix_exp", lambda m, x: [m.linalg.matrix_exp(x), m.matrix_exp(x), (x * 0.01).matrix_exp()], {
        "3": d(3, 3), "batch": d(2, 3, 4, 4), "1": d(1, 1), "empty": d(0, 2, 2), "0": d(0, 0),
        "transposed": d(3, 3, layout="transposed"), "large": d(3, 3, low=-9, high=1)}),
    *each("linalg.vander", lambda m, x: [m.linalg.vander(x), m.linalg.vander(x, N=5)], {"3": d(2, 3), "1": d(4)},
          dtypes=NUMBERS, grad=True),
    *each("vander", lambda m, x: [m.vander(x), m.vander(x, 2), m.vander(x, increasing=True), m.vander(x, 0)], {"4": d(4)},
          dtypes=(*FLOATS, "int64"), grad=False),
    Row("block_diag", lambda m, x, y, z: [m.block_diag(x, y, z), m.block_diag(y), m.block_diag()], [d(2, 3), d(2), d()],
        dtypes=NUMBERS),
    Row("block_diag/promoted", lambda m, x, y: m.block_diag(x, y), [d(2, 3), d(2, 1, dtype="int64")]),
    *each("trace", lambda m, x: [m.trace(x), x.trace()], {"4": d(4, 4), "tall": d(4, 2)}, dtypes=NUMBERS),
    Row("svd_lowrank", lambda m, x: [s := m.svd_lowrank(x[:, :2] @ x[:2], q=4), (s[0] * s[1]) @ s[2].mT][1],
        [d(6, 5)], dtypes=FLOATS, grad=False, **LOOSE),
    Row("svd_lowrank/wide", lambda m, x: [s := m.svd_lowrank(x[:, :2] @ x[:2], q=3, M=x[:1] * 0), s[1][:2]][1],
        [d(4, 7)], dtypes=FLOATS, grad=False, **LOOSE),
    Row("pca_lowrank", lambda m, x: [m.pca_lowrank(x, q=4)[1], [tuple(t.shape) for t in m.pca_lowrank(x)]],
        [d(6, 4)], dtypes=FLOATS, grad=False, **LOOSE),
    *rows("products refuse", {
        "einsum count": lambda m, a: m.einsum("ij,jk", a), "einsum rank": lambda m, a: m.einsum("ijk", a),
        "einsum output": lambda m, a: m.einsum("ij->ik", a), "einsum twice": lambda m, a: m.einsum("ij->ii", a),
        "einsum sizes": lambda m, a: m.einsum("ii", a), "einsum letters": lambda m, a: m.einsum("i1", a),
        "einsum list": lambda m, a: m.einsum(a, [0, 52]), "einsum types": lambda m, a: m.einsum("ij,ij", a, a.to(m.float64)),
        "addmm": lambda m, a: m.addmm(a, a, a), "addmm type": lambda m, a: m.addmm(a, a, a.mT.to(m.float64)),
        "addmv": lambda m, a: m.addmv(a, a, a), "addr": lambda m, a: m.addr(a, a, a), "baddbmm": lambda m, a: m.baddbmm(a, a, a),
        "addbmm": lambda m, a: m.addbmm(a, a, a), "addmm shape": lambda m, a: m.addmm(a, a, a.mT),
        "dot": lambda m, a: m.dot(a, a), "vdot": lambda m, a: m.vdot(a, a), "cross": lambda m, a: m.linalg.cross(a, a),
        "cross ranks": lambda m, a: m.linalg.cross(a.mT, a.mT[0], dim=-1), "tensordot": lambda m, a: m.tensordot(a, a, 1),
        "tensordot lists": lambda m, a: m.tensordot(a, a, ([0], [0, 1])), "multi_dot": lambda m, a: m.linalg.multi_dot([a]),
        "multi_dot shapes": lambda m, a: m.linalg.multi_dot([a, a]), "matrix_power": lambda m, a: m.linalg.matrix_power(a, 2),
        "matrix_power float": lambda m, a: m.linalg.matrix_power(a[:, :3], 1.5), "matrix_exp": lambda m, a: m.linalg.matrix_exp(a),
        "matrix_exp int": lambda m, a: m.linalg.matrix_exp(a[:, :3].long()), "vander": lambda m, a: m.vander(a),
        "vander N": lambda m, a: m.linalg.vander(a, N=1), "vecdot": lambda m, a: m.linalg.vecdot(a, a[:, :2]), "vecdot int": lambda m, a: m.linalg.vecdot(a.long(), a.long()),
        "block_diag": lambda m, a: m.block_diag(a.reshape(3, 2, 2)), "mm": lambda m, a: m.mm(a, a), "bmm": lambda m, a: m.bmm(a, a),
        "pca": lambda m, a: m.pca_lowrank(a, q=5), "trace": lambda m, a: m.trace(a[0]),
    }, d(3, 4), error=True),
]  # fmt: skip

"""Distinct elements, places in sorted sequences, determinants, einsum: beside torch."""

import numpy as np
import pytest
from against import compare, data, gradients, refused, tk

ROWS = [[1, 2, 1], [3, 1, 1], [1, 2, 1], [1, 2, 2], [3, 1, 1], [3, 1, 1]]
KINDS = ["float32", "int64", "bool", "uint8", "float16"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["unique", "unique_consecutive"])
@pytest.mark.parametrize("dim", [None, 0, 1, -1])
def test_unique(kind, name, dim):
    def run(m):
        x = m.tensor(ROWS).to(getattr(m, kind))
        f = getattr(m, name)
        everything = f(x, return_inverse=True, return_counts=True, dim=dim)
        return [f(x, dim=dim), *f(x, return_counts=True, dim=dim), *everything]

    compare(run)


def test_unique_of_little():
    def run(m):
        empty, x = m.tensor([]), m.tensor([3.0, 1.0, 3.0])
        return [
            *m.unique(empty, return_inverse=True, return_counts=True), x.unique(sorted=True),
            *m.unique_consecutive(empty, return_inverse=True, return_counts=True),
            x.unique_consecutive(), m.unique(m.tensor(2.0)), m.unique_consecutive(m.tensor(2.0)),
        ]  # fmt: skip

    compare(run)


@pytest.mark.parametrize("right", [False, True])
def test_searchsorted_and_bucketize(right):
    def run(m):
        edges = m.tensor([1.0, 2.0, 2.0, 5.0])
        values = m.tensor([[0.0, 1.0, 2.0], [3.0, 5.0, 9.0]])
        rows = m.tensor([[1.0, 3.0], [2.0, 2.0]])
        order = m.tensor([2, 0, 1])
        return [
            m.searchsorted(edges, values, right=right), m.bucketize(values, edges, right=right),
            m.searchsorted(rows, values, right=right), m.searchsorted(edges, 2.0, right=right),
            m.bucketize(m.tensor([1, 2]), edges, right=right, out_int32=True),
            m.searchsorted(m.tensor([2, 3, 1]), m.tensor([1, 2, 9]), right=right, sorter=order),
            m.searchsorted(edges, values, side="right" if right else "left"),
        ]  # fmt: skip

    compare(run)


def test_det():
    gradients(lambda m, x: m.det(x), (4, 4), rtol=1e-4, atol=1e-4)
    gradients(lambda m, x: m.linalg.det(x), (2, 3, 3, 3), rtol=1e-4, atol=1e-4)
    gradients(lambda m, x: x.det() + x[..., :1, :1].det(), (3, 2, 2), rtol=1e-4, atol=1e-4)
    compare(lambda m: [m.det(m.ones(0, 0)), m.det(m.zeros(3, 3)), m.det(m.ones(2, 0, 0))])
    x = tk.tensor([[1.0, 2.0], [2.0, 4.0]], requires_grad=True)
    x.det().backward()
    assert x.grad.tolist() == [[4, -2], [-2, 1]]  # Cofactors, though there is no inverse.


EQUATIONS = [
    ("ij,jk->ik", (3, 4), (4, 5)), ("bhqd,bkhd->bhqk", (2, 3, 4, 5), (2, 6, 3, 5)), ("ii", (4, 4)),
    ("ii->i", (4, 4)), ("...ii->...i", (2, 3, 3)), ("...ij,jk", (2, 3, 4), (4, 5)),
    ("ij,kj,lj->ikl", (2, 3), (4, 3), (5, 3)), ("i,j", (3,), (4,)), ("ij->", (3, 4)),
    ("b i, b i -> b", (3, 4), (3, 4)), ("aab,bc->ac", (3, 3, 2), (2, 4)),
    ("...i,...i->...", (2, 1, 3), (4, 3)), ("ij,i->j", (1, 4), (3,)),
]  # fmt: skip


@pytest.mark.parametrize("equation, shapes", [(e, s) for e, *s in EQUATIONS], ids=str)
def test_einsum(equation, shapes):
    gradients(lambda m, *x: m.einsum(equation, *x), *shapes, rtol=1e-4, atol=1e-5)


def test_einsum_of_integers():
    def run(m):
        a, b = m.arange(12).reshape(3, 4), m.arange(8).reshape(4, 2)
        return [m.einsum("ij,jk", a, b), m.einsum("ij,jk", [a.int(), b.int()])]

    compare(run)


@pytest.mark.parametrize(
    "program, message",
    [
        ("m.det(m.ones(3))", "at least 2 dimensions"),
        ("m.det(m.ones(2, 3))", "square"),
        ("m.einsum('ij,jk', m.ones(2, 2), m.ones(2, 2).double())", "dtype"),
        ("m.einsum('ij->ijk', m.ones(2, 2))", "output subscript k"),
        ("m.einsum('ij,jk', m.ones(2, 3), m.ones(4, 2))", "Einsum|dimension|does not broadcast"),
        ("m.bucketize(m.ones(2), m.ones(2, 2))", "must be 1 dimension"),
        ("m.searchsorted(m.ones(2, 2), m.ones(3, 2))", "boundaries tensor"),
        ("m.searchsorted(m.ones(2), m.ones(2), side='left', right=True)", "opposites"),
        ("m.unique(m.ones(2), dim=3)", "Dimension out of range"),
    ],
)
def test_refused(program, message):
    import re

    said = refused(lambda m: eval(program, {"m": m}))
    assert re.search(message, said), said


def test_einsum_exports_one_node():
    from toolkit.tracing import Trace

    with Trace() as t:
        x = t.input("x", tk.float32, ("n", 3))
        y = tk.einsum("ni,nj->ij", x, x)
    model = t.finish({"y": y})
    assert [n.op_type for n in model.graph] == ["Einsum"]
    from toolkit.runtime import InferenceSession

    (got,) = InferenceSession(model).run(None, {"x": data(5, 3)})
    np.testing.assert_allclose(got, data(5, 3).T @ data(5, 3), rtol=1e-5, atol=1e-5)

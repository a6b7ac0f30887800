# ruff: noqa: E501
"""Histograms, membership, segments, flat indices."""

from __future__ import annotations

from tests.parity.core import FLOATS, INTEGERS, NUMBERS, Row, d, rows

SMALL = {"low": 0, "high": 5}
ROWS = [
    *rows("histogram", {
        "histc": lambda m, x: m.histc(x, 5), "histc range": lambda m, x: x.histc(4, -1.0, 1.5),
        "histc equal": lambda m, x: m.histc(x, 3, 1, 1), "histogram": lambda m, x: m.histogram(x, 4),
        "range": lambda m, x: m.histogram(x, 4, range=(-1.0, 1.5)),
        "edges": lambda m, x: m.histogram(x, m.tensor([-2.0, -0.5, 0.25, 2.0]).to(x.dtype)),
        "density": lambda m, x: m.histogram(x, 4, density=True),
        "weight": lambda m, x: x.histogram(4, weight=x * x),
        "weighted density": lambda m, x: x.histogram(3, weight=x * x, density=True),
        "dd": lambda m, x: m.histogramdd(x, [2, 3, 2]),
        "dd one": lambda m, x: m.histogramdd(x, 2, range=[-1.0, 1.0, -1.0, 1.5, 0.0, 1.0]),
        "dd density": lambda m, x: m.histogramdd(x, [2, 2, 2], density=True),
        "dd weight": lambda m, x: m.histogramdd(x, [2, 2, 2], weight=x[:, 0] ** 2)},
        d(20, 3), dtypes=FLOATS, grad=False),
    *rows("histogram errors", {
        "bins": lambda m, x: m.histc(x, 0), "order": lambda m, x: m.histc(x, 4, 2, 1),
        "nan": lambda m, x: m.histc(x / 0, 4), "edges": lambda m, x: m.histogram(x, m.zeros(2, 2)),
        "weight": lambda m, x: m.histogram(x, 3, weight=m.ones(2)), "dd": lambda m, x: m.histogramdd(x[:, 0], [3]),
        "dd bins": lambda m, x: m.histogramdd(x, [2, 2])}, d(6, 3), error=True),
    *rows("bincount", {
        "": lambda m, x: m.bincount(x), "min": lambda m, x: x.bincount(minlength=9),
        "weights": lambda m, x: m.bincount(x, m.arange(7.0)),
        "weights int": lambda m, x: m.bincount(x, m.arange(7)), "empty": lambda m, x: m.bincount(x[:0]),
        "empty min": lambda m, x: m.bincount(x[:0], minlength=3)}, d(7, **SMALL), dtypes=INTEGERS),
    *rows("bincount errors", {
        "2d": lambda m, x: m.bincount(x[None]), "negative": lambda m, x: m.bincount(x - 9),
        "float": lambda m, x: m.bincount(x.float()), "weights": lambda m, x: m.bincount(x, m.ones(2))},
        d(7, **SMALL), dtypes=("int64",), error=True),
    *rows("isin", {
        "": lambda m, x, y: m.isin(x, y), "invert": lambda m, x, y: m.isin(x, y, invert=True),
        "number": lambda m, x, y: m.isin(x, 2), "of number": lambda m, x, y: m.isin(1, y),
        "unique": lambda m, x, y: m.isin(x, y.unique(), assume_unique=True)},
        d(3, 4, **SMALL), d(3, **SMALL), dtypes=NUMBERS, grad=False),
    *rows("unravel_index", {
        "": lambda m, x: m.unravel_index(x, (2, 3, 4)), "size": lambda m, x: m.unravel_index(x, 24),
        "2d": lambda m, x: m.unravel_index(x.reshape(2, 3), (6, 4))},
        d(6, low=0, high=20), dtypes=("int32", "int64")),
    *rows("segment_reduce", {
        k: (lambda m, x, k=k: m.segment_reduce(x, k, lengths=m.tensor([2, 3, 1])))
        for k in ("sum", "mean", "max", "min", "prod")}, d(6, 2), dtypes=FLOATS),
    *rows("segment_reduce", {
        "empty": lambda m, x: m.segment_reduce(x, "sum", lengths=m.tensor([2, 0, 4])),
        "empty mean": lambda m, x: m.segment_reduce(x, "mean", lengths=m.tensor([2, 0, 4]), initial=1),
        "initial": lambda m, x: m.segment_reduce(x, "max", lengths=m.tensor([2, 0, 4]), initial=0.5),
        "axis": lambda m, x: m.segment_reduce(
            x.reshape(2, 6), "sum", lengths=m.tensor([[2, 4], [5, 1]]), axis=1),
        "offsets": lambda m, x: m.segment_reduce(x, "min", offsets=m.tensor([0, 2, 6]))}, d(6, 2)),
    *rows("segment_reduce errors", {
        "kind": lambda m, x: m.segment_reduce(x, "median", lengths=m.tensor([6])),
        "sum": lambda m, x: m.segment_reduce(x, "sum", lengths=m.tensor([2, 3])),
        "none": lambda m, x: m.segment_reduce(x, "sum")}, d(6, 2), error=True),
    Row("searchsorted", lambda m, x, y: m.searchsorted(x.sort()[0], y), [d(9), d(2, 3)], dtypes=NUMBERS,
        grad=False),
    Row("bucketize", lambda m, x, y: m.bucketize(y, x.sort()[0], right=True), [d(9), d(2, 3)],
        dtypes=NUMBERS, grad=False),
]  # fmt: skip

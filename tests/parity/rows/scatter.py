"""Gather, scatter, index_* and put: every reduction, gradients, refusals."""

# ruff: noqa: E501
from __future__ import annotations

from tests.parity.core import FLOATS, NUMBERS, Row, d, rows

I = {"low": 0, "high": 2, "dtype": "int64"}  # noqa: E741


def reducing(name, kinds, *args):
    return {
        f"{k} {s}": (lambda m, x, i, y, k=k, s=s: getattr(x, name)(0, i, y, k, include_self=s))
        for k in kinds
        for s in (True, False)
    }


_SCATTER = reducing("scatter_reduce", ("sum", "prod", "mean", "amax", "amin"))
_INDEX = reducing("index_reduce", ("prod", "mean", "amax", "amin"))
ROWS = [
    *rows("scatter_reduce", _SCATTER, d(3, 4), d(2, 4, **I), d(2, 4, low=0.5), dtypes=("float32", "float64", "int64")),
    *rows("index_reduce", _INDEX, d(3, 4), d(2, **I), d(2, 4, low=0.5), dtypes=("float32", "int32")),
    *rows("scatter", {
        "": lambda m, x, i, y: m.scatter(x, 0, i, y), "add": lambda m, x, i, y: m.scatter_add(x, 0, i, y),
        "value": lambda m, x, i, y: x.scatter(1, i, 3), "reduce": lambda m, x, i, y: x.detach().scatter(0, i, y.detach(), reduce="add"),
        "multiply": lambda m, x, i, y: x.detach().scatter(0, i, y.detach(), reduce="multiply"), "in place": lambda m, x, i, y: (x * 1).scatter_(0, i, y),
        "add in place": lambda m, x, i, y: (x * 1).scatter_add_(0, i, y), "smaller": lambda m, x, i, y: x.scatter_add(0, i[:1, :2], y.detach()),
        "reduce in place": lambda m, x, i, y: (x * 1).scatter_reduce_(0, i, y, "sum"), "negative dim": lambda m, x, i, y: x.scatter_add(-2, i, y),
        "gather": lambda m, x, i, y: m.gather(x, 0, i), "gather 1": lambda m, x, i, y: x.gather(1, i), "gather small": lambda m, x, i, y: x.gather(0, i[:1, :2]),
        "take_along_dim": lambda m, x, i, y: m.take_along_dim(x, i, 0), "take_along flat": lambda m, x, i, y: m.take_along_dim(x, i),
        "take_along wide": lambda m, x, i, y: x.take_along_dim(i[:1], 1)}, d(3, 4), d(2, 4, low=0, high=1, dtype="int64"), d(2, 4),
        dtypes=("float32", "int32")),
    *rows("index", {
        "select": lambda m, x, i, y: m.index_select(x, 0, i), "select 1": lambda m, x, i, y: x.index_select(1, i),
        "select scalar": lambda m, x, i, y: x.index_select(0, i[0]), "add": lambda m, x, i, y: m.index_add(x, 0, i, y),
        "add alpha": lambda m, x, i, y: x.index_add(0, i, y, alpha=2), "copy": lambda m, x, i, y: m.index_copy(x, 0, m.tensor([2, 0]), y),
        "fill": lambda m, x, i, y: m.index_fill(x, 1, i, 3), "fill tensor": lambda m, x, i, y: x.index_fill(0, i, m.tensor(3).to(x.dtype)),
        "put": lambda m, x, i, y: m.put(x, m.tensor([[0, 5], [2, 11]]), y[:, :2]), "put add": lambda m, x, i, y: x.put(m.tensor([0, 0]), y[0, :2], accumulate=True),
        "put negative": lambda m, x, i, y: x.put(m.tensor([-1, -2]), y[0, :2]), "put_": lambda m, x, i, y: (x * 1).put_(m.tensor([0, 3]), y[0, :2]),
        "take": lambda m, x, i, y: m.take(x, m.tensor([[0, 5], [-1, 11]])), "index_put": lambda m, x, i, y: m.index_put(x, (i,), y),
        "index_put add": lambda m, x, i, y: x.index_put((i, i), y[0, 0], accumulate=True), "add_": lambda m, x, i, y: (x * 1).index_add_(0, i, y),
        "reduce_": lambda m, x, i, y: (x * 1).index_reduce_(0, i, y, "amax"),
        "masked_scatter": lambda m, x, i, y: m.masked_scatter(x, x > 0, m.cat([y, y])), "masked_scatter row": lambda m, x, i, y: x.masked_scatter(x[0] > 0, m.cat([y, y])),
        "masked_scatter_": lambda m, x, i, y: (x * 1).masked_scatter_(x > 0, m.cat([y, y])), "masked_select": lambda m, x, i, y: m.masked_select(x, x > 0),
        "masked_select wide": lambda m, x, i, y: x.masked_select(x[0] > 0), "masked_fill": lambda m, x, i, y: x.masked_fill(x > 0, 2),
        "nonzero_static": lambda m, x, i, y: m.nonzero_static(x > 0, size=5), "nonzero_static fill": lambda m, x, i, y: (x > 9).nonzero_static(size=2, fill_value=7),
        "nonzero": lambda m, x, i, y: m.nonzero(x > 0), "nonzero tuple": lambda m, x, i, y: m.nonzero(x > 0, as_tuple=True), "argwhere": lambda m, x, i, y: m.argwhere(x > 0),
        "where": lambda m, x, i, y: m.where(x > 0), "scalar nonzero": lambda m, x, i, y: (x[0, 0] == x[0, 0]).nonzero()},
        d(3, 4), d(2, **I), d(2, 4), dtypes=("float32", "int64")),
    *rows("scatter errors", {
        "dtype": lambda m, x, i: x.scatter(0, i, x[:2].double()), "index": lambda m, x, i: x.scatter(0, i.float(), x), "rank": lambda m, x, i: x.scatter(0, i[0], x),
        "bounds": lambda m, x, i: x.scatter(0, i + 9, x), "negative": lambda m, x, i: x.scatter(0, i - 3, x), "larger": lambda m, x, i: x[:, :2].scatter(0, i, x),
        "src": lambda m, x, i: x.scatter_add(0, i, x[:1]), "kind": lambda m, x, i: x.scatter_reduce(0, i, x, "median"), "reduce": lambda m, x, i: x.scatter(0, i, x, reduce="max"),
        "gather": lambda m, x, i: x.gather(0, i + 5), "gather negative": lambda m, x, i: x.gather(0, i - 3), "gather rank": lambda m, x, i: x.gather(0, i[0]),
        "gather size": lambda m, x, i: x[:, :2].gather(0, i), "gather float": lambda m, x, i: x.gather(0, x), "index_add": lambda m, x, i: x.index_add(0, i[0], x),
        "index_select": lambda m, x, i: x.index_select(0, i), "index_select bounds": lambda m, x, i: x.index_select(0, i[0] + 7), "index_fill": lambda m, x, i: x.index_fill(0, i[0], x),
        "index_reduce": lambda m, x, i: x.index_reduce(0, i[0], x, "sum"), "put": lambda m, x, i: x.put(i, x), "put dtype": lambda m, x, i: x.put(i, x[:2].double()),
        "masked_scatter": lambda m, x, i: x.masked_scatter(x == x, x[:1]), "mask": lambda m, x, i: x.masked_scatter(i, x), "take": lambda m, x, i: x.take(i + 90),
        "take_along_dim": lambda m, x, i: x.take_along_dim(i[0], 0), "nonzero_static": lambda m, x, i: x.nonzero_static(size=-1)},
        d(3, 4), d(2, 4, **I), error=True),
    Row("scatter_add/empty", lambda m, x, i: x.scatter_add(0, i, x[:0]), [d(3, 4), d(0, 4, **I)]),
    Row("gather/empty", lambda m, x, i: x.gather(0, i), [d(3, 4), d(0, 4, **I)]),
    Row("index_select/empty", lambda m, x, i: x.index_select(1, i), [d(3, 4), d(0, **I)], dtypes=NUMBERS),
    Row("gather/transposed", lambda m, x, i: x.gather(1, i), [d(3, 4, layout="transposed"), d(3, 2, **I)], dtypes=FLOATS),
    Row("scatter_add/scalar", lambda m, x, i: x.scatter_add(0, i, x), [d(), d(low=0, high=0, dtype="int64")]),
]  # fmt: skip

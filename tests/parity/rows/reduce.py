# ruff: noqa: E501
"""Reductions: sums, means, extremes, logic, moments, over axes and types, empty and 0-dim."""

from __future__ import annotations

from tests.parity.core import ALL, FLOATS, INTEGERS, NUMBERS, Row, d, rows

_AXES = {"": (), "0": (0,), "-1": (-1,), "keep": (1, True)}


def over(name, axes=_AXES):
    """Calls of a method over axes."""
    return {f"{name}/{k}": (lambda m, x, a=a: getattr(m, name)(x, *a)) for k, a in axes.items()}


_MANY = {"pair": ((0, 2),), "pair keep": ((-1, 0), True), "none": (None, True)}
ROWS = [
    *rows("reduce", over("sum"), d(3, 4), dtypes=(*ALL, "float16", "bfloat16")),
    *rows("reduce", over("prod"), d(3, 4), dtypes=ALL),
    *rows("reduce", over("mean"), d(3, 4), dtypes=FLOATS),
    *rows("reduce", over("amax", {"0": (0,), "keep": (1, True)}), d(3, 4), dtypes=ALL),
    *rows("reduce", over("amin", {"all": (), "keep": (-1, True)}), d(3, 4), dtypes=ALL),
    *rows("reduce", over("any"), d(3, 4), dtypes=ALL),
    *rows("reduce", over("all"), d(3, 4), dtypes=ALL),
    *rows("reduce", over("nansum"), d(3, 4), dtypes=(*FLOATS, "int32", "bool")),
    *rows("reduce", over("nanmean"), d(3, 4), dtypes=FLOATS),
    *rows("reduce", over("logsumexp", {"0": (0,), "keep": (1, True)}), d(3, 4), dtypes=NUMBERS),
    *rows("reduce", over("count_nonzero", {"": (), "0": (0,), "pair": ((0, 1),)}), d(3, 4),
          dtypes=ALL),
    *rows("reduce many", {k: v for n in ("sum", "mean", "amax", "amin", "nansum", "logsumexp")
          for k, v in over(n, {"pair": ((0, 2),), "pair keep": ((-1, 0), True)}).items()},
          d(2, 3, 4)),
    *rows("reduce many", {**over("any", {"pair": ((0, 2),)}), **over("all", {"pair": ((0, -1),)})},
          d(2, 3, 4)),
    *rows("reduce dtype", {
        "sum": lambda m, x: x.sum(dtype=m.float64), "sum 0": lambda m, x: x.sum(0, dtype=m.int32),
        "mean": lambda m, x: x.mean(dtype=m.float64), "prod": lambda m, x: x.prod(0, dtype=m.float32),
        "nansum": lambda m, x: x.nansum(dtype=m.float64),
        "cumsum": lambda m, x: x.cumsum(0, dtype=m.float64),
        "cumprod": lambda m, x: x.cumprod(0, dtype=m.float64)}, d(3, 4), dtypes=("int32", "float32"),
          grad=False),
    *rows("reduce empty", {
        "sum": lambda m, x: x.sum(), "sum 0": lambda m, x: x.sum(0), "sum 1": lambda m, x: x.sum(1),
        "prod": lambda m, x: x.prod(), "mean": lambda m, x: x.mean(), "any": lambda m, x: x.any(),
        "all": lambda m, x: x.all(0), "var": lambda m, x: x.var(), "norm": lambda m, x: x.norm(),
        "std 1": lambda m, x: x.std(1), "amax 1": lambda m, x: x.amax(1),
        "count": lambda m, x: x.count_nonzero(), "nansum": lambda m, x: m.nansum(x)}, d(0, 3)),
    *rows("reduce empty", {
        "max": lambda m, x: x.max(), "max 0": lambda m, x: x.max(0), "amax": lambda m, x: x.amax(),
        "amax 0": lambda m, x: x.amax(0), "argmax": lambda m, x: x.argmax(),
        "argmin 0": lambda m, x: x.argmin(0), "aminmax": lambda m, x: m.aminmax(x),
        "median 0": lambda m, x: x.median(0), "mode": lambda m, x: x.mode(0),
        "kthvalue": lambda m, x: x.kthvalue(1, 0)}, d(0, 3), error=True),
    *rows("reduce scalar", {
        "sum": lambda m, x: x.sum(0), "mean": lambda m, x: x.mean(-1), "max": lambda m, x: x.max(0),
        "amax": lambda m, x: x.amax((0,)), "argmax": lambda m, x: x.argmax(0),
        "prod": lambda m, x: x.prod(0, True), "any": lambda m, x: x.any(0),
        "sort": lambda m, x: x.sort(0), "topk": lambda m, x: x.topk(1), "median": lambda m, x: x.median(0),
        "mode": lambda m, x: x.mode(), "kthvalue": lambda m, x: x.kthvalue(1),
        "cumsum": lambda m, x: x.cumsum(0), "cummax": lambda m, x: x.cummax(0),
        "cumprod": lambda m, x: x.cumprod(0), "logcumsumexp": lambda m, x: x.logcumsumexp(0),
        "logsumexp": lambda m, x: x.logsumexp(0), "aminmax": lambda m, x: x.aminmax(dim=0),
        "quantile": lambda m, x: x.quantile(0.5), "std_mean": lambda m, x: m.std_mean(x, correction=0)},
        d()),
    *rows("reduce errors", {
        "dim": lambda m, x: x.sum(2), "twice": lambda m, x: x.sum((0, -2)),
        "-3": lambda m, x: x.amax(-3), "argmax": lambda m, x: x.argmax(5),
        "cumsum": lambda m, x: x.cumsum(2), "sort": lambda m, x: x.sort(-3)}, d(3, 4), error=True),
    *rows("reduce errors int", {
        "mean": lambda m, x: x.mean(), "std": lambda m, x: x.std(), "var": lambda m, x: x.var(0),
        "nanmean": lambda m, x: x.nanmean(), "quantile": lambda m, x: x.quantile(0.5),
        "logcumsumexp": lambda m, x: x.logcumsumexp(0), "histc": lambda m, x: x.histc(),
        "std_mean": lambda m, x: m.std_mean(x)}, d(3, 4), dtypes=("int64", "bool"), error=True),
    *rows("reduce errors bool", {
        "argmax": lambda m, x: x.argmax(), "topk": lambda m, x: x.topk(1),
        "median": lambda m, x: x.median(), "kthvalue": lambda m, x: x.kthvalue(1),
        "cov": lambda m, x: m.cov(x)}, d(3, 4), dtypes=("bool",), error=True),
    *rows("moments", {
        "var": lambda m, x: x.var(), "var 0": lambda m, x: x.var(0, unbiased=False),
        "var pair": lambda m, x: x.var((0, 1), correction=2), "std": lambda m, x: x.std(1, keepdim=True),
        "std biased": lambda m, x: x.std(False), "var_mean": lambda m, x: m.var_mean(x),
        "var_mean 1": lambda m, x: m.var_mean(x, 1, keepdim=True),
        "std_mean": lambda m, x: m.std_mean(x, (0, 1), correction=0),
        "std_mean biased": lambda m, x: m.std_mean(x, False),
        "cov": lambda m, x: m.cov(x), "cov 0": lambda m, x: x.cov(correction=0),
        "cov vector": lambda m, x: m.cov(x[0]), "corrcoef": lambda m, x: m.corrcoef(x),
        "corrcoef vector": lambda m, x: m.corrcoef(x[0]),
        "cov f": lambda m, x: m.cov(x, fweights=m.tensor([1, 2, 1, 3])),
        "cov a": lambda m, x: m.cov(x, aweights=m.tensor([0.5, 1.0, 2.0, 1.5]).to(x.dtype)),
        "cov fa": lambda m, x: m.cov(x, fweights=m.tensor([1, 2, 1, 3]),
                                     aweights=m.tensor([0.5, 1.0, 2.0, 1.5]).to(x.dtype)),
        "renorm": lambda m, x: x.renorm(2, 0, 1.5), "renorm 1": lambda m, x: m.renorm(x, 1, 1, 2.0)},
        d(3, 4), dtypes=FLOATS),
    *rows("cov int", {"cov": lambda m, x: m.cov(x), "corrcoef": lambda m, x: m.corrcoef(x)}, d(3, 5),
          dtypes=("int32", "int64")),
    *rows("dist of two", {
        "2": lambda m, x, y: m.dist(x, y), "1": lambda m, x, y: x.dist(y, 1),
        "inf": lambda m, x, y: x.dist(y, float("inf")), "3": lambda m, x, y: m.dist(x, y, 3),
        "0": lambda m, x, y: x.dist(y, 0).detach()}, d(3, 4), d(4)),
    *rows("stat errors", {
        "cov 3d": lambda m, x: m.cov(x[None]), "renorm": lambda m, x: x[0].renorm(2, 0, 1.0),
        "fweights": lambda m, x: m.cov(x, fweights=m.ones(4)),
        "aweights": lambda m, x: m.cov(x, aweights=m.ones(3))}, d(3, 4), error=True),
    *rows("reduce layout", over("sum"), d(3, 4, layout="transposed")),
    *rows("reduce layout", over("amax", {"0 strided": (0,)}), d(3, 4, layout="strided")),
    *rows("reduce layout", over("std", {"t": (), "t0": (0,)}), d(3, 4, layout="transposed")),
    Row("aminmax", lambda m, x: m.aminmax(x), [d(3, 4)], dtypes=(*INTEGERS, "bool", "float32")),
    Row("aminmax/dim", lambda m, x: x.aminmax(dim=-1, keepdim=True), [d(3, 4)], dtypes=ALL),
    Row("nan", lambda m, x: (x / 0).nansum() + 0, [d(3, 4, low=0, high=0)], grad=False),
    Row("nanmean/nan", lambda m, x: m.where(x > 0, x, float("nan")).nanmean(1), [d(3, 4)], grad=False),
]  # fmt: skip

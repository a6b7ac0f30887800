# ruff: noqa: E501
"""Sorting, searching, quantiles, and what runs along an axis."""

from __future__ import annotations

from tests.parity.core import ALL, FLOATS, INTEGERS, NUMBERS, Row, d, rows

NAN = float("nan")


def holes(m, x):
    """With NaN where negative."""
    return m.where(x < -1.0, NAN, x)


_SORTED = {
    "sort": lambda m, x: x.sort()[0], "sort 0": lambda m, x: m.sort(x, 0, True)[0],
    "msort": lambda m, x: m.msort(x), "median": lambda m, x: m.median(x),
    "median 1": lambda m, x: x.median(1)[0], "median keep": lambda m, x: x.median(0, True)[0],
    "nanmedian": lambda m, x: m.nanmedian(x), "nanmedian 0": lambda m, x: x.nanmedian(0)[0],
    "mode": lambda m, x: m.mode(x)[0], "mode 0": lambda m, x: x.mode(0, True)[0],
    "kthvalue": lambda m, x: m.kthvalue(x, 2)[0], "kthvalue 0": lambda m, x: x.kthvalue(3, 0, True)[0],
    "topk": lambda m, x: m.topk(x, 2)[0], "topk 0": lambda m, x: x.topk(2, 0, largest=False)[0],
    "max": lambda m, x: x.max(), "min": lambda m, x: m.min(x),
}  # fmt: skip
_QUANTILES = {
    f"{name}/{way}": (
        lambda m, x, name=name, way=way: getattr(m, name)(x, 0.3, 1, interpolation=way)
    )
    for name in ("quantile", "nanquantile")
    for way in ("linear", "lower", "higher", "midpoint", "nearest")
}
_RUNNING = {
    "cumsum": lambda m, x: m.cumsum(x, 0), "cumprod": lambda m, x: m.cumprod(x, 1),
    "cummax": lambda m, x: m.cummax(x, 1), "cummin": lambda m, x: x.cummin(0),
    "cummax -1": lambda m, x: x.cummax(-1), "cummin 1": lambda m, x: m.cummin(x, 1),
    "diff": lambda m, x: m.diff(x), "diff 2": lambda m, x: x.diff(2, 0),
    "diff 0": lambda m, x: x.diff(0), "trapezoid": lambda m, x: m.trapezoid(x),
    "trapz": lambda m, x: m.trapz(x, dx=2, dim=0),
    "cumulative_trapezoid": lambda m, x: m.cumulative_trapezoid(x, dim=0),
}  # fmt: skip
ROWS = [
    *rows("order", _SORTED, d(4, 5), dtypes=NUMBERS),
    *rows("order", {"sort bool": lambda m, x: x.sort(), "sort down": lambda m, x: x.sort(0, True),
                    "argsort": lambda m, x: x.argsort(dim=0, stable=True), "msort bool": lambda m, x: m.msort(x),
                    "max bool": lambda m, x: x.max(1), "mode bool": lambda m, x: x.mode(1)[0]},
          d(3, 7), dtypes=("bool",)),
    *rows("order floats", {
        "sort": lambda m, x: m.sort(x, dim=0, descending=True), "argsort": lambda m, x: m.argsort(x),
        "argsort 0": lambda m, x: x.argsort(0, True), "median": lambda m, x: x.median(1),
        "kthvalue": lambda m, x: x.kthvalue(2), "topk": lambda m, x: x.topk(3, 1),
        "max": lambda m, x: m.max(x, 1), "min": lambda m, x: x.min(0, True),
        "argmax": lambda m, x: m.argmax(x), "argmin": lambda m, x: x.argmin(1, keepdim=True),
        "nanmedian": lambda m, x: x.nanmedian(1, True)}, d(4, 5), dtypes=FLOATS),
    *rows("order transposed", _SORTED, d(4, 5, layout="transposed")),
    *rows("order nan", {
        "sort": lambda m, x: holes(m, x).sort(1)[0], "median": lambda m, x: holes(m, x).median(),
        "median 1": lambda m, x: holes(m, x).median(1)[0], "nanmedian": lambda m, x: holes(m, x).nanmedian(),
        "nanmedian 0": lambda m, x: holes(m, x).nanmedian(0)[0], "max": lambda m, x: holes(m, x).max(1),
        "cummax": lambda m, x: holes(m, x).cummax(1), "cummin": lambda m, x: holes(m, x).cummin(0),
        "quantile": lambda m, x: holes(m, x).quantile(0.4, 1),
        "nanquantile": lambda m, x: holes(m, x).nanquantile(0.4, 1),
        "nanquantile all": lambda m, x: holes(m, x).nanquantile(0.7),
        "nansum": lambda m, x: holes(m, x).nansum(1), "nanmean": lambda m, x: holes(m, x).nanmean(0),
        "logcumsumexp": lambda m, x: holes(m, x).logcumsumexp(1),
        "topk": lambda m, x: holes(m, x).topk(2, 1)[0], "kthvalue": lambda m, x: holes(m, x).kthvalue(5, 1)[0]},
        d(4, 5), grad=False),
    *rows("quantile", _QUANTILES, d(3, 6), dtypes=FLOATS),
    *rows("quantile", {
        "all": lambda m, x: m.quantile(x, 0.25), "keep": lambda m, x: x.quantile(0.25, keepdim=True),
        "vector": lambda m, x: m.quantile(x, m.tensor([0.1, 0.5, 1.0]).to(x.dtype), dim=1),
        "vector keep": lambda m, x: x.quantile(m.tensor([0.1, 0.5]).to(x.dtype), 0, keepdim=True),
        "vector all": lambda m, x: x.quantile(m.tensor([0.1, 0.5]).to(x.dtype), keepdim=True),
        "keep 0": lambda m, x: x.quantile(0.9, 0, True), "3d": lambda m, x: x[None].quantile(0.5, 1),
        "3d vector": lambda m, x: x[None].quantile(m.tensor([0.1, 0.5]).to(x.dtype), 1, True)},
        d(3, 6), dtypes=FLOATS),
    *rows("quantile errors", {
        "q": lambda m, x: x.quantile(1.5), "way": lambda m, x: x.quantile(0.5, interpolation="up"),
        "2d": lambda m, x: x.quantile(m.zeros(2, 2)), "dtype": lambda m, x: x.quantile(m.zeros(2).double()),
        "dim": lambda m, x: x.quantile(0.5, 3)}, d(3, 6), error=True),
    *rows("order errors", {
        "kthvalue 0": lambda m, x: x.kthvalue(0), "kthvalue": lambda m, x: x.kthvalue(9),
        "topk": lambda m, x: x.topk(9), "dim": lambda m, x: x.mode(4)}, d(3, 6), error=True),
    *rows("running", _RUNNING, d(3, 4), dtypes=(*NUMBERS, "float16")),
    *rows("running", {f"bool {k}": v for k, v in _RUNNING.items() if "trap" not in k},
          d(3, 4), dtypes=("bool",)),
    Row("trapezoid/bool", lambda m, x: m.trapezoid(x), [d(3, 4)], dtypes=("bool",), error=True),
    *rows("running", {
        "logcumsumexp": lambda m, x: m.logcumsumexp(x, 0), "logcumsumexp 1": lambda m, x: x.logcumsumexp(-1),
        "gradient": lambda m, x: m.gradient(x), "gradient 0": lambda m, x: m.gradient(x, dim=0, spacing=2.0),
        "gradient edge": lambda m, x: m.gradient(x, edge_order=2),
        "gradient steps": lambda m, x: m.gradient(x, spacing=[0.5, 2.0]),
        "gradient places": lambda m, x: m.gradient(
            x, dim=1, spacing=[m.tensor([0.0, 1.0, 1.5, 4.0]).to(x.dtype)]),
        "gradient places edge": lambda m, x: m.gradient(
            x, dim=(1,), spacing=(m.tensor([0.0, 1.0, 1.5, 4.0]).to(x.dtype),), edge_order=2),
        "trapezoid x": lambda m, x: m.trapezoid(x, m.tensor([0.0, 1.0, 1.5, 4.0]).to(x.dtype)),
        "trapezoid xx": lambda m, x: m.trapezoid(x, x * x),
        "cumulative x": lambda m, x: m.cumulative_trapezoid(x, m.tensor([0.0, 1.0, 3.0]).to(x.dtype), dim=0),
        "diff ends": lambda m, x: x.diff(prepend=x[:, :1] * 2, append=x[:, :2])},
        d(3, 4), dtypes=FLOATS),
    *rows("running empty", {k: v for k, v in _RUNNING.items() if "trap" not in k}, d(0, 3)),
    *rows("running errors", {
        "diff": lambda m, x: x.sum().diff(), "diff n": lambda m, x: x.diff(-1),
        "gradient": lambda m, x: m.gradient(x, spacing=[1.0]), "edge": lambda m, x: m.gradient(x, edge_order=3),
        "small": lambda m, x: m.gradient(x[:1]), "cummax": lambda m, x: x.cummax(2),
        "trapezoid": lambda m, x: m.trapezoid(x, m.ones(3))}, d(3, 4), error=True),
    Row("gradient/int", lambda m, x: m.gradient(x), [d(4, 5)], dtypes=INTEGERS[2:]),
    Row("diff/bool ends", lambda m, x: x.diff(prepend=x[:1], dim=0), [d(3, 4)], dtypes=("bool",)),
    Row("cumprod/zeros", lambda m, x: (x * (x > 0)).cumprod(1), [d(3, 5)]),
    Row("sort/transposed", lambda m, x: x.sort(0), [d(3, 4, layout="transposed")], dtypes=FLOATS),
    Row("all", lambda m, x: m.argsort(x, dim=1, descending=True, stable=True), [d(3, 9)], dtypes=ALL),
]  # fmt: skip

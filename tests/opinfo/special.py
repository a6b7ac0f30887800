"""Elementary and special functions of the domain toolkit.special."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tests.opinfo.core import OpInfo, S, binary, unary

DOMAIN = "toolkit.special"
HALVES = "onnxruntime lacks this type"


def by_numpy(f: Any) -> Any:
    """A function of numpy, in float64 where the type is narrower."""

    def reference(sample) -> list[np.ndarray]:
        with np.errstate(all="ignore"):
            wide = [np.asarray(x, np.promote_types(x.dtype, np.float64)) for x in sample.inputs]
            return [np.asarray(f(*wide)).astype(sample.inputs[0].dtype)]

    return reference


def by_torch(name: str) -> Any:
    """A function of torch, in float64."""

    def f(x: np.ndarray) -> np.ndarray:
        import torch

        return getattr(torch, name)(torch.tensor(x)).numpy()

    return by_numpy(f)


def function(name: str, reference: Any, low: float = -3.0, high: float = 3.0, **row: Any) -> OpInfo:
    return unary(name, low, high, domain=DOMAIN, reference=reference, **row)


def pair(name: str, f: Any, **row: Any) -> OpInfo:
    return binary(name, domain=DOMAIN, reference=by_numpy(f), **row)


def nextafter_samples(d):
    yield S(d(17), d(17))
    yield S(d(5, 1), d(3))
    yield S(d.scalar(1), d.scalar(0))
    yield S(d.scalar(-2), d.scalar(-2))


def nextafter(sample) -> list[np.ndarray]:
    x, towards = sample.inputs
    return [np.nextafter(x, towards)]


ROWS = [
    function("Log1p", by_numpy(np.log1p), -0.9, 3.0),
    function("Expm1", by_numpy(np.expm1)),
    function("Exp2", by_numpy(np.exp2)),
    function("Log2", by_numpy(np.log2), 0.1, 9.0),
    function("Log10", by_numpy(np.log10), 0.1, 9.0),
    function("Erfc", by_numpy(np.vectorize(math.erfc, otypes=[float]))),
    function("Lgamma", by_torch("lgamma"), 0.1, 9.0, tolerance=4),
    function("Digamma", by_torch("digamma"), 0.1, 9.0, tolerance=4),
    function("ErfInv", by_torch("erfinv"), -0.9, 0.9, tolerance=4),
    function("Trunc", by_numpy(np.trunc), kinks=(-2, -1, 0, 1, 2), grad=()),
    pair("Atan2", np.arctan2, right="nonzero"),
    pair("Hypot", np.hypot, right="nonzero"),
    pair("Copysign", np.copysign, right="nonzero", grad=(0,), kinks=(0,)),
    OpInfo("Nextafter", nextafter_samples, DOMAIN, reference=nextafter, grad=(), tolerance=0.02),
    binary("Gcd", domain=DOMAIN, dtypes=("int32", "int64"), grad=(), special=False,
           reference=lambda s: [np.gcd(*s.inputs)]),
]  # fmt: skip

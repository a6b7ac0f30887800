"""What a row of the operator table holds, and the shorthands that rows are written with."""

from __future__ import annotations

import itertools
import re
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import ml_dtypes
import numpy as np

from toolkit import dtypes

FLOATS = ("float32", "float64")
SIGNED = ("int32", "int64")
NUMBERS = FLOATS + SIGNED
ALL = (*NUMBERS, "bool")

Arrays = list[np.ndarray | None]
Input = np.ndarray | list[np.ndarray] | dict[Any, Any] | None  # A list is a sequence.


@dataclass(frozen=True)
class Sample:
    """One call: inputs (None where an optional one is absent), attributes, outputs asked for."""

    inputs: tuple[Any, ...]  # Of Input.
    attributes: dict[str, Any] = field(default_factory=dict)
    outputs: int = 1

    def __str__(self) -> str:
        args = [_described(x) for x in self.inputs]
        return ", ".join(args + [f"{k}={v!r}" for k, v in self.attributes.items()])


def _described(x: Input) -> str:
    if isinstance(x, np.ndarray):
        return f"{x.dtype}{list(x.shape)}" + (f"={x}" if x.size < 7 else "")
    if x is None or isinstance(x, dict):
        return str(x)
    return f"[{'; '.join(_described(item) for item in x)}]"


def every_array(inputs: Iterable[Any]) -> Iterable[np.ndarray]:
    """The arrays of a sample, those in sequences too."""
    for x in inputs:
        if isinstance(x, list):
            yield from every_array(x)
        elif isinstance(x, np.ndarray):
            yield x


def f32(value: float) -> float:
    """As an attribute holds it: ONNX stores floats, and so their defaults, in float32."""
    return float(np.float32(value))


def S(*inputs: Any, outputs: int = 1, **attributes: Any) -> Sample:
    attributes = {k: f32(v) if isinstance(v, float) else v for k, v in attributes.items()}
    return Sample(tuple(map(_as_input, inputs)), attributes, outputs)


def _as_input(x: Any) -> Input:
    if isinstance(x, list) and all(isinstance(item, np.ndarray) for item in x):
        return x
    return x if x is None or isinstance(x, dict) else np.asarray(x)


def i64(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


WORDS = np.array(["", "a", "B", "é", "word", "two words", "1", "-2.5", "1" * 40], object)


def ml_bits(dtype: np.dtype) -> int:
    """Bits of a narrow type's elements: the number in its name."""
    return int(re.search(r"\d+", dtype.name)[0])


class Draw:
    """Random arrays of one element type, away from the points where a gradient has a kink."""

    def __init__(self, dtype: str, seed: str, kinks: tuple[float, ...] = ()) -> None:
        self.dtype = np.dtype(object if dtype == "string" else getattr(ml_dtypes, dtype, dtype))
        self.rng = np.random.default_rng(zlib.crc32(f"{seed} {dtype}".encode()))
        self.kinks = kinks
        self.floating = self.dtype.kind == "f" or dtype == "bfloat16"

    def __call__(self, *shape: int, low: float = -3.0, high: float = 3.0) -> np.ndarray:
        if self.dtype.kind == "b":
            return np.asarray(self.rng.random(shape) < 0.5)
        if self.dtype.kind == "O":
            return np.asarray(self.rng.choice(WORDS, shape), object)
        if dtypes.from_numpy(self.dtype) in dtypes.NARROW:
            bits = self.rng.integers(0, 1 << ml_bits(self.dtype), shape, np.uint8)
            return bits.view(self.dtype) if bits.ndim else bits[None].view(self.dtype)[0]
        if self.dtype.kind in "iu":
            bottom = 0 if self.dtype.kind == "u" else max(-9, int(low * 3))
            top = max(int(high * 3), bottom)
            return self.rng.integers(bottom, top, shape, endpoint=True).astype(self.dtype)
        if self.dtype.kind == "c":
            x = self.rng.normal(size=shape) + 1j * self.rng.normal(size=shape)
            return np.asarray(x).astype(self.dtype)
        x = np.asarray(self.rng.uniform(low, high, shape))
        for kink in self.kinks:
            x = np.where(abs(x - kink) < 0.03, kink + 0.07, x)
        return x.astype(self.dtype)

    def positive(self, *shape: int, low: float = 0.2, high: float = 3.0) -> np.ndarray:
        return (
            np.maximum(self(*shape, low=low, high=high), self.scalar(1 if low < 1 else low))
            if (self.dtype.kind in "iu")
            else self(*shape, low=low, high=high)
        )

    def distinct(self, *shape: int) -> np.ndarray:
        """No two equal, and neighbours far enough apart for finite differences."""
        n = int(np.prod(shape))
        return (self.rng.permutation(n).reshape(shape) * 1 - n // 2).astype(self.dtype)

    def nonzero(self, *shape: int, low: float = 0.5, high: float = 3.0) -> np.ndarray:
        x = self.positive(*shape, low=low, high=high)
        if self.dtype.kind == "u" or self.dtype.kind == "b":
            return x
        return np.where(self.rng.random(shape) < 0.5, x, -x).astype(self.dtype)

    def scalar(self, value: Any) -> np.ndarray:
        if self.dtype.kind == "O":
            return np.array(str(value), object)
        return np.asarray(value).astype(self.dtype)

    def bools(self, *shape: int) -> np.ndarray:
        return np.asarray(self.rng.random(shape) < 0.5)

    def index(self, bound: int, *shape: int, negative: bool = True, dtype: str = "int64"):
        return self.rng.integers(-bound if negative else 0, bound, shape).astype(dtype)

    def permuted(self, n: int) -> np.ndarray:
        return self.rng.permutation(n).astype(np.int64)


@dataclass(frozen=True)
class OpInfo:
    """One operator: what to call it with, and what is known of its answer.

    `dtypes` are those that the operator must accept; the tests add any other that its kernel
    registers, unless `typed_by` is None: then `samples` uses the drawn dtype elsewhere than in the
    first input. `grad` names the inputs to differentiate (the schema's, if None; () for none).
    """

    op_type: str
    samples: Callable[[Draw], Iterable[Sample]]
    domain: str = ""
    variant: str = ""  # Tells several rows of one operator apart.
    dtypes: tuple[str, ...] = FLOATS
    typed_by: int | None = 0
    big: Callable[[Draw], Iterable[Sample]] | None = None  # For threads and benchmarks.
    special: Callable[[Draw], Iterable[Sample]] | None = None
    grad: tuple[int, ...] | None = None
    grad_samples: Callable[[Draw], Iterable[Sample]] | None = None  # Where not `samples`.
    kinks: tuple[float, ...] = ()
    reference: Callable[[Sample], Arrays] | None = None
    why: str = ""  # Reason for `reference`, where onnx.reference has the operator.
    check: Callable[[Sample, Arrays], None] | None = None  # Asserts, where no values are defined.
    tolerance: float = 1.0
    cpu_only: str = ""  # Reason.
    ort: str = ""  # Reason why onnxruntime cannot be asked.

    @property
    def name(self) -> str:
        """Domain, operator and variant, as tests show them."""
        domain = f"{self.domain}." if self.domain else ""
        return domain + self.op_type + (f"-{self.variant}" if self.variant else "")

    def draw(self, dtype: str, purpose: str = "") -> Draw:
        return Draw(dtype, self.name + purpose, self.kinks if purpose == "grad" else ())

    def but(self, **changes: Any) -> OpInfo:
        return replace(self, **changes)


def by_onnxruntime(
    op_type: str, domain: str = "", instead: dict[str, str] | None = None, keeps: bool = False
) -> Callable[[Sample], Arrays]:
    """A reference that asks onnxruntime.

    Args:
        op_type: The operator.
        domain: Its domain.
        instead: For types that onnxruntime lacks, the type to ask in.
        keeps: Whether results have the type of the inputs.
    """

    def reference(sample: Sample) -> Arrays:
        from tests import opcheck

        x = sample.inputs[0]
        dtype = x.dtype if isinstance(x, np.ndarray) else None
        other = (instead or {}).get(str(dtype), dtype)
        inputs = (v.astype(other) if dtype and v.dtype == dtype else v for v in sample.inputs)
        call = replace(sample, inputs=tuple(inputs))
        results = opcheck.onnxruntime(OpInfo(op_type, lambda d: (), domain), call)
        return [y.astype(dtype) for y in results] if keeps else results

    return reference


# Sizes with every remainder of the vector widths, empty and zero-size ones.
SHAPES = ((), (0,), (1,), (7,), (17,), (65,), (2, 3, 5), (3, 0, 2))
PAIRS = (
    ((), ()),
    ((7,), (7,)),
    ((65,), (65,)),
    ((2, 3, 5), (2, 3, 5)),
    ((0,), (1,)),
    ((17,), ()),
    ((), (3, 4)),
    ((65,), (1,)),
    ((3, 17), (3, 1)),
    ((17,), (3, 17)),
    ((5, 1), (1, 7)),
    ((2, 1, 4), (3, 1)),
    ((2, 3, 4, 5), (3, 1, 5)),
    ((1, 0, 3), (2, 1, 1)),
)
SPECIAL_FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.5, 1e-30, -1e30, 88.0, -104.0, 709.0, np.inf,
                  -np.inf, np.nan)  # fmt: skip


def specials(d: Draw) -> np.ndarray:
    """The type's special values: infinities, NaN, signed zeros, extremes."""
    if d.floating:
        return np.array(SPECIAL_FLOATS).astype(d.dtype)
    if d.dtype.kind in "iu":
        info = np.iinfo(d.dtype)
        return np.array([0, 1, 2, info.max, info.max - 1, info.min, info.min + 1], d.dtype)
    return d(3)


def unary(
    op_type: str,
    low: float = -3.0,
    high: float = 3.0,
    attributes: Iterable[dict[str, Any]] = ({},),
    **row: Any,
) -> OpInfo:
    """An elementwise operator of one input on [low, high]; one round of samples per attributes."""
    variants = list(attributes)

    def samples(d: Draw) -> Iterable[Sample]:
        for attrs in variants:
            for shape in SHAPES if attrs is variants[0] else ((17,),):
                yield S(d(*shape, low=low, high=high), **attrs)

    row.setdefault("big", lambda d: [S(d(100_003, low=low, high=high), **variants[0])])
    row.setdefault("special", lambda d: [S(specials(d), **a) for a in variants])
    return OpInfo(op_type, samples, **row)


def binary(
    op_type: str,
    low: float = -3.0,
    high: float = 3.0,
    right: str = "__call__",
    attributes: Iterable[dict[str, Any]] = ({},),
    special: bool = True,
    **row: Any,
) -> OpInfo:
    """An elementwise operator of two broadcasting inputs; `right` is the Draw method for the second."""
    variants = list(attributes)

    def draw(d: Draw, a: Iterable[int], b: Iterable[int], attrs: dict[str, Any]) -> Sample:
        return S(d(*a, low=low, high=high), getattr(d, right)(*b), **attrs)

    def samples(d: Draw) -> Iterable[Sample]:
        for attrs in variants:
            for a, b in PAIRS:
                yield draw(d, a, b, attrs)

    def crossed(d: Draw) -> Iterable[Sample]:
        a, b = (
            np.array(x, d.dtype)
            for x in zip(*itertools.product(specials(d), repeat=2), strict=True)
        )
        return [S(a, b, **attrs) for attrs in variants]

    row.setdefault("big", lambda d: [
        draw(d, (100_003,), (100_003,), variants[0]),
        draw(d, (311, 1, 65), (5, 1), variants[0]),
    ])  # fmt: skip
    return OpInfo(op_type, samples, special=crossed if special else None, **row)

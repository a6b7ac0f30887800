"""What the bodies of RNN, GRU and LSTM share: attributes, activations, small operations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from toolkit.graph.build import Builder
from toolkit.graph.functions.registry import Attributes

V = Any  # An ir.Value under `arithmetic`.

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
DEFAULTS = {"RNN": ("Tanh",), "GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh")}
# Default alpha and beta, None where the function has none.
PARAMETERS: dict[str, tuple[float | None, float | None]] = {
    "relu": (None, None),
    "tanh": (None, None),
    "sigmoid": (None, None),
    "affine": (1.0, 0.0),
    "leakyrelu": (0.01, None),
    "thresholdedrelu": (1.0, None),
    "scaledtanh": (1.0, 1.0),
    "hardsigmoid": (0.2, 0.5),
    "elu": (1.0, None),
    "softsign": (None, None),
    "softplus": (None, None),
}


@dataclass(frozen=True)
class Activation:
    """A function of a gate's pre-activation, with its slope."""

    name: str
    alpha: float
    beta: float
    clip: float | None

    def value(self, b: Builder, a: V) -> V:
        """f(clip(a))."""
        x, alpha, beta = self._clipped(b, a), self.alpha, self.beta
        functions: dict[str, Callable[[], V]] = {
            "relu": lambda: b.Max(x, 0.0),
            "tanh": lambda: b.Tanh(x),
            "sigmoid": lambda: b.Sigmoid(x),
            "affine": lambda: x * alpha + beta,
            "leakyrelu": lambda: b.Where(b.Less(x, 0.0), x * alpha, x),
            "thresholdedrelu": lambda: b.Where(b.Less(x, alpha), 0.0, x),
            "scaledtanh": lambda: b.Tanh(x * beta) * alpha,
            "hardsigmoid": lambda: b.Min(b.Max(x * alpha + beta, 0.0), 1.0),
            "elu": lambda: b.Where(b.Less(x, 0.0), (b.Exp(b.Min(x, 0.0)) - 1.0) * alpha, x),
            "softsign": lambda: x / (b.Abs(x) + 1.0),
            "softplus": lambda: b.Max(x, 0.0) + b.Log(b.Exp(-b.Abs(x)) + 1.0),
        }
        return functions[self.name]()

    def slope(self, b: Builder, a: V, y: V) -> V:
        """d value / d a, where y is the value."""
        x, alpha, beta = self._clipped(b, a), self.alpha, self.beta
        functions: dict[str, Callable[[], V]] = {
            "relu": lambda: b.cast(b.Greater(x, 0.0), x.dtype),
            "tanh": lambda: 1.0 - y * y,
            "sigmoid": lambda: y * (1.0 - y),
            "affine": lambda: b.Expand(b.const(alpha, x.dtype), b.shape(x)),
            "leakyrelu": lambda: b.Where(
                b.Less(x, 0.0), b.const(alpha, x.dtype), b.const(1.0, x.dtype)
            ),
            "thresholdedrelu": lambda: b.cast(b.Not(b.Less(x, alpha)), x.dtype),
            "scaledtanh": lambda: _tanh_slope(b, x * beta) * (alpha * beta),
            "hardsigmoid": lambda: self._between(b, x * alpha + beta),
            "elu": lambda: b.Where(b.Less(x, 0.0), y + alpha, 1.0),
            "softsign": lambda: b.Reciprocal(_square(b.Abs(x) + 1.0)),
            "softplus": lambda: b.Sigmoid(x),
        }
        slope = functions[self.name]()
        if self.clip is None:
            return slope
        return b.Where(b.Greater(b.Abs(a), self.clip), 0.0, slope)

    def _clipped(self, b: Builder, a: V) -> V:
        return a if self.clip is None else b.Min(b.Max(a, -self.clip), self.clip)

    def _between(self, b: Builder, v: V) -> V:
        outside = b.Or(b.Less(v, 0.0), b.Greater(v, 1.0))
        return b.Where(outside, b.const(0.0, v.dtype), b.const(self.alpha, v.dtype))


def _square(x: V) -> V:
    return x * x


def _tanh_slope(b: Builder, x: V) -> V:
    return 1.0 - _square(b.Tanh(x))


class Cell:
    """What the attributes say: the operator, its directions, layout and activations."""

    def __init__(self, kind: str, a: Attributes) -> None:
        self.kind = kind
        self.gates = GATES[kind]
        direction = a.get("direction", "forward")
        self.directions = 2 if direction == "bidirectional" else 1
        self.reverse = [direction == "reverse", True]
        self.batch_major = bool(a.get("layout", 0))
        self.linear = kind == "GRU" and bool(a.get("linear_before_reset", 0))
        self.input_forget = bool(a.get("input_forget", 0))
        names = a.get("activations") or DEFAULTS[kind] * self.directions
        alphas, betas = iter(a.get("activation_alpha", ())), iter(a.get("activation_beta", ()))
        made = []
        for name in names:
            alpha, beta = PARAMETERS[name.lower()]
            alpha = alpha if alpha is None else next(alphas, alpha)
            beta = beta if beta is None else next(betas, beta)
            made.append(Activation(name.lower(), alpha or 0.0, beta or 0.0, a.get("clip")))
        each = len(DEFAULTS[kind])
        self.activations = [made[i * each : (i + 1) * each] for i in range(self.directions)]


def split(b: Builder, v: V, parts: int, axis: int) -> Sequence[V]:
    """`parts` equal pieces along an axis."""
    if parts == 1:
        return [v]
    return b.Split(v, axis=axis, num_outputs=parts, _outputs=parts)  # type: ignore[no-any-return]


def pick(b: Builder, v: V, index: int, axis: int) -> V:
    """One element along an axis, without that axis."""
    return None if v is None else b.Gather(v, b.const(index), axis=axis)


def transposed(b: Builder, v: V, perm: Sequence[int], needed: bool) -> V:
    """Axes exchanged where `needed`; None stays."""
    return v if v is None or not needed else b.Transpose(v, perm=list(perm))


def times(b: Builder, h: V, r: V, bias: V = None) -> V:
    """H transposed(R) + bias."""
    product = b.MatMul(h, b.Transpose(r, perm=[1, 0]))
    return product if bias is None else product + bias


def peeped(a: V, p: V, c: V) -> V:
    """A pre-activation with its peephole's part."""
    return a if p is None else a + p * c

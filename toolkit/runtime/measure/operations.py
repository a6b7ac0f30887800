"""How many arithmetic operations a node is, from the shapes of what it reads and makes.

A product counts a multiplication and an addition for each term of the direct sum, whatever
algorithm computes it; causal attention counts all positions. Other arithmetic counts one operation
for each element of the result, data movement and what a fused kernel does besides none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

Shape = Sequence[int]
Shapes = Sequence[Any]  # Of Shape; None: an optional value that is absent.

_ELEMENTWISE = frozenset([
    "Abs", "Add", "Ceil", "Clip", "Cos", "Div", "Elu", "Erf", "Exp", "Floor", "Gelu",
    "HardSigmoid", "HardSwish", "LeakyRelu", "Log", "Max", "Mean", "Min", "Mish", "Mul",
    "Neg", "PRelu", "Pow", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin",
    "Softplus", "Softsign", "Sqrt", "Sub", "Sum", "Swish", "Tan", "Tanh",
    "BatchNormalization", "GroupNormalization", "InstanceNormalization", "LayerNormalization",
    "RMSNormalization", "LogSoftmax", "Softmax",
])  # fmt: skip


def count(op_type: str, inputs: Shapes, outputs: Shapes) -> int:
    """Operations of one run of a node; 0 where nothing is known."""
    base = op_type.split("__")[0]  # A specialised composite.
    rule = _PRODUCTS.get(base)
    try:
        if rule is not None:
            return 2 * rule(inputs, outputs)
    except (IndexError, TypeError, ZeroDivisionError):  # An empty or absent value.
        return 0
    return prod(outputs[0]) if base in _ELEMENTWISE and outputs[0] is not None else 0


def _matmul(a: Shape, b: Shape, y: Shape) -> int:
    """A's last two dimensions are M and K, in either order."""
    if len(a) == 1:
        return prod(y) * a[0]
    if len(b) == 1:
        return prod(y) * b[0]
    return prod(y) * (a[-1] * a[-2] // y[-2])


def _chain(inputs: Shapes, outputs: Shapes) -> int:
    """Each W (O, C / group, k, k) and B (O); the first depthwise one has the stride."""
    batch, _, *sides = inputs[0]
    terms = 0
    for w, b in zip(inputs[1::2], inputs[2::2], strict=False):
        if w is None or b is None or len(b) != 1:  # What is added at the end.
            break
        if prod(w[2:]) > 1:
            sides = outputs[0][2:]
        terms += batch * prod(sides) * prod(w)
    return int(terms)


def _attention(inputs: Shapes, outputs: Shapes) -> int:
    """Scores and their product with V; Q, K, V are (N, heads, L, E) or (N, L, heads * E)."""
    q, k, y = inputs[0], inputs[1], outputs[0]
    past = inputs[4] if len(inputs) > 4 else None
    length = k[-2] + (past[-2] if past else 0)
    return int(length * (prod(q) + prod(y)))


def _attention_gradient(inputs: Shapes, outputs: Shapes) -> int:
    """Scores again, then the gradients of V, of the scores, of Q and of K."""
    q, k = inputs[0], inputs[1]
    return int(5 * k[-2] * prod(q))


def _recurrent(inputs: Shapes, outputs: Shapes) -> int:
    """Each step multiplies by all of W (D, gates * H, I) and R (D, gates * H, H)."""
    x, w, r = inputs[:3]
    return int(x[0] * x[1] * (prod(w) + prod(r)))


_PRODUCTS: dict[str, Callable[..., int]] = {
    "MatMul": lambda i, o: _matmul(i[0], i[1], o[0]),
    "MatMulInteger": lambda i, o: _matmul(i[0], i[1], o[0]),
    "QLinearMatMul": lambda i, o: _matmul(i[0], i[3], o[0]),
    "Gemm": lambda i, o: _matmul(i[0], i[1], o[0]),
    "Conv": lambda i, o: prod(o[0]) * prod(i[1][1:]),
    "FusedConv": lambda i, o: prod(o[0]) * prod(i[1][1:]),
    "ConvChain": _chain,
    "ConvInteger": lambda i, o: prod(o[0]) * prod(i[1][1:]),
    "QLinearConv": lambda i, o: prod(o[0]) * prod(i[3][1:]),
    "ConvTranspose": lambda i, o: prod(i[0]) * prod(i[1][1:]),
    "ConvGradInput": lambda i, o: prod(i[0]) * prod(i[1][1:]),
    "ConvGradWeight": lambda i, o: prod(i[1]) * prod(o[0][1:]),
    "Attention": _attention,
    "AttentionGrad": _attention_gradient,
    "RNN": _recurrent,
    "GRU": _recurrent,
    "LSTM": _recurrent,
}

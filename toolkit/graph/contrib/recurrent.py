"""Recurrent networks as onnxruntime trains them.

Its forward operators give their gates to their gradients. Ours make the gates again: the outputs
that hold them are placeholders here, which say where they came from.
"""

from __future__ import annotations

from typing import Any

from toolkit.graph.contrib.registry import Call, contrib

V = Any  # An ir.Value under `arithmetic`.


@contrib("LSTMTraining")
def lstm_training(c: Call, *inputs: V) -> tuple[V, ...]:
    """LSTM; all cell states and the gates are placeholders."""
    results = c.b.LSTM(*inputs, _outputs=3, **c.node.attributes)
    return *results, c.b.Identity(results[0]), c.b.Identity(results[0])


@contrib("GRUTraining")
def gru_training(c: Call, *inputs: V) -> tuple[V, ...]:
    """GRU; the gates are a placeholder."""
    results = c.b.GRU(*inputs, _outputs=2, **c.node.attributes)
    return *results, c.b.Identity(results[0])


@contrib("LSTMGrad")
def lstm_grad(
    c: Call, x: V, w: V, r: V, lens: V, h0: V, c0: V, y: V, cells: V, gates: V, *dy: V
) -> tuple[V, ...]:
    """toolkit.grad.LSTMGrad, which takes the bias and peepholes that only the forward node has."""
    forward = _forward(c, gates, "LSTMTraining")
    bias, peepholes = forward[3], forward[7]
    operands = [x, w, r, bias, lens, h0, c0, peepholes, y, *_three(dy)]
    return tuple(c.grad("LSTMGrad", *operands, outputs=7, **c.node.attributes))


@contrib("GRUGrad")
def gru_grad(
    c: Call, x: V, w: V, r: V, bias: V, lens: V, h0: V, y: V, gates: V, *dy: V
) -> tuple[V, ...]:
    """toolkit.grad.GRUGrad."""
    operands = [x, w, r, bias, lens, h0, y, *_three(dy)[:2]]
    return tuple(c.grad("GRUGrad", *operands, outputs=5, **c.node.attributes))


def _forward(c: Call, gates: V, name: str) -> list[V]:
    """The inputs of the node that made the gates, all eight."""
    origin = c.origins.get(gates)
    if origin is None or origin.op_type != name:
        raise c.fail(f"gates of a {name} of this graph are required", f"'{gates.name}'")
    return [*origin.inputs, *[None] * (8 - len(origin.inputs))]


def _three(dy: tuple[V, ...]) -> list[V]:
    return [*dy, *[None] * (3 - len(dy))]

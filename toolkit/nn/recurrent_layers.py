"""What the layers of an RNN, LSTM or GRU compute, for weights that are given.

A layer is one ONNX operator; its gates stand in another order than PyTorch's parameters, which a
constant Gather brings about in the graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from toolkit._tensor.autocast import apart, narrowed
from toolkit._tensor.state import STATE
from toolkit.errors import ShapeError
from toolkit.nn.functional.dropout import dropout
from toolkit.nn.projected import projected_layer
from toolkit.ops.dispatch import apply_many, handle
from toolkit.tensor import Tensor, cat, stack, tensor

# PyTorch's gates in ONNX's order: i f g o -> i o f c, r z n -> z r h.
ORDER = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN": (0,)}


@dataclass(frozen=True)
class Layers:
    """A stack of layers.

    Attributes:
        mode: "LSTM", "GRU", "RNN_TANH" or "RNN_RELU".
        weights: of each layer and direction W, R, biases if any, and a projection if any.
        projected: whether there is one.
    """

    mode: str
    input_size: int
    hidden_size: int
    weights: Sequence[Sequence[Any]]
    bias: bool = True
    dropout: float = 0.0
    training: bool = False
    bidirectional: bool = False
    projected: bool = False

    @property
    def op_type(self) -> str:
        return self.mode.partition("_")[0]

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    def run(
        self, x: Tensor, states: Sequence[Tensor | None], lens: Tensor | None
    ) -> tuple[Any, list[Tensor]]:
        """Output of x (L, N, features), and one last state for each of `states`."""
        if STATE.autocast is not None and self.mode != "GRU":
            x, states, *weights = narrowed(x, list(states), *map(list, self.weights))
            return replace(self, weights=weights)._run(x, states, lens)
        return self._run(x, states, lens)

    @apart
    def _run(
        self, x: Tensor, states: Sequence[Tensor | None], lens: Tensor | None
    ) -> tuple[Any, list[Tensor]]:
        self._check(x, states)
        lasts: list[list[Tensor]] = [[] for _ in states]
        y: Any = x
        n = self.directions
        for first in range(0, len(self.weights), n):
            if first and self.dropout > 0:
                y = dropout(y, self.dropout, self.training)
            start = [None if s is None else s.narrow(0, first, n) for s in states]
            each = self.weights[first : first + n]
            if self.projected:
                y, last = projected_layer(y, list(map(list, each)), self.bias, lens, start)
            else:
                y, *last = apply_many(
                    self._handle(), (y, *self._operands(each), lens, *start), 1 + len(states)
                )
                y = y.transpose(1, 2).flatten(2) if self.bidirectional else y.squeeze(1)
            for found, value in zip(lasts, last, strict=True):
                found.append(value)
        return y, [v[0] if len(v) == 1 else cat(v, 0) for v in lasts]

    def _handle(self) -> Any:
        attributes: dict[str, Any] = {"hidden_size": self.hidden_size}
        if self.bidirectional:
            attributes["direction"] = "bidirectional"
        if self.mode == "GRU":
            attributes["linear_before_reset"] = 1
        if self.mode == "RNN_RELU":
            attributes["activations"] = ["Relu"] * self.directions
        return handle(self.op_type, **attributes)

    def _operands(self, each: Sequence[Sequence[Any]]) -> tuple[Any, ...]:
        """W, R, B of one layer: directions joined, gates in ONNX's order."""
        n, order, h = self.directions, ORDER[self.op_type], self.hidden_size
        gates = len(order)

        def joined(parts: list[Any]) -> Any:
            return parts[0].unsqueeze(0) if n == 1 else stack(parts)

        def ordered(v: Any, lead: int, width: int) -> Any:
            if gates == 1:
                return v.reshape(n, lead * h, width) if width else v
            parts = v.reshape(n * lead, gates, -1).index_select(1, tensor(order))
            return parts.reshape(n, lead * gates * h, width) if width else parts.reshape(n, -1)

        w = ordered(joined([p[0] for p in each]), 1, each[0][0].shape[1])
        r = ordered(joined([p[1] for p in each]), 1, h)
        if not self.bias:
            return w, r, None
        return w, r, ordered(joined([cat([p[2], p[3]]) for p in each]), 2, 0)

    def _check(self, x: Tensor, states: Sequence[Tensor | None]) -> None:
        width = x.shape[2]
        if isinstance(width, int) and width != self.input_size:
            raise ShapeError(
                "input.size(-1) must be equal to input_size. "
                f"Expected {self.input_size}, got {width}"
            )
        state_size = self.weights[0][1].shape[1]
        for i, state in enumerate(states):
            want = (len(self.weights), x.shape[1], self.hidden_size if i else state_size)
            if state is None or not all(isinstance(d, int) for d in (*want, *state.shape)):
                continue
            if tuple(state.shape) != want:
                name = f"hidden[{i}]" if self.mode == "LSTM" else "hidden"
                raise ShapeError(f"Expected {name} size {want}, got {list(state.shape)}")

"""RNN, LSTM and GRU as stacks of layers and as single steps.

A layer is one ONNX operator; its gates stand in another order than PyTorch's parameters, which a
constant Gather brings about in the graph.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

from toolkit.errors import InvalidArgumentError, ShapeError, UnsupportedOperatorError
from toolkit.nn import functional as F
from toolkit.nn import init
from toolkit.nn.module import Module
from toolkit.nn.parameter import Parameter
from toolkit.nn.utils.rnn import PackedSequence
from toolkit.ops.dispatch import apply_many, handle
from toolkit.tensor import Tensor, cat, empty, stack, tensor, zeros

# PyTorch's gates in ONNX's order: i f g o -> i o f c, r z n -> z r h.
_ORDER = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN": (0,)}


class RNNBase(Module):
    """What RNN, LSTM and GRU share.

    Input and output are (L, N, features), (N, L, features) with `batch_first`, or (L, features);
    states are (num_layers * directions, N, hidden_size). A `PackedSequence` gives one.
    """

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        _check_sizes(mode, input_size, hidden_size, num_layers, dropout)
        if proj_size:
            raise UnsupportedOperatorError(
                f"{mode}: proj_size 0 is required, as ONNX has no projection, got {proj_size}. "
                "A Linear layer after it is not the same: the state would not be projected."
            )
        self.mode = mode
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        rows = len(self._order) * hidden_size
        self._all_weights: list[list[str]] = []
        for layer in range(num_layers):
            width = input_size if layer == 0 else hidden_size * self._directions
            shapes: dict[str, Any] = {"weight_ih": (rows, width), "weight_hh": (rows, hidden_size)}
            if bias:
                shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
            for suffix in ("", "_reverse")[: self._directions]:
                names = {f"{name}_l{layer}{suffix}": shape for name, shape in shapes.items()}
                for name, shape in names.items():
                    setattr(self, name, Parameter(empty(*shape, device=device, dtype=dtype)))
                self._all_weights.append(list(names))
        self.reset_parameters()

    @property
    def _op_type(self) -> str:
        return self.mode.partition("_")[0]

    @property
    def _order(self) -> tuple[int, ...]:
        return _ORDER[self._op_type]

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def all_weights(self) -> list[list[Tensor]]:
        """The parameters of each layer and direction."""
        return [[getattr(self, name) for name in names] for names in self._all_weights]

    def reset_parameters(self) -> None:
        """U(-1/sqrt(hidden_size), 1/sqrt(hidden_size)) for all."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        for p in self.parameters():
            init.uniform_(p, -bound, bound)

    def flatten_parameters(self) -> None:
        """Does nothing: each layer's parameters are packed when they are used."""

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        if self.num_layers != 1:
            text += f", num_layers={self.num_layers}"
        if self.bias is not True:
            text += f", bias={self.bias}"
        if self.batch_first is not False:
            text += f", batch_first={self.batch_first}"
        if self.dropout != 0:
            text += f", dropout={self.dropout}"
        if self.bidirectional is not False:
            text += f", bidirectional={self.bidirectional}"
        return text

    def _run(self, input: Any, states: tuple[Tensor | None, ...]) -> tuple[Any, list[Tensor]]:
        """Output, and one last state for each of `states`."""
        if isinstance(input, PackedSequence):
            y, last = self._layers(input.padded, states, input.sequence_lens)
            return input.with_padded(y), last
        if input.dim() not in (2, 3):
            raise ShapeError(
                f"{self._op_type}: Expected input to be 2D or 3D, got {input.dim()}D instead"
            )
        single = input.dim() == 2
        x = input.unsqueeze(1) if single else input.transpose(0, 1) if self.batch_first else input
        for state in states:
            if state is not None and state.dim() != input.dim():
                raise ShapeError(
                    f"{self._op_type}: For {'unbatched 2' if single else 'batched 3'}-D input, hx "
                    f"should also be {input.dim()}-D but got {state.dim()}-D tensor"
                )
        y, last = self._layers(
            x, tuple(s.unsqueeze(1) if single and s is not None else s for s in states), None
        )
        if single:
            return y.squeeze(1), [s.squeeze(1) for s in last]
        return y.transpose(0, 1) if self.batch_first else y, last

    def _layers(
        self, x: Tensor, states: tuple[Tensor | None, ...], lens: Tensor | None
    ) -> tuple[Any, list[Tensor]]:
        self._check(x, states)
        lasts: list[list[Tensor]] = [[] for _ in states]
        y: Any = x
        for layer in range(self.num_layers):
            if layer > 0 and self.dropout > 0:
                y = F.dropout(y, self.dropout, self.training)
            first = layer * self._directions
            start = [None if s is None else s.narrow(0, first, self._directions) for s in states]
            y, *last = apply_many(
                self._handle(), (y, *self._weights(layer), lens, *start), 1 + len(states)
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
            attributes["activations"] = ["Relu"] * self._directions
        return handle(self._op_type, **attributes)

    def _weights(self, layer: int) -> tuple[Any, ...]:
        """W, R, B of one layer: directions joined, gates in ONNX's order."""
        n = self._directions
        each = self.all_weights[layer * n : (layer + 1) * n]
        gates, h = len(self._order), self.hidden_size

        def joined(parts: list[Any]) -> Any:
            return parts[0].unsqueeze(0) if n == 1 else stack(parts)

        def ordered(v: Any, lead: int, width: int) -> Any:
            if gates == 1:
                return v.reshape(n, lead * h, width) if width else v
            parts = v.reshape(n * lead, gates, -1).index_select(1, tensor(self._order))
            return parts.reshape(n, lead * gates * h, width) if width else parts.reshape(n, -1)

        w = ordered(joined([p[0] for p in each]), 1, each[0][0].shape[1])
        r = ordered(joined([p[1] for p in each]), 1, h)
        if not self.bias:
            return w, r, None
        return w, r, ordered(joined([cat([p[2], p[3]]) for p in each]), 2, 0)

    def _check(self, x: Tensor, states: tuple[Tensor | None, ...]) -> None:
        width = x.shape[2]
        if isinstance(width, int) and width != self.input_size:
            raise ShapeError(
                "input.size(-1) must be equal to input_size. "
                f"Expected {self.input_size}, got {width}"
            )
        want = (self.num_layers * self._directions, x.shape[1], self.hidden_size)
        for i, state in enumerate(states):
            if state is None or not all(isinstance(d, int) for d in (*want, *state.shape)):
                continue
            if tuple(state.shape) != want:
                name = f"hidden[{i}]" if self.mode == "LSTM" else "hidden"
                raise ShapeError(f"Expected {name} size {want}, got {list(state.shape)}")


def _check_sizes(
    mode: str, input_size: int, hidden_size: int, num_layers: int, dropout: float
) -> None:
    for name, size in (
        ("input_size", input_size),
        ("hidden_size", hidden_size),
        ("num_layers", num_layers),
    ):
        if not isinstance(size, int) or size <= 0:
            raise InvalidArgumentError(f"{mode}: {name} must be greater than zero, got {size}")
    if isinstance(dropout, bool) or not 0 <= dropout <= 1:
        raise InvalidArgumentError(
            "dropout should be a number in range [0, 1] representing the probability of an "
            f"element being zeroed, got {dropout}"
        )
    if dropout > 0 and num_layers == 1:
        warnings.warn(
            "dropout option adds dropout after all but last recurrent layer, so non-zero dropout "
            f"expects num_layers greater than 1, but got dropout={dropout} and "
            f"num_layers={num_layers}",
            stacklevel=4,
        )


class RNN(RNNBase):
    """Elman's network: `h = tanh(W_ih x + b_ih + W_hh h + b_hh)`, or relu."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        mode = _nonlinearity(nonlinearity)
        self_args = (num_layers, bias, batch_first, dropout, bidirectional, 0, device, dtype)
        super().__init__(f"RNN_{mode.upper()}", input_size, hidden_size, *self_args)
        self.nonlinearity = nonlinearity

    def forward(self, input: Any, hx: Tensor | None = None) -> tuple[Any, Tensor]:
        y, (h,) = self._run(input, (hx,))
        return y, h


class GRU(RNNBase):
    """Gated recurrent unit (Cho et al., 2014), the reset gate after the product with h.

    `n = tanh(W_in x + b_in + r (W_hn h + b_hn))`, `h' = (1 - z) n + z h`.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        rest = (num_layers, bias, batch_first, dropout, bidirectional, 0, device, dtype)
        super().__init__("GRU", input_size, hidden_size, *rest)

    def forward(self, input: Any, hx: Tensor | None = None) -> tuple[Any, Tensor]:
        y, (h,) = self._run(input, (hx,))
        return y, h


class LSTM(RNNBase):
    """Long short-term memory (Hochreiter and Schmidhuber, 1997) with a forget gate."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        rest = (num_layers, bias, batch_first, dropout, bidirectional, proj_size, device, dtype)
        super().__init__("LSTM", input_size, hidden_size, *rest)

    def forward(
        self, input: Any, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Any, tuple[Tensor, Tensor]]:
        y, (h, c) = self._run(input, (None, None) if hx is None else tuple(hx))
        return y, (h, c)


def _nonlinearity(name: str) -> str:
    if name not in ("tanh", "relu"):
        raise InvalidArgumentError(f"Unknown nonlinearity '{name}'. Select from 'tanh' or 'relu'.")
    return name


class RNNCellBase(Module):
    """One step; weights (chunks * hidden_size, features)."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool,
        num_chunks: int,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        rows = num_chunks * hidden_size
        options = {"device": device, "dtype": dtype}
        self.weight_ih = Parameter(empty(rows, input_size, **options))
        self.weight_hh = Parameter(empty(rows, hidden_size, **options))
        for name in ("bias_ih", "bias_hh"):
            self.register_parameter(name, Parameter(empty(rows, **options)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """U(-1/sqrt(hidden_size), 1/sqrt(hidden_size)) for all."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for p in self.parameters():
            init.uniform_(p, -bound, bound)

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        return text if self.bias is True else f"{text}, bias={self.bias}"

    def _products(self, input: Tensor, hx: Any) -> tuple[Any, Any, Any]:
        """(h, W_ih x + b_ih, W_hh h + b_hh)."""
        name = type(self).__name__
        for what, v in (("input", input), ("hidden", hx)):
            if v is not None and v.dim() not in (1, 2):
                raise ShapeError(f"{name}: Expected {what} to be 1D or 2D, got {v.dim()}D instead")
        if hx is None:
            hx = zeros(*input.shape[:-1], self.hidden_size, dtype=input.dtype)
        gi = F.linear(input, self.weight_ih, self.bias_ih)
        return hx, gi, F.linear(hx, self.weight_hh, self.bias_hh)


class RNNCell(RNNCellBase):
    """One step of `RNN`."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity = _nonlinearity(nonlinearity)

    def extra_repr(self) -> str:
        text = super().extra_repr()
        if self.nonlinearity == "tanh":
            return text
        return f"{text}, nonlinearity={self.nonlinearity}"

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Any:
        _, gi, gh = self._products(input, hx)
        return F.tanh(gi + gh) if self.nonlinearity == "tanh" else F.relu(gi + gh)


class GRUCell(RNNCellBase):
    """One step of `GRU`."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Any:
        h, gi, gh = self._products(input, hx)
        (ri, zi, ni), (rh, zh, nh) = gi.chunk(3, -1), gh.chunk(3, -1)
        r, z = F.sigmoid(ri + rh), F.sigmoid(zi + zh)
        n = F.tanh(ni + r * nh)
        return n + z * (h - n)


class LSTMCell(RNNCellBase):
    """One step of `LSTM`."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Any, Any]:
        h, c = (None, None) if hx is None else hx
        start, gi, gh = self._products(input, h)
        i, f, g, o = (gi + gh).chunk(4, -1)
        c = start if c is None else c
        c = F.sigmoid(f) * c + F.sigmoid(i) * F.tanh(g)
        return F.sigmoid(o) * F.tanh(c), c

"""RNN, LSTM and GRU as stacks of layers; what those compute is in `recurrent_layers`."""

from __future__ import annotations

import math
import warnings
from typing import Any

from toolkit.errors import InvalidArgumentError, ShapeError
from toolkit.nn import init
from toolkit.nn.module import Module
from toolkit.nn.parameter import Parameter
from toolkit.nn.recurrent_cells import check_nonlinearity
from toolkit.nn.recurrent_layers import ORDER, Layers
from toolkit.nn.utils.rnn import PackedSequence
from toolkit.tensor import Tensor, empty


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
        if proj_size < 0 or proj_size >= hidden_size or (proj_size and mode != "LSTM"):
            raise InvalidArgumentError(
                f"{mode}: a proj_size that has to be smaller than hidden_size and non-negative, "
                f"and of an LSTM, is required, got {proj_size} for hidden_size {hidden_size}."
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
            width = input_size if layer == 0 else self._state_size * self._directions
            shapes: dict[str, Any] = {
                "weight_ih": (rows, width), "weight_hh": (rows, self._state_size)
            }  # fmt: skip
            if bias:
                shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
            if proj_size:
                shapes["weight_hr"] = (proj_size, hidden_size)
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
        return ORDER[self._op_type]

    @property
    def _state_size(self) -> int:
        """The width of h, and of the output of one direction."""
        return self.proj_size or self.hidden_size

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
        if self.proj_size:
            text += f", proj_size={self.proj_size}"
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
        layers = Layers(
            self.mode, self.input_size, self.hidden_size, self.all_weights, self.bias, self.dropout,
            self.training, self.bidirectional, bool(self.proj_size),
        )  # fmt: skip
        return layers.run(x, states, lens)


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
        mode = check_nonlinearity(nonlinearity)
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

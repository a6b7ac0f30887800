"""Single steps of RNN, LSTM and GRU."""

from __future__ import annotations

import math
from typing import Any

from toolkit.errors import InvalidArgumentError, ShapeError
from toolkit.nn import functional as F
from toolkit.nn import init
from toolkit.nn.module import Module
from toolkit.nn.parameter import Parameter
from toolkit.tensor import Tensor, empty, zeros


def check_nonlinearity(name: str) -> str:
    """The name, if there is such a one."""
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
        self.nonlinearity = check_nonlinearity(nonlinearity)

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

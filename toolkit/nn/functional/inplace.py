"""Activations that write into their input: `relu_(x)` is `relu(x, inplace=True)`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from toolkit.nn.functional import activation
from toolkit.tensor import Tensor


def _written(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def written(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return input.copy_(function(input, *args, **kwargs))

    name = function.__name__
    written.__name__ = written.__qualname__ = f"{name}_"
    written.__doc__ = f"`{name}`, written into the input."
    return written


relu_ = _written(activation.relu)
celu_ = _written(activation.celu)
elu_ = _written(activation.elu)
selu_ = _written(activation.selu)
hardtanh_ = _written(activation.hardtanh)
leaky_relu_ = _written(activation.leaky_relu)
rrelu_ = _written(activation.rrelu)
threshold_ = _written(activation.threshold)

"""Parameters of distributions: broadcasting, probabilities and logits, lazy properties."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from numbers import Number
from typing import Any

import numpy as np

from toolkit._tensor.state import STATE
from toolkit.autograd import enable_grad
from toolkit.errors import InvalidArgumentError
from toolkit.tensor import Tensor, tensor

T = Any  # A tensor.

EULER = 0.57721566490153286060


def tracing() -> bool:
    """Whether values are not known yet: nothing can be validated then."""
    return STATE.trace is not None


def broadcast_all(*values: Any) -> tuple[T, ...]:
    """Tensors of one shape; numbers take the element type of the first tensor.

    Raises:
        ValueError: something that is neither a number nor a tensor.
    """
    given = [v for v in values if isinstance(v, Tensor)]
    if any(not isinstance(v, (Tensor, Number)) for v in values):
        raise InvalidArgumentError(
            "broadcast_all: numbers and tensors are required, got "
            f"{[type(v).__name__ for v in values]}."
        )
    dtype = given[0].dtype if given else None
    tensors = [v if isinstance(v, Tensor) else tensor(float(v), dtype=dtype) for v in values]
    shape = broadcast_shape(*(t.shape for t in tensors))
    return tuple(t if tuple(t.shape) == shape else t.expand(*shape) for t in tensors)


def broadcast_shape(*shapes: Sequence[Any]) -> tuple[Any, ...]:
    """The shape that all of them broadcast to.

    Raises:
        ValueError: they do not.
    """
    rank = max(map(len, shapes), default=0)
    result: list[Any] = [1] * rank
    for shape in shapes:
        for i, d in enumerate(shape, rank - len(shape)):
            if isinstance(result[i], int) and result[i] == 1:
                result[i] = d
            elif isinstance(d, int) and isinstance(result[i], int) and d not in (1, result[i]):
                raise InvalidArgumentError(
                    f"shapes that broadcast are required, got {', '.join(map(str, shapes))}."
                )
    return tuple(result)


def epsilon(x: T) -> float:
    """The precision of a tensor's type."""
    return float(np.finfo(x.dtype.numpy).eps)


def tiny(x: T) -> float:
    """The smallest normal number of a tensor's type."""
    return float(np.finfo(x.dtype.numpy).tiny)


def largest(x: T) -> float:
    """The largest number of a tensor's type."""
    return float(np.finfo(x.dtype.numpy).max)


def clamp_probs(probs: T) -> T:
    """Probabilities within (0, 1)."""
    eps = epsilon(probs)
    return probs.clamp(min=eps, max=1 - eps)


def probs_to_logits(probs: T, is_binary: bool = False) -> T:
    """Log probabilities, or for two outcomes the log odds."""
    clamped = clamp_probs(probs)
    return clamped.log() - (-clamped).log1p() if is_binary else clamped.log()


def logits_to_probs(logits: T, is_binary: bool = False) -> T:
    """The inverse of `probs_to_logits`."""
    return logits.sigmoid() if is_binary else logits.softmax(-1)


def sum_rightmost(value: T, dims: int) -> T:
    """The sum over the last `dims` dimensions."""
    return value if dims == 0 else value.sum(tuple(range(-dims, 0)))


def binary_cross_entropy(logits: T, target: T) -> T:
    """-log p of a target in [0, 1]: softplus(logits) - target logits."""
    return logits.clamp(min=0) - logits * target + (-logits.abs()).exp().log1p()


def normal_log_normalizer(x: T) -> T:
    """log(x) + log(2 pi) / 2."""
    return x.log() + 0.5 * math.log(2 * math.pi)


class lazy_property:
    """A property whose value is computed once and then an attribute."""

    def __init__(self, wrapped: Callable[[Any], Any]) -> None:
        self.wrapped = wrapped
        functools.update_wrapper(self, wrapped)  # type: ignore[arg-type]

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self
        with enable_grad():
            value = self.wrapped(instance)
        setattr(instance, self.wrapped.__name__, value)
        return value

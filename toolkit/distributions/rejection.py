"""Draws by rejection: proposals until each element has one that is accepted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from toolkit._tensor.elementwise import where
from toolkit.distributions.utils import T, tracing
from toolkit.random import default_generator
from toolkit.tensor import ones, zeros


def first_accepted(
    shape: Sequence[Any], dtype: Any, propose: Callable[[], tuple[T, T]], rounds: int
) -> T:
    """The first accepted proposal of each element; 0 where there is none.

    A graph holds all rounds. Eager code stops once all are accepted and passes over the numbers
    that it did not need, so that both go on with the same ones.

    Args:
        shape: of the result.
        dtype: of the result.
        propose: gives values and which of them are accepted, by as many draws each time.
        rounds: how often.
    """
    kept: Any = zeros(*shape, dtype=dtype)
    open_ = ones(*shape, dtype=dtype) > 0
    eager = not tracing()
    start = default_generator.get_offset() if eager else 0
    for k in range(rounds):
        value, accepted = propose()
        kept = where(open_ & accepted, value, kept)
        open_ = open_ & ~accepted
        if eager and not bool(open_.any()):
            each = (default_generator.get_offset() - start) // (k + 1)
            default_generator.advance(each * (rounds - k - 1))
            break
    return kept

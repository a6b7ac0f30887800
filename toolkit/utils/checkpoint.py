"""Gradient checkpointing by torch.utils.checkpoint's names: memory for computing twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from toolkit._tensor.checkpoint import run
from toolkit.errors import InvalidArgumentError

__all__ = ["checkpoint", "checkpoint_sequential"]


def checkpoint(
    function: Callable[..., Any], *args: Any, use_reentrant: bool | None = None,
    preserve_rng_state: bool = True, **kwargs: Any,
) -> Any:  # fmt: skip
    """`function(*args, **kwargs)`; what it computes in between is not kept for the backward pass.

    Results, gradients and random draws are those without, and what is written to is written once.
    In a compiled step the nodes are there a second time, where their gradients begin, and gradients
    are the same to the bit; eagerly they may round otherwise where the tape is cut.

    Args:
        function: runs once more in the backward pass; it should do the same again.
        *args: its arguments.
        use_reentrant: taken for PyTorch's sake; there is one implementation.
        preserve_rng_state: draw the same numbers again.
        **kwargs: its keyword arguments.
    """
    return run(function, args, kwargs, preserve_rng_state)


def checkpoint_sequential(
    functions: Any, segments: int, input: Any, use_reentrant: bool | None = None,
    preserve_rng_state: bool = True,
) -> Any:  # fmt: skip
    """Runs modules one after the other, in `segments` checkpoints; the last part is kept.

    Args:
        functions: an `nn.Sequential`, or a list of functions of one argument.
        segments: how many parts to make.
        input: the argument of the first.
        use_reentrant: as in `checkpoint`.
        preserve_rng_state: as in `checkpoint`.
    """
    items = list(functions.children() if hasattr(functions, "children") else functions)
    if not 1 <= segments <= len(items):
        raise InvalidArgumentError(
            f"checkpoint_sequential: between 1 and {len(items)} segments are required, got "
            f"{segments}."
        )
    size = len(items) // segments
    for i in range(segments - 1):
        input = checkpoint(
            _chain(items[i * size : (i + 1) * size]), input, preserve_rng_state=preserve_rng_state
        )
    return _chain(items[(segments - 1) * size :])(input)


def _chain(items: Sequence[Callable[[Any], Any]]) -> Callable[[Any], Any]:
    def chained(x: Any) -> Any:
        for item in items:
            x = item(x)
        return x

    return chained

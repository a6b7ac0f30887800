"""Parameters as one vector, and modules whose content does not matter."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from toolkit.autograd import no_grad
from toolkit.errors import InvalidArgumentError
from toolkit.nn.module import Module
from toolkit.random import get_rng_state, set_rng_state
from toolkit.tensor import Tensor, cat


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All parameters, flattened, one after the other."""
    return cat([p.reshape(-1) for p in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Copies the pieces of a vector into the parameters.

    Raises:
        InvalidArgumentError: the vector's length is not the parameters' total.
    """
    params = list(parameters)
    need = sum(p.numel() for p in params)
    if tuple(vec.shape) != (need,):
        raise InvalidArgumentError(
            f"vector_to_parameters: a vector of {need} elements is required, got {list(vec.shape)}."
        )
    start = 0
    with no_grad():
        for p in params:
            p.copy_(vec[start : start + p.numel()].reshape(*p.shape))
            start += p.numel()


def skip_init(module_cls: type[Module], *args: Any, **kwargs: Any) -> Module:
    """A module whose parameters will be overwritten: the random generator is left as it was."""
    if not issubclass(module_cls, Module):
        raise InvalidArgumentError(f"Expected a Module; got {module_cls}")
    before = get_rng_state()
    try:
        return module_cls(*args, **kwargs)
    finally:
        set_rng_state(before)

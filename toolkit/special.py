"""Special functions with the names of `torch.special`."""

from __future__ import annotations

from typing import Any

from toolkit._tensor import orthogonal, special

_FUNCTIONS = {**special.FUNCTIONS, **orthogonal.FUNCTIONS}


def __getattr__(name: str) -> Any:
    found = _FUNCTIONS.get(name)
    if found is None:
        raise AttributeError(f"module 'toolkit.special' has no attribute {name!r}")
    return found


def __dir__() -> list[str]:
    return sorted(_FUNCTIONS)


__all__ = list(_FUNCTIONS)

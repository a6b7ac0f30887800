"""`param_groups`: a learning rate of their own for parameters whose names match a pattern."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from toolkit.errors import InvalidArgumentError

if TYPE_CHECKING:
    from toolkit.nn import Module


def param_groups(model: Module, options: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Groups for an optimizer: each parameter that trains, once.

    Args:
        model: the module.
        options: an optimizer's options by glob over the parameters' names. The first pattern that
            matches counts; parameters that none matches make a last group with the defaults.

    Raises:
        InvalidArgumentError: a pattern that takes no parameter.

    Example:
        groups = param_groups(net, {"backbone.*": {"lr": 1e-4}, "*.bias": {"weight_decay": 0.0}})
        optimizer = optim.AdamW(groups, lr=1e-3)
    """
    found: dict[str, list[Any]] = {pattern: [] for pattern in (*options, "")}
    names = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    for name, parameter in names:
        pattern = next((p for p in options if fnmatch.fnmatchcase(name, p)), "")
        found[pattern].append((name, parameter))
    for pattern in options:
        if not found[pattern]:
            raise InvalidArgumentError(
                f"param_groups: a pattern that takes a parameter which trains is required, got "
                f"'{pattern}'. There are {', '.join(name for name, _ in names[:8]) or 'none'}"
                f"{', ...' if len(names) > 8 else ''}."
            )
    return [
        {"params": members, **options.get(pattern, {})}
        for pattern, members in found.items()
        if members
    ]

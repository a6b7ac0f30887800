"""The table of adapters: what to do with a node of an older opset."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable

from toolkit.graph.edit import Edit

Adapter = Callable[[Edit], None]
_ADAPTERS: dict[tuple[str, str], dict[int, Adapter]] = defaultdict(dict)


def adapter(*op_types: str, to: int, domain: str = "") -> Callable[[Adapter], Adapter]:
    """Registers a rule that brings a node from the version before opset `to` to opset `to`.

    The rule edits `edit.node`: its attributes and inputs in place, or it replaces the node by nodes
    of the canonical opset. Versions of an operator that differ in element types alone need no rule,
    nor do attributes whose defaults say what the older version did.
    """

    def register(function: Adapter) -> Adapter:
        for op_type in op_types:
            _ADAPTERS[domain, op_type][to] = function
        next_adapter.cache_clear()
        return function

    return register


@functools.cache
def next_adapter(op_type: str, version: int, domain: str = "") -> tuple[int, Adapter] | None:
    """The first rule of an operator above opset `version`, and the opset it leads to."""
    steps = _ADAPTERS.get((domain, op_type))
    later = [to for to in steps if to > version] if steps else []
    return (min(later), steps[min(later)]) if steps and later else None


def adapted_versions(op_type: str, domain: str = "") -> frozenset[int]:
    """The opsets that an operator's rules lead to."""
    return frozenset(_ADAPTERS.get((domain, op_type), ()))

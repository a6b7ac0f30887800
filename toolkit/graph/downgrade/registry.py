"""The table of rules that take a node to an older version of its operator."""

from __future__ import annotations

from collections.abc import Callable

from toolkit.graph.edit import Edit

Rule = Callable[[Edit], None]
_RULES: dict[tuple[str, int], Rule] = {}


def before(*op_types: str, opset: int) -> Callable[[Rule], Rule]:
    """Registers a rule that takes a node of the version of `opset` to the version before it.

    The rule edits `edit.node` in place, or replaces it by nodes of the canonical opset, or raises
    `edit.fail(...)` where the older version cannot say the same. A version that only takes more
    element types, or has more attributes whose defaults say the old behaviour, needs no rule.
    """

    def register(function: Rule) -> Rule:
        for op_type in op_types:
            _RULES[op_type, opset] = function
        return function

    return register


def rule_of(op_type: str, opset: int) -> Rule | None:
    """The rule of an operator's version, or `None`."""
    return _RULES.get((op_type, opset))

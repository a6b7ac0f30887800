"""Operators that are rewritten when a model is loaded, by rules of layers above the graph.

A rule is named as "module:function", so that whoever registers it need not import it; it is
imported when a model first holds its operator.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir

_RULES: dict[tuple[str, str | None], str] = {}


def register(domain: str, op_type: str | None, rule: str) -> None:
    """Names the rule of an operator: a function that takes the model and changes it in place.

    Without an operator it is the rule of a domain. Rules are applied in the
    order in which they were registered.
    """
    _RULES[domain, op_type] = rule


def expand(model: ir.Model) -> bool:
    """Applies the rules of the operators that a model at the canonical opset holds.

    Returns:
        Whether there were any.
    """
    from toolkit.graph.walk import all_nodes  # Not for `import toolkit`: it needs onnx-ir.

    held = {(node.domain, node.op_type) for node in all_nodes(model.graph)}
    held |= {(n.domain, n.op_type) for f in model.functions.values() for n in all_nodes(f)}
    held_domains = {(domain, None) for domain, _ in held}
    rules = [named for key, named in _RULES.items() if key in held or key in held_domains]
    for named in rules:
        module, _, name = named.partition(":")
        rule: Callable[[ir.Model], None] = getattr(importlib.import_module(module), name)
        rule(model)
    return bool(rules)

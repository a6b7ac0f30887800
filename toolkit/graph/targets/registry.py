"""The table of rewrites, and what a rewrite sees of its node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from toolkit.errors import UnsupportedOperatorError
from toolkit.graph.build import Builder, constant_of
from toolkit.graph.edit import where

Rule = Callable[..., Any]
_TABLES: dict[str, dict[tuple[str, str], Rule]] = {}


@dataclass
class Call:
    """One node under rewriting.

    Attributes:
        b: writes nodes before it.
        node: the node.
        defaults: the schema's defaults of its attributes.
    """

    b: Builder
    node: ir.Node
    defaults: dict[str, Any]

    def attr(self, name: str, default: Any = None) -> Any:
        """An attribute's value: the node's, else `default`, else the schema's."""
        found = self.node.attributes.get(name)
        if found is not None:
            return found.value
        return self.defaults.get(name) if default is None else default

    @property
    def attributes(self) -> dict[str, Any]:
        """All attributes as Python values."""
        return {name: a.value for name, a in self.node.attributes.items()}

    def rank(self, value: ir.Value) -> int:
        """The number of dimensions, which must be known."""
        if value.shape is None:
            raise self.refuse(f"a known rank of '{value.name}' is required")
        return len(value.shape)

    def used(self, index: int) -> bool:
        """Whether output `index` is there and read."""
        if index >= len(self.node.outputs):
            return False
        value = self.node.outputs[index]
        return bool(value.uses()) or value.is_graph_output()

    def constant(self, value: ir.Value | None, what: str) -> Any:
        """The array of an input that must be a constant; None if it is left out."""
        if value is None:
            return None
        array = constant_of(value)
        if array is None:
            raise self.refuse(f"a constant {what} is required, got '{value.name}'")
        return array

    def refuse(self, need: str) -> UnsupportedOperatorError:
        """The error to raise where the node cannot be rewritten."""
        return UnsupportedOperatorError(f"{where(self.node)}: {need}.")


def rewrite(target: str, *operators: str) -> Callable[[Rule], Rule]:
    """Registers a rewrite: `f(c, *inputs)` gives the node's outputs, of standard operators.

    Its docstring is its formula. It returns None where the node is to stay, and raises
    `c.refuse(...)` where it cannot be rewritten.

    Args:
        target: the target's name.
        *operators: as "Sign", or "toolkit.grad.MaxPoolGrad" for composites.
    """

    def register(rule: Rule) -> Rule:
        for name in operators:
            domain, _, op_type = name.rpartition(".")
            _TABLES.setdefault(target, {})[domain, op_type] = rule
        return rule

    return register


def rewrites(target: str) -> dict[tuple[str, str], Rule]:
    """The rewrites of a target, of the modules imported so far."""
    return _TABLES.setdefault(target, {})


def as_outputs(result: Any) -> Sequence[ir.Value | None]:
    """A rule's result as a sequence."""
    return result if isinstance(result, tuple) else (result,)

"""The table of gradient rules, and what a rule sees of the node it differentiates.

A rule takes a `Vjp` and the node's inputs and returns the cotangents of the inputs, in order. An
entry is None where nothing flows, or a function that is called only if that input needs it. Rules
of control flow return a dict instead, which holds captured values too. Rules
know nothing of broadcasting: with `broadcasts=True` the reverse walk sums each result to the shape
of its input.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import onnx
import onnx_ir as ir

from toolkit.graph.build import Builder
from toolkit.graph.functions.registry import base_name

Cotangent = ir.Value | Callable[[], ir.Value | None] | None
Result = Cotangent | tuple[Cotangent, ...]
Rule = Callable[..., Any]

GRAD = "toolkit.grad"


@dataclass
class Vjp:
    """One node under differentiation.

    Attributes:
        b: writes the gradient's nodes.
        node: the node.
        inputs: its inputs, None where left out.
        outputs: its outputs.
        cotangents: one for each output, None where zero.
        needs: for each input, whether its cotangent is wanted.
        fixed: the node has run already, so outputs cannot be added to it.
        captured: the outer values that its subgraphs read and that may carry a gradient.
        functions: the model-local functions.
    """

    b: Builder
    node: ir.Node
    inputs: tuple[ir.Value | None, ...]
    outputs: tuple[ir.Value, ...]
    cotangents: tuple[ir.Value | None, ...]
    needs: tuple[bool, ...]
    fixed: bool = False
    captured: tuple[ir.Value, ...] = ()
    functions: Mapping[tuple[str, str, str], ir.Function] = field(default_factory=dict)

    @property
    def y(self) -> ir.Value:
        """The first output."""
        return self.outputs[0]

    @property
    def dy(self) -> Any:
        """The cotangent of the first output."""
        return self.cotangents[0]

    def need(self, index: int) -> bool:
        """Whether the cotangent of input `index` is wanted."""
        return index < len(self.needs) and self.needs[index]

    def attr(self, name: str, default: Any = None) -> Any:
        """An attribute's value: the node's, else `default`, else the schema's own default."""
        return attribute_of(self.node, name, default)

    @property
    def attributes(self) -> dict[str, Any]:
        """The node's attributes, to be copied onto another node."""
        return dict(self.node.attributes)

    def input(self, index: int) -> ir.Value | None:
        """Input `index`, None when it is left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def grad(self, op_type: str, *inputs: Any, outputs: int = 1, **attributes: Any) -> Any:
        """Append a composite of the domain toolkit.grad."""
        return self.b.call(GRAD, op_type, inputs, attributes, outputs)


def attribute_of(node: ir.Node, name: str, default: Any = None) -> Any:
    """An attribute's value: the node's, else `default`, else the schema's own default."""
    attribute = node.attributes.get(name)
    if attribute is not None:
        return attribute.value
    if default is not None:
        return default
    return schema_defaults(node.domain, node.op_type).get(name)


@functools.cache
def schema_defaults(domain: str, op_type: str) -> Mapping[str, Any]:
    """The default values that an operator's schema gives its attributes."""
    if not onnx.defs.has(op_type, domain):
        return {}
    defaults = {}
    for name, attribute in onnx.defs.get_schema(op_type, domain).attributes.items():
        if attribute.default_value.type:
            value = onnx.helper.get_attribute_value(attribute.default_value)
            defaults[name] = value.decode() if isinstance(value, bytes) else value
    return defaults


@dataclass(frozen=True)
class Entry:
    """A registered rule, or the reason why an operator has none."""

    rule: Rule | None
    broadcasts: bool = False
    all_outputs: bool = False
    reason: str = ""


_RULES: dict[tuple[str, str], Entry] = {}


def vjp(
    *op_types: str, domain: str = "", broadcasts: bool = False, all_outputs: bool = False
) -> Callable[[Rule], Rule]:
    """Register a gradient rule; its docstring is its formula.

    Args:
        *op_types: the operators that it serves.
        domain: their domain.
        broadcasts: results may have a broadcast shape; the walk sums them back.
        all_outputs: the rule reads `cotangents` itself, so it also runs when only a later output
            has one. Otherwise later outputs carry no gradient.
    """

    def register(rule: Rule) -> Rule:
        for op_type in op_types:
            _RULES[domain, op_type] = Entry(rule, broadcasts, all_outputs)
        return rule

    return register


def derivative(op_type: str, domain: str = "") -> Callable[[Rule], Rule]:
    """Register an elementwise y = f(x) by its derivative: `(b, x, y) -> f'(x)`; dx = dy f'(x)."""

    def register(rule: Rule) -> Rule:
        def unary(c: Vjp, x: ir.Value) -> ir.Value:
            return c.dy * rule(c.b, x, c.y)  # type: ignore[no-any-return]

        unary.__doc__ = f"{op_type}: dx = dy f'(x). {rule.__doc__ or ''}"
        _RULES[domain, op_type] = Entry(unary)
        return rule

    return register


def linear(op_type: str, transpose: Callable[[Vjp], Result], domain: str = "") -> None:
    """Register an operator linear in its first input by its transpose: dx = Aᵀ dy."""

    def rule(c: Vjp, *inputs: ir.Value | None) -> Result:
        return transpose(c)

    rule.__doc__ = f"{op_type}: dx = Aᵀ dy."
    _RULES[domain, op_type] = Entry(rule)


def not_differentiable(*op_types: str, reason: str, domain: str = "") -> None:
    """Record that no gradient flows through operators: it is zero wherever it exists, or undefined.

    The walk stops there as torch does, without an error.
    """
    for op_type in op_types:
        _RULES[domain, op_type] = Entry(None, reason=reason)


def find(domain: str, op_type: str) -> Entry | None:
    """The entry of an operator, None if there is none."""
    from toolkit.autodiff import rules  # Registers every family.

    assert rules
    if domain.startswith("toolkit."):
        op_type = base_name(op_type)
    return _RULES.get((domain, op_type))


def operators() -> Mapping[tuple[str, str], Entry]:
    """Every registered (domain, operator)."""
    find("", "")
    return _RULES

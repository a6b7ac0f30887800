"""What the passes that look for written-out operators share.

A pattern is found from its last node backwards, and replaced only when nothing else reads what is
computed inside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir

from toolkit.runtime.passes.region import FusedNode, Node, Region, same_shape


@dataclass
class Product:
    """constant * factors[0] * factors[1] ..., and the nodes that multiply."""

    constant: float = 1.0
    factors: list[ir.Value] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)

    def other(self, x: ir.Value) -> ir.Value | None:
        """The second of two factors, the first being `x`."""
        if len(self.factors) != 2 or not any(f is x for f in self.factors):
            return None
        return self.factors[1] if self.factors[0] is x else self.factors[0]


# How far a constant may be from the number that it stands for, relatively: exporters write 0.7071
# or round to the type; in float64 the difference would show.
_SLACK = {
    ir.DataType.FLOAT: 2e-5,
    ir.DataType.DOUBLE: 1e-10,
    ir.DataType.FLOAT16: 6e-4,
    ir.DataType.BFLOAT16: 6e-4,
}


def near(a: float, b: float, x: ir.Value) -> bool:
    """Whether `a` stands for `b` beside values of x's type."""
    return x.dtype in _SLACK and abs(a - b) <= _SLACK[x.dtype] * abs(b)


def made_by(region: Region, value: ir.Value | None, *op_types: str) -> Node | None:
    """The node of a standard operator that makes `value`, if it is one of `op_types`."""
    node = region.producer(value)
    return node if node is not None and node.domain == "" and node.op_type in op_types else None


def product(region: Region, value: ir.Value, inner: bool = False) -> Product:
    """`value` as a product, through nodes whose results are read once only (`inner` ones)."""
    node = made_by(region, value, "Mul", "Div", "Neg", "Pow")
    if node is None or (inner and not region.is_private(value)):
        return Product(factors=[value])
    a, b = (*node.inputs, None)[:2]
    number = region.number(b)
    assert a is not None
    if node.op_type == "Pow":
        if number not in (2.0, 3.0):
            return Product(factors=[value])
        return Product(factors=[a] * int(number or 0), nodes=[node])
    if node.op_type == "Neg":
        left = product(region, a, inner=True)
        return Product(-left.constant, left.factors, [node, *left.nodes])
    if node.op_type == "Div" and not number:
        return Product(factors=[value])
    result = Product(nodes=[node])
    for operand in (a, b):
        constant = region.number(operand)
        if constant is not None:
            result.constant *= 1 / constant if node.op_type == "Div" and operand is b else constant
        elif operand is not None:
            part = product(region, operand, inner=True)
            result.constant *= part.constant
            result.factors += part.factors
            result.nodes += part.nodes
    return result


def plus_constant(region: Region, value: ir.Value) -> tuple[ir.Value, float, Node] | None:
    """(x, c, node) where `value` is x + c or c + x."""
    node = made_by(region, value, "Add")
    if node is None:
        return None
    a, b = node.inputs[:2]
    for x, c in ((a, b), (b, a)):
        number = region.number(c)
        if number is not None and x is not None:
            return x, number, node
    return None


def is_closed(region: Region, nodes: list[Node]) -> bool:
    """Whether only the last node's results are read outside `nodes`."""
    inside = set(map(id, nodes))
    last = max(nodes, key=region.place)
    return all(
        value not in region.wanted and all(id(r) in inside for r in region.readers(value))
        for node in nodes
        if node is not last
        for value in node.outputs
    )


def become(
    region: Region,
    nodes: list[Node],
    op_type: str,
    inputs: list[ir.Value],
    attributes: Mapping[str, Any] | None = None,
) -> bool:
    """Replaces a pattern by one standard operator; False where something else reads its inside."""
    nodes = list({id(n): n for n in nodes}.values())
    if not is_closed(region, nodes):
        return False
    root = max(nodes, key=region.place)
    output = root.outputs[0]
    x = inputs[0]
    if x.dtype not in _SLACK or x.dtype != output.dtype or not same_shape(x, output):
        return False
    name = root.name or op_type
    region.replace(nodes, FusedNode(op_type, inputs, [output], dict(attributes or {}), name, ""))
    return True

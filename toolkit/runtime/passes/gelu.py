"""Gelu written out becomes Gelu.

1. 0.5 * x * (1 + Erf(x / sqrt(2))), factors and terms in any order -> `Gelu(x)`.
2. 0.5 * x * (1 + Tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))), also with x taken out of the inner sum
   -> `Gelu(x, approximate="tanh")`.
"""

from __future__ import annotations

import math

import onnx_ir as ir

from toolkit.runtime.passes.match import become, made_by, near, plus_constant, product
from toolkit.runtime.passes.region import Node, Region

ORDER = 10


def run(region: Region) -> None:
    """Runs the pass."""
    for node in region.nodes:
        if node in region and node.domain == "" and node.op_type in ("Mul", "Div"):
            _match(region, node)


def _match(region: Region, root: Node) -> None:
    whole = product(region, root.outputs[0])
    if len(whole.factors) != 2 or not near(whole.constant, 0.5, root.outputs[0]):
        return
    for x in whole.factors:
        bracket = whole.other(x)
        term = None if bracket is None else plus_constant(region, bracket)
        if term is None or term[1] != 1.0:
            continue
        inner, _, add = term
        function = made_by(region, inner, "Erf", "Tanh")
        if function is None or function.inputs[0] is None:
            continue
        nodes = [*whole.nodes, add, function]
        exact = function.op_type == "Erf"
        rest = (_scaled if exact else _cubic)(region, function.inputs[0], x)
        if rest is None:
            continue
        attributes = {} if exact else {"approximate": "tanh"}
        if become(region, [*nodes, *rest], "Gelu", [x], attributes):
            return


def _scaled(region: Region, value: ir.Value, x: ir.Value) -> list[Node] | None:
    """The nodes of x / sqrt(2)."""
    found = product(region, value)
    ok = found.factors == [x] and near(found.constant, math.sqrt(0.5), x)
    return found.nodes if ok else None


def _cubic(region: Region, value: ir.Value, x: ir.Value) -> list[Node] | None:
    """The nodes of sqrt(2 / pi) * (x + 0.044715 x^3)."""
    found = product(region, value)
    if not near(found.constant, math.sqrt(2 / math.pi), x):
        return None
    if len(found.factors) == 1:
        add = made_by(region, found.factors[0], "Add")
        if add is None or not any(v is x for v in add.inputs):
            return None
        other = add.inputs[1] if add.inputs[0] is x else add.inputs[0]
        power = 3
    else:  # x * (1 + 0.044715 x^2)
        bracket = found.other(x)
        term = None if bracket is None else plus_constant(region, bracket)
        if term is None or term[1] != 1.0:
            return None
        other, _, add = term
        power = 2
    if other is None:
        return None
    cube = product(region, other)
    factors, nodes = list(cube.factors), [*found.nodes, add, *cube.nodes]
    for factor in cube.factors:  # x * (x * x) where x * x is read once is one product already.
        if factor is not x:
            part = product(region, factor)
            factors.remove(factor)
            factors += part.factors
            nodes += part.nodes
    if not near(cube.constant, 0.044715, x) or len(factors) != power:
        return None
    return nodes if all(f is x for f in factors) else None

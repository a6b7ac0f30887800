"""Products of x and a function of x become one operator.

1. x * Sigmoid(x), x * Sigmoid(a * x) with a constant a -> `Swish(x, alpha=a)`.
2. x * HardSigmoid(x, 1/6, 0.5), x * Clip(x + 3, 0, 6) / 6 -> `HardSwish(x)`.
3. x * Tanh(Softplus(x)) -> `Mish(x)`.
"""

from __future__ import annotations

import onnx_ir as ir

from toolkit.runtime.passes.match import (
    Product,
    become,
    made_by,
    near,
    plus_constant,
    product,
)
from toolkit.runtime.passes.region import Node, Region, attribute

ORDER = 10


def run(region: Region) -> None:
    """Runs the pass."""
    for node in region.nodes:
        if node in region and node.domain == "" and node.op_type in ("Mul", "Div"):
            whole = product(region, node.outputs[0])
            for x in whole.factors:
                gate = whole.other(x)
                if gate is not None and _match(region, whole, x, gate):
                    break


def _match(region: Region, whole: Product, x: ir.Value, gate: ir.Value) -> bool:
    node = made_by(region, gate, "Sigmoid", "HardSigmoid", "Clip", "Tanh")
    if node is None or node.inputs[0] is None:
        return False
    nodes = [*whole.nodes, node]
    inner = node.inputs[0]
    if node.op_type == "Clip":
        rest = _shifted(region, node, x)
        fits = rest is not None and near(whole.constant, 1 / 6, x)
        return fits and become(region, [*nodes, *(rest or [])], "HardSwish", [x])
    if whole.constant != 1.0:
        return False
    if node.op_type == "Sigmoid":
        scaled = Product(factors=[x]) if inner is x else product(region, inner)
        if len(scaled.factors) != 1 or scaled.factors[0] is not x:
            return False
        values = {"alpha": scaled.constant}
        return become(region, [*nodes, *scaled.nodes], "Swish", [x], values)
    if node.op_type == "HardSigmoid":
        slope, shift = attribute(node, "alpha", 0.2), attribute(node, "beta", 0.5)
        fits = inner is x and near(slope, 1 / 6, x) and shift == 0.5
        return fits and become(region, nodes, "HardSwish", [x])
    soft = made_by(region, inner, "Softplus")
    fits = soft is not None and soft.inputs[0] is x
    return soft is not None and fits and become(region, [*nodes, soft], "Mish", [x])


def _shifted(region: Region, clip: Node, x: ir.Value) -> list[Node] | None:
    """The nodes of Clip(x + 3, 0, 6) before the Clip."""
    bounds = [region.number(v) for v in (*clip.inputs, None, None)[1:3]]
    term = None if clip.inputs[0] is None else plus_constant(region, clip.inputs[0])
    if bounds != [0.0, 6.0] or term is None or term[0] is not x or term[1] != 3.0:
        return None
    return [term[2]]

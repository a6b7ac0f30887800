"""LayerNormalization and RMSNormalization written out become one operator.

With d = x - ReduceMean(x), both means over the last axis with keepdims, and a constant e:
1. d / Sqrt(ReduceMean(d^2) + e) * w + b -> `LayerNormalization(x, w, b)`; also without b.
2. x / Sqrt(ReduceMean(x^2) + e) * w -> `RMSNormalization(x, w)`.

d^2 may be Pow or Mul; the quotient may be a product with the Reciprocal. w and b must have one
number a column. One precision: a Cast between is not followed.
"""

from __future__ import annotations

import onnx_ir as ir

from toolkit.runtime.passes.match import become, is_closed, made_by, plus_constant
from toolkit.runtime.passes.region import Node, Region
from toolkit.runtime.passes.softmax import one_axis

ORDER = 10


def run(region: Region) -> None:
    """Runs the pass."""
    for node in region.nodes:
        if node in region and node.domain == "" and node.op_type in ("Div", "Mul"):
            _match(region, node)


def _match(region: Region, root: Node) -> None:
    for d, nodes, epsilon in _quotients(region, root):
        normed = root.outputs[0]
        scaled = _reader(region, normed, "Mul")
        weight = None if scaled is None else _column(_other(scaled, normed), normed)
        if scaled is None or weight is None:
            continue
        values = {"axis": -1, "epsilon": epsilon}
        centred = made_by(region, d, "Sub")
        x = None if centred is None else centred.inputs[0]
        mean = None if centred is None else made_by(region, centred.inputs[1], "ReduceMean")
        if centred is None or x is None or mean is None or mean.inputs[0] is not x:
            become(region, [*nodes, scaled], "RMSNormalization", [d, weight], values)
            continue
        if one_axis(region, mean, x) != _last(x):
            continue
        nodes = [*nodes, centred, mean, scaled]
        shifted = _reader(region, scaled.outputs[0], "Add")
        bias = None if shifted is None else _column(_other(shifted, scaled.outputs[0]), normed)
        inputs = [x, weight]
        if shifted is not None and bias is not None and is_closed(region, [*nodes, shifted]):
            nodes.append(shifted)
            inputs.append(bias)
        become(region, nodes, "LayerNormalization", inputs, values)


def _quotients(region: Region, root: Node) -> list[tuple[ir.Value, list[Node], float]]:
    """(d, nodes, e) where root is d / Sqrt(ReduceMean(d^2) + e) over the last axis."""
    found = []
    a, b = root.inputs[:2]
    for d, scale in ((a, b), (b, a)) if root.op_type == "Mul" else ((a, b),):
        nodes = [root]
        if root.op_type == "Mul":
            inverse = made_by(region, scale, "Reciprocal")
            if inverse is None:
                continue
            nodes.append(inverse)
            scale = inverse.inputs[0]
        root_of = made_by(region, scale, "Sqrt")
        term = None if root_of is None else plus_constant(region, root_of.inputs[0])  # type: ignore[arg-type]
        if d is None or root_of is None or term is None:
            continue
        variance = made_by(region, term[0], "ReduceMean")
        if variance is None or one_axis(region, variance, d) != _last(d):
            continue
        square = made_by(region, variance.inputs[0], "Pow", "Mul")
        if square is None or not _is_square(region, square, d):
            continue
        found.append((d, [*nodes, root_of, term[2], variance, square], term[1]))
    return found


def _is_square(region: Region, node: Node, d: ir.Value) -> bool:
    if node.op_type == "Pow":
        return node.inputs[0] is d and region.number(node.inputs[1]) == 2.0
    return node.inputs[0] is d and node.inputs[1] is d


def _reader(region: Region, value: ir.Value, op_type: str) -> Node | None:
    """The one node that reads `value`, if it is `op_type`."""
    if not region.is_private(value):
        return None
    (node,) = region.readers(value)
    return node if node.domain == "" and node.op_type == op_type else None


def _other(node: Node, value: ir.Value) -> ir.Value | None:
    return node.inputs[1] if node.inputs[0] is value else node.inputs[0]


def _column(value: ir.Value | None, x: ir.Value) -> ir.Value | None:
    """`value` if it has one number for each column of `x`."""
    if value is None or value.shape is None or not x.shape or value.dtype != x.dtype:
        return None
    fits = len(value.shape) == 1 and isinstance(value.shape[0], int)
    return value if fits and value.shape[0] == x.shape[-1] else None


def _last(x: ir.Value) -> int:
    return -2 if x.shape is None else len(x.shape) - 1

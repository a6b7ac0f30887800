"""Adapters of elementwise, comparison and logical operators, Cast included."""

from __future__ import annotations

import onnx_ir as ir

from toolkit.graph.edit import Edit
from toolkit.graph.upgrade.registry import adapter


@adapter("Add", "Sub", "Mul", "Div", "Pow", "And", "Or", "Xor", "Equal", "Greater", "Less", to=7)
def broadcast_7(edit: Edit) -> None:
    """Attributes broadcast, axis -> numpy's broadcasting.

    With axis, B's dimensions stand at A's axes axis, axis + 1, ...: B -> (dims of B, 1, ..., 1).
    """
    broadcast = edit.pop("broadcast", 0)
    axis = edit.pop("axis", None)
    a, b = edit.node.inputs
    if not broadcast or axis is None:
        return
    rank_a, rank_b = edit.rank(a), edit.rank(b)
    if rank_a is None or rank_b is None:
        raise edit.fail("the ranks of A and B are required to align B at axis", "unknown ranks")
    trailing = rank_a - axis % max(rank_a, 1) - rank_b
    if trailing > 0:
        axes = edit.const(list(range(rank_b, rank_b + trailing)), wish="axes")
        edit.set_inputs(a, edit.op("Unsqueeze", [b, axes]))


@adapter("Cast", to=6)
def cast_6(edit: Edit) -> None:
    """Attribute to: the type's name -> its number."""
    to = edit.get("to")
    if isinstance(to, (str, bytes)):
        name = to if isinstance(to, str) else to.decode()
        edit.put("to", int(ir.DataType[name.upper()]))


@adapter("Erf", to=13)
def erf_13(edit: Edit) -> None:
    """Integers are no longer taken: Cast to float, Erf, Cast back."""
    through_float(edit, ir.DataType.FLOAT)


def through_float(edit: Edit, compute: ir.DataType) -> None:
    """Runs the node in `compute` where its first input is of integers."""
    node = edit.node
    x = node.inputs[0]
    if x is None or x.dtype is None or not x.dtype.is_integer():
        return
    wide = edit.op("Cast", [x], {"to": int(compute)})
    attributes = list(node.attributes.values())
    y = edit.op(node.op_type, [wide, *node.inputs[1:]], attributes)
    edit.added[-1].name = node.name
    edit.replace(edit.op("Cast", [y], {"to": int(x.dtype)}))

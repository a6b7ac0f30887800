"""Rules of elementwise operators."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from toolkit.graph.downgrade.registry import before
from toolkit.graph.edit import Edit


@before("Mod", opset=28)
def mod_28(edit: Edit) -> None:
    """Floats came with fmod=1 alone: the remainder of truncation, moved to the sign of B.

    r = Mod(a, b, fmod=1); y = r + b where r != 0 and (r < 0) != (b < 0), else r
    """
    a, b = edit.node.inputs
    assert a is not None
    if edit.get("fmod", 0) or (a.dtype is not None and not a.dtype.is_floating_point()):
        return
    if a.dtype is None:
        raise edit.fail("a known element type is required before opset 28", "an unknown one")
    edit.replace(_with_sign_of(edit, edit.op("Mod", [a, b], {"fmod": 1}), b, a.dtype))


@before("Mod", opset=10)
def mod_10(edit: Edit) -> None:
    """Integers: r = a - (a / b) b, as in opset 28's rule; / rounds to zero."""
    a, b = edit.node.inputs
    assert a is not None
    if a.dtype is None or not a.dtype.is_integer():
        raise edit.fail("integers are required before opset 10", str(a.dtype))
    r = edit.op("Sub", [a, edit.op("Mul", [edit.op("Div", [a, b]), b])])
    truncated = edit.get("fmod", 0) or not a.dtype.is_signed()
    edit.replace(r if truncated else _with_sign_of(edit, r, b, a.dtype))


def _with_sign_of(edit: Edit, r: ir.Value, b: ir.Value | None, dtype: ir.DataType) -> ir.Value:
    """A remainder, moved to the sign of the divisor."""
    zero = edit.const(0, dtype.numpy(), "zero")
    differ = edit.op("Xor", [edit.op("Less", [r, zero]), edit.op("Less", [b, zero])])
    some = edit.op("Not", [edit.op("Equal", [r, zero])])
    moved = edit.op("Add", [r, b])
    result: ir.Value = edit.op("Where", [edit.op("And", [some, differ]), moved, r])
    return result


@before("Equal", opset=11)
def equal_11(edit: Edit) -> None:
    """Floats: neither less nor greater, nor NaN, which the sum then is."""
    a, b = edit.node.inputs
    assert a is not None
    if a.dtype is None or not a.dtype.is_floating_point():
        return
    different = edit.op("Or", [edit.op("Less", [a, b]), edit.op("Greater", [a, b])])
    strange = edit.op("IsNaN", [edit.op("Add", [a, b])])
    edit.replace(edit.op("Not", [edit.op("Or", [different, strange])]))


@before("Clip", opset=11)
def clip_11(edit: Edit) -> None:
    """Inputs min, max -> attributes; bounds that are no constants -> Max, Min."""
    x, *bounds = (edit.input(i) for i in range(3))
    if all(v is None or edit.constant_of(i + 1) is not None for i, v in enumerate(bounds)):
        for index, name in ((2, "max"), (1, "min")):
            values = edit.input_as_attribute(index, name, default=())
            if values:
                edit.put(name, float(np.float32(values[0])))
        return
    for bound, op_type in zip(bounds, ("Max", "Min"), strict=True):
        if bound is not None:
            x = edit.op(op_type, [x, bound])
    assert x is not None
    edit.replace(x)

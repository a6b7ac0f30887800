"""Rules for inputs that were attributes: they must be constants."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from toolkit.graph.downgrade.registry import before
from toolkit.graph.edit import REQUIRED, Edit

_REDUCTIONS = """ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin
ReduceProd ReduceSumSquare"""


@before("ReduceSum", opset=13)
@before(*_REDUCTIONS.split(), opset=18)
def reduction(edit: Edit) -> None:
    """Input axes -> attribute.

    noop_with_empty_axes=1 without axes is the identity (for the plain reductions).
    """
    noop = edit.pop("noop_with_empty_axes", 0)
    axes = edit.input_as_attribute(1, "axes", default=())
    if noop and not axes:
        if edit.node.op_type not in ("ReduceSum", "ReduceMax", "ReduceMin", "ReduceMean",
                                     "ReduceProd"):  # fmt: skip
            raise edit.fail("axes are required", "noop_with_empty_axes=1")
        edit.replace(edit.op("Identity", [edit.node.inputs[0]]))
    elif axes:
        edit.put("axes", axes)


@before("Squeeze", "Unsqueeze", opset=13)
def squeeze(edit: Edit) -> None:
    """Input axes -> attribute."""
    axes = edit.input_as_attribute(1, "axes", default=())
    if axes:
        edit.put("axes", axes)


@before("Split", opset=13)
def split(edit: Edit) -> None:
    """Input split -> attribute."""
    sizes = edit.input_as_attribute(1, "split", default=())
    if sizes:
        edit.put("split", sizes)


@before("Split", opset=18)
def split_18(edit: Edit) -> None:
    """Attribute num_outputs is gone: without split the parts must be equal.

    Parts that are uneven, or may be, are written as split.
    """
    count = edit.pop("num_outputs", None)
    if edit.input(1) is not None or count is None:
        return
    x = edit.node.inputs[0]
    axis = edit.get("axis", 0)
    size = x.shape[axis] if x is not None and x.shape is not None else None
    if not isinstance(size, int):
        length = edit.op("Gather", [edit.op("Shape", [x]), edit.const(axis)])
        chunk = edit.op("Div", [edit.op("Add", [length, edit.const(count - 1)]), edit.const(count)])
        before = edit.op("Mul", [edit.const(list(range(count))), chunk])
        rest = edit.op("Max", [edit.op("Sub", [length, before]), edit.const(0)])
        edit.set_inputs(x, edit.op("Min", [rest, chunk]))
    elif size % count:
        each = -(-size // count)
        sizes = [min(each, max(size - k * each, 0)) for k in range(count)]
        edit.set_inputs(x, edit.const(sizes, wish="split"))


@before("Slice", opset=10)
def slice_10(edit: Edit) -> None:
    """Inputs starts, ends, axes -> attributes; steps must be 1."""
    steps = edit.input_as_attribute(4, "steps", default=())
    if any(step != 1 for step in steps):
        raise edit.fail("steps of 1 are required before opset 10", str(list(steps)))
    for index, name in ((3, "axes"), (2, "ends"), (1, "starts")):
        values = edit.input_as_attribute(index, name, default=() if name == "axes" else REQUIRED)
        if values:
            edit.put(name, values)


@before("TopK", opset=10)
def top_k(edit: Edit) -> None:
    """Input K -> attribute."""
    edit.put("k", edit.input_as_attribute(1, "k")[0])


@before("Dropout", opset=12)
def dropout(edit: Edit) -> None:
    """Input ratio -> attribute; training is not to be said before opset 12.

    Runtimes disagree on the older versions' mask: Identity and a tensor of True stand for them.
    """
    edit.pop("seed", None)
    training = edit.input_as_attribute(2, "training_mode", default=(False,))
    if training[0]:
        raise edit.fail("training_mode=0 is required before opset 12", "1")
    ratio = edit.input_as_attribute(1, "ratio", default=(0.5,))
    if len(edit.node.outputs) > 1 and edit.is_used(1):
        x = edit.node.inputs[0]
        true = {"value": ir.tensor([True])}
        mask = edit.op("ConstantOfShape", [edit.op("Shape", [x])], true)
        edit.replace(edit.op("Identity", [x]), mask)
        return
    edit.put("ratio", float(np.float32(ratio[0])))


@before("DFT", opset=20)
def dft(edit: Edit) -> None:
    """Input axis (default -2) -> attribute, counted from the front."""
    axis = edit.input_as_attribute(2, "axis", default=(-2,))[0]
    rank = edit.rank(edit.node.inputs[0])
    if axis < 0 and rank is None:
        raise edit.fail("a known rank is required for a negative axis", "an unknown rank")
    edit.put("axis", axis + (rank or 0) if axis < 0 else axis)


@before("Constant", opset=12)
def constant(edit: Edit) -> None:
    """Attributes value_int, value_ints, value_float, value_floats -> value."""
    for name, dtype in (("value_int", np.int64), ("value_ints", np.int64),
                        ("value_float", np.float32), ("value_floats", np.float32)):  # fmt: skip
        if name in edit.node.attributes:
            edit.put_tensor("value", np.asarray(edit.pop(name), dtype))


@before("Constant", opset=9)
def constant_9(edit: Edit) -> None:
    """Only floats: others become an initializer; in a function, `Cast(float64 constant)`."""
    tensor = edit.get("value")
    array = np.asarray(tensor.numpy())
    if tensor.dtype in (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE):
        return
    if not edit.in_function:
        edit.replace(edit.const(array, array.dtype, "value"))
        return
    if array.dtype.kind not in "iub" or (np.abs(array.astype(np.float64)) > 2**53).any():
        raise edit.fail("a number is required before opset 9", str(tensor.dtype))
    wide = edit.op("Constant", [], {"value": ir.tensor(array.astype(np.float64))})
    edit.replace(edit.op("Cast", [wide], {"to": int(tensor.dtype)}))


def count_axes_from_front(edit: Edit) -> None:
    """Negative axis and axes -> counted from the front: opset 11 brought negative ones."""
    for name in ("axis", "axes"):
        attr = edit.node.attributes.get(name)
        if attr is None or attr.is_ref():
            continue
        axes = [attr.value] if name == "axis" else list(attr.value)
        if all(a >= 0 for a in axes):
            continue
        rank = edit.rank(edit.node.inputs[0])
        if rank is None:
            raise edit.fail("a known rank is required for a negative axis", f"{name}={attr.value}")
        if edit.node.op_type == "Unsqueeze":
            rank += len(axes)
        axes = [a % rank for a in axes]
        edit.put(name, axes[0] if name == "axis" else axes)

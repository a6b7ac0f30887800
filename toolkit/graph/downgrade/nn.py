"""Rules of Softmax, BatchNormalization, Gemm and the image operators."""

from __future__ import annotations

import numpy as np

from toolkit.graph.downgrade.registry import before
from toolkit.graph.edit import Edit


@before("Softmax", "LogSoftmax", "Hardmax", opset=13)
def softmax(edit: Edit) -> None:
    """Along one axis -> over all axes from `axis` on, which is the same for the last axis.

    For another axis: Transpose it to the end, Softmax, Transpose back.
    """
    x = edit.node.inputs[0]
    rank = edit.rank(x)
    if rank is None:
        raise edit.fail("a known rank is required before opset 13", "an unknown rank")
    axis = edit.get("axis", -1) % max(rank, 1)
    if axis == rank - 1:
        edit.put("axis", axis)
        return
    swap = [k for k in range(rank) if k != axis] + [axis]
    back = [swap.index(k) for k in range(rank)]
    moved = edit.op("Transpose", [x], {"perm": swap})
    y = edit.op(edit.node.op_type, [moved], {"axis": -1})
    edit.added[-1].name = edit.node.name
    edit.replace(edit.op("Transpose", [y], {"perm": back}))


@before("BatchNormalization", opset=14)
def batch_normalization(edit: Edit) -> None:
    """Only inference: the older forms' training is not the same on all runtimes."""
    if edit.pop("training_mode", 0):
        raise edit.fail("training_mode=0 is required before opset 14", "1")


@before("Gemm", opset=11)
def gemm(edit: Edit) -> None:
    """Input C was required: a zero stands for it."""
    if edit.input(2) is None:
        a, b = edit.node.inputs[:2]
        assert a is not None
        edit.set_inputs(a, b, edit.const_like(0.0, a, "zero"))


@before("Resize", opset=13)
def resize_13(edit: Edit) -> None:
    """Inputs left out -> empty tensors."""
    x, roi, scales, sizes = (edit.input(i) for i in range(4))
    empty = edit.const([], np.float32, "empty")
    edit.set_inputs(x, roi or empty, scales or empty, sizes)


@before("Resize", opset=11)
def resize_11(edit: Edit) -> None:
    """Only scales, with asymmetric coordinates and floor, is opset 10's Resize."""
    mode = edit.get("coordinate_transformation_mode", "half_pixel")
    nearest = edit.get("nearest_mode", "round_prefer_floor")
    linear = edit.get("mode", "nearest") == "linear"
    if mode != "asymmetric" or not (linear or nearest == "floor") or edit.input(3) is not None:
        raise edit.fail("scales, asymmetric and floor are required before opset 11", mode)
    for name in ("coordinate_transformation_mode", "nearest_mode", "cubic_coeff_a",
                 "exclude_outside", "extrapolation_value"):  # fmt: skip
        edit.pop(name, None)
    edit.set_inputs(edit.node.inputs[0], edit.node.inputs[2])


@before("GridSample", opset=20)
def grid_sample(edit: Edit) -> None:
    """Modes linear, cubic were bilinear, bicubic."""
    mode = edit.get("mode", "linear")
    edit.put("mode", {"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode))


@before("RoiAlign", opset=16)
def roi_align(edit: Edit) -> None:
    """Only coordinates without the shift by half a pixel."""
    mode = edit.pop("coordinate_transformation_mode", "half_pixel")
    if mode != "output_half_pixel":
        raise edit.fail("output_half_pixel is required before opset 16", mode)

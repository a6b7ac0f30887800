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
    """Training is written out, since the older forms' is not the same on all runtimes.

    `Y = (X - mean) / sqrt(var + epsilon) scale + B` with the batch's own statistics, and
    `running = running momentum + statistic (1 - momentum)`.
    """
    if not edit.pop("training_mode", 0):
        return
    x, scale, bias, *running = edit.node.inputs
    rank = edit.rank(x)
    if rank is None or x is None:
        raise edit.fail("a known rank is required before opset 14", "an unknown rank")
    epsilon, momentum = edit.get("epsilon", 1e-5), edit.get("momentum", 0.9)
    axes = [axis for axis in range(rank) if axis != 1]
    mean = edit.op("ReduceMean", [x, edit.const(axes)])
    centred = edit.op("Sub", [x, mean])
    square = edit.op("Mul", [centred, centred])
    var = edit.op("ReduceMean", [square, edit.const(axes)])
    deviation = edit.op("Sqrt", [edit.op("Add", [var, edit.const_like(epsilon, x, "epsilon")])])
    by_channel = edit.const([-1] + [1] * (rank - 2), wish="by_channel")
    factor = edit.op("Div", [edit.op("Reshape", [scale, by_channel]), deviation])
    scaled = edit.op("Mul", [centred, factor])
    results = [edit.op("Add", [scaled, edit.op("Reshape", [bias, by_channel])])]
    for old, new in zip(running, (mean, var), strict=True):
        flat = edit.op("Reshape", [new, edit.const([-1])])
        kept = edit.op("Mul", [old, edit.const_like(momentum, x, "momentum")])
        rest = edit.op("Mul", [flat, edit.const_like(1 - momentum, x, "rest")])
        results.append(edit.op("Add", [kept, rest]))
    edit.replace(*results)


@before("RMSNormalization", opset=23)
def rms_normalization(edit: Edit) -> None:
    """X / sqrt(mean(X^2) + epsilon) in the type `stash_type`, times the scale."""
    x, scale = edit.node.inputs
    rank = edit.rank(x)
    if rank is None or x is None or x.dtype is None:
        raise edit.fail("a known rank is required before opset 23", "an unknown rank")
    stash = edit.get("stash_type", 1)
    wide = x if int(x.dtype) in (stash, 11) else edit.op("Cast", [x], {"to": stash})
    axes = list(range(edit.get("axis", -1) % rank, rank))
    mean = edit.op("ReduceMean", [edit.op("Mul", [wide, wide]), edit.const(axes)])
    epsilon = edit.const_like(edit.get("epsilon", 1e-5), wide, "epsilon")
    y = edit.op("Div", [wide, edit.op("Sqrt", [edit.op("Add", [mean, epsilon])])])
    y = y if wide is x else edit.op("Cast", [y], {"to": int(x.dtype)})
    edit.replace(edit.op("Mul", [y, scale]))


@before("Gemm", opset=11)
def gemm(edit: Edit) -> None:
    """Input C was required: a zero stands for it."""
    if edit.input(2) is None:
        a, b = edit.node.inputs[:2]
        assert a is not None
        edit.set_inputs(a, b, edit.const_like(0.0, a, "zero"))


@before("Resize", opset=19)
def resize_19(edit: Edit) -> None:
    """Mode half_pixel_symmetric came with opset 19."""
    mode = edit.get("coordinate_transformation_mode", "half_pixel")
    if mode == "half_pixel_symmetric":
        raise edit.fail("another mode is required before opset 19", mode)


@before("Resize", opset=18)
def resize_18(edit: Edit) -> None:
    """Attribute axes -> scales or sizes of all axes: ones, or the input's own."""
    axes = edit.pop("axes", None)
    if axes is None:
        return
    x, roi, scales, sizes = (edit.input(i) for i in range(4))
    rank, given = edit.rank(x), scales or sizes
    if rank is None or given is None or roi is not None:
        raise edit.fail("a known rank and no roi are required before opset 18", "others")
    places = [a % rank for a in axes]
    # Behind the given numbers stand those of the other axes.
    order = [places.index(k) if k in places else len(places) + k for k in range(rank)]
    rest = edit.const([1.0] * rank, np.float32) if scales is not None else edit.op("Shape", [x])
    joined = edit.op("Concat", [given, rest], {"axis": 0})
    full = edit.op("Gather", [joined, edit.const(order)])
    edit.set_inputs(x, None, full if scales is not None else None, None if scales else full)


@before("Resize", opset=13)
def resize_13(edit: Edit) -> None:
    """Inputs left out -> empty tensors."""
    x, roi, scales, sizes = (edit.input(i) for i in range(4))
    empty = edit.const([], np.float32, "empty")
    edit.set_inputs(x, roi or empty, scales or empty, sizes)


@before("Resize", opset=11)
def resize_11(edit: Edit) -> None:
    """Only scales, with asymmetric coordinates, is opset 10's Resize.

    It rounds down where it grows and up where it shrinks.
    """
    mode = edit.get("coordinate_transformation_mode", "half_pixel")
    nearest = edit.get("nearest_mode", "round_prefer_floor")
    linear = edit.get("mode", "nearest") == "linear"
    scales = edit.constant_of(2) if edit.input(2) is not None else None
    numbers = [] if scales is None else scales.tolist()
    shrinks = any(n < 1 for n in numbers)
    if shrinks and any(n > 1 for n in numbers) and not linear:
        raise edit.fail("scales all above or all below 1 are required before opset 11", "both")
    rounding = "ceil" if shrinks else "floor"
    if mode != "asymmetric" or not (linear or nearest == rounding) or edit.input(3) is not None:
        need = f"scales, asymmetric and {rounding} are required before opset 11"
        raise edit.fail(need, f"{mode} and {nearest}")
    for name in ("coordinate_transformation_mode", "nearest_mode", "cubic_coeff_a",
                 "exclude_outside", "extrapolation_value"):  # fmt: skip
        edit.pop(name, None)
    edit.set_inputs(edit.node.inputs[0], edit.node.inputs[2])


@before("Resize", opset=10)
def resize_10(edit: Edit) -> None:
    """Opset 10's Resize was Upsample, with constant scales of 1 and more."""
    scales = edit.constant_of(1)
    numbers = [] if scales is None else scales.tolist()
    if not numbers or min(numbers) < 1:
        got = str(numbers) if numbers else "others"
        raise edit.fail("constant scales of 1 and more are required before opset 10", got)
    edit.node.op_type = "Upsample"


@before("Upsample", opset=9)
def upsample_9(edit: Edit) -> None:
    """Input scales -> attribute."""
    edit.put("scales", [float(s) for s in edit.input_as_attribute(1, "scales")])


@before("GridSample", opset=20)
def grid_sample(edit: Edit) -> None:
    """Modes linear, cubic were bilinear, bicubic, of images only."""
    mode = edit.get("mode", "linear")
    if edit.rank(edit.node.inputs[0]) not in (4, None):
        raise edit.fail("X of rank 4 is required before opset 20", "another rank")
    edit.put("mode", {"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode))


@before("RoiAlign", opset=16)
def roi_align(edit: Edit) -> None:
    """Only coordinates without the shift by half a pixel."""
    mode = edit.pop("coordinate_transformation_mode", "half_pixel")
    if mode != "output_half_pixel":
        raise edit.fail("output_half_pixel is required before opset 16", mode)

"""Adapters of Upsample, Resize, GridSample and RoiAlign."""

from __future__ import annotations

import numpy as np

from toolkit.graph.build_infer import constant_of
from toolkit.graph.edit import Edit
from toolkit.graph.upgrade.registry import adapter


@adapter("Upsample", to=7)
def upsample_7(edit: Edit) -> None:
    """Attributes height_scale, width_scale -> scales (1, 1, height, width); bilinear is linear."""
    height, width = edit.pop("height_scale"), edit.pop("width_scale")
    if edit.get("mode", "nearest") in ("bilinear", b"bilinear"):
        edit.put("mode", "linear")
    edit.put("scales", [1.0, 1.0, float(height), float(width)])


@adapter("Upsample", to=9)
def upsample_9(edit: Edit) -> None:
    """Attribute scales -> input."""
    scales = edit.const(list(edit.pop("scales")), np.float32, "scales")
    edit.set_inputs(edit.node.inputs[0], scales)


@adapter("Upsample", to=10)
def upsample_10(edit: Edit) -> None:
    """Upsample is opset 10's Resize."""
    edit.node.op_type = "Resize"


@adapter("Resize", to=11)
def resize_11(edit: Edit) -> None:
    """Coordinates were x_out / scale, rounded down where it grows and up where it shrinks.

    asymmetric and floor, or ceil, are said; roi comes in.
    """
    scales = constant_of(edit.input(1))
    shrinks = scales is not None and bool((scales < 1).any()) and not (scales > 1).any()
    edit.put("coordinate_transformation_mode", "asymmetric")
    edit.put("nearest_mode", "ceil" if shrinks else "floor")
    edit.set_inputs(edit.node.inputs[0], None, edit.node.inputs[1])


@adapter("Resize", to=13)
def resize_13(edit: Edit) -> None:
    """An empty tensor stood for an input left out; with sizes, scales is left out.

    tf_half_pixel_for_nn is half_pixel shifted by 0.5: round_prefer_floor(h + 0.5) = ceil(h) and
    floor(h + 0.5) = round_prefer_ceil(h).
    """
    x, roi, scales, sizes = (edit.input(i) for i in range(4))
    mode = edit.get("coordinate_transformation_mode", "half_pixel")
    if mode != "tf_crop_and_resize":
        roi = None
    if mode == "tf_half_pixel_for_nn":
        shifted = {"floor": "round_prefer_ceil", "round_prefer_floor": "ceil"}
        nearest = edit.get("nearest_mode", "round_prefer_floor")
        if edit.get("mode", "nearest") != "nearest" or nearest not in shifted:
            need = "mode nearest with floor or round_prefer_floor is required"
            raise edit.fail(f"{need} with tf_half_pixel_for_nn", nearest)
        edit.put("coordinate_transformation_mode", "half_pixel")
        edit.put("nearest_mode", shifted[nearest])
    edit.set_inputs(x, roi, None if sizes is not None else scales, sizes)


@adapter("GridSample", to=20)
def grid_sample_20(edit: Edit) -> None:
    """Modes bilinear, bicubic are now linear, cubic."""
    mode = edit.get("mode", "bilinear")
    mode = mode.decode() if isinstance(mode, bytes) else mode
    edit.put("mode", {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode))


@adapter("RoiAlign", to=16)
def roi_align_16(edit: Edit) -> None:
    """The coordinates had no shift by half a pixel, which is now the default."""
    edit.put("coordinate_transformation_mode", "output_half_pixel")

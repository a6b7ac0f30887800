"""Image operators against onnxruntime, torch and their own formulas; refusals of bad input."""

from __future__ import annotations

import itertools

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import helper

from tests.runtime.oracle import run, single_node_model
from tests.tolerances import assert_close
from toolkit.errors import (
    DTypeError,
    InvalidArgumentError,
    OutOfBoundsError,
    ShapeError,
    ToolkitError,
)


def f32(*values):
    return np.array(values, np.float32)


def i64(*values):
    return np.array(values, np.int64)


def by_onnxruntime(op_type, inputs, attributes, opset=20) -> np.ndarray:
    model = single_node_model(op_type, inputs, attributes, opset=opset)
    kind = helper.np_dtype_to_tensor_dtype(inputs[0].dtype)
    model.graph.output[0].type.tensor_type.elem_type = kind
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    feed = {f"x{i}": x for i, x in enumerate(inputs) if x is not None}
    return session.run(None, feed)[0]


PLACES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("sizes", [(8, 10), (3, 4), (5, 9), (11, 2)])
def test_resize_as_onnxruntime(rng, place, sizes):
    x = rng.standard_normal((1, 2, 4, 5)).astype(np.float32)
    inputs = [x, None, None, i64(1, 2, *sizes)]
    for mode in ("nearest", "linear", "cubic"):
        attributes = {"mode": mode, "coordinate_transformation_mode": place}
        if mode == "nearest":
            attributes["nearest_mode"] = "round_prefer_ceil"
        got, want = (
            run("Resize", inputs, attributes)[0],
            by_onnxruntime("Resize", inputs, attributes),
        )
        assert_close(got, want, 4, message=f"{attributes}")


@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_antialiased_resize_as_onnxruntime(rng, mode):
    x = rng.standard_normal((1, 2, 13, 9)).astype(np.float32)
    inputs = [x, None, None, i64(1, 2, 5, 4)]
    attributes = {"mode": mode, "antialias": 1, "exclude_outside": 1}
    got, want = run("Resize", inputs, attributes)[0], by_onnxruntime("Resize", inputs, attributes)
    assert_close(got, want, 20)


def test_a_third_is_a_third_in_nearest_mode():
    """The float32 nearest to 1/3 is above it: 3 o must not become 3 o - 1."""
    x = np.arange(300, dtype=np.float32)
    attributes = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    y = run("Resize", [x, None, f32(1 / 3)], attributes)[0]
    np.testing.assert_array_equal(y, x[::3])


def test_a_region_of_nan_is_outside():
    attributes = {
        "coordinate_transformation_mode": "tf_crop_and_resize",
        "extrapolation_value": 5.0,
        "mode": "linear",
    }
    x = np.ones((3, 4), np.float32)
    y = run("Resize", [x, f32(np.nan, 0, 1, np.inf), None, i64(2, 2)], attributes)[0]
    np.testing.assert_array_equal(y, np.full((2, 2), 5, np.float32))


@pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("align", [0, 1])
def test_grid_sample_as_onnxruntime(rng, mode, padding, align):
    x = rng.standard_normal((2, 3, 5, 4)).astype(np.float32)
    grid = rng.uniform(-2.5, 2.5, (2, 6, 7, 2)).astype(np.float32)
    attributes = {"mode": mode, "padding_mode": padding, "align_corners": align}
    got = run("GridSample", [x, grid], attributes)[0]
    assert_close(got, by_onnxruntime("GridSample", [x, grid], attributes), 20)


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_grid_sample_far_away(padding):
    x = torch.arange(12, dtype=torch.float64).reshape(1, 1, 3, 4)
    grid = torch.tensor([[[[1e6, -3e5], [-7e4, 2e6], [0.3, 1e7]]]], dtype=torch.float64)
    want = torch.nn.functional.grid_sample(x, grid, "bilinear", padding, False).numpy()
    got = run("GridSample", [x.numpy(), grid.numpy()], {"padding_mode": padding})[0]
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)
    hostile = np.array([[[[np.nan, 0], [1e300, -np.inf]]]])
    assert np.isfinite(run("GridSample", [x.numpy(), hostile], {"padding_mode": padding})[0]).all()


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("place", ["half_pixel", "output_half_pixel"])
@pytest.mark.parametrize("ratio", [0, 2])
def test_roi_align_as_onnxruntime(rng, mode, place, ratio):
    x = rng.standard_normal((2, 3, 9, 8)).astype(np.float32)
    low = rng.uniform(-1, 5, (6, 2))
    rois = np.concatenate([low, low + rng.uniform(0, 8, (6, 2))], 1).astype(np.float32)
    inputs = [x, rois, rng.integers(0, 2, 6)]
    attributes = {"mode": mode, "sampling_ratio": ratio, "output_height": 3, "output_width": 2}
    attributes |= {"coordinate_transformation_mode": place, "spatial_scale": 0.75}
    got = run("RoiAlign", inputs, attributes)[0]
    assert_close(got, by_onnxruntime("RoiAlign", inputs, attributes), 4)


def test_max_roi_pool_as_onnxruntime(rng):
    x = rng.standard_normal((2, 3, 9, 8)).astype(np.float32)
    low = rng.integers(0, 5, (6, 2))
    corners = np.concatenate([rng.integers(0, 2, (6, 1)), low, low + rng.integers(0, 5, (6, 2))], 1)
    inputs = [x, corners.astype(np.float32)]
    for attributes in ({"pooled_shape": [2, 3]}, {"pooled_shape": [4, 1], "spatial_scale": 0.5}):
        got = run("MaxRoiPool", inputs, attributes)[0]
        assert_close(got, by_onnxruntime("MaxRoiPool", inputs, attributes))


def test_deform_conv_as_onnxruntime(rng):
    x = rng.standard_normal((2, 4, 9, 8)).astype(np.float32)
    w = rng.standard_normal((6, 2, 3, 3)).astype(np.float32)
    for stride, dilation, pad in itertools.product((1, 2), (1, 2), (0, 1)):
        out = [(n + 2 * pad - 2 * dilation - 1) // stride + 1 for n in (9, 8)]
        offset = rng.uniform(-3, 3, (2, 36, *out)).astype(np.float32)
        mask = rng.random((2, 18, *out)).astype(np.float32)
        attributes = {"group": 2, "offset_group": 2, "strides": [stride] * 2}
        attributes |= {"dilations": [dilation] * 2, "pads": [pad] * 4}
        inputs = [x, w, offset, rng.standard_normal(6).astype(np.float32), mask]
        got = run("DeformConv", inputs, attributes)[0]
        assert_close(got, by_onnxruntime("DeformConv", inputs, attributes, opset=19), 20)


def test_without_offsets_deform_conv_is_conv(rng):
    x, w = rng.standard_normal((1, 3, 6, 7)), rng.standard_normal((4, 3, 3, 2))
    got = run("DeformConv", [x, w, np.zeros((1, 12, 6, 6))], {"pads": [1, 0, 1, 0]})[0]
    assert_close(got, run("Conv", [x, w], {"pads": [1, 0, 1, 0]})[0], 10)


X = np.ones((1, 2, 4, 5), np.float32)
GRID = np.zeros((1, 3, 3, 2), np.float32)
ROI = {"pooled_shape": [2, 2]}
UNPOOL = {"kernel_shape": [2, 2], "strides": [2, 2]}


@pytest.mark.parametrize(
    ("op_type", "inputs", "attributes", "error", "match"),
    [
        ("Resize", [X], {}, InvalidArgumentError, "one of scales and sizes is required, got none"),
        (
            "Resize",
            [X, None, f32(1, 1, 2, 2), i64(1, 2, 8, 8)],
            {},
            InvalidArgumentError,
            "got both",
        ),
        ("Resize", [X, None, f32(1, 2)], {}, ShapeError, "scales must be a vector of 4"),
        ("Resize", [X, None, f32(1, 1, 0, 2)], {}, InvalidArgumentError, "positive and finite"),
        ("Resize", [X, None, f32(1, 1, 1e30, 2)], {}, InvalidArgumentError, "too large"),
        ("Resize", [X, None, None, i64(1, 2, -1, 3)], {}, InvalidArgumentError, "not be negative"),
        ("Resize", [X[:, :0], None, None, i64(1, 2, 4, 5)], {}, ShapeError, "without elements"),
        ("Resize", [X, None, f32(2)], {"axes": [4]}, ToolkitError, "axis"),
        (
            "Resize",
            [X, None, f32(2)],
            {"axes": [3], "mode": "area"},
            InvalidArgumentError,
            "mode must be one of",
        ),
        (
            "Resize",
            [X, None, f32(2)],
            {"axes": [3], "antialias": 1},
            InvalidArgumentError,
            "antialias requires",
        ),
        (
            "Resize",
            [X, None, f32(2)],
            {"axes": [3], "coordinate_transformation_mode": "tf_crop_and_resize"},
            InvalidArgumentError,
            "roi is required",
        ),
        (
            "Resize",
            [X > 0, None, f32(2)],
            {"axes": [3], "mode": "linear"},
            DTypeError,
            "requires numbers, got bool",
        ),
        (
            "ResizeGrad",
            [X, i64(1, 2, 4, 5), None, f32(2)],
            {"axes": [3]},
            ShapeError,
            "dy must have",
        ),
        ("GridSample", [X, GRID[..., :1]], {}, ShapeError, "grid must be"),
        ("GridSample", [X, GRID], {"mode": "area"}, InvalidArgumentError, "mode must be linear"),
        (
            "GridSample",
            [X, GRID],
            {"padding_mode": "wrap"},
            InvalidArgumentError,
            "padding_mode must",
        ),
        ("GridSample", [X[:, :, :0], GRID], {}, ToolkitError, "elements a plane"),
        ("GridSampleGrad", [X, GRID, X], {}, ShapeError, "dy must have the output's shape"),
        ("AffineGrid", [X[0], i64(1, 1, 2, 2)], {}, ShapeError, r"theta must be \(1, 2, 3\)"),
        (
            "AffineGrid",
            [np.ones((1, 2, 3), np.float32), i64(1, 1, -2, 2)],
            {},
            InvalidArgumentError,
            "not be negative",
        ),
        (
            "RoiAlign",
            [X, f32([0, 0, 1, 1]), i64(1)],
            {},
            OutOfBoundsError,
            "batch_indices must lie",
        ),
        ("RoiAlign", [X, f32([0, 0, 1, 1]), i64(0, 0)], {}, ShapeError, "an index for each"),
        (
            "RoiAlign",
            [X, f32([0, 0, 1e9, 1]), i64(0)],
            {},
            InvalidArgumentError,
            "samples along an axis",
        ),
        (
            "RoiAlign",
            [X, f32([0, 0, 1, 1]), i64(0)],
            {"mode": "min"},
            InvalidArgumentError,
            "avg or max",
        ),
        ("MaxRoiPool", [X, f32([0, 0, 1, 1])], ROI, ShapeError, r"rois must be \(regions, 5\)"),
        ("MaxRoiPool", [X, f32([3, 0, 0, 1, 1])], ROI, OutOfBoundsError, "image of a region"),
        (
            "MaxRoiPool",
            [X, f32([0, 0, 0, 1, 1])],
            {},
            InvalidArgumentError,
            "pooled_shape must have 2",
        ),
        ("Col2Im", [X[0], i64(4, 5), i64(3, 3)], {}, ShapeError, "must divide"),
        ("Col2Im", [X[0], i64(4, 5), i64(1, 1)], {}, ShapeError, "the image has 20 blocks"),
        ("Im2Col", [X, i64(9, 9)], {}, ShapeError, "must fit"),
        ("MaxUnpool", [X, np.full(X.shape, 999)], UNPOOL, OutOfBoundsError, "indices must lie"),
        (
            "MaxUnpool",
            [X, np.zeros((1, 2, 4, 4), int)],
            UNPOOL,
            ShapeError,
            "I must have X's shape",
        ),
        (
            "MaxUnpool",
            [X, np.zeros(X.shape, int), i64(1, 2, 3, 3)],
            UNPOOL,
            ShapeError,
            "must hold",
        ),
        ("DeformConv", [X, X, X], {}, ShapeError, "offset must be"),
        ("DeformConv", [X, X[:, :1], X], {}, ShapeError, "W must be"),
        ("DeformConv", [X, X.astype(float), X], {}, DTypeError, "must have X's type"),
    ],
)
def test_errors_name_what_is_required(op_type, inputs, attributes, error, match):
    domain = "toolkit.grad" if op_type.endswith("Grad") else ""
    domain = "toolkit.nn" if op_type == "Im2Col" else domain
    with pytest.raises(error, match=match):
        run(op_type, inputs, attributes, domain=domain)

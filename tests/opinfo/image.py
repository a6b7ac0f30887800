"""Resampling and the other image operators, and their gradients."""

from __future__ import annotations

import itertools

import numpy as np
from onnx import numpy_helper

from tests.opinfo.core import ALL, OpInfo, S, Sample, i64

HALF, SYMMETRIC, PYTORCH = "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel"
CORNERS, ASYMMETRIC, TF = "align_corners", "asymmetric", "tf_crop_and_resize"
COORDINATES = (HALF, SYMMETRIC, PYTORCH, CORNERS, ASYMMETRIC)

# (shape, scales or sizes, attributes, roi): integers are sizes.
RESIZES = (
    ((1, 2, 4, 5), [1.0, 1.0, 2.0, 2.0], {}, None),
    ((1, 1, 3, 4), [1.0, 1.0, 0.6, 2.5], {}, None),
    ((2, 1, 7, 5), [2, 1, 3, 9], {}, None),
    ((5,), [2.0], {}, None),
    ((5,), [12], {}, None),
    ((3, 4, 5), [6, 2, 5], {}, None),
    ((2, 6, 7, 3), [1.0, 2.0, 0.5, 1.0], {}, None),
    ((2, 4, 3), [7, 3], {"axes": [-1, 0]}, None),
    ((1, 2, 3, 4, 3), [1, 2, 5, 3, 7], {}, None),
    ((2, 1, 4, 6), [7, 8], {"axes": [2, 3], "keep_aspect_ratio_policy": "not_larger"}, None),
    ((2, 1, 4, 6), [7, 3], {"axes": [3, 2], "keep_aspect_ratio_policy": "not_smaller"}, None),
    ((1, 1, 4, 4), [1, 1, 4, 4], {}, None),
)
ROIS = (
    ((1, 1, 4, 5), [1, 1, 3, 3], {}, [0, 0, 0.43, 0.6, 1, 1, 0.6, 0.83]),
    ((1, 1, 4, 5), [1, 1, 3, 7], {"extrapolation_value": 7.0}, [0, 0, 0.4, -0.6, 1, 1, 1.2, 1.7]),
    ((4, 5), [1.6, 0.8], {"extrapolation_value": 2.0}, [1.1, 0.93, -0.21, 0.3]),
    ((2, 5, 3), [6], {"axes": [1], "extrapolation_value": 3.0}, [0.25, 1.25]),
    ((6, 4), [3, 2], {"keep_aspect_ratio_policy": "not_larger"}, [0.13, 0.03, 0.91, 0.57]),
)
EMPTY = (((0, 3, 2), [2.0, 1.0, 2.0]), ((1, 3, 2), [1, 0, 4]), ((2, 3), [0.2, 2.0]))


def resize_call(d, shape, to, attrs, roi, **more) -> Sample:
    """A call; the dtype of `to` tells scales from sizes."""
    to = np.array(to)
    scales, sizes = (None, to) if to.dtype.kind == "i" else (to.astype(np.float32), None)
    roi = (
        None if roi is None else np.array(roi, np.float64 if d.dtype == np.float64 else np.float32)
    )
    return S(d(*shape), roi, scales, sizes, **attrs, **more)


def resize_variants(d):
    nearest = [
        {"nearest_mode": m} for m in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
    ]
    if d.dtype.kind in "bcO":
        return nearest
    smooth = [{"mode": "linear"}, {"mode": "cubic"}, {"mode": "cubic", "cubic_coeff_a": -0.5, "exclude_outside": 1},
              {"mode": "linear", "antialias": 1}, {"mode": "cubic", "antialias": 1, "exclude_outside": 1}]  # fmt: skip
    return smooth if d.dtype.kind in "iu" else nearest + smooth


def resize_reference(sample: Sample) -> list[np.ndarray]:
    """onnx.reference's formulas in float64; mode nearest as a choice of elements."""
    from onnx.reference.ops import op_resize as o

    x, roi, scales, sizes = (*sample.inputs, None, None, None)[:4]
    a = dict(sample.attributes)
    mode, nearest = a.pop("mode", "nearest"), a.pop("nearest_mode", "round_prefer_floor")
    cubic, antialias = a.pop("cubic_coeff_a", -0.75), a.pop("antialias", 0)
    value = a.pop("extrapolation_value", 0.0)
    kernels = {"linear": (o._linear_coeffs, o._linear_coeffs_antialias),
               "cubic": (o._cubic_coeffs, o._cubic_coeffs_antialias)}  # fmt: skip
    how = {
        "scale_factors": None if scales is None else scales.astype(np.float64),
        "output_size": None if sizes is None else list(sizes),
        "roi": None if roi is None else list(roi.astype(np.float64)),
        "coordinate_transformation_mode": a.pop("coordinate_transformation_mode", HALF),
        "axes": [i % x.ndim for i in a.pop("axes", range(x.ndim))],
    }
    how |= a

    def smooth(v, fill):
        def weigh(ratio, scale):
            if mode == "nearest":
                return o._nearest_coeffs(ratio, nearest)
            more = {"A": float(cubic)} if mode == "cubic" else {}
            return kernels[mode][antialias](ratio, scale, **more)

        return o._interpolate_nd(v, weigh, extrapolation_value=fill, **how)

    if mode != "nearest":
        y = smooth(x.astype(np.float64), value)
        return [
            y.astype(x.dtype) if x.dtype.kind == "f" else numpy_helper.saturate_cast(y, x.dtype)
        ]
    at = smooth(np.arange(x.size, dtype=np.float64).reshape(x.shape), -1.0).astype(int)
    return [np.where(at < 0, np.asarray(value).astype(x.dtype), x.ravel()[at])]


def exact(x, to) -> bool:
    """Whether integers come out alike in any order of summation."""
    whole = np.array(to).dtype.kind == "i"
    ratios = [t / n for t, n in zip(to, x, strict=False)] if whole and len(to) == len(x) else to
    return all(r in (0.5, 1.0, 2.0, 4.0) for r in ratios)


def resize_samples(d):
    modes = resize_variants(d)
    integers = d.dtype.kind in "iu"
    for k, (shape, to, attrs, roi) in enumerate(RESIZES):
        if integers and not exact(shape, to):
            continue
        for j, how in enumerate(modes):
            if integers and ("antialias" in how or "exclude_outside" in how):
                continue
            place = HALF if integers else COORDINATES[(j + k) % len(COORDINATES)]
            if place == PYTORCH and shape == (1, 1, 3, 4):
                place = HALF  # One output: onnx.reference has -0.5 where the formula says 0.
            if place == SYMMETRIC and shape == (2, 6, 7, 3):
                place = ASYMMETRIC  # Coordinates that are whole but for rounding.
            yield resize_call(d, shape, to, attrs | how, roi, coordinate_transformation_mode=place)
    for shape, to in EMPTY:
        yield resize_call(d, shape, to, modes[0], None)
    if integers:
        return
    for shape, to, attrs, roi in ROIS:
        for how in modes:
            value = attrs
            if d.dtype.kind in "cO":
                value = {k: v for k, v in attrs.items() if k != "extrapolation_value"}
            yield resize_call(d, shape, to, value | how, roi, coordinate_transformation_mode=TF)


def resize_big(d):
    modes = ({}, {"mode": "linear"}, {"mode": "cubic"}, {"mode": "linear", "antialias": 1})
    for how in modes[: 1 if d.dtype.kind == "b" else None]:
        yield resize_call(d, (2, 5, 65, 67), [1.0, 1.0, 2.0, 1.5], how, None)
        yield resize_call(d, (1, 9, 150, 130), [1, 9, 71, 64], how, None)
    if d.dtype.kind == "b":
        return
    yield resize_call(d, (3, 40, 41, 8), [1.0, 2.0, 2.5, 1.0], {"mode": "linear"}, None)
    yield resize_call(d, (3, 20, 21, 18), [3, 31, 30, 40], {"mode": "linear"}, None)


def resize_special(d):
    if not d.floating:
        return
    x = np.array([[np.nan, 1, np.inf, -np.inf, 2, 3, -0.0]], d.dtype)
    for how in ({}, {"mode": "linear"}, {"mode": "cubic"}):
        yield S(x, None, None, i64(1, 4), **how)


def agreed(sample: Sample) -> bool:
    """Whether onnxruntime, too, has the coordinates of a size that is a fraction before rounding."""
    x, _, scales, _ = sample.inputs
    place = sample.attributes.get("coordinate_transformation_mode", HALF)
    if place in (HALF, ASYMMETRIC) or len(scales if scales is not None else x.shape) != x.ndim:
        return True
    if scales is None:
        return "keep_aspect_ratio_policy" not in sample.attributes or place == TF
    return all(x.shape * scales % 1 == 0)


def full(sample: Sample) -> bool:
    x, _, scales, sizes = sample.inputs
    return x.size > 0 and ((sizes > 0).all() if scales is None else (scales > 0.2).all())


def resize_differentiable(d):
    return [s for s in resize_samples(d) if agreed(s) and full(s)][::2]


def resize_grad_samples(d):
    from tests import opcheck

    for sample in resize_differentiable(d):
        x, *rest = sample.inputs
        y = opcheck.run(RESIZE, sample)[0]
        attrs = {k: v for k, v in sample.attributes.items() if k != "extrapolation_value"}
        yield S(d(*y.shape), i64(*x.shape), *rest, **attrs)


def resize_grad_reference(sample: Sample) -> list[np.ndarray]:
    """The transpose of Resize as a matrix: Resize of each unit image."""
    dy, shape, *rest = sample.inputs
    dx = np.zeros(tuple(shape), np.float64)
    for k in range(dx.size):
        unit = np.zeros(dx.size)
        unit[k] = 1
        (y,) = resize_reference(S(unit.reshape(shape), *rest, **sample.attributes))
        dx.flat[k] = (y * dy).sum()
    return [dx.astype(dy.dtype)]


def resize_grad_big(d):
    for sample in resize_big(d):
        x, roi, scales, sizes = sample.inputs
        y = (
            [int(n * s) for n, s in zip(x.shape, scales, strict=True)]
            if scales is not None
            else sizes
        )
        yield S(d(*y), i64(*x.shape), roi, scales, sizes, **sample.attributes)


# (image, sizes of the output): 1 to 3 spatial dimensions, rows of one element.
SAMPLES = (
    ((2, 3, 4, 5), (3, 4)),
    ((1, 1, 1, 3), (2, 7)),
    ((1, 2, 3, 4, 2), (2, 3, 2)),
    ((2, 2, 6), (5,)),
)
PADDINGS = ("zeros", "border", "reflection")


def sample_grid(d, n: int, out: tuple[int, ...]) -> np.ndarray:
    """Positions in and around the image."""
    dtype = np.float64 if d.dtype == np.float64 else np.float32
    return d.rng.uniform(-1.6, 1.6, (n, *out, len(out))).astype(dtype)


def grid_samples(d, modes=("nearest", "linear", "cubic")):
    if d.dtype.kind in "bcO":
        modes = ("nearest",)
    for shape, out in SAMPLES:
        for mode in modes:
            if mode == "cubic" and len(out) == 3 and d.dtype.kind in "iu":
                continue
            for padding in PADDINGS:
                for align in (0, 1):
                    how = {"mode": mode, "padding_mode": padding, "align_corners": align}
                    yield S(d(*shape), sample_grid(d, shape[0], out), **how)
    yield S(d(2, 3, 4, 5), np.zeros((2, 0, 3, 2), np.float32), mode=modes[0])
    yield S(d(0, 3, 4, 5), np.zeros((0, 2, 3, 2), np.float32), mode=modes[0])


def in_volumes(d):
    """Onnxruntime samples two dimensions, and three without mode cubic."""
    for sample in grid_samples(d):
        space, mode = sample.inputs[0].ndim - 2, sample.attributes.get("mode", "linear")
        if space == 2 or (space == 3 and mode != "cubic"):
            yield sample


def mirrored(v: float, low: float, high: float) -> float:
    while high > low and not low <= v <= high:
        v = 2 * low - v if v < low else 2 * high - v
    return v if high > low else low


def axis_weights(v: float, length: int, mode: str, padding: str, align: int) -> np.ndarray:
    """The weights of an axis' elements at coordinate v."""
    low, high = (0.0, length - 1.0) if align else (-0.5, length - 0.5)
    row = np.zeros(length)
    v = np.rint(v) if mode == "nearest" else v
    if padding == "zeros" and not -9 < v < length + 9:
        return row
    if padding == "border" and mode != "cubic" and not low <= v <= high:
        v = min(max(v, 0), length - 1)
    elif padding == "reflection":
        v = mirrored(v, low, high)
    base, a = int(np.floor(v)), -0.75
    reach = {"nearest": (0, 1), "linear": (0, 2), "cubic": (-1, 3)}[mode]
    for i in range(base + reach[0], base + reach[1]):
        t = abs(v - i)
        weight = {"nearest": 1.0, "linear": 1 - t}.get(mode)
        if weight is None:
            near = (a + 2) * t**3 - (a + 3) * t**2 + 1
            weight = near if t <= 1 else a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a
        at = int(mirrored(i, low, high)) if padding == "reflection" else i
        if padding != "zeros":
            at = min(max(at, 0), length - 1)
        if 0 <= at < length:
            row[at] += weight
    return row


def sample_weights(sample: Sample) -> np.ndarray:
    """The matrix of each image, (N, points, elements of a plane)."""
    x, grid = sample.inputs[:2]
    a = sample.attributes
    mode, padding, align = (
        a.get(k, v)
        for k, v in (("mode", "linear"), ("padding_mode", "zeros"), ("align_corners", 0))
    )
    rank, sizes = x.ndim - 2, x.shape[2:]
    points = grid.reshape(len(grid), int(np.prod(grid.shape[1:-1])), rank)
    result = np.zeros((*points.shape[:2], int(np.prod(sizes))))
    for n, p in np.ndindex(points.shape[:2]):
        row = np.ones(1)
        for d, length in enumerate(sizes):
            g = float(points[n, p, rank - 1 - d])
            v = (g + 1) / 2 * (length - 1) if align else ((g + 1) * length - 1) / 2
            row = np.multiply.outer(row, axis_weights(v, length, mode, padding, align)).ravel()
        result[n, p] = row
    return result


def grid_reference(sample: Sample) -> list[np.ndarray]:
    x, grid = sample.inputs
    flat = x.reshape(*x.shape[:2], int(np.prod(x.shape[2:])))
    if x.dtype == object:
        return [sampled_strings(flat, sample_weights(sample), grid.shape[1:-1])]
    flat = flat if x.dtype.kind == "c" else flat.astype(np.float64)
    weights = sample_weights(sample)[:, None]
    with np.errstate(invalid="ignore"):  # What has no weight is not read.
        y = np.where(weights == 0, 0, weights * flat[:, :, None]).sum(-1)
    y = y.reshape(*x.shape[:2], *grid.shape[1:-1])
    return [numpy_helper.saturate_cast(y, x.dtype) if x.dtype.kind in "iu" else y.astype(x.dtype)]


def sampled_strings(flat, weights, out):
    """The one string of each position with a weight, or none."""
    y = np.full((*flat.shape[:2], weights.shape[1]), "", object)
    for n, at in zip(*np.nonzero(weights.any(-1)), strict=True):
        y[n, :, at] = flat[n, :, weights[n, at].argmax()]
    return y.reshape(*flat.shape[:2], *out)


def grid_special(d):
    if not d.floating:
        return
    x = np.array([[[[np.inf, 1, 2], [np.nan, 3, 4]]]], d.dtype)
    far = np.array([np.nan, 1e30, -1e30, np.inf, 0.9], np.float32)
    grid = np.stack([far, np.full(5, 0.9, np.float32)], -1).reshape(1, 5, 1, 2)
    yield S(x, grid, padding_mode="zeros")


def grid_grad_samples(d):
    for sample in list(in_volumes(d))[::5]:
        x, grid = sample.inputs
        if grid.size:
            yield S(x, grid, d(*x.shape[:2], *grid.shape[1:-1]), outputs=2, **sample.attributes)


def grid_grad_reference(sample: Sample) -> list[np.ndarray]:
    """The matrix of weights gives dx, its differences dgrid."""
    x, grid, dy = sample.inputs
    flat = dy.reshape(*dy.shape[:2], int(np.prod(dy.shape[2:]))).astype(np.float64)
    dx = np.einsum("npi,ncp->nci", sample_weights(sample), flat).reshape(x.shape)
    dgrid = np.zeros(grid.shape)
    columns = x.reshape(*x.shape[:2], int(np.prod(x.shape[2:]))).astype(np.float64)
    for k in range(grid.shape[-1]):
        moved = []
        for h in (1e-6, -1e-6):
            near = grid.astype(np.float64)
            near[..., k] += h
            moved.append(sample_weights(S(x, near, **sample.attributes)))
        slope = (moved[0] - moved[1]) / 2e-6
        dgrid[..., k] = np.einsum("npi,nci,ncp->np", slope, columns, flat).reshape(grid.shape[:-1])
    return [dx.astype(x.dtype), None if grid.dtype == np.float64 else dgrid.astype(grid.dtype)]


def grid_big(d):
    for mode in ("nearest", "linear", "cubic")[: 1 if d.dtype.kind in "b" else 3]:
        yield S(d(2, 11, 30, 31), sample_grid(d, 2, (40, 33)), mode=mode, padding_mode="border")


def grid_grad_big(d):
    for sample in grid_big(d):
        x, grid = sample.inputs
        yield S(x, grid, d(2, 11, 40, 33), outputs=2, **sample.attributes)


def affine_samples(d):
    for n, sizes in ((2, (3, 4)), (1, (1, 5)), (2, (2, 3, 4)), (0, (2, 2)), (1, (0, 2))):
        for align in (0, 1):
            if align and 1 in sizes:
                continue  # Without a width there is no position: -1, 0 and 1 are in use.
            yield S(d(n, len(sizes), len(sizes) + 1), i64(n, 2, *sizes), align_corners=align)


def affine_reference(sample: Sample) -> list[np.ndarray]:
    theta, size = sample.inputs
    axes = []
    for n in size[2:]:
        i = np.arange(n)
        corners = sample.attributes["align_corners"]
        axes.append((2 * i / max(n - 1, 1) if corners else (2 * i + 1) / max(n, 1)) - 1)
    places = np.meshgrid(*axes, indexing="ij")
    points = np.stack([*reversed(places), np.ones_like(places[0])], -1)
    return [np.einsum("nij,...j->n...i", theta.astype(np.float64), points).astype(theta.dtype)]


def regions(d, count: int, images: int, batch: bool) -> np.ndarray:
    """Corners within, across and beyond a 7 x 9 image."""
    low = d.rng.uniform(-1.5, 6, (count, 2))
    corners = np.concatenate([low, low + d.rng.uniform(0.5, 6, (count, 2))], 1)
    if batch:
        corners = np.concatenate([d.rng.integers(0, images, (count, 1)), corners], 1)
    return corners.astype(d.dtype)


ALIGNS = (
    {"output_height": 3, "output_width": 2, "sampling_ratio": 2},
    {"output_height": 2, "output_width": 4},
    {
        "spatial_scale": 0.75,
        "coordinate_transformation_mode": "output_half_pixel",
        "output_height": 3,
    },
    {"output_width": 3, "sampling_ratio": 3, "coordinate_transformation_mode": "output_half_pixel"},
)


def align_samples(d):
    for attrs in ALIGNS:
        for mode in ("avg", "max"):
            images = d.rng.integers(0, 2, 4)
            yield S(d(2, 3, 7, 9), regions(d, 4, 2, False), images, mode=mode, **attrs)
    yield S(d(1, 2, 4, 4), np.zeros((0, 4), d.dtype), i64(), output_height=2)


def align_differentiable(d):
    return list(align_samples(d))[:-1]


def align_special(d):
    if d.floating:
        far = np.array([[99, 99, 200, 300], [-50, -50, -40, -40], [5, 5, 1, 1]], d.dtype)
        yield S(d(1, 2, 4, 4), far, i64(0, 0, 0), output_height=2, sampling_ratio=2)


def align_grad_samples(d):
    for sample in align_differentiable(d)[::3]:
        x, rois, images = sample.inputs
        a = sample.attributes
        dy = d(4, 3, a.get("output_height", 1), a.get("output_width", 1))
        yield S(dy, rois, images, i64(*x.shape), x if a["mode"] == "max" else None, **a)


def align_grad_reference(sample: Sample) -> list[np.ndarray]:
    """By the forward operator: linear in x where the choice of the largest is fixed."""
    from tests import opcheck

    dy, rois, images, shape, x = (v if v is None or v.dtype.kind == "i" else v.astype(np.float64)
                                  for v in sample.inputs)  # fmt: skip
    base = np.zeros(tuple(shape)) if x is None else x
    dx = np.zeros(tuple(shape))
    for k in range(dx.size):
        moved = []
        for h in (1e-4, -1e-4):
            near = base.copy()
            near.flat[k] += h
            moved.append(
                opcheck.onnx_reference(ALIGN, S(near, rois, images, **sample.attributes))[0]
            )
        dx.flat[k] = ((moved[0] - moved[1]) / 2e-4 * dy).sum()
    return [dx.astype(sample.inputs[0].dtype)]


POOLED = ({"pooled_shape": [2, 3]}, {"pooled_shape": [3, 1], "spatial_scale": 0.6})


def roi_pool_samples(d):
    for attrs in POOLED:
        yield S(d.distinct(2, 3, 7, 9), regions(d, 5, 2, True), **attrs)
    yield S(d(1, 2, 4, 4), np.zeros((0, 5), d.dtype), pooled_shape=[2, 2])


def roi_pool_differentiable(d):
    return list(roi_pool_samples(d))[:-1]


def roi_pool_bins(sample: Sample):
    """(region, image, bin, slices of the image) of each bin that is not empty."""
    x, rois = sample.inputs[:2]
    (ph, pw), scale = sample.attributes["pooled_shape"], sample.attributes.get("spatial_scale", 1.0)
    for r, roi in enumerate(rois.astype(np.float64)):
        for p, q in np.ndindex(ph, pw):
            box = []
            for low, high, bins, at, length in (
                (roi[2], roi[4], ph, p, x.shape[2]),
                (roi[1], roi[3], pw, q, x.shape[3]),
            ):
                first, last = (np.copysign(np.floor(abs(v * scale) + 0.5), v) for v in (low, high))
                size = max(last - first + 1, 1) / bins
                ends = np.clip(
                    [np.floor(at * size) + first, np.ceil((at + 1) * size) + first], 0, length
                )
                box.append(slice(int(ends[0]), int(ends[1])))
            if box[0].start < box[0].stop and box[1].start < box[1].stop:
                yield r, int(roi[0]), (p, q), tuple(box)


def roi_pool_reference(sample: Sample) -> list[np.ndarray]:
    x, rois = sample.inputs
    y = np.zeros((len(rois), x.shape[1], *sample.attributes["pooled_shape"]), x.dtype)
    for r, image, (p, q), box in roi_pool_bins(sample):
        y[r, :, p, q] = x[(image, slice(None), *box)].max((1, 2))
    return [y]


def roi_pool_grad_samples(d):
    for sample in roi_pool_differentiable(d):
        x, rois = sample.inputs
        yield S(x, rois, d(5, 3, *sample.attributes["pooled_shape"]), **sample.attributes)


def roi_pool_grad_reference(sample: Sample) -> list[np.ndarray]:
    x, _, dy = sample.inputs
    dx = np.zeros(x.shape)
    for r, image, (p, q), box in roi_pool_bins(sample):
        part = x[(image, slice(None), *box)]
        dx[(image, slice(None), *box)] += (part == part.max((1, 2), keepdims=True)) * dy[
            r, :, p, q
        ][:, None, None]
    return [dx.astype(x.dtype)]


# (image, block, attributes).
FOLDS = (
    ((1, 2, 5, 6), (2, 3), {}),
    ((2, 1, 7, 5), (3, 2), {"strides": [2, 1], "pads": [1, 0, 2, 1]}),
    ((1, 2, 8, 9), (2, 2), {"dilations": [3, 2], "strides": [1, 3]}),
    ((1, 1, 3, 4, 5), (2, 1, 3), {"pads": [0, 1, 1, 1, 0, 0], "strides": [1, 2, 1]}),
    ((2, 3, 9), (4,), {"strides": [2]}),
)


def fold_places(image, block, attrs) -> np.ndarray:
    """(taps, positions): where each column element lies in a plane; -1 in the padding."""
    n = len(block)
    strides, dilations = (attrs.get(k, [1] * n) for k in ("strides", "dilations"))
    pads = attrs.get("pads", [0] * 2 * n)
    counts = [
        (image[i] + pads[i] + pads[n + i] - dilations[i] * (block[i] - 1) - 1) // strides[i] + 1
        for i in range(n)
    ]
    places = np.zeros((*block, *counts), int)
    for at in np.ndindex(places.shape):
        p = [at[n + i] * strides[i] + at[i] * dilations[i] - pads[i] for i in range(n)]
        inside = all(0 <= v < m for v, m in zip(p, image, strict=True))
        places[at] = np.ravel_multi_index(p, image) if inside else -1
    return places.reshape(int(np.prod(block)), -1)


def col2im_samples(d):
    for image, block, attrs in FOLDS:
        places = fold_places(image[2:], block, attrs)
        x = d(image[0], image[1] * len(places), places.shape[1])
        yield S(x, i64(*image[2:]), i64(*block), **attrs)
    yield S(d(0, 4, 8), i64(3, 5), i64(2, 2))


def col2im_reference(sample: Sample) -> list[np.ndarray]:
    x, image, block = sample.inputs
    places = fold_places(tuple(image), tuple(block), sample.attributes)
    columns = x.reshape(len(x), x.shape[1] // len(places), *places.shape)
    y = np.zeros((*columns.shape[:2], int(np.prod(image)) + 1), x.dtype)
    for k, p in np.ndindex(places.shape):
        y[..., places[k, p]] += columns[..., k, p]
    return [y[..., :-1].reshape(*y.shape[:2], *image)]


def im2col_samples(d):
    for image, block, attrs in FOLDS:
        yield S(d(*image), i64(*block), **attrs)


def im2col_reference(sample: Sample) -> list[np.ndarray]:
    x, block = sample.inputs
    places = fold_places(x.shape[2:], tuple(block), sample.attributes)
    flat = x.reshape(*x.shape[:2], -1)
    y = np.where(places < 0, np.zeros((), x.dtype), flat[:, :, places])
    return [y.reshape(len(x), -1, places.shape[1]).astype(x.dtype)]


def unpool_samples(d):
    for shape, attrs, out in (
        ((1, 2, 3, 2), {"kernel_shape": [2, 2], "strides": [2, 2]}, None),
        ((2, 1, 4), {"kernel_shape": [3], "strides": [2], "pads": [1, 0]}, None),
        ((1, 1, 2, 2, 2), {"kernel_shape": [2, 2, 2], "strides": [2, 2, 2]}, None),
        ((1, 2, 2, 2), {"kernel_shape": [2, 2], "strides": [2, 2]}, [1, 2, 5, 6]),
        (
            (1, 2, 3, 2),
            {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 0, 1]},
            [1, 2, 7, 5],
        ),
    ):
        n, pads = len(shape) - 2, attrs.get("pads", [0] * 6)
        inner = [
            (shape[2 + i] - 1) * attrs["strides"][i]
            + attrs["kernel_shape"][i]
            - (pads[i] + pads[n + i] if "pads" in attrs else 0)
            for i in range(n)
        ]
        size = int(np.prod([*shape[:2], *inner]))
        indices = d.permuted(size)[: int(np.prod(shape))].reshape(shape)
        yield S(d(*shape), indices, None if out is None else i64(*out), **attrs)


# (x, w, attributes, mask, bias)
DEFORMS = (
    ((1, 2, 5, 6), (3, 2, 3, 2), {"pads": [1, 0, 1, 1]}, True, True),
    ((2, 4, 6, 5), (4, 2, 2, 2), {"group": 2, "offset_group": 2, "strides": [2, 1]}, True, False),
    ((1, 4, 7, 7), (2, 4, 3, 3), {"dilations": [2, 1], "offset_group": 4}, False, True),
    ((1, 2, 3, 4, 4), (2, 2, 2, 2, 1), {"pads": [0, 1, 0, 0, 0, 1]}, True, False),
    ((1, 2, 9), (4, 1, 3), {"group": 2, "strides": [2]}, False, False),
)


def deform_out(x, w, attrs) -> list[int]:
    n = len(x) - 2
    strides, dilations = (attrs.get(k, [1] * n) for k in ("strides", "dilations"))
    pads = attrs.get("pads", [0] * 2 * n)
    return [
        (x[2 + i] + pads[i] + pads[n + i] - dilations[i] * (w[2 + i] - 1) - 1) // strides[i] + 1
        for i in range(n)
    ]


def deform_samples(d):
    for x, w, attrs, mask, bias in DEFORMS:
        out, taps = deform_out(x, w, attrs), int(np.prod(w[2:]))
        groups = attrs.get("offset_group", 1) * taps
        offset = d(x[0], groups * (len(x) - 2), *out, low=-1.4, high=1.4)
        yield S(d(*x), d(*w), offset, d(w[0]) if bias else None,
                d(x[0], groups, *out) if mask else None, **attrs)  # fmt: skip


def deform_reference(sample: Sample) -> list[np.ndarray]:
    """Tap by tap, each with its own weights along the axes."""
    x, w, offset, bias, mask = (None if v is None else v.astype(np.float64) for v in sample.inputs)
    a, n = sample.attributes, x.ndim - 2
    strides, dilations = (a.get(k, [1] * n) for k in ("strides", "dilations"))
    pads, group, og = a.get("pads", [0] * 2 * n), a.get("group", 1), a.get("offset_group", 1)
    out, kernel = deform_out(x.shape, w.shape, a), w.shape[2:]
    offset = offset.reshape(len(x), og, *kernel, n, *out)
    mask = (
        np.ones((len(x), og, *kernel, *out))
        if mask is None
        else mask.reshape(len(x), og, *kernel, *out)
    )
    y = np.zeros((len(x), len(w), *out))
    members, outputs = x.shape[1] // og, len(w) // group
    for image, p, tap, g in itertools.product(
        range(len(x)), np.ndindex(*out), np.ndindex(*kernel), range(og)
    ):
        weights = np.ones(1)
        for i in range(n):
            at = (
                p[i] * strides[i]
                - pads[i]
                + tap[i] * dilations[i]
                + offset[(image, g, *tap, i, *p)]
            )
            weights = np.multiply.outer(
                weights, axis_weights(at, x.shape[2 + i], "linear", "zeros", 1)
            ).ravel()
        weights = weights * mask[(image, g, *tap, *p)]
        for c in range(g * members, (g + 1) * members):
            value = weights @ x[image, c].ravel()
            first = c // w.shape[1] * outputs
            y[(image, slice(first, first + outputs), *p)] += (
                w[(slice(first, first + outputs), c % w.shape[1], *tap)] * value
            )
    if bias is not None:
        y += bias.reshape(-1, *[1] * n)
    return [y.astype(sample.inputs[0].dtype)]


def crop_samples(d):
    yield S(d(5, 7), i64(3, 9))
    yield S(d(2, 4, 3), i64(6, 2), axes=[-1, 1])
    yield S(d(2, 0), i64(2, 3))


RESIZE = OpInfo("Resize", resize_samples, dtypes=(*ALL, "uint8", "int8"), big=resize_big,
                special=resize_special, tolerance=2, reference=resize_reference, grad_samples=resize_differentiable,
                why="cubic weights in float32, no bool, and its nearest multiplies infinities by 0")  # fmt: skip
ALIGN = OpInfo("RoiAlign", align_samples, special=align_special, grad=(0,), tolerance=2,
               grad_samples=align_differentiable,
               big=lambda d: [S(d(2, 5, 7, 9), regions(d, 30, 2, False), d.index(2, 30, negative=False), output_height=7)])  # fmt: skip
ROWS = [
    RESIZE,
    ALIGN,
    OpInfo("RoiAlignGrad", align_grad_samples, "toolkit.grad", reference=align_grad_reference, grad=(0,), tolerance=20,
           big=lambda d: [S(d(90, 5, 7, 4), regions(d, 90, 2, False), d.index(2, 90, negative=False), i64(2, 5, 7, 9), None,
                            output_height=7, output_width=4)]),
    OpInfo("MaxRoiPool", roi_pool_samples, reference=roi_pool_reference, why="onnx.reference lacks it",
           grad=(0,), grad_samples=roi_pool_differentiable,
           big=lambda d: [S(d(2, 5, 7, 9), regions(d, 90, 2, True), pooled_shape=[3, 5])]),
    OpInfo("MaxRoiPoolGrad", roi_pool_grad_samples, "toolkit.grad", reference=roi_pool_grad_reference, grad=(2,),
           big=lambda d: [S(d(2, 5, 7, 9), regions(d, 90, 2, True), d(90, 5, 3, 5), pooled_shape=[3, 5])]),
    OpInfo("Col2Im", col2im_samples, dtypes=("float32", "float64", "int32", "int64", "uint8"),
           reference=col2im_reference, why="it adds up in one order only",
           grad_samples=lambda d: list(col2im_samples(d))[:-2], big=lambda d: [S(d(2, 27 * 9, 30 * 29), i64(32, 31), i64(3, 3))]),
    OpInfo("Im2Col", im2col_samples, "toolkit.nn", dtypes=("float32", "float64", "int32"), reference=im2col_reference, grad=(0,),
           big=lambda d: [S(d(3, 17, 32, 31), i64(3, 3))]),
    OpInfo("MaxUnpool", unpool_samples),
    OpInfo("DeformConv", deform_samples, reference=deform_reference, why="two dimensions only",
           grad=(0, 1, 2, 3, 4), tolerance=4, big=lambda d: [S(d(2, 8, 20, 21), d(9, 8, 3, 3), d(2, 18, 18, 19))]),
    OpInfo("CenterCropPad", crop_samples),
    OpInfo("ResizeGrad", resize_grad_samples, "toolkit.grad", big=resize_grad_big, grad=(0,),
           reference=resize_grad_reference, tolerance=4),
    OpInfo("GridSample", grid_samples, dtypes=(*ALL, "uint8"), reference=grid_reference, big=grid_big,
           why="coordinates in float32 only", special=grid_special, grad=(0, 1),
           grad_samples=in_volumes, tolerance=4),
    OpInfo("GridSampleGrad", grid_grad_samples, "toolkit.grad", reference=grid_grad_reference,
           big=grid_grad_big, grad=(0, 1, 2), tolerance=20),
    OpInfo("AffineGrid", affine_samples, reference=affine_reference, grad=(0,),
           why="a single row or column divides by zero",
           grad_samples=lambda d: list(affine_samples(d))[:5], big=lambda d: [S(d(3, 2, 3), i64(3, 1, 70, 65))]),
]  # fmt: skip

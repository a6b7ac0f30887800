"""Resampling and the other image operators, and their gradients."""

from __future__ import annotations

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
    if d.dtype.kind in "bc":
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
            value = {} if d.dtype.kind == "c" else attrs
            if d.dtype.kind == "c":
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
    if d.dtype.kind in "bc":
        modes = ("nearest",)
    for shape, out in SAMPLES:
        for mode in modes:
            if mode == "cubic" and len(out) == 3 and d.dtype.kind in "iu":
                continue
            for padding in PADDINGS:
                for align in (0, 1):
                    how = {"mode": mode, "padding_mode": padding, "align_corners": align}
                    yield S(d(*shape), sample_grid(d, shape[0], out), **how)
    yield S(d(2, 3, 4, 5), np.zeros((2, 0, 3, 2), np.float32))
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
    if padding == "border" and not low <= v <= high:
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
    flat = flat if x.dtype.kind == "c" else flat.astype(np.float64)
    weights = sample_weights(sample)[:, None]
    with np.errstate(invalid="ignore"):  # What has no weight is not read.
        y = np.where(weights == 0, 0, weights * flat[:, :, None]).sum(-1)
    y = y.reshape(*x.shape[:2], *grid.shape[1:-1])
    return [numpy_helper.saturate_cast(y, x.dtype) if x.dtype.kind in "iu" else y.astype(x.dtype)]


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


RESIZE = OpInfo("Resize", resize_samples, dtypes=(*ALL, "uint8", "int8"), big=resize_big,
                special=resize_special, tolerance=2, reference=resize_reference, grad_samples=resize_differentiable,
                why="cubic weights in float32, no bool, and its nearest multiplies infinities by 0")  # fmt: skip
ROWS = [
    RESIZE,
    OpInfo("ResizeGrad", resize_grad_samples, "toolkit.grad", big=resize_grad_big, grad=(0,),
           reference=resize_grad_reference, tolerance=4),
    OpInfo("GridSample", grid_samples, dtypes=(*ALL, "uint8"), reference=grid_reference, big=grid_big,
           why="coordinates in float32 only", special=grid_special, grad=(0, 1),
           grad_samples=in_volumes, tolerance=4),
    OpInfo("GridSampleGrad", grid_grad_samples, "toolkit.grad", reference=grid_grad_reference,
           big=grid_grad_big, grad=(0, 1, 2), tolerance=20),
    OpInfo("AffineGrid", affine_samples, reference=affine_reference, grad=(0,),
           why="a single row or column divides by zero", big=lambda d: [S(d(3, 2, 3), i64(3, 1, 70, 65))]),
]  # fmt: skip

"""Operators that move, join, cut or make elements without computing on them."""

from __future__ import annotations

import numpy as np

from tests.opinfo.core import ALL, NUMBERS, OpInfo, S, Sample, i64


def move(op_type: str, samples, big=None, **row) -> OpInfo:
    return OpInfo(op_type, samples, dtypes=row.pop("dtypes", ALL), big=big, **row)


def concat_samples(d):
    yield S(d(7), d(1), d(17), axis=0)
    yield S(d(2, 3), d(2, 5), axis=-1)
    yield S(d(2, 3, 4), axis=1)
    yield S(d(1, 3, 4), d(2, 3, 4), d(0, 3, 4), axis=0)
    yield S(d(2, 1, 3), d(2, 65, 3), axis=-2)
    yield S(d(2, 0), d(2, 0), axis=1)


def split_samples(d):
    yield S(d(7), i64(2, 5), outputs=2)
    yield S(d(2, 6, 3), outputs=3, axis=1, num_outputs=3)
    yield S(d(2, 7), outputs=3, axis=-1, num_outputs=3)
    yield S(d(65, 2), i64(17, 0, 48), outputs=3, axis=0)
    yield S(d(0, 2), i64(0, 0), outputs=2)


def slice_samples(d):
    yield S(d(17), i64(2), i64(9))
    yield S(d(4, 5), i64(1, 0), i64(1000, -1))
    yield S(d(4, 5), i64(-2), i64(2**63 - 1), i64(1))
    yield S(d(20, 10, 5), i64(0, 0, 3), i64(20, 10, 4), i64(0, 1, 2), i64(1, 3, 1))
    yield S(d(7, 3), i64(-1), i64(-(2**63)), i64(0), i64(-1))
    yield S(d(7, 3), i64(5, 2), i64(0, -100), i64(0, 1), i64(-2, -1))
    yield S(d(3, 4), i64(3), i64(1), i64(1))
    yield S(d(65), np.int32([1]), np.int32([64]), np.int32([0]), np.int32([5]))
    yield S(d(2, 3), i64(), i64())
    yield S(d(5, 3), i64(-1000), i64(3), i64(-2))
    yield S(d(0, 3), i64(0), i64(2), i64(0))


def pad_samples(d):
    yield S(d(7), i64(2, 3))
    yield S(d(2, 3), i64(0, 1, 2, 3), d.scalar(1))
    yield S(d(2, 3, 4), i64(1, 2), d.scalar(1), i64(-1))
    yield S(d(5, 6), i64(-1, 0, -2, 1), d.scalar(0))
    yield S(d(0, 2), i64(1, 0, 1, 0))
    yield S(d(), i64())
    for mode in ("reflect", "edge", "wrap"):
        yield S(d(5), i64(2, 3), mode=mode)
        yield S(d(3, 4, 5), i64(0, 1, 2, 2, 3, 0), mode=mode)
        yield S(d(4, 17), i64(3, 2), None, i64(1), mode=mode)


def pad_reference(sample: Sample) -> list[np.ndarray]:
    x, pads, value, axes = (*sample.inputs, None, None)[:4]
    axes = range(x.ndim) if axes is None else [int(a) % x.ndim for a in axes]
    widths, crop = [(0, 0)] * x.ndim, [slice(None)] * x.ndim
    half = len(pads) // 2
    for i, axis in enumerate(axes):
        begin, end = int(pads[i]), int(pads[half + i])
        widths[axis] = (max(begin, 0), max(end, 0))
        crop[axis] = slice(max(-begin, 0), x.shape[axis] + min(end, 0))
    mode = sample.attributes.get("mode", "constant")
    kw = {"constant_values": 0 if value is None else value} if mode == "constant" else {}
    if not x.ndim:
        return [x]
    return [np.pad(x[tuple(crop)], widths, mode, **kw).astype(x.dtype)]


def tile_samples(d):
    yield S(d(3), i64(4))
    yield S(d(2, 3), i64(2, 1))
    yield S(d(2, 1, 17), i64(1, 3, 2))
    yield S(d(2, 3), i64(0, 2))
    yield S(d(), i64())


def expand_samples(d):
    yield S(d(3, 1), i64(3, 5))
    yield S(d(), i64(2, 3))
    yield S(d(65), i64(1))
    yield S(d(1, 17), i64(2, 3, 1))
    yield S(d(3, 1, 5), i64(4, 1))
    yield S(d(1), i64(0))
    yield S(d(2, 3), i64())


def transpose_samples(d):
    yield S(d(7))
    yield S(d())
    yield S(d(17, 65))
    yield S(d(2, 3, 4), perm=[0, 2, 1])
    yield S(d(2, 3, 4), perm=[1, 0, 2])
    yield S(d(2, 3, 4), perm=[2, 0, 1])
    yield S(d(2, 3, 4, 5), perm=[0, 2, 1, 3])
    yield S(d(2, 3, 4, 5), perm=[3, 1, 0, 2])
    yield S(d(2, 3, 2, 3, 2), perm=[4, 2, 0, 3, 1])
    yield S(d(1, 65, 1, 33), perm=[2, 3, 0, 1])
    yield S(d(3, 0, 2), perm=[2, 1, 0])


def reshape_samples(d):
    yield S(d(2, 3, 4), i64(4, 6))
    yield S(d(2, 3, 4), i64(-1))
    yield S(d(2, 3, 4), i64(0, -1, 2))
    yield S(d(1), i64())
    yield S(d(), i64(1, 1))
    yield S(d(0, 3), i64(3, 0), allowzero=1)
    yield S(d(0, 3), i64(0, 5))
    yield S(d(0, 3), i64(7, 0, 2), allowzero=1)


def space_samples(down: bool):
    def samples(d):
        for n, c, h, w, b in ((1, 2, 3, 2, 2), (2, 1, 2, 3, 3), (1, 3, 1, 1, 4)):
            x = d(n, c, h * b, w * b) if down else d(n, c * b * b, h, w)
            for mode in ("DCR", "CRD"):
                yield S(x, blocksize=b, mode=mode)

    return samples


def range_samples(d):
    one = d.scalar
    yield S(one(0), one(7), one(1))
    yield S(one(3), one(20), one(3))
    yield S(one(5), one(5), one(1))
    yield S(one(5), one(1), one(1))
    if d.dtype.kind != "u":
        yield S(one(10), one(-4), one(-3))
    if d.floating:
        yield S(one(0.5), one(2.75), one(0.25))


def between_steps(d):
    """Limits that no step reaches: there the count changes."""
    for numbers in ((0.25, 7.1, 1.3), (10, -4.5, -3.2), (5, 1, 1), (3.3, 20.7, 3.1)):
        yield S(*(d.scalar(n) for n in numbers))


def shape_samples(d):
    for shape in ((), (7,), (2, 0, 3), (2, 3, 4, 5)):
        yield S(d(*shape))
    for attrs in ({"start": 1}, {"end": -1}, {"start": -2, "end": 3}, {"start": 3, "end": 1}, {"start": -100, "end": 100}):  # fmt: skip
        yield S(d(2, 3, 4), **attrs)


def trilu_samples(d):
    for k in (None, 0, 1, -2, 100, -100):
        for upper in (0, 1):
            yield S(d(4, 5), None if k is None else np.int64(k), upper=upper)
    yield S(d(2, 3, 7, 3))
    yield S(d(2, 0, 3))
    yield S(d(17, 65), upper=0)


def eye_samples(d):
    yield S(d(3, 5))
    yield S(d(5, 3), k=1)
    yield S(d(4, 4), k=-2, dtype=7)
    yield S(d(2, 2), k=9)


def reverse_samples(d):
    yield S(d(4, 3), i64(4, 1, 2), time_axis=0, batch_axis=1)
    yield S(d(3, 4, 2), i64(0, 3, 4), time_axis=1, batch_axis=0)


def crop_samples(d):
    yield S(d(10, 7, 3), i64(6, 9, 3))
    yield S(d(10, 7), i64(5), axes=[1])
    yield S(d(5, 4), i64(8, 9), axes=[-2, 1])


def constant_of_shape_samples(d):
    value = d(1)
    for shape in ((), (7,), (2, 3), (0, 4)):
        yield S(np.array(shape, np.int64), value=value)
    yield S(i64(2, 3))


def constant_samples(d):
    yield S(value=d(2, 3))
    yield S(value=d())
    yield S(value_float=1.5)
    yield S(value_int=-7)
    yield S(value_floats=[1.5, 2.0])
    yield S(value_ints=[3, 4, 5])


def constant(sample: Sample) -> list[np.ndarray]:
    (value,) = sample.attributes.values()
    narrow = {np.float64: np.float32}.get(np.asarray(value).dtype.type)
    return [value if isinstance(value, np.ndarray) else np.asarray(value, narrow)]


def slice_grad_samples(d):
    for s in slice_samples(d):
        data, starts, ends, axes, steps = (*s.inputs, None, None)[:5]
        y = data[slices(data.shape, starts, ends, axes, steps)]
        yield S(d(*y.shape), i64(*data.shape), *s.inputs[1:])


def slices(shape, starts, ends, axes, steps) -> tuple[slice, ...]:
    at = [slice(None)] * len(shape)
    for i in range(len(starts)):
        axis = i if axes is None else int(axes[i])
        step = 1 if steps is None else int(steps[i])
        end = int(ends[i])
        if step < 0 and end < -shape[axis]:
            end = None
        at[axis] = slice(int(starts[i]), end, step)
    return tuple(at)


def slice_reference(sample: Sample) -> list[np.ndarray]:
    data, starts, ends, axes, steps = (*sample.inputs, None, None)[:5]
    return [np.ascontiguousarray(data[slices(data.shape, starts, ends, axes, steps)])]


def slice_grad_reference(sample: Sample) -> list[np.ndarray]:
    dy, shape, starts, ends, axes, steps = (*sample.inputs, None, None)[:6]
    dx = np.zeros(shape, dy.dtype)
    dx[slices(dx.shape, starts, ends, axes, steps)] = dy
    return [dx]


def axes_samples(op_type: str):
    def samples(d):
        if op_type == "Squeeze":
            yield S(d(1, 3, 1, 5))
            yield S(d(1, 3, 1, 5), i64(-2))
            yield S(d(1, 1), i64(0, 1))
            yield S(d(1, 0, 2), i64(0))
        else:
            yield S(d(3, 5), i64(0))
            yield S(d(3, 5), i64(-1, 1))
            yield S(d(), i64(0, 1))
            yield S(d(0, 2), i64(3, 0))

    return samples


ROWS = [
    move("Concat", concat_samples, lambda d: [S(d(301, 65), d(301, 33), axis=1)], grad=(0, 1)),
    move("Split", split_samples, lambda d: [S(d(301, 99), outputs=3, axis=1, num_outputs=3)]),
    move("Slice", slice_samples, lambda d: [S(d(301, 301), i64(5, 3), i64(300, 299), i64(0, 1), i64(1, 2))],
         reference=slice_reference, why="it fails on the extreme bounds"),
    move("Pad", pad_samples, lambda d: [S(d(301, 301), i64(1, 2, 3, 4))], reference=pad_reference, grad=(0, 2),
         why="negative pads, axes"),
    move("Tile", tile_samples, lambda d: [S(d(37, 65), i64(9, 5))]),
    move("Expand", expand_samples, lambda d: [S(d(301, 1), i64(301, 301))]),
    move("Transpose", transpose_samples, lambda d: [S(d(301, 303)), S(d(17, 65, 33), perm=[2, 0, 1])]),
    move("Reshape", reshape_samples),
    move("Flatten", lambda d: [S(d(2, 3, 4), axis=a) for a in (0, 1, 2, 3, -1, -3)] + [S(d(7)), S(d(2, 0, 3))]),
    move("Squeeze", axes_samples("Squeeze")),
    move("Unsqueeze", axes_samples("Unsqueeze")),
    move("DepthToSpace", space_samples(False), lambda d: [S(d(2, 16, 33, 31), blocksize=4)]),
    move("SpaceToDepth", space_samples(True), lambda d: [S(d(2, 3, 64, 60), blocksize=4)]),
    move("Trilu", trilu_samples, lambda d: [S(d(5, 130, 131))]),
    move("Shape", shape_samples),
    move("Size", lambda d: [S(d(*s)) for s in ((), (7,), (2, 0), (2, 3, 4))]),
    move("EyeLike", eye_samples),
    move("ReverseSequence", reverse_samples),
    move("CenterCropPad", crop_samples, dtypes=NUMBERS),
    move("Range", range_samples, dtypes=NUMBERS, grad=(0, 2), grad_samples=between_steps),
    move("Constant", constant_samples, typed_by=None, reference=constant, why="it fails on a scalar"),
    move("ConstantOfShape", constant_of_shape_samples, lambda d: [S(i64(301, 301), value=d(1))], typed_by=None),
    OpInfo("SliceGrad", slice_grad_samples, "toolkit.grad", reference=slice_grad_reference, grad=(0,),
           big=lambda d: [S(d(295, 148), i64(301, 301), i64(5, 3), i64(300, 299), i64(0, 1), i64(1, 2))]),
]  # fmt: skip

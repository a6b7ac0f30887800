"""Quantization, and products of quantized tensors."""

from __future__ import annotations

import numpy as np

from tests.opinfo.cast import convert
from tests.opinfo.core import OpInfo, S, ml_bits
from toolkit import dtypes

INTEGERS = (
    dtypes.uint8, dtypes.int8, dtypes.uint16, dtypes.int16, dtypes.uint4, dtypes.int4, dtypes.uint2,
    dtypes.int2,
)  # fmt: skip
SMALL_FLOATS = (
    dtypes.float8_e4m3fn, dtypes.float8_e4m3fnuz, dtypes.float8_e5m2, dtypes.float8_e5m2fnuz,
    dtypes.float4_e2m1fn, dtypes.float6_e2m3fn, dtypes.float6_e3m2fn,
)  # fmt: skip
HALVES = (dtypes.float16, dtypes.bfloat16)


def limits(kind):
    bits = ml_bits(kind.numpy)
    return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if kind.is_signed else (0, (1 << bits) - 1)


def zeros(d, kind, *shape):
    """Zero points: any for integers, 0 and 1 for floats."""
    if kind in SMALL_FLOATS:
        return np.asarray(d.rng.integers(0, 2, shape)).astype(kind.numpy)
    low, high = limits(kind)
    return np.asarray(d.rng.integers(max(low, -9), min(high, 9) + 1, shape)).astype(kind.numpy)


def scales(d, *shape, dtype=np.float32):
    return np.asarray(d.rng.uniform(0.05, 0.9, shape)).astype(dtype)


def powers(d, *shape):
    return d.rng.integers(120, 131, shape, np.uint8).view(dtypes.float8_e8m0fnu.numpy)


def spread(x, scale, axis, block):
    """A scale or zero point for each element."""
    if x.size == 1 and x.ndim <= 1:
        return x.reshape(())
    if not block:
        shape = [1] * scale.ndim
        shape[axis if scale.ndim > 1 else 0] = x.size
        return x.reshape(shape)
    return np.repeat(x, block, axis).take(range(scale.shape[axis]), axis)


def quantize_reference(sample):
    """In the division's precision; rounding before the zero point, as the formula's text says."""
    x, scale, zero = (*sample.inputs, None)[:3]
    a = sample.attributes
    kind = dtypes.BY_ONNX[a.get("output_dtype", 0) or 2]
    if zero is not None:
        kind = dtypes.from_numpy(zero.dtype)
    precision = np.dtype(np.float32)
    if scale.dtype in (np.dtype(np.float16), dtypes.bfloat16.numpy):
        precision = scale.dtype
    if a.get("precision"):
        precision = dtypes.BY_ONNX[a["precision"]].numpy
    axis, block = a.get("axis", 1), a.get("block_size", 0)
    if x.dtype == np.int32 and scale.dtype == np.int32:
        precision = np.dtype(np.float64)
    q = x.astype(precision) / spread(scale, x, axis, block).astype(precision)
    q = q.astype(precision).astype(np.float64)
    z = 0.0 if zero is None else spread(zero, x, axis, block).astype(np.float64)
    if kind in INTEGERS:
        low, high = limits(kind)
        return [np.clip(np.rint(q) + z, low, high).astype(np.int32).astype(kind.numpy)]
    return [convert((q + z).astype(np.float32), kind, bool(a.get("saturate", 1)))]


def quantize_samples(d):
    for kind in (*INTEGERS, *SMALL_FLOATS):
        yield S(4 * d(7), scales(d), zeros(d, kind))
        yield S(d(5, 3, 17), scales(d, 3), zeros(d, kind, 3))
        yield S(d(3, 65), scales(d, 65), zeros(d, kind, 65), axis=-1)
        yield S(d(3, 70, 5), scales(d, 3, 9, 5), zeros(d, kind, 3, 9, 5), axis=1, block_size=8)
        yield S(d(2, 37), scales(d, 2, 10), zeros(d, kind, 2, 10), axis=1, block_size=4)
        yield S(d(4, 7), scales(d), output_dtype=kind.onnx)
    for kind in SMALL_FLOATS[:4]:
        yield S(1e6 * d(7).astype(np.float32) if d.floating else d(7), scales(d), zeros(d, kind),
                saturate=0)  # fmt: skip
    for dtype in (*HALVES, dtypes.float8_e8m0fnu):
        scale = powers if dtype is dtypes.float8_e8m0fnu else scales
        for kind in (dtypes.uint8, dtypes.int4, dtypes.float8_e5m2):
            for shape in ((), (3,)):
                factor = scale(d, *shape)
                if dtype in HALVES:
                    factor = factor.astype(dtype.numpy)
                yield S(d(2, 3, 7), factor, zeros(d, kind, *shape))
    for precision in (dtypes.float32, *HALVES):
        yield S(d(600), scales(d), zeros(d, dtypes.int8), precision=precision.onnx)
        yield S(d(2, 600), scales(d, 600), None, precision=precision.onnx)
    if d.dtype == np.int32:
        yield S(d(2, 600) * 1_000_003, np.array([7, 900_001], np.int32), axis=0)
    yield S(d(2, 0, 3), scales(d, 0), axis=1)
    yield S(d(), scales(d))
    yield S(d(3), scales(d, 1), zeros(d, dtypes.uint8, 1))


def quantize_special(d):
    x = np.array([0.5, 1.5, 2.5, -0.5, -1.5, 6e4, -6e4, 1e-4, np.inf, -np.inf])
    x = np.append(x, [1e30, -1e30, 1e9, 1e-30]) if d.dtype == np.float32 else x
    x = x.astype(d.dtype) if d.floating else np.array([0, 1, -1, 2**31 - 1, -(2**31)], d.dtype)
    for kind in (*INTEGERS, *SMALL_FLOATS):
        yield S(x, np.float32(1), output_dtype=kind.onnx)


def dequantize_reference(sample):
    x, scale, zero = (*sample.inputs, None)[:3]
    a = sample.attributes
    target = dtypes.BY_ONNX[a["output_dtype"]].numpy if "output_dtype" in a else scale.dtype
    axis, block = a.get("axis", 1), a.get("block_size", 0)
    z = np.float32(0) if zero is None else spread(zero, x, axis, block).astype(np.float32)
    y = (x.astype(np.float32) - z) * spread(scale, x, axis, block).astype(np.float32)
    return [y.astype(target)]


def dequantize_samples(d):
    kind = dtypes.from_numpy(d.dtype)
    zero = (
        (lambda *s: np.zeros(s, np.int32))
        if kind is dtypes.int32
        else (lambda *s: zeros(d, kind, *s))
    )
    for dtype in (dtypes.float32, *HALVES):
        yield S(d(7), scales(d, dtype=dtype.numpy), zero())
        yield S(d(5, 3, 17), scales(d, 3, dtype=dtype.numpy), zero(3))
        yield S(d(3, 65), scales(d, 65, dtype=dtype.numpy), zero(65), axis=-1)
        yield S(d(3, 70, 5), scales(d, 3, 9, 5, dtype=dtype.numpy), zero(3, 9, 5), block_size=8)
        yield S(d(2, 37), scales(d, 2, 10, dtype=dtype.numpy), zero(2, 10), block_size=4)
        yield S(d(2, 600), scales(d, dtype=dtype.numpy))
        yield S(d(2, 600), scales(d), output_dtype=dtype.onnx)
        yield S(d(2, 37), powers(d, 2, 10), block_size=4, output_dtype=dtype.onnx)
    yield S(d(2, 0, 3), scales(d, 0), axis=1)
    yield S(d(), scales(d))


def dynamic_samples(d):
    for shape in ((), (1,), (7,), (65,), (3, 17)):
        yield S(d(*shape), outputs=3)
    yield S(d.positive(17), outputs=3)
    yield S(-d.positive(17), outputs=3)
    yield S(np.zeros(5, np.float32), outputs=3)


def integers(d, *shape, signed=None):
    """All of a type's values, of its own or the other signedness."""
    kind = d.dtype if signed is None else np.dtype(np.int8 if signed else np.uint8)
    info = np.iinfo(kind)
    return d.rng.integers(info.min, info.max, shape, kind, endpoint=True)


def rows_of(a, zero):
    """A zero point or scale of A: for all, each row, or each row of each matrix."""
    return zero[..., :, None] if zero.ndim == 1 and zero.size > 1 else zero


def wrap(x):
    return np.asarray(x).astype(np.int64).astype(np.int32)


def integer_product(a, b, a_zero, b_zero):
    a, b = a.astype(np.int64), b.astype(np.int64)
    a = a if a_zero is None else a - rows_of(a, a_zero).astype(np.int64)
    b = b if b_zero is None else b - b_zero.astype(np.int64)
    return wrap(a @ b)


def matmul_integer_reference(sample):
    a, b, a_zero, b_zero = (*sample.inputs, None, None)[:4]
    return [integer_product(a, b, a_zero, b_zero)]


PRODUCTS = (
    ((1, 1), (1, 1)), ((7, 17), (17, 7)), ((3, 65), (65, 33)), ((15, 5), (5, 64)), ((30, 130), (130, 70)),
    ((5,), (5,)), ((5,), (5, 3)), ((3, 5), (5,)), ((2, 3, 4), (2, 4, 5)), ((2, 3, 4), (4, 5)),
    ((3, 4), (2, 4, 5)), ((2, 1, 3, 4), (3, 4, 7)), ((3, 0), (0, 4)), ((0, 3), (3, 4)), ((3, 4), (4, 0)),
)  # fmt: skip


def matmul_integer_samples(d):
    for a, b in PRODUCTS:
        for signed in (False, True):
            x, w = integers(d, *a), integers(d, *b, signed=signed)
            yield S(x, w)
            yield S(x, w, integers(d), integers(d, signed=signed))
    for signed in (False, True):
        x, w = integers(d, 15, 9), integers(d, 9, 35, signed=signed)
        yield S(x, w, integers(d, 15), integers(d, 35, signed=signed))
        yield S(x, w, None, integers(d, 1, 35, signed=signed))
        x, w = integers(d, 2, 3, 4, 5), integers(d, 3, 5, 6, signed=signed)
        yield S(x, w, integers(d, 2, 3, 4, 1), integers(d, 3, 1, 6, signed=signed))
        yield S(x, w, integers(d, 4), integers(d, 6, signed=signed))
        yield S(x, integers(d, 5, 6, signed=signed), integers(d, 2, 3, 4, 1))
    info = np.iinfo(d.dtype)
    extreme = np.full((3, 70), info.min if info.min else info.max, d.dtype)
    yield S(
        extreme,
        np.full((70, 40), -128, np.int8),
        d.scalar(info.max if info.min else 0),
        np.int8(127),
    )


def requantized(product, scale, zero):
    """The quotient rounds before the zero point is added."""
    info = np.iinfo(zero.dtype)
    y = np.rint(product.astype(np.float64) * scale) + int(zero.reshape(()))
    return [np.clip(y, info.min, info.max).astype(zero.dtype)]


def qlinear_matmul_reference(sample):
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = sample.inputs
    sa, sb, sy = (s.astype(np.float32) for s in (a_scale, b_scale, y_scale))
    scale = rows_of(a, sa) * sb / sy
    if a.dtype.kind in "iu":
        if b.ndim == 1 or a.ndim == 1:
            scale = scale.reshape(())
        return requantized(integer_product(a, b, a_zero, b_zero), scale, y_zero)
    a, b = (x.astype(np.float32) - z.astype(np.float32) for x, z in ((a, a_zero), (b, b_zero)))
    y = (a @ b) * scale + y_zero.astype(np.float32)
    return [convert(y.astype(np.float32), dtypes.from_numpy(y_zero.dtype))]


def qlinear_matmul_samples(d):
    if (
        d.dtype.kind not in "iu"
        and d.dtype.itemsize == 1
        and dtypes.from_numpy(d.dtype) in SMALL_FLOATS
    ):
        few = lambda *shape: np.asarray(d.rng.integers(-4, 5, shape)).astype(d.dtype)  # noqa: E731
        for a, b in PRODUCTS[:-3]:
            yield S(
                few(*a), np.float32(0.5), few(), few(*b), np.float32(1), few(), np.float32(2), few()
            )
        return
    for a, b in PRODUCTS:
        for signed in (False, True):
            for dtype in (np.float32, np.float16, dtypes.bfloat16.numpy):
                yield S(
                    integers(d, *a), scales(d, dtype=dtype), integers(d),
                    integers(d, *b, signed=signed), scales(d, dtype=dtype), integers(d, signed=signed),
                    np.asarray(9.0 * np.sqrt(a[-1] + 1)).astype(dtype), integers(d, signed=not signed),
                )  # fmt: skip
    for signed in (False, True):
        yield S(
            integers(d, 15, 9), scales(d, 15), integers(d, 15),
            integers(d, 9, 35, signed=signed), scales(d, 35), integers(d, 35, signed=signed),
            np.float32(30), integers(d, signed=signed),
        )  # fmt: skip
        yield S(
            integers(d, 2, 4, 5), scales(d, 2, 4, 1), integers(d, 2, 4, 1),
            integers(d, 2, 5, 6, signed=signed), scales(d, 2, 1, 6), integers(d, 2, 1, 6, signed=signed),
            np.float32(30), integers(d, signed=signed),
        )  # fmt: skip


def integer_convolution(x, w, x_zero, w_zero, bias, attributes):
    """In float64, which holds every sum."""
    import torch

    x, w = x.astype(np.float64), w.astype(np.float64)
    x = x if x_zero is None else x - float(x_zero.reshape(()))
    if w_zero is not None:
        w = w - w_zero.astype(np.float64).reshape(-1, *[1] * (w.ndim - 1))
    rank = x.ndim - 2
    strides = attributes.get("strides", [1] * rank)
    dilations = attributes.get("dilations", [1] * rank)
    pads = attributes.get("pads", [0] * 2 * rank)
    mode = attributes.get("auto_pad", "NOTSET")
    if mode.startswith("SAME"):
        pads = [0] * 2 * rank
        for i in range(rank):
            out = -(-x.shape[2 + i] // strides[i])
            extent = (w.shape[2 + i] - 1) * dilations[i] + 1
            total = max((out - 1) * strides[i] + extent - x.shape[2 + i], 0)
            small, large = total // 2, total - total // 2
            pads[i], pads[rank + i] = (small, large) if mode == "SAME_UPPER" else (large, small)
    widths = [(0, 0), (0, 0), *((pads[i], pads[rank + i]) for i in range(rank))]
    conv = (torch.nn.functional.conv1d, torch.nn.functional.conv2d, torch.nn.functional.conv3d)[
        rank - 1
    ]
    y = conv(torch.from_numpy(np.pad(x, widths)), torch.from_numpy(w), None, strides, 0, dilations,
             attributes.get("group", 1)).numpy()  # fmt: skip
    return y if bias is None else y + bias.reshape(-1, *[1] * rank)


CONVOLUTIONS = (
    ((1, 1, 3), (1, 1, 1), {}),
    ((2, 3, 17), (5, 3, 4), {"pads": [2, 1]}),
    ((1, 4, 8, 9), (16, 4, 3, 3), {"pads": [1, 1, 1, 1]}),
    ((2, 6, 9, 40), (30, 3, 2, 3), {"group": 2, "strides": [2, 3], "pads": [0, 1, 1, 2]}),
    ((1, 5, 12, 13), (5, 1, 3, 3), {"group": 5, "dilations": [2, 1], "auto_pad": "SAME_UPPER"}),
    ((1, 7, 11, 6), (3, 7, 4, 2), {"strides": [2, 1], "auto_pad": "SAME_LOWER"}),
    ((1, 9, 20, 19), (33, 9, 1, 1), {}),
    ((2, 8, 5, 5), (4, 8, 1, 1), {"strides": [2, 2]}),
    ((1, 2, 4, 5, 6), (3, 2, 2, 2, 2), {"pads": [1, 0, 1, 0, 1, 0]}),
    ((1, 3, 5, 5), (2, 3, 5, 5), {"auto_pad": "VALID"}),
    ((1, 2, 3, 3), (2, 2, 3, 3), {"pads": [3, 0, 3, 4]}),
    ((0, 2, 5, 5), (3, 2, 2, 2), {}),
)  # fmt: skip


def conv_integer_samples(d):
    for x, w, attributes in CONVOLUTIONS:
        for signed in (False, True):
            inputs = integers(d, *x), integers(d, *w, signed=signed)
            yield S(*inputs, **attributes)
            yield S(*inputs, integers(d), **attributes)
            yield S(*inputs, integers(d), integers(d, w[0], signed=signed), **attributes)
            yield S(*inputs, None, integers(d, signed=signed), **attributes)


def conv_integer_reference(sample):
    x, w, x_zero, w_zero = (*sample.inputs, None, None)[:4]
    return [wrap(integer_convolution(x, w, x_zero, w_zero, None, sample.attributes))]


def qlinear_conv_samples(d):
    for x, w, attributes in CONVOLUTIONS:
        for signed in (False, True):
            count = int(np.prod(w[1:]))
            for channels in ((), (w[0],)):
                bias = d.rng.integers(-9999, 9999, w[0]).astype(np.int32) if channels else None
                yield S(
                    integers(d, *x), scales(d), integers(d),
                    integers(d, *w, signed=signed), scales(d, *channels), integers(d, *channels, signed=signed),
                    np.float32(20 * np.sqrt(count)), integers(d, signed=not signed), bias, **attributes,
                )  # fmt: skip


def qlinear_conv_reference(sample):
    x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, bias = sample.inputs
    y = integer_convolution(x, w, x_zero, w_zero, bias, sample.attributes)
    scale = (x_scale * w_scale / y_scale).reshape(-1, *[1] * (x.ndim - 2))
    return requantized(y, scale, y_zero)


PRECISION = "onnx.reference divides in numpy's common type and overflows beyond int32"
ROWWISE = "onnx.reference broadcasts a vector of A's rows along K"
PADDING = "onnx.reference convolves in floats of X's type, two dimensions"

ROWS = [
    OpInfo("QuantizeLinear", quantize_samples, dtypes=("float32", "int32", "float16"),
           special=quantize_special, reference=quantize_reference, why=PRECISION, grad=(),
           big=lambda d: [S(d(100_003), scales(d), zeros(d, dtypes.uint8)),
                          S(d(311, 331), scales(d, 311, 42), block_size=8, output_dtype=22)]),
    OpInfo("DequantizeLinear", dequantize_samples, dtypes=("uint8", "int8", "int32"),
           reference=dequantize_reference, why="it knows no zero points of float8", grad=(),
           big=lambda d: [S(d(100_003), scales(d)), S(d(311, 331), scales(d, 311, 42), block_size=8)]),
    OpInfo("DynamicQuantizeLinear", dynamic_samples, dtypes=("float32",), grad=(),
           big=lambda d: [S(d(200_003), outputs=3)]),
    OpInfo("MatMulInteger", matmul_integer_samples, dtypes=("uint8", "int8"), grad=(),
           reference=matmul_integer_reference, why=ROWWISE,
           big=lambda d: [S(integers(d, 130, 300), integers(d, 300, 131))]),
    OpInfo("QLinearMatMul", qlinear_matmul_samples, dtypes=("uint8", "int8"), grad=(),
           reference=qlinear_matmul_reference, why=ROWWISE,
           big=lambda d: [S(integers(d, 130, 300), scales(d), integers(d), integers(d, 300, 131),
                            scales(d), integers(d), np.float32(9), integers(d))]),
    OpInfo("ConvInteger", conv_integer_samples, dtypes=("uint8", "int8"), grad=(),
           reference=conv_integer_reference, why=PADDING,
           big=lambda d: [S(integers(d, 2, 20, 30, 31), integers(d, 40, 20, 3, 3), pads=[1, 1, 1, 1])]),
    OpInfo("QLinearConv", qlinear_conv_samples, dtypes=("uint8", "int8"), grad=(),
           reference=qlinear_conv_reference, why=PADDING,
           big=lambda d: [S(integers(d, 2, 20, 30, 31), scales(d), integers(d),
                            integers(d, 40, 20, 3, 3), scales(d, 40), integers(d, 40), np.float32(99),
                            integers(d), strides=[2, 1])]),
]  # fmt: skip

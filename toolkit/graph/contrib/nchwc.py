"""Convolutions on onnxruntime's blocked layout (com.microsoft.nchwc), as ONNX's.

Its values have the shape of NCHW, channels filled up to whole blocks, and only its memory is
blocked. So activations are NCHW here, and weights, which lie in the file as that memory, are put in
order: OIHWio for i inputs and o outputs in a block, or OIHWo where inputs are not blocked.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from toolkit.graph.contrib.fused import activated, channels_first, channels_last
from toolkit.graph.contrib.registry import NCHWC, Call, contrib

V = Any  # An ir.Value under `arithmetic`.
_POOL = ("auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "strides")


@functools.cache
def block() -> int:
    """Channels in a block: such a file belongs to the machine that wrote it, 16 with AVX-512."""
    cpu = Path("/proc/cpuinfo")
    return 16 if cpu.is_file() and " avx512f" in cpu.read_text() else 8


@contrib("ReorderInput", domain=NCHWC)
def reorder_input(c: Call, x: V) -> V:
    """Channels filled up with zeros to whole blocks."""
    b = c.b
    x = channels_first(c, x) if c.attr("channels_last", 0) else x
    dims = x.shape
    if dims is None or not isinstance(dims[1], int):
        raise c.fail("a known number of channels is required", "an unknown one")
    lack = -dims[1] % block()
    if not lack:
        return b.Identity(x)
    rank = len(dims)
    return b.Pad(x, [0] * (rank + 1) + [lack] + [0] * (rank - 2))


@contrib("ReorderOutput", domain=NCHWC)
def reorder_output(c: Call, x: V) -> V:
    """The first `channels`."""
    y = c.b.Slice(x, [0], [c.attr("channels", 0)], [1])
    return channels_last(c, y) if c.attr("channels_last", 0) else y


@contrib("Conv", domain=NCHWC)
def conv(c: Call, x: V, w: V, bias: V = None, z: V = None) -> V:
    """activation(Conv(x, w) + bias + z), the weights put in order."""
    how = c.taken("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")
    y = c.b.Conv(x, _weights(c, w), bias, **how)
    y = y if z is None else y + z
    return activated(c, y, list(c.attr("activation_params", ())))


def _weights(c: Call, w: V) -> V:
    dims = list(w.shape) if w.shape is not None else []
    if len(dims) != 4 or not all(isinstance(d, int) for d in dims):
        raise c.fail("weights of known size are required", "unknown ones")
    b, size = c.b, block()
    outputs, inputs, height, width = dims
    if inputs % size:
        blocked = b.Reshape(w, [outputs // size, inputs, height, width, size])
        ordered = b.Transpose(blocked, perm=[0, 4, 1, 2, 3])
    else:
        blocked = b.Reshape(w, [outputs // size, inputs // size, height, width, size, size])
        ordered = b.Transpose(blocked, perm=[0, 5, 1, 4, 2, 3])
    return b.Reshape(ordered, dims)


@contrib("MaxPool", domain=NCHWC)
def max_pool(c: Call, x: V) -> V:
    """MaxPool."""
    return c.b.MaxPool(x, **c.taken(*_POOL))


@contrib("AveragePool", domain=NCHWC)
def average_pool(c: Call, x: V) -> V:
    """AveragePool."""
    return c.b.AveragePool(x, **c.taken(*_POOL, "count_include_pad"))


@contrib("GlobalMaxPool", "GlobalAveragePool", domain=NCHWC)
def global_pool(c: Call, x: V) -> V:
    """GlobalMaxPool or GlobalAveragePool."""
    return getattr(c.b, c.node.op_type)(x)


@contrib("Upsample", domain=NCHWC)
def upsample(c: Call, x: V) -> V:
    """Resize by whole factors."""
    scales = c.b.const([float(s) for s in c.attr("scales", ())])
    how = {"nearest_mode": "floor"} if c.attr("mode", "nearest") == "nearest" else {}
    mode = c.attr("coordinate_transformation_mode", "asymmetric")
    return c.b.Resize(
        x, None, scales, mode=c.attr("mode", "nearest"), coordinate_transformation_mode=mode, **how
    )

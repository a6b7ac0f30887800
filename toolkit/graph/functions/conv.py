"""Bodies of the gradients of convolutions and pools.

A gradient in the input is ConvTranspose without pads, cropped or extended to the input's shape; a
gradient in the weight is Conv with batch and channels exchanged and strides and dilations swapped.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from toolkit.graph.build import Builder, constant_of, known_dims
from toolkit.graph.functions.registry import Attributes, composite

V = Any  # An ir.Value under `arithmetic`.


class Window(NamedTuple):
    """How windows lie over the space; `pads` is None where it follows from the sizes."""

    space: int
    strides: list[int]
    dilations: list[int]
    pads: list[int] | None
    auto_pad: str


def window_of(a: Attributes, space: int) -> Window:
    """The windows that a node's attributes say."""
    auto = a.get("auto_pad", "NOTSET")
    pads: list[int] | None = list(a.get("pads", (0,) * (2 * space)))
    if auto == "VALID":
        pads = [0] * (2 * space)
    elif auto != "NOTSET":
        pads = None
    return Window(
        space,
        list(a.get("strides", (1,) * space)),
        list(a.get("dilations", (1,) * space)),
        pads,
        auto,
    )


def reach_of(b: Builder, w: Window, outputs: V, kernel: V) -> V:
    """How many positions of the padded input all windows cover: (o - 1) s + (k - 1) d + 1."""
    return (outputs - 1) * b.ints(w.strides) + (kernel - 1) * b.ints(w.dilations) + 1


def head_pads(b: Builder, w: Window, inputs: V, reach: V) -> V:
    """The pads before the input, one a spatial axis."""
    if w.pads is not None:
        return b.ints(w.pads[: w.space])
    total = b.Max(reach - inputs, 0)
    return total / 2 if w.auto_pad == "SAME_UPPER" else total - total / 2


def spread(b: Builder, w: Window, dy: V, weight: V, group: int, head: V, inputs: V, reach: V) -> V:
    """ConvTranspose to the input's size.

    Sizes known here become its pads; else what it gives for the padded input is cropped, or
    extended by zeros.
    """
    how = {"strides": w.strides, "dilations": w.dilations, "group": group}
    tail = reach - head - inputs
    before, after = constant_of(head), constant_of(tail)
    if before is not None and after is not None and (-after < w.strides).all():
        pads = [*before.tolist(), *np.maximum(after, 0).tolist()]
        extra = np.maximum(-after, 0).tolist()
        return b.ConvTranspose(dy, weight, pads=pads, output_padding=extra, **how)
    full = b.ConvTranspose(dy, weight, **how)
    return b.Pad(full, b.Concat(-head, -tail, axis=0), None, list(range(2, 2 + w.space)))


@composite("toolkit.grad", "ConvGradInput", "dy w x_shape", "dx")
def conv_grad_input(b: Builder, a: Attributes, dy: V, w: V, x_shape: V) -> V:
    """Conv's transpose in its input."""
    space = len(w.shape) - 2
    window = window_of(a, space)
    reach = reach_of(b, window, b.Shape(dy, start=2), b.Shape(w, start=2))
    inputs = b.Slice(x_shape, [2], [2 + space])
    head = head_pads(b, window, inputs, reach)
    return spread(b, window, dy, w, a.get("group", 1), head, inputs, reach)


@composite("toolkit.grad", "ConvGradWeight", "x dy w_shape", "dw")
def conv_grad_weight(b: Builder, a: Attributes, x: V, dy: V, w_shape: V) -> V:
    """Conv's transpose in its weight: the correlation of x with dy.

    x is taken as (C/group, group N, …) and dy as (M, N, …): a grouped Conv of batch C/group.
    """
    space = len(x.shape) - 2
    group = a.get("group", 1)
    window = window_of(a, space)
    rest = list(range(2, 2 + space))
    pads = window.pads
    if pads is None:
        inputs = b.Shape(x, start=2)
        kernel = b.Slice(w_shape, [2], [2 + space])
        reach = reach_of(b, window, b.Shape(dy, start=2), kernel)
        head = head_pads(b, window, inputs, reach)
        x = b.Pad(x, b.Concat(head, b.Max(reach - inputs, 0) - head, axis=0), None, rest)
        pads = [0] * (2 * space)
    if group == 1:
        columns = b.Transpose(x, perm=[1, 0, *rest])
    else:
        sizes = b.Shape(x, start=2)
        n = b.dim(x, 0)
        split = b.Reshape(x, b.Concat(n, [group, -1], sizes, axis=0))
        columns = b.Reshape(
            b.Transpose(split, perm=[2, 1, 0, *(r + 1 for r in rest)]),
            b.Concat([-1], n * group, sizes, axis=0),
        )
    rows = b.Transpose(dy, perm=[1, 0, *rest])
    wide = b.Conv(
        columns,
        rows,
        strides=window.dilations,
        dilations=window.strides,
        pads=pads,
        group=group,
    )
    dw = b.Transpose(wide, perm=[1, 0, *rest])
    kernel = b.Slice(w_shape, [2], [2 + space])
    known, have = constant_of(kernel), known_dims(dw)
    if known is not None and have is not None and list(have[2:]) == known.tolist():
        return dw
    return b.Slice(dw, [0] * space, kernel, rest)


@composite("toolkit.grad", "MaxPoolGrad", "x dy", "dx")
def max_pool_grad(b: Builder, a: Attributes, x: V, dy: V) -> V:
    """dy added at each window's maximum, the first where several are equal."""
    a = {name: value for name, value in a.items() if name != "storage_order"}
    _, places = b.MaxPool(x, _outputs=2, **a)
    zeros = b.zeros(b.Reshape(b.Size(x), [1]), x.dtype)
    flat = b.ScatterElements(
        zeros, b.Reshape(places, [-1]), b.Reshape(dy, [-1]), axis=0, reduction="add"
    )
    return b.Reshape(flat, b.Shape(x), allowzero=1)


@composite("toolkit.grad", "AveragePoolGrad", "dy x_shape", "dx")
def average_pool_grad(b: Builder, a: Attributes, dy: V, x_shape: V) -> V:
    """dy over the number of elements in each window, added at those elements."""
    kernel = [int(k) for k in a["kernel_shape"]]
    space = len(kernel)
    window = window_of(a, space)
    outputs = b.Shape(dy, start=2)
    inputs = b.Slice(x_shape, [2], [2 + space])
    reach = reach_of(b, window, outputs, b.ints(kernel))
    head = head_pads(b, window, inputs, reach)
    ones = b.const(np.ones([1, 1, *kernel]), dy.dtype)
    sizes = _window_sizes(b, a, window, ones, head, inputs, reach)
    share = b.Reshape(dy / sizes, b.Concat([-1, 1], outputs, axis=0))
    return b.Reshape(spread(b, window, share, ones, 1, head, inputs, reach), x_shape, allowzero=1)


def _window_sizes(
    b: Builder, a: Attributes, window: Window, ones: V, head: V, inputs: V, reach: V
) -> V:
    """How many elements each window counts: a convolution of ones with ones."""
    if window.pads is not None and not any(window.pads) and not a.get("ceil_mode", 0):
        return float(np.prod(a["kernel_shape"]))
    counted, before = inputs, head
    if a.get("count_include_pad", 0):
        before = b.ints([0] * window.space)
        if window.pads is None:
            counted = reach
        else:
            heads, tails = window.pads[: window.space], window.pads[window.space :]
            counted = inputs + b.ints([h + t for h, t in zip(heads, tails, strict=True)])
    plane = b.zeros(b.Concat([1, 1], counted, axis=0), ones.dtype) + 1.0
    around = b.Concat(before, reach - counted - before, axis=0)
    plane = b.Pad(plane, around, None, list(range(2, 2 + window.space)))
    return b.Conv(plane, ones, strides=window.strides, dilations=window.dilations)

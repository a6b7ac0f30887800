"""Conv, its transpose and its gradients."""

from __future__ import annotations

import numpy as np

from tests.opinfo.core import FLOATS, OpInfo, S, Sample, i64

# (x, w, attributes): 1-d to 3-d, groups, depthwise, strides, dilations, uneven pads, auto_pad.
CONVS = (
    ((1, 1, 7), (1, 1, 3), {}),
    ((2, 3, 17), (5, 3, 4), {"strides": [2], "pads": [1, 2]}),
    ((1, 4, 9), (6, 2, 3), {"group": 2, "dilations": [2]}),
    ((2, 3, 8, 9), (7, 3, 3, 3), {"pads": [1, 1, 1, 1]}),
    ((1, 17, 5, 6), (9, 17, 1, 1), {}),
    ((2, 4, 9, 7), (6, 4, 3, 3), {"strides": [2, 2], "pads": [0, 1, 1, 0]}),
    ((1, 6, 8, 8), (6, 1, 3, 3), {"group": 6, "pads": [1, 1, 1, 1]}),
    ((1, 4, 8, 8), (8, 1, 5, 5), {"group": 4, "strides": [2, 2], "pads": [2, 2, 2, 2]}),
    ((1, 6, 9, 9), (4, 3, 3, 2), {"group": 2, "dilations": [2, 3], "strides": [1, 2]}),
    ((1, 2, 7, 8), (3, 2, 3, 2), {"auto_pad": "SAME_UPPER", "strides": [2, 3]}),
    ((1, 2, 7, 8), (3, 2, 2, 4), {"auto_pad": "SAME_LOWER"}),
    ((1, 2, 7, 8), (3, 2, 3, 3), {"auto_pad": "VALID"}),
    ((2, 16, 14, 14), (16, 16, 3, 3), {"pads": [1, 1, 1, 1]}),
    ((1, 2, 4, 5, 6), (3, 2, 2, 3, 2), {"pads": [1, 0, 1, 0, 1, 0], "strides": [1, 2, 1]}),
    ((1, 4, 5, 5, 5), (4, 2, 3, 3, 3), {"group": 2, "dilations": [2, 1, 1]}),
    ((0, 3, 5, 5), (2, 3, 3, 3), {}),
)
BIG = (
    ((2, 16, 33, 31), (24, 16, 3, 3), {"pads": [1, 1, 1, 1]}),
    ((2, 32, 20, 20), (33, 32, 1, 1), {}),
    ((1, 32, 40, 40), (32, 1, 3, 3), {"group": 32, "strides": [2, 2]}),
    ((3, 8, 30, 30), (12, 4, 5, 5), {"group": 2, "strides": [2, 1], "dilations": [1, 2]}),
    ((2, 8, 1001), (16, 8, 9), {"strides": [3]}),
)


def conv_samples(d):
    for i, (x, w, attrs) in enumerate(CONVS):
        yield S(d(*x), d(*w), d(w[0]) if i % 2 else None, **attrs)
    yield S(d(1, 2, 5, 5), d(3, 2, 3, 3), kernel_shape=[3, 3])


def transpose_samples(d):
    for x, w, attrs in (
        ((1, 1, 5), (1, 1, 3), {}),
        ((2, 3, 7), (3, 4, 3), {"strides": [2], "pads": [1, 0]}),
        ((1, 3, 5, 6), (3, 4, 3, 3), {"pads": [1, 1, 1, 1]}),
        ((2, 4, 5, 4), (4, 3, 3, 2), {"strides": [2, 3], "output_padding": [1, 2]}),
        ((1, 4, 5, 5), (4, 2, 3, 3), {"group": 2, "dilations": [2, 2]}),
        ((1, 2, 3, 4, 3), (2, 3, 2, 2, 3), {"strides": [2, 1, 2]}),
    ):
        yield S(d(*x), d(*w), d(w[1] * attrs.get("group", 1)), **attrs)
    yield S(d(1, 2, 4, 4), d(2, 3, 3, 3), auto_pad="SAME_UPPER", strides=[2, 2])
    yield S(d(1, 2, 4, 5), d(2, 3, 2, 3), auto_pad="SAME_LOWER", dilations=[2, 3])
    yield S(d(1, 2, 4, 4), d(2, 3, 3, 3), output_shape=[9, 10], strides=[2, 2])
    yield S(
        d(1, 2, 4, 5), d(2, 3, 2, 3), output_shape=[8, 12], strides=[2, 3], output_padding=[1, 2]
    )


def pads_of(spatial: tuple[int, ...], kernel: tuple[int, ...], attrs: dict) -> list[int]:
    """ONNX's pads, [begins..., ends...], with auto_pad resolved."""
    n = len(spatial)
    strides, dilations = attrs.get("strides", [1] * n), attrs.get("dilations", [1] * n)
    auto = attrs.get("auto_pad", "NOTSET")
    if auto == "NOTSET":
        return list(attrs.get("pads", [0] * 2 * n))
    begins, ends = [0] * n, [0] * n
    if auto != "VALID":
        for i in range(n):
            out = -(-spatial[i] // strides[i])
            total = max(0, (out - 1) * strides[i] + (kernel[i] - 1) * dilations[i] + 1 - spatial[i])
            small, large = total // 2, total - total // 2
            begins[i], ends[i] = (small, large) if auto == "SAME_UPPER" else (large, small)
    return begins + ends


def torch_conv(x, w, b, attrs):
    """Conv on torch tensors."""
    import torch

    n = x.ndim - 2
    pads = pads_of(tuple(x.shape[2:]), tuple(w.shape[2:]), attrs)
    pairs = [p for i in reversed(range(n)) for p in (pads[i], pads[n + i])]
    conv = (torch.conv1d, torch.conv2d, torch.conv3d)[n - 1]
    return conv(
        torch.nn.functional.pad(x, pairs),
        w,
        b,
        attrs.get("strides", [1] * n),
        0,
        attrs.get("dilations", [1] * n),
        attrs.get("group", 1),
    )


def transpose_reference(sample: Sample) -> list[np.ndarray]:
    import torch

    x, w, b = (
        None if v is None else torch.from_numpy(v.astype(np.float64))
        for v in (*sample.inputs, None)[:3]
    )
    attrs, n = sample.attributes, x.ndim - 2
    strides, dilations = attrs.get("strides", [1] * n), attrs.get("dilations", [1] * n)
    extra = attrs.get("output_padding", [0] * n)
    f = torch.nn.functional
    conv = (f.conv_transpose1d, f.conv_transpose2d, f.conv_transpose3d)[n - 1]
    full = conv(x, w, None, strides, 0, 0, attrs.get("group", 1), dilations)
    pads = attrs.get("pads", [0] * 2 * n)
    target = attrs.get("output_shape")
    if attrs.get("auto_pad", "NOTSET").startswith("SAME"):
        target = [x.shape[2 + i] * strides[i] for i in range(n)]
    cut = []
    for i in range(n):
        natural = full.shape[2 + i] + extra[i]
        if target:
            total = natural - target[i]
            begin = total // 2 if attrs.get("auto_pad") == "SAME_UPPER" else total - total // 2
            size = target[i]
        else:
            begin, size = pads[i], natural - pads[i] - pads[n + i]
        cut.append((begin, size))
    widths = [p for i in reversed(range(n)) for p in (0, max(0, sum(cut[i]) - full.shape[2 + i]))]
    full = f.pad(full, widths)
    y = full[(..., *(slice(b, b + s) for b, s in cut))]
    if b is not None:
        y = y + b.reshape(-1, *[1] * n)
    return [y.numpy().astype(sample.inputs[0].dtype)]


def conv_reference(sample: Sample) -> list[np.ndarray]:
    import torch

    x, w, b = (*sample.inputs, None)[:3]
    t = [None if v is None else torch.from_numpy(v.astype(np.float64)) for v in (x, w, b)]
    return [torch_conv(*t, sample.attributes).numpy().astype(x.dtype)]


def conv_vjp(x, w, dy, attrs) -> tuple[np.ndarray, np.ndarray]:
    import torch

    tx, tw = (torch.from_numpy(v.astype(np.float64)).requires_grad_() for v in (x, w))
    y = torch_conv(tx, tw, None, attrs)
    return tuple(
        g.numpy().astype(x.dtype)
        for g in torch.autograd.grad(y, (tx, tw), torch.from_numpy(dy.astype(np.float64)))
    )


def grad_samples(d, wanted: str, cases=CONVS):
    for x, w, attrs in cases:
        vx, vw = d(*x), d(*w)
        vy = conv_reference(S(vx, vw, **attrs))[0]
        dy = d(*vy.shape)
        if wanted == "x":
            yield S(dy, vw, i64(*x), **attrs)
        else:
            yield S(vx, dy, i64(*w), **attrs)


def input_reference(sample: Sample) -> list[np.ndarray]:
    dy, w, shape = sample.inputs
    return [conv_vjp(np.zeros(shape, dy.dtype), w, dy, sample.attributes)[0]]


def weight_reference(sample: Sample) -> list[np.ndarray]:
    x, dy, shape = sample.inputs
    return [conv_vjp(x, np.zeros(shape, dy.dtype), dy, sample.attributes)[1]]


# Winograd's error is relative to the largest result, not to each: NUMERICS.md.
ROWS = [
    OpInfo("Conv", conv_samples, dtypes=FLOATS, tolerance=32, reference=conv_reference,
           why="it is slow, and wrong for some uneven auto_pad",
           big=lambda d: [S(d(*x), d(*w), d(w[0]), **a) for x, w, a in BIG]),
    OpInfo("ConvTranspose", transpose_samples, tolerance=8, reference=transpose_reference,
           why="it fails with groups",
           big=lambda d: [S(d(2, 16, 20, 20), d(16, 9, 3, 3), d(9), strides=[2, 2])]),
    OpInfo("ConvGradInput", lambda d: grad_samples(d, "x"), "toolkit.grad", tolerance=64,
           reference=input_reference, grad=(0, 1), big=lambda d: grad_samples(d, "x", BIG)),
    OpInfo("ConvGradWeight", lambda d: grad_samples(d, "w"), "toolkit.grad", tolerance=64,
           reference=weight_reference, grad=(0, 1), big=lambda d: grad_samples(d, "w", BIG)),
]  # fmt: skip

"""Rules whose conventions torch fixes: kinks, ties, windows, losses; static and symbolic shapes.

`tests/test_gradients.py` holds every rule against finite differences; here are onnxruntime's
float32 results of the exported graph beside torch's autograd.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from onnx import helper

from tests.autodiff.helpers import check, rand

node = helper.make_node
symbolic = pytest.mark.parametrize("dynamic", [False, True], ids=["static", "symbolic"])

KINKS = np.array([-4, -3, -2.5, -1, -0.5, -0.0, 0.0, 0.5, 1, 2.5, 3, 4], np.float32)
ACTIVATIONS = {
    "Relu": F.relu,
    "LeakyRelu": F.leaky_relu,
    "Elu": F.elu,
    "Selu": F.selu,
    "Celu": F.celu,
    "HardSwish": F.hardswish,
    "Softsign": F.softsign,
    "Softplus": F.softplus,
    "Gelu": F.gelu,
    "Mish": F.mish,
    "Abs": torch.abs,
    "Floor": torch.floor,
    "Sign": torch.sign,
}


@pytest.mark.parametrize("op", ACTIVATIONS)
def test_at_kinks(op):
    check(node(op, ["x"], ["y"]), {"x": KINKS}, lambda x: ACTIVATIONS[op](x))


def test_clip_passes_its_limits():
    scalars = {"lo": np.array(-1, np.float32), "hi": np.array(1, np.float32)}
    nodes = [node("Clip", ["x", "lo", "hi"], ["y"])]
    check(nodes, {"x": KINKS}, lambda x: x.clamp(-1, 1), initializers=scalars)


@pytest.mark.parametrize("op", ["Max", "Min"])
def test_ties_share(op):
    feeds = {"x": np.round(rand(4, 5)), "y": np.round(rand(4, 5, seed=1))}
    f = torch.maximum if op == "Max" else torch.minimum
    check(node(op, ["x", "y"], ["z"]), feeds, lambda x, y: f(x, y))


@symbolic
@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("op", ["ReduceMax", "ReduceMin", "ReduceProd", "ReduceL2"])
def test_reductions_with_ties_and_zeros(op, keep, dynamic):
    x = np.round(rand(3, 4, 5))
    f = {
        "ReduceMax": lambda x: x.amax((0, 2), bool(keep)),
        "ReduceMin": lambda x: x.amin((0, 2), bool(keep)),
        "ReduceProd": lambda x: x.permute(1, 0, 2).reshape(4, 15).prod(1),
        "ReduceL2": lambda x: torch.linalg.vector_norm(x, 2, (0, 2), bool(keep)),
    }[op]
    if op == "ReduceProd":
        keep = 0
    axes = {"a": np.array([0, 2], np.int64)}
    nodes = [node(op, ["x", "a"], ["y"], keepdims=keep)]
    check(nodes, {"x": x}, lambda x: f(x), initializers=axes, dynamic=dynamic)
    check(nodes, {"x": x, **axes}, lambda x, a: f(x), dynamic=dynamic)


EQUATIONS = [
    ("ij,jk->ik", [(2, 3), (3, 4)]), ("bij,bjk", [(2, 3, 4), (2, 4, 5)]), ("ii->i", [(3, 3)]),
    ("ii", [(3, 3)]), ("ij->", [(2, 3)]), ("iij,j->i", [(3, 3, 2), (2,)]),
    ("i,j->ij", [(2,), (3,)]), ("ij,ij,jk->ik", [(2, 3), (2, 3), (3, 4)]),
    ("...ij,...jk->...ik", [(2, 1, 3, 4), (1, 5, 4, 2)]),
    ("...i->...", [(2, 3, 4)]), ("ji", [(2, 3)]), ("iii->i", [(2, 2, 2)]),
]  # fmt: skip


@symbolic
@pytest.mark.parametrize("equation,shapes", EQUATIONS, ids=[e for e, _ in EQUATIONS])
def test_einsum(equation, shapes, dynamic):
    names = "xyz"[: len(shapes)]
    feeds = {n: rand(*s, seed=i) for i, (n, s) in enumerate(zip(names, shapes, strict=True))}
    nodes = [node("Einsum", list(names), ["out"], equation=equation)]
    check(nodes, feeds, lambda **k: torch.einsum(equation, *k.values()), dynamic=dynamic)


def conv(x, w, b, strides, pads, dilations, group):
    space = x.ndim - 2
    x = F.pad(x, [p for i in reversed(range(space)) for p in (pads[i], pads[i + space])])
    return getattr(F, f"conv{space}d")(x, w, b, strides, 0, dilations, group)


def conv_transpose(x, w, b, strides, pads, extra, group, dilations):
    space = x.ndim - 2
    f = getattr(F, f"conv_transpose{space}d")
    y = f(x, w, b, strides, 0, extra, group, dilations)
    crop = [slice(pads[i], y.shape[2 + i] - pads[i + space]) for i in range(space)]
    return y[(slice(None), slice(None), *crop)]


WINDOWS = [
    ((7,), (3,), (1,), (1, 1), (1,), 1),
    ((7, 6), (3, 2), (2, 1), (1, 0, 1, 1), (1, 1), 1),
    ((9, 8), (3, 3), (2, 3), (1, 2, 0, 1), (2, 1), 2),
    ((5, 5, 4), (2, 2, 2), (1, 2, 1), (0, 0, 0, 1, 1, 1), (1, 1, 2), 4),
    ((6, 6), (1, 1), (1, 1), (0, 0, 0, 0), (1, 1), 1),
    ((8, 8), (2, 2), (3, 3), (0, 0, 0, 0), (1, 1), 1),
]


@symbolic
@pytest.mark.parametrize("inline", [True, False], ids=["inline", "functions"])
@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_conv(window, inline, dynamic):
    space, kernel, strides, pads, dilations, group = window
    how = {"strides": strides, "pads": pads, "dilations": dilations, "group": group}
    feeds = {"x": rand(2, 4, *space), "w": rand(8, 4 // group, *kernel), "b": rand(8)}
    check(
        node("Conv", ["x", "w", "b"], ["y"], **how),
        feeds,
        lambda x, w, b: conv(x, w, b, strides, pads, dilations, group),
        dynamic=dynamic,
        inline=inline,
        atol=1e-4,
    )
    extra = tuple(min(1, s - 1) for s in strides)
    feeds = {"x": rand(2, 4, *space), "w": rand(4, 8 // group, *kernel), "b": rand(8)}
    check(
        node("ConvTranspose", ["x", "w", "b"], ["y"], output_padding=extra, **how),
        feeds,
        lambda x, w, b: conv_transpose(x, w, b, strides, pads, extra, group, dilations),
        dynamic=dynamic,
        inline=inline,
        atol=1e-4,
    )


def same_pads(sizes, kernels, stride, auto):
    if auto == "VALID":
        return [0] * (2 * len(sizes))
    total = [
        max((-(-n // stride) - 1) * stride + k - n, 0) for n, k in zip(sizes, kernels, strict=True)
    ]
    heads = [t // 2 if auto == "SAME_UPPER" else t - t // 2 for t in total]
    return heads + [t - h for t, h in zip(total, heads, strict=True)]


@symbolic
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("auto", ["SAME_UPPER", "SAME_LOWER", "VALID"])
def test_auto_pad(auto, stride, dynamic):
    how = {"strides": [stride, stride], "auto_pad": auto}
    pads = same_pads((7, 8), (3, 2), stride, auto)
    check(
        node("Conv", ["x", "w"], ["y"], **how),
        {"x": rand(2, 3, 7, 8), "w": rand(4, 3, 3, 2)},
        lambda x, w: conv(x, w, None, stride, pads, 1, 1),
        dynamic=dynamic,
        atol=1e-4,
    )
    x = rand(2, 3, 7, 8)

    def average(x):
        around = (pads3[1], pads3[3], pads3[0], pads3[2])
        ones = F.avg_pool2d(F.pad(torch.ones_like(x), around), 3, stride)
        return F.avg_pool2d(F.pad(x, around), 3, stride) / ones

    pads3 = same_pads((7, 8), (3, 3), stride, auto)
    nodes = [node("AveragePool", ["x"], ["y"], kernel_shape=[3, 3], **how)]
    check(nodes, {"x": x}, average, dynamic=dynamic)

    def transposed(x, w):
        y = F.conv_transpose2d(x, w, None, stride)
        if auto == "VALID":
            return y
        total = [y.shape[2 + i] - x.shape[2 + i] * stride for i in range(2)]
        head = [t // 2 if auto == "SAME_UPPER" else t - t // 2 for t in total]
        ends = [y.shape[2 + i] - (total[i] - head[i]) for i in range(2)]
        return y[:, :, head[0] : ends[0], head[1] : ends[1]]

    feeds = {"x": rand(2, 3, 5, 6), "w": rand(3, 4, 3, 2)}
    nodes = [node("ConvTranspose", ["x", "w"], ["y"], **how)]
    check(nodes, feeds, transposed, dynamic=dynamic, atol=1e-4)


POOLS = [
    ((2, 2), (2, 2), 0, 1, 0), ((3, 3), (2, 2), 1, 1, 0), ((3, 2), (1, 2), 1, 2, 0),
    ((3, 3), (2, 2), 0, 1, 1), ((3, 3), (2, 2), 1, 1, 1),
]  # fmt: skip


@symbolic
@pytest.mark.parametrize("inline", [True, False], ids=["inline", "functions"])
@pytest.mark.parametrize("pool", POOLS, ids=str)
def test_pools(pool, inline, dynamic):
    kernel, strides, pad, dilation, ceil = pool
    how = {"kernel_shape": kernel, "strides": strides, "pads": [pad] * 4, "ceil_mode": ceil}
    options = {"dynamic": dynamic, "inline": inline, "opset": 22}
    x = np.round(rand(2, 3, 8, 9) * 4)
    check(
        node("MaxPool", ["x"], ["y"], dilations=[dilation] * 2, **how),
        {"x": x},
        lambda x: F.max_pool2d(x, kernel, strides, pad, dilation, bool(ceil)),
        **options,
    )
    if dilation > 1:
        return
    for included in (0, 1):
        check(
            node("AveragePool", ["x"], ["y"], count_include_pad=included, **how),
            {"x": x},
            lambda x, k=included: F.avg_pool2d(x, kernel, strides, pad, bool(ceil), bool(k)),
            **options,
        )
    if pad:
        return
    for p in (1, 2, 3):
        check(
            node("LpPool", ["x"], ["y"], p=p, **how),
            {"x": np.abs(x) + 0.1},
            lambda x, p=p: (
                F.avg_pool2d(x**p, kernel, strides, 0, bool(ceil), divisor_override=1) ** (1 / p)
            ),
            rtol=1e-3,
            **options,
        )


@symbolic
def test_global_pools(dynamic):
    x = np.round(rand(2, 3, 4, 5))
    table = {
        "GlobalAveragePool": lambda x: x.mean((2, 3), True),
        "GlobalMaxPool": lambda x: F.adaptive_max_pool2d(x, 1),
        "GlobalLpPool": lambda x: torch.linalg.vector_norm(x, 2, (2, 3), True),
    }
    for op, f in table.items():
        check(node(op, ["x"], ["y"]), {"x": x}, lambda x, f=f: f(x), dynamic=dynamic)


@symbolic
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ignore", [None, -1])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_losses(reduction, ignore, weighted, dynamic):
    labels = np.array([[0, 2, 1], [3, 0, -1]], np.int64)
    labels = np.abs(labels) if ignore is None else labels
    weights = {"w": np.abs(rand(4)) + 0.1} if weighted else {}
    kind = {} if ignore is None else {"ignore_index": ignore}
    table = {
        "SoftmaxCrossEntropyLoss": F.cross_entropy,
        "NegativeLogLikelihoodLoss": F.nll_loss,
    }
    for op, f in table.items():
        check(
            node(op, ["x", "t", *weights], ["y"], reduction=reduction, **kind),
            {"x": rand(2, 4, 3), "t": labels},
            lambda x, t, f=f: f(
                x,
                t,
                torch.tensor(weights["w"]) if weighted else None,
                reduction=reduction,
                ignore_index=-100 if ignore is None else ignore,
            ),
            initializers=weights,
            dynamic=dynamic,
        )


@symbolic
def test_normalizations(dynamic):
    x, s, b = rand(3, 4, 5, 6), rand(4), rand(4, seed=1)
    m, v = rand(4, seed=2), rand(4, low=0.5)
    check(
        node("BatchNormalization", list("xsbmv"), ["y", "rm", "rv"], training_mode=1, momentum=0.7),
        {"x": x, "s": s, "b": b, "m": m, "v": v},
        lambda x, s, b, m, v: (
            F.batch_norm(x, None, None, s, b, True),
            m * 0.7 + 0.3 * x.mean((0, 2, 3)),
            v * 0.7 + 0.3 * x.var((0, 2, 3), unbiased=False),
        ),
        dynamic=dynamic,
        atol=1e-4,
    )
    check(
        node("LayerNormalization", ["x", "s", "b"], ["y", "mean", "r"], axis=-1),
        {"x": rand(2, 3, 4), "s": s, "b": b},
        lambda x, s, b: (
            F.layer_norm(x, (4,), s, b),
            x.mean(-1, True),
            (x.var(-1, unbiased=False, keepdim=True) + 1e-5).rsqrt(),
        ),
        dynamic=dynamic,
        opset=18,
    )
    check(
        node("LayerNormalization", ["x", "s"], ["y"], axis=1),
        {"x": rand(2, 3, 4), "s": rand(4)},
        lambda x, s: F.layer_norm(x, (3, 4)) * s,
        dynamic=dynamic,
    )

"""Cases of nn.functional, losses apart."""

from __future__ import annotations

from typing import Any

from tests.nn.saving.core import Call, Case, call, index, unit, x
from tests.nn.saving.modules import IMAGE, SEQUENCE, SPATIAL
from toolkit.nn import functional as F

ANY = x("N", "L", 6)


def plain(*names: str) -> dict[str, list[Case]]:
    return {name: [call(name, ANY)] for name in names}


def spatial(name: str, *inputs: Any, **options: Any) -> dict[str, list[Case]]:
    """`name1d`, `name2d`, `name3d`."""
    return {f"{name}{n}d": [call(f"{name}{n}d", SPATIAL[n], *inputs, **options)] for n in (1, 2, 3)}


def kernels(name: str) -> dict[str, list[Case]]:
    """Convolutions, with the weight as an input."""
    return {f"{name}{n}d": [call(f"{name}{n}d", SPATIAL[n], x(4, 4, *[3] * n), stride=2, padding=1)]
            for n in (1, 2, 3)}  # fmt: skip


def unpool(n: int) -> Any:
    def run(v: Any) -> Any:
        y, at = getattr(F, f"max_pool{n}d")(v, 2, return_indices=True)
        return getattr(F, f"max_unpool{n}d")(y, at, 2)

    return run


CASES: dict[str, list[Case]] = {
    **plain("celu", "elu", "gelu", "glu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu",
            "logsigmoid", "mish", "relu", "relu6", "selu", "sigmoid", "silu", "softplus",
            "softsign", "tanh", "tanhshrink", "dropout"),
    **{n: [call(n, ANY, dim=1)] for n in ("softmax", "log_softmax", "softmin")},
    **{f"dropout{n}d": [call(f"dropout{n}d", SPATIAL[n], training=False)] for n in (1, 2, 3)},
    "dropout": [call("dropout", ANY, training=False)],
    "threshold": [call("threshold", ANY, threshold=0.1, value=5.0)],
    "prelu": [call("prelu", x("N", 4, "L"), x(4))],
    "linear": [call("linear", ANY, x(3, 6), x(3))],
    "bilinear": [call("bilinear", x("N", 6), x("N", 5), x(3, 6, 5))],
    "embedding": [call("embedding", index("N", "L"), x(5, 3))],
    "one_hot": [call("one_hot", index("N", "L"), num_classes=5),
                call("one_hot", index("N"), refused="num_classes", key="unknown")],
    "normalize": [call("normalize", ANY, dim=d, p=p, key=f"{d} {p}")
                  for d, p in ((1, 2.0), (0, 1.0), (-1, 3.0))],
    **kernels("conv"),
    **kernels("conv_transpose"),
    **spatial("avg_pool", kernel_size=3, stride=2, padding=1),
    **spatial("max_pool", kernel_size=3, stride=2, padding=1),
    **spatial("adaptive_avg_pool", output_size=1),
    **spatial("adaptive_max_pool", output_size=1),
    "batch_norm": [call("batch_norm", IMAGE, x(4), unit(4), x(4), x(4))],
    "group_norm": [call("group_norm", IMAGE, num_groups=2)],
    "instance_norm": [call("instance_norm", IMAGE)],
    "layer_norm": [call("layer_norm", ANY, normalized_shape=(6,))],
    "rms_norm": [call("rms_norm", ANY, normalized_shape=(6,))],
    "pad": [call("pad", IMAGE, pad=(1, 2, 0, 3), mode=m, key=m)
            for m in ("constant", "reflect", "replicate", "circular")],
    "interpolate": [call("interpolate", IMAGE, scale_factor=s, mode=m, key=f"{m} {s}")
                    for m in ("nearest", "bilinear", "bicubic", "area") for s in (2, 0.5)]
                   + [call("interpolate", SEQUENCE, size=7, mode="linear", key="size")],
    "grid_sample": [call("grid_sample", IMAGE, x("N", "L", "S", 2), align_corners=False)],
    "affine_grid": [Case(lambda: Call(lambda theta, like: F.affine_grid(
        theta, like.shape, align_corners=False)), [x("N", 2, 3), IMAGE])],
    "fold": [call("fold", x("N", 8, 12), output_size=(4, 5), kernel_size=2)],
    "unfold": [call("unfold", IMAGE, kernel_size=3)],
    "pixel_shuffle": [call("pixel_shuffle", IMAGE, upscale_factor=2)],
    "pixel_unshuffle": [call("pixel_unshuffle", x("N", 4, 8, 6), downscale_factor=2)],
    **{f"max_unpool{n}d": [Case(lambda n=n: Call(unpool(n)), [x("N", 4, *["E"] * n)])]
       for n in (1, 2, 3)},
    "scaled_dot_product_attention": [
        call("scaled_dot_product_attention", *[x("N", 2, s, 4) for s in "LSS"], key="plain"),
        call("scaled_dot_product_attention", *[x("N", 2, "L", 4)] * 3, is_causal=True,
             key="causal"),
    ],
    "packed_attention": [call("packed_attention", *[x("N", s, 8) for s in "LSS"], num_heads=2)],
}  # fmt: skip

"""Cases of pads, lazy layers, rarer pools, norms and activations, and of their functions."""

from __future__ import annotations

from typing import Any

import toolkit as tk
from tests.nn.saving.core import Call, Case, call, index, made, unit, x
from tests.nn.saving.modules import IMAGE, SEQUENCE, SPATIAL
from toolkit import nn
from toolkit.nn import functional as F

ANY = x("N", "L", 6)
N3 = (1, 2, 3)


def pads() -> dict[str, list[Case]]:
    """Different widths on each side, by the module of each mode."""
    found: dict[str, list[Case]] = {}
    for n in N3:
        for kind in ("Circular", "Reflection", "Replication", "Zero"):
            name = f"{kind}Pad{n}d"
            found[name] = [made(name, SPATIAL[n], args=((1, 2, 0, 1, 2, 1)[: 2 * n],))]
        found[f"ConstantPad{n}d"] = [made(f"ConstantPad{n}d", SPATIAL[n], args=(1, 0.5))]
    return found


def lazy(name: str, n: int, *args: Any, **options: Any) -> Case:
    """A lazy module that has seen an input."""

    def build() -> nn.Module:
        module = getattr(nn, name)(*args, **options)
        module(tk.ones(2, 4, *[7] * n))
        return module

    return Case(build, [SPATIAL[n]])


def lazy_layers() -> dict[str, list[Case]]:
    found = {"LazyLinear": [Case(lazy_linear, [ANY])]}
    for n in N3:
        found[f"LazyConv{n}d"] = [lazy(f"LazyConv{n}d", n, 5, 3, padding=1)]
        found[f"LazyConvTranspose{n}d"] = [lazy(f"LazyConvTranspose{n}d", n, 5, 3, stride=2)]
        for kind in ("BatchNorm", "InstanceNorm"):
            found[f"Lazy{kind}{n}d"] = [lazy(f"Lazy{kind}{n}d", n, affine=True)]
    return found


def lazy_linear() -> nn.Module:
    module = nn.LazyLinear(3)
    module(tk.ones(2, 6))
    return module


def fractional(n: int, name: str) -> Case:
    """The windows follow the random numbers that are given."""
    samples = unit("N", 4, n)
    return Case(lambda: Call(lambda v, s: getattr(F, name)(
        v, 2, output_size=3, _random_samples=s)), [x("N", 4, *[9] * n), samples])  # fmt: skip


def heads(query: Any, key: Any, w: Any, b: Any, out: Any, bias: Any) -> Any:
    return F.multi_head_attention_forward(
        query, key, key, 8, 2, w, b, None, None, False, 0.0, out, bias, training=False
    )


CASES: dict[str, list[Case]] = {
    **pads(),
    **lazy_layers(),
    **{n: [made(n, IMAGE)] for n in ("AlphaDropout", "FeatureAlphaDropout", "Hardshrink", "RReLU",
                                     "Softmax2d", "Softshrink")},
    "ChannelShuffle": [made("ChannelShuffle", IMAGE, args=(2,))],
    "SyncBatchNorm": [made("SyncBatchNorm", IMAGE, args=(4,))],
    "CrossMapLRN2d": [made("CrossMapLRN2d", IMAGE, args=(3,))],
    "LocalResponseNorm": [made("LocalResponseNorm", IMAGE, args=(3,)),
                          made("LocalResponseNorm", SEQUENCE, args=(3,), key="3-dim")],
    "EmbeddingBag": [made("EmbeddingBag", index("N", "L"), args=(5, 3), mode=m, key=m)
                     for m in ("mean", "sum", "max")],
    **{f"LPPool{n}d": [made(f"LPPool{n}d", SPATIAL[n], args=(2.0, 3), stride=2)] for n in N3},
    **{f"FractionalMaxPool{n}d": [fractional(n, f"fractional_max_pool{n}d")] for n in (2, 3)},
    **{f"fractional_max_pool{n}d{k}": [fractional(n, f"fractional_max_pool{n}d{k}")]
       for n in (2, 3) for k in ("", "_with_indices")},
    **{f"lp_pool{n}d": [call(f"lp_pool{n}d", SPATIAL[n], norm_type=2.0, kernel_size=3)]
       for n in N3},
    **{f"max_pool{n}d_with_indices": [call(f"max_pool{n}d_with_indices", SPATIAL[n],
                                           kernel_size=3, stride=2)] for n in N3},
    **{f"adaptive_max_pool{n}d_with_indices": [call(
        f"adaptive_max_pool{n}d_with_indices", x("N", 4, *[6] * n), output_size=3)] for n in N3},
    **{n: [call(n, IMAGE)] for n in ("alpha_dropout", "feature_alpha_dropout", "hardshrink",
                                     "rrelu", "softshrink")},
    **{n: [call(n, IMAGE, groups=2)] for n in ("channel_shuffle", "native_channel_shuffle")},
    "conv_tbc": [call("conv_tbc", x("L", "N", 4), x(3, 4, 5), x(5), pad=1)],
    "embedding_bag": [
        call("embedding_bag", index("N", "L"), x(5, 3)),
        call("embedding_bag", index("L"), x(5, 3), mode="sum", key="one bag",
             offsets=tk.tensor([0])),
    ],
    "local_response_norm": [call("local_response_norm", IMAGE, size=3)],
    "gumbel_softmax": [Case(lambda: Call(lambda v: F.gumbel_softmax(v).sum(-1)), [ANY])],
    "multi_head_attention_forward": [
        Case(lambda: Call(heads), [x("L", "N", 8), x("S", "N", 8), x(24, 8), x(24), x(8, 8), x(8)])
    ],
    **{n: [call(n, IMAGE, scale_factor=2)]
       for n in ("upsample", "upsample_nearest", "upsample_bilinear")},
}  # fmt: skip

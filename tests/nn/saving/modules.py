"""Cases of modules."""

from __future__ import annotations

from tests.nn.saving.core import Case, index, made, x
from toolkit import nn

VECTOR, SEQUENCE = x("N", 6), x("N", 4, "L")
IMAGE, VOLUME = x("N", 4, "H", "W"), x("N", 4, "H", "W", 7)
SPATIAL = {1: SEQUENCE, 2: IMAGE, 3: VOLUME}
BATCH_FIRST = {"batch_first": True}


def spatial(name: str, *args: object, **options: object) -> dict[str, list[Case]]:
    """`name1d`, `name2d`, `name3d`, with every spatial size dynamic."""
    return {
        f"{name}{n}d": [made(f"{name}{n}d", SPATIAL[n], args=args, **options)] for n in (1, 2, 3)
    }


def plain(*names: str) -> dict[str, list[Case]]:
    """Modules without arguments on any shape."""
    return {name: [made(name, x("N", "L", 6))] for name in names}


class Attend(nn.Module):
    """Self-attention with weights and a mask of padding."""

    def __init__(self, **options: object) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(8, 2, **options)

    def forward(self, query: object, key: object) -> object:
        return self.inner(query, key, key)


def transformer(**options: object) -> nn.Module:
    return nn.Transformer(8, 2, 1, 1, 16, **options)


def layer(kind: str, **options: object) -> nn.Module:
    return getattr(nn, f"Transformer{kind}Layer")(8, 2, 16, **options)


CASES: dict[str, list[Case]] = {
    **plain("CELU", "ELU", "GELU", "GLU", "Hardsigmoid", "Hardswish", "Hardtanh", "LeakyReLU",
            "LogSigmoid", "Mish", "PReLU", "ReLU", "ReLU6", "SELU", "SiLU", "Sigmoid", "Softplus",
            "Softsign", "Tanh", "Tanhshrink", "Dropout", "Identity", "Flatten"),
    **{n: [made(n, x("N", "L", 6), dim=d, key=f"dim {d}") for d in (-1, 1)]
       for n in ("Softmax", "LogSoftmax", "Softmin")},
    "Threshold": [made("Threshold", x("N", "L"), args=(0.1, 5.0))],
    **{f"Dropout{n}d": [made(f"Dropout{n}d", SPATIAL[n])] for n in (1, 2, 3)},
    "Linear": [made("Linear", VECTOR, args=(6, 3)), made("Linear", x("N", "L", 6), args=(6, 3),
               key="3-dim")],
    "Bilinear": [made("Bilinear", VECTOR, x("N", 5), args=(6, 5, 3))],
    "Embedding": [made("Embedding", index("N", "L"), args=(5, 3), padding_idx=1)],
    "Unflatten": [made("Unflatten", VECTOR, args=(1, (2, 3)))],
    "Sequential": [Case(lambda: nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2)),
                        [VECTOR])],
    **spatial("Conv", 4, 6, 3, padding=1, stride=2),
    **spatial("ConvTranspose", 4, 6, 3, stride=2, output_padding=1),
    **spatial("MaxPool", 3, stride=2, padding=1),
    **spatial("AvgPool", 3, stride=2, padding=1),
    **spatial("AdaptiveAvgPool", 1),
    **spatial("AdaptiveMaxPool", 1),
    **spatial("BatchNorm", 4),
    **spatial("InstanceNorm", 4, affine=True),
    "GroupNorm": [made("GroupNorm", IMAGE, args=(2, 4))],
    "LayerNorm": [made("LayerNorm", x("N", "L", 6), args=(6,))],
    "RMSNorm": [made("RMSNorm", x("N", "L", 6), args=(6,))],
    **{n: [made(n, x("N", "L", 4), args=(4, 5), batch_first=True),
           made(n, x("L", "N", 4), args=(4, 5, 2), bidirectional=True, key="two ways"),
           made(n, x("L", 4), args=(4, 5), key="one")] for n in ("RNN", "GRU", "LSTM")},
    **{n: [made(n, x("N", 4), x("N", 5), args=(4, 5)), made(n, x("N", 4), args=(4, 5), key="zeros")]
       for n in ("RNNCell", "GRUCell")},
    "LSTMCell": [made("LSTMCell", x("N", 4), args=(4, 5))],
    "MultiheadAttention": [
        Case(lambda: Attend(), [x("L", "N", 8), x("S", "N", 8)]),
        Case(lambda: Attend(batch_first=True), [x("N", "L", 8), x("N", "S", 8)], key="batch first"),
    ],
    "TransformerEncoderLayer": [
        Case(lambda: layer("Encoder"), [x("L", "N", 8)]),
        Case(lambda: layer("Encoder", **BATCH_FIRST, norm_first=True, activation="gelu"),
             [x("N", "L", 8)], key="batch first"),
    ],
    "TransformerDecoderLayer": [Case(lambda: layer("Decoder", **BATCH_FIRST),
                                     [x("N", "L", 8), x("N", "S", 8)])],
    "TransformerEncoder": [Case(lambda: nn.TransformerEncoder(layer("Encoder"), 2, nn.LayerNorm(8)),
                                [x("L", "N", 8)])],
    "TransformerDecoder": [Case(lambda: nn.TransformerDecoder(layer("Decoder"), 2),
                                [x("L", "N", 8), x("S", "N", 8)])],
    "Transformer": [Case(lambda: transformer(), [x("L", "N", 8), x("S", "N", 8)]),
                    Case(lambda: transformer(**BATCH_FIRST), [x("N", "L", 8), x("N", "S", 8)],
                         key="batch first")],
    "Fold": [made("Fold", x("N", 8, 12), args=((4, 5), 2))],
    "Unfold": [made("Unfold", IMAGE, args=(3,), padding=1)],
    "PixelShuffle": [made("PixelShuffle", IMAGE, args=(2,))],
    "PixelUnshuffle": [made("PixelUnshuffle", x("N", 4, 8, 6), args=(2,))],
    "Upsample": [made("Upsample", IMAGE, scale_factor=2, mode=mode, key=mode)
                 for mode in ("nearest", "bilinear", "bicubic")],
    "UpsamplingNearest2d": [made("UpsamplingNearest2d", IMAGE, scale_factor=2)],
    "UpsamplingBilinear2d": [made("UpsamplingBilinear2d", IMAGE, scale_factor=2)],
    **{f"MaxUnpool{n}d": [Case(lambda n=n: Unpool(n), [x("N", 4, *["E"] * n)])] for n in (1, 2, 3)},
}  # fmt: skip


class Unpool(nn.Module):
    """Takes the maxima apart again."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.pool = getattr(nn, f"MaxPool{n}d")(2, return_indices=True)
        self.unpool = getattr(nn, f"MaxUnpool{n}d")(2)

    def forward(self, x: object) -> object:
        return self.unpool(*self.pool(x))


# What holds modules or is the base of some, without a call of its own.
ABSTRACT = {"Module", "ModuleDict", "ModuleList", "ParameterDict", "ParameterList", "RNNBase",
            "RNNCellBase", "Container", "DataParallel"}  # fmt: skip

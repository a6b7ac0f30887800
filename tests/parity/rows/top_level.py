"""Functions of nn.functional that torch also has at its top level, with its arguments in order."""

from __future__ import annotations

from tests.parity.core import Row, d, rows

_IMAGE = {
    "conv2d": lambda m, x, w: m.conv2d(x, w, None, 2, 1),
    "conv2d names": lambda m, x, w: m.conv2d(x, w, padding="same", dilation=1, groups=1),
    "conv_transpose2d": lambda m, x, w: m.conv_transpose2d(x, w.transpose(0, 1), None, 2, 1),
    "max_pool2d": lambda m, x, w: m.max_pool2d(x, 2, 1),
    "channel_shuffle": lambda m, x, w: m.channel_shuffle(x, 2),
    "pixel_shuffle": lambda m, x, w: m.pixel_shuffle(x, 2),
    "pixel_unshuffle": lambda m, x, w: m.pixel_unshuffle(x, 2),
    "group_norm": lambda m, x, w: m.group_norm(x, 2, None, None, 1e-5),
}  # fmt: skip
_LINE = {
    "conv1d": lambda m, x, w: m.conv1d(x, w, None, 1, 1),
    "conv_transpose1d": lambda m, x, w: m.conv_transpose1d(x, w.transpose(0, 1)),
    "avg_pool1d": lambda m, x, w: m.avg_pool1d(x, 2, 1),
    "adaptive_avg_pool1d": lambda m, x, w: m.adaptive_avg_pool1d(x, 3),
    "max_pool1d": lambda m, x, w: m.max_pool1d(x, 2),
    "max_pool1d_with_indices": lambda m, x, w: m.max_pool1d_with_indices(x, 2, 1),
    "layer_norm": lambda m, x, w: m.layer_norm(x, (6,), None, None, 1e-5),
    "rms_norm": lambda m, x, w: m.rms_norm(x, (6,), None, 1e-5),
    "celu": lambda m, x, w: m.celu(x, 0.5), "selu": lambda m, x, w: m.selu(x),
    "threshold": lambda m, x, w: m.threshold(x, 0.1, 20.0),
    "dropout": lambda m, x, w: m.dropout(x, 0.5, False),
    "alpha_dropout": lambda m, x, w: m.alpha_dropout(x, 0.5, False),
    "feature_alpha_dropout": lambda m, x, w: m.feature_alpha_dropout(x, 0.5, False),
}  # fmt: skip
ROWS = [
    *rows("torch", _IMAGE, d(2, 4, 6, 6), d(4, 4, 3, 3)),
    *rows("torch", _LINE, d(2, 4, 6), d(4, 4, 3)),
    Row("torch/conv3d", lambda m, x, w: [m.conv3d(x, w), m.max_pool3d(x, 2), m.conv_transpose3d(
        x, w)], [d(1, 2, 4, 4, 4), d(2, 2, 3, 3, 3)]),
    Row("torch/bilinear", lambda m, x, y, w: m.bilinear(x, y, w, None),
        [d(3, 2), d(3, 4), d(5, 2, 4)]),
]  # fmt: skip

"""Convolutional networks of a few channels, on images of 16 by 16."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn


def _conv(c_in: int, c_out: int, k: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(c_in, c_out, k, stride, k // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(c_out))


class _Residual(nn.Module):
    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.first = _conv(c_in, c_out, 3, stride)
        self.second = _conv(c_out, c_out, 3)
        same = stride == 1 and c_in == c_out
        self.shortcut = nn.Identity() if same else _conv(c_in, c_out, 1, stride)

    def forward(self, x):
        return F.relu(self.second(F.relu(self.first(x))) + self.shortcut(x))


class ResNet18(nn.Module):
    """Four stages of two residual blocks (He et al. 2016), 8 to 32 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_conv(3, 8, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        widths = [8, 8, 16, 24, 32]
        self.stages = nn.Sequential(
            *(
                _Residual(a if block == 0 else b, b, 1 if block or i == 0 else 2)
                for i, (a, b) in enumerate(pairwise(widths))
                for block in range(2)
            )
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(32, 5)

    def forward(self, x):
        h = self.pool(self.stages(self.stem(x)))
        return self.head(self.drop(torch.flatten(h, 1)))


class _Inverted(nn.Module):
    def __init__(self, c_in: int, c_out: int, stride: int, expand: int) -> None:
        super().__init__()
        wide = c_in * expand
        self.skip = stride == 1 and c_in == c_out
        layers = [] if expand == 1 else [_conv(c_in, wide, 1), nn.ReLU6()]
        layers += [_conv(wide, wide, 3, stride, wide), nn.ReLU6(), _conv(wide, c_out, 1)]
        self.body = nn.Sequential(*layers)

    def forward(self, x):
        return x + self.body(x) if self.skip else self.body(x)


class MobileNetV2(nn.Module):
    """Inverted residuals with depthwise convolutions and ReLU6 (Sandler et al. 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            _conv(3, 8, 3, 2), nn.ReLU6(),
            _Inverted(8, 8, 1, 1), _Inverted(8, 12, 2, 3), _Inverted(12, 12, 1, 3),
            _Inverted(12, 16, 2, 2), _conv(16, 32, 1), nn.ReLU6(),
        )  # fmt: skip
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(32, 5))

    def forward(self, x):
        return self.classifier(self.features(x).mean([2, 3]))


class UNet(nn.Module):
    """Two levels: one way up by ConvTranspose, one by bilinear Upsample (Ronneberger 2015)."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList([self._double(2, 8), self._double(8, 16)])
        self.middle = self._double(16, 24)
        self.up = nn.ModuleList(
            [
                nn.ConvTranspose2d(24, 16, 2, 2),
                nn.Sequential(
                    nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
                    nn.Conv2d(16, 8, 1),
                ),
            ]
        )
        self.merge = nn.ModuleList([self._double(32, 16), self._double(16, 8)])
        self.out = nn.Conv2d(8, 3, 1)

    @staticmethod
    def _double(c_in: int, c_out: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(c_in, c_out, 3, padding=1), nn.GroupNorm(4, c_out), nn.SiLU(),
            nn.Conv2d(c_out, c_out, 3, padding=1), nn.InstanceNorm2d(c_out, affine=True),
            nn.LeakyReLU(0.1),
        )  # fmt: skip

    def forward(self, x):
        kept = []
        for level in self.down:
            x = level(x)
            kept.append(x)
            x = F.max_pool2d(x, 2)
        x = self.middle(x)
        for up, merge in zip(self.up, self.merge, strict=True):
            x = merge(torch.cat([kept.pop(), up(x)], 1))
        return torch.log_softmax(self.out(x), 1)


class ConvNeXtBlock(nn.Module):
    """Depthwise 7x7, LayerNorm over channels last, GELU, a learned scale (Liu et al. 2022)."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.wide = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x):
        h = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        h = self.scale * self.narrow(F.gelu(self.wide(h)))
        return x + h.permute(0, 3, 1, 2)


class VAE(nn.Module):
    """An autoencoder with the noise as an input, or drawn inside and given back (Kingma 2014)."""

    def __init__(self, draws: bool = False) -> None:
        super().__init__()
        self.draws = draws
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 8, 4, 2, 1), nn.ELU(), nn.Conv2d(8, 16, 4, 2, 1), nn.ELU(), nn.Flatten()
        )
        self.mean = nn.Linear(256, 6)
        self.log_variance = nn.Linear(256, 6)
        self.decoder = nn.Sequential(
            nn.Linear(6, 256), nn.ELU(), nn.Unflatten(1, (16, 4, 4)),
            nn.ConvTranspose2d(16, 8, 4, 2, 1), nn.ELU(), nn.ConvTranspose2d(8, 1, 4, 2, 1),
        )  # fmt: skip

    def forward(self, x, noise=None):
        h = self.encoder(x)
        mean, log_variance = self.mean(h), self.log_variance(h)
        if noise is None:
            noise = torch.randn_like(mean)
        image = torch.sigmoid(self.decoder(mean + noise * torch.exp(0.5 * log_variance)))
        divergence = -0.5 * (1 + log_variance - mean.pow(2) - log_variance.exp()).sum(1)
        return (image, divergence, noise) if self.draws else (image, divergence)

"""Networks for images. Each is written once: `lib` is `torch` or `toolkit`."""

from __future__ import annotations

from itertools import pairwise
from typing import Any


def vgg16(lib: Any, width: int = 64, side: int = 7, hidden: int = 4096, classes: int = 1000) -> Any:
    """VGG-16 (Simonyan and Zisserman, 2015): 13 3x3 convolutions, three wide layers.

    `side`: of the last image, a 32nd of the first's.
    """
    nn = lib.nn
    layers: list[Any] = []
    before = 3
    for times, count in ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3)):
        for _ in range(count):
            layers += [nn.Conv2d(before, times * width, 3, padding=1), nn.ReLU()]
            before = times * width
        layers.append(nn.MaxPool2d(2))
    sizes = (before * side**2, hidden, hidden)
    head = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers, nn.Flatten(), *head, nn.Linear(hidden, classes))


def resnet18(lib: Any, classes: int = 1000, small: bool = False) -> Any:
    """ResNet-18 (He et al., 2016); `small`: a 3x3 stem without pooling, for 32x32 images."""
    return _resnet(lib, 1, (2, 2, 2, 2), classes, small)


def resnet50(lib: Any) -> Any:
    """ResNet-50, with the stride in the 3x3 convolution, as torchvision has it."""
    return _resnet(lib, 4, (3, 4, 6, 3), 1000, False)


def _resnet(lib: Any, expansion: int, depths: tuple[int, ...], classes: int, small: bool) -> Any:
    nn, F = lib.nn, lib.nn.functional

    def conv(before: int, after: int, kernel: int, stride: int = 1) -> Any:
        layer = nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False)
        return nn.Sequential(layer, nn.BatchNorm2d(after))

    class Block(nn.Module):
        """Two 3x3 convolutions, or with an expansion 1x1, 3x3, 1x1, beside a shortcut."""

        def __init__(self, before: int, width: int, stride: int) -> None:
            super().__init__()
            after = width * expansion
            if expansion == 1:
                parts = [conv(before, width, 3, stride), nn.ReLU(), conv(width, after, 3)]
            else:
                parts = [conv(before, width, 1), nn.ReLU(), conv(width, width, 3, stride)]
                parts += [nn.ReLU(), conv(width, after, 1)]
            self.main = nn.Sequential(*parts)
            same = stride == 1 and before == after
            self.shortcut = nn.Identity() if same else conv(before, after, 1, stride)

        def forward(self, x: Any) -> Any:
            return F.relu(self.main(x) + self.shortcut(x))

    stem = [conv(3, 64, 3), nn.ReLU()] if small else [conv(3, 64, 7, 2), nn.ReLU()]
    if not small:
        stem.append(nn.MaxPool2d(3, 2, 1))
    blocks = []
    before = 64
    for stage, depth in enumerate(depths):
        width = 64 * 2**stage
        for i in range(depth):
            blocks.append(Block(before, width, 2 if stage and i == 0 else 1))
            before = width * expansion
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes)]
    return nn.Sequential(*stem, *blocks, *head)


def mobilenet_v2(lib: Any) -> Any:
    """MobileNetV2 (Sandler et al., 2018): inverted residuals with depthwise convolutions."""
    nn = lib.nn

    def conv(before: int, after: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> list:
        layer = nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False)
        return [layer, nn.BatchNorm2d(after)]

    class Block(nn.Module):
        def __init__(self, before: int, after: int, stride: int, expansion: int) -> None:
            super().__init__()
            width = before * expansion
            wide = [*conv(before, width), nn.ReLU6()] if expansion > 1 else []
            deep = [*conv(width, width, 3, stride, width), nn.ReLU6()]
            self.main = nn.Sequential(*wide, *deep, *conv(width, after))
            self.residual = stride == 1 and before == after

        def forward(self, x: Any) -> Any:
            return x + self.main(x) if self.residual else self.main(x)

    rows = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
            (6, 160, 3, 2), (6, 320, 1, 1))  # fmt: skip
    layers: list[Any] = [*conv(3, 32, 3, 2), nn.ReLU6()]
    before = 32
    for expansion, after, count, stride in rows:
        for i in range(count):
            layers.append(Block(before, after, stride if i == 0 else 1, expansion))
            before = after
    layers += [*conv(before, 1280), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(1280, 1000))


def convnext_tiny(
    lib: Any, width: int = 96, depths: tuple[int, ...] = (3, 3, 9, 3), classes: int = 1000
) -> Any:
    """ConvNeXt-T (Liu et al., 2022): 7x7 depthwise, LayerNorm and a wide layer, channels last."""
    nn = lib.nn

    class Norm(nn.Module):
        """LayerNorm over the channels of NCHW."""

        def __init__(self, width: int) -> None:
            super().__init__()
            self.norm = nn.LayerNorm(width, eps=1e-6)

        def forward(self, x: Any) -> Any:
            return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    class Block(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.deep = nn.Conv2d(width, width, 7, padding=3, groups=width)
            self.norm = nn.LayerNorm(width, eps=1e-6)
            self.wide = nn.Linear(width, 4 * width)
            self.act = nn.GELU()
            self.narrow = nn.Linear(4 * width, width)
            self.gamma = nn.Parameter(lib.ones(width))

        def forward(self, x: Any) -> Any:
            y = self.norm(self.deep(x).permute(0, 2, 3, 1))
            y = self.gamma * self.narrow(self.act(self.wide(y)))
            return x + y.permute(0, 3, 1, 2)

    layers: list[Any] = [nn.Conv2d(3, width, 4, 4), Norm(width)]
    for stage, depth in enumerate(depths):
        if stage:
            layers += [Norm(width), nn.Conv2d(width, 2 * width, 2, 2)]
            width *= 2
        layers += [Block(width) for _ in range(depth)]
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(width, eps=1e-6)]
    return nn.Sequential(*layers, nn.Linear(width, classes))


def unet(lib: Any, width: int = 64, classes: int = 2) -> Any:
    """U-Net (Ronneberger et al., 2015) with padded 3x3 convolutions and BatchNorm."""
    nn = lib.nn

    def double(before: int, after: int) -> Any:
        parts = []
        for channels in (before, after):
            parts += [nn.Conv2d(channels, after, 3, padding=1, bias=False)]
            parts += [nn.BatchNorm2d(after), nn.ReLU()]
        return nn.Sequential(*parts)

    class UNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            widths = [width * 2**i for i in range(5)]
            self.down = nn.ModuleList([double(a, b) for a, b in pairwise([3, *widths])])
            self.pool = nn.MaxPool2d(2)
            pairs = list(pairwise(reversed(widths)))
            self.grow = nn.ModuleList([nn.ConvTranspose2d(a, b, 2, 2) for a, b in pairs])
            self.up = nn.ModuleList([double(a, b) for a, b in pairs])
            self.head = nn.Conv2d(width, classes, 1)

        def forward(self, x: Any) -> Any:
            kept = []
            for i, layer in enumerate(self.down):
                x = layer(self.pool(x) if i else x)
                kept.append(x)
            kept.pop()
            for grow, layer in zip(self.grow, self.up, strict=True):
                x = layer(lib.cat([kept.pop(), grow(x)], 1))
            return self.head(x)

    return UNet()


def mnist_convnet(lib: Any) -> Any:
    """The network of PyTorch's basic MNIST example; scores, not log-probabilities."""
    nn = lib.nn
    return nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(),
        nn.Conv2d(32, 64, 3), nn.ReLU(),
        nn.MaxPool2d(2), nn.Dropout(0.25), nn.Flatten(),
        nn.Linear(9216, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10),
    )  # fmt: skip

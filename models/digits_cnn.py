"""A small convolutional network for scikit-learn's 8x8 digits."""

from __future__ import annotations

from collections.abc import Sequence

from toolkit import nn
from toolkit.tensor import Tensor


def _block(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()
    )


class DigitsCNN(nn.Module):
    """Three 3x3 convolutions with BatchNorm, two poolings, Dropout, one linear layer."""

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 1,
        image_size: Sequence[int] = (8, 8),
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(
            _block(in_channels, 32),
            _block(32, 64),
            nn.MaxPool2d(2),
            _block(64, 64),
            nn.MaxPool2d(2),
        )
        pixels = (image_size[0] // 4) * (image_size[1] // 4)
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Dropout(dropout), nn.Linear(64 * pixels, num_classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, 8, 8) to scores (N, 10)."""
        return self.classifier(self.features(x))  # type: ignore[no-any-return]

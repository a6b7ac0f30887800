"""The network of PyTorch's basic MNIST example (pytorch/examples, mnist/main.py)."""

from __future__ import annotations

from collections.abc import Sequence

from toolkit import nn
from toolkit.nn import functional as F
from toolkit.tensor import Tensor


class MnistCNN(nn.Module):
    """Two 3x3 convolutions, pooling, two linear layers, Dropout; log-probabilities."""

    def __init__(
        self, num_classes: int = 10, in_channels: int = 1, image_size: Sequence[int] = (28, 28)
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 32, 3, 1)
        self.conv2 = nn.Conv2d(32, 64, 3, 1)
        self.dropout1 = nn.Dropout(0.25)
        self.dropout2 = nn.Dropout(0.5)
        pixels = ((image_size[0] - 4) // 2) * ((image_size[1] - 4) // 2)
        self.fc1 = nn.Linear(64 * pixels, 128)
        self.fc2 = nn.Linear(128, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, 28, 28) to log-probabilities (N, 10)."""
        x = F.relu(self.conv1(x))
        x = F.relu(self.conv2(x))
        x = F.max_pool2d(x, 2)
        x = self.dropout1(x).flatten(1)
        x = self.dropout2(F.relu(self.fc1(x)))
        return F.log_softmax(self.fc2(x), dim=1)

"""A fully connected network for images or feature rows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from toolkit import nn
from toolkit.tensor import Tensor


class MLP(nn.Module):
    """Linear layers with ReLU between them.

    Args:
        in_features: elements of one sample; images are flattened.
        hidden: widths of the hidden layers.
        num_classes: outputs.
    """

    def __init__(
        self, in_features: int = 784, hidden: Sequence[int] = (128, 64), num_classes: int = 10
    ) -> None:
        super().__init__()
        widths = [in_features, *hidden]
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], num_classes))

    def forward(self, x: Tensor) -> Tensor:
        """(N, ...) to scores (N, num_classes)."""
        return self.layers(x)  # type: ignore[no-any-return]

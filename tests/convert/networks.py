"""The networks whose artifacts onnxruntime-training made, as torch modules, and their batches."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

STEPS = 20


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(8, 16)
        self.b = nn.Linear(16, 4)

    def forward(self, x):
        return self.b(torch.relu(self.a(x)))


class Dropped(Mlp):
    """Half of the hidden values are dropped."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        return self.b(self.drop(torch.relu(self.a(x))))


class Conv(nn.Module):
    """BatchNorm in training, both pools, a convolution without bias."""

    def __init__(self) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.c2 = nn.Conv2d(4, 6, 3, padding=1, bias=False)
        self.head = nn.Linear(24, 5)

    def forward(self, x):
        x = F.max_pool2d(torch.relu(self.norm(self.c1(x))), 2)
        x = F.avg_pool2d(F.leaky_relu(self.c2(x), 0.1), 2)
        return self.head(x.flatten(1))


class Transformer(nn.Module):
    """One block over tokens: embedding, LayerNorm, attention, Gelu."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 16)
        self.norm1, self.norm2 = nn.LayerNorm(16), nn.LayerNorm(16)
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)
        self.up, self.down = nn.Linear(16, 32), nn.Linear(32, 16)
        self.head = nn.Linear(16, 11)

    def forward(self, tokens):
        x = self.embed(tokens)
        n, length, _ = x.shape
        q, k, v = (
            t.reshape(n, length, 2, 8).transpose(1, 2) for t in self.qkv(self.norm1(x)).chunk(3, -1)
        )
        weights = torch.softmax(q @ k.transpose(-1, -2) / 8**0.5, -1)
        x = x + self.out((weights @ v).transpose(1, 2).reshape(n, length, 16))
        x = x + self.down(F.gelu(self.up(self.norm2(x))))
        return self.head(x).mean(1)


class Recurrent(nn.Module):
    """An LSTM and a GRU, each of its last step."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.gru = nn.LSTM(3, 6), nn.GRU(6, 5)
        self.head = nn.Linear(5, 2)

    def forward(self, x):
        return self.head(self.gru(self.lstm(x)[0])[0][-1])


# Case -> network, opset of its export, loss, optimizer, learning rate.
CASES = {
    "mlp_adamw": (Mlp, 17, "ce", "adamw", 0.01),
    "mlp_torch_adamw": (Mlp, 17, "ce", "torch_adamw", 0.01),
    "mlp_clip": (Mlp, 14, "mse", "clip", 0.01),
    "mlp_bce": (Mlp, 17, "bce", "sgd", 0.1),
    "mlp_l1": (Mlp, 12, "l1", "adamw", 0.01),
    "conv_sgd": (Conv, 17, "ce", "sgd", 0.1),
    "transformer": (Transformer, 14, "ce", "adamw", 0.01),
    "recurrent": (Recurrent, 17, "mse", "adamw", 0.01),
}
# onnxruntime stops at the pools of a symbolic batch, and draws other masks.
NOT_RUN = {
    "conv_any": (Conv, 17, "ce", "sgd", 0.1),
    "dropout": (Dropped, 15, "ce", "sgd", 0.1),
}
RESUMED = ("mlp_adamw", "conv_sgd")  # Their checkpoints hold optimizer state.
LOSSES = {
    "ce": F.cross_entropy,
    "mse": F.mse_loss,
    "l1": F.l1_loss,
    "bce": F.binary_cross_entropy_with_logits,
}


def batches(case: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The batches of all steps: (input, target)."""
    kind, _, loss, _, _ = (CASES | NOT_RUN)[case]
    rng = np.random.RandomState(7)
    for _ in range(STEPS):
        if issubclass(kind, Mlp):
            x = rng.randn(6, 8)
        elif kind is Conv:
            x = rng.randn(4, 1, 8, 8)
        elif kind is Transformer:
            x = rng.randint(0, 11, (4, 7))
        else:
            x = rng.randn(5, 3, 3)
        count = {
            Mlp: (6, 4),
            Dropped: (6, 4),
            Conv: (4, 5),
            Transformer: (4, 11),
            Recurrent: (3, 2),
        }[kind]
        if loss == "ce":
            y = rng.randint(0, count[1], count[0])
        elif loss == "bce":
            y = rng.rand(*count) > 0.5
        else:
            y = rng.randn(*count)
        x = x.astype(np.int64 if kind is Transformer else np.float32)
        yield x, y.astype(np.int64 if loss == "ce" else np.float32)

"""The reference models in torch, written independently, with the same state_dict keys."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class MLP(nn.Module):
    def __init__(self, in_features=784, hidden=(128, 64), num_classes=10):
        super().__init__()
        sizes = [in_features, *hidden, num_classes]
        layers = [nn.Flatten()]
        for i in range(len(sizes) - 1):
            layers.append(nn.Linear(sizes[i], sizes[i + 1]))
            if i < len(sizes) - 2:
                layers.append(nn.ReLU())
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return self.layers(x)


class DigitsCNN(nn.Module):
    def __init__(self):
        super().__init__()

        def block(a, b):
            conv = nn.Conv2d(a, b, 3, padding=1, bias=False)
            return nn.Sequential(conv, nn.BatchNorm2d(b), nn.ReLU())

        pool = nn.MaxPool2d(2)
        self.features = nn.Sequential(block(1, 32), block(32, 64), pool, block(64, 64), pool)
        self.classifier = nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(256, 10))

    def forward(self, x):
        return self.classifier(self.features(x))


class MnistCNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, 1)
        self.conv2 = nn.Conv2d(32, 64, 3, 1)
        self.dropout1 = nn.Dropout(0.25)
        self.dropout2 = nn.Dropout(0.5)
        self.fc1 = nn.Linear(9216, 128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x):
        x = F.relu(self.conv2(F.relu(self.conv1(x))))
        x = torch.flatten(self.dropout1(F.max_pool2d(x, 2)), 1)
        x = self.dropout2(F.relu(self.fc1(x)))
        return F.log_softmax(self.fc2(x), dim=1)


class BasicBlock(nn.Module):
    def __init__(self, a, b, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(a, b, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(b)
        self.conv2 = nn.Conv2d(b, b, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(b)
        self.shortcut = nn.Sequential()
        if stride != 1 or a != b:
            self.shortcut = nn.Sequential(nn.Conv2d(a, b, 1, stride, bias=False), nn.BatchNorm2d(b))

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class ResNet18(nn.Module):
    def __init__(self, width=64):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        before = width
        for i in range(4):
            planes = width * 2**i
            stage = nn.Sequential(
                BasicBlock(before, planes, 1 if i == 0 else 2), BasicBlock(planes, planes, 1)
            )
            setattr(self, f"layer{i + 1}", stage)
            before = planes
        self.linear = nn.Linear(before, 10)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.linear(x.mean((2, 3)))


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x):
        n, length, d = x.shape
        q, k, v = (
            t.view(n, length, self.heads, -1).transpose(1, 2) for t in self.qkv(x).chunk(3, -1)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.proj(y.transpose(1, 2).reshape(n, length, d))


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.ln1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.ln2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width), nn.Dropout(0.0)
        )

    def forward(self, x):
        x = x + self.attention(self.ln1(x))
        return x + self.mlp(self.ln2(x))


class CharGPT(nn.Module):
    def __init__(self, vocab_size=96, block_size=128, layers=4, heads=6, width=192, tied=False):
        super().__init__()
        self.token = nn.Embedding(vocab_size, width)
        self.position = nn.Embedding(block_size, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocab_size, bias=False)
        if tied:
            self.head.weight = self.token.weight

    def forward(self, x):
        h = self.token(x) + self.position.weight[: x.shape[1]]
        return self.head(self.norm(self.blocks(h)))


def token_cross_entropy(scores, target):
    return F.cross_entropy(scores.flatten(0, 1), target.flatten())


class SVM(nn.Module):
    def __init__(self, kernel="linear", components=512):
        super().__init__()
        if kernel == "rbf":
            self.register_buffer("gamma", torch.empty(()))
            self.register_buffer("frequencies", torch.empty(30, components))
            self.register_buffer("phases", torch.empty(components))
        self.plane = nn.Linear(components if kernel == "rbf" else 30, 1)

    def forward(self, x):
        if hasattr(self, "gamma"):
            angle = x @ self.frequencies * torch.sqrt(2 * self.gamma) + self.phases
            x = torch.cos(angle) * (2 / len(self.phases)) ** 0.5
        s = self.plane(x)
        return torch.cat([-s, s], 1)


def kernel_svm(**options):
    return SVM("rbf", **options)


def hinge_loss(scores, target):
    sign = torch.where(F.one_hot(target, scores.shape[1]) > 0, 1.0, -1.0).to(scores.dtype)
    return torch.clamp(1 - sign * scores, min=0).mean()


class HMM(nn.Module):
    """The scaled forward algorithm in probabilities."""

    def __init__(self, vocab_size=96, states=16):
        super().__init__()
        self.initial = nn.Parameter(torch.empty(states))
        self.transition = nn.Parameter(torch.empty(states, states))
        self.emission = nn.Parameter(torch.empty(states, vocab_size))

    def forward(self, x):
        a, b = self.transition.softmax(-1), self.emission.softmax(-1)
        state, found = self.initial.softmax(-1).expand(len(x), -1), []
        for t in range(x.shape[1]):
            seen = state * b[:, x[:, t]].T
            state = seen / seen.sum(-1, keepdim=True) @ a
            found.append((state @ b).log())
        return torch.stack(found, 1)

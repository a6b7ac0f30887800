"""A trained network gets a new head: frozen layers, weights of samples, EMA, resuming."""

import tempfile
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch.optim import lr_scheduler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler


class BasicBlock(nn.Module):
    def __init__(self, inplanes, planes, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(inplanes, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = None
        if stride != 1 or inplanes != planes:
            self.downsample = nn.Sequential(
                nn.Conv2d(inplanes, planes, 1, stride, bias=False), nn.BatchNorm2d(planes)
            )

    def forward(self, x):
        identity = x
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return F.relu(out)


class ResNet(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.layer1 = BasicBlock(1, 12)
        self.layer2 = BasicBlock(12, 24, 2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(24, num_classes)

    def forward(self, x):
        x = self.avgpool(self.layer2(self.layer1(x)))
        return self.fc(torch.flatten(x, 1))


def train_model(model, loader, optimizer, scheduler, epochs, accumulate=1, ema=None):
    for _ in range(epochs):
        model.train()
        optimizer.zero_grad()
        for i, (inputs, labels) in enumerate(loader):
            loss = F.cross_entropy(model(inputs), labels, label_smoothing=0.05) / accumulate
            loss.backward()
            if (i + 1) % accumulate == 0:
                nn.utils.clip_grad_norm_((p for p in model.parameters() if p.requires_grad), 1.0)
                optimizer.step()
                optimizer.zero_grad()
                if ema is not None:
                    ema.update_parameters(model)
        scheduler.step()


def accuracy(model, loader):
    model.eval()
    with torch.no_grad():
        right = sum((model(x).argmax(1) == y).sum().item() for x, y in loader)
    return right / len(loader.dataset)


def new_head(model):
    model.fc = nn.Linear(model.fc.in_features, 5)
    optimizer = torch.optim.SGD(
        [
            {"params": model.layer2.parameters(), "lr": 0.01},
            {"params": model.fc.parameters(), "lr": 0.1, "weight_decay": 1e-4},
        ],
        momentum=0.9,
        nesterov=True,
    )
    return optimizer, lr_scheduler.CosineAnnealingLR(optimizer, T_max=6)


def continued(model, optimizer, scheduler, loader):
    """Whether a copy that is loaded from a checkpoint does the next epoch in the same bits."""
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint.pt"
        torch.save({"epoch": 5, **{n: part.state_dict() for n, part in parts.items()}}, path)
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    other = ResNet(10)
    other.layer1.requires_grad_(False)
    others = dict(zip(parts, (other, *new_head(other)), strict=True))
    for name, part in others.items():
        part.load_state_dict(checkpoint[name])
    for some in (parts, others):
        train_model(some["model"], loader, some["optimizer"], some["scheduler"], 1)
    pairs = zip(model.state_dict().values(), other.state_dict().values(), strict=True)
    return float(all(torch.equal(a, b) for a, b in pairs))


def main():
    torch.manual_seed(1)
    images, labels = load_digits(return_X_y=True)
    images = torch.from_numpy(images).float().view(-1, 1, 8, 8) / 16
    labels = torch.from_numpy(labels).long()
    low = labels < 5
    first = TensorDataset(images[low], labels[low])
    model = ResNet(5)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    scheduler = lr_scheduler.StepLR(optimizer, 2, 0.5)
    train_model(model, DataLoader(first, 64, shuffle=True), optimizer, scheduler, 4)

    high, kinds = images[~low], labels[~low] - 5
    train_set = TensorDataset(high[:600], kinds[:600])
    test_set = TensorDataset(high[600:], kinds[600:])
    counts = torch.bincount(kinds[:600])
    sampler = WeightedRandomSampler(1.0 / counts[kinds[:600]].double(), 600)
    loader = DataLoader(train_set, batch_size=25, sampler=sampler)
    for param in model.layer1.parameters():
        param.requires_grad = False
    before = model.layer1.conv1.weight.clone()
    optimizer, scheduler = new_head(model)
    ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    train_model(model, loader, optimizer, scheduler, 5, accumulate=2, ema=ema)
    numbers = {"same_bits": continued(model, optimizer, scheduler, list(loader))}
    numbers["frozen"] = float(torch.equal(before, model.layer1.conv1.weight))
    update_bn(loader, ema)
    test_loader = DataLoader(test_set, batch_size=100)
    numbers |= {"accuracy": accuracy(model, test_loader), "average": accuracy(ema, test_loader)}
    return model.eval(), (high[:5],), numbers

"""A Siamese network: do two digits show the same number?"""

import torch
import torch.nn as nn
import torch.optim as optim
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, Dataset


class Pairs(Dataset):
    def __init__(self, images, labels, size):
        super().__init__()
        self.images, self.labels, self.size = images, labels, size
        self.by_class = [torch.nonzero(labels == c).flatten() for c in range(10)]

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        first = torch.randint(len(self.images), (1,)).item()
        label = self.labels[first].item()
        if index % 2 == 0:
            target = torch.tensor(1, dtype=torch.float)
        else:
            label = (label + 1 + torch.randint(9, (1,)).item()) % 10
            target = torch.tensor(0, dtype=torch.float)
        members = self.by_class[label]
        second = members[torch.randint(len(members), (1,)).item()].item()
        return self.images[first], self.images[second], target


class SiameseNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(2),
        )
        self.fc = nn.Sequential(nn.Linear(256, 64), nn.ReLU(inplace=True), nn.Linear(64, 1))
        self.sigmoid = nn.Sigmoid()
        self.features.apply(self.init_weights)
        self.fc.apply(self.init_weights)

    def init_weights(self, m):
        if isinstance(m, nn.Linear):
            torch.nn.init.xavier_uniform_(m.weight)
            m.bias.data.fill_(0.01)

    def forward_once(self, x):
        output = self.features(x)
        return output.view(output.size()[0], -1)

    def forward(self, input1, input2):
        output = torch.cat((self.forward_once(input1), self.forward_once(input2)), 1)
        return self.sigmoid(self.fc(output))


def main():
    torch.manual_seed(1)
    images, labels = load_digits(return_X_y=True)
    images = torch.from_numpy(images).float().view(-1, 1, 8, 8) / 16
    labels = torch.from_numpy(labels)
    train_loader = DataLoader(Pairs(images[:1400], labels[:1400], 2000), 50, shuffle=True)
    test_loader = DataLoader(Pairs(images[1400:], labels[1400:], 500), 100)
    model = SiameseNetwork()
    optimizer = optim.Adam(model.parameters(), lr=0.002)
    criterion = nn.BCELoss()
    for _epoch in range(6):
        model.train()
        for first, second, targets in train_loader:
            optimizer.zero_grad()
            outputs = model(first, second).squeeze()
            loss = criterion(outputs, targets)
            loss.backward()
            optimizer.step()
    model.eval()
    correct = 0
    with torch.no_grad():
        for first, second, targets in test_loader:
            outputs = model(first, second).squeeze()
            pred = torch.where(outputs > 0.5, 1, 0)
            correct += pred.eq(targets.view_as(pred)).sum().item()
    return model, (images[:4], images[4:8]), {"accuracy": correct / 500}

"""Super-resolution of digits by sub-pixel convolution."""

from math import log10

import torch
import torch.nn as nn
import torch.nn.init as init
import torch.optim as optim
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self, upscale_factor):
        super().__init__()
        self.relu = nn.ReLU()
        self.conv1 = nn.Conv2d(1, 32, (5, 5), (1, 1), (2, 2))
        self.conv2 = nn.Conv2d(32, 16, (3, 3), (1, 1), (1, 1))
        self.conv3 = nn.Conv2d(16, upscale_factor**2, (3, 3), (1, 1), (1, 1))
        self.pixel_shuffle = nn.PixelShuffle(upscale_factor)
        self._initialize_weights()

    def forward(self, x):
        x = self.relu(self.conv1(x))
        x = self.relu(self.conv2(x))
        return self.pixel_shuffle(self.conv3(x))

    def _initialize_weights(self):
        init.orthogonal_(self.conv1.weight, init.calculate_gain("relu"))
        init.orthogonal_(self.conv2.weight, init.calculate_gain("relu"))
        init.orthogonal_(self.conv3.weight)


def main():
    torch.manual_seed(123)
    large = torch.tensor(load_digits().images, dtype=torch.float32).unsqueeze(1) / 16
    small = nn.functional.avg_pool2d(large, 2)
    loader = DataLoader(TensorDataset(small[:1000], large[:1000]), batch_size=50, shuffle=True)
    model = Net(2)
    optimizer = optim.Adam(model.parameters(), lr=0.003)
    criterion = nn.MSELoss()
    for _epoch in range(12):
        for x, y in loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        mse = criterion(model(small[1000:]), large[1000:])
        nearest = nn.functional.interpolate(small[1000:], scale_factor=2.0, mode="nearest")
        plain = criterion(nearest, large[1000:])
    return (
        model,
        (small[:3],),
        {"psnr": 10 * log10(1 / mse.item()), "of_plain": (mse / plain).item()},
    )

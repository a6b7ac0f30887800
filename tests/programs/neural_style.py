"""Style and content on one image: features of a frozen network, pixels trained by LBFGS."""

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from sklearn.datasets import load_digits


class ContentLoss(nn.Module):
    def __init__(self, target):
        super().__init__()
        self.target = target.detach()

    def forward(self, input):
        self.loss = F.mse_loss(input, self.target)
        return input


def gram_matrix(input):
    a, b, c, d = input.size()
    features = input.view(a * b, c * d)
    return torch.mm(features, features.t()).div(a * b * c * d)


class StyleLoss(nn.Module):
    def __init__(self, target_feature):
        super().__init__()
        self.target = gram_matrix(target_feature).detach()

    def forward(self, input):
        self.loss = F.mse_loss(gram_matrix(input), self.target)
        return input


class Normalization(nn.Module):
    def __init__(self, mean, std):
        super().__init__()
        self.mean = mean.clone().detach().view(-1, 1, 1)
        self.std = std.clone().detach().view(-1, 1, 1)

    def forward(self, img):
        return (img - self.mean) / self.std


def features():
    """A network whose weights are a formula: bars and edges of all kinds."""
    layers = [nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(8, 16, 3, padding=1)]
    net = nn.Sequential(*layers, nn.ReLU(inplace=True), nn.MaxPool2d(2)).requires_grad_(False)
    for layer in net.children():
        if isinstance(layer, nn.Conv2d):
            n = torch.arange(layer.weight.numel(), dtype=torch.float32)
            layer.weight.copy_((torch.sin(n * 1.7) / 3).view_as(layer.weight))
            layer.bias.zero_()
    return net.eval()


def main():
    torch.manual_seed(0)
    images = torch.from_numpy(load_digits().images).float().unsqueeze(1) / 16
    content_img, style_img = images[0:1].repeat(1, 1, 2, 2), images[7:8].repeat(1, 1, 2, 2)
    model = nn.Sequential(Normalization(torch.tensor([0.3]), torch.tensor([0.4])))
    content_losses, style_losses, i = [], [], 0
    for layer in features().children():
        if isinstance(layer, nn.Conv2d):
            i += 1
            name = f"conv_{i}"
        elif isinstance(layer, nn.ReLU):
            name = f"relu_{i}"
            layer = nn.ReLU(inplace=False)
        else:
            name = f"pool_{i}"
        model.add_module(name, layer)
        if name == "conv_2":
            content_losses.append(ContentLoss(model(content_img)))
            model.add_module("content_loss", content_losses[-1])
        if name.startswith("conv"):
            style_losses.append(StyleLoss(model(style_img)))
            model.add_module(f"style_loss_{i}", style_losses[-1])
    input_img = content_img.clone()
    input_img.requires_grad_(True)
    model.eval()
    model.requires_grad_(False)
    optimizer = optim.LBFGS([input_img])
    run, first = [0], []
    while run[0] <= 60:

        def closure():
            with torch.no_grad():
                input_img.clamp_(0, 1)
            optimizer.zero_grad()
            model(input_img)
            style_score = sum(sl.loss for sl in style_losses) * 100
            content_score = sum(cl.loss for cl in content_losses)
            loss = style_score + content_score
            loss.backward()
            run[0] += 1
            first.append(loss.item())
            return loss

        optimizer.step(closure)
    with torch.no_grad():
        input_img.clamp_(0, 1)
    numbers = {"part": min(first) / first[0], "mean": input_img.mean().item()}
    plain = [m for m in model.children() if not isinstance(m, (ContentLoss, StyleLoss))]
    return nn.Sequential(*plain), (input_img.detach(),), numbers

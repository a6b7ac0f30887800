"""An autoencoder with tied weights, its own autograd function, hooks, and a search for the rate."""

import copy

import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch.autograd import Function, gradcheck
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR


class SoftSign(Function):
    @staticmethod
    def forward(ctx, x, slope):
        ctx.save_for_backward(x)
        ctx.slope = slope
        return x * slope / (1 + (x * slope).abs())

    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        return grad_output * ctx.slope / (1 + (x * ctx.slope).abs()) ** 2, None


class Centered(nn.Module):
    """Takes away the running mean of what came in training."""

    def __init__(self, size, momentum=0.1):
        super().__init__()
        self.momentum = momentum
        self.register_buffer("running_mean", torch.zeros(size))

    def forward(self, x):
        if self.training:
            with torch.no_grad():
                self.running_mean.lerp_(x.mean(dim=0), self.momentum)
        return x - self.running_mean


class Autoencoder(nn.Module):
    def __init__(self, inputs=64, code=12):
        super().__init__()
        self.center = Centered(inputs)
        self.encoder = nn.Linear(inputs, code)
        self.bias = nn.Parameter(torch.zeros(inputs))

    def forward(self, x):
        code = SoftSign.apply(self.encoder(self.center(x)), 2.0)
        return F.linear(code, self.encoder.weight.t(), self.bias) + self.center.running_mean


def find_lr(model, data, lowest=1e-4, steps=60):
    """The rate at which the loss fell fastest, as it is raised step by step."""
    trial = copy.deepcopy(model)
    optimizer = torch.optim.Adam(trial.parameters(), lr=lowest)
    scheduler = LambdaLR(optimizer, lambda step: 10 ** (step / 20))
    losses, rates = [], []
    for i in range(steps):
        optimizer.zero_grad()
        batch = data[i * 25 % 1500 :][:25]
        loss = F.mse_loss(trial(batch), batch)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        rates.append(scheduler.get_last_lr()[0])
        scheduler.step()
        if losses[-1] > 4 * min(losses):
            break
    return rates[losses.index(min(losses))] / 10


def main():
    torch.manual_seed(0)
    x = torch.randn(3, 4, dtype=torch.double, requires_grad=True)
    checked = gradcheck(lambda x: SoftSign.apply(x, 0.7), (x,))
    data = torch.from_numpy(load_digits().data).float() / 16
    model = Autoencoder()
    model.encoder.reset_parameters()
    norms, codes = [], []
    model.encoder.register_full_backward_hook(lambda m, gi, go: norms.append(go[0].norm().item()))
    handle = model.encoder.register_forward_hook(lambda m, args, out: codes.append(out.detach()))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for group in optimizer.param_groups:
        group["lr"] = find_lr(model, data)
    del norms[:], codes[:]
    epochs, batches = 30, 15
    scheduler = OneCycleLR(optimizer, max_lr=0.02, total_steps=epochs * batches)
    for _ in range(epochs):
        for batch in torch.split(data[torch.randperm(1500)], 100):
            optimizer.zero_grad(set_to_none=False)
            loss = F.mse_loss(model(batch), batch)
            loss.backward()
            optimizer.step()
            scheduler.step()
    calls = len(norms) == len(codes) == epochs * batches
    handle.remove()
    model.eval()
    with torch.no_grad():
        test = F.mse_loss(model(data[1500:]), data[1500:]).item()
    numbers = {"checked": float(checked), "hooks": float(calls and len(codes) == 450)}
    numbers |= {"loss": test, "center": model.center.running_mean.sum().item()}
    return model, (data[:6],), numbers

"""Polynomial regression by hand-written gradient descent, then the same by autograd."""

import torch


def fit_by_hand(x, y, terms, rate, steps):
    weights = torch.zeros(terms, 1)
    powers = torch.cat([x**k for k in range(1, terms + 1)], 1)
    bias = torch.zeros(1)
    for _ in range(steps):
        y_pred = powers.mm(weights) + bias
        grad_y = 2.0 * (y_pred - y) / len(y)
        weights -= rate * powers.t().mm(grad_y)
        bias -= rate * grad_y.sum(0)
    return (powers.mm(weights) + bias - y).pow(2).mean().item(), weights


class Polynomial(torch.nn.Module):
    def __init__(self, terms):
        super().__init__()
        self.terms = terms
        self.weight = torch.nn.Parameter(torch.zeros(terms, 1))
        self.bias = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return torch.cat([x**k for k in range(1, self.terms + 1)], 1) @ self.weight + self.bias


def main():
    torch.manual_seed(0)
    x = torch.linspace(-1, 1, 200).unsqueeze(1)
    y = torch.sin(3 * x) + 0.5
    by_hand, weights = fit_by_hand(x, y, 4, 0.3, 800)

    model = Polynomial(4)
    for _ in range(800):
        loss = (model(x) - y).pow(2).mean()
        loss.backward()
        with torch.no_grad():
            for param in model.parameters():
                param -= 0.3 * param.grad
                param.grad = None
    numbers = {"by_hand": by_hand, "by_autograd": loss.item()}
    numbers |= {f"weight_{k}": w.item() for k, w in enumerate(weights)}
    numbers |= {f"parameter_{k}": w.item() for k, w in enumerate(model.weight)}
    return model, (x[:7],), numbers

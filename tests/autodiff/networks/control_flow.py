"""Networks with loops and conditions, for each exporter as it takes them."""

from __future__ import annotations

import torch
from torch import nn
from torch._higher_order_ops.scan import scan
from torch._higher_order_ops.while_loop import while_loop


class LoopRNN(nn.Module):
    """A Python loop over time; scripted, it is a Loop."""

    def __init__(self) -> None:
        super().__init__()
        self.input = nn.Linear(5, 8)
        self.hidden = nn.Linear(8, 8)
        self.out = nn.Linear(8, 3)

    def forward(self, x):
        h = torch.zeros(x.size(0), 8)
        for t in range(x.size(1)):
            h = torch.tanh(self.input(x[:, t]) + self.hidden(h))
        return self.out(h)


class ScanRNN(LoopRNN):
    """The same by torch's scan, with the outputs of all steps."""

    def forward(self, x):
        def step(h, u):
            h = torch.tanh(self.input(u) + self.hidden(h))
            return h, self.out(h)

        start = x.new_zeros(x.size(0), 8)
        last, made = scan(step, start, x.transpose(0, 1))
        return self.out(last), made


class WhileRNN(LoopRNN):
    """The same by torch's while_loop, which has no gradient in torch: `loop` is its oracle."""

    def forward(self, x):
        def more(t, h):
            return t < x.size(1)

        def step(t, h):
            u = torch.index_select(x, 1, t.reshape(1)).squeeze(1)
            return t + 1, torch.tanh(self.input(u) + self.hidden(h))

        start = (torch.tensor(0), x.new_zeros(x.size(0), 8))
        return self.out(while_loop(more, step, start)[1])


class ScriptedGate(nn.Module):
    """One branch or the other, by the data; scripted, it is an If."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(5, 8)
        self.left = nn.Linear(8, 4)
        self.right = nn.Linear(8, 4)

    def forward(self, x):
        h = torch.relu(self.first(x))
        y = torch.tanh(self.left(h)) if bool(x.sum() > 0) else self.right(h) * h.mean()
        return y * 2.0


class CondGate(ScriptedGate):
    """The same by torch.cond."""

    def forward(self, x):
        h = torch.relu(self.first(x))
        y = torch.cond(
            x.sum() > 0,
            lambda h: torch.tanh(self.left(h)),
            lambda h: self.right(h) * h.mean(),
            (h,),
        )
        return y * 2.0

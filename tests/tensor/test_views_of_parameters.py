"""Views whose place on the tape stays the same when their memory is written to."""

import numpy as np
import pytest
from against import tk, torch
from torch.utils.checkpoint import checkpoint as torch_checkpoint

from toolkit.utils.checkpoint import checkpoint

W = np.arange(12, dtype="f4").reshape(3, 4) / 10
X = np.arange(8, dtype="f4").reshape(2, 4) / 10
VIEWS = {
    "reshape": lambda w: w.reshape(4, 3),
    "transpose": lambda w: w.t(),
    "two": lambda w: w.t().reshape(2, 6)[:, :3].reshape(-1)[:4],
    "rows": lambda w: w[0],
    "diagonal": lambda w: w[:, :3].diagonal().expand(4, 3),
}


def network(m, check, view, how):
    class Net(m.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = m.nn.Parameter(m.tensor(W))

        def forward(self, x):
            w = VIEWS[view](self.weight)
            if how == "argument":
                return check(lambda x, w: (x @ w).exp(), x, w, use_reentrant=False)
            return check(lambda x: (x @ w).exp(), x, use_reentrant=False)

    return Net()


@pytest.mark.parametrize("how", ["argument", "closure"])
@pytest.mark.parametrize("view", VIEWS)
def test_a_checkpoint_on_a_view_of_a_parameter(view, how):
    grads = []
    for m, check in ((tk, checkpoint), (torch, torch_checkpoint)):
        net = network(m, check, view, how)
        for _ in range(2):  # The second pass begins with a record that was freed.
            (net(m.tensor(X)).sum() + VIEWS[view](net.weight).square().sum()).backward()
        grads.append(net.weight.grad.numpy())
    np.testing.assert_allclose(*grads, rtol=1e-5, atol=1e-6)


def test_a_hook_on_a_view_of_a_parameter():
    found = []
    for m in (tk, torch):
        w = m.nn.Parameter(m.tensor(W))
        v = w.t()
        seen = []
        v.register_hook(seen.append)
        v.retain_grad()
        (v.square().sum() + (v * 3).sum()).backward()
        found.append([seen[0].numpy(), v.grad.numpy(), w.grad.numpy()])
    for got, want in zip(*found, strict=True):
        np.testing.assert_allclose(got, want)


def test_a_view_reads_memory_that_was_written_to():
    found = []
    for m in (tk, torch):
        w = m.nn.Parameter(m.tensor(W))
        v = w.reshape(4, 3)
        v.square().sum()
        w.detach().numpy()[:] = 2
        (v * v).sum().backward()
        found.append(w.grad.numpy())
    np.testing.assert_allclose(*found)


def test_a_detached_leaf_stays_one_when_its_base_is_written_to():
    found = []
    for m in (tk, torch):
        base = m.tensor(W)
        x = base.detach().requires_grad_()
        base.add_(1)
        assert x.requires_grad
        x.square().sum().backward()
        found.append(x.grad.numpy())
    np.testing.assert_allclose(*found)

"""What is said of a loss that is not finite: where it was, and which value was the first."""

from __future__ import annotations

import numpy as np
import pytest

import toolkit as tk
from toolkit import errors, nn, optim
from toolkit.train import Trainer, TrainStep


class Net(nn.Module):
    """The root of a negative number in the middle."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 4)
        self.head = nn.Linear(4, 1)

    def forward(self, x):
        return self.head(tk.sqrt(self.fc(x)))


def batches(count=3):
    rng = np.random.default_rng(0)
    return [
        (rng.random((5, 3)).astype(np.float32), rng.random((5, 1)).astype(np.float32))
        for _ in range(count)
    ]


def trainer(net, rate=0.01, **options):
    step = TrainStep(net, nn.MSELoss(), optim.SGD(net.parameters(), lr=rate))
    return Trainer(step, progress=False, **options)


def positive():
    tk.manual_seed(0)
    net = Net()
    with tk.no_grad():
        for p in net.fc.parameters():
            p.fill_(0.5)
    return net


def test_the_first_value_is_named():
    data = batches()
    data[2] = (-9 * data[2][0], data[2][1])
    made = trainer(positive(), detect_nan=True)
    with pytest.raises(
        errors.ToolkitError,
        match=r"finite loss is required, got nan in epoch 0, batch 2\. It was batch 2 of the run, "
        r"at learning rate 0\.01\. The first that was not finite: '\S+' of Sqrt\(.*\), in 20 of "
        r"20 elements\. The states are those from before the step\.",
    ):
        made.fit(data)
    assert all(np.isfinite(a).all() for a in made.step.state_dict().values())
    want = trainer(positive())
    want.fit(data[:2])
    for name, array in want.step.state_dict().items():
        np.testing.assert_array_equal(made.step.state_dict()[name], array)


def test_a_gradient_is_named_before_the_loss_is_lost():
    """sqrt'(0) is infinite; 0 times it is nan. The loss of this step is finite."""
    data = batches(2)
    data[1] = (np.full_like(data[1][0], -1 / 3), data[1][1])
    net = positive()
    with pytest.raises(
        errors.ToolkitError, match=r"a finite state 'fc\.\w+' is required in epoch 0, batch 1\..*"
        r"The first that was not finite: '\S+' of \w+\("
    ):  # fmt: skip
        trainer(net, rate=0.0, detect_nan=True).fit(data)


def test_without_watching_the_batch_is_looked_at():
    data = batches()
    data[1][0][2, 1] = np.inf
    with pytest.raises(errors.ToolkitError) as caught:
        trainer(positive()).fit(data)
    text = str(caught.value)
    assert "epoch 0, batch 1" in text
    assert "Input 0 of the batch holds 1 values that are not finite." in text
    data = batches()
    data[0][1][:2] = np.nan
    with pytest.raises(errors.ToolkitError, match="The target of the batch holds 2 values"):
        trainer(positive()).fit(data)
    with pytest.raises(errors.ToolkitError, match=r"detect_nan names the first value"):
        trainer(positive()).fit([(-9 * x, y) for x, y in batches()])


def test_a_state_that_was_bad_before():
    net = positive()
    with tk.no_grad():
        net.head.weight.fill_(float("inf"))
    with pytest.raises(errors.ToolkitError, match=r"the state 'head\.weight' before the step \(4 "):
        trainer(net, detect_nan=True).fit(batches())

"""Programs as PyTorch's users write them, run with only the import changed."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest

TENSORS = """
dtype = torch.float
device = torch.device("cpu")
a = torch.randn(2, 3, device=device, dtype=dtype)
print(a)
b = torch.randn(2, 3, device=device, dtype=dtype)
print(b)
print(a * b)
print(a.sum())
print(a[1, 2])
print(a.max())
"""

NETWORK = """
class NeuralNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.flatten = nn.Flatten()
        self.linear_relu_stack = nn.Sequential(
            nn.Linear(28 * 28, 512),
            nn.ReLU(),
            nn.Linear(512, 512),
            nn.ReLU(),
            nn.Linear(512, 10),
        )

    def forward(self, x):
        x = self.flatten(x)
        logits = self.linear_relu_stack(x)
        return logits

model = NeuralNetwork()
print(model)
"""


def run(program: str, header: str, **names: object) -> tuple[str, dict[str, object]]:
    """What the program prints, and its names."""
    scope: dict[str, object] = dict(names)
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        exec(header + program, scope)
    return text.getvalue(), scope


def test_tensors_print_as_torch_prints_them():
    ours, scope = run(TENSORS, "import toolkit as torch\n")
    arrays = [np.asarray(scope[name]) for name in "ab"]

    class Torch:
        """torch, whose next random tensors are those that we drew."""

        def __getattr__(self, name):
            import torch

            return getattr(torch, name)

        def randn(self, *shape, **options):
            import torch

            array = arrays.pop(0)
            assert array.shape == shape
            return torch.tensor(array)

    theirs, _ = run(TENSORS, "", torch=Torch())
    assert ours == theirs


def test_network_is_built_printed_and_called():
    torch = pytest.importorskip("torch")
    ours, scope = run(NETWORK, "import toolkit\nfrom toolkit import nn\n")
    theirs, peer = run(NETWORK, "import torch\nfrom torch import nn\n")
    assert ours == theirs
    model, twin = scope["model"], peer["model"]
    twin.load_state_dict(
        {k: torch.tensor(np.array(v)) for k, v in model.state_dict().items()}, strict=True
    )
    x = np.random.default_rng(0).standard_normal((3, 1, 28, 28)).astype(np.float32)
    logits = model(scope["toolkit"].tensor(x))
    np.testing.assert_allclose(
        logits.detach().numpy(), twin(torch.tensor(x)).detach().numpy(), rtol=1e-5, atol=1e-5
    )

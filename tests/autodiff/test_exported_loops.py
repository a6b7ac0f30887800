"""A loop as torch exports it: list appends as a Loop of sequences, an If inside, sizes unknown."""

import io

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from toolkit.autodiff import grad_model
from toolkit.runtime import InferenceSession


class Recurrent(torch.nn.Module):
    """Steps in Python, which depend on the data."""

    def __init__(self):
        super().__init__()
        self.input = torch.nn.Linear(5, 3)
        self.hidden = torch.nn.Linear(3, 3)

    def forward(self, x):
        h = torch.zeros(x.size(1), 3)
        made = []
        for i in range(x.size(0)):
            h = torch.tanh(self.input(x[i]) + self.hidden(h))
            if bool(h.sum() > 0):
                h = h * 0.5
            made.append(h)
        return torch.stack(made)


@pytest.mark.filterwarnings("ignore")
def test_gradients_equal_torch():
    torch.manual_seed(0)
    net = Recurrent()
    file = io.BytesIO()
    torch.onnx.export(
        torch.jit.script(net), (torch.randn(4, 2, 5),), file, opset_version=17, dynamo=False,
        input_names=["x"], output_names=["y"], dynamic_axes={"x": {0: "T", 1: "B"}},
    )  # fmt: skip
    weights = dict(net.named_parameters())
    graded = grad_model(file.getvalue(), ["x", *weights], opset=17)
    onnx.checker.check_model(graded, full_check=True)
    text = graded.SerializeToString()
    theirs = onnxruntime.InferenceSession(text, providers=["CPUExecutionProvider"])
    for steps, batch in ((4, 2), (7, 3)):
        x = torch.randn(steps, batch, 5, requires_grad=True)
        net.zero_grad()
        y = net(x)
        dy = torch.randn(y.shape)
        y.backward(dy)
        feeds = {"x": x.detach().numpy(), "d_y": dy.numpy()}
        for session in (InferenceSession(text), theirs):
            value, *grads = session.run(None, feeds)
            np.testing.assert_allclose(value, y.detach().numpy(), rtol=1e-5, atol=1e-6)
            for want, got in zip([x, *weights.values()], grads, strict=True):
                np.testing.assert_allclose(got, want.grad.numpy(), rtol=1e-4, atol=1e-5)

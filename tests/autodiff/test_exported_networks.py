"""Networks that torch exported, by both of its exporters: their gradients beside torch's autograd.

One gradient graph serves two batch sizes, in our runtime and in onnxruntime, and the file loaded as
a module gives the same by `backward`.
"""

from __future__ import annotations

import functools

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import toolkit as tk
from tests import tolerances
from tests.autodiff.networks.exporting import BATCHES, Weights, build, export
from tests.autodiff.networks.table import DYNAMO, NETWORKS, SCRIPT, Network, combinations
from toolkit.autodiff import grad_model
from toolkit.runtime import InferenceSession

Arrays = dict[str, np.ndarray]
TIED = ("bert", "gpt", "gpt-written")  # Their exporters write the table a second time, transposed.
by_name = {network.name: network for network in NETWORKS}


@functools.cache
def networks(name: str) -> tuple[torch.nn.Module, torch.nn.Module]:
    """The module that is exported, and the one whose gradients are right."""
    network = by_name[name]
    net = build(network)
    return net, network.oracle(net) if network.oracle else net


@functools.cache
def torch_says(name: str, batch: int) -> tuple[Arrays, Arrays, list, Arrays]:
    """Inputs, cotangents, outputs, and gradients of the inputs and the weights."""
    oracle = networks(name)[1]
    torch.manual_seed(batch)
    inputs = by_name[name].inputs(batch)
    for x in inputs:
        x.requires_grad_(x.is_floating_point())
    oracle.zero_grad()
    outputs = oracle(*inputs)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    dys = [torch.randn(y.shape) for y in outputs]
    torch.autograd.backward(outputs, dys)
    feeds = {f"input{i}": x.detach().numpy() for i, x in enumerate(inputs)}
    grads: Arrays = {f"input{i}": x.grad.numpy() for i, x in enumerate(inputs) if x.requires_grad}
    for name, p in oracle.named_parameters():
        grads[name] = np.zeros(p.shape, np.float32) if p.grad is None else p.grad.numpy().copy()
    return feeds, [d.numpy() for d in dys], [y.detach().numpy() for y in outputs], grads


def close(got: Arrays, want: Arrays) -> None:
    """Equal within the tolerance of whole networks.

    The largest number of each sets its scale, or of all, where a gradient is zero but for rounding.
    """
    rtol, atol = tolerances.NETWORK
    largest = {name: float(abs(w).max(initial=0.0)) for name, w in want.items()}
    for name, w in want.items():
        scale = max(largest[name], 0.2 * max(largest.values()))
        np.testing.assert_allclose(got[name], w, rtol=rtol, atol=atol * scale, err_msg=name)


@functools.lru_cache(1)
def exported(name: str, exporter: str, opset: int) -> bytes:
    """The file."""
    return export(by_name[name], networks(name)[0], exporter, opset)


@pytest.mark.parametrize(("network", "exporter", "opset", "how"), combinations(), ids=str)
@pytest.mark.filterwarnings("ignore:::torch")
def test_gradients_equal_torch(network: Network, exporter: str, opset: int, how: str):
    text = exported(network.name, exporter, opset)
    proto = onnx.ModelProto.FromString(text)
    assert proto.opset_import[0].version == opset
    weights = Weights(proto, networks(network.name)[1])
    assert not weights.missing()
    if how == "module":
        _module(text, network, weights)
        return
    outputs = [v.name for v in proto.graph.output]
    feeds = torch_says(network.name, BATCHES[0])[0]
    names = [*(k for k, x in feeds.items() if x.dtype.kind == "f"), *weights.places]
    inline, target = (True, opset) if how == "inlined" else (False, None)
    graded = grad_model(text, names, outputs, target, inline)
    onnx.checker.check_model(graded, full_check=True)
    for session in (InferenceSession, _onnxruntime):
        _compare(session(graded.SerializeToString()), network, weights, names, outputs)


def _onnxruntime(text: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(text, options, providers=["CPUExecutionProvider"])


def _compare(session, network: Network, weights: Weights, names: list, outputs: list) -> None:
    for batch in BATCHES:
        feeds, dys, values, grads = torch_says(network.name, batch)
        feeds = feeds | {f"d_{k}": d for k, d in zip(outputs, dys, strict=True)}
        results = session.run([*outputs, *(f"d_{k}" for k in names)], feeds)
        made = dict(zip([*outputs, *names], results, strict=True))
        close(made, dict(zip(outputs, values, strict=True)))
        close(made | weights.gradients(made), grads)


def _module(text: bytes, network: Network, weights: Weights) -> None:
    module = tk.load(text)
    net = networks(network.name)[1]
    copied = net.get_parameter("words.weight").numel() if network.name in TIED else 0
    trained = sum(p.numel() for p in module.parameters())
    assert trained == sum(p.numel() for p in net.parameters()) + copied
    for batch in BATCHES:
        feeds, dys, values, grads = torch_says(network.name, batch)
        inputs = [tk.tensor(x, requires_grad=x.dtype.kind == "f") for x in feeds.values()]
        module.zero_grad()
        made = module(*inputs)
        made = made if isinstance(made, tuple) else (made,)
        for y, want in zip(made, values, strict=True):
            close({"y": y.detach().numpy()}, {"y": want})
        tk.autograd.backward(made, [tk.tensor(d) for d in dys])
        tensors = {k: module.tensor_of(k) for k in weights.places}
        found = weights.gradients(
            {
                k: np.zeros(t.shape, np.float32) if t.grad is None else t.grad.numpy()
                for k, t in tensors.items()
            }
        )
        found |= {k: x.grad.numpy() for k, x in zip(feeds, inputs, strict=True) if x.requires_grad}
        close(found, grads)


def test_every_opset_is_there():
    for exporter, opsets in (("script", SCRIPT), ("dynamo", DYNAMO)):
        tried = {opset for _, which, opset, _ in combinations() if which == exporter}
        assert tried == set(opsets)

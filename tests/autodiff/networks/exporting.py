"""Exports of the networks, and their weights told apart by value.

An exporter transposes, reorders and joins weights ahead of time. All elements of all weights are
different numbers here, so an initializer's gradient is brought back to the weights it was made of.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from tests.autodiff.networks.table import Network

Array = np.ndarray
BATCHES = (2, 3)  # That of the export, and another.


def build(network: Network) -> nn.Module:
    """The network with weights that are all different."""
    torch.manual_seed(0)
    net = network.make()
    parameters = dict(net.named_parameters())
    total = sum(p.numel() for p in parameters.values())
    draw = torch.randperm(total, generator=torch.Generator().manual_seed(1))
    values = (draw.double() / total * 2 - 1 + 0.5 / total).float()
    start = 0
    with torch.no_grad():
        for name, p in parameters.items():
            part = values[start : start + p.numel()].reshape(p.shape)
            start += p.numel()
            scale = 1.0 if p.dim() == 1 else float(np.sqrt(2.0 / max(p[0].numel(), 4)))
            # Powers of two keep different numbers different within a weight, and 1 + x nearly so.
            p.copy_(part * 2.0 ** round(np.log2(scale)))
            if "norm" in name and name.endswith("weight"):
                p.add_(1.0)
    _separate(parameters.values())
    for module in net.modules():
        training = network.mode == "train" and not isinstance(module, nn.Dropout)
        module.training = training
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    return net


def _separate(parameters) -> None:
    """Moves equal elements apart by the least that makes them different."""
    parts = [p.detach().numpy() for p in parameters]
    flat = np.concatenate([p.ravel() for p in parts])
    while True:
        order = np.argsort(flat, kind="stable")
        same = np.flatnonzero(np.diff(flat[order]) <= 0)
        if not same.size:
            break
        flat[order[same + 1]] = np.nextafter(flat[order[same]], np.float32(np.inf))
    start = 0
    for p in parts:
        p[...] = flat[start : start + p.size].reshape(p.shape)
        start += p.size


def export(network: Network, net: nn.Module, exporter: str, opset: int) -> bytes:
    """The file that torch writes.

    Raises:
        Exception: whatever torch says where it cannot.
    """
    torch.manual_seed(1)
    inputs = network.inputs(BATCHES[0])
    names = [f"input{i}" for i in range(len(inputs))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if exporter == "script":
            file = io.BytesIO()
            modes = torch.onnx.TrainingMode
            torch.onnx.export(
                torch.jit.script(net) if network.scripted else net, inputs, file,
                opset_version=opset, dynamo=False, input_names=names,
                dynamic_axes=dict(zip(names, network.axes, strict=True)),
                training=modes.EVAL if network.mode == "fused" else modes.PRESERVE,
            )  # fmt: skip
            return file.getvalue()
        program = captured(network, net)
        made = torch.onnx.export(
            program, dynamo=True, opset_version=opset, input_names=names, verbose=False,
            optimize=not has_batch_norm(net) or network.mode == "fused",
        )  # fmt: skip
        return made.model_proto.SerializeToString()


_PROGRAMS: dict[str, torch.export.ExportedProgram] = {}


def captured(network: Network, net: nn.Module) -> torch.export.ExportedProgram:
    """What torch.export makes of a network, once for all opsets."""
    if network.name not in _PROGRAMS:
        shapes = tuple(dict.fromkeys(axes, torch.export.Dim.DYNAMIC) for axes in network.axes)
        program = torch.export.export(
            net, network.inputs(BATCHES[0]), dynamic_shapes=shapes, strict=False
        )
        if network.mode == "train":  # Else the exporter writes BatchNorm of inference.
            program = program.run_decompositions()
        _PROGRAMS[network.name] = program
    return _PROGRAMS[network.name]


def has_batch_norm(net: nn.Module) -> bool:
    """Whether torch's optimizer would fold weights into others."""
    return any(isinstance(module, nn.BatchNorm2d) for module in net.modules())


class Weights:
    """Which elements of which weights each initializer of a file holds."""

    def __init__(self, proto: onnx.ModelProto, net: nn.Module) -> None:
        self.parameters = {k: v.detach().numpy() for k, v in net.named_parameters()}
        flat = np.concatenate([p.ravel() for p in self.parameters.values()])
        self.order = np.argsort(flat)
        self.sorted = flat[self.order]
        assert (np.diff(self.sorted) > 0).all(), "weights that are all different are required"
        self.places: dict[str, Array] = {}
        for tensor in proto.graph.initializer:
            array = numpy_helper.to_array(tensor)
            if array.dtype != np.float32 or not array.size:
                continue
            at = np.searchsorted(self.sorted, array).clip(max=flat.size - 1)
            if (self.sorted[at] == array).all():
                self.places[tensor.name] = self.order[at]
            else:
                self._nearly(tensor.name, array)

    def _nearly(self, name: str, array: Array) -> None:
        """A weight that the exporter and the oracle computed, each with its rounding."""
        start = 0
        for p in self.parameters.values():
            if p.shape == array.shape and np.allclose(p, array, rtol=1e-4, atol=1e-6):
                self.places[name] = np.arange(start, start + p.size).reshape(p.shape)
            start += p.size

    def gradients(self, found: Mapping[str, Array]) -> dict[str, Array]:
        """The initializers' gradients as gradients of the network's own weights."""
        total = np.zeros(self.sorted.size)
        for name, at in self.places.items():
            np.add.at(total, at, found[name])
        return self.parts(total)

    def missing(self) -> list[str]:
        """Weights of which no initializer holds every element."""
        held = np.zeros(self.sorted.size, bool)
        for at in self.places.values():
            held[at] = True
        marked = self.parts(held)
        return [name for name, part in marked.items() if not part.all()]

    def parts(self, flat: Array) -> dict[str, Array]:
        """A vector over all elements, cut into the weights."""
        ends = np.cumsum([p.size for p in self.parameters.values()])[:-1]
        cut = np.split(flat, ends)
        return {
            k: part.reshape(p.shape)
            for (k, p), part in zip(self.parameters.items(), cut, strict=True)
        }

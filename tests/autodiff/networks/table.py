"""The networks, with their inputs and the combinations of exporter and opset that are tried."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from tests.autodiff.networks import control_flow, recurrent, transformer, vision

Tensors = tuple[torch.Tensor, ...]

SCRIPT = range(13, 24)
DYNAMO = range(15, 24)


@dataclass(frozen=True)
class Network:
    """A network and what its exports are called with.

    `inputs(n)` draws a batch of n, where another length goes with another n. `axes` names the
    symbolic dimensions of each input. `mode` is "eval", "train" (BatchNorm by the batch), or
    "fused" (BatchNorm is folded into Conv by the exporter). `oracle` makes of the module one that
    computes the same in torch, where the module has no gradient there or other weights.
    """

    name: str
    make: Callable[[], nn.Module]
    inputs: Callable[[int], Tensors]
    axes: tuple[dict[int, str], ...] = ({0: "N"},)
    script: tuple[int, ...] = ()
    dynamo: tuple[int, ...] = ()
    mode: str = "eval"
    scripted: bool = False
    oracle: Callable[[nn.Module], nn.Module] | None = None

    def __str__(self) -> str:
        return self.name


def _images(channels: int, size: int = 16, times: int = 1) -> Callable[[int], Tensors]:
    return lambda n: (torch.randn(times * n, channels, size, size),)


def _words(n: int) -> Tensors:
    t = n + 3
    return torch.randint(20, (n, t)), torch.randn(n, t, 4)


def _packed(n: int) -> Tensors:
    t = n + 3
    return (*_words(n), torch.arange(t, t - n, -1))


def _pairs(n: int) -> Tensors:
    return torch.randn(n, n + 3, 6), torch.randint(15, (n, n + 2))


def _sentences(n: int) -> Tensors:
    t = n + 4
    mask = torch.ones(n, t, dtype=torch.int64)
    mask[0, -2:] = 0
    return torch.randint(30, (n, t)), torch.randint(2, (n, t)), mask


def _fused(net: nn.Module) -> nn.Module:
    net = copy.deepcopy(net)
    for module in net.modules():
        if isinstance(module, nn.Sequential) and isinstance(module[-1], nn.BatchNorm2d):
            module[0] = fuse_conv_bn_eval(module[0], module[1])
            module[0].bias.requires_grad_(True)
            module[1] = nn.Identity()
    return net


def _looped(net: nn.Module) -> nn.Module:
    loop = control_flow.LoopRNN()
    loop.load_state_dict(net.state_dict())
    return loop


# What an exporter cannot do is not in the table. That of dynamo=True, "Setting ONNX exporter to use
# operator set version 18", converts to an older one: to 13 nothing, to 15 to 17 part of the table
# ("Failed to convert the model to the target version", and the file stays at 18; or attributes of
# 18 stay in a file of 17, as num_outputs of Split, which onnx.checker refuses). It writes BatchNorm
# in training as that of inference, and has no PackPadded.
N, NT = {0: "N"}, {0: "N", 1: "T"}
NETWORKS = (
    Network("resnet18", vision.ResNet18, _images(3), script=(13, 18, 23), dynamo=(18, 21)),
    Network(
        "resnet18-train", vision.ResNet18, _images(3, 32, 3), script=(14, 17, 21), mode="train"
    ),
    Network("mobilenetv2", vision.MobileNetV2, _images(3), script=(15, 20), dynamo=(19, 23)),
    Network(
        "mobilenetv2-train", vision.MobileNetV2, _images(3), script=(13, 16, 22),
        mode="train",
    ),
    Network(
        "mobilenetv2-fused", vision.MobileNetV2, _images(3), script=(13, 21), dynamo=(18, 23),
        mode="fused", oracle=_fused,
    ),
    Network("unet", vision.UNet, _images(2), script=(13, 15, 17, 19, 23), dynamo=(15, 20, 23)),
    Network(
        "convnext", vision.ConvNeXtBlock, _images(12, 9), script=(14, 16, 18, 20, 22),
        dynamo=(17, 20, 21, 23),
    ),
    Network(
        "vae", vision.VAE, lambda n: (torch.randn(n, 1, 16, 16), torch.randn(n, 6)),
        (N, N), script=(13, 18, 21), dynamo=(16, 19, 22),
    ),
    Network(
        "bilstm", recurrent.BiLSTMTagger, _words, (NT, NT), script=(13, 15, 20, 22)
    ),
    Network(  # torch.export unrolls recurrent layers, so the length is a number.
        "bilstm-unrolled", recurrent.BiLSTMTagger,
        lambda n: (torch.randint(20, (n, 4)), torch.randn(n, 4, 4)), (N, N), dynamo=(15, 18, 23),
    ),
    Network(
        "bilstm-packed", recurrent.PackedTagger, _packed, (NT, NT, N), script=(14, 17, 23)
    ),
    Network(
        "seq2seq", recurrent.GRUSeq2Seq, _pairs, ({0: "N", 1: "S"}, NT), script=(13, 17, 19, 21)
    ),
    Network(
        "seq2seq-unrolled", recurrent.GRUSeq2Seq,
        lambda n: (torch.randn(n, 4, 6), torch.randint(15, (n, 3))), (N, N), dynamo=(16, 21, 23),
    ),
    Network(
        "bert", transformer.BERT, _sentences, (NT, NT, NT), script=(13, 14, 17, 20, 23),
        dynamo=(18, 20, 23),
    ),
    Network(
        "gpt", transformer.GPT, lambda n: (torch.randint(30, (n, n + 4)),), (NT,),
        script=(14, 16, 18, 23), dynamo=(18, 21, 22, 23),
    ),
    Network(
        "gpt-written", lambda: transformer.GPT(fused=False),
        lambda n: (torch.randint(30, (n, n + 4)),), (NT,), script=(15, 22), dynamo=(19, 23),
    ),
    Network("vit", transformer.ViT, _images(3), script=(14, 17, 19, 21), dynamo=(17, 20, 23)),
    Network(
        "loop", control_flow.LoopRNN, lambda n: (torch.randn(n, n + 2, 5),), (NT,),
        script=(13, 16, 18, 21, 23), scripted=True,
    ),
    Network(
        "scan", control_flow.ScanRNN, lambda n: (torch.randn(n, n + 2, 5),), (NT,),
        dynamo=(15, 21, 23),
    ),
    Network(
        "while", control_flow.WhileRNN, lambda n: (torch.randn(n, n + 2, 5),), (NT,),
        dynamo=(16, 18, 23), oracle=_looped,
    ),
    Network(
        "if", control_flow.ScriptedGate, lambda n: (torch.randn(n, 5) + (n - 2.5),),
        script=(13, 17, 20, 23), scripted=True,
    ),
    Network(
        "cond", control_flow.CondGate, lambda n: (torch.randn(n, 5) + (n - 2.5),),
        dynamo=(18, 20, 23),
    ),
)  # fmt: skip


def combinations() -> list[tuple[Network, str, int, str]]:
    """Each network with each exporter and opset of its rows, and what is made of the file.

    Neighbours share an export: the gradient graph with functions or inlined, in turn, and for the
    last opset of each exporter the module.
    """
    found = []
    for network in NETWORKS:
        for exporter, opsets in (("script", network.script), ("dynamo", network.dynamo)):
            for i, opset in enumerate(opsets):
                found.append((network, exporter, opset, ("inlined", "functions")[i % 2]))
            if opsets:
                found.append((network, exporter, opsets[-1], "module"))
    return found

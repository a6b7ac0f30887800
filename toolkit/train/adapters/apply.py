"""Puts adapters on a model, merges them into its weights, or takes them off."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from toolkit.errors import InvalidArgumentError, ToolkitWarning
from toolkit.nn import Module, Parameter
from toolkit.nn.graph_module import GraphModule
from toolkit.nn.graph_module.file_graph import flat, near
from toolkit.train.adapters.config import LoraConfig
from toolkit.train.adapters.formula import FACTORS
from toolkit.train.adapters.graph import GraphHost, graph_hosts
from toolkit.train.adapters.layers import LayerHost, layer_host, shared_weights
from toolkit.train.adapters.targets import ALL_LINEAR, chosen, name_matches

M = TypeVar("M", bound=Module)
Host = LayerHost | GraphHost


@dataclass
class Adapters:
    """The adapters of one call of `lora`; the model keeps them."""

    config: LoraConfig
    hosts: list[Host]
    saved: list[str]  # Paths of the parameters that train beside them.
    frozen: list[Parameter]  # Parameters that trained before.


def lora(
    model: M,
    r: int = 8,
    alpha: float | None = None,
    dropout: float = 0.0,
    targets: str | Iterable[str] = ALL_LINEAR,
    dora: bool = False,
    *,
    rslora: bool = False,
    exclude: str | Iterable[str] = (),
    modules_to_save: str | Iterable[str] = (),
) -> M:
    """Freezes a model and puts low-rank adapters on some of its weights, which train instead.

    W x becomes W x + alpha / r B A x (Hu et al. 2021), with A drawn as peft draws it and B zero, so
    that nothing changes at first. Parameters are called as in peft: `<layer>.lora_A.weight`,
    `<layer>.lora_B.weight`, `<layer>.lora_magnitude_vector`, for an Embedding
    `<layer>.lora_embedding_A` and `<layer>.lora_embedding_B`. A weight that several nodes of a
    loaded graph read in the same way gets one adapter.

    Args:
        model: any module, changed in place. In `nn` modules Linear, Conv, Embedding and the joint
            projection of MultiheadAttention take adapters; in a loaded model MatMul, Gemm, Conv
            and Gather with a weight, transposed or not, quantized (DequantizeLinear) or not, in
            bodies of If, Loop and Scan too (without dropout, and saved once they are merged).
        r: rank.
        alpha: the update's factor is alpha / r; None: 1.
        dropout: probability of dropping an element of an adapter's input in training.
        targets: a glob, several, or "all-linear": every Linear, MultiheadAttention, MatMul and
            Gemm. A glob is compared with the layer's path, its weight's name and, in a loaded
            model, the node's name, or with what follows a dot or slash in them.
        dora: train the weight's magnitude and direction apart (Liu et al. 2024).
        rslora: the factor is alpha / sqrt(r).
        exclude: globs of layers that get none.
        modules_to_save: globs of parameters, or of modules by path, that train in full, such as
            a new head.

    Returns:
        The model.

    Raises:
        InvalidArgumentError: an option out of range, a target that names nothing, or a model that
            has adapters.

    Warns:
        ToolkitWarning: a target is left out because another layer shares its weight.
    """
    config = LoraConfig(r, alpha, dropout, rslora, dora)
    if any(True for _ in adapters_of(model)):
        raise InvalidArgumentError(
            "lora: a model without adapters is required, got one that has some. Merge them "
            "(tk.train.merge) or take them off (tk.train.unload) first."
        )
    hosts = _without_shared(model, chosen(list(hosts_of(model)), targets, exclude))
    saved = _paths(model, flat(modules_to_save))
    frozen = [p for p in model.parameters() if p.requires_grad]
    model.requires_grad_(False)
    for name in saved:
        model.get_parameter(name).requires_grad_(True)
    for host in hosts:
        host.attach(config)
    vars(model)["_adapters"] = Adapters(config, hosts, saved, frozen)
    return model


def adapters_of(model: Module) -> Iterator[tuple[str, Adapters]]:
    """The adapters of a model and of the modules below it, with their paths."""
    for path, module in model.named_modules():
        found = vars(module).get("_adapters")
        if found is not None:
            yield path, found


def merge(model: M) -> M:
    """Writes each adapter into its weight and takes it off: the model computes the same.

    What trained before `lora` trains again.

    A quantized weight stays quantized: what is merged into it is rounded when it is read.

    Raises:
        InvalidArgumentError: there are no adapters.
    """
    return _take_off(model, "merge", True)


def unload(model: M) -> M:
    """Takes the adapters off: the model computes what it did before `lora`.

    Raises:
        InvalidArgumentError: there are no adapters.
    """
    return _take_off(model, "unload", False)


def _take_off(model: M, where: str, keep: bool) -> M:
    found = list(adapters_of(model))
    if not found:
        raise InvalidArgumentError(f"{where}: a model with adapters is required, got one without.")
    for path, adapters in found:
        hosts = [host for host in adapters.hosts if host.alive]
        if keep:
            for host in hosts:
                host.merge()
        for host in hosts:
            host.detach()
        for parameter in adapters.frozen:
            parameter.requires_grad_(True)
        del vars(model.get_submodule(path))["_adapters"]
    return model


def hosts_of(model: Module) -> Iterator[Host]:
    """The layers and weights of a model that can hold adapters."""
    for path, module in model.named_modules():
        if isinstance(module, GraphModule):
            yield from graph_hosts(path, module)
        elif (host := layer_host(path, module)) is not None:
            yield host


def _without_shared(model: Module, hosts: list[Host]) -> list[Host]:
    shared = shared_weights(model)
    left = [h.name for h in hosts if id(h.weight) in shared]
    if left:
        warnings.warn(
            "lora: weights that no other layer shares are required, got shared ones at "
            f"{', '.join(left)}, which get no adapter.",
            ToolkitWarning,
            stacklevel=3,
        )
    return [h for h in hosts if id(h.weight) not in shared]


def _paths(model: Module, patterns: list[str]) -> list[str]:
    """Parameters that a glob names, or all those of the modules that it names."""
    names = [name for name, _ in model.named_parameters()]
    found: dict[str, None] = {}
    for pattern in patterns:
        prefixes = [p for p, _ in model.named_modules() if p and name_matches(p, pattern)]
        matched = [
            n
            for n in names
            if name_matches(n, pattern) or any(n.startswith(p + ".") for p in prefixes)
        ]
        if not matched:
            raise InvalidArgumentError(
                f"lora: parameters of the model are required as modules_to_save, got '{pattern}'. "
                + near(pattern, names)
            )
        found.update(dict.fromkeys(matched))
    return list(found)


def adapter_parameters(model: Module) -> dict[str, Parameter]:
    """The factors of all adapters and what trains beside them, by path."""
    saved = {f"{path}.{n}" if path else n for path, a in adapters_of(model) for n in a.saved}
    return {
        name: p
        for name, p in model.named_parameters()
        if name in saved or any(part in FACTORS for part in name.split("."))
    }

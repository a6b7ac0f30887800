"""Adapters on the layers of `toolkit.nn`: the layer itself takes a class that adds the update.

Names of the layer's own parameters stay as they are; the factors are its children.
"""

from __future__ import annotations

from typing import Any

from toolkit.autograd import no_grad
from toolkit.nn import Embedding, Linear, Module, MultiheadAttention
from toolkit.nn.conv import _Conv
from toolkit.tensor import Tensor
from toolkit.train.adapters import formula
from toolkit.train.adapters.config import LoraConfig
from toolkit.train.adapters.projections import Convolution, Dense, Lookup, Projection


class Adapted(Module):
    """Mixed into the class of a layer that holds factors."""

    lora_config: LoraConfig
    _plain: type[Module]  # Its class without an adapter.
    _weight = "weight"

    def _projection(self) -> Projection:
        return Dense()

    def _adapt(self, x: Tensor, y: Tensor, bias: Tensor | None) -> Tensor:
        weight: Tensor = getattr(self, self._weight)
        return formula.adapted(
            self.lora_config, self._projection(), formula.factors_of(self), x, y, weight, bias,
            self.training,
        )  # fmt: skip

    def _adapted_weight(self) -> Tensor:
        weight: Tensor = getattr(self, self._weight)
        return formula.adapted_weight(
            self.lora_config, self._projection(), formula.factors_of(self), weight
        )


class AdaptedLinear(Adapted, Linear):
    """A Linear with an adapter."""

    def forward(self, input: Tensor) -> Tensor:
        return self._adapt(input, super().forward(input), self.bias)


class AdaptedEmbedding(Adapted, Embedding):
    """An Embedding with an adapter."""

    def _projection(self) -> Projection:
        return Lookup(self.padding_idx)

    def forward(self, input: Tensor) -> Tensor:
        return self._adapt(input, super().forward(input), None)


class AdaptedConv(Adapted, _Conv):
    """A convolution with an adapter."""

    def _projection(self) -> Projection:
        return Convolution(lambda x, w: self._conv_forward(x, w, None), self._n, self.groups)

    def forward(self, input: Tensor) -> Tensor:
        through = formula.through_weight(self.lora_config, self._projection(), self.out_channels)
        if through and self._plain.forward is _Conv.forward:
            return self._conv_forward(input, self._adapted_weight(), self.bias)
        bias = None if self.bias is None else self._projection().along(self.bias)
        return self._adapt(input, super().forward(input), bias)


class AdaptedAttention(Adapted, MultiheadAttention):
    """A MultiheadAttention with an adapter on its joint projection of query, key and value."""

    _weight = "in_proj_weight"

    def _project(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        a, b, magnitude = formula.factors_of(self)
        found = super()._project(query, key, value)
        return tuple(
            formula.adapted(
                self.lora_config, Dense(), formula.Factors(a, b_i, m_i), x, y, w, bias,
                self.training,
            )
            for x, y, w, b_i, bias, m_i in zip(
                (query, key, value), found, *map(self._thirds, (self.in_proj_weight, b)),
                *map(self._thirds, (self.in_proj_bias, magnitude)), strict=True,
            )
        )  # fmt: skip

    def _thirds(self, rows: Tensor | None) -> tuple[Any, ...]:
        """The part of each projection."""
        return (None,) * 3 if rows is None else tuple(rows.split(self.embed_dim, 0))


_MIXINS: tuple[tuple[type[Module], type[Adapted]], ...] = (
    (Linear, AdaptedLinear),
    (_Conv, AdaptedConv),
    (Embedding, AdaptedEmbedding),
    (MultiheadAttention, AdaptedAttention),
)
_CLASSES: dict[type[Module], type[Module]] = {}


def _adapted_class(cls: type[Module]) -> type[Module]:
    if cls not in _CLASSES:
        mixin = next(mixin for base, mixin in _MIXINS if issubclass(cls, base))
        _CLASSES[cls] = type(f"Lora{cls.__name__}", (mixin, cls), {"_plain": cls})
    return _CLASSES[cls]


class LayerHost:
    """A layer that can hold an adapter.

    Attributes:
        name: its path in the model; the factors' names begin with it.
        aliases: other names that a target may use.
        linear: whether "all-linear" means it.
        weight: its weight.
        alive: whether it still holds its adapter.
    """

    alive = True

    def __init__(self, name: str, module: Module) -> None:
        self.name = name
        self.module = module
        weight = _weight_name(module)
        self.aliases = [f"{name}.{weight}" if name else weight]
        self.linear = isinstance(module, (Linear, MultiheadAttention))
        if name.endswith(".out_proj"):
            self.aliases.append(name.removesuffix(".out_proj"))  # With its attention, as in peft.
        self.weight: Tensor = getattr(module, weight)

    def attach(self, config: LoraConfig) -> None:
        """Adds the adapter."""
        module: Any = self.module
        module.__class__ = _adapted_class(type(module))
        module.lora_config = config
        formula.attach(module, module._projection(), self.weight, config)

    def merge(self) -> None:
        """Writes the adapted weight into the layer's own."""
        module: Any = self.module
        with no_grad():
            self.weight.copy_(module._adapted_weight())

    def detach(self) -> None:
        """Makes it the layer that it was."""
        module: Any = self.module
        formula.detach(module)
        del module.lora_config
        module.__class__ = type(module)._plain


def layer_host(name: str, module: Module) -> LayerHost | None:
    """The host of a layer, None where adapters do not apply."""
    if isinstance(module, MultiheadAttention):
        fits = module.in_proj_weight is not None  # peft's rule too: one width for all three.
    else:
        fits = isinstance(module, tuple(base for base, _ in _MIXINS))
    return LayerHost(name, module) if fits else None


def _weight_name(module: Module) -> str:
    return "in_proj_weight" if isinstance(module, MultiheadAttention) else "weight"


def shared_weights(model: Module) -> set[int]:
    """Ids of the parameters that more than one module holds."""
    seen: set[int] = set()
    shared: set[int] = set()
    for module in model.modules():
        for parameter in module._parameters.values():
            (shared if id(parameter) in seen else seen).add(id(parameter))
    return shared

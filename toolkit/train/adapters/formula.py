"""The formulas of LoRA (Hu et al. 2021) and DoRA (Liu et al. 2024) for any linear map.

The factors live on the module that holds the weight, under the names that peft gives them.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from toolkit.autograd import no_grad
from toolkit.dtypes import float32
from toolkit.nn import Module, Parameter, init
from toolkit.nn import functional as F
from toolkit.tensor import Tensor, empty
from toolkit.train.adapters.config import LoraConfig
from toolkit.train.adapters.projections import Convolution, Lookup, Projection

MAGNITUDE = "lora_magnitude_vector"
_WIDE = 16  # Times the rank.
FACTORS = ("lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B", MAGNITUDE)


class Factors(NamedTuple):
    """A, B and for DoRA the magnitudes (out,)."""

    a: Tensor
    b: Tensor
    magnitude: Tensor | None


class Factor(Module):
    """A or B, so that its parameter is called `lora_A.weight`."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = Parameter(weight)

    def forward(self) -> Tensor:
        return self.weight

    def extra_repr(self) -> str:
        return ", ".join(map(str, self.weight.shape))


def attach(holder: Module, projection: Projection, weight: Tensor, config: LoraConfig) -> None:
    """Adds the factors for a weight; B A is zero at first.

    Weights of 16 bits and quantized ones get factors of float32.
    """
    wide = weight.dtype.is_floating_point and weight.dtype.itemsize >= 4
    dtype = weight.dtype if wide else float32
    shapes = projection.pair_shapes(tuple(weight.shape), config.r)
    a, b = (Factor(empty(*shape, dtype=dtype)) for shape in shapes)
    if isinstance(projection, Lookup):
        init.zeros_(a.weight)
        init.normal_(b.weight)
        holder.register_parameter("lora_embedding_A", a.weight)
        holder.register_parameter("lora_embedding_B", b.weight)
    else:
        init.kaiming_uniform_(a.weight, a=math.sqrt(5))
        init.zeros_(b.weight)
        holder.add_module("lora_A", a)
        holder.add_module("lora_B", b)
    if config.dora:
        with no_grad():
            norm = projection.norm(weight.to(dtype))
        holder.register_parameter(MAGNITUDE, Parameter(norm))


def detach(holder: Module) -> None:
    """Takes the factors off again."""
    for name in FACTORS:
        for table in (holder._parameters, holder._modules):
            table.pop(name, None)


def factors_of(holder: Module) -> Factors:
    """The factors that `attach` added."""
    magnitude = holder._parameters.get(MAGNITUDE)
    if "lora_embedding_A" in holder._parameters:
        return Factors(holder.lora_embedding_A, holder.lora_embedding_B, magnitude)
    return Factors(holder.lora_A.weight, holder.lora_B.weight, magnitude)


def adapted(
    config: LoraConfig,
    projection: Projection,
    factors: Factors,
    x: Tensor,
    y: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    training: bool,
) -> Tensor:
    """LoRA: y + s B A x. DoRA: m / n (W + s B A) x + b, n the norms of W + s B A (no gradient).

    Args:
        config: gives s and the dropout on the x of the adapter.
        projection: how the layer applies its weight.
        factors: A, B, m.
        x: the layer's input.
        y: its output without the adapter, W x + b.
        weight: W.
        bias: b, as it broadcasts over y.
        training: whether elements of x drop out.
    """
    a, b, magnitude = factors
    dropped = x
    if config.dropout and training and x.dtype.is_floating_point:
        dropped = F.dropout(x, config.dropout)
    low = dropped.to(a.dtype) if dropped.dtype.is_floating_point else dropped
    update = projection.up(projection.down(low, a), b * config.scaling)  # B is the smallest.
    if magnitude is None:
        return y + update.to(y.dtype)
    with no_grad():
        norm = projection.norm(_moved(config, projection, factors, weight))
    ratio = projection.along(magnitude / norm)
    base = y if bias is None else y - bias
    if dropped is not x:
        base = projection.base(dropped, weight)
    return y + ((ratio - 1.0) * base.to(a.dtype) + ratio * update).to(y.dtype)


def adapted_weight(
    config: LoraConfig, projection: Projection, factors: Factors, weight: Tensor
) -> Tensor:
    """The weight that computes the same without the adapter."""
    moved = _moved(config, projection, factors, weight)
    if factors.magnitude is not None:
        with no_grad():
            norm = projection.norm(moved)
        moved = moved * projection.rows(factors.magnitude / norm, weight)
    return moved.to(weight.dtype)


def through_weight(config: LoraConfig, projection: Projection, outputs: int) -> bool:
    """Whether it is faster to apply the adapted weight than the factors.

    A convolution to r channels is as slow as one to many; it pays where it saves the gradient of a
    weight for far more channels.
    """
    narrow = outputs < _WIDE * config.r
    return isinstance(projection, Convolution) and not config.dropout and narrow


def _moved(config: LoraConfig, projection: Projection, factors: Factors, weight: Tensor) -> Tensor:
    """W + s B A."""
    update = projection.product(factors.a, factors.b) * config.scaling
    return weight.to(update.dtype) + update

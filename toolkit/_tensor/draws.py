"""Tensors of random numbers, drawn by the generators of `toolkit.random`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from toolkit import dtypes, random
from toolkit._tensor import promote
from toolkit._tensor.base import INT64, TensorBase
from toolkit._tensor.factories import code_of, finish, like
from toolkit._tensor.formats import settle
from toolkit._tensor.promote import cast
from toolkit._tensor.shapes import as_shape
from toolkit.errors import InvalidArgumentError

if TYPE_CHECKING:
    from toolkit.tensor import Tensor


def rand(
    *size: Any,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    generator: Any = None,
    **options: Any,
) -> Tensor:
    """Uniform numbers in [0, 1)."""
    made = random.uniform(as_shape(size), code_of(dtype), generator)
    return settle(finish(made, requires_grad, device), options)


def randn(
    *size: Any,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    generator: Any = None,
    **options: Any,
) -> Tensor:
    """Numbers of the standard normal distribution."""
    made = random.normal(as_shape(size), code_of(dtype), generator)
    return settle(finish(made, requires_grad, device), options)


def randint(
    low: Any = None,
    high: Any = None,
    size: Any = None,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    generator: Any = None,
) -> Tensor:
    """Integers in [low, high); `randint(high, size)` starts at 0."""
    if size is None:
        low, high, size = 0, low, high
    low = 0 if low is None else low
    if high <= low:
        raise InvalidArgumentError(
            f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}"
        )
    u: Any = random.uniform(as_shape((size,)), dtypes.float64.onnx, generator)
    out = cast((u * float(high - low)).floor() + float(low), code_of(dtype, INT64))
    return finish(out, requires_grad, device)


def randperm(n: int, *, dtype: Any = None, device: Any = None, generator: Any = None) -> Tensor:
    """The integers below n in random order."""
    u: Any = random.uniform((n,), dtypes.float64.onnx, generator)
    return finish(cast(u.argsort(0), code_of(dtype, INT64)), device=device)


def normal(
    mean: Any = 0.0, std: Any = 1.0, size: Any = None, *, generator: Any = None, dtype: Any = None
) -> Tensor:
    """Normal numbers of a mean and a standard deviation (numbers or tensors)."""
    if size is None:
        size = next(v.shape for v in (mean, std) if isinstance(v, TensorBase))
    return randn(size, generator=generator, dtype=dtype) * std + mean


def bernoulli(input: Any, p: float | None = None, *, generator: Any = None) -> Tensor:
    """1 with the probability of each element (or `p`), else 0."""
    u: Any = random.uniform(input.shape, promote.default_code, generator)
    return cast(u < (input if p is None else p), input._value.dtype)


def multinomial(
    input: Any, num_samples: int, replacement: bool = False, *, generator: Any = None
) -> Tensor:
    """Indices drawn with the probabilities of the rows (not necessarily normalized)."""
    p: Any = input if input.dim() == 2 else input.unsqueeze(0)
    if not replacement:
        if num_samples > int((p != 0).sum(1).min().item()):
            raise InvalidArgumentError(
                "invalid multinomial distribution (with replacement=False, not enough non-negative "
                "category to sample)"
            )
        u: Any = random.uniform(p.shape, p._value.dtype, generator)
        keys = (1 - u).log() / p  # The k largest are k draws without replacement (Efraimidis 2006).
        keys = keys.masked_fill(p == 0, -math.inf)
        out = keys.topk(num_samples, 1).indices
    else:
        edges = p.cumsum(1)
        u = random.uniform((p.shape[0], num_samples), p._value.dtype, generator)
        total = edges.narrow(1, p.shape[1] - 1, 1)
        below = edges.unsqueeze(1) <= (u * total).unsqueeze(2)
        out = below.sum(2).clamp(max=p.shape[1] - 1)
    return out if input.dim() == 2 else out.squeeze(0)


rand_like, randn_like = like(rand), like(randn)

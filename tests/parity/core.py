"""A row of the table that compares toolkit with torch: one call, written once, run on both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

FLOATS = ("float32", "float64")
INTEGERS = ("uint8", "int8", "int16", "int32", "int64")
NUMBERS = (*INTEGERS, *FLOATS)
ALL = ("bool", *NUMBERS)


@dataclass(frozen=True)
class Draw:
    """An input: numbers of a shape, the same on both sides and at every run.

    `low` and `high` bound them (float or integer types); `dtype` None is the type under test.
    `layout` is "contiguous", "transposed" (of the last two axes) or "strided" (every second of the
    last axis).
    """

    shape: tuple[int, ...]
    low: float = -2.0
    high: float = 2.0
    dtype: str | None = None
    layout: str = "contiguous"
    grad: bool = True

    def array(self, dtype: str, seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        name = self.dtype or dtype
        if name == "bool":
            return rng.random(self.shape) > 0.5
        if name.startswith(("int", "uint")):
            low = 0 if name.startswith("uint") else int(np.floor(self.low))
            return rng.integers(low, max(int(np.ceil(self.high)) + 1, low + 1), self.shape, name)
        if name.startswith("complex"):
            pair = rng.uniform(self.low, self.high, (2, *self.shape))
            return (pair[0] + 1j * pair[1]).astype(name)
        return rng.uniform(self.low, self.high, self.shape).astype(name)

    def tensor(self, m: Any, dtype: str, seed: int, grad: bool) -> Any:
        """The leaf on one side, and what the call gets of it."""
        name = self.dtype or dtype
        kept = "float32" if name in ("float16", "bfloat16") else name
        array = self.array(kept, seed)
        if self.layout == "transposed":
            array = np.ascontiguousarray(array.swapaxes(-1, -2))
        elif self.layout == "strided":
            array = np.repeat(array, 2, -1)
        leaf = m.tensor(array, dtype=getattr(m, name))
        if grad and self.grad and "float" in name:
            leaf.requires_grad_()
        if self.layout == "transposed":
            return leaf, leaf.transpose(-1, -2)
        return (leaf, leaf[..., ::2]) if self.layout == "strided" else (leaf, leaf)


def d(*shape: int, **options: Any) -> Draw:
    """`Draw` of a shape."""
    return Draw(shape, **options)


@dataclass(frozen=True)
class Row:
    """`call(m, *inputs)` gives tensors, tuples of them or plain values; `m` is toolkit or torch.

    It runs for each of `dtypes`. Where the type is float and `grad` holds, gradients of the inputs
    and of the parameters in `call.parameters` (a module's, if any) are compared too. `error` says
    that both sides refuse the call, `words` that our message holds torch's too. `tolerance`
    multiplies the type's own; `reason` then says why.
    """

    name: str
    call: Callable[..., Any]
    inputs: Sequence[Draw] = ()
    dtypes: Sequence[str] = ("float32",)
    grad: bool = True
    error: bool = False
    words: bool = False
    tolerance: float = 1.0
    reason: str = ""
    tags: frozenset[str] = field(default_factory=frozenset)

    def __post_init__(self) -> None:
        if self.tolerance != 1 and not self.reason:
            raise ValueError(f"{self.name}: a tolerance needs a reason")

    def samples(self) -> Iterator[tuple[str, str]]:
        """Test name and element type of each sample."""
        for dtype in self.dtypes:
            yield f"{self.name}-{dtype}", dtype


def rows(
    name: str, calls: dict[str, Callable[..., Any]], *inputs: Draw, **options: Any
) -> list[Row]:
    """Rows `name/key`, one for each call, on the same inputs."""
    return [Row(f"{name}/{key}", call, inputs, **options) for key, call in calls.items()]


def module(build: Callable[[Any], Any]) -> Callable[..., Any]:
    """The call of a row about an nn module: builds it on both sides, draws its weights, calls it.

    Compares keys and shapes of the state_dict, `repr`, output, gradients of inputs and parameters,
    and buffers afterwards. `build(m)` gives the module.
    """

    def call(m: Any, *inputs: Any) -> Any:
        made = build(m)
        dtype = next((x.dtype for x in inputs if x.dtype.is_floating_point), None)
        made = made.to(dtype) if dtype is not None else made
        lazy = any(type(p).__name__.startswith("Uninitialized") for p in made.parameters())
        if lazy:
            made(*(x.detach() for x in inputs))
        fill(made)
        call.parameters = list(made.parameters())  # type: ignore[attr-defined]
        out = made(*inputs)
        buffers = [b for _, b in made.named_buffers()]
        return [repr(made), sorted((k, tuple(v.shape)) for k, v in made.state_dict().items()),
                out, buffers]  # fmt: skip

    call.parameters = []  # type: ignore[attr-defined]
    return call


def fill(made: Any) -> None:
    """Every float value of a module's state from one generator, in the order of the keys."""
    rng = np.random.default_rng(7)
    state = made.state_dict()
    for key in sorted(state):
        value = state[key]
        if value.dtype.is_floating_point:
            drawn = rng.uniform(-0.6, 0.6, tuple(value.shape))
            state[key] = like(value, np.abs(drawn) + 0.5 if "var" in key else drawn)
    made.load_state_dict(state)


def like(value: Any, array: Any) -> Any:
    """An array as a tensor of the side and element type of `value`."""
    import torch

    import toolkit as tk

    m = torch if isinstance(value, torch.Tensor) else tk
    return m.tensor(np.asarray(array), dtype=value.dtype)

"""What starts a training anew: a graph without inputs that fills the states as they were at first.

Weights are drawn as `toolkit.nn.init` drew them, from Philox streams of one seed: the initializer
`SEED`, which another number may replace. `training_info.initialization` holds it in the one file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from toolkit._tensor.initial import Initial
from toolkit.errors import InvalidArgumentError
from toolkit.graph.build import Builder, mark_variable
from toolkit.runtime import _core
from toolkit.runtime.values import to_native

SEED = "initialization.seed"
RANDOM_STATE = "rng_state"


@dataclass
class Initialization:
    """The graph, and for the states that it fills the output that is a state's first value.

    Attributes:
        model: the graph.
        bindings: a state -> the output that is its first value.
        reads: an input of the graph -> the state whose value it is.
        values: states that begin with what they are here, unless a binding names them.
        then: what is executed afterwards.
    """

    model: ir.Model
    bindings: dict[str, str]
    reads: dict[str, str] = field(default_factory=dict)
    values: dict[str, _core.Tensor] = field(default_factory=dict)
    then: Initialization | None = None

    @property
    def bound(self) -> set[str]:
        """The states that a graph fills."""
        return {*self.bindings, *(self.then.bound if self.then is not None else ())}

    @property
    def read(self) -> set[str]:
        """The states that a graph reads."""
        return {*self.reads.values(), *(self.then.read if self.then is not None else ())}

    @property
    def takes_seed(self) -> bool:
        """Whether some graph draws from the initializer `SEED`."""
        own = SEED in self.model.graph.initializers
        return own or (self.then is not None and self.then.takes_seed)

    def run(
        self, seed: int | None = None, states: Mapping[str, _core.Tensor] | None = None
    ) -> dict[str, _core.Tensor]:
        """First values by the names of the states.

        Args:
            seed: in place of the one that the weights were drawn with.
            states: the states as they are, for those that keep their value and are read.

        Raises:
            InvalidArgumentError: the graph takes no seed.
        """
        from toolkit.runtime.lowering import lower

        graph = self.model.graph
        constants = {}
        if seed is not None:
            if not self.takes_seed:
                raise InvalidArgumentError(
                    f"initialize: an initialization with the initializer '{SEED}' is required by "
                    "a seed, got one without."
                )
            if SEED in graph.initializers:
                value = np.array([seed & (2**64 - 1)], np.uint64)
                constants[graph.initializers[SEED]] = to_native(value)
        known = {**(states or {}), **self.values}
        inputs = [v for v in graph.inputs if v.name in self.reads]
        outputs = {v.name: v for v in graph.outputs}
        program = lower(
            inputs, list(outputs.values()), constants=constants, functions=self.model.functions
        )
        given = [known[self.reads[v.name or ""]] for v in inputs]
        results = dict(zip(outputs, program.run(given), strict=True))
        found = {state: results[name] for state, name in self.bindings.items() if name in results}
        found = {**self.values, **found}
        if self.then is not None:
            seed = seed if self.then.takes_seed else None
            found.update(self.then.run(seed, {**known, **found}))
        return found


def build(
    states: Mapping[ir.Value, _core.Tensor],
    fills: Mapping[ir.Value, Initial],
    random_state: Any,
) -> Initialization:
    """The graph that fills the states of which it is known how; the others keep what they hold.

    Args:
        states: the states with their memory.
        fills: how states were filled.
        random_state: seed and offset from which the training draws.
    """
    graph = ir.Graph([], [], nodes=[], opset_imports={"": 28}, name="initialization")
    seeds = [draw[0] for fill in fills.values() for draw in fill.draws]
    writer = _Writer(Builder(graph), [*seeds, int(random_state[0])][0])
    bindings = {}
    for state, tensor in states.items():
        if state in fills:
            value = writer.filled(fills[state], tuple(tensor.shape), ir.DataType(tensor.dtype))
        elif state.name == RANDOM_STATE:
            value = writer.state(int(random_state[0]), int(random_state[1]))
        else:
            continue
        value = writer.builder.Identity(value)
        value.name = bindings[state.name or ""] = f"{state.name}.initial"
        value.shape = ir.Shape(tensor.shape)
        graph.outputs.append(value)
    return Initialization(ir.Model(graph, ir_version=10, producer_name="toolkit"), bindings)


class _Writer:
    """Writes fills as nodes."""

    def __init__(self, builder: Builder, seed: int) -> None:
        self.builder = builder
        self._seed = seed
        array = np.array([seed], np.uint64)
        value = ir.Value(
            name=SEED,
            shape=ir.Shape([1]),
            type=ir.TensorType(ir.DataType.UINT64),
            const_value=ir.tensor(array, name=SEED),
        )
        builder.graph.register_initializer(mark_variable(value))  # type: ignore[union-attr]
        self._value = value

    def state(self, seed: int, offset: int) -> ir.Value:
        """A generator's state (seed, offset), the seed counted from the graph's own."""
        b, value = self.builder, self._value
        if seed != self._seed:  # uint64 has no Add everywhere; in int64 it wraps alike.
            delta = np.array([seed - self._seed & (2**64 - 1)], np.uint64).view(np.int64)
            moved = b.Add(b.cast(value, ir.DataType.INT64), b.const(delta))
            value = b.cast(moved, ir.DataType.UINT64)
        state: ir.Value = b.Concat(value, b.const(np.array([offset], np.uint64)), axis=0)
        return state

    def filled(self, fill: Initial, shape: tuple[int, ...], dtype: ir.DataType) -> ir.Value:
        """The value that `toolkit.nn.init` gave."""
        b, code = self.builder, ir.DataType(fill.code)
        if fill.kind == "constant":
            return b.full(b.ints(shape), fill.shift, dtype)
        if fill.kind == "value":
            return b.cast(b.const(fill.value, code), dtype)
        value = self._drawn(fill, fill.draws[0], shape, code)
        if fill.limits is not None:
            low, high = (b.const(limit, code) for limit in fill.limits)
            for draw in fill.draws[1:]:
                outside = b.Or(b.Less(value, low), b.Greater(value, high))
                value = b.Where(outside, self._drawn(fill, draw, shape, code), value)
            value = b.Min(b.Max(value, low), high)
        if fill.zero_row is not None:
            kept = np.ones((shape[0], *[1] * (len(shape) - 1)))
            kept[fill.zero_row] = 0
            value = b.Mul(value, b.const(kept, code))
        return b.cast(value, dtype)

    def _drawn(
        self, fill: Initial, draw: tuple[int, int], shape: tuple[int, ...], code: ir.DataType
    ) -> ir.Value:
        b = self.builder
        wide = code if code in (ir.DataType.FLOAT, ir.DataType.DOUBLE) else ir.DataType.FLOAT
        name = fill.kind.capitalize()
        attributes = {"call": 0, "dtype": int(wide)}
        x = b.call("toolkit.random", name, [b.ints(shape), self.state(*draw)], attributes)
        x = b.cast(x, code)
        scaled: ir.Value = b.Add(b.Mul(x, b.const(fill.scale, code)), b.const(fill.shift, code))
        return scaled

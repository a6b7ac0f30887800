"""What a `Trainer` says when a loss or a weight is not finite: where, and which value was first."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit.errors import ToolkitError
from toolkit.runtime import _core
from toolkit.runtime.values import to_numpy

if TYPE_CHECKING:
    import onnx_ir as ir

    from toolkit.train.step import TrainStep
    from toolkit.train.trainer import Trainer

Array = np.ndarray[Any, Any]
_CHUNK = 256  # Values of the graph that are looked at in one run: all of them need much memory.


class Watch:
    """Keeps a step's states from before the step, so that a bad one can be done again slowly."""

    def __init__(self, step: TrainStep) -> None:
        self._step = step
        self._kept: dict[ir.Value, _core.Tensor] = {}

    def before(self, batch: Any) -> None:
        """Copies the states."""
        states = self._step.prepare(*batch).graph.states
        if self._kept.keys() != states.keys():
            self._kept = {value: tensor.clone() for value, tensor in states.items()}
            return
        for value, tensor in states.items():
            self._kept[value].copy_from(tensor)

    def bad_state(self) -> str | None:
        """The name of a state that is not finite now."""
        for value, tensor in self._step.graph.states.items():
            if _bad(to_numpy(tensor)):
                return value.name
        return None

    def undo(self) -> None:
        """The states are what they were before the step."""
        for value, tensor in self._step.graph.states.items():
            tensor.copy_from(self._kept[value])

    def first(self, batch: Any) -> str:
        """The first value of the graph that is not finite, in the order of its nodes."""
        for value, tensor in self._kept.items():
            if count := _bad(to_numpy(tensor)):
                return f"the state '{value.name}' before the step ({count} elements)"
        return _first_of_nodes(self._step, self._kept, batch) or "no value of the graph"


def require_finite(trainer: Trainer, loss: float, batch: Any, watch: Watch | None) -> None:
    """Passes, or says what is not finite.

    Raises:
        ToolkitError: the loss is not finite; or, with a watch, a state is not after the step.
    """
    state = None if watch is None or not math.isfinite(loss) else watch.bad_state()
    if math.isfinite(loss) and state is None:
        return
    at = trainer.position
    what = f"loss is required, got {loss}" if state is None else f"state '{state}' is required"
    parts = [f"Trainer: a finite {what} in epoch {at.epoch}, batch {at.batch}."]
    rates = ", ".join(f"{rate:g}" for rate in trainer.step.learning_rates())
    parts.append(f"It was batch {at.batches} of the run, at learning rate {rates}.")
    parts += [
        f"{name} of the batch holds {count} values that are not finite."
        for i, member in enumerate(batch)
        for name in ["The target" if i == len(batch) - 1 else f"Input {i}"]
        if (count := _bad(np.asarray(member)))
    ]
    if watch is not None:
        parts.append(f"The first that was not finite: {watch.first(batch)}.")
        watch.undo()
        parts.append("The states are those from before the step.")
    elif len(parts) == 2:
        parts.append("detect_nan names the first value that was not finite.")
    parts.append("Lower the learning rate or clip gradients.")
    raise ToolkitError(" ".join(parts))


def _first_of_nodes(step: TrainStep, states: dict[ir.Value, _core.Tensor], batch: Any) -> str:
    """Runs the step's graph piece by piece with its values as outputs."""
    from toolkit.autodiff.backward import ancestor_nodes
    from toolkit.runtime.lowering import lower
    from toolkit.train.step import _native

    g = step.graph
    values = [
        v
        for node in ancestor_nodes(g.graph, [g.loss, *g.updates.values()])
        for v in node.outputs
        if v.dtype is not None and v.dtype.is_floating_point() and v.name
    ]
    rates = [np.float32(rate) for rate in step.learning_rates()]
    feed = [_native(x) for x in (*batch, *rates)]
    for start in range(0, len(values), _CHUNK):
        part = values[start : start + _CHUNK]
        inputs = [*g.features, *g.targets, *g.rates]
        results = lower(inputs, part, states=states, functions=g.functions).run(feed)
        for value, tensor in zip(part, results, strict=True):
            array = to_numpy(tensor)
            if count := _bad(array):
                return _told(value, array, count)
    return ""


def _told(value: ir.Value, array: Array, count: int) -> str:
    node = value.producer()
    assert node is not None
    sources = ", ".join(v.name or "" for v in node.inputs if v is not None)
    return f"'{value.name}' of {node.op_type}({sources}), in {count} of {array.size} elements"


def _bad(array: Array) -> int:
    """How many elements are not finite."""
    if array.dtype.kind in "biuSUO" or array.size == 0:
        return 0
    return int(array.size - np.isfinite(array).sum())

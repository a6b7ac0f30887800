"""`dry_run`: builds and checks a whole step on one batch and changes nothing."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit.runtime.measure.memory import MemoryReport
from toolkit.runtime.values import to_native, to_numpy
from toolkit.train.options import CARRIED

if TYPE_CHECKING:
    from toolkit.train.step import TrainStep

Shape = list[int]


@dataclass(frozen=True)
class DryRun:
    """What a first step would be.

    Attributes:
        loss: of the batch, in training mode.
        val_loss: of the validation batch, in inference mode; None without one.
        inputs: name, type and shape of what the model takes, then of the target.
        outputs: name, type and shape of what it gives.
        parameters: name, shape, and whether it trains.
        largest_change: of an element of a weight in the step that was tried on copies.
        memory: of the training program, for a batch of this size.
        nodes: of the training graph.
    """

    loss: float
    val_loss: float | None
    inputs: list[tuple[str, str, Shape]]
    outputs: list[tuple[str, str, Shape]]
    parameters: list[tuple[str, Shape, bool]]
    largest_change: float
    memory: MemoryReport
    nodes: int

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def as_text(self) -> str:
        """For a person."""
        lines = []
        for kind, rows in (("input", self.inputs), ("output", self.outputs)):
            lines += [f"{kind:7} {name}: {dtype} {shape}" for name, dtype, shape in rows]
        sizes = [(math.prod(shape), trains) for _, shape, trains in self.parameters]
        every, own = sum(n for n, _ in sizes), sum(n for n, trains in sizes if trains)
        width = max((len(name) for name, _, _ in self.parameters), default=0)
        lines += [
            f"{'trains' if trains else 'frozen':7} {name:{width}} {shape}"
            for name, shape, trains in self.parameters
        ]
        lines.append(f"{every:,} parameters, of which {own:,} train; {self.nodes} nodes")
        lines += self.memory.as_text().splitlines()
        lines.append(f"loss {self.loss:.6g}, largest change of a weight {self.largest_change:.3g}")
        if self.val_loss is not None:
            lines.append(f"val_loss {self.val_loss:.6g}")
        return "\n".join(lines)


def dry_run(step: TrainStep, batch: Any, val_batch: Any = None) -> DryRun:
    """Does one step on copies of the states, and one evaluation.

    Args:
        step: the step; it is built, and its states stay as they are.
        batch: for the step.
        val_batch: for the evaluation.
    """
    from toolkit.runtime.lowering import lower
    from toolkit.train.step import _native

    g = step.prepare(*batch).graph
    copies = {value: tensor.clone() for value, tensor in g.states.items()}
    program = lower(
        [*g.features, *g.targets, *g.rates],
        [g.loss, *g.outputs],
        states=copies,
        updates=g.updates,
        functions=g.functions,
    )
    rates = [to_native(np.float32(rate)) for rate in step.learning_rates()]
    loss, *outputs = program.run([*map(_native, batch), *rates])
    weights = _weights(step)
    changed = [v for v in g.states if v.name in weights and v in g.updates]
    changes = [
        float(np.max(np.abs(to_numpy(copies[v]) - to_numpy(g.states[v])), initial=0.0))
        for v in changed
    ]
    trained = {v.name for v in changed}
    return DryRun(
        loss=float(to_numpy(loss)),
        val_loss=None if val_batch is None else step.evaluate(*val_batch)[0],
        inputs=[
            _told(v.name, np.asarray(x))
            for v, x in zip([*g.features, *g.targets], batch, strict=True)
        ],
        outputs=[_told(v.name, to_numpy(x)) for v, x in zip(g.predictions, outputs, strict=True)],
        parameters=[
            (v.name or "", list(t.shape), v.name in trained)
            for v, t in g.states.items()
            if v.name in weights
        ],
        largest_change=max(changes, default=0.0),
        memory=MemoryReport(**program.program.memory()),
        nodes=len(g.graph),
    )


def _weights(step: TrainStep) -> set[str]:
    """Names of the model's parameters; of a step from a file, of floats that no step added."""
    if step.model is not None:
        return {name for name, _ in step.model.named_parameters()}
    own = ("optimizer.", *CARRIED)
    return {
        v.name or ""
        for v in step.graph.states
        if v.dtype is not None
        and v.dtype.is_floating_point()
        and not (v.name or "").startswith(own)
    }


def _told(name: str | None, array: np.ndarray[Any, Any]) -> tuple[str, str, Shape]:
    return name or "", str(array.dtype), list(array.shape)

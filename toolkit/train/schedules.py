"""Schedules of a training step: nodes of its graph where rates are functions of the step count.

Such a schedule reads the state `schedule.step`, so that any runtime goes on with it. Others are
driven from Python. The state of either travels in the file as JSON.
"""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from toolkit.errors import InvalidArgumentError, InvalidModelError, ToolkitError
from toolkit.graph.build import Builder
from toolkit.optim import lr_scheduler
from toolkit.optim.lr_scheduler import (
    ChainedScheduler,
    LRScheduler,
    ReduceLROnPlateau,
    SequentialLR,
)
from toolkit.optim.swa_utils import SWALR

if TYPE_CHECKING:
    from toolkit.train.step import TrainStep
    from toolkit.train.training_graph import Schedule

COUNT = "schedule.step"  # The state that counts steps.
RATES = (
    "lr",
    "initial_lr",
    "max_lr",
    "min_lr",
    "swa_lr",
)  # What schedules keep in a parameter group.
_DOUBLE = ir.DataType.DOUBLE
_NESTED = (SequentialLR, ChainedScheduler)
# Those that a file can make again: all but the ones with a function of the caller.
_KINDS = {
    **{name: getattr(lr_scheduler, name) for name in lr_scheduler.__all__},
    "SWALR": SWALR,
}
_OF_THE_CALLER = ("LRScheduler", "LambdaLR", "MultiplicativeLR")


def check(scheduler: Any, every: int, optimizer: Any) -> None:
    """Refuses a scheduler that a step cannot drive.

    Raises:
        InvalidArgumentError: not a schedule of the step's optimizer, or options out of range.
    """
    if not isinstance(every, int) or every < 0:
        raise InvalidArgumentError(
            f"TrainStep: schedule_every of 0 or more is required, got {every!r}."
        )
    if scheduler is None:
        return
    if not isinstance(scheduler, LRScheduler) or scheduler.optimizer is not optimizer:
        raise InvalidArgumentError(
            "TrainStep: a toolkit.optim.lr_scheduler on the step's own optimizer is required, got "
            f"{type(scheduler).__name__}."
        )
    if any(getattr(s, "cycle_momentum", False) for s in _all(scheduler)):
        raise InvalidArgumentError(
            "TrainStep: cycle_momentum=False is required of a scheduler, got True: momenta are "
            "fixed in the graph."
        )
    if every and isinstance(scheduler, ReduceLROnPlateau):
        raise InvalidArgumentError(
            "TrainStep: schedule_every=0 is required by ReduceLROnPlateau, got "
            f"{every}. Call scheduler.step(metric) yourself."
        )


def _all(scheduler: LRScheduler) -> list[LRScheduler]:
    """It, and those inside of it."""
    if not isinstance(scheduler, _NESTED):
        return [scheduler]
    return [scheduler, *(found for s in scheduler._schedulers for found in _all(s))]


def emit(b: Builder, scheduler: LRScheduler, every: int, count: ir.Value) -> list[ir.Value]:
    """Appends the rate of each parameter group at a step, float32 scalars."""
    t = b.Floor(b.Div(b.cast(count, _DOUBLE), float(every)))
    groups = range(len(scheduler.optimizer.param_groups))
    return [b.cast(scheduler.emit(b, t, i), ir.DataType.FLOAT) for i in groups]


def fits_graph(scheduler: LRScheduler | None, every: int) -> bool:
    """Whether the closed form gives the rates that the scheduler has set.

    It does not where schedules are chained, or `lr` was set by hand.
    """
    if scheduler is None or not every or not scheduler.is_closed_form:
        return False
    from toolkit.runtime.lowering import lower
    from toolkit.runtime.values import to_numpy

    graph = ir.Graph([], [], nodes=[], opset_imports={"": 28})
    b = Builder(graph)
    t = b.const(np.float64(scheduler.last_epoch))
    groups = scheduler.optimizer.param_groups
    values = [b.Identity(scheduler.emit(b, t, i)) for i in range(len(groups))]
    rates = [float(to_numpy(x)) for x in lower([], values).run([])]
    near = 1e-9 * max(float(g["initial_lr"]) for g in groups)  # Products of steps drift at 0.
    return bool(np.allclose(rates, [float(g["lr"]) for g in groups], rtol=1e-6, atol=near))


def describe(scheduler: LRScheduler) -> dict[str, Any]:
    """A scheduler's type and state."""
    state = copy.deepcopy(scheduler.state_dict())
    found: dict[str, Any] = {"type": type(scheduler).__name__}
    if isinstance(scheduler, _NESTED):
        state.pop("_schedulers")
        found["schedulers"] = [describe(s) for s in scheduler._schedulers]
    found["state"] = state
    return found


def put_back(scheduler: LRScheduler, description: Mapping[str, Any]) -> None:
    """Gives a scheduler the state that `describe` noted.

    Raises:
        InvalidArgumentError: the state is that of another kind of scheduler.
    """
    kind = type(scheduler).__name__
    if kind != description["type"]:
        raise InvalidArgumentError(
            f"schedule: a {description['type']} is required by the file, got {kind}."
        )
    state = dict(description["state"])
    if isinstance(scheduler, _NESTED):
        pairs = zip(scheduler._schedulers, description["schedulers"], strict=True)
        for inner, part in pairs:
            put_back(inner, part)
        state["_schedulers"] = [s.state_dict() for s in scheduler._schedulers]
    scheduler.load_state_dict(state)


def restored(description: Mapping[str, Any], optimizer: Any, where: str) -> LRScheduler | None:
    """The scheduler of a file; None for one that only its own program can make.

    Raises:
        InvalidModelError: the description is malformed.
    """
    try:
        found = _made(description, optimizer)
        if found is not None:
            _try(description, optimizer)
    except ToolkitError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        need = "the state of a toolkit.optim.lr_scheduler is required in its metadata"
        raise InvalidModelError(f"{where}: {need}, got one where: {error!r}.") from None
    return found


def _made(description: Mapping[str, Any], optimizer: Any) -> LRScheduler | None:
    kind = str(description["type"])
    if not kind.isidentifier():
        raise ValueError(f"{kind!r} is no type")
    if kind not in _KINDS or kind in _OF_THE_CALLER:
        return None
    if kind == "CyclicLR" and description["state"].get("_custom_scale"):
        return None
    cls = _KINDS[kind]
    clash = [name for name in description["state"] if hasattr(cls, name)]
    if clash:
        raise ValueError(f"'{clash[0]}' is no state of {kind}")
    made: LRScheduler = cls.__new__(cls)
    made.optimizer = optimizer
    if isinstance(made, _NESTED):
        parts = [_made(part, optimizer) for part in description["schedulers"]]
        if any(part is None for part in parts):
            return None
        made._schedulers = [part for part in parts if part is not None]
    put_back(made, description)
    return made


def _try(description: Mapping[str, Any], optimizer: Any) -> None:
    """A step on copies, so that a state that breaks it is found on loading."""
    groups = copy.deepcopy(optimizer.param_groups)
    scheduler = _made(description, SimpleNamespace(param_groups=groups))
    if isinstance(scheduler, ReduceLROnPlateau):
        scheduler.step(0.0)
    elif scheduler is not None:
        scheduler.get_last_lr()
        with contextlib.suppress(InvalidArgumentError):  # A cycle that is over.
            scheduler.step()
    for group in groups:
        float(group["lr"])


class ScheduleState:
    """Drives a step's scheduler, and knows what the file needs to go on with it."""

    def __init__(self, step: TrainStep) -> None:
        self._step = step
        self._known: LRScheduler | None = None  # Whose beginning was noted.
        self._start: dict[str, Any] | None = None
        self._since = 0  # Optimizer steps since the scheduler's latest.
        self._done: int | None = None  # Optimizer steps in all, when last looked at.
        self._rates: list[float] = []  # What `lr` must be where the graph computes it.
        self._pending: Mapping[str, Any] | None = None  # State for a scheduler that is to be set.

    def for_graph(self) -> Schedule | None:
        """The schedule that the graph can compute, and where it stands."""
        from toolkit.train.training_graph import Schedule

        scheduler, every = self._step.scheduler, self._step.schedule_every
        if scheduler is not self._known:
            self._known, self._since, self._done = scheduler, 0, None
            self._start = None if scheduler is None else self._note(scheduler)
        if scheduler is None or not fits_graph(scheduler, every):
            return None
        self._rates = self._lrs()
        assert self._start is not None
        start = int(self._start["scheduler"]["state"]["last_epoch"]) * every
        return Schedule(scheduler, every, scheduler.last_epoch * every + self._since, start)

    def before(self) -> None:
        """To be called before a step.

        Raises:
            InvalidArgumentError: the scheduler of a file is not there, or `lr` was set although the
                graph computes it.
        """
        step = self._step
        if self._pending is not None and step.scheduler is not None:
            self._put_back(step.scheduler, self._pending)
        if self._done is None:
            self._done = step._steps_done()
        if not step.graph.scheduled:
            if self._pending is not None:
                kind = self._pending["scheduler"]["type"]
                raise InvalidArgumentError(
                    f"TrainStep: step.scheduler = {kind}(step.optimizer, ...) is required to go on "
                    "with the schedule of the file, got none: its function is not in the file."
                )
        elif self._lrs() != self._rates or step.scheduler is not self._known:
            raise InvalidArgumentError(
                f"TrainStep: the rates of its schedule are required, got lr {self._lrs()} in place "
                f"of {self._rates}. The step itself calls scheduler.step()."
            )

    def after(self) -> None:
        """To be called after a step."""
        scheduler, every = self._step.scheduler, self._step.schedule_every
        done = self._step._steps_done()
        new = 1 if done is None or self._done is None else done - self._done
        self._done = done
        if scheduler is None or not every:
            return
        self._since += new
        while self._since >= every:
            self._since -= every
            scheduler.step()
        self._rates = self._lrs()

    def restart(self) -> None:
        """The schedule as it was at first."""
        self._done = None
        if self._start is not None and self._step.scheduler is not None:
            self._put_back(self._step.scheduler, {**self._start, "since": 0})

    def as_json(self) -> dict[str, Any] | None:
        """What `take` takes.

        Raises:
            InvalidArgumentError: the scheduler's state holds what JSON has not.
        """
        scheduler = self._step.scheduler
        if scheduler is None:
            return None if self._pending is None else {**self._pending, "start": self._start}
        start = self._start if scheduler is self._known else None
        found = {
            **self._note(scheduler),
            "every": self._step.schedule_every,
            "since": self._since,
            "start": start or self._note(scheduler),
        }
        try:
            json.dumps(found)
        except (TypeError, ValueError) as error:
            need = "a scheduler whose state is numbers and strings is required"
            raise InvalidArgumentError(
                f"save: {need}, got {type(scheduler).__name__}: {error}."
            ) from None
        return found

    def take(self, found: Mapping[str, Any], where: str) -> None:
        """Takes up the schedule of a file.

        Raises:
            InvalidModelError: it is malformed.
        """
        step = self._step
        step.schedule_every, self._since = int(found["every"]), int(found["since"])
        self._start = dict(found["start"])
        self._rates = self._lrs()
        step.scheduler = self._known = restored(found["scheduler"], step.optimizer, where)
        if step.scheduler is None:
            self._pending = found

    def adopt(self, other: ScheduleState) -> None:
        """Takes over where another step's schedule stands; the groups have its rates already."""
        self._done = None
        scheduler, found = self._step.scheduler, other.as_json()
        if scheduler is not None and found is not None:
            self._put_back(scheduler, found)
            self._start = found["start"]
        self._rates = self._lrs()

    def _put_back(self, scheduler: LRScheduler, found: Mapping[str, Any]) -> None:
        put_back(scheduler, found["scheduler"])
        for group, rates in zip(self._groups(), found["rates"], strict=True):
            group.update(rates)
        self._since = found["since"]
        self._known, self._pending, self._rates = scheduler, None, self._lrs()

    def _note(self, scheduler: LRScheduler) -> dict[str, Any]:
        return {"scheduler": describe(scheduler), "rates": group_rates(self._groups())}

    def _groups(self) -> list[dict[str, Any]]:
        return self._step.param_groups

    def _lrs(self) -> list[float]:
        return [float(group["lr"]) for group in self._groups()]


def group_rates(groups: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """The rates in parameter groups, as JSON has them."""
    return [{k: float(g[k]) for k in RATES if k in g} for g in groups]

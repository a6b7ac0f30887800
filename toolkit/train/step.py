"""`TrainStep`: forward, loss, backward and optimizer as one native program, updated in place."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit.errors import InvalidArgumentError, ShapeError
from toolkit.runtime import _core
from toolkit.runtime.values import to_native, to_numpy
from toolkit.train import schedules
from toolkit.train.options import AVERAGED, CARRIED, GradScaler, UpdateOptions

if TYPE_CHECKING:
    from toolkit.nn import Module
    from toolkit.optim import Optimizer
    from toolkit.optim.lr_scheduler import LRScheduler
    from toolkit.runtime.lowering import CompiledProgram
    from toolkit.tensor import Tensor
    from toolkit.train.source import Source
    from toolkit.train.training_graph import TrainingGraph


MANY_CHANGES = 8  # Of the optimizer's options: a warning.
_FILE_OPTIONS = {*schedules.RATES, "params"}


class TrainStep:
    """One training step as one program.

    The graph is built at the first batch, whose dimension 0 is taken as symbolic: later batches
    may be of any size. Parameters, buffers, optimizer state and random state are updated in place,
    in the memory that the module and the optimizer hold. Learning rates are inputs; when another
    option of the optimizer changes, or which parameters train, the step is built anew.

    Args:
        model: the module to train.
        loss_fn: `loss_fn(output, target)` gives a scalar.
        optimizer: a `toolkit.optim` optimizer over the model's parameters.
        clip_grad_norm: largest norm of all gradients together, as torch.nn.utils.clip_grad_norm_.
        clip_norm_type: order of that norm; `math.inf` for the largest element.
        clip_grad_value: largest absolute value of an element, as clip_grad_value_; it comes first.
        accumulate: number of calls that make one step. Each call adds the gradients of its batch's
            loss over that number; the last one updates. For mean losses and batches of one size
            that is a step on all of them together.
        grad_scaler: scales the loss, for float16.
        scheduler: a `toolkit.optim.lr_scheduler` on the optimizer. The step goes on with it, and
            its state is saved. Where the rates are a function of the step count, as they are but
            for LambdaLR and ReduceLROnPlateau, that function is part of the graph.
        schedule_every: optimizer steps between steps of the scheduler; 0: you call its `step`.
        ema_decay: keeps an exponential moving average of each parameter that trains, by the rule
            of torch.optim.swa_utils.AveragedModel; buffers are those of the model.
        precision: "bfloat16" or "float16" keeps activations of the forward pass and their
            gradients narrow, as torch.autocast does; see `toolkit.train.precision`. Take a
            `grad_scaler` with "float16".

    Example:
        step = TrainStep(model, nn.CrossEntropyLoss(), optim.AdamW(model.parameters()))
        loss, outputs = step(images, labels)
    """

    def __init__(
        self,
        model: Module | None,
        loss_fn: Callable[..., Tensor] | None,
        optimizer: Optimizer | Any,
        clip_grad_norm: float | None = None,
        clip_norm_type: float = 2.0,
        clip_grad_value: float | None = None,
        accumulate: int = 1,
        grad_scaler: GradScaler | None = None,
        scheduler: LRScheduler | None = None,
        schedule_every: int = 1,
        ema_decay: float | None = None,
        precision: str | None = None,
    ) -> None:
        self.model = model
        self.loss_fn = loss_fn
        self.optimizer = optimizer
        self.clip_grad_norm = clip_grad_norm
        self.clip_norm_type = clip_norm_type
        self.clip_grad_value = clip_grad_value
        self.accumulate = accumulate
        self.grad_scaler = grad_scaler
        self.scheduler = scheduler
        self.schedule_every = schedule_every
        self.ema_decay = ema_decay
        self.precision = precision
        self._options().check()
        schedules.check(scheduler, schedule_every, optimizer)
        self.metadata: dict[str, str] = {}
        self.seed: int | None = None  # Of the default generator, where a file told it.
        self._graph: TrainingGraph | None = None
        self._programs: dict[str, CompiledProgram] = {}
        self._pending: TrainStep | None = None
        self._settings: Any = None  # What the graph was built with.
        self._changes = 0
        self._step_state: _core.Tensor | None = None
        self._carried: dict[str, _core.Tensor] = {}  # States of the graph before.
        self._source: Source | None = None  # The file that the step is from.
        self._schedule = schedules.ScheduleState(self)

    def _options(self) -> UpdateOptions:
        return UpdateOptions(
            self.clip_grad_norm,
            self.clip_norm_type,
            self.clip_grad_value,
            self.accumulate,
            self.grad_scaler,
            self.ema_decay,
            self.precision,
        )

    @staticmethod
    def from_graph(
        graph: TrainingGraph,
        groups: Sequence[Mapping[str, float]],
        metadata: Mapping[str, str],
        source: Source | None = None,
    ) -> TrainStep:
        """A step that a file described: there is no module and no optimizer object behind it."""
        found = [{"initial_lr": g["lr"], **g, "params": []} for g in groups]
        step = TrainStep(None, None, SimpleNamespace(param_groups=found, state={}, defaults={}))
        step._graph = graph
        step._source = source
        step.metadata = dict(metadata)
        return step

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The optimizer's groups; `["lr"]` may be set between steps."""
        groups: list[dict[str, Any]] = self.optimizer.param_groups
        return groups

    def learning_rates(self) -> list[float]:
        """The rate of each parameter group, as the next step takes it."""
        if self._graph is not None and self._graph.scheduled:
            return [float(to_numpy(rate)) for rate in self._run("rates", [])]
        return [float(group["lr"]) for group in self.param_groups]

    @property
    def graph(self) -> TrainingGraph:
        """The traced graph.

        Raises:
            InvalidArgumentError: there was no batch yet.
        """
        if self._graph is None:
            raise InvalidArgumentError(
                "TrainStep: a batch is required first, got none. Call prepare(inputs, target)."
            )
        return self._graph

    def prepare(self, *batch: Any) -> TrainStep:
        """Builds the graph for batches like this one, without a step.

        Raises:
            InvalidArgumentError: the optimizer, the loss or the batch do not fit the model, or an
                option was set in a step from a file.
        """
        self._check_settings()
        if self._graph is None:
            from toolkit.tensor import as_tensor
            from toolkit.train.training_graph import build

            assert self.model is not None and self.loss_fn is not None
            if len(batch) < 2:
                raise InvalidArgumentError(
                    f"TrainStep: inputs and a target are required, got {len(batch)} values."
                )
            tensors = [as_tensor(x) for x in batch]
            self._graph = build(
                self.model,
                self.loss_fn,
                self.optimizer,
                tensors,
                self._options(),
                self._schedule.for_graph(),
            )
            self._take_carried(self._graph)
            if self._pending is not None:
                pending, self._pending = self._pending, None
                self.adopt(pending)
        return self

    def _check_settings(self) -> None:
        """Drops the graph when what is fixed in it has changed since it was built."""
        if self.model is None:
            self._refuse_settings()
            return
        schedules.check(self.scheduler, self.schedule_every, self.optimizer)
        settings = (
            _settings_of(self.optimizer), self._options(), self.scheduler, self.schedule_every
        )  # fmt: skip
        if self._graph is not None and settings != self._settings:
            self._carried = {
                str(v.name): t
                for v, t in self._graph.states.items()
                if (v.name or "").startswith(CARRIED)
            }
            self._graph = self._step_state = None
            self._programs.clear()
            self._changes += 1
            if self._changes == MANY_CHANGES:
                warnings.warn(
                    f"TrainStep: options of the optimizer other than lr changed {MANY_CHANGES} "
                    "times, and each time the step was compiled anew. A scheduler that cycles "
                    "momenta is better used without: cycle_momentum=False.",
                    stacklevel=3,
                )
        self._settings = settings

    def _take_carried(self, graph: TrainingGraph) -> None:
        """Sums of micro-batches and the loss scale go on where they stood."""
        carried, self._carried = self._carried, {}
        for value, tensor in graph.states.items():
            old = carried.get(value.name or "")
            if old is not None and old.shape == tensor.shape and old.dtype == tensor.dtype:
                tensor.copy_from(old)

    def _refuse_settings(self) -> None:
        found = {name for group in self.param_groups for name in group} - _FILE_OPTIONS
        now, default = vars(self._options()), vars(UpdateOptions())
        found |= {name for name in now if now[name] != default[name]}
        if found:
            raise InvalidArgumentError(
                "TrainStep: in a step from a file only 'lr' may be set, the other options are in "
                f"its graph, got {sorted(found)}. Build a TrainStep of tk.load and an optimizer."
            )

    def __call__(self, *batch: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Does one step.

        Args:
            batch: the model's inputs and, last, the target.

        Returns:
            The loss before the step, and the model's outputs in training mode.
        """
        from toolkit.tensor import Tensor

        self.prepare(*batch)
        self._schedule.before()
        rates = []
        if self.graph.rates:
            rates = [to_native(np.float32(rate)) for rate in self.learning_rates()]
        results = self._run("train", [*map(_native, batch), *rates])
        self._count_step()
        self._schedule.after()
        loss, *outputs = (Tensor._from_native(t) for t in results)
        return loss, tuple(outputs)

    @property
    def averages(self) -> bool:
        """Whether there is an average of the weights with a step in it."""
        if self._graph is None:
            return False
        counts = (t for v, t in self._graph.states.items() if v.name == AVERAGED)
        return any(int(to_numpy(t)) > 0 for t in counts)

    def evaluate(
        self, *batch: Any, averaged: bool = False
    ) -> tuple[float, list[np.ndarray[Any, Any]]]:
        """Loss and outputs in inference mode; nothing is changed.

        Args:
            batch: the model's inputs and, last, the target.
            averaged: with the average of the weights, if there is one.
        """
        self.prepare(*batch)
        kind = "evaluate averaged" if averaged and self.averages else "evaluate"
        loss, *outputs = self._run(kind, list(map(_native, batch)))
        return float(to_numpy(loss)), [to_numpy(t) for t in outputs]

    def predict(self, *inputs: Any, averaged: bool = False) -> list[np.ndarray[Any, Any]]:
        """The outputs in inference mode, as arrays; `averaged` as in `evaluate`."""
        kind = "predict averaged" if averaged and self.averages else "predict"
        return [to_numpy(t) for t in self._run(kind, list(map(_native, inputs)))]

    def state_dict(self) -> dict[str, np.ndarray[Any, Any]]:
        """All states by name (parameters, buffers, optimizer, random), over their memory."""
        return {v.name or "": to_numpy(t) for v, t in self.graph.states.items()}

    def initialize(self, seed: int | None = None) -> TrainStep:
        """Starts the training anew: states take the values that they had at first.

        Weights are drawn again as `toolkit.nn.init` drew them, statistics, optimizer state and
        step count are reset. A weight that was set in another way (loaded, or written by hand)
        keeps what it holds. A `scheduler` starts anew; other learning rates stay as they are.

        Args:
            seed: draws other weights (and dropout masks); None: the same again.

        Raises:
            InvalidArgumentError: a file's training_info holds no initialization, or none that
                takes a seed.
        """
        if self.graph.initialization is None:
            raise InvalidArgumentError(
                "TrainStep.initialize: an initialization in training_info is required, got none."
            )
        states = {v.name or "": t for v, t in self.graph.states.items()}
        values = self.graph.initialization.run(seed, states)
        for name, value in values.items():
            if name in states:
                _check_same(f"initialize: state '{name}'", states[name], value)
        for name, tensor in states.items():
            if name in values:
                tensor.copy_from(values[name])
        self._count_step()
        self._schedule.restart()
        return self

    def adopt(self, other: TrainStep) -> None:
        """Takes over the values of all of another step's states, and its learning rates.

        Raises:
            InvalidArgumentError: the states' names differ.
            ShapeError: a state's shape or type differs.
        """
        theirs_groups = schedules.group_rates(other.param_groups)
        for group, rates in zip(self.param_groups, theirs_groups, strict=False):
            group["lr"] = rates["lr"]
        self._schedule.adopt(other._schedule)
        _adopt_random_state(other)
        if self._graph is None:
            self._pending = other
            return
        mine, theirs = _kept(self.graph), _kept(other.graph)
        if mine.keys() != theirs.keys():
            differing = sorted(str(n) for n in mine.keys() ^ theirs.keys())[:5]
            raise InvalidArgumentError(
                f"TrainStep.adopt: the same states are required, got a difference in {differing}."
            )
        for name, tensor in mine.items():
            _check_same(f"adopt: state '{name}'", tensor, theirs[name])
        for name, tensor in mine.items():
            tensor.copy_from(theirs[name])

    def save(
        self,
        path: str | os.PathLike[str],
        metadata: Mapping[str, str] | None = None,
        opset: int | None = None,
        averaged: bool = False,
    ) -> None:
        """Writes model, training algorithm and all states as one `.onnx`; see `tk.save`.

        Args:
            path: the file; it is replaced in one go.
            metadata: entries for `metadata_props`.
            opset: of the file.
            averaged: the model infers with the average of the weights; its training still goes on
                from the weights.
        """
        from toolkit.train.onefile import save_step

        save_step(self, path, {**self.metadata, **(metadata or {})}, opset, averaged)

    def _run(self, kind: str, inputs: list[_core.Tensor]) -> list[_core.Tensor]:
        program = self._programs.get(kind)
        if program is None:
            program = self._programs[kind] = self._compile(kind)
        names = program.input_names
        if len(inputs) != len(names):
            rates = len(self.graph.rates) if kind == "train" else 0  # Not the caller's.
            raise InvalidArgumentError(
                f"TrainStep: a batch of {list(names[: len(names) - rates])} is required, "
                f"got {len(inputs) - rates} values."
            )
        return program.run(inputs)

    def _compile(self, kind: str) -> CompiledProgram:
        from toolkit.runtime.lowering import lower

        g = self.graph
        if kind == "train":
            return lower(
                [*g.features, *g.targets, *g.rates],
                [g.loss, *g.outputs],
                states=g.states,
                updates=g.updates,
                functions=g.functions,
            )
        states = dict(g.states)
        if kind.endswith("averaged"):
            from toolkit.train.updates import averages

            states.update({w: states[a] for w, a in averages(g.states).items()})
        if kind.startswith("evaluate"):
            if g.eval_loss is None:
                raise InvalidArgumentError(
                    "TrainStep.evaluate: a loss in inference mode is required, got a file without."
                )
            inputs, outputs = [*g.features, *g.targets], [g.eval_loss, *g.predictions]
        elif kind == "rates":
            inputs, outputs = [], g.scheduled
        else:
            inputs, outputs = g.features, g.predictions
        return lower(inputs, outputs, states=states, functions=g.functions)

    def _count_step(self) -> None:
        """Keeps the optimizer's own step counts true, for its `state_dict`."""
        done = None if self.model is None else self._steps_done()
        if done is not None:
            self.optimizer.set_step_count(done)

    def _steps_done(self) -> int | None:
        """How many steps the optimizer has done; None where a file does not say."""
        if self._step_state is None:
            from toolkit.train.training_graph import STEP

            found = [t for v, t in self.graph.states.items() if v.name == STEP and not t.shape]
            if not found:
                return None
            self._step_state = found[0]
        return int(to_numpy(self._step_state))


def _adopt_random_state(other: TrainStep) -> None:
    """At once, not at the first batch: a loader's order follows from the generator's seed."""
    from toolkit import random
    from toolkit.train.initialization import RANDOM_STATE

    mine = random.default_generator.state._value
    if other.seed is not None and other.seed != random.initial_seed():
        random.manual_seed(other.seed)
    for value, tensor in (other._graph.states if other._graph is not None else {}).items():
        if value.name == RANDOM_STATE and tensor.shape == mine.shape:
            mine.copy_from(tensor)


def _check_same(where: str, mine: _core.Tensor, other: _core.Tensor) -> None:
    if mine.shape != other.shape or mine.dtype != other.dtype:
        raise ShapeError(
            f"TrainStep.{where} must have shape {mine.shape}, got {other.shape}"
            + ("." if mine.dtype == other.dtype else f" of type {other.dtype}.")
        )


def _settings_of(optimizer: Optimizer) -> list[Any]:
    """Of each group: attributes, direction, states, and which parameters train."""
    return [
        (
            optimizer.attributes(group),
            group.get("maximize", False),
            optimizer.state_names(group),
            [id(p) for p in group["params"] if p.requires_grad],
        )
        for group in optimizer.param_groups
    ]


def _kept(graph: TrainingGraph) -> dict[str | None, _core.Tensor]:
    """What a file keeps of the states: those that change, and weights. Others are constants."""
    from toolkit.train.onefile import is_state

    return {v.name: t for v, t in graph.states.items() if v in graph.updates or is_state(v)}


def _native(value: Any) -> _core.Tensor:
    native = getattr(value, "_value", None)
    return native if isinstance(native, _core.Tensor) else to_native(value)

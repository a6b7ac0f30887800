"""One graph that holds a model and its training step: what a `TrainStep` compiles and saves.

The inference nodes come first, then the training nodes: forward in training mode, loss, gradients,
optimizer. Parameters, buffers, optimizer state, step count and random state are initializers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from toolkit._tensor.initial import Initial, initial_of
from toolkit.autodiff.backward import gradients
from toolkit.errors import InvalidArgumentError
from toolkit.graph.build import Builder, mark_variable
from toolkit.nn.export import as_tuple, input_names, symbolic_input
from toolkit.nn.parameter import Parameter
from toolkit.runtime import _core
from toolkit.runtime.values import to_native
from toolkit.train import initialization, schedules
from toolkit.train.initialization import RANDOM_STATE, Initialization
from toolkit.train.options import CARRIED, UpdateOptions
from toolkit.train.precision import narrow
from toolkit.train.updates import SCALE, Updates

if TYPE_CHECKING:
    from toolkit.nn import Module
    from toolkit.optim import Optimizer
    from toolkit.optim.lr_scheduler import LRScheduler
    from toolkit.tensor import Tensor

STEP = "optimizer.step"


@dataclass(frozen=True)
class Schedule:
    """A schedule that the graph computes, with the steps done and those before the first one."""

    scheduler: LRScheduler
    every: int
    count: int
    start: int


@dataclass
class TrainingGraph:
    """The graph and the roles of its values. `states` maps initializers to their live memory."""

    graph: ir.Graph
    features: list[ir.Value]  # Inputs of the model.
    predictions: list[ir.Value]  # Its outputs in inference mode.
    targets: list[ir.Value]  # What the loss takes besides.
    rates: list[ir.Value]  # Learning rates that are inputs, one a parameter group.
    loss: ir.Value
    outputs: list[ir.Value]  # The model's outputs in training mode.
    eval_loss: ir.Value | None
    updates: dict[ir.Value, ir.Value]
    states: dict[ir.Value, _core.Tensor]
    functions: Mapping[tuple[str, str, str], ir.Function] = field(default_factory=dict)
    initialization: Initialization | None = None
    scheduled: list[ir.Value] = field(default_factory=list)  # Rates that the graph computes.
    gradients: dict[ir.Value, ir.Value] = field(default_factory=dict)  # Of one micro-batch.


def build(
    model: Module,
    loss_fn: Callable[..., Tensor],
    optimizer: Optimizer,
    batch: Sequence[Tensor],
    options: UpdateOptions | None = None,
    schedule: Schedule | None = None,
) -> TrainingGraph:
    """Traces model, loss, gradients and optimizer into one graph.

    Args:
        model: the module; its parameters' memory becomes the states' memory.
        loss_fn: `loss_fn(output, target)`, a scalar.
        optimizer: holds the parameters that train.
        batch: example inputs and, last, the target. Dimension 0 is symbolic, "batch".
        options: what is done to the gradients before the optimizer.
        schedule: computes the learning rates; without they are inputs.

    Raises:
        InvalidArgumentError: the loss is no scalar, or a parameter has no part in it.
    """
    from toolkit import random
    from toolkit.tracing import Trace

    *features, target = batch
    with Trace() as trace:
        named: dict[int, str] = {}
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            trace.name_tensor(tensor, name)
            named[id(tensor)] = name
        trace.name_tensor(random.default_generator.state, RANDOM_STATE)
        inputs = [
            symbolic_input(trace, name, x)
            for name, x in zip(input_names(model, len(features)), features, strict=True)
        ]
        goal = symbolic_input(trace, _fresh("target", inputs), target)
        was_training = model.training
        try:
            model.eval()
            predictions, eval_loss = _outputs_and_loss(model, loss_fn, inputs, goal)
            model.train()
            outputs, loss = _outputs_and_loss(model, loss_fn, inputs, goal)
        finally:
            model.train(was_training)
    if loss.ndim != 0:
        raise InvalidArgumentError(
            f"TrainStep: a scalar loss is required, got shape {tuple(loss.shape)}. Reduce it."
        )
    options = options or UpdateOptions()
    narrowed = _narrowed(trace, [*predictions, eval_loss], [*outputs, loss], options.precision)
    result = TrainingGraph(
        graph=trace.graph,
        features=[x._value for x in inputs],
        predictions=[x._value for x in predictions],
        targets=[goal._value],
        rates=[],
        loss=narrowed.get(loss._value, loss._value),
        outputs=[narrowed.get(x._value, x._value) for x in outputs],
        eval_loss=eval_loss._value,
        updates={},
        states={},
    )
    fills: dict[ir.Value, Initial] = {}
    for tensor, value in trace.initializers():
        result.states[value] = tensor._value
        initial = initial_of(tensor, written=not isinstance(tensor, Parameter))
        if initial is not None:
            fills[value] = initial
    for tensor, value in trace.mutations.values():
        result.updates[trace.value_of(tensor)] = narrowed.get(value, value)
    _name_outputs(result)
    _add_optimizer(result, trace, optimizer, named, options, schedule)
    for value in result.states:
        if (value.name or "").startswith(("optimizer.", *CARRIED)):
            scaler = options.grad_scaler if value.name == SCALE else None
            fills[value] = Initial("constant", shift=scaler.init_scale if scaler else 0.0)
        elif value.name == schedules.COUNT and schedule is not None:
            fills[value] = Initial("constant", shift=float(schedule.start))
    generator = random.default_generator.state
    result.initialization = initialization.build(result.states, fills, generator._value.numpy())
    return result


def _outputs_and_loss(
    model: Module, loss_fn: Callable[..., Tensor], inputs: Sequence[Tensor], goal: Tensor
) -> tuple[tuple[Tensor, ...], Tensor]:
    """A loss with a method `run` runs the model itself: it needs more than the output."""
    run = getattr(loss_fn, "run", None)
    if run is not None:
        return run(model, inputs, goal)  # type: ignore[no-any-return]
    outputs = as_tuple(model(*inputs))
    return outputs, loss_fn(outputs[0], goal)


def _narrowed(
    trace: Any, inference: list[Tensor], training: list[Tensor], precision: str | None
) -> dict[ir.Value, ir.Value]:
    """Rewrites the forward pass in training mode for a narrow precision."""
    if precision in (None, "float32"):
        return {}
    mutated = [value for _, value in trace.mutations.values()]
    known, wanted = ([x._value for x in part] for part in (inference, training))
    return narrow(trace.graph, known, [*wanted, *mutated], precision)


def _add_optimizer(
    result: TrainingGraph,
    trace: Any,
    optimizer: Optimizer,
    named: dict[int, str],
    options: UpdateOptions,
    schedule: Schedule | None,
) -> None:
    """Appends gradients, what is done to them, and the optimizer's nodes."""
    b: Builder = trace.recorder.builder
    updates = Updates(b, options, lambda name, array: _state(result, name, array))
    groups = [(i, p) for i, g in enumerate(optimizer.param_groups) for p in g["params"]]
    groups = [(i, p) for i, p in groups if p.requires_grad]
    for _, p in groups:
        if id(p) not in named:
            raise InvalidArgumentError(
                f"TrainStep: the optimizer's parameters must be the model's, got one of shape "
                f"{tuple(p.shape)} that the model does not hold."
            )
    values = [trace.value_of(p) for _, p in groups]
    grads = gradients(result.graph, [result.loss], [updates.seed(result.loss)], values)
    for (_, p), grad in zip(groups, grads, strict=True):
        if grad is None:
            raise InvalidArgumentError(
                f"TrainStep: the loss must depend on every parameter that trains, got none for "
                f"'{named[id(p)]}'. Freeze it with requires_grad_(False)."
            )
    result.gradients = _named_gradients(result, b, values, grads)
    found = updates.prepared(list(result.gradients.values()), [named[id(p)] for _, p in groups])
    rates = _add_rates(result, updates, optimizer, schedule)
    optimizer.begin()
    step = _state(result, STEP, optimizer_step_array(optimizer))
    next_step = b.Add(step, 1)
    result.updates[step] = updates.chosen(next_step, step)
    for (i, p), value, grad in zip(groups, values, found, strict=True):
        state = {}
        for key, array in optimizer.init_state(p).items():
            current = optimizer.state.get(p, {}).get(key)
            native = None if current is None else current._value
            name = f"optimizer.{named[id(p)]}.{key}"
            state[key] = _state(result, name, array, native)
        group = optimizer.param_groups[i]
        new, new_state = optimizer.emit(b, value, grad, state, rates[i], next_step, group)
        result.updates[value] = updates.chosen(new, value)
        updates.average(named[id(p)], p._value.numpy(), new)
        for key, new_value in new_state.items():
            result.updates[state[key]] = updates.chosen(new_value, state[key])
    result.updates.update(updates.finish())
    for old, new in result.updates.items():
        new.name = f"{old.name}.next"


def _add_rates(
    result: TrainingGraph, updates: Updates, optimizer: Optimizer, schedule: Schedule | None
) -> list[ir.Value]:
    """The learning rate of each parameter group: an input, or what the schedule gives."""
    groups = len(optimizer.param_groups)
    names = ["lr"] if groups == 1 else [f"lr.{i}" for i in range(groups)]
    if schedule is not None:
        count = _state(result, schedules.COUNT, np.int64(schedule.count))
        found = schedules.emit(updates.b, schedule.scheduler, schedule.every, count)
        result.updates[count] = updates.chosen(updates.b.Add(count, 1), count)
        result.scheduled = found
        for value, name in zip(found, names, strict=True):
            value.name = name
        return found
    for name in names:
        value = ir.Value(name=name, shape=ir.Shape([]), type=ir.TensorType(ir.DataType.FLOAT))
        result.graph.inputs.append(value)
        result.rates.append(value)
    return result.rates


def _named_gradients(
    result: TrainingGraph, b: Builder, values: Sequence[ir.Value], grads: Sequence[ir.Value | None]
) -> dict[ir.Value, ir.Value]:
    """Each gradient as a value of its own, `<parameter>.grad`."""
    found: dict[ir.Value, ir.Value] = {}
    taken = {result.loss, *result.outputs, *result.updates.values()}
    for value, grad in zip(values, grads, strict=True):
        assert grad is not None
        own = grad.producer() is not None and grad not in taken
        found[value] = grad if own else b.Identity(grad)
        taken.add(found[value])
        found[value].name = f"{value.name}.grad"
    return found


def optimizer_step_array(optimizer: Optimizer) -> Any:
    """How many steps the optimizer has done, as the state that the graph counts on."""
    steps = [s["step"] for s in optimizer.state.values() if "step" in s]
    return np.asarray(int(steps[0]) if steps else 0, dtype=np.int64)


def _state(
    result: TrainingGraph, name: str, array: Any, native: _core.Tensor | None = None
) -> ir.Value:
    """An initializer with memory of its own."""
    tensor = native if native is not None else to_native(array).clone()
    value = ir.Value(
        name=name,
        shape=ir.Shape(tensor.shape),
        type=ir.TensorType(ir.DataType(tensor.dtype)),
        const_value=ir.tensor(tensor.numpy(), name=name),
    )
    result.graph.register_initializer(mark_variable(value))
    result.states[value] = tensor
    return value


def _fresh(name: str, inputs: Sequence[Tensor]) -> str:
    taken = {x._value.name for x in inputs}
    while name in taken:
        name += "_"
    return name


def _name_outputs(result: TrainingGraph) -> None:
    """Names for what leaves the graph, unless the value is an input or an initializer."""
    named = [("loss", result.loss), ("eval_loss", result.eval_loss)]
    for prefix, values in (("output", result.predictions), ("train_output", result.outputs)):
        named += [(prefix if i == 0 else f"{prefix}_{i}", v) for i, v in enumerate(values)]
    for name, value in named:
        if value is not None and value.producer() is not None:
            value.name = name

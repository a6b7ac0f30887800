"""Steps from the training artifacts of onnxruntime-training, and checkpoints back to it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from toolkit.convert.ort_artifacts import Artifacts, Optimizer, read_artifacts
from toolkit.convert.ort_checkpoint import Checkpoint, OptimizerGroup, write_checkpoint
from toolkit.errors import InvalidArgumentError, InvalidModelError
from toolkit.graph.build import Builder, constant_of, mark_variable
from toolkit.graph.functions import take_places
from toolkit.graph.io import load_model, save_model
from toolkit.graph.training_info import strip, values_by_name
from toolkit.random import default_generator
from toolkit.runtime.constants import native_of
from toolkit.train.initialization import RANDOM_STATE
from toolkit.train.onefile import export_train_step, is_state
from toolkit.train.options import UpdateOptions
from toolkit.train.step import TrainStep
from toolkit.train.training_graph import STEP, TrainingGraph, _state
from toolkit.train.updates import Updates

__all__ = ["LAYOUTS", "convert_artifacts", "load_artifacts", "save_artifacts_checkpoint"]

LAYOUTS = ("training-info", "step", "model")

WEIGHTS = "toolkit.onnxruntime"  # Key of the metadata entry that says which weights train.
_MOMENTS: dict[str, dict[str, str | None]] = {  # What is named momentum0, …; None: zeros.
    "AdamW": {"momentum0": "exp_avg", "momentum1": "exp_avg_sq"},
    "SGD": {"momentum0": None},
}
_OPTIM = "toolkit.optim"


def load_artifacts(
    folder: str | os.PathLike[str],
    learning_rate: float | None = None,
    accumulate: int = 1,
    outputs: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    prefix: str = "",
) -> TrainStep:
    """Reads a folder of onnxruntime-training as a step that goes on where its checkpoint stands.

    The step is in standard operators and saves as the one file. A call does what `module(...)`,
    `optimizer.step()` and `module.lazy_reset_grad()` did together.

    Args:
        folder: training_model.onnx, eval_model.onnx, optimizer_model.onnx, checkpoint.
        learning_rate: otherwise the checkpoint's, which is the one that training began with.
        accumulate: number of calls that make one step, on the sum of their gradients.
        outputs: names of what the model gives without its loss, if not what the loss was made of.
        targets: names of the inputs that only the loss takes, if they are not found.
        checkpoint: another checkpoint than the folder's own.
        prefix: of the files' names.

    Raises:
        InvalidModelError: a file is missing or damaged, or there is no optimizer.
        UnsupportedOperatorError: an operator or optimizer is not known.
        InvalidArgumentError: there is no such output or target.
    """
    found = read_artifacts(folder, prefix, checkpoint, outputs, targets)
    if found.optimizer is None:
        raise InvalidModelError(
            f"artifacts '{os.fspath(folder)}': an optimizer_model.onnx is required, got none. "
            "Use tk.load of the evaluation model and toolkit.optim."
        )
    options = UpdateOptions(accumulate=accumulate, clip_grad_norm=found.optimizer.max_norm)
    options.check()
    graph = _training_graph(found)
    _seed_dropouts(graph)
    _add_optimizer(graph, found, found.optimizer, options)
    groups = found.checkpoint.groups
    if learning_rate is None:
        learning_rate = groups[0].learning_rate if groups else OptimizerGroup().learning_rate
    weights = {
        "parameters": list(found.gradients),
        "frozen": list(found.checkpoint.frozen),
        "momentums": _MOMENTS[found.optimizer.kind],
        "properties": found.checkpoint.properties,
    }
    return TrainStep.from_graph(graph, [{"lr": learning_rate}], {WEIGHTS: json.dumps(weights)})


def _training_graph(found: Artifacts) -> TrainingGraph:
    """The graph with its roles, before the optimizer: weights and float constants are states."""
    values = values_by_name(found.model)
    updates = {values[name]: values[new] for name, new in found.statistics.items()}
    kept = {values[name] for name in found.gradients} | updates.keys()
    states = {}
    for value in found.model.graph.initializers.values():
        if value.const_value is not None and (value in kept or is_state(value)):
            states[mark_variable(value)] = native_of(value.const_value).clone()
    return TrainingGraph(
        graph=found.model.graph,
        features=[values[name] for name in found.features],
        predictions=[values[name] for name in found.predictions],
        targets=[values[name] for name in found.targets],
        rates=[],
        loss=values[found.loss],
        outputs=[values[name] for name in found.outputs],
        eval_loss=values[found.eval_loss],
        updates=updates,
        states=states,
        functions=dict(found.model.functions),
    )


def _seed_dropouts(result: TrainingGraph) -> None:
    """Draws the masks of Dropout by our generator: any runtime makes the same ones.

    The state begins as the default generator's, which `tk.manual_seed` sets.
    """
    b = Builder(result.graph)
    nodes = [n for n in result.graph if n.op_type == "Dropout" and _number(n, 2)]
    if not nodes:
        return
    state = _state(result, RANDOM_STATE, default_generator.state.numpy())
    for call, node in enumerate(nodes):
        b.before = node
        ratio = _number(node, 1)
        how = {"ratio": 0.5 if ratio is None else float(ratio), "call": call}
        drawn = b.call("toolkit.random", "Dropout", [node.inputs[0], state], how, 2)
        take_places(b, node, drawn)
    b.before = None
    result.updates[state] = b.Add(state, b.const(np.array([0, len(nodes)], np.uint64)))


def _number(node: ir.Node, index: int) -> Any:
    """A constant input as a number, None if it is left out or is computed."""
    value = node.inputs[index] if index < len(node.inputs) else None
    found = None if value is None else constant_of(value)
    return None if found is None else found.item()


def _add_optimizer(
    result: TrainingGraph, found: Artifacts, optimizer: Optimizer, options: UpdateOptions
) -> None:
    """Appends what is done to the gradients, and the optimizer's nodes."""
    b = Builder(result.graph)
    values = values_by_name(found.model)
    updates = Updates(b, options, lambda name, array: _state(result, name, array))
    parameters = [values[name] for name in found.gradients]
    grads = [values[name] for name in found.gradients.values()]
    grads = updates.prepared(grads, list(found.gradients))
    rate = ir.Value(name="lr", shape=ir.Shape([]), type=ir.TensorType(ir.DataType.FLOAT))
    result.graph.inputs.append(rate)
    result.rates.append(rate)
    group = found.checkpoint.groups[0] if found.checkpoint.groups else OptimizerGroup()
    step = _state(result, STEP, np.asarray(group.step, np.int64))
    next_step = b.Add(step, 1)
    result.updates[step] = updates.chosen(next_step, step)
    for value, grad in zip(parameters, grads, strict=True):
        moments = _moments(result, value, group, _MOMENTS[optimizer.kind])
        new = _emit(b, optimizer, [value, grad, *moments], rate, next_step)
        for old, after in zip([value, *moments], new, strict=True):
            result.updates[old] = updates.chosen(after, old)
    result.updates.update(updates.finish())
    for old, after in result.updates.items():
        after.name = f"{old.name}.next"


def _moments(
    result: TrainingGraph,
    value: ir.Value,
    group: OptimizerGroup,
    names: Mapping[str, str | None],
) -> list[ir.Value]:
    """The states of a parameter, as the checkpoint holds them, or zeros."""
    assert value.const_value is not None and value.name is not None
    parameter = value.const_value.numpy()
    held = group.states.get(value.name, {})
    states = []
    for key, name in names.items():
        if name is None:
            continue
        array = held.get(key, np.zeros_like(parameter))
        if array.shape != parameter.shape or array.dtype != parameter.dtype:
            raise InvalidModelError(
                f"checkpoint: a {key} of shape {parameter.shape} is required for "
                f"'{value.name}', got {array.dtype} of {array.shape}."
            )
        states.append(_state(result, f"optimizer.{value.name}.{name}", array))
    return states


def _emit(
    b: Builder, optimizer: Optimizer, operands: Sequence[Any], rate: ir.Value, step: ir.Value
) -> Sequence[ir.Value]:
    if optimizer.kind == "SGD":
        return [b.call(_OPTIM, "SGD", [*operands, None, rate, step])]
    names = ("alpha", "beta", "epsilon", "weight_decay", "adam_mode", "correct_bias")
    given = {name: v for name, v in optimizer.attributes.items() if name in names}
    results: Sequence[ir.Value] = b.call(
        _OPTIM, "AdamWOptimizer", [*operands, rate, step], given, len(operands) - 1
    )
    return results


def convert_artifacts(
    folder: str | os.PathLike[str],
    target: str | os.PathLike[str],
    layout: str = "training-info",
    opset: int | None = None,
    runtime: str | None = None,
    inline: bool = False,
    **options: Any,
) -> None:
    """Writes a folder of onnxruntime-training's artifacts as one `.onnx` of standard operators.

    Args:
        folder: as in `load_artifacts`.
        target: the file; it is replaced in one go.
        layout: "training-info", the one file; "step", one flat step for any runtime; "model",
            what the network gives, without its training.
        opset: of the file.
        runtime: what a step is to run on, see `toolkit.export_train_step`.
        inline: write function bodies out flat; a step always is.
        options: of `load_artifacts`.

    Raises:
        InvalidArgumentError: there is no such layout, or it takes no runtime.
    """
    if layout not in LAYOUTS:
        raise InvalidArgumentError(
            f"convert_artifacts: a layout among {LAYOUTS} is required, got '{layout}'."
        )
    if runtime is not None and layout != "step":
        raise InvalidArgumentError(
            f"convert_artifacts: layout 'step' is required with a runtime, got '{layout}'."
        )
    step = load_artifacts(folder, **options)
    if layout == "step":
        export_train_step(target, step, opset=opset, target=runtime)
        return
    step.save(target, opset=opset)
    if layout == "model" or inline:
        model = load_model(target)
        if layout == "model":
            strip(model)
            model.metadata_props.clear()
        save_model(model, target, opset=opset, inline=inline)


def save_artifacts_checkpoint(step: TrainStep, path: str | os.PathLike[str]) -> None:
    """Writes a step's states as a checkpoint that onnxruntime-training 1.19 reads.

    Args:
        step: one that `load_artifacts` gave, or `load_training` of the file that it saved.
        path: the file; it is replaced in one go.

    Raises:
        InvalidArgumentError: the step came from elsewhere.
    """
    if WEIGHTS not in step.metadata:
        raise InvalidArgumentError(
            "save_artifacts_checkpoint: a step from onnxruntime's artifacts is required, got "
            "another. Use load_artifacts."
        )
    roles = json.loads(step.metadata[WEIGHTS])
    states: Mapping[str, Any] = step.state_dict()
    held = {
        name: {
            key: np.zeros_like(states[name]) if ours is None else states[f"optimizer.{name}.{ours}"]
            for key, ours in roles["momentums"].items()
        }
        for name in roles["parameters"]
    }
    group = OptimizerGroup("group0", int(states[STEP]), step.learning_rates()[0], held)
    checkpoint = Checkpoint(
        {name: states[name] for name in roles["parameters"]},
        {name: states[name] for name in roles["frozen"]},
        [group],
        roles["properties"],
    )
    write_checkpoint(path, checkpoint)

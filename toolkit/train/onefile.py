"""The one file: a model, its training algorithm and all states in one standard `.onnx`.

The inference graph is the model's graph. `training_info` holds the algorithm: the nodes of one
training step, which continue the inference graph (onnx.proto: the two are concatenated), the
update bindings from initializers to their new values, and an initialization. Learning rates are
inputs of the algorithm, or nodes of it that compute a schedule.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import onnx
import onnx_ir as ir

from toolkit.convert.loading import save_object
from toolkit.convert.ort_artifacts import is_artifacts
from toolkit.errors import InvalidArgumentError, InvalidModelError, ToolkitError
from toolkit.graph.build import mark_variable
from toolkit.graph.io import load_model, read_proto, to_proto, write_proto
from toolkit.graph.targets import lower_to
from toolkit.graph.training_file import write_training
from toolkit.graph.training_info import ROLES, values_by_name
from toolkit.graph.training_join import FIRST_IR, Entry, check_training, join, split
from toolkit.nn import Module
from toolkit.random import initial_seed
from toolkit.train.initialization import Initialization
from toolkit.train.pieces import cut
from toolkit.train.precision import export_opset
from toolkit.train.reading import (
    check_update,
    first_values,
    guess_roles,
    is_inference_loss,
    named_updates,
    read_initialization,
    read_roles,
    sequenced,
)
from toolkit.train.schedules import group_rates
from toolkit.train.source import Source
from toolkit.train.step import TrainStep
from toolkit.train.training_graph import TrainingGraph
from toolkit.train.updates import averages

if TYPE_CHECKING:
    pass


def save_step(
    step: TrainStep,
    path: str | os.PathLike[str],
    metadata: Mapping[str, str] | None = None,
    opset: int | None = None,
    averaged: bool = False,
) -> None:
    """Writes a step's model with its training_info.

    Args:
        step: a step that has seen a batch. One from a file is written as that file, with its states
            as they are now.
        path: the file; it is replaced in one go. Weights of 2 GB and more go to a file beside it.
        metadata: entries for `metadata_props`.
        opset: of the file.
        averaged: weights and their averages change places, so that inference takes the averages.
    """
    g = step.graph
    place = _exchanged(g) if averaged else {}
    now = {**_roles(step), "averaged": bool(place)}
    roles: dict[str, Any] | None = now
    if step._source is not None:
        roles = step._source.with_roles(now)
        states = {v.name or "": g.states[place.get(v, v)] for v in g.states}
        proto = step._source.filled(states)
        proto = proto if opset is None else to_proto(load_model(proto), opset)
    else:
        proto = to_proto(whole_model(g, place), opset or export_opset(g.graph))
        split_training(proto, g)
    proto.ir_version = max(proto.ir_version, FIRST_IR)
    entries = dict(metadata or {})
    if roles is not None:
        entries[ROLES] = json.dumps(roles)
    onnx.helper.set_model_props(proto, entries)
    write_training(proto, path)


def _roles(step: TrainStep) -> dict[str, Any]:
    """The roles of values and what is set in Python, as JSON has them."""
    g = step.graph
    return {
        "features": names_of(g.features),
        "targets": names_of(g.targets),
        "rates": dict(zip(names_of(g.rates), step.learning_rates(), strict=True))
        if g.rates
        else {},
        "groups": group_rates(step.param_groups),
        "scheduled": names_of(g.scheduled),
        "schedule": step._schedule.as_json(),
        "loss": g.loss.name,
        "outputs": names_of(g.outputs),
        "eval_loss": g.eval_loss.name if g.eval_loss is not None else None,
        "predictions": names_of(g.predictions),
        "seed": initial_seed(),
    }


def _exchanged(g: TrainingGraph) -> dict[ir.Value, ir.Value]:
    """Whose memory stands for which state's, when weights and averages change places."""
    found = averages(g.states)
    return {**found, **{a: w for w, a in found.items()}}


def whole_model(g: TrainingGraph, place: Mapping[ir.Value, ir.Value] | None = None) -> ir.Model:
    """A model of the whole graph, every value with a role among its outputs, states as they are."""
    place = place or {}
    for value in g.states:
        array = g.states[place.get(value, value)].numpy()
        value.const_value = ir.tensor(array, name=value.name)
    outputs = [*g.predictions, g.loss, *g.outputs, *g.updates.values()]
    outputs += g.scheduled
    if g.eval_loss is not None:
        outputs.append(g.eval_loss)
    g.graph.outputs.clear()
    g.graph.outputs.extend(dict.fromkeys(outputs))
    return ir.Model(
        g.graph, ir_version=10, producer_name="toolkit", functions=list(g.functions.values())
    )


def names_of(values: Sequence[ir.Value]) -> list[str]:
    """The names of values."""
    return [v.name or "" for v in values]


def split_training(proto: onnx.ModelProto, g: TrainingGraph) -> None:
    """Moves what inference does not need from `proto.graph` into `proto.training_info`."""
    split(proto, names_of(g.features), names_of(g.predictions), [None])
    for state, value in g.updates.items():
        proto.training_info[0].update_binding.add(key=state.name, value=value.name)
    if g.initialization is not None:
        _add_initialization(proto, g.initialization)


def _add_initialization(proto: onnx.ModelProto, found: Initialization) -> None:
    """What starts a training anew, at the opset of the file; its functions join the model's."""
    info = proto.training_info[0]
    opsets = {entry.domain: entry.version for entry in proto.opset_import}
    initial = to_proto(found.model, opsets[""])
    info.initialization.CopyFrom(initial.graph)
    for key, value in found.bindings.items():
        info.initialization_binding.add(key=key, value=value)
    known = {(f.domain, f.name) for f in proto.functions}
    proto.functions.extend(f for f in initial.functions if (f.domain, f.name) not in known)
    proto.opset_import.extend(e for e in initial.opset_import if e.domain not in opsets)


def save(
    path: Any = None,
    model: Any = None,
    optimizer: Any = None,
    loss: Any = None,
    inputs: Any = None,
    target: Any = None,
    dynamic: Any = None,
    opset: int | None = None,
    scheduler: Any = None,
    schedule_every: int = 1,
    *,
    obj: Any = None,
    f: Any = None,
    pickle_protocol: int = 2,
) -> None:
    """Saves a model as one `.onnx`; with an optimizer and a loss, its training goes along.

    As PyTorch has it, `save(checkpoint, "checkpoint.pt")` writes plain data with tensors in it, see
    `toolkit.convert.save_pt`; a name that ends in `.safetensors` takes tensors by name.

    Args:
        path: the file; it is replaced in one go. Or the object of PyTorch's order.
        model: the module. Or the file of PyTorch's order: a name or an object with `write`.
        optimizer: an optimizer over its parameters; its state is saved.
        loss: `loss(output, target)`; required with an optimizer.
        inputs: example inputs (a tensor or a tuple), unless the model was called before.
        target: an example target; required with an optimizer.
        dynamic: symbolic dimensions by input, as in `Module.save`.
        opset: of the file, 21 when None.
        scheduler: a schedule of the optimizer's rates; see `TrainStep`.
        schedule_every: optimizer steps between its steps.
        obj: PyTorch's name of the object.
        f: PyTorch's name of the file.
        pickle_protocol: of no effect: files are what PyTorch writes by default.

    Raises:
        InvalidArgumentError: examples are missing, or an object is no plain data.
    """
    if f is not None:
        path, model = (path if obj is None else obj), f
    if model is None:
        raise TypeError("save() missing a required argument: what is saved, or the file")
    if _is_file(model):
        save_object(path, model)
        return
    if optimizer is None and loss is None:
        model.save(path, inputs=inputs, dynamic=dynamic, opset=opset)
        return
    if optimizer is None or loss is None or inputs is None or target is None:
        raise InvalidArgumentError(
            "tk.save: optimizer, loss, inputs and target are required together, got "
            f"optimizer={optimizer is not None}, loss={loss is not None}, "
            f"inputs={inputs is not None}, target={target is not None}."
        )
    examples = inputs if isinstance(inputs, (tuple, list)) else (inputs,)
    step = TrainStep(
        model, loss, optimizer, scheduler=scheduler, schedule_every=schedule_every
    ).prepare(*examples, target)
    step.save(path, opset=opset)


def _is_file(value: Any) -> bool:
    named = isinstance(value, (str, os.PathLike))
    return named or (hasattr(value, "write") and not isinstance(value, Module))


def load_training(path: str | os.PathLike[str], loss: str | None = None) -> TrainStep:
    """Reads a file with training_info as a step that goes on where the file's training stood.

    Several entries are one step, executed in their order. In a file of another program a batch is
    the model's inputs, then those of the algorithms; the loss is the first output that no binding
    takes, or what a Gradient node differentiates.

    Args:
        path: a file that `tk.save` wrote, or another with `training_info`. Or a folder of
            onnxruntime-training's artifacts, see `toolkit.train.load_artifacts`.
        loss: names the loss in a file of another program.

    Raises:
        InvalidModelError: the file is no model, has no training_info, or one that breaks the
            standard.
    """
    if is_artifacts(path):
        from toolkit.train.artifacts import load_artifacts

        return load_artifacts(path)
    where = f"load_training '{os.fspath(path)}'"
    proto = read_proto(path)
    if not proto.training_info:
        raise InvalidModelError(
            f"{where}: a model with training_info is required, got one without. Use tk.load and an "
            "optimizer."
        )
    check_training(proto, where)
    file = onnx.ModelProto()
    file.CopyFrom(proto)
    props = {entry.key: entry.value for entry in proto.metadata_props}
    made_here = read_roles(props.pop(ROLES), where) if ROLES in props else None
    state = {t.name for t in proto.graph.initializer}
    features = [v.name for v in proto.graph.input if v.name not in state]
    predictions = [v.name for v in proto.graph.output]
    entries = join(proto)
    initialization = read_initialization(file, entries, where)
    roles = made_here or guess_roles(proto, features, predictions, entries, loss, where)
    try:
        model = load_model(proto)
    except ToolkitError as error:
        raise type(error)(f"{where}, inference graph and algorithm: {error}") from None
    graph = _training_graph(model, roles, entries, initialization, where)
    if made_here is None and is_inference_loss(graph.graph, graph.loss):
        graph.eval_loss = graph.loss
    states = {v.name or "": t for v, t in graph.states.items()}
    source = Source(file, entries, states, roles if made_here or loss else None)
    step = TrainStep.from_graph(graph, roles["groups"], props, source)
    step.seed = roles.get("seed")
    if roles.get("schedule") is not None:
        step._schedule.take(roles["schedule"], where)
    return step


def _training_graph(
    model: ir.Model,
    roles: Mapping[str, Any],
    entries: Sequence[Entry],
    initialization: Initialization | None,
    where: str,
) -> TrainingGraph:
    from toolkit.runtime.constants import native_of

    values = values_by_name(model)
    begun = initialization.bound if initialization is not None else set()

    def find(name: str) -> ir.Value:
        if name not in values:
            need = f"a value '{name}' is required by training_info"
            raise InvalidModelError(f"{where}: {need}, got none.")
        return values[name]

    changing = {find(name) for entry in entries for name in entry.updates}
    states = {}
    for value in model.graph.initializers.values():
        kept = value in changing or value.name in begun or is_state(value)
        if value.const_value is not None and kept:
            states[mark_variable(value)] = native_of(value.const_value).clone()
    if roles.get("averaged"):
        for weight, average in averages(states).items():
            states[weight], states[average] = states[average], states[weight]
    features, targets = ([find(n) for n in roles[key]] for key in ("features", "targets"))
    rates = [find(n) for n in roles["rates"]]
    model.graph.inputs.clear()
    model.graph.inputs.extend(dict.fromkeys([*features, *targets, *rates]))
    found, outputs = sequenced(model.graph, entries, find)
    updates = named_updates(model.graph, found)
    for state, value in updates.items():
        check_update(state, value, states[state], where)
    loss = outputs.get(roles["loss"]) or find(roles["loss"])
    if initialization is not None:
        mutable = {v.name or "": states[v] for v in updates}
        initialization.values = first_values(initialization, mutable)
    return TrainingGraph(
        graph=model.graph,
        features=features,
        predictions=[find(n) for n in roles["predictions"]],
        targets=targets,
        rates=rates,
        loss=loss,
        outputs=[outputs.get(n) or find(n) for n in roles["outputs"]],
        eval_loss=find(roles["eval_loss"]) if roles["eval_loss"] is not None else None,
        updates=updates,
        states=states,
        functions=dict(model.functions),
        initialization=initialization,
        scheduled=[find(n) for n in roles["scheduled"]],
    )


def is_state(value: ir.Value) -> bool:
    """Whether an initializer that no step changes is kept as a state: a frozen float weight."""
    return value.dtype is not None and value.dtype.is_floating_point() and bool(value.shape)


def export_train_step(
    path: str | os.PathLike[str],
    step: TrainStep | str | os.PathLike[str],
    inline: bool = True,
    opset: int | None = None,
    target: str | None = None,
) -> None:
    """Writes one plain graph that does one training step, for any runtime.

    Inputs: the batch, the learning rates, then every state; a state's current value is its
    default. Outputs: the loss, the model's outputs, then `<state>.next` for every state that the
    step changes. A loop feeds each `<state>.next` back as `<state>`.

    Args:
        path: the file; it is replaced in one go.
        step: a step that has seen a batch, or a file that `tk.save` wrote.
        inline: write function bodies out, so that only standard operators remain.
        opset: of the file.
        target: a runtime to lower the graph to, one of `toolkit.graph.targets.TARGETS`.

    Raises:
        UnsupportedOperatorError: the target cannot run the step; the message names the nodes.
    """
    if not isinstance(step, TrainStep):
        step = load_training(step)
    g = step.graph
    proto = to_proto(whole_model(g), opset, inline=inline and target is None)
    wanted = [g.loss.name or "", *names_of(g.outputs), *names_of(list(g.updates.values()))]
    made = cut(proto, wanted, state_infos(g))
    write_proto(made if target is None else to_proto(lower_to(made, target), opset), path)


def state_infos(g: TrainingGraph) -> list[onnx.ValueInfoProto]:
    """The states that a step changes, as inputs."""
    found = [(state.name or "", g.states[state]) for state in g.updates]
    return [onnx.helper.make_tensor_value_info(n, t.dtype, list(t.shape)) for n, t in found]

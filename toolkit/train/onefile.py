"""The one file: a model, its training algorithm and all states in one standard `.onnx`.

The inference graph is the model's graph. `training_info` holds the algorithm: the nodes of one
training step, which continue the inference graph (onnx.proto: the two are concatenated), the
update bindings from initializers to their new values, and an initialization. Learning rates are
inputs of the algorithm.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import onnx
import onnx_ir as ir

from toolkit.convert.ort_artifacts import is_artifacts
from toolkit.errors import InvalidArgumentError, InvalidModelError
from toolkit.graph.build import mark_variable
from toolkit.graph.io import load_model, read_proto, to_proto, write_proto
from toolkit.graph.targets import lower_to
from toolkit.graph.training_info import strip, values_by_name
from toolkit.train.initialization import Initialization
from toolkit.train.step import TrainStep
from toolkit.train.training_graph import TrainingGraph

if TYPE_CHECKING:
    from toolkit.nn import Module

ROLES = "toolkit.training"  # Key of the metadata entry that names the roles.


def save_step(
    step: TrainStep,
    path: str | os.PathLike[str],
    metadata: Mapping[str, str] | None = None,
    opset: int | None = None,
) -> None:
    """Writes a step's model with its training_info.

    Args:
        step: a step that has seen a batch.
        path: the file; it is replaced in one go.
        metadata: entries for `metadata_props`.
        opset: of the file.
    """
    g = step.graph
    proto = to_proto(_as_model(g), opset)
    roles = {
        "features": _names(g.features),
        "targets": _names(g.targets),
        "rates": dict(zip(_names(g.rates), step.learning_rates(), strict=True)),
        "loss": g.loss.name,
        "outputs": _names(g.outputs),
        "eval_loss": g.eval_loss.name if g.eval_loss is not None else None,
        "predictions": _names(g.predictions),
    }
    split_training(proto, g, roles)
    entries = {**(metadata or {}), ROLES: json.dumps(roles)}
    onnx.helper.set_model_props(proto, entries)
    write_proto(proto, path)


def _as_model(g: TrainingGraph) -> ir.Model:
    """A model of the whole graph, every value with a role among its outputs, states as they are."""
    for value, tensor in g.states.items():
        value.const_value = ir.tensor(tensor.numpy(), name=value.name)
    outputs = [*g.predictions, g.loss, *g.outputs, *g.updates.values()]
    if g.eval_loss is not None:
        outputs.append(g.eval_loss)
    g.graph.outputs.clear()
    g.graph.outputs.extend(dict.fromkeys(outputs))
    return ir.Model(
        g.graph, ir_version=10, producer_name="toolkit", functions=list(g.functions.values())
    )


def _names(values: Sequence[ir.Value]) -> list[str]:
    return [v.name or "" for v in values]


def split_training(proto: onnx.ModelProto, g: TrainingGraph, roles: Mapping[str, Any]) -> None:
    """Moves what inference does not need from `proto.graph` into `proto.training_info`."""
    graph = proto.graph
    needed = _ancestors(graph, roles["predictions"])
    info = proto.training_info.add()
    algorithm = info.algorithm
    algorithm.name = "training_step"
    inference = set(roles["features"])
    _partition(graph.node, algorithm.node, lambda n: bool(needed.intersection(n.output)))
    _partition(graph.input, algorithm.input, lambda v: v.name in inference)
    _partition(graph.initializer, algorithm.initializer, lambda t: t.name in needed)
    predictions = set(roles["predictions"])
    _partition(graph.output, algorithm.output, lambda v: v.name in predictions)
    kept = needed | inference
    _partition(graph.value_info, algorithm.value_info, lambda v: v.name in kept)
    for state, value in g.updates.items():
        info.update_binding.add(key=state.name, value=value.name)
    if g.initialization is not None:
        _add_initialization(proto, g.initialization)


def _partition(items: Any, rest: Any, keep: Any) -> None:
    kept = [item for item in items if keep(item)]
    rest.extend([item for item in items if not keep(item)])
    del items[:]
    items.extend(kept)


def _ancestors(graph: onnx.GraphProto, names: Sequence[str]) -> set[str]:
    """Names of all values that `names` are computed from, themselves included."""
    producer = {name: node for node in graph.node for name in node.output}
    seen: set[str] = set()
    stack = list(names)
    while stack:
        name = stack.pop()
        if name in seen or not name:
            continue
        seen.add(name)
        if name in producer:
            stack.extend(producer[name].input)
    return seen


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
    path: str | os.PathLike[str],
    model: Module,
    optimizer: Any = None,
    loss: Any = None,
    inputs: Any = None,
    target: Any = None,
    dynamic: Any = None,
    opset: int | None = None,
) -> None:
    """Saves a model as one `.onnx`; with an optimizer and a loss, its training goes along.

    Args:
        path: the file; it is replaced in one go.
        model: the module.
        optimizer: an optimizer over its parameters; its state is saved.
        loss: `loss(output, target)`; required with an optimizer.
        inputs: example inputs (a tensor or a tuple), unless the model was called before.
        target: an example target; required with an optimizer.
        dynamic: symbolic dimensions by input, as in `Module.save`.
        opset: of the file, 21 when None.

    Raises:
        InvalidArgumentError: examples are missing.
    """
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
    step = TrainStep(model, loss, optimizer).prepare(*examples, target)
    step.save(path, opset=opset)


def load_training(path: str | os.PathLike[str]) -> TrainStep:
    """Reads a file with training_info as a step that goes on where the file's training stood.

    Args:
        path: a file that `tk.save` wrote, or another with `training_info` whose algorithm takes
            the model's inputs, then its own, and gives the loss as its first output. Or a folder of
            onnxruntime-training's artifacts, see `toolkit.train.load_artifacts`.

    Raises:
        InvalidModelError: the file is no model or has no training_info.
    """
    if is_artifacts(path):
        from toolkit.train.artifacts import load_artifacts

        return load_artifacts(path)
    proto = read_proto(path)
    if not proto.training_info:
        raise InvalidModelError(
            f"load_training '{os.fspath(path)}': a model with training_info is required, got one "
            "without. Use tk.load and an optimizer."
        )
    props = {entry.key: entry.value for entry in proto.metadata_props}
    info = proto.training_info[0]
    roles = json.loads(props.pop(ROLES)) if ROLES in props else _guess_roles(proto)
    bindings = [(entry.key, entry.value) for entry in info.update_binding]
    initialization = _read_initialization(proto)
    _join(proto)
    model = load_model(proto)
    graph = _training_graph(model, roles, bindings, initialization)
    return TrainStep.from_graph(graph, list(roles["rates"].values()), props)


def _read_initialization(proto: onnx.ModelProto) -> Initialization | None:
    info = proto.training_info[0]
    if not info.HasField("initialization"):
        return None
    initial = onnx.ModelProto(ir_version=proto.ir_version)
    initial.graph.CopyFrom(info.initialization)
    initial.opset_import.extend(proto.opset_import)
    initial.functions.extend(proto.functions)
    bindings = {entry.key: entry.value for entry in info.initialization_binding}
    return Initialization(load_model(initial), bindings)


def _guess_roles(proto: onnx.ModelProto) -> dict[str, Any]:
    """Roles in a file of someone else: no rates; the loss is the first output not bound."""
    info = proto.training_info[0]
    bound = {entry.value for entry in info.update_binding}
    free = [v.name for v in info.algorithm.output if v.name not in bound]
    if not free:
        raise InvalidModelError("load_training: an algorithm with a loss is required, got none.")
    state = {t.name for t in (*proto.graph.initializer, *info.algorithm.initializer)}
    features = [v.name for v in proto.graph.input if v.name not in state]
    return {
        "features": features,
        "targets": [v.name for v in info.algorithm.input if v.name not in state | set(features)],
        "rates": {},
        "loss": free[0],
        "outputs": free[1:],
        "eval_loss": None,
        "predictions": [v.name for v in proto.graph.output],
    }


def _join(proto: onnx.ModelProto) -> None:
    """Concatenates inference graph and algorithm, as onnx.proto defines the training graph."""
    algorithm = proto.training_info[0].algorithm
    graph = proto.graph
    for field in ("node", "input", "initializer", "output", "value_info", "sparse_initializer"):
        known = {x.name for x in getattr(graph, field)} if field in ("input", "output") else set()
        getattr(graph, field).extend(
            x for x in getattr(algorithm, field) if getattr(x, "name", "") not in known
        )
    strip(proto)


def _training_graph(
    model: ir.Model,
    roles: Mapping[str, Any],
    bindings: Sequence[tuple[str, str]],
    initialization: Initialization | None,
) -> TrainingGraph:
    from toolkit.runtime.constants import native_of

    values = values_by_name(model)
    begun = initialization.bindings if initialization is not None else {}

    def find(name: str) -> ir.Value:
        if name not in values:
            raise InvalidModelError(
                f"load_training: a value '{name}' is required by training_info, got none."
            )
        return values[name]

    updates = {find(key): find(value) for key, value in bindings}
    states = {}
    for value in model.graph.initializers.values():
        kept = value in updates or value.name in begun or _is_state(value)
        if value.const_value is not None and kept:
            states[mark_variable(value)] = native_of(value.const_value).clone()
    for value in updates:
        if value not in states:
            raise InvalidModelError(
                f"load_training: an initializer '{value.name}' is required by update_binding, "
                "got a value of another kind."
            )
    return TrainingGraph(
        graph=model.graph,
        features=[find(n) for n in roles["features"]],
        predictions=[find(n) for n in roles["predictions"]],
        targets=[find(n) for n in roles["targets"]],
        rates=[find(n) for n in roles["rates"]],
        loss=find(roles["loss"]),
        outputs=[find(n) for n in roles["outputs"]],
        eval_loss=find(roles["eval_loss"]) if roles["eval_loss"] else None,
        updates=updates,
        states=states,
        functions=dict(model.functions),
        initialization=initialization,
    )


def _is_state(value: ir.Value) -> bool:
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
    proto = to_proto(_as_model(g), opset, inline=inline and target is None)
    graph = proto.graph
    wanted = [g.loss.name, *_names(g.outputs), *(v.name for v in g.updates.values())]
    keep = _ancestors(graph, [n for n in wanted if n])
    outputs = {v.name: v for v in graph.output}
    nodes = [n for n in graph.node if keep.intersection(n.output)]
    tensors = [t for t in graph.initializer if t.name in keep]
    infos = [v for v in graph.value_info if v.name in keep]
    for field, items in (
        ("node", nodes),
        ("initializer", tensors),
        ("value_info", infos),
        ("output", [outputs[n] for n in dict.fromkeys(wanted)]),
    ):
        del getattr(graph, field)[:]
        getattr(graph, field).extend(items)
    for state in g.updates:
        tensor = g.states[state]
        graph.input.append(
            onnx.helper.make_tensor_value_info(state.name or "", tensor.dtype, list(tensor.shape))
        )
    if target is not None:
        proto = to_proto(lower_to(proto, target), opset)
    write_proto(proto, path)

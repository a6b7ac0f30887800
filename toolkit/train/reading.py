"""What a file's training_info means for a step: roles of values, the order of its entries.

Entries are executed one after the other: a later one sees what an earlier one has assigned. In one
graph its nodes are copies that read the next values in the place of the initializers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx
import onnx_ir as ir

from toolkit.errors import InvalidModelError, ToolkitError
from toolkit.graph import survey
from toolkit.graph.build import Builder
from toolkit.graph.edit import Names
from toolkit.graph.io import load_model
from toolkit.graph.subgraphs import copy_node, reads
from toolkit.graph.training_join import GRADIENT, Entry
from toolkit.runtime import _core
from toolkit.train.initialization import Initialization

Find = Callable[[str], ir.Value]
_LISTS = ("features", "targets", "outputs", "predictions")
_RANDOM = ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform",
           "RandomUniformLike")  # fmt: skip


def read_roles(text: str, where: str) -> dict[str, Any]:
    """The roles that a file's metadata name.

    Raises:
        InvalidModelError: they are malformed.
    """
    try:
        roles: dict[str, Any] = json.loads(text)
        names = [n for key in _LISTS for n in roles[key]] + [*roles["rates"], roles["loss"]]
        names += [roles["eval_loss"]] if roles["eval_loss"] is not None else []
        names += roles.setdefault("scheduled", [])
        wrong = [n for n in names if not isinstance(n, str)]
        if wrong:
            raise ValueError(f"{wrong[0]!r} is no name")
        default = [{"lr": rate} for rate in roles["rates"].values()]
        groups = roles.setdefault("groups", default)
        roles["groups"] = [{k: float(v) for k, v in group.items()} for group in groups]
        if any("lr" not in group for group in groups):
            raise ValueError("a group has no 'lr'")
        if not isinstance(roles.setdefault("seed", None), int | None):
            raise ValueError("the seed is no number")
    except (AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
        need = "metadata that name the roles of values are required"
        raise InvalidModelError(f"{where}: {need}, got one where: {error}.") from None
    return roles


def guess_roles(
    proto: onnx.ModelProto, features: Sequence[str], predictions: Sequence[str],
    entries: Sequence[Entry], loss: str | None, where: str,
) -> dict[str, Any]:  # fmt: skip
    """The roles in a file of another program; `proto` is the joined graph.

    The loss is the first output of an algorithm that no binding takes, else what a Gradient
    differentiates. Inputs that are no features are targets, in the order of the algorithms.
    """
    bound = {value for entry in entries for value in entry.updates.values()}
    outputs = dict.fromkeys(n for e in entries for n in e.outputs)
    free = [n for n in outputs if n not in bound and n not in predictions]
    nodes = [n for n in proto.graph.node if (n.domain, n.op_type) == GRADIENT]
    named = [a.s.decode(errors="replace") for n in nodes for a in n.attribute if a.name == "y"]
    found = loss if loss is not None else next(iter([*free, *named]), None)
    if found is None:
        need = "an algorithm with an output besides the updates, its loss, is required"
        raise InvalidModelError(f"{where}: {need}, got none. Name it: load_training(path, loss=).")
    return {
        "features": list(features),
        "targets": list(dict.fromkeys(n for entry in entries for n in entry.inputs)),
        "rates": {},
        "groups": [],
        "scheduled": [],
        "loss": found,
        "outputs": [*predictions, *(n for n in free if n != found)],
        "eval_loss": None,
        "predictions": list(predictions),
    }


def sequenced(
    graph: ir.Graph, entries: Sequence[Entry], find: Find
) -> tuple[dict[ir.Value, ir.Value], dict[str, ir.Value]]:
    """The initializers' next values after all entries, and what became of the outputs."""
    updates: dict[ir.Value, ir.Value] = {}
    outputs: dict[str, ir.Value] = {}
    for entry in entries:
        names = dict.fromkeys([*entry.outputs, *entry.updates.values()])
        ends = {name: find(name) for name in names}
        if updates:
            ends = _after(graph, updates, ends)
        outputs.update({n: v for n, v in ends.items() if n not in outputs})
        updates = updates | {find(key): ends[value] for key, value in entry.updates.items()}
    return updates, outputs


def _after(
    graph: ir.Graph, values: Mapping[ir.Value, ir.Value], ends: Mapping[str, ir.Value]
) -> dict[str, ir.Value]:
    """The ends computed from other values than those of the graph: copies of the nodes between."""
    from toolkit.autodiff.backward import ancestor_nodes

    new: dict[ir.Value, ir.Value | None] = dict(values)
    for node in ancestor_nodes(graph, list(ends.values())):
        if any(v in new for v in reads(node)):
            made = copy_node(node, new)
            graph.append(made)
            new.update(zip(node.outputs, made.outputs, strict=True))
    return {name: new.get(value) or value for name, value in ends.items()}


def named_updates(
    graph: ir.Graph, updates: Mapping[ir.Value, ir.Value]
) -> dict[ir.Value, ir.Value]:
    """Each update as a value of its own with the name `<state>.next`, as in a graph made here."""
    b, names = Builder(graph), Names(graph)
    taken: set[ir.Value] = set()
    found = {}
    for state, value in updates.items():
        wish = f"{state.name}.next"
        if value.name != wish or value.producer() is None or value in taken:
            kept = value
            value = b.Identity(kept)
            value.type, value.shape = kept.type, kept.shape
            value.name = names.new(wish)
        taken.add(value)
        found[state] = value
    return found


def check_update(state: ir.Value, value: ir.Value, tensor: _core.Tensor, where: str) -> None:
    """Refuses a next value of another type or shape.

    Raises:
        InvalidModelError: it has.
    """
    here = f"{where}: update_binding of '{state.name}'"
    if value.dtype is not None and value.dtype != tensor.dtype:
        need = f"a value of {ir.DataType(tensor.dtype).name} is required"
        raise InvalidModelError(f"{here}: {need}, got '{value.name}' of {value.dtype.name}.")
    dims = None if value.shape is None else list(value.shape)
    if dims is None:
        return
    pairs = zip(dims, tensor.shape, strict=False)
    if len(dims) != len(tensor.shape) or any(isinstance(a, int) and a != b for a, b in pairs):
        need = f"a value of shape {tuple(tensor.shape)} is required"
        raise InvalidModelError(f"{here}: {need}, got '{value.name}' of {tuple(dims)}.")


def is_inference_loss(graph: ir.Graph, loss: ir.Value) -> bool:
    """Whether a loss is one to evaluate with: nothing random, nothing in training mode."""
    from toolkit.autodiff.backward import ancestor_nodes

    for node in ancestor_nodes(graph, [loss]):
        for inner in (node, *(n for g in _bodies(node) for n in g.all_nodes())):
            training = inner.attributes.get("training_mode")
            if inner.op_type in _RANDOM or inner.domain == "toolkit.random":
                return False
            if inner.op_type == "Dropout" and len(inner.inputs) > 2:
                return False
            if training is not None and (training.is_ref() or training.value):
                return False
    return True


def _bodies(node: ir.Node) -> list[ir.Graph]:
    from toolkit.graph.walk import subgraphs

    return subgraphs(node)


def read_initialization(
    proto: onnx.ModelProto, entries: Sequence[Entry], where: str
) -> Initialization | None:
    """What the entries' initializations do, one after the other; `proto` still has its entries."""
    found: Initialization | None = None
    for part in reversed(initializations(proto, entries, where)):
        if part is not None:
            part.then, found = found, part
    return found


def initializations(
    proto: onnx.ModelProto, entries: Sequence[Entry], where: str
) -> list[Initialization | None]:
    """The initialization of each entry. Initializers of the model are global: it may read them.

    Raises:
        InvalidModelError: one is no valid graph.
    """
    found: list[Initialization | None] = []
    for i, info in enumerate(proto.training_info):
        if not info.initialization.output:
            found.append(None)
            continue
        known = {t.name: t for t in (*proto.graph.initializer, *info.algorithm.initializer)}
        initial = onnx.ModelProto(ir_version=proto.ir_version)
        initial.graph.CopyFrom(info.initialization)
        initial.graph.name = initial.graph.name or "initialization"
        initial.opset_import.extend(proto.opset_import)
        initial.functions.extend(proto.functions)
        made = {n for node in initial.graph.node for n in node.output}
        made |= {t.name for t in initial.graph.initializer}
        read = dict.fromkeys(n for node in initial.graph.node for n in sorted(survey.reads(node)))
        outer = [known[n] for n in read if n not in made and n in known]
        for tensor in outer:
            value = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            initial.graph.input.append(value)
        renamed = entries[i].renamed
        try:
            model = load_model(initial)
        except ToolkitError as error:
            here = f"{where}, training_info[{i}].initialization"
            raise InvalidModelError(f"{here}: {error}") from None
        bindings = {renamed.get(e.key, e.key): e.value for e in info.initialization_binding}
        reads = {t.name: renamed.get(t.name, t.name) for t in outer}
        found.append(Initialization(model, bindings, reads))
    return found


def first_values(
    initialization: Initialization, changing: Mapping[str, _core.Tensor]
) -> dict[str, _core.Tensor]:
    """Copies of the states that no initialization fills, or that one reads.

    onnx.proto: initializers are first what the file says, then what initializations give.
    """
    bound, read = initialization.bound, initialization.read
    return {n: t.clone() for n, t in changing.items() if n not in bound or n in read}

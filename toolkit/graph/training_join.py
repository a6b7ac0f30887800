"""Training information as onnx.proto defines it: its rules, and graphs joined and split.

The training graph of an entry of `training_info` is the inference graph and its algorithm, one
behind the other. `check_training` holds an entry to each sentence of onnx.proto, `join` makes one
graph of the inference graph and the algorithms of all entries, `split` takes one apart again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import onnx

from toolkit.errors import InvalidModelError
from toolkit.graph.survey import graphs_of, reads

GRADIENT = ("ai.onnx.preview.training", "Gradient")  # Its attributes name values.
FIRST_IR = 7  # The first IR version that knows training_info.
_ONCE = "names that are given once are required"
_FIELDS = ("node", "input", "initializer", "output", "value_info", "sparse_initializer")


@dataclasses.dataclass
class Entry:
    """An entry of `training_info` within a joined graph, by the names there.

    Attributes:
        inputs: What the algorithm takes besides the inputs of the inference graph.
        outputs: The outputs of the algorithm.
        updates: Initializer -> its next value.
        renamed: A name of the algorithm -> the joined graph's, where they differ.
    """

    inputs: list[str]
    outputs: list[str]
    updates: dict[str, str]
    renamed: dict[str, str]


class _Scope:
    """The names of a graph by what they are."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.inputs = {v.name: v for v in graph.input}
        self.initializers = {t.name: t for t in graph.initializer}
        self.sparse = {t.values.name for t in graph.sparse_initializer}
        self.made = [name for node in graph.node for name in node.output if name]
        self.outputs = {v.name for v in graph.output}
        self.names = {*self.inputs, *self.initializers, *self.sparse, *self.made}


def check_training(proto: onnx.ModelProto, where: str) -> None:
    """Holds `training_info` to what onnx.proto says of it.

    Raises:
        InvalidModelError: It breaks a rule; the message says which entry and which name.
    """
    inference = _Scope(proto.graph)
    updated: set[str] = set()
    for i, info in enumerate(proto.training_info):
        here = f"{where}, training_info[{i}]"
        for part in ("algorithm", "initialization"):
            for graph in graphs_of(getattr(info, part)):
                _check_text(graph, f"{here}.{part}")
        algorithm = _Scope(info.algorithm)
        _check_names(info.algorithm, algorithm, inference, f"{here}.algorithm")
        _check_initialization(info, algorithm, inference, f"{here}.initialization")
        for binding, values in (
            ("update_binding", algorithm.outputs | inference.outputs),
            ("initialization_binding", {v.name for v in info.initialization.output}),
        ):
            keys = updated if binding == "update_binding" else set()
            for entry in getattr(info, binding):
                _check_binding(entry, algorithm, inference, values, keys, f"{here}.{binding}")


def _check_text(graph: onnx.GraphProto, where: str) -> None:
    """Names that are no UTF-8 come as bytes."""
    values = (*graph.input, *graph.output, *graph.value_info, *graph.initializer)
    names: list[object] = [graph.name, *(v.name for v in values)]
    for node in graph.node:
        names += [node.name, node.op_type, node.domain, node.overload, *node.input, *node.output]
    for name in names:
        if not isinstance(name, str):
            raise _fail(where, "names that are UTF-8 are required", repr(name))


def _check_names(graph: onnx.GraphProto, own: _Scope, inference: _Scope, where: str) -> None:
    """The combined graph gives each name once, and gives every name that is read."""
    seen: set[str] = set()
    for name in (*own.made, *own.initializers, *own.sparse):
        if name in inference.names or name in seen:
            other = "the inference graph" if name in inference.names else "itself"
            raise _fail(where, _ONCE, f"{name!r}, which {other} gives too")
        seen.add(name)
    for name, value in own.inputs.items():
        twin = inference.inputs.get(name)
        if twin is not None and twin.type.SerializeToString() != value.type.SerializeToString():
            need = f"the type of the inference graph's input '{name}' is required"
            raise _fail(where, need, "another one")
        if name in inference.names and twin is None:
            raise _fail(where, _ONCE, f"input {name!r}, which the inference graph gives too")
    known = own.names | inference.names
    for node in graph.node:
        for name in sorted(reads(node) - known, key=repr):
            need = f"a value of the inference graph or of the algorithm is required by {_of(node)}"
            raise _fail(where, need, repr(name))
    for name in own.outputs - known:
        need = "an output that is a value of the inference graph or of the algorithm is required"
        raise _fail(where, need, repr(name))


def _check_initialization(
    info: onnx.TrainingInfoProto, algorithm: _Scope, inference: _Scope, where: str
) -> None:
    graph = info.initialization
    own = _Scope(graph)
    free = [n for n in own.inputs if n not in own.initializers]
    if free:
        raise _fail(where, "a graph without inputs is required", f"input '{free[0]}'")
    seen: set[str] = set()
    for name in (*own.made, *own.initializers, *own.sparse):
        if name in seen:
            raise _fail(where, _ONCE, f"{name!r} twice")
        seen.add(name)
    known = {*own.names, *inference.initializers, *algorithm.initializers}
    for node in graph.node:
        for name in sorted(reads(node) - known, key=repr):
            need = f"a value of the graph itself or an initializer is required by {_of(node)}"
            raise _fail(where, need, repr(name))
    for name in own.outputs - known:
        raise _fail(where, "an output that is a value of the graph is required", repr(name))


def _check_binding(
    entry: onnx.StringStringEntryProto,
    algorithm: _Scope,
    inference: _Scope,
    values: Collection[str],
    keys: set[str],
    where: str,
) -> None:
    key, value = entry.key, entry.value
    if key not in inference.initializers and key not in algorithm.initializers:
        need = "an initializer of the inference graph or of the same entry's algorithm is required"
        sparse = key in inference.sparse or key in algorithm.sparse
        raise _fail(where, need, f"{'the sparse ' if sparse else ''}key {key!r}")
    if value not in values:
        graphs = "the algorithm or of the inference graph"
        graph = graphs if where.endswith("update_binding") else "the initialization"
        raise _fail(where, f"an output of {graph} is required for '{key}'", repr(value))
    if key in keys:
        raise _fail(where, "each key once is required, over all entries", f"{key!r} again")
    keys.add(key)


def _of(node: onnx.NodeProto) -> str:
    return f"{node.op_type} '{node.name or next(iter(node.output), '')}'"


def _fail(where: str, need: str, got: str) -> InvalidModelError:
    return InvalidModelError(f"{where}: {need}, got {got}.")


def join(proto: onnx.ModelProto) -> list[Entry]:
    """Appends all algorithms of a checked model to its graph, in place, and drops the entries.

    Names that two algorithms give are made different; inputs of one name and type are one. The
    initializers that bindings name become inputs with a default: they are no constants.
    """
    graph, found = proto.graph, []
    inference = _Scope(graph)
    taken, inputs = set(inference.names), dict(inference.inputs)
    mutable: set[str] = set()
    outputs = set(inference.outputs)
    for info in proto.training_info:
        algorithm = info.algorithm
        for body in list(graphs_of(algorithm))[1:]:
            rename(body, {n: _new(n, taken) for n in _Scope(body).names if n in taken})
        own = _Scope(algorithm)
        shared = {n for n, v in own.inputs.items() if n in inputs and inputs[n].type == v.type}
        shared -= own.initializers.keys()
        inner = {n for g in graphs_of(algorithm) for n in _Scope(g).names} | own.names
        renamed = {n: _new(n, taken | inner) for n in own.names - shared if n in taken}
        rename(algorithm, renamed)
        own = _Scope(algorithm)
        for field in _FIELDS:
            known = {"input": inputs.keys(), "output": outputs}.get(field, ())
            items = (x for x in getattr(algorithm, field) if getattr(x, "name", None) not in known)
            getattr(graph, field).extend(items)
        taken |= own.names
        inputs.update(own.inputs)
        outputs |= own.outputs
        bindings = (*info.update_binding, *info.initialization_binding)
        mutable |= {renamed.get(e.key, e.key) for e in bindings}
        found.append(
            Entry(
                [n for n in own.inputs if n not in inference.inputs and n not in own.initializers],
                [v.name for v in algorithm.output],
                {
                    renamed.get(e.key, e.key): renamed.get(e.value, e.value)
                    for e in info.update_binding
                },
                renamed,
            )
        )
    del proto.training_info[:]
    for t in graph.initializer:
        if t.name in mutable - inputs.keys():
            graph.input.append(onnx.helper.make_tensor_value_info(t.name, t.data_type, t.dims))
    proto.ir_version = max(proto.ir_version, FIRST_IR)
    return found


def _new(name: str, taken: Collection[str]) -> str:
    count = 1
    while f"{name}.{count}" in taken:
        count += 1
    return f"{name}.{count}"


def rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Renames values of a graph, in place, also where its subgraphs read them."""
    if not names:
        return
    for field in ("input", "output", "value_info", "initializer"):
        for item in getattr(graph, field):
            item.name = names.get(item.name, item.name)
    for sparse in graph.sparse_initializer:
        sparse.values.name = names.get(sparse.values.name, sparse.values.name)
    for node in graph.node:
        node.input[:] = [names.get(n, n) for n in node.input]
        node.output[:] = [names.get(n, n) for n in node.output]
        for attr in node.attribute:
            if (node.domain, node.op_type) == GRADIENT:
                _rename_texts(attr, names)
            for inner in (attr.g, *attr.graphs) if attr.type in _GRAPHS else ():
                own = _Scope(inner).names
                rename(inner, {k: v for k, v in names.items() if k not in own})


_GRAPHS = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)


def _rename_texts(attr: onnx.AttributeProto, names: Mapping[str, str]) -> None:
    table = {k.encode(): v.encode() for k, v in names.items()}
    if attr.name in ("xs", "zs"):
        attr.strings[:] = [table.get(s, s) for s in attr.strings]
    elif attr.name == "y":
        attr.s = table.get(attr.s, attr.s)


def split(
    proto: onnx.ModelProto,
    features: Collection[str],
    predictions: Collection[str],
    entries: Sequence[Entry | None],
) -> None:
    """Moves what inference does not need from `proto.graph` into entries of `training_info`.

    Args:
        proto: Holds the joined graph, and no entries.
        features: The inputs of the inference graph.
        predictions: Its outputs.
        entries: Those to add, without their bindings; `None` takes everything.
    """
    graph = proto.graph
    needed = ancestors(graph, predictions)

    def part(names: Collection[str], inputs: Collection[str], outputs: Collection[str]) -> Any:
        return {
            "node": lambda n: not names.isdisjoint(n.output),  # type: ignore[attr-defined]
            "input": lambda v: v.name in inputs,
            "initializer": lambda t: t.name in names,
            "output": lambda v: v.name in outputs,
            "value_info": lambda v: v.name in names or v.name in inputs,
        }

    stays = part(needed, features, predictions)
    for entry in entries:
        algorithm = proto.training_info.add().algorithm
        algorithm.name = "training_step"
        belongs = None
        if entry is not None:
            ends = [*entry.outputs, *entry.updates, *entry.updates.values()]
            belongs = part(ancestors(graph, ends), entry.inputs, entry.outputs)
        for field, keep in stays.items():
            rest = [x for x in getattr(graph, field) if not keep(x)]
            getattr(algorithm, field).extend(
                x for x in rest if belongs is None or belongs[field](x)
            )
    for field, keep in stays.items():
        kept = [x for x in getattr(graph, field) if keep(x)]
        del getattr(graph, field)[:]
        getattr(graph, field).extend(kept)


def ancestors(graph: onnx.GraphProto, names: Iterable[str], stop: Collection[str] = ()) -> set[str]:
    """Names of all values that `names` are computed from, themselves included.

    Beyond those of `stop` nothing is looked for.
    """
    producer = {name: node for node in graph.node for name in node.output}
    seen: set[str] = set()
    stack = list(names)
    while stack:
        name = stack.pop()
        if name in seen or not name:
            continue
        seen.add(name)
        if name in producer and name not in stop:
            stack.extend(reads(producer[name]))
    return seen

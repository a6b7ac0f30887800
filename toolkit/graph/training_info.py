"""`ModelProto.training_info`: how a model is trained, carried in its file.

onnx-ir does not know it. A loaded model keeps it in `model.meta["training_info"]`, a list of
`TrainingInfoProto` as the file has them: who only infers does not pay for them, nor is kept by
their mistakes. `read` and `write` turn them into graphs at the canonical opset and back.

An algorithm's graph is a continuation of the inference graph: it reads that graph's values by their
names, and the two together are the training step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import onnx
import onnx_ir as ir

from toolkit.errors import InvalidModelError, ToolkitError
from toolkit.graph.check import invalid
from toolkit.graph.survey import graphs_of, subgraphs

__all__ = [
    "META_KEY",
    "TrainingInfo",
    "carried",
    "convert",
    "read",
    "strip",
    "values_by_name",
    "write",
]

META_KEY = "training_info"
OPSETS_KEY = "training_info.opsets"  # The opset imports of those protos; without, the model's.
METADATA = "toolkit.train"  # Beginning of the metadata keys of a training made here.
ROLES = "toolkit.training"  # Key of the metadata entry that names the roles of values.

Change = Callable[[ir.Model], object]


@dataclasses.dataclass
class TrainingInfo:
    """One way to train a model.

    Attributes:
        algorithm: One step. Its inputs are its own, then the values of the inference graph that it
            reads; `None` where the file has none.
        initialization: What starts a training anew; `None` where the file has none.
        update_binding: Initializer -> the algorithm's output that is its next value.
        initialization_binding: Initializer -> the initialization's output that is its first value.
    """

    algorithm: ir.Graph | None = None
    initialization: ir.Graph | None = None
    update_binding: dict[str, str] = dataclasses.field(default_factory=dict)
    initialization_binding: dict[str, str] = dataclasses.field(default_factory=dict)


def read(model: ir.Model) -> list[TrainingInfo]:
    """The training information of a loaded model, as graphs at the canonical opset.

    Raises:
        InvalidModelError: A graph of it is not valid.
    """
    from toolkit.graph.upgrade import CANONICAL_OPSET, upgrade

    protos, opsets = model.meta.get(META_KEY, ()), opsets_of(model)
    if protos and opsets.get("") != CANONICAL_OPSET:
        protos = convert(protos, model, opsets, upgrade)
    found = []
    for proto in protos:
        info = TrainingInfo(
            update_binding={e.key: e.value for e in proto.update_binding},
            initialization_binding={e.key: e.value for e in proto.initialization_binding},
        )
        types = values_by_name(model)
        if proto.HasField("algorithm"):
            info.algorithm = _as_model(proto.algorithm, model.opset_imports, types).graph
        if proto.HasField("initialization"):
            info.initialization = _as_model(proto.initialization, model.opset_imports, types).graph
        found.append(info)
    return found


def write(model: ir.Model, infos: Sequence[TrainingInfo]) -> None:
    """Puts training information into a model in place of what it had.

    Args:
        model: A model at the canonical opset.
        infos: Graphs at the canonical opset; an input that has the name of a value of the model is
            that value.
    """
    protos = []
    outer = set(values_by_name(model))
    for info in infos:
        proto = onnx.TrainingInfoProto()
        if info.algorithm is not None:
            _write_graph(proto.algorithm, info.algorithm, outer)
        if info.initialization is not None:
            _write_graph(proto.initialization, info.initialization, set())
        for key, value in info.update_binding.items():
            proto.update_binding.add(key=key, value=value)
        for key, value in info.initialization_binding.items():
            proto.initialization_binding.add(key=key, value=value)
        protos.append(proto)
    model.meta.pop(OPSETS_KEY, None)
    if protos:
        model.meta[META_KEY] = protos
    else:
        model.meta.pop(META_KEY, None)


def opsets_of(model: ir.Model) -> dict[str, int]:
    """The opset imports of what a model carries."""
    return dict(model.meta.get(OPSETS_KEY, model.opset_imports))


def carried(model: ir.Model, names: Collection[str], opset: int) -> list[onnx.TrainingInfoProto]:
    """What a model carries, at an opset: as it is in the file, where it can stay so.

    Args:
        model: A model at the canonical opset.
        names: The values of the inference graph as it is written.
        opset: Of the file that is written.

    Raises:
        InvalidModelError: A graph reads what is not there.
        UnsupportedOperatorError: As `convert`.
    """
    from toolkit.graph.downgrade import downgrade
    from toolkit.graph.upgrade import CANONICAL_OPSET, upgrade

    protos, opsets = list(model.meta.get(META_KEY, ())), opsets_of(model)
    read = {n for info in protos for n in _outer_names(info.algorithm)}
    if opsets.get("") == opset and read <= set(names):
        return protos
    if opsets.get("") != CANONICAL_OPSET:
        protos = convert(protos, model, opsets, upgrade)
    opsets = {**model.opset_imports, "": CANONICAL_OPSET}
    return convert(protos, model, opsets, lambda m: downgrade(m, opset))


def _outer_names(graph: onnx.GraphProto) -> set[str]:
    own = {t.name for t in graph.initializer} | {v.name for v in graph.input}
    made = {name for node in graph.node for name in node.output}
    return set(_free_names(graph.node)) - own - made


def strip(model: ir.Model | onnx.ModelProto) -> None:
    """Removes the training, in place: some validators refuse a file that has it.

    With it go the metadata of a training made here, and the functions that only it called.
    """
    if isinstance(model, onnx.ModelProto):
        del model.training_info[:]
        kept = [e for e in model.metadata_props if not e.key.startswith(METADATA)]
        if len(kept) < len(model.metadata_props):
            del model.metadata_props[:]
            model.metadata_props.extend(kept)
        _forget_functions(model)
    else:
        model.meta.pop(META_KEY, None)
        for key in [k for k in model.metadata_props if k.startswith(METADATA)]:
            del model.metadata_props[key]


def _forget_functions(proto: onnx.ModelProto) -> None:
    """Removes the bodies of composites that nothing calls, and the imports of their domains."""
    functions = {(f.domain, f.name, f.overload): f for f in proto.functions}
    called: set[tuple[str, str, str]] = set()
    stack: list[Iterable[onnx.NodeProto]] = [g.node for g in graphs_of(proto.graph)]
    for f in proto.functions:
        if not f.domain.startswith("toolkit."):
            stack.append(f.node)
    while stack:
        for node in stack.pop():
            key = (node.domain, node.op_type, node.overload)
            if key in functions and key not in called:
                called.add(key)
                stack.append(functions[key].node)
            stack += [inner.node for inner in subgraphs(node)]
    unused = [k for k in functions if k[0].startswith("toolkit.") and k not in called]
    if not unused:
        return
    kept = [f for key, f in functions.items() if key not in unused]
    del proto.functions[:]
    proto.functions.extend(kept)
    domains = {f.domain for f in kept} | {key[0] for key in called}
    imports = [
        e for e in proto.opset_import if not e.domain.startswith("toolkit.") or e.domain in domains
    ]
    del proto.opset_import[:]
    proto.opset_import.extend(imports)


def convert(
    infos: Iterable[onnx.TrainingInfoProto],
    model: ir.Model,
    opsets: Mapping[str, int],
    change: Change,
) -> list[onnx.TrainingInfoProto]:
    """Copies of training information whose graphs went through `change`.

    Args:
        infos: Training information of `model`, at `opsets`.
        model: The model whose values the algorithms read.
        opsets: The opset imports of `infos`.
        change: Rewrites a model in place: an upgrade or a downgrade.

    Raises:
        UnsupportedOperatorError: As `change` does.
    """
    types = values_by_name(model)
    result = []
    for info in infos:
        new = onnx.TrainingInfoProto()
        new.CopyFrom(info)
        for name in ("algorithm", "initialization"):
            if not info.HasField(name):
                continue
            inner = _as_model(getattr(info, name), opsets, types, model.functions.values())
            getattr(new, name).Clear()
            try:
                change(inner)
                _write_graph(getattr(new, name), inner.graph, set(types))
            except ToolkitError:
                raise
            except Exception as error:  # onnx-ir refuses malformed graphs in many ways.
                raise invalid(f"training_info, {name}", repr(error)) from error
        result.append(new)
    return result


def values_by_name(model: ir.Model) -> dict[str, ir.Value]:
    """The values of the inference graph by name."""
    graph = model.graph
    values = [*graph.inputs, *graph.initializers.values()]
    values += [value for node in graph for value in node.outputs]
    return {value.name: value for value in values if value.name}


def _as_model(
    graph: onnx.GraphProto,
    opsets: Mapping[str, int],
    outer: Mapping[str, ir.Value],
    functions: Iterable[ir.Function] = (),
) -> ir.Model:
    """A graph that stands by itself: the outer values that it reads become inputs at the end."""
    proto = onnx.ModelProto(ir_version=onnx.IR_VERSION)
    proto.graph.CopyFrom(graph)
    own = {t.name for t in graph.initializer} | {v.name for v in graph.input}
    made = {name for node in graph.node for name in node.output}
    for name in dict.fromkeys(_free_names(graph.node)):
        if name in own or name in made:
            continue
        if name not in outer:
            need = "a value of the inference graph or of the algorithm is required"
            raise InvalidModelError(f"training_info '{graph.name}': {need}, got '{name}'.")
        ir.serde.serialize_value_into(proto.graph.input.add(), outer[name])
        proto.graph.input[-1].name = name
    for domain, version in opsets.items():
        proto.opset_import.add(domain=domain, version=version)
    try:
        model = ir.serde.deserialize_model(proto)
    except Exception as error:  # onnx-ir refuses malformed graphs in many ways.
        raise invalid(f"training_info '{graph.name}'", repr(error)) from error
    for function in functions:
        model.functions[function.identifier()] = function.clone()
    return model


def _free_names(nodes: Iterable[onnx.NodeProto]) -> list[str]:
    """Names that nodes and their subgraphs read and do not make."""
    found: list[str] = []
    for node in nodes:
        found += [name for name in node.input if name]
        for attr in node.attribute:
            for inner in (*([attr.g] if attr.HasField("g") else []), *attr.graphs):
                made = {n for sub in inner.node for n in sub.output}
                made |= {v.name for v in inner.input} | {t.name for t in inner.initializer}
                found += [name for name in _free_names(inner.node) if name not in made]
                found += [v.name for v in inner.output if v.name not in made]
    return found


def _write_graph(proto: onnx.GraphProto, graph: ir.Graph, outer: set[str]) -> None:
    ir.serde.serialize_graph_into(proto, graph)
    own = [v for v in proto.input if v.name not in outer]
    del proto.input[:]
    proto.input.extend(own)

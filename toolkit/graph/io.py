"""Reads and writes `.onnx`: any opset comes in at the canonical one, any goes out.

`ModelProto.training_info`, which onnx-ir drops, travels in `model.meta["training_info"]`.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import onnx
import onnx_ir as ir

from toolkit.errors import InvalidModelError, ToolkitWarning
from toolkit.graph import map_types, training_info, weights
from toolkit.graph.atomic import write_atomically
from toolkit.graph.check import (
    PROTO_LIMIT,
    check_proto,
    check_tensors,
    external_tensors,
    invalid,
)
from toolkit.graph.declared import DeclaredShapes
from toolkit.graph.deserialize import deserialize
from toolkit.graph.expansions import expand
from toolkit.graph.external_layout import ExternalLayout
from toolkit.graph.infer import GraphInference
from toolkit.graph.normalize import normalize
from toolkit.graph.survey import Survey, survey
from toolkit.graph.upgrade import CANONICAL_OPSET, upgrade
from toolkit.graph.walk import inner_graphs

__all__ = [
    "CANONICAL_OPSET",
    "DEFAULT_EXPORT_OPSET",
    "load_model",
    "load_with_source",
    "read_proto",
    "save_model",
    "to_proto",
    "write_proto",
]

DEFAULT_EXPORT_OPSET = 21
_PATH = "toolkit.path"  # Key of `ir.Model.meta`: beside it lie external data of training_info.
T = TypeVar("T")
ModelSource = str | os.PathLike[str] | bytes | onnx.ModelProto | ir.Model


def load_model(source: ModelSource, constants: bool = False) -> ir.Model:
    """Reads, checks and upgrades a model; its values then have types and, if known, shapes.

    Operators with a rule in `graph.expansions` are written out.

    Args:
        source: A path, the file's bytes, a `ModelProto` (not changed), or an `ir.Model` (changed in
            place and returned).
        constants: Read the Constant nodes of a file's main graph as initializers.

    Raises:
        InvalidModelError: The file is missing, truncated, no ONNX model, or violates the standard.

    Warns:
        ToolkitWarning: Once, where the file is wrong in what can be put right, as declared shapes.
    """
    return load_inferred(source, constants)[0]


def load_inferred(
    source: ModelSource, constants: bool = False
) -> tuple[ir.Model, GraphInference | None]:
    """As `load_model`, and what inferred the model's nodes as they are.

    None: some of them were written after it.
    """
    if isinstance(source, ir.Model):
        return source, _canonical(source)
    model, _, inference = _checked(source, constants=constants)
    return model, inference


def load_with_source(
    source: str | os.PathLike[str] | bytes | onnx.ModelProto,
    prepare: Callable[[ir.Model], None] | None = None,
    checked: bool = False,
) -> tuple[ir.Model, onnx.ModelProto, ExternalLayout]:
    """The model as `load_model` gives it, and the file as `read_proto` does; checked once.

    Args:
        source: As in `read_proto`.
        prepare: Changes the model before it is brought to the canonical opset.
        checked: The file is known to be valid.

    Returns:
        The model, the file (its sparse tensors dense), and where its external data lay.

    Raises:
        InvalidModelError: As `load_model`.
    """
    model, proto, _ = _checked(source, True, prepare, checked)
    layout = ExternalLayout.of(proto, _path_of(source))
    _read_external(proto, _path_of(source))
    return model, proto, layout


def _checked(
    source: str | os.PathLike[str] | bytes | onnx.ModelProto,
    whole: bool = False,
    prepare: Callable[[ir.Model], None] | None = None,
    checked: bool = False,
    constants: bool = False,
) -> tuple[ir.Model, onnx.ModelProto, GraphInference | None]:
    """The model at the canonical opset, the file, and as `load_inferred`; warns of what is wrong.

    Without `whole`, large weights stay in the file: the proto lacks them, the model refers to them.
    """
    where, path = _label(source), _path_of(source)
    if whole or isinstance(source, onnx.ModelProto):
        read, stored = _read(source), None
    else:
        stored = _stored(source, constants)
        read = _parse(stored.text, where)
    plain = held = survey(read)
    proto, found, held = normalize(read, where, held)
    if not checked:
        check_proto(proto, path, where, held, stored.spans if stored else ())
    model = _deserialize(proto, path, where, held, stored)
    if prepare is not None:
        prepare(model)
    declared = DeclaredShapes(model)
    inference = _canonical(model)
    wrong = declared.put_back(model)
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        found.append(f"declared shapes that hold are required, got {wrong[0]}{more}")
    if found:
        warnings.warn(f"{where}: {'; '.join(found)}.", ToolkitWarning, stacklevel=3)
    # The order of nodes is all that was put right where there are no sparse or inner graphs.
    return model, proto if plain.nested or plain.sparse else read, inference


def _canonical(model: ir.Model) -> GraphInference | None:
    if training_info.META_KEY in model.meta:
        model.meta.setdefault(training_info.OPSETS_KEY, dict(model.opset_imports))
    inference = upgrade(model)
    return None if expand(model) else inference


def read_proto(source: str | os.PathLike[str] | bytes | onnx.ModelProto) -> onnx.ModelProto:
    """Reads and checks a file as it stands, without an upgrade; external data is read in.

    Args:
        source: A path, the file's bytes, or a `ModelProto`, which is given back.

    Raises:
        InvalidModelError: The file is missing, truncated, no ONNX model, or violates the standard.
    """
    where, path = _label(source), _path_of(source)
    proto = _read(source)
    held = survey(proto)
    check_proto(proto, path, where, held)
    if path is not None and held.external:
        # Through onnx-ir, which checks the sizes and stays inside the folder.
        _deserialize(proto, path, where, held)
        _read_external(proto, path)
    return proto


def _read_external(proto: onnx.ModelProto, path: str | None) -> None:
    """Brings external data into the proto."""
    if path is None:
        return
    for tensor in external_tensors(proto):
        try:
            tensor.raw_data = _external(tensor, path).tobytes()
        except (LookupError, OSError, ValueError) as error:
            raise invalid(_label(path), f"tensor '{tensor.name}': {error}") from None
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")


def _external(tensor: onnx.TensorProto, path: str) -> ir.ExternalTensor:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    return ir.ExternalTensor(
        entries["location"],
        int(entries.get("offset", 0)),
        int(entries["length"]) if "length" in entries else None,
        ir.DataType(tensor.data_type),
        shape=ir.Shape(tensor.dims),
        name=tensor.name,
        base_dir=os.path.dirname(os.path.abspath(path)),
    )


def _path_of(source: ModelSource) -> str | None:
    return os.fspath(source) if isinstance(source, (str, os.PathLike)) else None


def _label(source: ModelSource) -> str:
    if isinstance(source, (str, os.PathLike)):
        return f"load '{os.fspath(source)}'"
    return "load"


def _read(source: str | os.PathLike[str] | bytes | onnx.ModelProto) -> onnx.ModelProto:
    if isinstance(source, onnx.ModelProto):
        return source
    where = _label(source)
    return _parse(
        source if isinstance(source, bytes) else _from_file(source, Path.read_bytes), where
    )


def _stored(source: str | os.PathLike[str] | bytes, constants: bool) -> weights.Stored:
    """The file apart from its large weights."""
    if isinstance(source, bytes):
        return weights.split_bytes(source, constants)
    return _from_file(source, lambda path: weights.split_file(path, constants))


def _from_file(source: str | os.PathLike[str], read: Callable[[Path], T]) -> T:
    path, where = Path(source), _label(source)
    if not path.is_file():
        got = "a folder" if path.is_dir() else "no such file"
        raise InvalidModelError(f"{where}: an .onnx file is required, got {got}.")
    try:
        return read(path)
    except OSError as error:
        got = error.strerror or str(error)
        raise InvalidModelError(f"{where}: a readable file is required, got {got}.") from None


def _parse(text: bytes, where: str) -> onnx.ModelProto:
    try:
        proto: onnx.ModelProto = onnx.ModelProto.FromString(text)
    except Exception:
        size = f"{len(text)} bytes that do not parse" if text else "an empty one"
        hint = "Is it truncated?" if text else "Was it written to its end?"
        raise InvalidModelError(f"{where}: an ONNX model is required, got {size}. {hint}") from None
    if not proto.HasField("graph") or not (proto.ir_version or proto.opset_import):
        got = "an empty one" if not text else f"{len(text)} bytes without a graph"
        raise InvalidModelError(f"{where}: an ONNX model is required, got {got}. Is it truncated?")
    return proto


def _deserialize(
    proto: onnx.ModelProto,
    path: str | None,
    where: str,
    held: Survey,
    stored: weights.Stored | None = None,
) -> ir.Model:
    plain, maps = map_types.take(proto, held.nested)
    try:
        model = deserialize(plain)
        map_types.give(model, maps)
        if path is not None and held.external:
            for graph in (model.graph, *inner_graphs(model.graph)):
                ir.external_data.set_base_dir(graph, os.path.dirname(os.path.abspath(path)))
    except Exception as error:
        raise invalid(where, _root_cause(error)) from None
    if stored is not None:
        weights.give_back(model, proto, stored, where)
    check_tensors(model, where)
    if held.external:
        _read_attributes(model)
    if model.ir_version < 4:
        # Every initializer had to be an input as well; none is meant to be fed.
        initial = model.graph.initializers
        kept = [v for v in model.graph.inputs if v.name not in initial]
        model.graph.inputs.clear()
        model.graph.inputs.extend(kept)
    if proto.training_info:
        model.meta[training_info.META_KEY] = list(proto.training_info)
        model.meta[_PATH] = path
    return model


def _read_attributes(model: ir.Model) -> None:
    """Reads in the tensor attributes that lie in another file: those of Constant, and small."""
    for graph in (model.graph, *inner_graphs(model.graph)):
        for node in graph:
            for name, attr in node.attributes.data.items():
                if attr.type == ir.AttributeType.TENSOR and isinstance(
                    attr.value, ir.ExternalTensor
                ):
                    node.attributes[name] = ir.AttrTensor(name, ir.tensor(attr.value.numpy()))


def _root_cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {error}"


def to_proto(model: ir.Model, opset: int | None = None, inline: bool = False) -> onnx.ModelProto:
    """The model as a `ModelProto` of standard operators and the composites' function bodies.

    Args:
        model: A model at the canonical opset; it is not changed.
        opset: The opset of the result; `DEFAULT_EXPORT_OPSET` without.
        inline: Replace the calls of composite functions by their bodies, and the optimizers of
            ai.onnx.preview.training by their formulas: only standard operators are left.

    Raises:
        InvalidArgumentError: No such opset, or one below `downgrade.MIN_EXPORT_OPSET`.
        UnsupportedOperatorError: A node cannot be expressed at `opset`.
        InvalidModelError: The graph holds what a file cannot.
    """
    work = _lowered(model, opset, inline)
    for graph in work.graphs():
        for value in graph.initializers.values():
            if isinstance(value.const_value, ir.ExternalTensor):
                value.const_value = ir.tensor(value.const_value.numpy(), name=value.name)
    return _serialized(work, model)


def _lowered(model: ir.Model, opset: int | None, inline: bool) -> ir.Model:
    """A copy of the model at the opset of the export."""
    from toolkit.graph.downgrade import downgrade  # Not for sessions, which only load.

    target = DEFAULT_EXPORT_OPSET if opset is None else opset
    work = model.clone()  # Shares the tensors.
    _composites(work, target, inline)
    downgrade(work, target)
    work.ir_version = _ir_version(work)
    return work


def _serialized(work: ir.Model, model: ir.Model) -> onnx.ModelProto:
    try:
        proto = ir.serde.serialize_model(work)
    except ir.serde.SerdeError as error:
        raise invalid("export", _root_cause(error)) from None
    map_types.put_back(proto, work)
    _write_training(proto, model, work.opset_imports[""])
    if proto.ir_version < 4:
        _list_initializers(proto.graph)
    return proto


def _write_training(proto: onnx.ModelProto, model: ir.Model, opset: int) -> None:
    """Gives a file the training information that the model carries."""
    if training_info.META_KEY not in model.meta:
        return
    graph = proto.graph
    names = {v.name for v in graph.input} | {t.name for t in graph.initializer}
    names = names.union(*(node.output for node in graph.node))
    carried = onnx.ModelProto()
    carried.training_info.extend(training_info.carried(model, names, opset))
    _read_external(carried, model.meta.get(_PATH))
    proto.training_info.extend(carried.training_info)


def _list_initializers(graph: onnx.GraphProto) -> None:
    """Before IR version 4 every initializer had to be an input as well."""
    listed = {entry.name for entry in graph.input}
    for tensor in graph.initializer:
        if tensor.name not in listed:
            graph.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )


def _composites(model: ir.Model, opset: int, inline: bool) -> None:
    """Gives the calls of `toolkit.*` functions their bodies."""
    used = {node.domain for node in model.graph.all_nodes()}
    if inline and "ai.onnx.preview.training" in used:
        from toolkit.graph.functions.preview import write_out

        write_out(model.graph)
    if not any(domain.startswith("toolkit.") for domain in used):
        return
    from toolkit.graph import functions

    if inline:
        functions.inline(model)
    else:
        functions.attach(model)


def _ir_version(model: ir.Model) -> int:
    """The oldest IR version that knows every opset the model imports."""
    table = onnx.helper.OP_SET_ID_VERSION_MAP
    needed = [8 if model.functions else 3]
    inputs = set(model.graph.inputs)
    # Version 3 knows neither inputs with a default nor initializers of a subgraph.
    if any(v in inputs for v in model.graph.initializers.values()) or any(
        graph.initializers for graph in model.graph.subgraphs()
    ):
        needed.append(4)
    for domain, version in model.opset_imports.items():
        needed.append(table.get((domain or "ai.onnx", version), 3))
    return max(needed)


def save_model(
    model: ir.Model,
    path: str | os.PathLike[str],
    opset: int | None = None,
    inline: bool = False,
) -> None:
    """Writes the model; a reader sees the old file or the whole new one, never a part.

    Weights of 2 GB and more go to one file `<name>.<random>.data` beside it, which replaces those
    of earlier saves.

    Args:
        model: As in `to_proto`.
        path: The file to write.
        opset: As in `to_proto`.
        inline: As in `to_proto`.

    Raises:
        InvalidArgumentError: As `to_proto`.
        UnsupportedOperatorError: As `to_proto`.
    """
    work = _lowered(model, opset, inline)
    weights = sum(
        value.const_value.nbytes
        for graph in work.graphs()
        for value in graph.initializers.values()
        if value.const_value is not None and value.const_value.dtype != ir.DataType.STRING
    )
    if weights <= PROTO_LIMIT:
        write_proto(to_proto(model, opset, inline), path)
        return
    path = Path(path)
    data = f"{path.name}.{os.urandom(4).hex()}.data"
    old = set(path.parent.glob(f"{path.name}.*.data"))
    # The new data has a name of its own, so the old pair stays whole until the model is replaced.
    ir.external_data.unload_from_model(work, path.parent, data, size_threshold_bytes=1024)
    try:
        write_proto(_serialized(work, model), path)
    except BaseException:
        (path.parent / data).unlink(missing_ok=True)
        raise
    for stale in old:
        stale.unlink(missing_ok=True)


def write_proto(proto: onnx.ModelProto, path: str | os.PathLike[str]) -> None:
    """Writes a proto atomically: temporary file, fsync, rename."""
    path = Path(path)
    write_atomically(path, proto.SerializeToString())

"""What a file must hold before anything else looks at it."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping

import onnx
import onnx_ir as ir

from toolkit.errors import InvalidModelError
from toolkit.graph.survey import Survey
from toolkit.graph.upgrade.registry import next_adapter
from toolkit.graph.walk import graphs_of

PROTO_LIMIT = 2**31 - 2**24
"""Protobuf ends at 2 GB; above this nothing is serialized in one piece."""


def invalid(where: str, text: str) -> InvalidModelError:
    """The error for a model that violates the standard."""
    text = _one_line(text).rstrip(".")
    return InvalidModelError(f"{where}: a valid ONNX model is required, got one where: {text}.")


def _one_line(text: str) -> str:
    """The message with the node that onnx gives as its context in front."""
    text, _, context = text.partition("==> Context:")
    found = " ".join(text.split()) or "(no message)"
    node = re.search(r"Name: (.*) OpType: (\S+)", context)
    if node:
        found = f"{node[2]} '{node[1].strip()}': {found}"
    return found if len(found) <= 300 else found[:297] + "..."


def check_proto(
    proto: onnx.ModelProto,
    path: str | None,
    where: str,
    held: Survey,
    bare: Collection[str] = (),
) -> None:
    """The standard's own checker, and what it does not look at.

    Args:
        proto: The parsed file.
        path: Where it was read from: external data is looked up beside it.
        where: The beginning of a message.
        held: The survey of the file.
        bare: Initializers whose elements were left in the file.

    Raises:
        InvalidModelError: The model violates the standard.
    """
    newest = onnx.defs.onnx_opset_version()
    for entry in proto.opset_import:
        if entry.domain in ("", "ai.onnx") and not 1 <= entry.version <= newest:
            need = f"opset 1 to {newest} is required"
            raise InvalidModelError(f"{where}: {need}, got {entry.version}.")
    external = held.external
    if external and path is None:
        need = "a path is required for a model with external data"
        raise InvalidModelError(f"{where}: {need}, got bytes.")
    if proto.ByteSize() > PROTO_LIMIT:
        return  # Only with its tensors in memory: a file of this size does not parse.
    try:
        # By its path, the checker also looks at the files of the external data.
        onnx.checker.check_model(path if external and path else _checkable(proto, held, bare))
    except (onnx.checker.ValidationError, ValueError, RuntimeError) as error:
        if not (external and _REPLACED.search(str(error))):
            raise invalid(where, str(error)) from None


def external_tensors(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """The initializers and attributes that lie in another file.

    Those of subgraphs, functions and training_info too.
    """
    roots = [proto.graph]
    for info in proto.training_info:
        roots += [info.algorithm, info.initialization]
    scopes = [*(root.node for root in roots), *(f.node for f in proto.functions)]
    for tensor in (t for root in roots for t in root.initializer):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            yield tensor
    for attr in (a for nodes in scopes for node in all_nodes(nodes) for a in node.attribute):
        graphs = (attr.g, *attr.graphs) if attr.type in _GRAPHS else ()
        tensors = [attr.t] if attr.type == onnx.AttributeProto.TENSOR else []
        for tensor in (*tensors, *(t for graph in graphs for t in graph.initializer)):
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                yield tensor


_REPLACED = re.compile("is deprecated in domain_version|No Op registered for")


def _checkable(proto: onnx.ModelProto, held: Survey, bare: Collection[str]) -> onnx.ModelProto:
    """The model as the checker takes it.

    1. It wants shapes of all inputs and outputs; files without are in the wild.
    2. It does not know that "ai.onnx" is another name of the standard domain.
    3. It knows no operator that was experimental, and refuses deprecated ones that stay: they get a
       domain of their own, of which it checks nothing.
    4. It wants elements of every tensor that has some: those that are not there have none.
    """
    versions = {_domain(e): e.version for e in proto.opset_import} or {"": 1}
    shapeless = any(map(_lacks_shape, (*proto.graph.input, *proto.graph.output)))
    renamed = any(_is_renamed(operator, versions) for operator in held.operators)
    if not shapeless and not renamed and not bare:
        return proto
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for value in filter(_lacks_shape, (*copy.graph.input, *copy.graph.output)):
        value.type.tensor_type.shape.SetInParent()
    for tensor in copy.graph.initializer if bare else ():
        if tensor.name in bare:
            tensor.dims[:] = [0]
    for entry in copy.opset_import:
        entry.domain = _domain(entry)
    copy.opset_import.add(domain="unchecked", version=1)
    for node in all_nodes(copy.graph.node) if renamed else ():
        operator = node.domain, node.op_type
        if _is_renamed(operator, versions):
            node.domain = "unchecked" if _is_hidden(operator, versions) else ""
    return copy


def _domain(entry: onnx.OperatorSetIdProto) -> str:
    return "" if entry.domain == "ai.onnx" else entry.domain


def _is_renamed(operator: tuple[str, str], versions: Mapping[str, int]) -> bool:
    return operator[0] == "ai.onnx" or _is_hidden(operator, versions)


def _is_hidden(operator: tuple[str, str], versions: Mapping[str, int]) -> bool:
    domain = "" if operator[0] == "ai.onnx" else operator[0]
    version = versions.get(domain)
    return version is not None and _needs_hiding(operator[1], version, domain)


def all_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """The nodes and those of the graphs they hold."""
    for node in nodes:
        yield node
        for attr in node.attribute:
            for graph in (attr.g, *attr.graphs) if attr.type in _GRAPHS else ():
                yield from all_nodes(graph.node)


_GRAPHS = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)


@functools.cache
def _needs_hiding(op_type: str, version: int, domain: str) -> bool:
    try:
        schema = onnx.defs.get_schema(op_type, version, domain)
    except onnx.defs.SchemaError:
        return next_adapter(op_type, version, domain) is not None
    except TypeError:  # A name that is no text, a version of 64 bits: the checker refuses it.
        return False
    stays = domain == "ai.onnx.ml" or next_adapter(op_type, version) is not None
    return bool(schema.deprecated) and stays


def _lacks_shape(value: onnx.ValueInfoProto) -> bool:
    kind = value.type.WhichOneof("value")
    return kind == "tensor_type" and not value.type.tensor_type.HasField("shape")


def check_tensors(model: ir.Model, where: str) -> None:
    """Each initializer and tensor attribute holds as many bytes as its shape says.

    Raises:
        InvalidModelError: One holds fewer or more, or a name is no text.
    """
    graphs = graphs_of(model)
    for graph in graphs:
        for value in graph.inputs:
            _check_name(value, where)
        for node in graph:
            if not isinstance(node.op_type, str) or not isinstance(node.domain, str):
                raise invalid(where, f"the operator {node.op_type!r} is not UTF-8")
            for value in node.outputs:
                _check_name(value, where)
    for name, tensor in _tensors(graphs):
        try:
            kind = tensor.dtype
        except ValueError as error:
            raise invalid(where, f"tensor '{name}': {error}") from None
        if kind in (ir.DataType.STRING, ir.DataType.UNDEFINED):
            continue
        if isinstance(tensor, ir.ExternalTensor):
            _check_external(name, tensor, where)
        elif isinstance(tensor, ir.serde.TensorProtoTensor):
            unit, need, got = _amounts(tensor)
            if got != need:
                text = f"tensor '{name}' of shape {tuple(tensor.shape)} needs {need} {unit}"
                raise invalid(where, f"{text} and holds {got}")


def _check_name(value: ir.Value, where: str) -> None:
    if not isinstance(value.name or "", str):
        raise invalid(where, f"the name {value.name!r} is not UTF-8")


def _amounts(tensor: ir.serde.TensorProtoTensor) -> tuple[str, int, int]:
    """The unit that a tensor counts in, how many its shape needs, and how many it holds."""
    proto = tensor.raw
    if proto.HasField("raw_data"):
        return "bytes", tensor.nbytes, len(proto.raw_data)
    need = tensor.size
    if tensor.dtype.bitwidth < 8:
        need = -(-need * tensor.dtype.bitwidth // 8)
    elif tensor.dtype in (ir.DataType.COMPLEX64, ir.DataType.COMPLEX128):
        need *= 2
    fields = (proto.float_data, proto.int32_data, proto.int64_data, proto.double_data,
              proto.uint64_data)  # fmt: skip
    return "elements", need, max(map(len, fields))


def _check_external(name: str, tensor: ir.ExternalTensor, where: str) -> None:
    start = tensor.offset or 0
    need = tensor.nbytes
    got = tensor.length
    if got is None or got == need:
        size = os.path.getsize(tensor.path) if os.path.isfile(tensor.path) else 0
        got = max(size - start, 0) if size - start < need else need
    if got != need:
        text = f"tensor '{name}' needs {need} bytes of '{tensor.location}' from byte {start}"
        raise invalid(where, f"{text} and there are {got}")


def _tensors(graphs: Iterable[ir.Graph]) -> Iterator[tuple[str, ir.TensorProtocol]]:
    for graph in graphs:
        for name, value in graph.initializers.items():
            if value.const_value is not None:
                yield name, value.const_value
        for node in graph:
            for attr in node.attributes.data.values():
                if attr.type == ir.AttributeType.TENSOR and not attr.is_ref():
                    yield node.outputs[0].name or node.op_type, attr.value

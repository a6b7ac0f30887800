"""The large initializers of a file: left where they are while the rest is parsed and checked.

Protobuf, the checker and onnx-ir would each copy them. Only what the wire format says plainly is
taken out; a file that does not is parsed whole, and its mistakes are found there. Constant nodes
of the main graph can be read as initializers, which takes a tenth of the time.
"""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
import onnx
import onnx_ir as ir

from toolkit.errors import InvalidModelError
from toolkit.graph.check import invalid
from toolkit.graph.held import HeldTensor
from toolkit.graph.wire import BYTES, VARINT, Field, Malformed, Text, fields, message

_LARGE = 1 << 16  # Bytes of an initializer that is taken out.
_ALIGN = 64  # Of the memory that it is read into.

# Numbers of fields in onnx.proto.
_MODEL_IR_VERSION, _MODEL_GRAPH = 1, 7
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_OUTPUT = 1, 5, 12
_NODE_OUTPUT, _NODE_NAME, _OP_TYPE, _ATTRIBUTE, _NODE_DOC, _DOMAIN = 2, 3, 4, 5, 6, 7
_ATTRIBUTE_NAME, _TENSOR, _ATTRIBUTE_DOC, _TYPE = 1, 5, 13, 20
_FLOATS, _INT32S, _INT64S, _DOUBLES, _UINT64S = 4, 5, 7, 10, 11
_DIMS, _DATA_TYPE, _NAME, _RAW_DATA, _DOC, _METADATA = 1, 2, 8, 9, 12, 16
_BESIDE_RAW = frozenset({_DIMS, _DATA_TYPE, _NAME, _RAW_DATA, _DOC, _METADATA})
_NUMBERS = frozenset(
    {_DIMS, _DATA_TYPE, _NAME, _RAW_DATA, _DOC} | {_FLOATS, _INT32S, _INT64S} | {_DOUBLES, _UINT64S}
)
_PACKED = {int(ir.DataType.FLOAT): _FLOATS, int(ir.DataType.DOUBLE): _DOUBLES}
_CONSTANT = b'"\x08Constant'  # The field of the operator.

# Types whose elements lie in raw_data as they lie in memory.
_PLAIN = frozenset(
    t for t in ir.DataType if t.name not in ("UNDEFINED", "STRING") and t.bitwidth % 8 == 0
)

Read = Callable[[int, memoryview], int]
"""Fills memory with the bytes from an offset on; gives how many there were."""


class Span(NamedTuple):
    """Where an initializer's bytes lie."""

    offset: int
    length: int


class Stored(NamedTuple):
    """A file without its large initializers, and where these are."""

    text: bytes
    spans: Mapping[str, Span]
    read: Read


def split_file(path: str | os.PathLike[str], constants: bool = False) -> Stored:
    """As `split_bytes`, for a file, which stays open as long as a tensor refers to it.

    Raises:
        OSError: The file cannot be read.
    """
    source = _File(path)
    if not source.size():
        return Stored(b"", {}, source.read)
    with mmap.mmap(source.fd, 0, access=mmap.ACCESS_READ) as text:
        return _split(text, source.read, constants)


def split_bytes(text: bytes, constants: bool = False) -> Stored:
    """Takes the large initializers of the main graph out of a file.

    Args:
        text: The file.
        constants: Constant nodes of the main graph become initializers of the same names.
    """
    view = memoryview(text)

    def read(offset: int, into: memoryview) -> int:
        found = view[offset : offset + len(into)]
        into[: len(found)] = found
        return len(found)

    return _split(text, read, constants)


class StoredTensor(ir.LazyTensor):
    """A tensor whose bytes are in the file: each `numpy()` reads them into memory of its own."""


def give_back(model: ir.Model, proto: onnx.ModelProto, stored: Stored, where: str) -> None:
    """Gives a model the tensors that were taken out of its file; each is read when asked for.

    Raises:
        InvalidModelError: One holds other than as many bytes as its shape needs.
    """
    for tensor in proto.graph.initializer:
        span = stored.spans.get(tensor.name)
        if span is None:
            continue
        dtype, dims = ir.DataType(tensor.data_type), tuple(tensor.dims)
        need = math.prod(dims) * dtype.bitwidth // 8
        if need != span.length or min(dims, default=0) < 0:
            text = f"tensor '{tensor.name}' of shape {dims} needs {need} bytes"
            raise invalid(where, f"{text} and holds {span.length}")
        model.graph.initializers[tensor.name].const_value = StoredTensor(
            partial(_load, stored.read, span, dtype, dims, f"{where}: tensor '{tensor.name}'"),
            dtype,
            ir.Shape(dims),
            name=tensor.name,
            doc_string=tensor.doc_string or None,
            metadata_props={entry.key: entry.value for entry in tensor.metadata_props},
        )


def _load(
    read: Read, span: Span, dtype: ir.DataType, dims: tuple[int, ...], where: str
) -> ir.TensorProtocol:
    memory = np.empty(span.length + _ALIGN, np.uint8)
    start = -memory.ctypes.data % _ALIGN
    part = memory[start : start + span.length]
    got = read(span.offset, part.data)
    if got != span.length:
        need = f"{span.length} bytes from byte {span.offset} on are required"
        raise InvalidModelError(f"{where}: {need}, got {got}. Was the file changed after loading?")
    shape = ir.Shape(dims, frozen=True)
    return HeldTensor(part.view(dtype.numpy()).reshape(dims), dtype, shape)


class _File:
    """A file that is open as long as this object lives, also when its name is gone."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.fd = -1
        self.fd = os.open(path, os.O_RDONLY)

    def size(self) -> int:
        """Of the file, in bytes."""
        return os.fstat(self.fd).st_size

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)

    def __deepcopy__(self, memo: object) -> _File:
        return self  # A copy would close the file too.

    def __reduce__(self) -> str:
        raise TypeError("an open file cannot be pickled")

    def read(self, offset: int, into: memoryview) -> int:
        """As `Read`: a system call gives 2 GB at most."""
        done = 0
        while done < len(into):
            got = os.preadv(self.fd, [into[done:]], offset + done)
            if not got:
                break
            done += got
        return done


def _split(text: Text, read: Read, constants: bool) -> Stored:
    try:
        spans, pieces = _walk(text, constants)
    except Malformed:
        spans, pieces = {}, []
    return Stored(b"".join(pieces) or text[:], spans, read)


def _walk(text: Text, constants: bool) -> tuple[dict[str, Span], list[bytes]]:
    """What was taken out, and the pieces of the rest; none where nothing was."""
    model = list(fields(text, 0, len(text)))
    graphs = [f for f in model if f.number == _MODEL_GRAPH]
    if len(graphs) != 1 or graphs[0].wire != BYTES:  # Several would be merged.
        raise Malformed
    (graph,) = graphs
    inner = [f for f in fields(text, graph.body, graph.end) if f.wire == BYTES]
    # Before IR version 4 each initializer had to be an input as well.
    constants = constants and any(f.number == _MODEL_IR_VERSION and f.value >= 4 for f in model)
    outputs = _output_names(text, inner) if constants else frozenset()
    spans: dict[str, Span] = {}
    names: set[bytes] = set()
    pieces: list[bytes] = []
    moved: list[bytes] = []
    kept = graph.body  # What lies before is in the pieces.
    for field in inner:
        tensor, label = None, None
        if field.number == _GRAPH_NODE and constants:
            found = _constant(text, field)
            if found is None or found[1] in outputs:
                continue
            tensor, label = found
        elif field.number != _GRAPH_INITIALIZER:
            continue
        if tensor is None:
            tensor = list(fields(text, field.body, field.end))
        name, raw, rest = _initializer(text, tensor, label)
        if name in names:
            raise Malformed
        names.add(name)
        if raw is not None:
            spans[_decoded(name)] = Span(raw.body, raw.end - raw.body)
        elif label is None:
            continue
        pieces.append(text[kept : field.at])
        (pieces if label is None else moved).append(message(_GRAPH_INITIALIZER, rest))
        kept = field.end
    if not pieces:
        return spans, []
    body = b"".join([*pieces, text[kept : graph.end], *moved])
    return spans, [text[: graph.at], message(_MODEL_GRAPH, body), text[graph.end :]]


def _decoded(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise Malformed from None


def _output_names(text: Text, graph: list[Field]) -> frozenset[bytes]:
    """The names of a graph's outputs."""
    return frozenset(
        text[f.body : f.end]
        for output in graph
        if output.number == _GRAPH_OUTPUT
        for f in fields(text, output.body, output.end)
        if f.number == 1 and f.wire == BYTES
    )


def _constant(text: Text, node: Field) -> tuple[list[Field], bytes] | None:
    """The fields and the name of what a Constant node gives, if it is a tensor of numbers."""
    if text.find(_CONSTANT, node.body, node.end) < 0:
        return None
    found: dict[int, Field] = {}
    for field in fields(text, node.body, node.end):
        if field.number in found or field.wire != BYTES:
            return None
        found[field.number] = field
    allowed = {_NODE_OUTPUT, _NODE_NAME, _OP_TYPE, _ATTRIBUTE, _NODE_DOC}
    domain = found.pop(_DOMAIN, None)
    if not found.keys() <= allowed or (domain is not None and domain.body < domain.end):
        return None
    if not {_NODE_OUTPUT, _OP_TYPE, _ATTRIBUTE} <= found.keys():
        return None
    if text[found[_OP_TYPE].body : found[_OP_TYPE].end] != _CONSTANT[2:]:
        return None
    given = found[_ATTRIBUTE]
    attribute = {f.number: f for f in fields(text, given.body, given.end)}
    if not {_ATTRIBUTE_NAME, _TENSOR} <= attribute.keys() or not attribute.keys() <= {
        _ATTRIBUTE_NAME, _TENSOR, _ATTRIBUTE_DOC, _TYPE
    }:  # fmt: skip
        return None
    label, tensor, kind = (attribute.get(n) for n in (_ATTRIBUTE_NAME, _TENSOR, _TYPE))
    assert label is not None and tensor is not None
    if text[label.body : label.end] != b"value" or tensor.wire != BYTES:
        return None
    if kind is None or kind.value != onnx.AttributeProto.TENSOR:
        return None
    name = text[found[_NODE_OUTPUT].body : found[_NODE_OUTPUT].end]
    held = list(fields(text, tensor.body, tensor.end))
    return (held, name) if name and _NUMBERS.issuperset(f.number for f in held) else None


def _initializer(
    text: Text, every: list[Field], label: bytes | None
) -> tuple[bytes, Field | None, bytes]:
    """Its name, the field of its bytes if it is to be taken out, and the message of the rest.

    `label` is the name that it gets.
    """
    by_number = {field.number: field for field in every}
    name = by_number.get(_NAME)
    if label is None and (name is None or name.wire != BYTES):
        raise Malformed
    raw, kind = by_number.get(_RAW_DATA), by_number.get(_DATA_TYPE)
    packed = None if kind is None or label is None else _PACKED.get(kind.value)
    if raw is None and packed in by_number and len(by_number) == len(every):
        raw = by_number.pop(packed)  # Its bytes are those that raw_data would hold.
        raw = raw if raw.wire == BYTES else None
    plain = (
        raw is not None
        and raw.wire == BYTES
        and raw.end - raw.body >= _LARGE
        and kind is not None
        and kind.wire == VARINT
        and kind.value in _PLAIN
        and _BESIDE_RAW.issuperset(by_number)
        and sum(f.number in (_NAME, _DATA_TYPE, raw.number) for f in every)
        == 2 + (name is not None)
    )
    out = raw if plain else None
    kept = [f for f in every if f is not out and (label is None or f.number != _NAME)]
    if label is not None:
        parts = [
            message(_RAW_DATA, text[f.body : f.end])
            if f is raw and f.number != _RAW_DATA
            else text[f.at : f.end]
            for f in kept
        ]
        return label, out, b"".join([*parts, message(_NAME, label)])
    rest = b"".join(text[f.at : f.end] for f in kept) if out else b""
    assert name is not None
    return text[name.body : name.end], out, rest

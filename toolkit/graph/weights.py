"""The large initializers of a file: left where they are while the rest is parsed and checked.

Protobuf, the checker and onnx-ir would each copy them. Only what the wire format says plainly is
taken out; a file that does not is parsed whole, and its mistakes are found there.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import BinaryIO, NamedTuple

import numpy as np
import onnx
import onnx_ir as ir

from toolkit.errors import InvalidModelError
from toolkit.graph.check import invalid

_LARGE = 1 << 16  # Bytes of an initializer that is taken out.
_ALIGN = 64  # Of the memory that it is read into.

# Numbers of fields in onnx.proto and wire types.
_MODEL_GRAPH, _GRAPH_INITIALIZER = 7, 5
_DATA_TYPE, _NAME, _RAW_DATA = 2, 8, 9
_BESIDE_RAW = frozenset({1, _DATA_TYPE, _NAME, _RAW_DATA, 12, 16})  # dims, doc_string, metadata.
_VARINT, _I64, _BYTES, _I32 = 0, 1, 2, 5

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


def split_file(path: str | os.PathLike[str]) -> Stored:
    """As `split_bytes`, for a file, which stays open as long as a tensor refers to it.

    Raises:
        OSError: The file cannot be read.
    """
    source = _File(path)
    with open(path, "rb") as file:
        return _split(file, os.fstat(file.fileno()).st_size, source.read)


def split_bytes(text: bytes) -> Stored:
    """Takes the large initializers of the main graph out of a file."""
    view = memoryview(text)

    def read(offset: int, into: memoryview) -> int:
        found = view[offset : offset + len(into)]
        into[: len(found)] = found
        return len(found)

    return _split(io.BytesIO(text), len(text), read)


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
        model.graph.initializers[tensor.name].const_value = ir.LazyTensor(
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
    return ir.Tensor(part.view(dtype.numpy()).reshape(dims), dtype=dtype)


class _File:
    """A file that is open as long as this object lives, also when its name is gone."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._fd = -1
        self._fd = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def __deepcopy__(self, memo: object) -> _File:
        return self  # A copy would close the file too.

    def __reduce__(self) -> str:
        raise TypeError("an open file cannot be pickled")

    def read(self, offset: int, into: memoryview) -> int:
        """As `Read`: a system call gives 2 GB at most."""
        done = 0
        while done < len(into):
            got = os.preadv(self._fd, [into[done:]], offset + done)
            if not got:
                break
            done += got
        return done


class _Whole(Exception):
    """The file is to be parsed as it is."""


class _Field(NamedTuple):
    """A field of a message: from its tag `at` to its value `body` to its end."""

    number: int
    wire: int
    value: int  # Of a varint.
    at: int
    body: int
    end: int


def _split(file: BinaryIO, size: int, read: Read) -> Stored:
    try:
        spans, pieces = _walk(file, size)
    except _Whole:
        spans, pieces = {}, []
    if not spans:
        pieces = [_bytes(file, 0, size)]
    return Stored(b"".join(pieces), spans, read)


def _walk(file: BinaryIO, size: int) -> tuple[dict[str, Span], list[bytes]]:
    graphs = [f for f in _fields(file, 0, size) if f.number == _MODEL_GRAPH]
    if len(graphs) != 1 or graphs[0].wire != _BYTES:  # Several would be merged.
        raise _Whole
    (graph,) = graphs
    spans: dict[str, Span] = {}
    names: set[str] = set()
    pieces: list[bytes] = []
    kept = graph.body  # What lies before is in the pieces.
    for field in _fields(file, graph.body, graph.end):
        if field.number != _GRAPH_INITIALIZER or field.wire != _BYTES:
            continue
        name, raw = _initializer(file, field)
        if name in names:
            raise _Whole
        names.add(name)
        if raw is not None:
            spans[name] = Span(raw.body, raw.end - raw.body)
            rest = _bytes(file, field.body, raw.at) + _bytes(file, raw.end, field.end)
            pieces += [_bytes(file, kept, field.at), _message(_GRAPH_INITIALIZER, rest)]
            kept = field.end
    inner = b"".join([*pieces, _bytes(file, kept, graph.end)])
    whole = [_bytes(file, 0, graph.at), _message(_MODEL_GRAPH, inner)]
    return spans, [*whole, _bytes(file, graph.end, size)]


def _initializer(file: BinaryIO, tensor: _Field) -> tuple[str, _Field | None]:
    """Its name, and the field of its bytes if it is to be taken out."""
    fields = list(_fields(file, tensor.body, tensor.end))
    by_number = {field.number: field for field in fields}
    name = by_number.get(_NAME)
    if name is None or name.wire != _BYTES:
        raise _Whole
    try:
        text = _bytes(file, name.body, name.end).decode()
    except UnicodeDecodeError:
        raise _Whole from None
    raw, kind = by_number.get(_RAW_DATA), by_number.get(_DATA_TYPE)
    plain = (
        raw is not None
        and raw.wire == _BYTES
        and raw.end - raw.body >= _LARGE
        and kind is not None
        and kind.wire == _VARINT
        and kind.value in _PLAIN
        and _BESIDE_RAW.issuperset(by_number)
        and sum(field.number in (_NAME, _DATA_TYPE, _RAW_DATA) for field in fields) == 3
    )
    return text, raw if plain else None


def _fields(file: BinaryIO, start: int, end: int) -> Iterator[_Field]:
    """The fields of the message that lies from `start` to `end`."""
    while start < end:
        file.seek(start)
        head = file.read(20)  # Two varints.
        tag, at = _varint(head, 0)
        number, wire = tag >> 3, tag & 7
        value, body = 0, start + at
        if wire == _VARINT:
            value, at = _varint(head, at)
            stop = start + at
        elif wire == _BYTES:
            length, at = _varint(head, at)
            body = start + at
            stop = body + length
        elif wire in (_I64, _I32):
            stop = body + (8 if wire == _I64 else 4)
        else:  # A group.
            raise _Whole
        if not number or stop > end:
            raise _Whole
        yield _Field(number, wire, value, start, body, stop)
        start = stop


def _varint(text: bytes, at: int) -> tuple[int, int]:
    """A number of 7 bits a byte, and where the next begins."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(text):
            raise _Whole
        byte = text[at]
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return value, at
    raise _Whole


def _bytes(file: BinaryIO, start: int, end: int) -> bytes:
    file.seek(start)
    return file.read(end - start)


def _message(number: int, body: bytes) -> bytes:
    """A field that holds bytes."""
    head, length = [number << 3 | _BYTES], len(body)
    while length > 127:
        head.append(length & 127 | 128)
        length >>= 7
    return bytes([*head, length]) + body

"""The wire format of FlatBuffers: tables, vectors and strings, read with every bound checked.

A table is an offset to its vtable and its fields; the vtable says where each field lies. What a
field means is up to the reader: there are no schemas here. Structs and unions are absent.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from toolkit.errors import InvalidModelError

__all__ = ["Numbers", "Scalar", "Table", "root", "write"]


class Table:
    """One table of a buffer.

    Args:
        buffer: the whole buffer.
        position: where the table begins.
        where: the beginning of a message.

    Raises:
        InvalidModelError: the table, or what a method reads of it, lies outside of the buffer.
    """

    def __init__(self, buffer: memoryview, position: int, where: str) -> None:
        self._buffer, self._position, self._where = buffer, position, where
        self._vtable = position - self._unpack("<i", position)
        size = self._unpack("<H", self._vtable)
        if size < 4 or size % 2 or self._vtable + size > len(buffer):
            raise self._fail(f"a table at byte {position} without its fields")
        self._count = size // 2 - 2

    def scalar(self, index: int, kind: str, default: Any = 0) -> Any:
        """A number; `kind` is struct's letter for it."""
        at = self._field(index)
        return default if at is None else self._unpack(f"<{kind}", at)

    def string(self, index: int) -> str:
        """A string, "" if it is not there."""
        try:
            return str(self.bytes(index), "utf-8")
        except UnicodeDecodeError:
            raise self._fail("a string that is not UTF-8") from None

    def table(self, index: int) -> Table | None:
        """A table, None if it is not there."""
        at = self._field(index)
        return None if at is None else Table(self._buffer, self._follow(at), self._where)

    def bytes(self, index: int) -> memoryview:
        """A vector of bytes, not copied."""
        start, count = self._vector(index, 1)
        return self._buffer[start : start + count]

    def numbers(self, index: int, kind: str) -> list[Any]:
        """A vector of numbers."""
        size = struct.calcsize(f"<{kind}")
        start, count = self._vector(index, size)
        return list(struct.unpack_from(f"<{count}{kind}", self._buffer, start))

    def tables(self, index: int) -> list[Table]:
        """A vector of tables."""
        start, count = self._vector(index, 4)
        places = (self._follow(start + 4 * i) for i in range(count))
        return [Table(self._buffer, place, self._where) for place in places]

    def _field(self, index: int) -> int | None:
        if index >= self._count:
            return None
        offset: int = self._unpack("<H", self._vtable + 4 + 2 * index)
        return self._position + offset if offset else None

    def _vector(self, index: int, size: int) -> tuple[int, int]:
        """Where the elements of a vector begin, and how many there are."""
        at = self._field(index)
        if at is None:
            return 0, 0
        start = self._follow(at)
        count: int = self._unpack("<I", start)
        if count * size > len(self._buffer) - start - 4:
            raise self._fail(f"a vector of {count} elements at byte {start}")
        return start + 4, count

    def _follow(self, at: int) -> int:
        """The target of an offset; offsets lead forward, so there are no circles."""
        offset = self._unpack("<I", at)
        if not offset:
            raise self._fail(f"an offset of 0 at byte {at}")
        return at + int(offset)

    def _unpack(self, kind: str, at: int) -> Any:
        if at < 0 or at + struct.calcsize(kind) > len(self._buffer):
            raise self._fail(f"a reference to byte {at}")
        return struct.unpack_from(kind, self._buffer, at)[0]

    def _fail(self, got: str) -> InvalidModelError:
        size = len(self._buffer)
        return InvalidModelError(
            f"{self._where}: a whole FlatBuffers file is required, got {size} bytes with {got}. "
            "Is it truncated?"
        )


def root(data: bytes, identifier: bytes, where: str) -> Table:
    """The root table of a file.

    Args:
        data: the file.
        identifier: four bytes that a file of this kind holds.
        where: the beginning of a message.

    Raises:
        InvalidModelError: it is no such file.
    """
    if len(data) < 8 or data[4:8] != identifier:
        got = f"{len(data)} bytes that are none"
        raise InvalidModelError(f"{where}: a file marked {identifier!r} is required, got {got}.")
    return Table(memoryview(data), int.from_bytes(data[:4], "little"), where)


@dataclass(frozen=True)
class Scalar:
    """A number of a table, `kind` as in struct."""

    kind: str
    value: Any


@dataclass(frozen=True)
class Numbers:
    """A vector of numbers, `kind` as in struct."""

    kind: str
    values: Sequence[Any]


def write(table: list[Any], identifier: bytes) -> bytes:
    """A file of one root table.

    Args:
        table: its fields in order: None (left out), `Scalar`, `Numbers`, a string, bytes, a list
            (a table), or a tuple of lists (a vector of tables).
        identifier: four bytes that mark the kind of file.
    """
    out = bytearray(8)
    out[4:8] = identifier
    _link(out, 0, _table(out, table))
    return bytes(out)


def _link(out: bytearray, at: int, target: int) -> None:
    struct.pack_into("<I", out, at, target - at)


def _pad(out: bytearray, size: int) -> None:
    out.extend(bytes(-len(out) % size))


def _table(out: bytearray, fields: list[Any]) -> int:
    """Appends a table and what it refers to; gives its position.

    In order: the vtable, the table with room for offsets, then each field's target.
    """
    places, end = [], 4
    for field in fields:
        size = struct.calcsize(f"<{field.kind}") if isinstance(field, Scalar) else 4
        end += -end % size
        places.append(0 if field is None else end)
        end += 0 if field is None else size
    _pad(out, 2)
    vtable = len(out)
    out.extend(struct.pack("<HH", 4 + 2 * len(fields), end))
    out.extend(struct.pack(f"<{len(places)}H", *places))
    _pad(out, 8)
    start = len(out)
    out.extend(bytes(end))
    struct.pack_into("<i", out, start, start - vtable)
    for place, field in zip(places, fields, strict=True):
        if isinstance(field, Scalar):
            struct.pack_into(f"<{field.kind}", out, start + place, field.value)
        elif field is not None:
            _link(out, start + place, _target(out, field))
    return start


def _target(out: bytearray, field: Any) -> int:
    """Appends what an offset leads to; gives its position."""
    if isinstance(field, list):
        return _table(out, field)
    if isinstance(field, tuple):
        start = _count(out, len(field), 4)
        out.extend(bytes(4 * len(field)))
        for i, inner in enumerate(field):
            _link(out, start + 4 + 4 * i, _table(out, inner))
        return start
    if isinstance(field, Numbers):
        start = _count(out, len(field.values), struct.calcsize(f"<{field.kind}"))
        out.extend(struct.pack(f"<{len(field.values)}{field.kind}", *field.values))
        return start
    data = field.encode() if isinstance(field, str) else field
    start = _count(out, len(data), 8)  # Elements of a tensor may be as wide.
    out.extend(data)
    if isinstance(field, str):
        out.append(0)
    return start


def _count(out: bytearray, count: int, align: int) -> int:
    """Appends a vector's length such that its elements are aligned."""
    out.extend(bytes(-(len(out) + 4) % max(align, 4)))
    out.extend(struct.pack("<I", count))
    return len(out) - 4

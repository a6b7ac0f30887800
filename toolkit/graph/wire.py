"""Protobuf's wire format: where the fields of a message lie, without parsing what they hold."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import NamedTuple

VARINT, I64, BYTES, I32 = 0, 1, 2, 5  # Wire types.

Text = bytes | mmap.mmap


class Malformed(Exception):
    """The text is no message, or says a thing in a way that this does not read."""


class Field(NamedTuple):
    """A field of a message: from its tag `at` to its value `body` to its end."""

    number: int
    wire: int
    value: int  # Of a varint.
    at: int
    body: int
    end: int


_field = tuple.__new__  # As Field(...), in half the time.


def fields(text: Text, start: int, end: int) -> Iterator[Field]:
    """The fields of the message that lies from `start` to `end`.

    Raises:
        Malformed: It is no message, or holds a group.
    """
    try:
        while start < end:
            tag, body = text[start], start + 1
            if tag > 127:
                tag, body = varint(text, start)
            number, wire = tag >> 3, tag & 7
            value = 0
            if wire == VARINT:
                value, stop = varint(text, body)
            elif wire == BYTES:
                length = text[body]
                if length > 127:
                    length, body = varint(text, body)
                else:
                    body += 1
                stop = body + length
            elif wire in (I64, I32):
                stop = body + (8 if wire == I64 else 4)
            else:
                raise Malformed
            if not number or stop > end:
                raise Malformed
            yield _field(Field, (number, wire, value, start, body, stop))
            start = stop
    except IndexError:
        raise Malformed from None


def varint(text: Text, at: int) -> tuple[int, int]:
    """A number of 7 bits a byte, and where the next begins."""
    value = 0
    for shift in range(0, 70, 7):
        byte = text[at]
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return value, at
    raise Malformed


def message(number: int, body: bytes) -> bytes:
    """A field that holds bytes."""
    head, length = [number << 3 | BYTES], len(body)
    while length > 127:
        head.append(length & 127 | 128)
        length >>= 7
    return bytes([*head, length]) + body

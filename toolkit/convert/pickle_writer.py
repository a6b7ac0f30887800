"""Writes pickles of plain data, protocol 2, as a list of opcodes: no class is asked how to pickle.

What has no opcode (tensors, sizes, element types) is written by its owner as a call of a global.
"""

from __future__ import annotations

import struct
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from toolkit.errors import InvalidArgumentError

Write = Callable[["PickleWriter", Any, str], None]

_KEYS = (str, int, float, bool, bytes, type(None))  # Those that `pickles.key` reads.


class PickleWriter:
    """Gathers the bytes of one pickle.

    Args:
        types: what writes an object of a type of its owner's.
        refuse: makes the error of an object that has no place in the file, found at a path.
    """

    def __init__(
        self, types: dict[type, Write], refuse: Callable[[Any, str], InvalidArgumentError]
    ) -> None:
        self._types = {**_PLAIN, **types}
        self._refuse = refuse
        self._out = bytearray(b"\x80\x02")
        self._memo: dict[Any, int] = {}
        self._kept: list[Any] = []  # Keeps the ids of the memo from being given again.
        self._open: set[int] = set()

    def dump(self, value: Any) -> bytes:
        """The pickle of an object.

        Raises:
            InvalidArgumentError: it holds something else, or is nested too deeply.
        """
        try:
            self.write(value, "obj")
        except RecursionError:
            raise InvalidArgumentError(
                "save: data nested less deeply is required (Python's recursion limit was reached)."
            ) from None
        return bytes(self._out) + b"."

    def write(self, value: Any, path: str) -> None:
        """An object: once, and a reference to it from then on."""
        if self.recall(value):
            return
        if isinstance(value, np.generic):
            value = value.item()
        write = self._types.get(type(value))
        if write is None:
            raise self._refuse(value, path)
        write(self, value, path)

    # -- the memo ------------------------------------------------------------------------------

    def recall(self, value: Any) -> bool:
        """Refers to what was written before, if it was."""
        place = self._memo.get(self._identity(value))
        if place is None:
            return False
        self.put(b"h" + bytes((place,)) if place < 256 else b"j" + struct.pack("<I", place))
        return True

    def remember(self, value: Any) -> None:
        """Lets later places refer to what was just written."""
        place = self._memo[self._identity(value)] = len(self._memo)
        self._kept.append(value)
        self.put(b"q" + bytes((place,)) if place < 256 else b"r" + struct.pack("<I", place))

    @staticmethod
    def _identity(value: Any) -> Any:
        return value if type(value) is str else id(value)

    # -- pieces for owners of types ------------------------------------------------------------

    def put(self, opcodes: bytes) -> None:
        """Opcodes as they are."""
        self._out += opcodes

    def global_(self, module: str, name: str) -> None:
        """A name, which a reader looks up among those that it knows."""
        self.put(f"c{module}\n{name}\n".encode())

    def call(self, module: str, name: str, *arguments: Any, path: str = "") -> None:
        """A global called with arguments."""
        self.global_(module, name)
        self.tuple_(arguments, path)
        self.put(b"R")

    def tuple_(self, items: tuple[Any, ...], path: str) -> None:
        """A tuple that nothing refers to."""
        if not items:
            self.put(b")")
            return
        if len(items) > 3:
            self.put(b"(")
        for i, item in enumerate(items):
            if isinstance(item, Piece):
                item.write()
            else:
                self.write(item, f"{path}[{i}]")
        self.put((b"\x85", b"\x86", b"\x87")[len(items) - 1] if len(items) < 4 else b"t")

    def pairs(self, items: dict[Any, Any], path: str) -> None:
        """What a dict on the stack gets."""
        if not items:
            return
        self.put(b"(")
        for name, value in list(items.items()):
            name = self.key(name, path)
            self.write(name, path)
            self.write(value, f"{path}[{name!r:.60}]")
        self.put(b"u")

    def key(self, value: Any, path: str) -> Any:
        """A key of a dict or an element of a set: a number, text or a flat tuple of them."""
        plain = value.item() if isinstance(value, np.generic) else value
        parts = plain if type(plain) is tuple else (plain,)
        if not all(type(part) in _KEYS for part in parts):
            raise InvalidArgumentError(
                "save: keys and elements of sets that are numbers, text, bytes, None or flat "
                f"tuples of them are required, got {type(value).__name__} in {path}."
            )
        return plain

    # -- types of Python -----------------------------------------------------------------------

    def _bool(self, value: bool, path: str) -> None:
        self.put(b"\x88" if value else b"\x89")

    def _int(self, value: int, path: str) -> None:
        if 0 <= value < 256:
            self.put(b"K" + struct.pack("<B", value))
        elif 0 <= value < 65536:
            self.put(b"M" + struct.pack("<H", value))
        elif -(2**31) <= value < 2**31:
            self.put(b"J" + struct.pack("<i", value))
        else:
            size = value.bit_length() // 8 + 1
            head = b"\x8a" + bytes((size,)) if size < 256 else b"\x8b" + struct.pack("<i", size)
            self.put(head + value.to_bytes(size, "little", signed=True))

    def _float(self, value: float, path: str) -> None:
        self.put(b"G" + struct.pack(">d", value))

    def _complex(self, value: complex, path: str) -> None:
        self.call("__builtin__", "complex", value.real, value.imag)

    def _str(self, value: str, path: str) -> None:
        text = value.encode("utf-8", "surrogatepass")
        self.put(b"X" + struct.pack("<I", len(text)) + text)
        self.remember(value)

    def _bytes(self, value: bytes, path: str) -> None:
        self.call("_codecs", "encode", value.decode("latin1"), "latin1")
        self.remember(value)

    def _bytearray(self, value: bytearray, path: str) -> None:
        self.call("__builtin__", "bytearray", bytes(value))
        self.remember(value)

    def _tuple(self, value: tuple[Any, ...], path: str) -> None:
        if id(value) in self._open:
            raise InvalidArgumentError(
                f"save: a tuple that does not hold itself is required, got one at {path}."
            )
        self._open.add(id(value))
        self.tuple_(value, path)
        self._open.discard(id(value))
        if value:
            self.remember(value)

    def _list(self, value: list[Any], path: str) -> None:
        self.put(b"]")
        self.remember(value)
        if value:
            self.put(b"(")
            for i, item in enumerate(value):
                self.write(item, f"{path}[{i}]")
            self.put(b"e")

    def _dict(self, value: dict[Any, Any], path: str) -> None:
        self.put(b"}")
        self.remember(value)
        self.pairs(value, path)

    def _set(self, value: set[Any], path: str) -> None:
        self.call("__builtin__", "set", [self.key(item, path) for item in value], path=path)
        self.remember(value)

    def _ordered(self, value: OrderedDict[Any, Any], path: str) -> None:
        """With the versions of a state_dict's modules, as PyTorch has it."""
        self.call("collections", "OrderedDict")
        self.remember(value)
        self.pairs(value, path)
        if hasattr(value, "_metadata"):
            self.write({"_metadata": value._metadata}, f"{path}.__dict__")
            self.put(b"b")

    def _counter(self, value: Counter[Any], path: str) -> None:
        self.call("collections", "Counter", dict(value), path=path)
        self.remember(value)


class Piece:
    """An argument that is written by a function."""

    __slots__ = ("write",)

    def __init__(self, write: Callable[[], None]) -> None:
        self.write = write


ordered: Write = PickleWriter._ordered
_PLAIN: dict[type, Write] = {
    type(None): lambda w, _, path: w.put(b"N"), bool: PickleWriter._bool, int: PickleWriter._int,
    float: PickleWriter._float, complex: PickleWriter._complex, str: PickleWriter._str,
    bytes: PickleWriter._bytes, bytearray: PickleWriter._bytearray, tuple: PickleWriter._tuple,
    list: PickleWriter._list, dict: PickleWriter._dict, set: PickleWriter._set,
    OrderedDict: ordered, Counter: PickleWriter._counter,
}  # fmt: skip

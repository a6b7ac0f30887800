"""A reader of pickles that builds plain data and calls nothing but what its owner names.

It is a machine of its own, not `pickle.Unpickler`: what a hostile file can ask of that one (code,
attributes, memory for a made-up memo) is absent here. Protocols 0 to 5 without their rarer opcodes.
"""

from __future__ import annotations

import pickletools
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from toolkit.errors import InvalidArgumentError

# A global by (module, name): what stands for it, and how it is called with a tuple (None: never).
Find = Callable[[str, str], Any]

_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False, "EMPTY_LIST": list,
    "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple, "EMPTY_SET": set,
}  # fmt: skip
_LITERALS = frozenset((
    "BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
))  # fmt: skip
_IGNORED = frozenset(("PROTO", "FRAME", "STOP"))
_PLAIN = (str, int, float, bool, bytes, type(None))


class Callee:
    """A global that may be called: with a tuple of arguments, as the pickle gives them."""

    __slots__ = ("call", "name")

    def __init__(self, name: str, call: Callable[..., Any]) -> None:
        self.name, self.call = name, call


class PickleReader:
    """Runs pickles of one file.

    Args:
        find: gives a `Callee` or a value for each global, or raises.
        persistent: gives the object of a persistent id.
    """

    def __init__(self, find: Find, persistent: Callable[[Any], Any]) -> None:
        self._find, self._persistent = find, persistent
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def read(self, stream: BinaryIO | bytes) -> Any:
        """The object of the next pickle of a stream, which then stands behind it.

        Raises:
            InvalidArgumentError: an opcode or a global that is not known here.
            ValueError, IndexError, KeyError, TypeError: it is broken.
        """
        self._stack, self._marks, self._memo = [], [], {}
        for opcode, argument, _ in pickletools.genops(stream):
            self._step(opcode.name, argument)
        if len(self._stack) != 1:
            raise ValueError(f"one object is left by a whole pickle, got {len(self._stack)}")
        return self._stack.pop()

    def _step(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in _LITERALS:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name]())
        elif name in _HANDLERS:
            _HANDLERS[name](self, argument)
        elif name not in _IGNORED:
            raise InvalidArgumentError(
                f"a pickle of plain data is required, got opcode {name}, which is not read here."
            )

    # -- the opcodes ---------------------------------------------------------------------------

    def _mark(self, argument: Any) -> None:
        self._marks.append(len(self._stack))

    def _since_mark(self) -> list[Any]:
        at = self._marks.pop()
        items = self._stack[at:]
        del self._stack[at:]
        return items

    def _pop(self, argument: Any) -> None:
        self._stack.pop()

    def _pop_mark(self, argument: Any) -> None:
        self._since_mark()

    def _duplicate(self, argument: Any) -> None:
        self._stack.append(self._stack[-1])

    def _put(self, argument: Any) -> None:
        self._memo[int(argument)] = self._stack[-1]

    def _memoize(self, argument: Any) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _get(self, argument: Any) -> None:
        self._stack.append(self._memo[int(argument)])

    def _tuple(self, argument: Any) -> None:
        self._stack.append(tuple(self._since_mark()))

    def _last_as_tuple(self, count: int) -> None:
        if len(self._stack) < count:
            raise IndexError("a tuple of more items than the stack has")
        items = tuple(self._stack[-count:])
        del self._stack[-count:]
        self._stack.append(items)

    def _append(self, argument: Any) -> None:
        item = self._stack.pop()
        _of(list, self._stack[-1]).append(item)

    def _appends(self, argument: Any) -> None:
        items = self._since_mark()
        _of(list, self._stack[-1]).extend(items)

    def _list(self, argument: Any) -> None:
        self._stack.append(self._since_mark())

    def _add_items(self, argument: Any) -> None:
        items = self._since_mark()
        _of(set, self._stack[-1]).update(map(key, items))

    def _set_item(self, argument: Any) -> None:
        value, name = self._stack.pop(), self._stack.pop()
        _of(dict, self._stack[-1])[key(name)] = value

    def _set_items(self, argument: Any) -> None:
        items = self._since_mark()
        target = _of(dict, self._stack[-1])
        for name, value in zip(items[::2], items[1::2], strict=True):
            target[key(name)] = value

    def _dict(self, argument: Any) -> None:
        items = self._since_mark()
        pairs = zip(items[::2], items[1::2], strict=True)
        self._stack.append({key(name): value for name, value in pairs})

    def _global(self, argument: Any) -> None:
        module, _, name = argument.partition(" ")
        self._stack.append(self._find(module, name))

    def _stack_global(self, argument: Any) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        self._stack.append(self._find(_of(str, module), _of(str, name)))

    def _persistent_id(self, argument: Any) -> None:
        self._stack.append(self._persistent(self._stack.pop()))

    def _reduce(self, argument: Any) -> None:
        given, callee = _of(tuple, self._stack.pop()), self._stack.pop()
        if not isinstance(callee, Callee):
            raise InvalidArgumentError(
                f"a call of a known function is required, got one of {type(callee).__name__}."
            )
        self._stack.append(callee.call(*given))

    def _build(self, argument: Any) -> None:
        """Attributes are left out, but the versions in the `_metadata` of a state_dict."""
        state = self._stack.pop()
        if not isinstance(self._stack[-1], dict):
            raise InvalidArgumentError(
                f"plain data is required, got a state for a {type(self._stack[-1]).__name__}."
            )
        found = state.get("_metadata") if isinstance(state, dict) else None
        if (
            isinstance(found, OrderedDict)
            and isinstance(self._stack[-1], OrderedDict)
            and all(isinstance(k, str) and isinstance(v, dict) for k, v in found.items())
        ):
            self._stack[-1]._metadata = found  # type: ignore[attr-defined]


def _of(kind: type, value: Any) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"a {kind.__name__} is required, got {type(value).__name__}")
    return value


def key(value: Any) -> Any:
    """A key of a dict: a number, a string or a flat tuple of them, whose hash is safe to take."""
    parts = value if type(value) is tuple else (value,)
    if not all(type(part) in _PLAIN for part in parts):
        raise TypeError(f"a plain key is required, got a {type(value).__name__}")
    return value


_HANDLERS: Mapping[str, Callable[[PickleReader, Any], None]] = {
    "MARK": PickleReader._mark, "POP": PickleReader._pop, "POP_MARK": PickleReader._pop_mark,
    "DUP": PickleReader._duplicate, "PUT": PickleReader._put, "BINPUT": PickleReader._put,
    "LONG_BINPUT": PickleReader._put, "MEMOIZE": PickleReader._memoize, "GET": PickleReader._get,
    "BINGET": PickleReader._get, "LONG_BINGET": PickleReader._get, "TUPLE": PickleReader._tuple,
    "TUPLE1": lambda m, _: m._last_as_tuple(1), "TUPLE2": lambda m, _: m._last_as_tuple(2),
    "TUPLE3": lambda m, _: m._last_as_tuple(3), "APPEND": PickleReader._append,
    "APPENDS": PickleReader._appends, "LIST": PickleReader._list, "DICT": PickleReader._dict,
    "ADDITEMS": PickleReader._add_items, "SETITEM": PickleReader._set_item,
    "SETITEMS": PickleReader._set_items, "GLOBAL": PickleReader._global,
    "STACK_GLOBAL": PickleReader._stack_global, "BINPERSID": PickleReader._persistent_id,
    "REDUCE": PickleReader._reduce, "NEWOBJ": PickleReader._reduce, "BUILD": PickleReader._build,
}  # fmt: skip

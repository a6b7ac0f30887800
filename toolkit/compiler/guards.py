"""What compiled code depends on besides its tensors, as a key that is quick to make at each call.

Constants count by value; modules and other objects by their attributes; functions by their code and
what it reaches through closures and globals; tensors by identity, element type and shape, as their
values are read when the program runs.
"""

from __future__ import annotations

import functools
import types
from typing import Any

import numpy as np

from toolkit._tensor.base import TensorBase
from toolkit.dtypes import DType
from toolkit.func.fingerprint import is_ours, names_of
from toolkit.nn.hooks import HookTable
from toolkit.nn.module import Module
from toolkit.random import Generator
from toolkit.runtime import _core

_PLAIN = frozenset({int, float, bool, str, bytes, complex, type(None), type(Ellipsis), DType})
_OPAQUE = (type, types.ModuleType, types.BuiltinFunctionType, types.MethodDescriptorType)
_NO_PART = ("_state_hooks", "_compiled")  # Of modules: what a call does not depend on.
_LIMIT = 100  # Elements of a container that holds other things than tensors and objects.


class Watch:
    """Tells quickly whether a key made before would be the same now: nothing was replaced."""

    __slots__ = ("entries", "owners", "volatile")

    def __init__(self) -> None:
        self.entries: list[tuple[Any, ...]] = []  # See `_core.unchanged`.
        self.owners: list[tuple[Any, Any]] = []  # Containers that may change, and copies of them.
        self.volatile = False  # Something holds values that change in place.

    def same(self) -> bool:
        """Whether all is as it was."""
        return not self.volatile and _core.unchanged(self.entries)


class Guard:
    """A key under construction.

    Attributes:
        parts: the key.
        kept: objects whose identity is in it, which must live as long as it is used.
        watch: tells whether it still holds.
    """

    __slots__ = ("kept", "parts", "seen", "watch")

    def __init__(self) -> None:
        self.watch = Watch()
        self.parts: list[Any] = []
        self.kept: list[Any] = []
        self.seen: set[int] = set()

    def look(self, x: Any) -> None:
        """Adds what code may depend on in an object."""
        kind = x.__class__
        if kind in _PLAIN:
            self.parts += (kind, x)
            return
        name = id(x)
        self.parts.append(name)
        if name in self.seen:
            return
        self.seen.add(name)
        self.kept.append(x)
        if isinstance(x, TensorBase):
            value = x._get()
            form = value.dtype, tuple(value.shape)
            self.parts += form
            self.watch.entries.append((_core.HAS_FORM, x, *form))
        elif kind is dict:
            self._dict(x)
        elif kind is list or kind is tuple:
            self._items(x)
        elif kind is set:
            self._items(sorted(x, key=repr))
            self.watch.entries.append((_core.HOLDS_SET, x, tuple(x)))
            self.watch.owners.append((x, set(x)))
        elif isinstance(x, np.ndarray):
            self.parts += (x.dtype.str, x.shape, x.tobytes() if x.dtype.kind != "O" else None)
            self.watch.volatile = True
        elif kind is types.FunctionType:
            self._function(x)
        elif kind is types.MethodType:
            self.look(x.__func__)
            self.look(x.__self__)
        elif kind is functools.partial:
            self.look(x.func)
            self.look(x.args)
            self.look(x.keywords)
        elif kind is Generator:
            self.look(x.state)
        elif kind is slice:
            self.parts += (x.start, x.stop, x.step)
        elif not isinstance(x, _OPAQUE):
            members = getattr(x, "__dict__", None)
            if members:
                self._object(members)
            if isinstance(x, Module):
                self.look(kind.forward)

    def _object(self, members: dict[str, Any]) -> None:
        parts = self.parts
        self.watch.entries.append((_core.HOLDS_VALUES, members, tuple(members.values())))
        self.watch.owners.append((members, dict(members)))
        for name, value in members.items():
            kind = value.__class__
            if kind in _PLAIN:
                parts += (kind, value)
            elif kind is HookTable:
                self._dict(value.hooks)
            elif name not in _NO_PART:
                self.look(value)

    def _dict(self, x: dict[Any, Any]) -> None:
        self.parts.append(len(x))
        self.watch.entries.append((_core.HOLDS_ITEMS, x, tuple(x), tuple(x.values())))
        self.watch.owners.append((x, dict(x)))
        for key, value in x.items():
            self.parts.append(key if key.__class__ in _PLAIN else id(key))
            self.look(value)

    def _items(self, x: Any) -> None:
        self.parts.append(len(x))
        if x.__class__ is list:
            self.watch.entries.append((_core.HOLDS_LIST, x, tuple(x)))
            self.watch.owners.append((x, list(x)))
        if len(x) > _LIMIT and x[0].__class__ in _PLAIN:
            self.parts.append(repr(x))
            return
        for value in x:
            self.look(value)

    def _function(self, f: types.FunctionType) -> None:
        self.parts.append(id(f.__code__))
        if is_ours(f.__module__):
            return
        if f.__dict__:
            self._dict(f.__dict__)
        for value in (*(f.__defaults__ or ()), *(f.__kwdefaults__ or {}).values()):
            self.look(value)
        for cell in f.__closure__ or ():
            try:
                value = cell.cell_contents
            except ValueError:  # Not filled yet.
                self.parts.append(None)
                self.watch.volatile = True
                continue
            self.look(value)
            self.watch.entries.append((_core.HOLDS_CELL, cell, value))
        for name in _globals(f.__code__):
            value = f.__globals__.get(name)
            self.watch.entries.append((_core.HOLDS_NAME, f.__globals__, name, value))
            if value is not None and not isinstance(value, _OPAQUE):
                self.look(value)


@functools.lru_cache(maxsize=1024)
def _globals(code: types.CodeType) -> tuple[str, ...]:
    return tuple(sorted(names_of(code)))

"""What a Python function depends on, as a key: equal keys trace to the same graph.

Taken are code, defaults, closures, the globals that the code names, and what lies behind them:
containers, modules and other objects by their contents, tensors by identity (their values are read
at each call). Where anything cannot be looked into, there is no key, and the function is traced.
"""

from __future__ import annotations

import functools
import types
from typing import Any

import numpy as np

from toolkit._tensor.base import TensorBase
from toolkit.dtypes import DType

_LIMIT = 4000  # Objects; beyond that looking costs as much as tracing.
_ARRAY = 4096  # Bytes.

_PLAIN = (int, str, bytes, bool, complex, type(None), type(Ellipsis), DType, range)
# Modules whose functions depend on their arguments only.
_PURE = frozenset(
    {"builtins", "math", "cmath", "operator", "functools", "itertools", "typing", "collections"}
    | {"_operator", "_functools", "_collections", "collections.abc", "abc", "__future__"}
    | {"dataclasses", "enum", "types"}
)
_IMPURE = frozenset({"print", "input", "open", "next", "eval", "exec", "globals", "id"})
_SKIPPED = frozenset(
    {"__module__", "__doc__", "__dict__", "__weakref__", "__qualname__", "__annotations__"}
    | {"__wrapped__", "__firstlineno__", "__static_attributes__", "__orig_bases__", "_abc_impl"}
    | {"__abstractmethods__", "__parameters__", "__dataclass_fields__", "__dataclass_params__"}
)


class Unknown(Exception):
    """Something that cannot be looked into."""


def fingerprint(tree: Any) -> tuple[Any, list[Any]] | None:
    """A key of what a tree of functions, settings and tensors depends on.

    Returns:
        The key, and the objects whose identity it holds, which must be kept alive with it; None
        where there is no key.
    """
    look = _Look()
    try:
        return look.at(tree), look.kept
    except Unknown:
        return None


def is_ours(module: Any) -> bool:
    """Whether the name of a module is one of this package."""
    return isinstance(module, str) and (module == "toolkit" or module.startswith("toolkit."))


class _Look:
    def __init__(self) -> None:
        self.kept: list[Any] = []
        self.seen: dict[int, int] = {}
        self.modules: set[tuple[str, frozenset[str]]] = set()

    def same(self, x: Any) -> int:
        """The identity of an object."""
        self.kept.append(x)
        return id(x)

    def at(self, x: Any) -> Any:
        """The key of any object."""
        kind = type(x)
        if kind is float:
            return kind, repr(x)
        if isinstance(x, _PLAIN) and not hasattr(x, "__dict__"):
            return kind, x
        if kind is DType:
            return kind, x.onnx
        if id(x) in self.seen:
            return "again", self.seen[id(x)]
        self.seen[id(x)] = len(self.seen)
        self.kept.append(x)
        if len(self.seen) > _LIMIT:
            raise Unknown
        return kind, self._inside(x)

    def _inside(self, x: Any) -> Any:
        if isinstance(x, TensorBase):
            self.kept.append(x._grad)
            return id(x), x._value.dtype, tuple(x._value.shape), x.requires_grad, id(x._grad)
        if isinstance(x, (tuple, list)):
            return tuple(map(self.at, x)), self._dict(getattr(x, "__dict__", {}))
        if isinstance(x, dict):
            return tuple((self.at(k), self.at(v)) for k, v in x.items())
        if isinstance(x, (set, frozenset)):
            return frozenset(map(self.at, x))
        if isinstance(x, slice):
            return self.at(x.start), self.at(x.stop), self.at(x.step)
        if isinstance(x, (np.ndarray, np.generic)):
            if x.nbytes > _ARRAY or x.dtype.hasobject:
                raise Unknown
            return x.dtype.str, x.shape, x.tobytes()
        if isinstance(x, types.FunctionType):
            return self._function(x)
        if isinstance(x, types.MethodType):
            return self.at(x.__func__), self.at(x.__self__)
        if isinstance(x, functools.partial):
            return self.at(x.func), self.at(x.args), self.at(x.keywords)
        if isinstance(x, (staticmethod, classmethod)):
            return self.at(x.__func__)
        if isinstance(x, property):
            return self.at(x.fget)
        if isinstance(x, type):
            return self._class(x)
        if isinstance(x, types.ModuleType):
            return self._module(x, frozenset())
        if isinstance(x, (types.BuiltinFunctionType, types.MethodDescriptorType)):
            return self._builtin(x)
        return self._object(x)

    def _builtin(self, x: Any) -> Any:
        owner = getattr(x, "__self__", None)
        module = x.__module__ if isinstance(owner, types.ModuleType) or owner is None else None
        if module not in _PURE or x.__name__ in _IMPURE:
            raise Unknown
        return id(x)

    def _function(self, f: types.FunctionType) -> Any:
        cells = []
        for cell in f.__closure__ or ():
            try:
                cells.append(self.at(cell.cell_contents))
            except ValueError:  # Not filled yet.
                cells.append(None)
        own = self._dict(f.__dict__)
        given = self.at(f.__defaults__), self.at(f.__kwdefaults__)
        used: tuple[Any, ...] = ()
        if not is_ours(f.__module__) and f.__module__ not in _PURE:
            used = self._globals(f)
        return self.same(f.__code__), given, tuple(cells), own, used

    def _globals(self, f: types.FunctionType) -> tuple[Any, ...]:
        names = names_of(f.__code__)
        found = []
        for name in sorted(names):
            if name in f.__globals__:
                value = f.__globals__[name]
                if isinstance(value, types.ModuleType):
                    found.append((name, self._module(value, names)))
                else:
                    found.append((name, self.at(value)))
            elif name in _IMPURE:
                raise Unknown
        return tuple(found)

    def _module(self, module: types.ModuleType, names: frozenset[str]) -> Any:
        """A module: by name, or by those of its members that the code may name."""
        name = module.__name__
        if is_ours(name) or name in _PURE:
            return name
        if name.partition(".")[0] == "numpy":
            if "random" in names or not names:
                raise Unknown
            return name
        if not names:
            raise Unknown
        if (name, names) in self.modules:
            return name
        self.modules.add((name, names))
        members = []
        for key in sorted(names & set(vars(module))):
            value = vars(module)[key]
            inner = isinstance(value, types.ModuleType)
            members.append((key, self._module(value, names) if inner else self.at(value)))
        return name, tuple(members)

    def _class(self, x: type) -> Any:
        if is_ours(x.__module__) or x.__module__ in _PURE:
            return id(x)
        if not x.__flags__ & (1 << 9):  # Not made by Python code.
            raise Unknown
        return id(x), tuple(map(self.at, x.__bases__)), self._dict(vars(x))

    def _object(self, x: Any) -> Any:
        if not hasattr(x, "__dict__") or any(vars(c).get("__slots__") for c in type(x).__mro__):
            raise Unknown
        return self.at(type(x)), self._dict(x.__dict__)

    def _dict(self, members: Any) -> Any:
        return tuple(
            (k, self.at(v))
            for k, v in members.items()
            if k not in _SKIPPED and not isinstance(v, types.GetSetDescriptorType)
        )


@functools.lru_cache(maxsize=1024)
def names_of(code: types.CodeType) -> frozenset[str]:
    """The names that code and the functions inside it use."""
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= names_of(constant)
    return frozenset(found)

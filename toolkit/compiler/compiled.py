"""A function that is traced once per signature and runs as a program from then on.

A call is one record on the tape (`toolkit.func.graphed`). What cannot be traced is kept as a graph
break: for that signature the function runs eagerly.
"""

from __future__ import annotations

import copy
import functools
import threading
import warnings
import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from toolkit._tensor import autocast, promote
from toolkit._tensor.base import TensorBase
from toolkit._tensor.state import STATE
from toolkit._tensor.symint import SymInt
from toolkit._tensor.views import make_view
from toolkit.compiler import refusals
from toolkit.compiler.guards import Guard, Watch
from toolkit.errors import DataDependentError, ToolkitWarning
from toolkit.func.pytree import flatten, unflatten
from toolkit.func.staging import Traced, execute, trace_call
from toolkit.random import default_generator
from toolkit.runtime import _core

RECOMPILE_LIMIT = 8  # PyTorch's `torch._dynamo.config.recompile_limit`.
_MOST = 256  # Calls with tensors alone that are found without looking at each argument again.
_lock = threading.RLock()  # One trace at a time: modules hold symbolic values while it records.
_NOTHING = Guard()
ALL: weakref.WeakSet[Compiled] = weakref.WeakSet()


class Explanation(NamedTuple):
    """What a compiled function has done so far.

    Attributes:
        graphs: programs that it holds.
        retraces: traces beyond the first.
        graph_break_count: signatures that run eagerly.
        break_reasons: why, each with the user's line.
    """

    graphs: int
    retraces: int
    graph_break_count: int
    break_reasons: tuple[str, ...]


class _Break(NamedTuple):
    reason: str


class _Program(NamedTuple):
    traced: Traced
    sizes: list[int]  # Which results are sizes: they leave the program as tensors.
    same: list[tuple[int, int, list[Any]]]  # Which results are arguments, or views of them.
    roots: frozenset[int] | None  # Of what it reads besides arguments; None: it writes nothing.


class _Token(NamedTuple):
    """A state of what a function reaches besides its arguments."""

    number: int
    kept: list[Any]  # Objects whose identity is in it.


class _Slot:
    """The programs of a signature but for its shapes."""

    __slots__ = ("dynamic", "entries", "kept", "shapes")

    def __init__(self, kept: list[Any]) -> None:
        self.kept = kept
        self.entries: dict[Any, _Program | _Break] = {}
        self.shapes: Any = None  # Of the first call.
        self.dynamic: Any = set()  # (tensor, dimension) with a symbol; None: never.


class Compiled:
    """See `toolkit.compile`."""

    def __init__(
        self, function: Callable[..., Any], fullgraph: bool, dynamic: bool | None, limit: int | None
    ) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        self._fullgraph = fullgraph
        self._dynamic = dynamic
        self._limit = RECOMPILE_LIMIT if limit is None else limit
        self.reset()
        ALL.add(self)

    def reset(self) -> None:
        """Forgets the programs and the counts."""
        self._slots: dict[Any, _Slot] = {}
        self._tokens: dict[Any, _Token] = {}
        self._known: dict[Any, _Program] = {}
        self._latest: tuple[Watch, _Token] | None = None
        self._traces = 0
        self._warned = False

    def explain(self) -> Explanation:
        """How many graphs there are, how often it was traced again, and the graph breaks."""
        entries = [e for slot in self._slots.values() for e in slot.entries.values()]
        reasons = tuple(e.reason for e in entries if type(e) is _Break)
        retraces = max(self._traces - 1, 0)
        return Explanation(len(entries) - len(reasons), retraces, len(reasons), reasons)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the program for this signature; it is made at the first such call."""
        if STATE.trace is not None:
            return self._function(*args, **kwargs)
        form = None if kwargs else _form(args)
        if form is not None:
            latest = self._latest
            if latest is not None and latest[0].same():
                known = self._known.get((latest[1].number, STATE.grad, promote.default_code, form))
                if known is not None and (
                    known.roots is None or not refusals.overlap(known.roots, args)
                ):
                    return _run(known, args)
        return self._looked_up(args, kwargs, form)

    def _looked_up(self, args: tuple[Any, ...], kwargs: dict[str, Any], form: Any) -> Any:
        """A call whose signature is looked up, or is new."""
        leaves, spec = flatten((args, kwargs))
        constants: list[Any] = []
        places: list[int] = []  # For each leaf the number of its tensor, -1 for another object.
        numbers: dict[int, int] = {}
        tensors: list[Any] = []
        for x in leaves:
            if not isinstance(x, TensorBase):
                places.append(-1)
                constants.append(x)
                continue
            number = numbers.setdefault(id(x), len(tensors))
            if number == len(tensors):
                tensors.append(x)
            places.append(number)
        latest = self._latest
        token = latest[1] if latest is not None and latest[0].same() else self._look()
        guard = _NOTHING
        if constants:
            guard = Guard()
            for x in constants:
                guard.look(x)
        values = [t._get() for t in tensors]
        shapes = tuple([tuple(v.shape) for v in values])
        key = (
            spec, tuple(places), tuple([(v.dtype, v.ndim) for v in values]), STATE.grad,
            promote.default_code, autocast.key(), token.number, *guard.parts,
        )  # fmt: skip
        slot = self._slots.get(key)
        entry = None if slot is None else slot.entries.get(_pattern(shapes, slot.dynamic))
        if type(entry) is _Program:
            if entry.roots is None or not refusals.overlap(entry.roots, tensors):
                if form is not None:
                    if len(self._known) >= _MOST:
                        self._known.clear()
                    self._known[token.number, STATE.grad, promote.default_code, form] = entry
                return _run(entry, tensors)
            entry = None
        if entry is None:
            with _lock:
                if slot is None:
                    slot = self._slots[key] = _Slot([*guard.kept, *token.kept])
                assert self._latest is not None
                call = _Call(self._function, args, kwargs, leaves, spec, places, tensors, shapes,
                             (self._latest[0], guard.watch))  # fmt: skip
                return self._first(call, slot)
        return self._function(*args, **kwargs)

    def _look(self) -> _Token:
        """What the function reaches now, as a number."""
        guard = Guard()
        guard.look(self._function)
        token = self._tokens.setdefault(tuple(guard.parts), _Token(len(self._tokens), guard.kept))
        self._latest = guard.watch, token
        return token

    def _first(self, call: _Call, slot: _Slot) -> Any:
        """A call of a signature not met before."""
        if self._traces >= self._limit:
            pattern = _pattern(call.shapes, slot.dynamic)
            reason = f"recompile limit of {self._limit} reached."
            return self._refused(call, slot, pattern, reason)
        self._widen(slot, call)
        self._traces += 1
        while True:
            pattern = _pattern(call.shapes, slot.dynamic)
            found = slot.entries.get(pattern)
            if found is not None:  # What varies now has been traced before with a symbol.
                self._traces -= 1
                if not isinstance(found, _Program):
                    return call.eagerly()
                if found.roots is None or not refusals.overlap(found.roots, call.tensors):
                    return _run(found, call.tensors)
                return self._refused(call, slot, pattern, refusals.OVERLAP)
            try:
                program = _compile(call, pattern, slot.kept)
                refusals.require_no_leftovers(call.watches)
                if program.roots is not None and refusals.overlap(program.roots, call.tensors):
                    raise DataDependentError(refusals.OVERLAP)
                result = _run(program, call.tensors)
            except Exception as error:
                refusals.undo(call.watches)
                if slot.dynamic:
                    slot.dynamic = None  # This code needs to know its sizes.
                    continue
                if self._fullgraph and not isinstance(error, DataDependentError):
                    self._traces -= 1
                    raise
                return self._refused(call, slot, pattern, refusals.reason_of(error))
            slot.entries[pattern] = program
            return result

    def _refused(self, call: _Call, slot: _Slot, pattern: Any, reason: str) -> Any:
        """What cannot be one graph: an error where it must be."""
        if self._fullgraph:
            raise DataDependentError(f"compile(fullgraph=True): {reason}")
        return self._broken(call, slot, pattern, reason)

    def _broken(self, call: _Call, slot: _Slot, pattern: Any, reason: str) -> Any:
        try:
            result = call.eagerly()
        except Exception:  # The user's, and no graph break.
            self._traces = max(self._traces - 1, 0)
            raise
        slot.entries[pattern] = _Break(reason)
        if not self._warned:
            self._warned = True
            name = getattr(self._function, "__qualname__", type(self._function).__name__)
            warnings.warn(
                f"compile: graph break, '{name}' runs eagerly for this signature. {reason}",
                ToolkitWarning,
                stacklevel=6,
            )
        return result

    def _widen(self, slot: _Slot, call: _Call) -> None:
        """Chooses the dimensions that have symbols: all, or those marked or seen to vary."""
        shapes = call.shapes
        if slot.dynamic is None or self._dynamic is False:
            slot.dynamic = None
        elif self._dynamic:
            slot.dynamic = {(i, d) for i, shape in enumerate(shapes) for d in range(len(shape))}
        elif slot.shapes is None:
            slot.shapes = shapes
            slot.dynamic = _marked(call.tensors, "_dynamic_dims")
        else:
            varied = {
                (i, d)
                for i, (old, new) in enumerate(zip(slot.shapes, shapes, strict=True))
                for d in range(len(new))
                if old[d] != new[d]
            }
            slot.dynamic = slot.dynamic | varied | _marked(call.tensors, "_dynamic_dims")
        if slot.dynamic:
            slot.dynamic = slot.dynamic - _marked(call.tensors, "_static_dims")


class _Call(NamedTuple):
    """One call: its arguments, flat and as they came."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    leaves: list[Any]
    spec: Any
    places: list[int]
    tensors: list[Any]
    shapes: tuple[tuple[int, ...], ...]
    watches: tuple[Watch, ...]

    def eagerly(self) -> Any:
        """The result without a program."""
        return self.function(*self.args, **self.kwargs)

    def rebuilt(self, tensors: Sequence[Any]) -> Any:
        """The result for other tensors."""
        given = [x if p < 0 else tensors[p] for x, p in zip(self.leaves, self.places, strict=True)]
        args, kwargs = unflatten(given, self.spec)
        result = self.function(*args, **kwargs)
        after, spec = flatten((args, kwargs))
        if spec != self.spec or any(a is not b for a, b in zip(after, given, strict=True)):
            raise DataDependentError(
                "compile: code that changes no list, dict or dataclass among its arguments is "
                "required."
            )
        return result


def _form(args: tuple[Any, ...]) -> Any:
    """Element types and shapes of different tensors; None for other arguments."""
    form: list[Any] = []
    for x in args:
        if not isinstance(x, TensorBase):
            return None
        value = x._get()
        form.append(value.dtype)
        form.append(value.shape)
    if len(args) > 1 and len(set(map(id, args))) != len(args):
        return None
    return tuple(form)


def _pattern(shapes: tuple[tuple[int, ...], ...], dynamic: Any) -> Any:
    """Shapes with symbols at dynamic dimensions: equal sizes there have the same symbol.

    Sizes 0 and 1 have none, because they broadcast and reduce differently.
    """
    if not dynamic:
        return shapes
    names: dict[int, str] = {}
    return tuple(
        tuple(
            names.setdefault(n, f"s{len(names)}") if n > 1 and (i, d) in dynamic else n
            for d, n in enumerate(shape)
        )
        for i, shape in enumerate(shapes)
    )


def _marked(tensors: list[Any], how: str) -> set[tuple[int, int]]:
    """The dimensions that `mark_dynamic` and `mark_static` noted on tensors."""
    return {(i, d) for i, t in enumerate(tensors) for d in getattr(t, how, ())}


def _compile(call: _Call, pattern: Any, kept: list[Any]) -> _Program:
    """Traces a call.

    Raises:
        DataDependentError: the graph would hold for this call only.
    """
    sizes: list[int] = []
    same: list[tuple[int, int, list[Any]]] = []

    def function(*tensors: Any) -> Any:
        with refusals.printing_refused():
            leaves, spec = flatten(call.rebuilt(tensors))
        numbers = {id(t): i for i, t in enumerate(tensors)}
        refusals.require_plain(leaves)
        for i, y in enumerate(leaves):
            if type(y) is SymInt:
                sizes.append(i)
                leaves[i] = y.tensor()
            elif isinstance(y, TensorBase) and id(y._root()) in numbers:
                same.append((i, numbers[id(y._root())], _views(y)))
        return unflatten(leaves, spec)

    leaves, spec = flatten(tuple(call.tensors))
    traced, _ = trace_call(function, leaves, spec, call.tensors, [], pattern)
    if traced.looked_at:
        raise DataDependentError(
            "a value is required that stays as it is, got that of a tensor, which Python reads."
            f"{traced.looked_at}"
        )
    known = {id(x) for x in kept} | {id(x._root()) for x in kept if isinstance(x, TensorBase)}
    known.add(id(default_generator.state))
    for tensor in traced.captured:
        if id(tensor) not in known:
            raise DataDependentError(
                "tensors that the arguments, the modules or the function hold are required, got "
                f"one of shape {list(tensor.shape)} from elsewhere."
            )
    roots = None
    if traced.written or traced.mutated:
        roots = frozenset(id(t._root()) for t in traced.captured)
    shared = [s for s in same if _is_taken(call.tensors[s[1]], s[2])]
    return _Program(traced, sizes, shared, roots)


def _views(y: Any) -> list[Any]:
    """How a tensor was taken from its root, view by view."""
    found: list[Any] = []
    while y._base is not None:
        found.insert(0, y._view)
        y = y._base
    return found


def _taken(tensor: Any, views: list[Any]) -> Any:
    for view in views:
        tensor = make_view(tensor, copy.copy(view))
    return tensor


def _is_taken(tensor: Any, views: list[Any]) -> bool:
    """Whether the views of a trace can be taken of a tensor: they read nothing of the trace."""
    try:
        return type(_taken(tensor, views)._get()) is _core.Tensor
    except Exception:
        return False


def _run(program: _Program, tensors: Sequence[Any]) -> Any:
    result = execute(program.traced, tensors)
    if not program.sizes and not program.same:
        return result
    leaves, spec = flatten(result)
    for i in program.sizes:
        leaves[i] = int(leaves[i])
    for i, number, views in program.same:
        leaves[i] = _taken(tensors[number], views)
    return unflatten(leaves, spec)

"""What a graph cannot hold, besides data-dependent control flow: found while a call is traced."""

from __future__ import annotations

import builtins
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from toolkit._tensor.base import TensorBase
from toolkit.compiler.guards import Watch
from toolkit.errors import DataDependentError
from toolkit.runtime import _core
from toolkit.source_lines import at, at_user_line, in_package

OVERLAP = "arguments that share no memory are required where one is written to."
_DEPTH = 4  # Objects in objects that are looked into.


def overlap(roots: frozenset[int], tensors: Sequence[Any]) -> bool:
    """Whether an argument shares memory with another, or with what the program reads besides."""
    own = [id(t._root()) for t in tensors]
    return len(set(own)) < len(own) or not roots.isdisjoint(own)


@contextmanager
def printing_refused() -> Iterator[None]:
    """A graph does not print: where code does, it is an error with its line."""
    before = builtins.print

    def refuse(*values: Any, **options: Any) -> None:
        from toolkit._tensor.state import STATE

        if STATE.trace is None:
            return before(*values, **options)
        raise DataDependentError(
            f"compile: code that does not print is required, got print().{at_user_line()}"
        )

    builtins.print = refuse
    try:
        yield
    finally:
        builtins.print = before


def require_no_leftovers(watches: Sequence[Watch]) -> None:
    """Refuses code that keeps a tensor in an object: the program would not put it there.

    Raises:
        DataDependentError: an attribute or a container holds one.
    """
    for watch in watches:
        for owner, _ in watch.owners:
            items = owner.items() if isinstance(owner, dict) else enumerate(owner)
            for name, x in items:
                if _symbolic(x):
                    raise DataDependentError(
                        "compile: code that keeps tensors only in its results is required, got "
                        f"one of shape {list(x.shape)} kept as {name!r}."
                    )


def require_plain(results: Sequence[Any]) -> None:
    """Refuses results that hold tensors in other than tuples, lists, dicts and dataclasses.

    Raises:
        DataDependentError: one does.
    """
    for y in results:
        if not isinstance(y, TensorBase) and _holds_symbolic(y, _DEPTH):
            raise DataDependentError(
                "compile: tensors in tuples, lists, dicts and dataclasses are required as results, "
                f"got one in a {type(y).__name__}."
            )


def _symbolic(x: Any) -> bool:
    return isinstance(x, TensorBase) and not isinstance(x._value, _core.Tensor)


def _holds_symbolic(x: Any, depth: int) -> bool:
    if isinstance(x, TensorBase):
        return _symbolic(x)
    if isinstance(x, types.GeneratorType):
        return True  # It would compute when there is no trace.
    if depth == 0 or isinstance(x, (type, types.ModuleType, types.FunctionType)):
        return False
    if isinstance(x, dict):
        inner: Any = x.values()
    elif isinstance(x, (list, tuple, set, frozenset)):
        inner = x
    else:
        inner = getattr(x, "__dict__", {}).values()
    return any(_holds_symbolic(y, depth - 1) for y in inner)


def undo(watches: Sequence[Watch]) -> None:
    """Puts attributes and containers back as they were before a trace that failed."""
    for watch in watches:
        for owner, saved in watch.owners:
            if isinstance(owner, list):
                if len(owner) != len(saved) or any(a is not b for a, b in zip(owner, saved)):  # noqa: B905
                    owner[:] = saved
            elif isinstance(owner, dict):
                if owner.keys() != saved.keys() or any(owner[k] is not v for k, v in saved.items()):
                    owner.clear()
                    owner.update(saved)
            elif owner != saved:
                owner.clear()
                owner.update(saved)


def reason_of(error: Exception) -> str:
    """An error's text; with the user's line where it does not end with one."""
    text = str(error)
    if "\n  " in text:
        return text
    found, trace = None, error.__traceback__
    while trace is not None:
        if not in_package(trace.tb_frame):
            found = trace.tb_frame.f_code.co_filename, trace.tb_lineno
        trace = trace.tb_next
    return f"{text}{at(found)}"

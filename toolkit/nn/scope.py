"""Name scopes: while a trace records, the nodes of a module carry its attribute path."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from toolkit._tensor.state import STATE

if TYPE_CHECKING:
    from toolkit.nn.module import Module


class _Calls(threading.local):
    """The modules whose `forward` is running under a trace, outermost first."""

    trace: Any = None
    stack: tuple[Module, ...] = ()


_calls = _Calls()


def scoped_call(module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Calls a module inside the scope of its path below the module that calls it."""
    trace = STATE.trace
    before = _calls.trace, _calls.stack
    outer = _calls.stack if _calls.trace is trace else ()
    _calls.trace, _calls.stack = trace, (*outer, module)
    try:
        path = _path(outer[-1], module) if outer else ""
        if not path:
            return module._call(args, kwargs)
        with trace.scope(path):
            return module._call(args, kwargs)
    finally:
        _calls.trace, _calls.stack = before


def _path(parent: Module, module: Module) -> str:
    """The path of a module below another one; "" if it is not there."""
    return next((name for name, m in parent.named_modules() if m is module), "")

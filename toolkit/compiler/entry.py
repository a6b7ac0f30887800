"""`compile` and what torch.compiler has beside it."""

from __future__ import annotations

import functools
from typing import Any

from toolkit._tensor.base import TensorBase
from toolkit._tensor.state import STATE
from toolkit.compiler.compiled import ALL, Compiled, Explanation
from toolkit.compiler.module import OptimizedModule
from toolkit.errors import DataDependentError, InvalidArgumentError
from toolkit.nn.module import Module


def compile(
    model: Any = None,
    *,
    fullgraph: bool = False,
    dynamic: bool | None = None,
    backend: Any = None,
    mode: str | None = None,
    options: dict[str, Any] | None = None,
    name: str | None = None,
    disable: bool = False,
    recompile_limit: int | None = None,
    isolate_recompiles: bool = False,
    shapes_spec: Any = None,
) -> Any:
    """A function or module that is traced once per signature and runs as a program.

    A signature is the arguments' element types, shapes and Python constants, the gradient mode, and
    the attributes of modules (their modes among them) and objects that the code reaches. Parameters
    and buffers are read, and written, at each call. A result that is a view of an argument
    stays one, but for views by sizes that are symbols, which are copies.

    What cannot be one graph is a graph break, told in a warning with the user's line: Python that
    needs a tensor's value, prints, keeps tensors in objects, or writes to arguments that share
    memory. Such a signature runs eagerly, and what the trace did is undone before.

    Args:
        model: a function or a module; None: a decorator.
        fullgraph: what cannot be one graph is an error; else such a signature runs eagerly, with a
            warning.
        dynamic: True: all sizes are symbolic; False: none; None: those that were seen to vary.
        backend: accepted for PyTorch's sake, as are `mode`, `options`, `name`, `isolate_recompiles`
            and `shapes_spec`: there is one backend.
        mode: see `backend`.
        options: see `backend`.
        name: see `backend`.
        disable: gives back `model` as it is.
        recompile_limit: how often it is traced, 8 when None; further signatures run eagerly.
        isolate_recompiles: see `backend`.
        shapes_spec: see `backend`.
    """
    if model is None:
        return functools.partial(
            compile, fullgraph=fullgraph, dynamic=dynamic, backend=backend, mode=mode,
            options=options, disable=disable, recompile_limit=recompile_limit,
        )  # fmt: skip
    if not callable(model):
        raise InvalidArgumentError(
            f"compile: a function or module is required, got {type(model).__name__}."
        )
    if disable or isinstance(model, (Compiled, OptimizedModule)):
        return model
    compiled = Compiled(model, fullgraph, dynamic, recompile_limit)
    return OptimizedModule(model, compiled) if isinstance(model, Module) else compiled


def explain(compiled: Any) -> Explanation:
    """How many graphs a compiled function or module holds, its retraces and graph breaks."""
    if not isinstance(compiled, (Compiled, OptimizedModule)):
        raise InvalidArgumentError(
            f"explain: what compile() gave is required, got {type(compiled).__name__}."
        )
    return compiled.explain()


def disable(fn: Any = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    """A function that is never part of a graph: compiled code that calls it runs eagerly."""
    if fn is None:
        return functools.partial(disable, recursive=recursive, reason=reason)

    @functools.wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        if STATE.trace is not None:
            from toolkit.source_lines import at_user_line

            raise DataDependentError(
                f"compile: code without a call to '{getattr(fn, '__name__', fn)}' is required, as "
                f"compiler.disable() marked it{f': {reason}' if reason else ''}.{at_user_line()}"
            )
        return fn(*args, **kwargs)

    return call


def mark_dynamic(t: Any, index: Any, *, min: int | None = None, max: int | None = None) -> None:
    """Makes dimensions symbolic from the first call on with this tensor as argument.

    Args:
        t: a tensor.
        index: a dimension, or several.
        min: accepted for PyTorch's sake, as is `max`: a graph holds for all sizes above 1.
        max: see `min`.
    """
    _mark(t, index, "_dynamic_dims", "_static_dims")


def mark_static(t: Any, index: Any = None) -> None:
    """Keeps dimensions as they are, all if none is named: other sizes have other graphs."""
    _mark(t, index, "_static_dims", "_dynamic_dims")


def _mark(t: Any, index: Any, how: str, other: str) -> None:
    if not isinstance(t, TensorBase):
        raise InvalidArgumentError(f"mark: a tensor is required, got {type(t).__name__}.")
    index = range(t.dim()) if index is None else index
    for d in [index] if isinstance(index, int) else index:
        if not -t.dim() <= d < t.dim():
            raise InvalidArgumentError(f"mark: a dimension of {t.dim()} is required, got {d}.")
        d %= t.dim()
        marks = {name: set(getattr(t, name, ())) for name in (how, other)}
        marks[how].add(d)
        marks[other].discard(d)
        for name, found in marks.items():
            setattr(t, name, found)


def is_compiling() -> bool:
    """Whether a graph is being recorded."""
    return STATE.trace is not None


def reset() -> None:
    """Forgets the programs of all compiled functions."""
    for compiled in list(ALL):
        compiled.reset()

"""Checkpoints: a function's intermediate values are computed again for the backward pass.

In a trace its nodes are marked, and autodiff writes them again where their gradients begin
(`toolkit.autodiff.recompute`). Eagerly the function is one record on the tape, which runs it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from toolkit import random
from toolkit._tensor.autocast import kept
from toolkit._tensor.base import FLOATS, TensorBase, wrap
from toolkit._tensor.engine import pull
from toolkit._tensor.inplace import journal
from toolkit._tensor.state import STATE
from toolkit._tensor.tape import FunctionRecord, Leaf, Record
from toolkit.errors import InvalidArgumentError
from toolkit.ops.dispatch import handle

Edge = tuple[Any, int]


def run(function: Callable[..., Any], args: Any, kwargs: Any, preserve_rng_state: bool) -> Any:
    """`function(*args, **kwargs)`, of which only the inputs are kept for the backward pass."""
    if STATE.trace is not None:
        return _traced(STATE.trace, function, args, kwargs)
    if not STATE.grad:
        return function(*args, **kwargs)
    function = kept(_held(function))
    state = random.default_generator.get_state() if preserve_rng_state else None
    inputs = tuple(map(_alias, args)), {k: _alias(v) for k, v in kwargs.items()}
    start = _next_number()
    result = function(*args, **kwargs)
    outputs = result if isinstance(result, (tuple, list)) else (result,)
    edges = _entering([y for y in outputs if isinstance(y, TensorBase)], start)
    if not edges:
        return result
    record = _Checkpoint(function, inputs, state, edges, len(outputs))
    made = [_output(record, i, y, start) for i, y in enumerate(outputs)]
    return type(result)(made) if isinstance(result, (tuple, list)) else made[0]


def _traced(trace: Any, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Marks the nodes that the function records."""
    from toolkit.autodiff.recompute import mark

    graph = trace.graph
    before = len(graph)
    result = function(*args, **kwargs)
    mark(list(islice(reversed(graph), len(graph) - before)), object())
    return result


def _held(function: Callable[..., Any]) -> Callable[..., Any]:
    """A module, or a method of one, that runs with the tensors that it holds now.

    `functional_call` puts others in their place for the forward pass only.
    """
    owner = getattr(function, "__self__", function)
    if not hasattr(owner, "named_modules"):
        return function
    from toolkit.func.modules import holding, state_of

    state = state_of(owner)

    def held(*args: Any, **kwargs: Any) -> Any:
        with holding(state):
            return function(*args, **kwargs)

    return held


def _next_number() -> int:
    """The number of the next record of the tape."""
    return Record(handle("Identity"), (), (), (), ()).seq


def _alias(x: Any) -> Any:
    """The tensor with the value that it has now, at its place on the tape."""
    if not isinstance(x, TensorBase):
        return x
    t: Any = wrap(x._get())
    t._node, t._out = x._node, x._out
    return t


def _inside(node: Any, start: int) -> bool:
    return isinstance(node, Record) and node.seq >= start


def _entering(outputs: list[Any], start: int) -> list[Edge]:
    """The edges by which the tape of a function that began at `start` reads what was before."""
    seen: set[Any] = set()
    stack = [y._node for y in outputs if _inside(y._node, start)]
    found: dict[Edge, None] = {}
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        for source, slot in zip(node.nodes, node.slots, strict=True):
            if _inside(source, start):
                stack.append(source)
            elif source is not None:
                found[source, slot] = None
    return list(found)


def _output(record: Any, i: int, y: Any, start: int) -> Any:
    """A result of the function as one of the checkpoint."""
    if not isinstance(y, TensorBase) or not _inside(y._node, start):
        return y
    t: Any = wrap(y._get())
    if t._value.dtype in FLOATS:
        t._node, t._out = record, i
    return t


class _Checkpoint(FunctionRecord):
    """One call of a function, of which only the inputs are kept."""

    __slots__ = ("leaves", "state")

    def __init__(
        self, function: Any, inputs: Any, state: Any, edges: list[Edge], outputs: int
    ) -> None:
        super().__init__(
            handle("Identity"), tuple(n for n, _ in edges), tuple(s for _, s in edges), inputs,
            tuple(range(outputs)),
        )  # fmt: skip
        self.function = function
        self.state = state
        self.leaves = [_contents(node) for node, _ in edges]

    def name(self) -> str:
        """As `grad_fn` prints it."""
        return "CheckpointFunctionBackward"

    def free(self) -> None:
        """Drops the inputs; the structure stays."""
        self.inputs = None

    def backward(self, cotangents: list[Any]) -> list[tuple[Any, Any]]:
        """Runs the function again and walks its tape.

        Raises:
            InvalidArgumentError: the inputs were freed, or the function did something else.
        """
        if self.inputs is None:
            raise InvalidArgumentError(
                "Trying to backward through the graph a second time: the inputs of a checkpoint "
                "have already been freed. Specify retain_graph=True."
            )
        args, kwargs = self.inputs
        edges = list(zip(self.nodes, self.slots, strict=True))
        if any(_contents(n) != had for n, had in zip(self.nodes, self.leaves, strict=True)):
            raise InvalidArgumentError(
                "one of the variables needed for gradient computation has been modified by an "
                "inplace operation: a checkpoint computes with it again. Write to it afterwards."
            )
        create_graph, STATE.grad = STATE.grad, True
        try:
            with _random_state(self.state), journal():
                start = _next_number()
                result = self.function(*args, **kwargs)
                outputs = result if isinstance(result, (tuple, list)) else (result,)
                if len(outputs) != len(cotangents):
                    raise InvalidArgumentError(
                        f"checkpoint: the same results are required when the function runs again, "
                        f"got {len(outputs)} instead of {len(cotangents)}."
                    )
                tensors = [y for y in outputs if isinstance(y, TensorBase)]
                if set(_entering(tensors, start)) != set(edges):
                    raise InvalidArgumentError(
                        "checkpoint: the same tensors are required when the function runs again, "
                        "got others. Pass what changes as arguments; a module is best passed as "
                        "the function itself."
                    )
                pairs = [
                    (_alias(y), ct)
                    for y, ct in zip(outputs, cotangents, strict=True)
                    if ct is not None
                ]
            grads = pull(pairs, edges, create_graph)
        finally:
            STATE.grad = create_graph
        return [(e, g) for e, g in zip(edges, grads, strict=True) if g is not None]


def _contents(node: Any) -> Any:
    """The value of a leaf, and how often it was written to; None for a record."""
    tensor = node.tensor() if isinstance(node, Leaf) else None
    return None if tensor is None else (id(tensor._value), tensor._root()._version)


@contextmanager
def _random_state(state: Any) -> Iterator[None]:
    """The default generator as it was, for a while."""
    if state is None:
        yield
        return
    before = random.default_generator.get_state()
    random.default_generator.set_state(state)
    try:
        yield
    finally:
        random.default_generator.set_state(before)

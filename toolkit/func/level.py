"""What every transform is made of, eagerly and in a trace: variables, and pulling back to them.

Eagerly a variable is a place on the tape, and pulling back is the tape's walk, so that functions
may use Python as they like. In a trace it is a node, and pulling back appends nodes to the graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from toolkit._tensor.base import FLOATS, TensorBase, wrap
from toolkit._tensor.state import STATE
from toolkit._tensor.tape import Leaf, Record
from toolkit.errors import InvalidArgumentError
from toolkit.ops.dispatch import apply1, handle

IDENTITY = handle("Identity")


class Level:
    """One transform at work.

    Attributes:
        trace: the trace in which it records, None: eager.
    """

    def __init__(self) -> None:
        self.trace = STATE.trace
        self.recording = STATE.grad  # Around the transform.
        self._edges: dict[int, tuple[Any, int]] = {}
        self._leaves: set[Leaf] = set()
        self._kept: list[Any] = []

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Operations inside are recorded, whatever the mode outside."""
        before, STATE.grad = STATE.grad, True
        try:
            yield
        finally:
            STATE.grad = before

    def variable(self, t: Any) -> Any:
        """A new variable with the value of a tensor.

        Raises:
            InvalidArgumentError: it is no floating-point tensor.
        """
        if not isinstance(t, TensorBase):
            raise ValueError(f"Thing passed to transform API must be Tensor, got {type(t)}")
        if t._value.dtype not in FLOATS:
            raise InvalidArgumentError(
                f"only Tensors of floating point dtype can require gradients, got {t.dtype.name}."
            )
        if self.trace is not None:
            return self.fresh(self.trace.convert(t))
        if t.requires_grad and self.recording:
            x = apply1(IDENTITY, t)
        else:
            x = wrap(t._get())
            leaf = x._node = Leaf(x)
            self._leaves.add(leaf)
        self._kept.append(x)
        self._edges[id(x)] = (x._node, x._out)
        return x

    def fresh(self, value: Any) -> Any:
        """A value of the trace as a variable of its own."""
        (made,) = self.trace.recorder.add("Identity", "", [value], {}, 1)
        return wrap(made)

    def zeros(self, y: Any) -> Any:
        """Zeros like a tensor, that are no constants."""
        if self.trace is None:
            from toolkit._tensor.factories import zeros_like

            return self.variable(zeros_like(y).detach())
        b, value = STATE.trace.recorder.builder, self.trace.convert(y)
        return self.fresh(b.zeros(b.shape(value), value.dtype))

    def pull(
        self, outputs: Sequence[Any], cotangents: Sequence[Any], inputs: Sequence[Any],
        keep: bool = False,
    ) -> list[Any]:  # fmt: skip
        """Cotangents of variables from those of outputs; None where no path leads.

        Args:
            outputs: what was computed from the variables.
            cotangents: one for each, None for zero.
            inputs: variables of this level.
            keep: the results are going to be differentiated.
        """
        if self.trace is not None:
            return self._pull_traced(outputs, cotangents, inputs)
        from toolkit._tensor.engine import pull

        edges = [self._edges[id(x)] for x in inputs]
        pairs = [
            (y, ct)
            for y, ct in zip(outputs, cotangents, strict=True)
            if y.requires_grad and ct is not None
        ]
        again = keep or STATE.trace is not None or not self.closed([y for y, _ in pairs])
        again = again or any(ct.requires_grad for _, ct in pairs)
        return pull(pairs, edges, again)

    def _pull_traced(
        self, outputs: Sequence[Any], cotangents: Sequence[Any], inputs: Sequence[Any]
    ) -> list[Any]:
        from toolkit.autodiff.backward import gradients

        trace = STATE.trace
        if trace is not self.trace:
            raise InvalidArgumentError(
                "vjp: a function made in a trace must be called in it, got a call outside."
            )
        pairs = [(y, ct) for y, ct in zip(outputs, cotangents, strict=True) if ct is not None]
        found = gradients(
            trace.graph,
            [trace.convert(y) for y, _ in pairs],
            [trace.convert(ct) for _, ct in pairs],
            [trace.convert(x) for x in inputs],
            outer=trace.outer_graphs,
        )
        return [None if g is None else wrap(g) for g in found]

    def closed(self, tensors: Sequence[Any]) -> bool:
        """Whether the tape behind tensors begins at this level's own variables only."""
        seen: set[Any] = set()
        stack = [t._node for t in tensors if t._node is not None]
        while stack:
            node = stack.pop()
            if node in seen:
                continue
            seen.add(node)
            if isinstance(node, Record):
                stack.extend(n for n in node.nodes if n is not None)
            elif node not in self._leaves:
                return False
        return True

    def leave(self, t: Any) -> Any:
        """A result as it is seen outside: without this level's variables."""
        if not isinstance(t, TensorBase):
            return t
        if self.trace is not None:
            if self.recording:
                return t
            return STATE.trace.detached(t)
        if t.requires_grad and (not self.recording or self.closed([t])):
            return wrap(t._get())
        return t


def zeros_like(x: Any) -> Any:
    """Zeros of the shape and type of a tensor, symbolic or not."""
    if STATE.trace is None:
        from toolkit._tensor.factories import zeros_like as zeros

        return zeros(x).detach()
    b, value = STATE.trace.recorder.builder, STATE.trace.convert(x)
    return wrap(b.zeros(b.shape(value), value.dtype))


def filled(grads: Sequence[Any], like: Sequence[Any]) -> list[Any]:
    """Gradients, zeros where there is none."""
    return [zeros_like(x) if g is None else g for g, x in zip(grads, like, strict=True)]

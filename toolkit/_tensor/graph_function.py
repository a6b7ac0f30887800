"""A part of an ONNX graph, control flow for one, as an eager operation with gradients.

The forward program also gives what the gradient reads of it; the gradient is a second program. Its
own gradient, for `create_graph`, is that of a graph function that holds both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir

from toolkit._tensor.base import FLOATS, wrap
from toolkit._tensor.function import Function
from toolkit._tensor.state import STATE
from toolkit._tensor.tape import now
from toolkit._tensor.writes import WRITES
from toolkit.errors import InvalidArgumentError, UnsupportedOperatorError


@dataclass
class _Programs:
    """Forward and gradient for one choice of inputs that need a gradient.

    Attributes:
        forward: gives the outputs, then what the gradient reads.
        backward: takes inputs, cotangents and what was read; None where no gradient exists.
        cotangents: the graph's values of the cotangents.
        gradients: for each input its gradient's value, or None.
    """

    forward: Any
    backward: Any
    cotangents: list[ir.Value]
    gradients: list[ir.Value | None]
    derived: GraphFunction | None = None


@dataclass
class GraphFunction:
    """Values of a graph as a function of others.

    Attributes:
        graph: holds the nodes; gradients are appended to it.
        inputs: the arguments.
        outputs: the results.
    """

    graph: ir.Graph
    inputs: list[ir.Value]
    outputs: list[ir.Value]
    _programs: dict[tuple[bool, ...], _Programs] = field(default_factory=dict)

    def __call__(self, tensors: Sequence[Any]) -> tuple[Any, ...]:
        """The results for some tensors, recorded on the tape."""
        found: tuple[Any, ...] = GraphCall.apply(self, *tensors)
        return found

    def programs(self, needs: tuple[bool, ...]) -> _Programs:
        """The compiled programs for the inputs that need a gradient."""
        found = self._programs.get(needs)
        if found is None:
            found = self._programs[needs] = self._compile(needs)
        return found

    def floats(self) -> list[int]:
        """Which results carry a gradient."""
        return [i for i, v in enumerate(self.outputs) if int(v.dtype or 0) in FLOATS]

    def _compile(self, needs: tuple[bool, ...]) -> _Programs:
        from toolkit.autodiff import gradients
        from toolkit.runtime.lowering import lower

        before = set(self.graph)
        ys = [self.outputs[i] for i in self.floats()]
        arriving = [ir.Value(type=y.type, shape=y.shape) for y in ys]
        wrt = [v for v, need in zip(self.inputs, needs, strict=True) if need]
        found = iter(gradients(self.graph, ys, arriving, wrt))
        grads = [next(found) if need else None for need in needs]
        results = [g for g in grads if g is not None]
        read = _read(results, before)
        forward = lower(inputs=self.inputs, outputs=[*self.outputs, *read])
        backward = None
        if results:
            given = dict.fromkeys([*self.inputs, *arriving, *read])
            assert len(given) == len(self.inputs) + len(arriving) + len(read)
            backward = lower(inputs=list(given), outputs=results)
        return _Programs(forward, backward, arriving, grads)

    def second(self, needs: tuple[bool, ...]) -> GraphFunction:
        """The gradient as a function of the inputs and the cotangents.

        Raises:
            UnsupportedOperatorError: it would draw random numbers again.
        """
        from toolkit.autodiff.rules._draws import draws

        programs = self.programs(needs)
        if any(draws(node) for node in self.graph.all_nodes()):
            raise UnsupportedOperatorError(
                "create_graph: control flow without random numbers is required, got a body that "
                "draws them. Draw them before, and read them in the body."
            )
        if programs.derived is None:
            results = [g for g in programs.gradients if g is not None]
            programs.derived = GraphFunction(
                self.graph, [*self.inputs, *programs.cotangents], results
            )
        return programs.derived


def _read(results: Sequence[ir.Value], before: set[ir.Node]) -> list[ir.Value]:
    """The values of earlier nodes that `results` are computed from."""
    from toolkit.graph.build import constant_of
    from toolkit.graph.subgraphs import reads

    found: dict[ir.Value, None] = {}
    seen: set[ir.Node] = set()
    stack = list(results)
    while stack:
        value = stack.pop()
        node = value.producer()
        if node is None:
            continue
        if node in before:
            if constant_of(value) is None:
                found[value] = None
        elif node not in seen:
            seen.add(node)
            stack.extend(reads(node))
    return list(found)


def _as_it_is(tensor: Any) -> Any:
    """The tensor with the value it has now, at its place on the tape."""
    alias: Any = wrap(tensor._get())
    alias._node, alias._out = tensor._node, tensor._out
    return alias


def _require_untouched(tensors: Sequence[Any], since: int) -> None:
    for t in tensors:
        if WRITES.since(since, t._value):
            raise InvalidArgumentError(
                "one of the variables needed for gradient computation has been modified by an "
                f"inplace operation: [toolkit tensor {list(t.shape)}], which control flow reads. "
                "Its memory is shared with numpy or DLPack; clone() it before the write."
            )


class GraphCall(Function):
    @staticmethod
    def forward(ctx: Any, function: GraphFunction, *tensors: Any) -> Any:
        needs = ctx.needs_input_grad[1:]
        made = function.programs(needs).forward.run([t._get() for t in tensors])
        count = len(function.outputs)
        ctx.function, ctx.count, ctx.stamp = function, len(tensors), now()
        ctx.save_for_backward(*map(_as_it_is, tensors), *(wrap(v) for v in made[count:]))
        return tuple(wrap(v) for v in made[:count])

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> Any:
        function, needs = ctx.function, ctx.needs_input_grad[1:]
        programs = function.programs(needs)
        if programs.backward is None:
            return (None,) * (ctx.count + 1)
        saved = ctx.saved_tensors
        tensors, read = saved[: ctx.count], saved[ctx.count :]
        _require_untouched(tensors, ctx.stamp)
        given = [*tensors, *(cotangents[i] for i in function.floats())]
        if STATE.grad:
            results = function.second(needs)(given)
        else:
            values = [t._get() for t in (*given, *read)]
            results = tuple(wrap(v) for v in programs.backward.run(values))
        found = iter(results)
        return (None, *(None if g is None else next(found) for g in programs.gradients))

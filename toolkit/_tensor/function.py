"""`autograd.Function`: an operation with a backward pass written by the user."""

from __future__ import annotations

import functools
from typing import Any

from toolkit._tensor.base import FLOATS, TensorBase, wrap
from toolkit._tensor.state import STATE
from toolkit._tensor.tape import FunctionRecord, Leaf
from toolkit.errors import InvalidArgumentError, UnsupportedOperatorError
from toolkit.ops.dispatch import handle


class Context:
    """What `forward` hands to `backward`."""

    def __init__(self, needs: tuple[bool, ...]) -> None:
        self.needs_input_grad = needs
        self._saved: tuple[Any, ...] | None = ()
        self._fixed: set[int] = set()
        self._dirty: set[int] = set()
        self.materialize = True

    def save_for_backward(self, *tensors: Any) -> None:
        """Keeps tensors until the backward pass."""
        self._saved = tensors

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """The tensors that were saved.

        Raises:
            InvalidArgumentError: a backward pass has freed them.
        """
        if self._saved is None:
            raise InvalidArgumentError(
                "Trying to backward through the graph a second time: the saved tensors have "
                "already been freed. Specify retain_graph=True."
            )
        return self._saved

    def mark_dirty(self, *tensors: Any) -> None:
        """These inputs were written to, and are outputs."""
        self._dirty.update(id(t) for t in tensors)

    def mark_non_differentiable(self, *tensors: Any) -> None:
        """These outputs get no gradient."""
        self._fixed.update(id(t) for t in tensors)

    def set_materialize_grads(self, value: bool) -> None:
        """Whether absent gradients of outputs become zeros."""
        self.materialize = value


def once_differentiable(function: Any) -> Any:
    """Marks a `backward` that computes outside the tape: its gradients have none themselves."""

    @functools.wraps(function)
    def wrapped(*args: Any) -> Any:
        recording, STATE.grad = STATE.grad, False
        try:
            return function(*args)
        finally:
            STATE.grad = recording

    return wrapped


class Function:
    """Subclass it with static methods `forward(ctx, *args)` and `backward(ctx, *grads)`.

    Or with `forward(*args)`, `setup_context(ctx, inputs, output)` and `backward(ctx, *grads)`.
    """

    @staticmethod
    def forward(*args: Any) -> Any:
        """Computes the outputs."""
        raise NotImplementedError(
            "You must implement the forward function for custom autograd.Function."
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        """Keeps what `backward` needs, where `forward` takes no context."""
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """Gradients of the inputs from those of the outputs, None where there is none."""
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom "
            "autograd.Function to use it with backward mode AD."
        )

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Runs `forward` and records `backward`.

        Raises:
            UnsupportedOperatorError: in a trace, where a Python gradient cannot be recorded.
        """
        needs = tuple(isinstance(a, TensorBase) and a.requires_grad for a in args)
        if STATE.trace is not None and any(needs):
            raise UnsupportedOperatorError(
                f"{cls.__name__}.apply: eager mode is required, got a trace. A backward pass "
                "written in Python cannot become part of an ONNX graph."
            )
        ctx = Context(needs)
        recording, STATE.grad = STATE.grad, False
        try:
            if cls.setup_context is Function.setup_context:
                result = cls.forward(ctx, *args)
            else:
                result = cls.forward(*args)
                cls.setup_context(ctx, args, result)
        finally:
            STATE.grad = recording
        if not (recording and any(needs)):
            return result
        results = result if isinstance(result, tuple) else (result,)
        tensors = [a for a in args if isinstance(a, TensorBase)]
        record = _Recorded(cls, ctx, args, tensors, results)
        outputs = tuple(_output(record, i, r, ctx) for i, r in enumerate(results))
        return outputs if isinstance(result, tuple) else outputs[0]


def _output(record: Any, i: int, result: Any, ctx: Context) -> Any:
    if not isinstance(result, TensorBase) or result._value.dtype not in FLOATS:
        return result
    if id(result) in ctx._fixed:
        return result
    dirty = id(result) in ctx._dirty
    if dirty and isinstance(result._node, Leaf):
        raise InvalidArgumentError(
            "a leaf Variable that requires grad is being used in an in-place operation."
        )
    out: Any = result if dirty and result._base is None else wrap(result._get())
    out._node, out._out = record, i
    return out


class _Recorded(FunctionRecord):
    __slots__ = ("args", "ctx", "metas")

    def __init__(
        self, cls: type[Function], ctx: Context, args: Any, tensors: list[Any], results: Any
    ) -> None:
        super().__init__(
            handle("Identity"), tuple(t._node for t in tensors), tuple(t._out for t in tensors),
            (), (),
        )  # fmt: skip
        self.function = cls
        self.ctx = ctx
        self.args = tuple(isinstance(a, TensorBase) for a in args)
        self.metas = [(r.shape, r.dtype) if isinstance(r, TensorBase) else None for r in results]
        self.outputs = tuple(range(len(results)))

    def free(self) -> None:
        """Drops the values; the structure stays."""
        self.inputs = None
        self.ctx._saved = None

    def backward(self, cotangents: list[Any]) -> list[tuple[Any, Any]]:
        """(edge, gradient) of the inputs that need one.

        Raises:
            InvalidArgumentError: the user's function returned another number of gradients.
        """
        from toolkit._tensor.factories import zeros

        cts = [
            zeros(m[0], dtype=m[1]) if c is None and m is not None and self.ctx.materialize else c
            for c, m in zip(cotangents, self.metas, strict=True)
        ]
        grads = self.function.backward(self.ctx, *cts)
        grads = grads if isinstance(grads, tuple) else (grads,)
        if len(grads) < len(self.args) or any(g is not None for g in grads[len(self.args) :]):
            raise InvalidArgumentError(
                f"function {self.name()} returned an incorrect number of gradients (expected "
                f"{len(self.args)}, got {len(grads)})"
            )
        given = [g for g, is_tensor in zip(grads, self.args, strict=False) if is_tensor]
        return [
            ((node, slot), g)
            for node, slot, g in zip(self.nodes, self.slots, given, strict=True)
            if node is not None and g is not None
        ]

"""Hooks that see the gradients of a module's inputs and outputs: identities on the tape."""

from __future__ import annotations

from typing import Any

from toolkit._tensor.function import Function
from toolkit.tensor import Tensor


class BackwardHooks:
    """One call of a module: puts an identity around it whose gradient calls the hooks.

    Args:
        module: what the hooks get first.
        hooks: called with the gradients of inputs and outputs; a result replaces the former.
        pre_hooks: called with those of outputs before; a result replaces them.
    """

    def __init__(self, module: Any, hooks: list[Any], pre_hooks: list[Any]) -> None:
        self.module, self.hooks, self.pre_hooks = module, hooks, pre_hooks
        self.grad_outputs: tuple[Any, ...] = ()
        self.count = 0
        self.watched = False  # Whether an input's gradient is asked for.

    def inputs(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments, whose gradients the hooks will see."""
        self.count = len(args)
        at = [i for i, a in enumerate(args) if isinstance(a, Tensor)]
        self.watched = any(args[i].requires_grad for i in at)
        if not self.watched:
            return args

        def passed(grads: tuple[Any, ...]) -> tuple[Any, ...]:
            full: list[Any] = [None] * self.count
            for i, g in zip(at, grads, strict=True):
                full[i] = g if args[i].requires_grad else None
            seen = self._after(tuple(full))
            return tuple(seen[i] for i in at)

        made = list(args)
        for i, t in zip(at, _Watch.apply(passed, *(args[i] for i in at)), strict=True):
            made[i] = t
        return tuple(made)

    def outputs(self, result: Any) -> Any:
        """The result, whose gradients the hooks will see; a tensor or a tuple of some."""
        parts = result if isinstance(result, tuple) else (result,)
        at = [i for i, t in enumerate(parts) if isinstance(t, Tensor)]
        if not at or not any(parts[i].requires_grad for i in at):
            return result

        def passed(grads: tuple[Any, ...]) -> tuple[Any, ...]:
            full: list[Any] = [None] * len(parts)
            for i, g in zip(at, grads, strict=True):
                full[i] = g
            self.grad_outputs = tuple(full)
            for hook in self.pre_hooks:
                given = hook(self.module, self.grad_outputs)
                if given is not None:
                    self.grad_outputs = given if isinstance(given, tuple) else (given,)
            if not self.watched:
                self._after((None,) * self.count)
            return tuple(self.grad_outputs[i] for i in at)

        made = list(parts)
        for i, t in zip(at, _Watch.apply(passed, *(parts[i] for i in at)), strict=True):
            made[i] = t
        return tuple(made) if isinstance(result, tuple) else made[0]

    def _after(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        for hook in self.hooks:
            given = hook(self.module, grads, self.grad_outputs)
            if given is None:
                continue
            given = given if isinstance(given, tuple) else (given,)
            if len(given) != len(grads):
                raise RuntimeError(
                    f"Backward hook returned an invalid number of grad_input, got {len(given)}, "
                    f"but expected {len(grads)}"
                )
            grads = given
        return grads


class _Watch(Function):
    """The identity; its gradient is what `passed` makes of the outputs' gradients."""

    @staticmethod
    def forward(ctx: Any, passed: Any, *tensors: Any) -> Any:
        ctx.passed = passed
        return tensors

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return (None, *ctx.passed(grads))

"""Hooks on gradients, and gradients kept on tensors that are not leaves."""

from __future__ import annotations

import weakref
from itertools import count
from typing import Any

from toolkit._tensor.tape import Leaf
from toolkit.errors import InvalidArgumentError

_next = count().__next__


class RemovableHandle:
    """Takes a hook away again."""

    def __init__(self, hooks: dict[int, Any], key: int) -> None:
        self._hooks, self.id = hooks, key

    def remove(self) -> None:
        """The hook is not called any more."""
        self._hooks.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exc: Any) -> None:
        self.remove()


def register(t: Any, hook: Any) -> RemovableHandle:
    """See `Tensor.register_hook`."""
    if not t.requires_grad:
        raise InvalidArgumentError(
            "cannot register a hook on a tensor that doesn't require gradient"
        )
    node = t._node
    if isinstance(node, Leaf):
        hooks = node.hooks = node.hooks if node.hooks is not None else {}
    else:
        node.hooks = node.hooks if node.hooks is not None else {}
        hooks = node.hooks.setdefault(t._out, {})
    key = _next()
    hooks[key] = hook
    return RemovableHandle(hooks, key)


def register_after(t: Any, hook: Any) -> RemovableHandle:
    """See `Tensor.register_post_accumulate_grad_hook`."""
    if not t.requires_grad:
        raise InvalidArgumentError(
            "cannot register a hook on a tensor that doesn't require gradient"
        )
    if not isinstance(t._node, Leaf):
        raise InvalidArgumentError(
            "post accumulate grad hooks cannot be registered on non-leaf tensors"
        )
    hooks = t._node.after = t._node.after if t._node.after is not None else {}
    key = _next()
    hooks[key] = hook
    return RemovableHandle(hooks, key)


def retain(t: Any) -> None:
    """See `Tensor.retain_grad`."""
    if not t.requires_grad:
        raise InvalidArgumentError("can't retain_grad on Tensor that has requires_grad=False")
    if isinstance(t._node, Leaf):
        return
    if t._node.retain is None:
        t._node.retain = {}
    t._node.retain[t._out] = weakref.ref(t)

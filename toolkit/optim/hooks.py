"""Hooks of optimizers: around `step`, and around reading and loading their state."""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

from toolkit.nn.hooks import RemovableHandle

Hooks = OrderedDict[int, Any]

_before_steps: Hooks = OrderedDict()  # Those of all optimizers.
_after_steps: Hooks = OrderedDict()


def _added(hooks: Hooks, hook: Any, prepend: bool = False) -> RemovableHandle:
    handle = RemovableHandle(hooks)
    hooks[handle.id] = hook
    if prepend:
        hooks.move_to_end(handle.id, last=False)
    return handle


def register_optimizer_step_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Calls `hook(optimizer, args, kwargs)` before each step of every optimizer."""
    return _added(_before_steps, hook)


def register_optimizer_step_post_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Calls `hook(optimizer, args, kwargs)` after each step of every optimizer."""
    return _added(_after_steps, hook)


class HookedOptimizer:
    """What an optimizer's hooks need; a `step` that a subclass defines runs them."""

    def __init__(self) -> None:
        self._make_hooks()

    def _make_hooks(self) -> None:
        self._step_pre_hooks: Hooks = OrderedDict()
        self._step_post_hooks: Hooks = OrderedDict()
        self._state_dict_pre_hooks: Hooks = OrderedDict()
        self._state_dict_post_hooks: Hooks = OrderedDict()
        self._load_pre_hooks: Hooks = OrderedDict()
        self._load_post_hooks: Hooks = OrderedDict()
        self._stepping = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "step" in cls.__dict__:
            cls.step = _hooked(cls.__dict__["step"])  # type: ignore[attr-defined]

    def register_step_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Calls `hook(optimizer, args, kwargs)` before each step; it may return new ones."""
        return _added(self._step_pre_hooks, hook)

    def register_step_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Calls `hook(optimizer, args, kwargs)` after each step."""
        return _added(self._step_post_hooks, hook)

    def register_state_dict_pre_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Calls `hook(optimizer)` before `state_dict`."""
        return _added(self._state_dict_pre_hooks, hook, prepend)

    def register_state_dict_post_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Calls `hook(optimizer, state_dict)` after `state_dict`; it may return another one."""
        return _added(self._state_dict_post_hooks, hook, prepend)

    def register_load_state_dict_pre_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Calls `hook(optimizer, state_dict)` before loading; it may return another one."""
        return _added(self._load_pre_hooks, hook, prepend)

    def register_load_state_dict_post_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Calls `hook(optimizer)` after loading."""
        return _added(self._load_post_hooks, hook, prepend)

    def _changed(self, hooks: Hooks, state: Any) -> Any:
        """A state dict as the hooks leave it."""
        for hook in list(hooks.values()):
            found = hook(self, state)
            state = state if found is None else found
        return state


def _all(*tables: Hooks) -> Iterable[Callable[..., Any]]:
    return [hook for table in tables for hook in table.values()]


def _hooked(step: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(step)
    def run(self: HookedOptimizer, *args: Any, **kwargs: Any) -> Any:
        if self._stepping:  # A step that calls that of the class above.
            return step(self, *args, **kwargs)
        for hook in _all(_before_steps, self._step_pre_hooks):
            found = hook(self, args, kwargs)
            if found is None:
                continue
            if not isinstance(found, tuple) or len(found) != 2:
                raise RuntimeError(
                    f"step pre-hook: None or a tuple of (args, kwargs) is required, got {found}."
                )
            args, kwargs = found
        self._stepping = True
        try:
            result = step(self, *args, **kwargs)
        finally:
            self._stepping = False
        for hook in _all(self._step_post_hooks, _after_steps):
            hook(self, args, kwargs)
        return result

    return run

"""Hooks of modules, those of all modules, and the handles that remove them."""

from __future__ import annotations

from collections import OrderedDict
from itertools import count
from typing import Any

_next_id = count().__next__


class RemovableHandle:
    """Removes a hook: by `remove()`, or at the end of a `with` block."""

    def __init__(self, hooks: OrderedDict[int, Any], extra: tuple[set[int], ...] = ()) -> None:
        self.id = _next_id()
        self._hooks = hooks
        self._extra = extra

    def remove(self) -> None:
        """Takes the hook out; a second call does nothing."""
        self._hooks.pop(self.id, None)
        for marked in self._extra:
            marked.discard(self.id)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


class HookTable:
    """The hooks of one kind on one module, in the order in which they run."""

    def __init__(self) -> None:
        self.hooks: OrderedDict[int, Any] = OrderedDict()
        self.with_kwargs: set[int] = set()
        self.always: set[int] = set()

    def add(
        self, hook: Any, prepend: bool = False, with_kwargs: bool = False, always: bool = False
    ) -> RemovableHandle:
        """Registers a hook, last or first."""
        handle = RemovableHandle(self.hooks, (self.with_kwargs, self.always))
        self.hooks[handle.id] = hook
        if with_kwargs:
            self.with_kwargs.add(handle.id)
        if always:
            self.always.add(handle.id)
        if prepend:
            self.hooks.move_to_end(handle.id, last=False)
        return handle

    def __bool__(self) -> bool:
        return bool(self.hooks)

    def call(self, *args: Any) -> None:
        """Calls every hook with these arguments; results are ignored."""
        for hook in list(self.hooks.values()):
            hook(*args)

    def before(self, module: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """Runs pre-hooks: each may replace the arguments."""
        for key, hook in list(self.hooks.items()):
            if key in self.with_kwargs:
                result = hook(module, args, kwargs)
                if result is not None:
                    if not isinstance(result, tuple) or len(result) != 2:
                        raise RuntimeError(
                            "forward pre-hook must return None or a tuple of (new_args, "
                            f"new_kwargs), but got {result}."
                        )
                    args, kwargs = result
            elif (result := hook(module, args)) is not None:
                args = result if isinstance(result, tuple) else (result,)
        return args, kwargs

    def after(self, module: Any, args: Any, kwargs: Any, output: Any, failed: bool = False) -> Any:
        """Runs forward hooks; each may replace the output. After an error: only `always` ones."""
        for key, hook in list(self.hooks.items()):
            if failed and key not in self.always:
                continue
            if key in self.with_kwargs:
                result = hook(module, args, kwargs, output)
            else:
                result = hook(module, args, output)
            if result is not None:
                output = result
        return output


class _Global:
    """The hooks of every module, by kind."""

    def __init__(self) -> None:
        self.forward_pre, self.forward = HookTable(), HookTable()
        self.backward_pre, self.backward = HookTable(), HookTable()
        self.parameter, self.buffer, self.module = HookTable(), HookTable(), HookTable()

    @property
    def running(self) -> bool:
        """Whether a call of a module has to ask for any."""
        return bool(
            self.forward_pre.hooks or self.forward.hooks
            or self.backward_pre.hooks or self.backward.hooks
        )  # fmt: skip

    def registered(self, kind: str, module: Any, name: str, value: Any) -> Any:
        """What takes the place of a member that is put into a module."""
        for hook in list(getattr(self, kind).hooks.values()):
            result = hook(module, name, value)
            value = value if result is None else result
        return value


GLOBAL = _Global()


def register_module_forward_pre_hook(hook: Any) -> RemovableHandle:
    """Calls `hook(module, args)` before the `forward` of every module."""
    return GLOBAL.forward_pre.add(hook)


def register_module_forward_hook(
    hook: Any, *, with_kwargs: bool = False, always_call: bool = False
) -> RemovableHandle:
    """Calls `hook(module, args, output)` after the `forward` of every module."""
    return GLOBAL.forward.add(hook, False, with_kwargs, always_call)


def register_module_full_backward_pre_hook(hook: Any) -> RemovableHandle:
    """Calls `hook(module, grad_output)` before the gradients of every module are computed."""
    return GLOBAL.backward_pre.add(hook)


def register_module_full_backward_hook(hook: Any) -> RemovableHandle:
    """Calls `hook(module, grad_input, grad_output)` when those of every module are."""
    return GLOBAL.backward.add(hook)


def register_module_parameter_registration_hook(hook: Any) -> RemovableHandle:
    """Calls `hook(module, name, parameter)` when one is put into a module; a result replaces it."""
    return GLOBAL.parameter.add(hook)


def register_module_buffer_registration_hook(hook: Any) -> RemovableHandle:
    """Calls `hook(module, name, buffer)` when one is put into a module; a result replaces it."""
    return GLOBAL.buffer.add(hook)


def register_module_module_registration_hook(hook: Any) -> RemovableHandle:
    """Calls `hook(module, name, submodule)` when one is put into a module; a result replaces it."""
    return GLOBAL.module.add(hook)

"""Forward hooks of modules and the handles that remove them."""

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

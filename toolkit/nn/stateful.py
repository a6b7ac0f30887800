"""A module's state by name: `state_dict`, `load_state_dict` and the hooks around them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from toolkit.nn import state
from toolkit.nn.hooks import HookTable, RemovableHandle
from toolkit.nn.members import Members

if TYPE_CHECKING:
    from toolkit.nn.module import Module


class Stateful(Members):
    """The part of a `Module` that reads and writes its state."""

    _version: int = 1  # Of the state_dict; a subclass that changes it says so here.

    @property
    def _this(self) -> Module:
        return cast("Module", self)

    def _hooks_of(self, kind: str) -> HookTable:
        """The hooks around reading and writing the state, by kind."""
        tables: dict[str, HookTable] = self.__dict__.setdefault("_state_hooks", {})
        return tables.setdefault(kind, HookTable())

    def register_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Calls `hook(module, prefix, keep_vars)` before `state_dict` reads this module."""
        return self._hooks_of("state_dict_pre").add(hook)

    def register_state_dict_post_hook(self, hook: Any) -> RemovableHandle:
        """Calls `hook(module, state_dict, prefix, local_metadata)` after; it changes the dict."""
        hook._from_public_api = True
        return self._hooks_of("state_dict").add(hook)

    def _register_state_dict_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        return self._hooks_of("state_dict").add(hook)

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Calls `hook(module, state_dict, prefix, metadata, strict, missing, unexpected, errors)`.

        Before the state is loaded into this module; the hook may change the dict and the lists.
        """

        def given(*args: Any) -> None:
            hook(self, *args)

        return self._hooks_of("load_state_dict_pre").add(given)

    def _register_load_state_dict_pre_hook(
        self, hook: Callable[..., Any], with_module: bool = False
    ) -> RemovableHandle:
        if with_module:
            return self.register_load_state_dict_pre_hook(hook)
        return self._hooks_of("load_state_dict_pre").add(hook)

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Calls `hook(module, incompatible_keys)` after; the hook may change the keys."""
        return self._hooks_of("load_state_dict_post").add(hook)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        """Puts what belongs to this module itself into a dict; subclasses may extend it."""
        state.own(self._this, destination, prefix, keep_vars)

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Takes what belongs to this module itself out of a dict; subclasses may extend it."""
        state.load_own(
            self._this,
            state_dict,
            prefix,
            local_metadata,
            missing_keys,
            unexpected_keys,
            error_msgs,
        )

    def _own_state(self) -> list[tuple[str, Any]]:
        buffers = self._buffers.items()
        hidden = self._non_persistent_buffers_set
        members = [*self._parameters.items(), *(b for b in buffers if b[0] not in hidden)]
        return [(name, value) for name, value in members if value is not None]

    def state_dict(
        self, *, destination: Any = None, prefix: str = "", keep_vars: bool = False
    ) -> OrderedDict[str, Any]:
        """The parameters and persistent buffers by path; they share the module's memory."""
        if destination is None:
            destination = state.State()
        return state.collect(self._this, destination, prefix, keep_vars)  # type: ignore[no-any-return]

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> state.IncompatibleKeys:
        """Copies tensors (or arrays) into the parameters and buffers.

        Args:
            state_dict: by path, as `state_dict()` gives it.
            strict: refuse missing and unexpected keys.
            assign: put the given tensors in place of the module's, keeping their element types.

        Returns:
            The keys that are missing and those that were not expected.

        Raises:
            InvalidArgumentError: keys do not match.
            ShapeError: a shape differs.
        """
        return state.Loader(state_dict, strict, assign).load(self._this)

    def get_extra_state(self) -> Any:
        """More state for `state_dict`; a subclass that has some defines it."""
        raise RuntimeError("get_extra_state: a subclass that defines it is required.")

    def set_extra_state(self, state: Any) -> None:
        """Takes what `get_extra_state` gave."""
        raise RuntimeError("set_extra_state: a subclass that defines it is required.")

"""`Module`: the base of every layer and model.

What it holds, by name, is in `toolkit.nn.members`. Export and training programs are not here: they
run `forward` on symbolic tensors from outside.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from toolkit._tensor import checkpoint
from toolkit._tensor.initial import initial_of, note
from toolkit._tensor.state import STATE
from toolkit.nn import state
from toolkit.nn.hooks import HookTable, RemovableHandle
from toolkit.nn.members import Members
from toolkit.nn.scope import scoped_call
from toolkit.tensor import Tensor

if TYPE_CHECKING:
    from toolkit.dtypes import DType

M = TypeVar("M", bound="Module")


class Module(Members):
    """A part of a model: parameters, buffers, submodules and `forward`.

    Assigning a `Parameter`, `Buffer` or `Module` to an attribute registers it under that name.
    """

    training: bool
    _forward_pre_hooks: HookTable
    _forward_hooks: HookTable
    _checkpointed: bool = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if args or kwargs:
            given = f"{len(args)} arguments" if args else f"{next(iter(kwargs))!r}"
            raise TypeError(f"{type(self).__name__}.__init__() got unexpected {given}")
        self._make_tables()
        self.training = True
        self._forward_pre_hooks = HookTable()
        self._forward_hooks = HookTable()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The computation; every subclass defines it."""
        raise NotImplementedError(
            f'Module [{type(self).__name__}] is missing the required "forward" function'
        )

    # -- calling -------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if STATE.trace is not None:
            return scoped_call(self, args, kwargs)
        return self._call(args, kwargs)

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._checkpointed:
            return checkpoint.run(self._hooked, args, kwargs, True)
        if not self._forward_pre_hooks and not self._forward_hooks:
            return self.forward(*args, **kwargs)
        return self._hooked(*args, **kwargs)

    def _hooked(self, *args: Any, **kwargs: Any) -> Any:
        args, kwargs = self._forward_pre_hooks.before(self, args, kwargs)
        try:
            output = self.forward(*args, **kwargs)
        except Exception:
            self._forward_hooks.after(self, args, kwargs, None, failed=True)
            raise
        return self._forward_hooks.after(self, args, kwargs, output)

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Calls `hook(module, args)` before `forward`; what it returns replaces the arguments."""
        return self._forward_pre_hooks.add(hook, prepend, with_kwargs)

    def register_forward_hook(
        self,
        hook: Callable[..., Any],
        *,
        prepend: bool = False,
        with_kwargs: bool = False,
        always_call: bool = False,
    ) -> RemovableHandle:
        """Calls `hook(module, args, output)` after `forward`; a result replaces the output."""
        return self._forward_hooks.add(hook, prepend, with_kwargs, always_call)

    # -- state ---------------------------------------------------------------------------------

    def _own_state(self) -> list[tuple[str, Any]]:
        buffers = self._buffers.items()
        hidden = self._non_persistent_buffers_set
        members = [*self._parameters.items(), *(b for b in buffers if b[0] not in hidden)]
        return [(name, value) for name, value in members if value is not None]

    def state_dict(
        self, *, destination: Any = None, prefix: str = "", keep_vars: bool = False
    ) -> OrderedDict[str, Any]:
        """The parameters and persistent buffers by path; they share the module's memory."""
        destination = OrderedDict() if destination is None else destination
        state.collect(self, destination, prefix, keep_vars)
        return destination  # type: ignore[no-any-return]

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
        return state.Loader(state_dict, strict, assign).load(self)

    def get_extra_state(self) -> Any:
        """More state for `state_dict`; a subclass that has some defines it."""
        raise RuntimeError("get_extra_state: a subclass that defines it is required.")

    def set_extra_state(self, state: Any) -> None:
        """Takes what `get_extra_state` gave."""
        raise RuntimeError("set_extra_state: a subclass that defines it is required.")

    def save(
        self,
        path: str | os.PathLike[str],
        inputs: Any = None,
        dynamic: Any = None,
        opset: int | None = None,
        inline: bool = False,
    ) -> None:
        """Writes the module as `.onnx`, in evaluation mode; see `toolkit.nn.export.save`."""
        from toolkit.nn.export import save

        save(self, path, inputs, dynamic, opset, inline)

    # -- modes and conversions -----------------------------------------------------------------

    def train(self: M, mode: bool = True) -> M:
        """Training mode (or evaluation mode) for this module and all below it."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self: M) -> M:
        """Evaluation mode: Dropout passes through, BatchNorm uses its running statistics."""
        return self.train(False)

    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        """Lets gradients flow to the parameters, or not."""
        for param in self.parameters():
            param.requires_grad_(requires_grad)
        return self

    def checkpoint_(self: M, mode: bool = True) -> M:
        """Computes what is between input and output again in the backward pass, or keeps it.

        It saves memory and costs one more forward pass of this module; see
        `toolkit.utils.checkpoint`. Mark the blocks of a model, not the whole of it.
        """
        self._checkpointed = bool(mode)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drops (or zeroes) the gradients of the parameters."""
        for param in self.parameters():
            if param.grad is not None:
                param.grad = None if set_to_none else param.grad.detach() * 0

    def apply(self: M, fn: Callable[[Module], None]) -> M:
        """Calls `fn` with every submodule, children first."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def _apply(self: M, fn: Callable[[Tensor], Tensor]) -> M:
        """Replaces the values (and gradients) of all parameters and buffers; they keep identity."""
        for module in self.modules():
            for tensor in (*module._parameters.values(), *module._buffers.values()):
                if tensor is None:
                    continue
                grad, initial = tensor.grad, initial_of(tensor)
                tensor.grad = None
                tensor.data = fn(tensor.detach())
                note(tensor, initial)
                if grad is not None:
                    tensor.grad = fn(grad.detach())
        return self

    def to(self: M, *args: Any, **kwargs: Any) -> M:
        """Moves floating-point members to a dtype and all members to a device."""
        from toolkit.dtypes import DType

        dtype: Any = kwargs.get("dtype")
        for arg in args:
            if isinstance(arg, Tensor):
                dtype = arg.dtype
            elif isinstance(arg, DType):
                dtype = arg
        if dtype is not None and not dtype.is_floating_point:
            raise TypeError(
                "nn.Module.to only accepts floating point or complex dtypes, but got desired "
                f"dtype={dtype}"
            )
        rest = [a for a in args if not isinstance(a, (Tensor, DType))]
        options = {k: v for k, v in kwargs.items() if k == "device" and v is not None}

        def convert(t: Tensor) -> Tensor:
            t = t.to(*rest, **options) if rest or options else t
            return t.to(dtype) if dtype is not None and t.dtype.is_floating_point else t

        return self._apply(convert)

    def type(self: M, dst_type: DType) -> M:
        """Casts all parameters and buffers."""
        return self._apply(lambda t: t.to(dst_type))

    def float(self: M) -> M:
        """Casts floating-point members to float32."""
        from toolkit.dtypes import float32

        return self.to(float32)

    def double(self: M) -> M:
        """Casts floating-point members to float64."""
        from toolkit.dtypes import float64

        return self.to(float64)

    def half(self: M) -> M:
        """Casts floating-point members to float16."""
        from toolkit.dtypes import float16

        return self.to(float16)

    def bfloat16(self: M) -> M:
        """Casts floating-point members to bfloat16."""
        from toolkit.dtypes import bfloat16

        return self.to(bfloat16)

    def cpu(self: M) -> M:
        """Moves all members to the CPU."""
        return self.to("cpu")

    # -- text ----------------------------------------------------------------------------------

    def _get_name(self) -> str:
        return type(self).__name__

    def extra_repr(self) -> str:
        """What stands between the parentheses of the module's text."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = extra.split("\n") if extra else []
        children = [f"({name}): {indent(repr(m))}" for name, m in self._modules.items()]
        if len(lines) == 1 and not children:
            return f"{self._get_name()}({lines[0]})"
        if not lines and not children:
            return f"{self._get_name()}()"
        return self._get_name() + "(\n  " + "\n  ".join(lines + children) + "\n)"


def indent(text: str, spaces: int = 2) -> str:
    """All lines but the first moved to the right."""
    return text.replace("\n", "\n" + " " * spaces)


def pairs(items: Iterable[Any]) -> str:
    """`a=1, b=2` of (name, value) pairs, for `extra_repr`."""
    return ", ".join(f"{name}={value}" for name, value in items)

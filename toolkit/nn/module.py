"""`Module`: the base of every layer and model.

What it holds, by name, is in `toolkit.nn.members`. Export and training programs are not here: they
run `forward` on symbolic tensors from outside.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from toolkit._tensor import checkpoint
from toolkit._tensor.initial import initial_of, note
from toolkit._tensor.state import STATE
from toolkit.errors import UnsupportedOperatorError
from toolkit.nn.backward_hooks import BackwardHooks
from toolkit.nn.hooks import GLOBAL, HookTable, RemovableHandle
from toolkit.nn.parameter import UninitializedTensorMixin
from toolkit.nn.scope import scoped_call
from toolkit.nn.stateful import Stateful
from toolkit.tensor import Tensor

if TYPE_CHECKING:
    from toolkit.dtypes import DType

M = TypeVar("M", bound="Module")


class Module(Stateful):
    """A part of a model: parameters, buffers, submodules and `forward`.

    Assigning a `Parameter`, `Buffer` or `Module` to an attribute registers it under that name.
    """

    training: bool
    _forward_pre_hooks: HookTable
    _forward_hooks: HookTable
    _checkpointed: bool = False
    _compiled: Any = None  # Of `compile()`: what calls run.
    _backward_hooks: HookTable | None = None  # Both are there from the first hook on.
    _backward_pre_hooks: HookTable | None = None

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
        if self._compiled is not None:
            return self._compiled(*args, **kwargs)
        return self._call(args, kwargs)

    def _call_impl(self, *args: Any, **kwargs: Any) -> Any:
        """A call of the module as it is written."""
        if STATE.trace is not None:
            return scoped_call(self, args, kwargs)
        return self._call(args, kwargs)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """From now on calls, hooks among them, run as programs; arguments as of `toolkit.compile`.

        The module stays what it is: its state_dict, its text and what it holds.
        """
        from toolkit.compiler import compile

        self.__dict__["_compiled"] = compile(self._call_impl, *args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        """What copies and pickles hold: all but programs."""
        return {k: v for k, v in self.__dict__.items() if k != "_compiled"}

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._checkpointed:
            return checkpoint.run(self._hooked, args, kwargs, True)
        if (
            self._forward_pre_hooks.hooks or self._forward_hooks.hooks or GLOBAL.running
            or self._backward_hooks is not None
        ):  # fmt: skip
            return self._hooked(*args, **kwargs)
        return self.forward(*args, **kwargs)

    def _hooked(self, *args: Any, **kwargs: Any) -> Any:
        args, kwargs = GLOBAL.forward_pre.before(self, args, kwargs)
        args, kwargs = self._forward_pre_hooks.before(self, args, kwargs)
        watch = self._watch()
        try:
            output = self.forward(*(args if watch is None else watch.inputs(args)), **kwargs)
        except Exception:
            GLOBAL.forward.after(self, args, kwargs, None, failed=True)
            self._forward_hooks.after(self, args, kwargs, None, failed=True)
            raise
        output = GLOBAL.forward.after(self, args, kwargs, output)
        output = self._forward_hooks.after(self, args, kwargs, output)
        return output if watch is None else watch.outputs(output)

    def _watch(self) -> BackwardHooks | None:
        """What calls the backward hooks of this call; a graph that is traced has none."""
        pre = [*GLOBAL.backward_pre.hooks.values(), *_values(self._backward_pre_hooks)]
        full = [*GLOBAL.backward.hooks.values(), *_values(self._backward_hooks)]
        if (not pre and not full) or STATE.trace is not None:
            return None
        return BackwardHooks(self, full, pre)

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

    def register_full_backward_pre_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Calls `hook(module, grad_output)` before the gradients of the inputs are computed."""
        self._backward_hooks = self._backward_hooks or HookTable()
        self._backward_pre_hooks = self._backward_pre_hooks or HookTable()
        return self._backward_pre_hooks.add(hook, prepend)

    def register_full_backward_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Calls `hook(module, grad_input, grad_output)` when those of the inputs are known."""
        if self._backward_hooks is None:
            self._backward_hooks = HookTable()
        return self._backward_hooks.add(hook, prepend)

    register_backward_hook = register_full_backward_hook

    # -- export --------------------------------------------------------------------------------

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

    def _apply(self: M, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> M:
        """Replaces the values (and gradients) of all parameters and buffers; they keep identity."""
        for module in self.modules() if recurse else (self,):
            for tensor in (*module._parameters.values(), *module._buffers.values()):
                if tensor is None:
                    continue
                if isinstance(tensor, UninitializedTensorMixin):
                    tensor.convert(fn)
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

    def to_empty(self: M, *, device: Any = None, recurse: bool = True) -> M:
        """Gives all members undefined content on a device."""
        from toolkit.tensor import empty_like

        return self._apply(lambda t: empty_like(t, device=device), recurse)

    def share_memory(self: M) -> M:
        """Refused: the memory of tensors belongs to one process.

        Raises:
            UnsupportedOperatorError: always.
        """
        raise UnsupportedOperatorError(
            "share_memory: one process is required, as tensors are not in shared memory. Use "
            "threads, which run programs side by side, or pass a file by `save`."
        )

    def cuda(self: M, device: Any = None) -> M:
        """Refused as `to("cuda")` is: tensors live on the CPU."""
        return self.to("cuda")

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


def _values(table: HookTable | None) -> Iterable[Any]:
    return () if table is None else table.hooks.values()


def indent(text: str, spaces: int = 2) -> str:
    """All lines but the first moved to the right."""
    return text.replace("\n", "\n" + " " * spaces)


def pairs(items: Iterable[Any]) -> str:
    """`a=1, b=2` of (name, value) pairs, for `extra_repr`."""
    return ", ".join(f"{name}={value}" for name, value in items)

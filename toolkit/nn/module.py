"""`Module`: the base of every layer and model.

Export and training programs are not here: they run `forward` on symbolic tensors from outside.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from toolkit._tensor.state import STATE
from toolkit.nn import state
from toolkit.nn.hooks import HookTable, RemovableHandle
from toolkit.nn.parameter import Buffer, Parameter
from toolkit.nn.scope import scoped_call
from toolkit.tensor import Tensor

if TYPE_CHECKING:
    from toolkit.dtypes import DType

M = TypeVar("M", bound="Module")


class Module:
    """A part of a model: parameters, buffers, submodules and `forward`.

    Assigning a `Parameter`, `Buffer` or `Module` to an attribute registers it under that name.
    """

    training: bool
    _forward_pre_hooks: HookTable
    _forward_hooks: HookTable
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]
    _non_persistent_buffers_set: set[str]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if args or kwargs:
            given = f"{len(args)} arguments" if args else f"{next(iter(kwargs))!r}"
            raise TypeError(f"{type(self).__name__}.__init__() got unexpected {given}")
        put = super().__setattr__
        put("training", True)
        put("_parameters", {})
        put("_buffers", {})
        put("_non_persistent_buffers_set", set())
        put("_modules", {})
        put("_forward_pre_hooks", HookTable())
        put("_forward_hooks", HookTable())

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
        if not self._forward_pre_hooks and not self._forward_hooks:
            return self.forward(*args, **kwargs)
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

    # -- registration --------------------------------------------------------------------------

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Adds a parameter under a name; None reserves the name."""
        self._check_name("parameter", name, self._parameters)
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(
                f"cannot assign '{type(param).__name__}' object to parameter '{name}' "
                "(nn.Parameter or None required)"
            )
        if param is not None and not param.is_leaf:
            raise ValueError(
                f"Cannot assign non-leaf Tensor to parameter '{name}'. Model parameters must be "
                "created explicitly."
            )
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Adds a tensor that is not trained; `persistent`: `state_dict` holds it."""
        self._check_name("buffer", name, self._buffers)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"cannot assign '{type(tensor).__name__}' object to buffer '{name}' "
                "(Tensor or None required)"
            )
        if tensor is not None:
            tensor._root()._shared = True  # Programs that update it hold its memory.
        self._buffers[name] = tensor
        (self._non_persistent_buffers_set.discard if persistent
         else self._non_persistent_buffers_set.add)(name)  # fmt: skip

    def add_module(self, name: str, module: Module | None) -> None:
        """Adds a submodule under a name."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"{type(module).__name__} is not a Module subclass")
        self._check_name("module", name, self._modules)
        self._modules[name] = module

    register_module = add_module

    def _check_name(self, kind: str, name: str, table: Mapping[str, Any]) -> None:
        if "_parameters" not in self.__dict__:
            raise AttributeError(f"cannot assign {kind} before Module.__init__() call")
        if not isinstance(name, str):
            raise TypeError(f"{kind} name should be a string. Got {type(name).__name__}")
        if "." in name:
            raise KeyError(f'{kind} name can\'t contain ".", got: {name}')
        if name == "":
            raise KeyError(f'{kind} name can\'t be empty string ""')
        if hasattr(self, name) and name not in table:
            raise KeyError(f"attribute '{name}' already exists")

    def __setattr__(self, name: str, value: Any) -> None:
        own = self.__dict__
        params = own.get("_parameters")
        if isinstance(value, Parameter):
            self._require_init(params, "parameters")
            self._forget(name, own, "_buffers", "_modules")
            self.register_parameter(name, value)
        elif params is not None and name in params:
            if value is not None:
                raise TypeError(
                    f"cannot assign '{type(value).__name__}' as parameter '{name}' "
                    "(nn.Parameter or None expected)"
                )
            self.register_parameter(name, value)
        elif isinstance(value, Module):
            self._require_init(params, "module")
            self._forget(name, own, "_parameters", "_buffers")
            self._modules[name] = value
        elif params is not None and name in self._modules:
            if value is not None:
                raise TypeError(
                    f"cannot assign '{type(value).__name__}' as child module '{name}' "
                    "(nn.Module or None expected)"
                )
            self._modules[name] = value
        elif isinstance(value, Buffer) or (params is not None and name in self._buffers):
            self._require_init(params, "buffers")
            if name not in self._buffers:
                self._forget(name, own, "_parameters", "_modules")
                self.register_buffer(name, value, value.persistent)
            elif value is not None and not isinstance(value, Tensor):
                raise TypeError(
                    f"cannot assign '{type(value).__name__}' as buffer '{name}' "
                    "(Buffer, Tensor or None expected)"
                )
            else:
                self._buffers[name] = value
        else:
            super().__setattr__(name, value)

    def _require_init(self, params: Any, what: str) -> None:
        if params is None:
            raise AttributeError(f"cannot assign {what} before Module.__init__() call")

    def _forget(self, name: str, own: dict[str, Any], *tables: str) -> None:
        own.pop(name, None)
        for table in tables:
            own[table].pop(name, None)
        self._non_persistent_buffers_set.discard(name)

    def __getattr__(self, name: str) -> Any:
        own = self.__dict__
        for table in ("_parameters", "_buffers", "_modules"):
            if table in own and name in own[table]:
                return own[table][name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __delattr__(self, name: str) -> None:
        for table in (self._parameters, self._buffers, self._modules):
            if name in table:
                del table[name]
                self._non_persistent_buffers_set.discard(name)
                return
        super().__delattr__(name)

    def __dir__(self) -> list[str]:
        names = {*super().__dir__(), *self._parameters, *self._buffers, *self._modules}
        return sorted(name for name in names if not name[0].isdigit())

    # -- traversal -----------------------------------------------------------------------------

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The direct submodules, each once."""
        seen: set[int] = set()
        for name, module in self._modules.items():
            if module is not None and id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def children(self) -> Iterator[Module]:
        """The direct submodules, each once."""
        return (module for _, module in self.named_children())

    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """This module and all below it with their paths, each once."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                path = f"{prefix}.{name}" if prefix else name
                yield from module.named_modules(memo, path, remove_duplicate)

    def modules(self) -> Iterator[Module]:
        """This module and all below it, each once."""
        return (module for _, module in self.named_modules())

    def _named_members(
        self, table: str, prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        modules = (
            self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate)
            if recurse
            else [(prefix, self)]
        )
        for path, module in modules:
            for name, member in getattr(module, table).items():
                if member is None or id(member) in seen:
                    continue
                if remove_duplicate:
                    seen.add(id(member))
                yield f"{path}.{name}" if path else name, member

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """The parameters with their paths, each once."""
        return self._named_members("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters, each once."""
        return (param for _, param in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """The buffers with their paths, each once."""
        return self._named_members("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """The buffers, each once."""
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def get_submodule(self, target: str) -> Module:
        """The submodule at a path such as "encoder.0.linear"; itself for ""."""
        module: Module = self
        for name in target.split(".") if target else ():
            if not hasattr(module, name):
                raise AttributeError(f"{module._get_name()} has no attribute `{name}`")
            module = getattr(module, name)
            if not isinstance(module, Module):
                raise AttributeError(f"`{name}` is not an nn.Module")
        return module

    def _get_member(self, target: str, table: str, kind: str) -> Any:
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        if not hasattr(module, name):
            raise AttributeError(f"{module._get_name()} has no attribute `{name}`")
        if name not in getattr(module, table):
            raise AttributeError(f"`{name}` is not {kind}")
        return getattr(module, name)

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at a path."""
        return self._get_member(target, "_parameters", "an nn.Parameter")  # type: ignore[no-any-return]

    def get_buffer(self, target: str) -> Tensor:
        """The buffer at a path."""
        return self._get_member(target, "_buffers", "a buffer")  # type: ignore[no-any-return]

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
                grad = tensor.grad
                tensor.grad = None
                tensor.data = fn(tensor.detach())
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

"""Parameters that are computed from others: `register_parametrization` and its like.

A parametrized tensor becomes a property of the module's class. What it is computed from is in
`module.parametrizations`, under PyTorch's names.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from toolkit.autograd import no_grad
from toolkit.nn.containers import ModuleDict, ModuleList
from toolkit.nn.module import Module
from toolkit.nn.parameter import Parameter
from toolkit.tensor import Tensor

_cache: dict[tuple[int, str], Any] | None = None


@contextmanager
def cached() -> Iterator[None]:
    """Inside, each parametrized tensor is computed once, at its first use."""
    global _cache
    outer = _cache
    _cache = {} if outer is None else outer
    try:
        yield
    finally:
        _cache = outer


def _register(module: Module, name: str, value: Tensor) -> None:
    if isinstance(value, Parameter):
        module.register_parameter(name, value)
    else:
        module.register_buffer(name, value)


def _set(target: Tensor, source: Tensor) -> None:
    """New content, perhaps of another shape, for a tensor that keeps its identity."""
    if tuple(target.shape) == tuple(source.shape):
        target.copy_(source)
    else:
        target.data = source.detach()


class ParametrizationList(ModuleList):
    """The parametrizations of one tensor, the first applied first, and what they start from.

    Attributes:
        original: the tensor, or `original0`, `original1`, ... where `right_inverse` gives several.
        is_tensor: whether it is one tensor.
    """

    def __init__(self, modules: Sequence[Module], original: Tensor, unsafe: bool = False) -> None:
        if not modules:
            raise ValueError("ParametrizationList requires one or more modules.")
        super().__init__(modules)
        self.unsafe = unsafe
        shape, dtype = tuple(original.shape), original.dtype
        new: Any = original
        with no_grad():
            for module in reversed(list(self)):
                if hasattr(module, "right_inverse"):
                    with suppress(NotImplementedError):
                        new = module.right_inverse(new)
        if not isinstance(new, (Tensor, list, tuple)):
            raise ValueError(
                "'right_inverse' must return a Tensor or a Sequence of tensors (list, tuple...). "
                f"Got {type(new).__name__}"
            )
        self.is_tensor = isinstance(new, Tensor)
        self.ntensors = 1 if isinstance(new, Tensor) else len(new)
        if isinstance(new, Tensor):
            if new.dtype != dtype:
                raise ValueError(
                    "When `right_inverse` outputs one tensor, it may not change the dtype.\n"
                    f"original.dtype: {dtype}\nright_inverse(original).dtype: {new.dtype}"
                )
            if new is not original:
                with no_grad():
                    _set(original, new)
            _register(self, "original", original)
        else:
            self._register_parts(new, original)
        if not unsafe:
            self._check(self(), shape, dtype)

    def _register_parts(self, parts: Sequence[Any], original: Tensor) -> None:
        for i, part in enumerate(parts):
            if not isinstance(part, Tensor):
                raise ValueError(
                    "'right_inverse' must return a Tensor or a Sequence of tensors (list, "
                    f"tuple...). Got element {i} of the sequence with type {type(part).__name__}."
                )
            if isinstance(original, Parameter):
                part = Parameter(part.detach(), original.requires_grad)
            _register(self, f"original{i}", part)

    def _check(self, value: Any, shape: tuple[int, ...], dtype: Any) -> None:
        if not isinstance(value, Tensor):
            raise ValueError(f"A parametrization must return a tensor. Got {type(value).__name__}.")
        if value.dtype != dtype:
            raise ValueError(
                "Registering a parametrization may not change the dtype of the tensor, unless "
                f"`unsafe` flag is enabled.\nunparametrized dtype: {dtype}\n"
                f"parametrized dtype: {value.dtype}"
            )
        if tuple(value.shape) != shape:
            raise ValueError(
                "Registering a parametrization may not change the shape of the tensor, unless "
                f"`unsafe` flag is enabled.\nunparametrized shape: {shape}\n"
                f"parametrized shape: {tuple(value.shape)}"
            )

    def originals(self) -> list[Any]:
        """The tensors that the first parametrization gets."""
        if self.is_tensor:
            return [self.original]
        return [getattr(self, f"original{i}") for i in range(self.ntensors)]

    def right_inverse(self, value: Any) -> None:
        """Sets the originals so that the parametrized tensor becomes `value`."""
        with no_grad():
            for module in reversed(list(self)):
                if not hasattr(module, "right_inverse"):
                    raise RuntimeError(
                        f"parametrization {type(module).__name__} does not implement right_inverse."
                    )
                value = module.right_inverse(value)
            values = [value] if self.is_tensor else list(value)
            if len(values) != self.ntensors or not all(isinstance(v, Tensor) for v in values):
                raise ValueError(
                    f"'right_inverse' must return {self.ntensors} tensor(s), got {value!r}."
                )
            for target, v in zip(self.originals(), values, strict=True):
                if target.dtype != v.dtype:
                    raise ValueError(
                        f"The tensor returned by `right_inverse` has dtype {v.dtype} while "
                        f"`original` has dtype {target.dtype}"
                    )
                if target is not v:
                    _set(target, v)

    def forward(self) -> Any:
        """The parametrized tensor."""
        x, *rest = list(self)
        value = x(*self.originals())
        for module in rest:
            value = module(value)
        return value


def _deepcopy(self: Any, memo: dict[int, Any]) -> Any:
    made = object.__new__(type(self))
    memo[id(self)] = made
    made.__dict__.update(copy.deepcopy(self.__dict__, memo))
    return made


def _inject_class(module: Module) -> None:
    """A class of its own for a module that will have properties."""
    cls = type(module)
    extra = {} if hasattr(cls, "__deepcopy__") else {"__deepcopy__": _deepcopy}
    module.__class__ = type(f"Parametrized{cls.__name__}", (cls,), extra)


def _inject_property(module: Module, name: str) -> None:
    def read(self: Any) -> Any:
        from toolkit._tensor.state import STATE

        table = self.parametrizations[name]
        if _cache is None or STATE.trace is not None:
            return table()
        key = id(self), name
        if key not in _cache:
            _cache[key] = table()
        return _cache[key]

    def write(self: Any, value: Any) -> None:
        self.parametrizations[name].right_inverse(value)

    setattr(type(module), name, property(read, write))


def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """Computes a parameter or buffer from what it was, by a module.

    Args:
        module: holds the tensor.
        tensor_name: its name there.
        parametrization: gives the tensor; `right_inverse`, if it has one, what it starts from.
        unsafe: leaves out the check that shape and element type stay.

    Returns:
        The module.
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        table = module.parametrizations[tensor_name]
        if not unsafe:
            y = getattr(module, tensor_name)
            table._check(parametrization(y), tuple(y.shape), y.dtype)
        table.append(parametrization)
        table.unsafe |= unsafe
        return module
    if tensor_name not in module._buffers and tensor_name not in module._parameters:
        raise ValueError(
            f"Module '{module}' does not have a parameter, a buffer, or a parametrized element "
            f"with name '{tensor_name}'"
        )
    table = ParametrizationList([parametrization], getattr(module, tensor_name), unsafe)
    delattr(module, tensor_name)
    if not is_parametrized(module):
        _inject_class(module)
        module.parametrizations = ModuleDict()
    _inject_property(module, tensor_name)
    module.parametrizations[tensor_name] = table
    return module


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether a module has a parametrized tensor (of that name)."""
    tables = module._modules.get("parametrizations")
    if not isinstance(tables, ModuleDict):
        return False
    return len(tables) > 0 if tensor_name is None else tensor_name in tables


def remove_parametrizations(
    module: Module, tensor_name: str, leave_parametrized: bool = True
) -> Module:
    """Makes a parametrized tensor an ordinary one again.

    `leave_parametrized`: with the value it has now, else with that of `original`.
    """
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"Module {module} does not have a parametrization on {tensor_name}")
    table = module.parametrizations[tensor_name]
    if table.is_tensor:
        original = table.original
        if leave_parametrized:
            with no_grad():
                _set(original, getattr(module, tensor_name))
    elif leave_parametrized:
        value = getattr(module, tensor_name)
        original = Parameter(value.detach()) if value.requires_grad else value
    else:
        raise ValueError(
            "Cannot leave unparametrized (`leave_parametrized=False`) a tensor that is "
            "parametrized in terms of a sequence of tensors."
        )
    delattr(type(module), tensor_name)
    del module.parametrizations[tensor_name]
    if not is_parametrized(module):
        del module.parametrizations
        module.__class__ = type(module).__bases__[0]
    _register(module, tensor_name, original)
    return module


def type_before_parametrizations(module: Module) -> type:
    """The class of a module as it was before its tensors were parametrized."""
    return type(module).__bases__[0] if is_parametrized(module) else type(module)


def transfer_parametrizations_and_params(
    from_module: Module, to_module: Module, tensor_name: str | None = None
) -> Module:
    """Gives a module the parametrizations of another, and the tensors that they start from.

    Args:
        from_module: nothing happens if it is not parametrized.
        to_module: gets parameters that it lacks.
        tensor_name: which parametrized tensor; None: all.

    Returns:
        `to_module`.
    """
    if not is_parametrized(from_module):
        return to_module
    for name in list(from_module.parametrizations) if tensor_name is None else [tensor_name]:
        table = from_module.parametrizations[name]
        if not hasattr(to_module, name):
            setattr(to_module, name, Parameter(getattr(from_module, name).detach()))
        for module in table:
            register_parametrization(to_module, name, module)
        target = to_module.parametrizations[name]
        for key in (
            ["original"] if table.is_tensor else [f"original{i}" for i in range(table.ntensors)]
        ):
            setattr(target, key, getattr(table, key))
    return to_module

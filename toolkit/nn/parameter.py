"""`Parameter` and `Buffer`: tensors that a module registers when they are assigned to it."""

from __future__ import annotations

from typing import Any

from toolkit._tensor.initial import initial_of, note
from toolkit.tensor import Tensor


def _take(cls: type[Tensor], data: Any, requires_grad: bool) -> Any:
    """A leaf of class `cls` whose memory is written in place from now on.

    It shares the memory of `data` where that is written in place too (numpy's, another
    parameter's), and takes a copy of a plain tensor's value, which other tensors may hold.
    """
    from toolkit.tensor import tensor

    source = data if isinstance(data, Tensor) else tensor([] if data is None else data)
    value = source._concrete(cls.__name__)
    leaf = object.__new__(cls)
    leaf._value = value if source._root()._shared else value.clone()
    leaf._shared = True
    if requires_grad:
        leaf.requires_grad_(True)
    return leaf


def _deepcopy(self: Any, memo: dict[int, Any], make: Any) -> Any:
    if id(self) not in memo:
        memo[id(self)] = copied = make(self.detach().clone())
        note(copied, initial_of(self))
        if self.grad is not None:
            copied.grad = self.grad.detach().clone()
    return memo[id(self)]


class Parameter(Tensor):
    """A tensor that is trained: `requires_grad` is on, and a module lists it in `parameters()`.

    Args:
        data: the tensor whose memory it shares.
        requires_grad: whether gradients flow to it.
    """

    def __new__(cls, data: Any = None, requires_grad: bool = True) -> Parameter:
        return _take(cls, data, requires_grad)  # type: ignore[no-any-return]

    def __init__(self, data: Any = None, requires_grad: bool = True) -> None:
        pass

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return "Parameter containing:\n" + super().__repr__()

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        cls, requires_grad = type(self), self.requires_grad
        return _deepcopy(self, memo, lambda data: cls(data, requires_grad))  # type: ignore[no-any-return]


class Buffer(Tensor):
    """A tensor that belongs to a module without being trained.

    Args:
        data: the tensor whose memory it shares.
        persistent: whether `state_dict` holds it.
    """

    persistent: bool

    def __new__(cls, data: Any = None, *, persistent: bool = True) -> Buffer:
        buffer: Buffer = _take(cls, data, False)
        buffer.persistent = persistent
        return buffer

    def __init__(self, data: Any = None, *, persistent: bool = True) -> None:
        pass

    def __deepcopy__(self, memo: dict[int, Any]) -> Buffer:
        cls, persistent = type(self), self.persistent
        return _deepcopy(self, memo, lambda data: cls(data, persistent=persistent))  # type: ignore[no-any-return]

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _rebuild_buffer, (type(self), self.detach().numpy().copy(), self.persistent)


def _rebuild_buffer(cls: type[Buffer], array: Any, persistent: bool) -> Buffer:
    from toolkit.tensor import tensor

    return cls(tensor(array), persistent=persistent)

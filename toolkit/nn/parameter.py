"""`Parameter` and `Buffer`: tensors that a module registers when they are assigned to it."""

from __future__ import annotations

from typing import Any

from toolkit._tensor.base import prime
from toolkit._tensor.initial import initial_of, note
from toolkit.errors import InvalidArgumentError
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


class UninitializedTensorMixin:
    """A member without a shape yet: `materialize` gives it one, and makes it an ordinary one."""

    cls_to_become: Any
    _held: Any  # The element type.

    def materialize(self, shape: Any, device: Any = None, dtype: Any = None) -> None:
        """Gives it undefined content of a shape."""
        from toolkit.tensor import empty

        made = empty(*shape, device=device, dtype=dtype or self._held)
        this: Any = self
        this.__class__ = self.cls_to_become
        this._value, this._shared = made._concrete("materialize"), True

    def convert(self, fn: Any) -> None:
        """Takes the element type that `fn` gives a tensor of this one's."""
        from toolkit.tensor import empty

        self._held = fn(empty(0, dtype=self._held)).dtype

    @property
    def _value(self) -> Any:
        raise InvalidArgumentError(
            f"Attempted to use an uninitialized {type(self).__name__[13:].lower()}. When using "
            "LazyModules call `forward` with a dummy batch to initialize the parameters before "
            "calling functions on them."
        )

    @property
    def dtype(self) -> Any:
        """The element type that it will have."""
        return self._held

    @property
    def shape(self) -> Any:
        """Not known yet."""
        raise InvalidArgumentError(
            "Can't access the shape of an uninitialized parameter or buffer. This error usually "
            "happens in `load_state_dict` when trying to load an uninitialized parameter into an "
            "initialized one. Call `forward` to initialize the parameters before accessing their "
            "attributes."
        )

    def is_floating_point(self) -> bool:
        """Whether its elements will be floats."""
        return self._held.is_floating_point  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


def _uninitialized(cls: Any, dtype: Any, requires_grad: bool) -> Any:
    from toolkit._tensor.tape import Leaf
    from toolkit.tensor import empty

    made = object.__new__(cls)
    made._held = empty(0, dtype=dtype).dtype
    if requires_grad:
        made._node = Leaf(made)
    return made


class UninitializedParameter(UninitializedTensorMixin, Parameter):  # type: ignore[misc]
    """A parameter whose shape is not known yet."""

    cls_to_become = Parameter

    def __new__(cls, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> Any:
        return _uninitialized(cls, dtype, requires_grad)

    def __init__(self, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> None:
        pass

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return memo.setdefault(id(self), type(self)(self.requires_grad, dtype=self._held))


class UninitializedBuffer(UninitializedTensorMixin, Tensor):
    """A buffer whose shape is not known yet."""

    cls_to_become = Tensor

    def __new__(
        cls, requires_grad: bool = False, device: Any = None, dtype: Any = None,
        persistent: bool = True,
    ) -> Any:  # fmt: skip
        made = _uninitialized(cls, dtype, requires_grad)
        made.persistent = persistent
        return made

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return memo.setdefault(id(self), type(self)(self.requires_grad, dtype=self._held))


def is_lazy(value: Any) -> bool:
    """Whether it is a member without a shape yet."""
    return isinstance(value, UninitializedTensorMixin)


for _class in (Parameter, Buffer):
    prime(_class)

"""In-place methods that change a tensor's shape: it becomes a view of what it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from toolkit._tensor.base import TensorBase
from toolkit._tensor.inplace import refuse_leaf
from toolkit._tensor.state import STATE
from toolkit._tensor.tape import Leaf
from toolkit.errors import InvalidArgumentError

if TYPE_CHECKING:
    from toolkit.tensor import Tensor

_LINKS = ("_value", "_node", "_out", "_base", "_view", "_seen", "_version", "_shared", "_born")
NAMES = ("squeeze", "unsqueeze", "transpose", "t", "swapaxes", "swapdims")


def become(t: Any, new: Any, inner: Any) -> Any:
    """Makes `t` the view `new` of `inner`, which holds what `t` was."""
    if isinstance(t._node, Leaf):  # Outside the tape: a leaf stays one.
        if t._shared:
            raise InvalidArgumentError(
                "in-place change of shape: memory that nobody else sees is required of a leaf, got "
                "one that numpy or a program shares."
            )
        t._value = new._value
    else:
        for name in ("_value", "_node", "_out", "_base", "_view", "_seen"):
            setattr(t, name, getattr(new, name))
    t._generation += 1
    return t


def moved(name: str) -> Any:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        refuse_leaf(self)
        if STATE.trace is not None and self._root()._born is not STATE.trace:
            raise InvalidArgumentError(
                f"{name}_: a tensor made in this trace is required, got one from outside. Use "
                f"{name}()."
            )
        inner: Any = object.__new__(type(self))
        for link in _LINKS:
            if link in self.__dict__:
                inner.__dict__[link] = self.__dict__[link]
        return become(self, getattr(inner, name)(*args, **kwargs), inner)

    method.__name__ = method.__qualname__ = name + "_"
    method.__doc__ = f"`{name}`, of this tensor itself; views taken before cannot be used after."
    return method


class InplaceShape(TensorBase):
    """`squeeze_` and its like."""

    squeeze_, unsqueeze_, transpose_ = moved("squeeze"), moved("unsqueeze"), moved("transpose")
    t_, swapaxes_, swapdims_ = moved("t"), moved("swapaxes"), moved("swapdims")

    def resize_(self, *sizes: Any, memory_format: Any = None) -> Tensor:
        """Another shape: the first elements in order, zeros behind them where it is larger."""
        return _resize(self, sizes)

    def resize_as_(self, the_template: Any, *, memory_format: Any = None) -> Tensor:
        """`resize_(the_template.shape)`."""
        return _resize(self, (tuple(the_template.shape),))


def _resize(t: Any, sizes: Any) -> Any:
    import math

    from toolkit._tensor.factories import cat, zeros
    from toolkit._tensor.shapes import as_shape

    shape = as_shape(sizes)
    if t._node is not None:
        raise InvalidArgumentError("cannot resize variables that require grad")
    if tuple(t.shape) == shape:
        return t
    if t._base is not None or t._shared or STATE.trace is not None:
        raise InvalidArgumentError(
            "resize_: a tensor with memory of its own is required, got a view, shared memory or a "
            "traced one. Use reshape() or a new tensor."
        )
    flat, size = t.detach().reshape(-1), math.prod(shape)
    if size > flat.shape[0]:
        flat = cat([flat, zeros(size - flat.shape[0], dtype=t.dtype)])
    t._value = flat[:size].reshape(shape).clone()._value
    t._version += 1
    t._generation += 1
    return t

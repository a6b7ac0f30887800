"""`autograd.Variable`, which has been `Tensor` since long ago."""

from __future__ import annotations

from typing import Any

from toolkit.tensor import Tensor


class _Meta(type):
    def __instancecheck__(cls, other: Any) -> bool:
        return isinstance(other, Tensor)


class Variable(metaclass=_Meta):
    """`Variable(data)` is a leaf on the memory of `data`; every tensor is an instance."""

    def __new__(cls, data: Any = None, requires_grad: bool = False) -> Any:
        """A tensor.

        Args:
            data: a tensor; None makes an empty one.
            requires_grad: whether gradients flow to it.
        """
        t = Tensor(0) if data is None else data.detach()
        return t.requires_grad_(requires_grad)

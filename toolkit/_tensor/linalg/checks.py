"""What the functions of linear algebra check and share; none of them is here."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

from toolkit._tensor.base import FLOATS, TensorBase
from toolkit._tensor.factories import arange
from toolkit._tensor.shapes import shape_operand
from toolkit.errors import DTypeError, LinAlgError, ShapeError, UnsupportedOperatorError
from toolkit.ops.dispatch import apply, apply2, apply_many, handle
from toolkit.runtime import _core

LINALG = "toolkit.linalg"
_HALF = (10, 16)


def result(name: str, fields: str) -> Any:
    """The class of a function's results: a named tuple that prints as PyTorch's."""
    plain = namedtuple(name, fields)  # type: ignore[misc]

    def show(self: Any) -> str:
        parts = ",\n".join(f"{k}={v!r}" for k, v in zip(self._fields, self, strict=True))
        return f"toolkit.return_types.{name}(\n{parts})"

    return type(name, (plain,), {"__repr__": show, "__slots__": ()})


def run(op_type: str, *inputs: Any, outputs: int = 1, **attributes: Any) -> Any:
    """An operator of linear algebra."""
    h = handle(op_type, LINALG, **attributes)
    return apply(h, *inputs) if outputs == 1 else apply_many(h, inputs, outputs)


def known(x: Any) -> bool:
    """Whether its values are at hand: not while a graph is recorded."""
    return type(x._value) is _core.Tensor


def floats(name: str, x: Any, what: str = "input") -> Any:
    """A tensor of float32 or float64.

    Raises:
        DTypeError: it is not of a floating type.
        UnsupportedOperatorError: it is of half precision.
    """
    if not isinstance(x, TensorBase):
        raise TypeError(f"{name}: argument '{what}' must be Tensor, not {type(x).__name__}")
    if x._value.dtype not in FLOATS:
        raise DTypeError(
            f"{name}: Expected a floating point or complex tensor as input. Got {x.dtype.name}"
        )
    if x._value.dtype in _HALF:
        raise UnsupportedOperatorError(
            f"{name}: Low precision dtypes not supported. Got {x.dtype.name}. Use float32."
        )
    return x


def matrices(name: str, x: Any, what: str = "A") -> Any:
    """A tensor of matrices that can be factored.

    Raises:
        ShapeError: fewer than two dimensions.
    """
    floats(name, x, what)
    if x.dim() < 2:
        raise ShapeError(
            f"{name}: The input tensor {what} must have at least 2 dimensions, got {x.dim()}."
        )
    return x


def differ(a: Any, b: Any) -> bool:
    """Whether two sizes are known to differ."""
    return type(a) is int and type(b) is int and a != b


def nothing(size: Any) -> bool:
    """Whether a size is known to be 0."""
    return type(size) is int and size == 0


def square(name: str, x: Any, what: str = "A") -> Any:
    """As `matrices`.

    Raises:
        ShapeError: they are not square.
    """
    matrices(name, x, what)
    m, n = x.shape[-2:]
    if differ(m, n):
        raise ShapeError(
            f"{name}: {what} must be batches of square matrices, but they are {m} by {n} matrices"
        )
    return x


def same_type(name: str, a: Any, b: Any, names: str = "A and B") -> None:
    """Fails unless two tensors have one element type."""
    if not isinstance(b, TensorBase):
        raise TypeError(f"{name}: argument 'B' must be Tensor, not {type(b).__name__}")
    if a._value.dtype != b._value.dtype:
        first, second = names.split(" and ")
        raise DTypeError(
            f"{name}: Expected {names} to have the same dtype, but found {first} of type "
            f"{a.dtype.name} and {second} of type {b.dtype.name} instead"
        )


def vectors(a: Any, b: Any) -> bool:
    """Whether B holds a vector for each matrix of A, rather than matrices."""
    if a.dim() - 1 != b.dim():
        return False
    return not any(differ(m, n) for m, n in zip(b.shape, a.shape[:-1], strict=True))


def same_batch(a: Any, b: Any) -> tuple[Any, Any]:
    """Matrices repeated to the batch that both broadcast to."""
    if tuple(a.shape[:-2]) == tuple(b.shape[:-2]):
        return a, b
    return _spread(a, b), _spread(b, a)


def _spread(x: Any, like: Any) -> Any:
    return apply2(handle("Expand"), x, shape_operand((*like.shape[:-2], 1, 1)))


def unit_like(x: Any, n: Any) -> Any:
    """The unit matrix of n rows, of the type of x."""
    numbers = arange(n)
    return (numbers.unsqueeze(-1) == numbers).to(x.dtype)


def diagonal_of(x: Any) -> Any:
    """The diagonals of square matrices, also of a size that is not known yet."""
    return (x * unit_like(x, x.shape[-1])).sum(-1)


def refuse(name: str, info: Any, told: str) -> None:
    """Raises LinAlgError where a factorisation's info is not 0; `told` says what, with `{k}`."""
    if not known(info):
        return
    array = info.numpy()
    if not array.any():
        return
    place = ""
    if array.ndim:
        flat = array.reshape(-1)
        first = int(flat.nonzero()[0][0])
        place, array = f"(Batch element {first}): ", flat[first]
    raise LinAlgError(f"{name}: {place}{told.format(k=int(array))}")

"""In-place methods: a write gives the tensor (and what it is a view of) a new value."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from toolkit._tensor.base import BOOL, FLOATS, INTS, TensorBase
from toolkit._tensor.consts import scalar
from toolkit._tensor.elementwise import WHERE
from toolkit._tensor.indexing import broadcast
from toolkit._tensor.promote import cast
from toolkit._tensor.state import STATE
from toolkit._tensor.tape import Leaf, Record
from toolkit._tensor.views import Alias
from toolkit._tensor.writes import WRITES
from toolkit.errors import DTypeError, InvalidArgumentError, ShapeError
from toolkit.ops.dispatch import handle
from toolkit.runtime import _core

if TYPE_CHECKING:
    from toolkit.tensor import Tensor


def _overwrite(t: Any, value: Any) -> Any:
    """Writes a value into the memory that others see; what a tape saved there becomes invalid."""
    old = t._value
    old.copy_from(value)
    WRITES.note(old)
    return old.reshaped(list(old.shape))


def _held(value: Any, source: Any) -> bool:
    """Whether a value lies in the memory of the tensor that it was taken from."""
    return source is not None and bool(value.memory == source._value.memory)


def refuse_leaf(t: Any) -> None:
    """Raises where a write would change a leaf that requires a gradient."""
    if not STATE.grad or STATE.trace is not None:
        return
    root = t._root()
    detached = False
    v = t
    while v._base is not None:
        detached = detached or isinstance(v._view, Alias)
        v = v._base
    if isinstance(root._node, Leaf) and not detached:
        kind = "a leaf Variable" if root is t else "a view of a leaf Variable"
        raise InvalidArgumentError(
            f"{kind} that requires grad is being used in an in-place operation."
        )


@contextmanager
def journal() -> Iterator[None]:
    """Takes back the writes of the block at its end: what runs again must not write twice."""
    outer, STATE.journal = STATE.journal, {}
    try:
        yield
    finally:
        written, STATE.journal = STATE.journal, outer
        for root, before, copy in written.values():
            for name, value in before.items():
                setattr(root, name, value)
            if copy is not None:
                root._value.copy_from(copy)
            root._version += 1


def _note_write(t: Any) -> None:
    root = t._root()
    if id(root) not in STATE.journal and type(root._value) is _core.Tensor:
        before = {name: getattr(root, name) for name in ("_value", "_node", "_out")}
        STATE.journal[id(root)] = (root, before, root._value.clone() if root._shared else None)


def assign(t: Any, new: Any, source: Any = None) -> None:
    """Gives `t` the value of `new` (equal shape and type); bases and other views follow.

    `source` is the tensor that `new` may be, or may share its memory with: elements are taken, and
    no memory.
    """
    refuse_leaf(t)
    if STATE.journal is not None:
        _note_write(t)
    if STATE.trace is not None:
        new = STATE.trace.will_write(t, new)
    _put(t, new, STATE.grad, source)


def _put(t: Any, new: Any, grad: bool, source: Any = None) -> None:
    if t._base is None:
        value, old = new._get(), t._value
        if type(value) is _core.Tensor and type(old) is _core.Tensor:
            if t._shared:
                value = _overwrite(t, value)
            elif _held(value, source) or (new if new._base is None else new._root())._shared:
                value = value.clone()  # Else a write to one of them would be one to both.
        t._value = value
        if grad:
            if new._node is None and isinstance(t._node, Record) and STATE.trace is None:
                # The tensor still requires a gradient, as PyTorch's: what was overwritten gets 0.
                sources = (scalar(True, BOOL), value, old)
                t._node = Record(WHERE, (None, None, t._node), (0, 0, t._out), sources, (value,))
                t._out = 0
            elif not isinstance(t._node, Leaf) or new._node is not None:
                t._node, t._out = new._node, new._out
        elif isinstance(t._node, Record):
            # Outside the tape the new value takes the place of the old one.
            kept = None if t._node.freed else (t._node.outputs[t._out],)
            t._node = Record(handle("Identity"), (t._node,), (t._out,), kept, (value,))
            t._out = 0
        t._version += 1
        return
    base = t._base
    t._same_base()
    base._base is not None and base._sync()
    alias = isinstance(t._view, Alias)
    before = STATE.grad
    STATE.grad = grad and not alias
    try:
        _put(base, t._view.put(base, new), grad and not alias, source)
    finally:
        STATE.grad = before
    root = t._root()
    if root._shared and not alias:
        t._sync()
    else:
        t._value = new._get()
        t._node, t._out = (new._node, new._out) if grad else (t._node, t._out)
    # What has no node of its own takes that of its root when it is used next.
    again = grad and new._node is None and root._node is not None and STATE.trace is None
    t._seen = -1 if again else root._version


def put_value(t: Any, new: Any) -> None:
    """Gives `t` the value of `new` outside the tape: a program has computed it."""
    _put(t, new, False)


def _differ(m: Any, n: Any) -> bool:
    return type(m) is int and type(n) is int and m != n


def _result(t: Any, new: Any) -> Any:
    """A result as `t` can hold it.

    Raises:
        DTypeError: the result's category is higher, as float is above int.
        ShapeError: the result is larger.
    """
    code, got = t._value.dtype, new._value.dtype
    if code != got:
        low = (code in INTS and got in FLOATS) or (code == BOOL and got != BOOL)
        if low:
            raise DTypeError(
                f"result type {new.dtype.name} can't be cast to the desired output type "
                f"{t.dtype.name}"
            )
        new = cast(new, code)
    if new.dim() != t.dim() or any(map(_differ, new.shape, t.shape)):
        raise ShapeError(
            f"output with shape {list(t.shape)} doesn't match the broadcast shape {list(new.shape)}"
        )
    return new


def _inplace(name: str) -> Any:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        refuse_leaf(self)
        assign(self, _result(self, getattr(self, name)(*args, **kwargs)))
        return self

    method.__name__ = method.__qualname__ = name + "_"
    method.__doc__ = f"`{name}`, written into this tensor."
    return method


def _operator(name: str) -> Any:
    def method(self: Any, other: Any) -> Any:
        new = getattr(self, name)(other)
        if new is NotImplemented:
            return NotImplemented
        refuse_leaf(self)
        assign(self, _result(self, new))
        return self

    method.__name__ = method.__qualname__ = "__i" + name[2:]
    return method


# Methods of which `name_` writes the result of `name` into the tensor.
NAMES = [
    "abs",
    "absolute",
    "acos",
    "acosh",
    "add",
    "addbmm",
    "addcdiv",
    "addcmul",
    "addmm",
    "addmv",
    "addr",
    "arccos",
    "arccosh",
    "arcsin",
    "arcsinh",
    "arctan",
    "arctan2",
    "arctanh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "baddbmm",
    "bitwise_and",
    "bitwise_left_shift",
    "bitwise_not",
    "bitwise_or",
    "bitwise_right_shift",
    "bitwise_xor",
    "ceil",
    "clamp",
    "clamp_max",
    "clamp_min",
    "clip",
    "conj_physical",
    "copysign",
    "cos",
    "cosh",
    "cumprod",
    "cumsum",
    "deg2rad",
    "digamma",
    "div",
    "divide",
    "eq",
    "erf",
    "erfc",
    "erfinv",
    "exp",
    "exp2",
    "expm1",
    "fix",
    "float_power",
    "floor",
    "floor_divide",
    "fmod",
    "frac",
    "gcd",
    "ge",
    "greater",
    "greater_equal",
    "gt",
    "heaviside",
    "hypot",
    "i0",
    "igamma",
    "igammac",
    "index_add",
    "index_copy",
    "index_fill",
    "index_put",
    "index_reduce",
    "lcm",
    "ldexp",
    "le",
    "lerp",
    "less",
    "less_equal",
    "lgamma",
    "log",
    "log10",
    "log1p",
    "log2",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "logit",
    "lt",
    "masked_fill",
    "masked_scatter",
    "mul",
    "multiply",
    "mvlgamma",
    "nan_to_num",
    "ne",
    "neg",
    "negative",
    "nextafter",
    "not_equal",
    "polygamma",
    "pow",
    "put",
    "rad2deg",
    "reciprocal",
    "relu",
    "remainder",
    "renorm",
    "round",
    "rsqrt",
    "scatter",
    "scatter_add",
    "scatter_reduce",
    "sgn",
    "sigmoid",
    "sign",
    "sin",
    "sinc",
    "sinh",
    "sqrt",
    "square",
    "sub",
    "subtract",
    "tan",
    "tanh",
    "tril",
    "triu",
    "true_divide",
    "trunc",
    "xlogy",
]


def complete(cls: Any) -> None:
    """Gives a class the in-place forms of the methods that it has."""
    for name in NAMES:
        if hasattr(cls, name) and not hasattr(cls, name + "_"):
            setattr(cls, name + "_", _inplace(name))


class Inplace(TensorBase):
    """Methods that end in an underscore, and `+=` and its like."""

    __iadd__, __isub__, __imul__ = _operator("__add__"), _operator("__sub__"), _operator("__mul__")
    __itruediv__, __ifloordiv__ = _operator("__truediv__"), _operator("__floordiv__")
    __imod__, __ipow__ = _operator("__mod__"), _operator("__pow__")
    __iand__, __ior__, __ixor__ = _operator("__and__"), _operator("__or__"), _operator("__xor__")
    __ilshift__, __irshift__ = _operator("__lshift__"), _operator("__rshift__")

    def _assign(self, new: Any, source: Any = None) -> None:
        assign(self, new, source)

    def copy_(self, source: Any, non_blocking: bool = False) -> Tensor:
        """Takes the elements of `source`, broadcast and cast."""
        from toolkit._tensor.factories import as_tensor

        given: Any = as_tensor(source)
        assign(self, broadcast(cast(given, self._value.dtype), self.shape), given)
        return self  # type: ignore[return-value]

    def fill_(self, value: Any) -> Tensor:
        """One value everywhere."""
        from toolkit._tensor.factories import full

        if isinstance(value, TensorBase):
            return self.copy_(value)
        new = full(self.shape, value, dtype=self.dtype)
        assign(self, new)
        return self  # type: ignore[return-value]

    def zero_(self) -> Tensor:
        """Zeros."""
        return self.fill_(0)

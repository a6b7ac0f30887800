"""In-place methods: a write gives the tensor (and what it is a view of) a new value."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from toolkit._tensor.base import BOOL, FLOATS, INTS, TensorBase
from toolkit._tensor.indexing import broadcast
from toolkit._tensor.promote import cast, operand
from toolkit._tensor.shapes import normalize_dim
from toolkit._tensor.state import STATE
from toolkit._tensor.tape import Leaf, Record
from toolkit._tensor.views import Alias
from toolkit.errors import DTypeError, InvalidArgumentError, ShapeError
from toolkit.ops.dispatch import apply, handle
from toolkit.runtime import _core

if TYPE_CHECKING:
    from toolkit.tensor import Tensor

POISONED: dict[int, Any] = {}  # Values on tapes whose memory was overwritten, by id.


def _overwrite(t: Any, value: Any) -> Any:
    """Writes a value into the memory that others see; what a tape saved there becomes invalid."""
    old = t._value
    for key in [k for k, v in POISONED.items() if sys.getrefcount(v) <= 3]:
        del POISONED[key]
    if sys.getrefcount(old) > 3:
        POISONED[id(old)] = old
    old.copy_from(value)
    return old.reshaped(list(old.shape))


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


def assign(t: Any, new: Any) -> None:
    """Gives `t` the value of `new` (equal shape and type); bases and other views follow."""
    refuse_leaf(t)
    if STATE.journal is not None:
        _note_write(t)
    if STATE.trace is not None:
        new = STATE.trace.will_write(t, new)
    _put(t, new, STATE.grad)


def _put(t: Any, new: Any, grad: bool) -> None:
    if t._base is None:
        value = new._get()
        if type(value) is _core.Tensor and type(t._value) is _core.Tensor:
            if t._shared:
                value = _overwrite(t, value)
            elif (new if new._base is None else new._root())._shared:  # It will be written over.
                value = value.clone()
        t._value = value
        if grad:
            if not isinstance(t._node, Leaf) or new._node is not None:
                t._node, t._out = new._node, new._out
        elif isinstance(t._node, Record):
            # Outside the tape the new value takes the place of the old one.
            old = None if t._node.freed else (t._node.outputs[t._out],)
            t._node = Record(handle("Identity"), (t._node,), (t._out,), old, (value,))
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
        _put(base, t._view.put(base, new), grad and not alias)
    finally:
        STATE.grad = before
    root = t._root()
    if root._shared and not alias:
        t._sync()
    else:
        t._value = new._get()
        t._node, t._out = (new._node, new._out) if grad else (t._node, t._out)
    t._seen = root._version


def put_value(t: Any, new: Any) -> None:
    """Gives `t` the value of `new` outside the tape: a program has computed it."""
    _put(t, new, False)


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
    if new.shape != t.shape:
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

    def _assign(self, new: Any) -> None:
        assign(self, new)

    def copy_(self, source: Any, non_blocking: bool = False) -> Tensor:
        """Takes the elements of `source`, broadcast and cast."""
        from toolkit._tensor.factories import as_tensor

        value: Any = cast(as_tensor(source), self._value.dtype)
        assign(self, broadcast(value, self.shape))
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

    def _scatter(self, dim: int, index: Any, source: Any, reduction: str | None) -> Tensor:
        h = handle("ScatterElements", axis=normalize_dim(dim, self.dim()), reduction=reduction)
        if not isinstance(source, TensorBase):
            from toolkit._tensor.factories import full

            source = full(index.shape, source, dtype=self.dtype)
        elif source.shape != index.shape:
            source = source[tuple(slice(0, n) for n in index.shape)]  # type: ignore[index]
        return apply(h, self, index, operand(source, self._value.dtype))

    def scatter(
        self, dim: int, index: Any, src: Any = None, *, value: Any = None, reduce: str | None = None
    ) -> Tensor:
        """A copy with elements of `src` put at the places `index` along `dim`."""
        kind = None if reduce is None else {"add": "add", "multiply": "mul"}[reduce]
        return self._scatter(dim, index, value if src is None else src, kind)

    def scatter_add(self, dim: int, index: Any, src: Any) -> Tensor:
        """A copy with elements of `src` added at the places `index` along `dim`."""
        return self._scatter(dim, index, src, "add")

    def scatter_reduce(
        self, dim: int, index: Any, src: Any, reduce: str, *, include_self: bool = True
    ) -> Tensor:
        """A copy with elements of `src` reduced into the places `index` (sum, prod, amax, amin)."""
        if not include_self or reduce not in ("sum", "prod", "amax", "amin"):
            raise InvalidArgumentError(
                "scatter_reduce: reduce 'sum', 'prod', 'amax' or 'amin' with include_self=True is "
                f"required, got {reduce!r}."
            )
        kind = {"sum": "add", "prod": "mul", "amax": "max", "amin": "min"}[reduce]
        return self._scatter(dim, index, src, kind)

    def _index(self, dim: int, index: Any, source: Any, reduction: str | None) -> Tensor:
        d = normalize_dim(dim, self.dim())
        places = index.reshape((1,) * d + (-1,) + (1,) * (self.dim() - d - 1))
        shape = (*self.shape[:d], index.shape[0], *self.shape[d + 1 :])
        source = broadcast(source, shape)
        return self._scatter(d, places.expand(shape), source, reduction)

    def index_add(self, dim: int, index: Any, source: Any, *, alpha: Any = 1) -> Tensor:
        """A copy with slices of `source` added at the indices `index` of a dimension."""
        return self._index(dim, index, source if alpha == 1 else source * alpha, "add")

    def index_copy(self, dim: int, index: Any, source: Any) -> Tensor:
        """A copy with slices of `source` put at the indices `index` of a dimension."""
        return self._index(dim, index, source, None)

    def index_fill(self, dim: int, index: Any, value: Any) -> Tensor:
        """A copy with one value at the indices `index` of a dimension."""
        from toolkit._tensor.factories import as_tensor

        return self._index(dim, index, cast(as_tensor(value), self._value.dtype), None)

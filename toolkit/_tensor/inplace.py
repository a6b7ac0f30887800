"""In-place methods: a write gives the tensor (and what it is a view of) a new value."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from toolkit import random
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


def _refuse_leaf(t: Any) -> None:
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
    _refuse_leaf(t)
    if STATE.journal is not None:
        _note_write(t)
    if STATE.trace is not None:
        new = STATE.trace.will_write(t, new)
    _put(t, new, STATE.grad)


def _put(t: Any, new: Any, grad: bool) -> None:
    if t._base is None:
        value = new._get()
        if t._shared and type(value) is _core.Tensor and type(t._value) is _core.Tensor:
            value = _overwrite(t, value)
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
        _refuse_leaf(self)
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
        _refuse_leaf(self)
        assign(self, _result(self, new))
        return self

    method.__name__ = method.__qualname__ = "__i" + name[2:]
    return method


class Inplace(TensorBase):
    """Methods that end in an underscore, and `+=` and its like."""

    __iadd__, __isub__, __imul__ = _operator("__add__"), _operator("__sub__"), _operator("__mul__")
    __itruediv__, __ifloordiv__ = _operator("__truediv__"), _operator("__floordiv__")
    __imod__, __ipow__ = _operator("__mod__"), _operator("__pow__")
    __iand__, __ior__, __ixor__ = _operator("__and__"), _operator("__or__"), _operator("__xor__")

    add_, sub_, mul_, div_ = _inplace("add"), _inplace("sub"), _inplace("mul"), _inplace("div")
    pow_, remainder_, floor_divide_ = (
        _inplace("pow"),
        _inplace("remainder"),
        _inplace("floor_divide"),
    )
    neg_, abs_, sign_, reciprocal_ = (
        _inplace("neg"),
        _inplace("abs"),
        _inplace("sign"),
        _inplace("reciprocal"),
    )
    exp_, log_, sqrt_, rsqrt_ = (
        _inplace("exp"),
        _inplace("log"),
        _inplace("sqrt"),
        _inplace("rsqrt"),
    )
    sin_, cos_, tanh_, sigmoid_ = (
        _inplace("sin"),
        _inplace("cos"),
        _inplace("tanh"),
        _inplace("sigmoid"),
    )
    relu_, clamp_, clip_ = _inplace("relu"), _inplace("clamp"), _inplace("clip")
    clamp_min_, clamp_max_ = _inplace("clamp_min"), _inplace("clamp_max")
    floor_, ceil_, round_, trunc_ = (
        _inplace("floor"),
        _inplace("ceil"),
        _inplace("round"),
        _inplace("trunc"),
    )
    square_, erf_, masked_fill_ = _inplace("square"), _inplace("erf"), _inplace("masked_fill")
    lerp_, addcmul_, addcdiv_ = _inplace("lerp"), _inplace("addcmul"), _inplace("addcdiv")
    tril_, triu_, index_put_ = _inplace("tril"), _inplace("triu"), _inplace("index_put")
    logical_not_, bitwise_not_ = _inplace("logical_not"), _inplace("bitwise_not")
    scatter_, scatter_add_ = _inplace("scatter"), _inplace("scatter_add")
    index_add_, index_copy_, index_fill_ = (
        _inplace("index_add"),
        _inplace("index_copy"),
        _inplace("index_fill"),
    )
    cumsum_ = _inplace("cumsum")

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

    def uniform_(self, a: float = 0.0, b: float = 1.0, *, generator: Any = None) -> Tensor:
        """Uniform numbers in [a, b)."""
        u: Any = random.uniform(self.shape, self._value.dtype, generator)
        assign(self, u if (a, b) == (0.0, 1.0) else u * (b - a) + a)
        return self  # type: ignore[return-value]

    def normal_(self, mean: float = 0.0, std: float = 1.0, *, generator: Any = None) -> Tensor:
        """Normal numbers."""
        z: Any = random.normal(self.shape, self._value.dtype, generator)
        assign(self, z if (mean, std) == (0.0, 1.0) else z * std + mean)
        return self  # type: ignore[return-value]

    def bernoulli_(self, p: float = 0.5, *, generator: Any = None) -> Tensor:
        """1 with probability p, else 0."""
        u: Any = random.uniform(self.shape, 1, generator)
        assign(self, cast(u < p, self._value.dtype))
        return self  # type: ignore[return-value]

    def random_(self, low: int = 0, high: int | None = None) -> Tensor:
        """Integers in [low, high)."""
        from toolkit._tensor.draws import randint

        if high is None:
            low, high = (0, low) if low else (0, 2**24)
        assign(self, randint(low, high, tuple(self.shape), dtype=self.dtype))
        return self  # type: ignore[return-value]

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

"""The state of a tensor: its value, its place on the tape, and the tensor it is a view of.

Arithmetic and methods are deliberately absent; they come from the mixins that `toolkit.tensor`
puts together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from toolkit import dtypes
from toolkit._tensor.state import STATE
from toolkit._tensor.tape import Leaf, Record, renewed
from toolkit.errors import DataDependentError, InvalidArgumentError
from toolkit.runtime import _core

if TYPE_CHECKING:
    from toolkit.tensor import Tensor

FLOATS = frozenset((1, 10, 11, 16))  # ONNX element types that gradients pass through.
INTS = frozenset((2, 3, 4, 5, 6, 7, 12, 13))
BOOL, INT64, FLOAT32 = 9, 7, 1


class Size(tuple[Any, ...]):
    """A shape: a tuple of the dimensions."""

    __slots__ = ()

    def numel(self) -> Any:
        """The number of elements."""
        n: Any = 1
        for d in self:
            n = n * d
        return n

    def __repr__(self) -> str:
        return f"toolkit.Size({list(self)!r})"

    def __getitem__(self, item: Any) -> Any:
        value = tuple.__getitem__(self, item)
        return Size(value) if type(item) is slice else value

    def __add__(self, other: Any) -> Size:
        return Size(tuple.__add__(self, tuple(other)))


class TensorBase:
    """A value (`_core.Tensor`, or `ir.Value` inside a trace) with its tape and view links."""

    _value: Any
    _node: Any = None  # Record or Leaf; None: no gradient.
    _out: int = 0  # Which output of the record.
    _base: Any = None  # The tensor that this one is a view of.
    _view: Any = None  # How it was taken; see `toolkit._tensor.views`.
    _seen: int = 0  # The root's version that `_value` belongs to.
    _version: int = 0  # Of a root: how many writes it has taken.
    _shared: bool = False  # Of a root: numpy or DLPack sees the memory, so writes go into it.
    _generation: int = 0  # How often its shape was changed in place.
    _frozen: Any = None  # The value whose memory may only be read; a write gives it another.
    _born: Any = None  # The trace that created it.
    _grad: Any = None
    _initial: Any = None  # How it was filled at first; see `toolkit._tensor.initial`.

    # -- views ---------------------------------------------------------------------------------

    def _root(self) -> Any:
        t = self
        while t._base is not None:
            t = t._base
        return t

    def _share(self) -> None:
        """Lets programs write into the root's memory, which is copied if it may only be read."""
        root = self._root()
        if root._frozen is not None and root._value is root._frozen:
            root._value, root._frozen = root._value.clone(), None
            root._version += 1
        root._shared = True

    def _sync(self) -> None:
        """Takes a view anew if its root was written to since."""
        root = self._root()
        # Memory that numpy or a program shares may change unseen; a part of it is never stale.
        if self._seen != root._version or (
            root._shared and STATE.trace is None and self._value.memory != root._value.memory
        ):
            self._same_base()
            self._base._base is not None and self._base._sync()
            fresh = self._view.take(self._base)
            self._value = fresh._value
            # Only the memory changed: hooks and checkpoints know the record that there was.
            kept = type(self._node) is Leaf and self._node.tensor() is self  # Made a leaf itself.
            if not kept and (self._seen != root._version or not renewed(self._node, fresh._node)):
                self._node, self._out = fresh._node, fresh._out
                if isinstance(fresh._node, Record):
                    fresh._node.label = self._view.label
            self._seen = root._version

    def _same_base(self) -> None:
        if self._view.generation != self._base._generation:
            raise InvalidArgumentError(
                "view: a base of the shape that it was taken of is required, got one that an "
                "in-place method (squeeze_, transpose_, resize_) has changed since."
            )

    def _get(self) -> Any:
        """The up-to-date value."""
        if self._base is not None:
            self._sync()
        return self._value

    def _concrete(self, what: str) -> _core.Tensor:
        """The value as a core tensor; an error while tracing."""
        value = self._get()
        if type(value) is not _core.Tensor:
            from toolkit.source_lines import at_user_line

            raise DataDependentError(
                f"{what}: a value is required, got a symbolic tensor of a trace. "
                "The result of a graph is not known while it is recorded; use where() or "
                "operations instead of Python control flow, and cond() or while_loop() where only "
                f"one side may run.{at_user_line()}"
            )
        if STATE.trace is not None:
            STATE.trace.look(self)
        return value

    # -- what it is ----------------------------------------------------------------------------

    @property
    def shape(self) -> Size:
        """The dimensions; of a symbolic tensor, unknown ones are `SymInt`."""
        value = self._value
        if type(value) is _core.Tensor:
            return Size(value.shape)
        from toolkit.tracing import symbolic_shape

        return symbolic_shape(self)

    @property
    def dtype(self) -> dtypes.DType:
        """The element type."""
        return dtypes.BY_ONNX[self._value.dtype]

    def dim(self) -> int:
        """The number of dimensions."""
        value = self._value
        if type(value) is _core.Tensor:
            return value.ndim
        if value.shape is None:
            raise InvalidArgumentError(
                f"dim: a known rank is required, got the symbolic tensor {value.name} without one."
            )
        return len(value.shape)

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return self.dim()

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow to this tensor."""
        if self._base is not None:
            self._sync()
        return self._node is not None

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Marks a leaf for gradients (or unmarks it).

        Raises:
            InvalidArgumentError: the tensor is not a leaf, or its element type is not floating.
        """
        if requires_grad and self._value.dtype not in FLOATS:
            raise InvalidArgumentError(
                "only Tensors of floating point dtype can require gradients, got "
                f"{self.dtype.name}."
            )
        if isinstance(self._node, Record):
            if not requires_grad:
                raise InvalidArgumentError(
                    "you can only change requires_grad flags of leaf variables. If you want to "
                    "use a computed variable in a subgraph that doesn't require differentiation "
                    "use var_no_grad = var.detach()."
                )
        elif requires_grad:
            self._node = self._node or Leaf(self)
        else:
            self._node = None
        return self  # type: ignore[return-value]

    @property
    def is_leaf(self) -> bool:
        """Whether the user created it, rather than a recorded operation."""
        return not isinstance(self._node, Record)

    @property
    def grad_fn(self) -> Record | None:
        """The record that made it, None for a leaf."""
        if self._base is not None:
            self._sync()
        return self._node if isinstance(self._node, Record) else None

    @property
    def output_nr(self) -> int:
        """Which output of `grad_fn` it is."""
        return self._out

    @property
    def grad(self) -> Any:
        """The accumulated gradient, None before the first `backward()`."""
        return self._grad

    @grad.setter
    def grad(self, value: Any) -> None:
        if value is not None:
            if not isinstance(value, TensorBase):
                raise TypeError(
                    f"assigned grad expected to be a Tensor or None but got {type(value).__name__}"
                )
            if value.shape != self.shape:
                raise InvalidArgumentError(
                    f"assigned grad has data of a different size: {list(self.shape)} is required, "
                    f"got {list(value.shape)}."
                )
            if value._value.dtype != self._value.dtype:
                raise InvalidArgumentError(
                    "assigned grad has data of a different type: "
                    f"{self.dtype.name} is required, got {value.dtype.name}."
                )
        self._grad = value


def prime(cls: type[TensorBase]) -> None:
    """Makes the interpreter keep the state of a class's instances in place, without a dict each.

    CPython lays instances out by the attributes that the first few of a class have had.
    """
    t: Any = object.__new__(cls)
    for name in ("_value", "_node", "_out", "_base", "_view", "_seen", "_version", "_shared",
                 "_born", "_grad", "_initial", "_generation", "_frozen"):  # fmt: skip
        setattr(t, name, None)


tensor_class: Any = TensorBase  # What operations return: toolkit.tensor.Tensor, once it exists.


def wrap(value: Any) -> Tensor:
    """A new tensor of a value, outside the tape."""
    t: Any = object.__new__(tensor_class)
    t._value = value
    if STATE.trace is not None:
        t._born = STATE.trace
    return t

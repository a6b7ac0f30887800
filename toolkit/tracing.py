"""Tracing: the same Python code on symbolic tensors records one ONNX graph.

`with Trace() as t: y = model(t.input("x", tk.float32, ("batch", 3)))`. Tensors that existed before
become initializers; writes to them are kept in `t.mutations`; what is computed from constants alone
is computed at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from toolkit._tensor.base import Size, TensorBase, wrap
from toolkit._tensor.consts import Const
from toolkit._tensor.state import STATE
from toolkit._tensor.symint import SymInt, symbolic_len
from toolkit._tensor.views import Alias
from toolkit.dtypes import DType
from toolkit.errors import InvalidArgumentError
from toolkit.runtime import _core

if TYPE_CHECKING:
    import onnx_ir as ir

    from toolkit.random import Generator
    from toolkit.tensor import Tensor

_INLINE = 256  # Elements: constants up to this size are Constant nodes, larger ones initializers.


class Region:
    """A part of a trace that is recorded in a graph of its own.

    Attributes:
        outer: the graph around it.
        graph: the region's graph.
        written: tensors that were written to inside, by id.
    """

    def __init__(self, outer: ir.Graph) -> None:
        self.outer = outer
        self.graph = outer
        self.written: dict[int, Any] = {}


class Trace:
    """Records what happens inside its `with` block.

    Attributes:
        graph: the graph as it grows.
        mutations: after the block, (tensor, its new value) for each tensor from outside that was
            written to; the tensor itself has its old value back.
    """

    def __init__(self, name: str = "main") -> None:
        from toolkit.graph.trace import Recorder
        from toolkit.runtime.passes.region import RANDOM

        self._random = RANDOM  # Never computed ahead: each run draws anew.
        self.recorder = Recorder(name)
        self.mutations: dict[int, tuple[Any, ir.Value]] = {}
        self._tensors: dict[int, tuple[Any, ir.Value]] = {}
        self._names: dict[int, tuple[Any, str]] = {}
        self._consts: dict[int, tuple[Any, ir.Value]] = {}
        self._saved: dict[int, tuple[Any, dict[str, Any]]] = {}
        self._draws: dict[int, tuple[Any, int]] = {}
        self._dims: dict[Any, Any] = {}
        self.autocast = False  # Whether `autocast` made casts.
        self.looked = False  # Whether Python read the value of a tensor.
        self.looked_at = ""  # The user's line that first read one of a tensor from outside.
        self._main = self.recorder  # Holds what comes from outside.
        self._regions: list[Region] = []
        self._length = ExitStack()  # What `len` means inside.

    @property
    def graph(self) -> ir.Graph:
        """The graph as it grows."""
        return self.recorder.graph

    @property
    def outer_graphs(self) -> list[ir.Graph]:
        """Inside a `region`, the graphs around it, outermost first."""
        return [r.outer for r in self._regions]

    @contextmanager
    def region(self) -> Iterator[Region]:
        """What is recorded inside goes into a graph of its own, which may read values outside.

        Nothing but the caller may use values of that graph afterwards: it writes them out in
        another form.
        """
        before = self.recorder, self._consts, self._dims
        made = Region(self.graph)
        self.recorder, self._consts, self._dims = self.recorder.inner(), {}, {}
        made.graph = self.graph
        self._regions.append(made)
        try:
            yield made
        finally:
            self._regions.pop()
            self.recorder, self._consts, self._dims = before

    def __enter__(self) -> Trace:
        if STATE.trace is not None:
            raise InvalidArgumentError("Trace: traces must not be nested, got one inside another.")
        STATE.trace = self
        self._length.enter_context(symbolic_len())
        return self

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        try:
            if kind is None:
                self._advance_generators()
        finally:
            self._length.close()
            STATE.trace = None
            for key, (tensor, before) in self._saved.items():
                value = tensor._value
                if type(value) is not _core.Tensor:
                    self.mutations[key] = (tensor, value)
                for name in ("_value", "_node", "_out", "_version"):
                    setattr(tensor, name, before[name])
                tensor._version += 1  # Views taken inside hold symbolic values.

    # -- what comes in -------------------------------------------------------------------------

    def input(self, name: str, dtype: DType, shape: Sequence[int | str | None]) -> Tensor:
        """A symbolic graph input.

        Args:
            name: its name in the graph.
            dtype: its element type.
            shape: sizes; a string names a dynamic dimension.
        """
        return wrap(self.recorder.input(name, dtype.onnx, list(shape)))

    def name_tensor(self, tensor: Any, name: str) -> None:
        """The name that a tensor from outside gets as an initializer."""
        self._names[id(tensor)] = (tensor, name)

    def value_of(self, tensor: Any) -> ir.Value:
        """The initializer of a tensor from outside; it becomes one if it is not yet."""
        found = self._tensors.get(id(tensor))
        if found is None:
            saved = self._saved.get(id(tensor))
            value = tensor._value if saved is None else saved[1]["_value"]
            if type(value) is not _core.Tensor:
                return value
            from toolkit.graph.build import mark_variable

            named = self._names.get(id(tensor))
            name = named[1] if named else self._main.fresh("constant")
            if not named:
                self._main._names.discard(name)
            made = mark_variable(self._main.initializer(name, _array(value)))
            found = (tensor, made)
            self._tensors[id(tensor)] = found
        return found[1]

    def initializers(self) -> Iterable[tuple[Any, ir.Value]]:
        """(tensor, initializer) of each tensor from outside that the graph reads.

        The caller may take their memory as a program's state, so from now on writes to these
        tensors go into it.
        """
        for tensor, value in self._tensors.values():
            tensor._share()
            yield tensor, value

    def captured(self) -> Iterable[tuple[Any, ir.Value]]:
        """(tensor, initializer) of each tensor from outside, whose memory stays its own."""
        return self._tensors.values()

    def look(self, tensor: Any) -> None:
        """Called where Python reads the value of a tensor, which the graph then takes for fixed."""
        self.looked = True
        if not self.looked_at and tensor._born is not self:
            from toolkit.source_lines import at_user_line

            self.looked_at = at_user_line()

    # -- operations ----------------------------------------------------------------------------

    def apply(self, h: Any, inputs: tuple[Any, ...], outputs: int) -> tuple[Any, ...]:
        """One operation: a node, or at once when all inputs are constants made in this trace."""
        if h.op_type not in self._random and all(self._is_constant(t) for t in inputs):
            from toolkit.ops.dispatch import apply_many

            STATE.trace = None
            try:
                results = apply_many(h, inputs, outputs)
            finally:
                STATE.trace = self
            for r in results:
                if r is not None:
                    r._born = self
            return results
        values = [self.convert(t) for t in inputs]
        made = self.recorder.add(h.op_type, h.domain, values, h.attributes, outputs)
        if not STATE.grad:
            made[0].producer().meta["stop_gradient"] = True  # type: ignore[union-attr]
        return tuple(wrap(v) for v in made)

    def detached(self, t: Any) -> Tensor:
        """The same value, where autodiff stops."""
        if self._is_constant(t):
            return wrap(t._get())
        (value,) = self.recorder.add("Identity", "", [self.convert(t)], {}, 1)
        value.producer().meta["stop_gradient"] = True  # type: ignore[union-attr]
        return wrap(value)

    def _is_constant(self, t: Any) -> bool:
        if t is None or type(t) is Const:
            return True
        return t._born is self and type(t._get()) is _core.Tensor

    def convert(self, t: Any) -> Any:
        """An operand as a value of the graph."""
        if t is None:
            return None
        if type(t) is Const:
            return self._constant(t, t._value)
        if t._base is not None and t._born is not self:
            if isinstance(t._view, Alias):
                if t._base.requires_grad:  # Detached outside: no gradient flows to the base.
                    return self.detached(t._base)._value
                return self.convert(t._base)
            return self.convert(t._view.run(t._base))
        value = t._get()
        if type(value) is not _core.Tensor:
            graph = value.graph
            if graph is not None and graph is not self.graph and graph not in self.outer_graphs:
                raise InvalidArgumentError(
                    f"Trace: values of this trace are required, got '{value.name}' of another one."
                )
            return value
        return self._constant(t, value) if t._born is self else self.value_of(t)

    def _constant(self, owner: Any, value: Any) -> Any:
        found = self._consts.get(id(value))
        if found is None:
            array = _array(value)
            if array.size <= _INLINE:
                made = self.recorder.builder.const(array)
                if made.name is None:
                    made.name = self.recorder.fresh("constant")
            else:
                name = self._main.fresh("constant")
                self._main._names.discard(name)
                made = self._main.initializer(name, array)
            found = self._consts[id(value)] = (value, made)
        return found[1]

    def will_write(self, t: Any, new: Any) -> Any:
        """Called before a write: keeps the value that the trace's end puts back."""
        root = t._root()
        if self._regions:
            self._regions[-1].written.setdefault(id(root), root)
        if root._born is self or id(root) in self._saved:
            return new
        if type(root._value) is not _core.Tensor:
            return new
        before = {name: getattr(root, name) for name in ("_value", "_node", "_out", "_version")}
        self.value_of(root)
        self._saved[id(root)] = (root, before)
        if type(new._get()) is _core.Tensor:
            return wrap(self.convert(new))
        return new

    def is_symbolic(self, t: Any) -> bool:
        """Whether a tensor's value is one of a graph."""
        return type(t._value) is not _core.Tensor

    # -- random numbers ------------------------------------------------------------------------

    def draw(self, generator: Generator) -> tuple[Any, int]:
        """The traced state and the next call index."""
        state = generator.state
        found = self._draws.get(id(state), (state, 0))
        self._draws[id(state)] = (state, found[1] + 1)
        return wrap(self.value_of(state)), found[1]

    def _advance_generators(self) -> None:
        for state, calls in self._draws.values():
            import numpy as np

            b = self.recorder.builder
            step = b.const(np.array([0, calls], np.uint64))
            new = wrap(b.Add(self.value_of(state), step))
            self.will_write(state, new)
            state._value = new._value

    # -- what goes out -------------------------------------------------------------------------

    def finish(self, outputs: Mapping[str, Any] | Sequence[Any]) -> ir.Model:
        """The model with these outputs.

        Args:
            outputs: tensors by name, or in order ("output", "output_1", ...).
        """
        if not isinstance(outputs, Mapping):
            outputs = {"output" if i == 0 else f"output_{i}": y for i, y in enumerate(outputs)}
        for name, y in outputs.items():
            if not isinstance(y, TensorBase):
                raise InvalidArgumentError(
                    f"Trace.finish: tensors are required as outputs, got {type(y).__name__} for "
                    f"'{name}'."
                )
        return self.recorder.model({name: self.convert(y) for name, y in outputs.items()})

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Names of nodes inside begin with this module's name."""
        self.recorder.scopes.append(name)
        try:
            yield
        finally:
            self.recorder.scopes.pop()

    # -- sizes ---------------------------------------------------------------------------------

    def dim(self, value: Any, axis: int) -> Any:
        """One dimension of a value as an int64 vector of length 1."""
        found = self._dims.get((id(value), axis))
        if found is None:
            made = self.recorder.builder.dim(value, axis)
            found = self._dims[id(value), axis] = (value, made)
        return found[1]


def current() -> Trace | None:
    """The trace that records now."""
    return STATE.trace


def _array(value: Any) -> Any:
    array = value.numpy()
    if value.dtype == 16:
        import ml_dtypes

        array = array.view(ml_dtypes.bfloat16)
    return array


def symbolic_shape(t: Any) -> Size:
    """The dimensions of a symbolic tensor: ints, and `SymInt` where they are dynamic."""
    value = t._value
    if value.shape is None:
        raise InvalidArgumentError(
            f"shape: a known rank is required, got the symbolic tensor '{value.name}' without one."
        )
    return Size(
        d if isinstance(d, int) else SymInt(value, axis, d.value)
        for axis, d in enumerate(value.shape.dims)
    )


def shape_vector(shape: Sequence[Any]) -> Any:
    """A shape with symbolic dimensions as an int64 vector."""
    trace = STATE.trace
    if trace is None:
        raise InvalidArgumentError("shape: a symbolic size has a meaning inside its trace only.")
    b = trace.recorder.builder
    parts: list[Any] = []
    run: list[int] = []
    for d in shape:
        if type(d) is SymInt:
            if run:
                parts.append(b.ints(run))
                run = []
            parts.append(d.value())
        else:
            run.append(int(d))
    if run:
        parts.append(b.ints(run))
    return wrap(parts[0] if len(parts) == 1 else b.Concat(*parts, axis=0))

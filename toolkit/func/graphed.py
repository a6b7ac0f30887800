"""A graph as a function on the tape.

Its gradient is appended to the same graph and compiled once. A call that is going to be
differentiated runs a program that also returns what the gradient reads, so nothing runs twice; for
derivatives of derivatives the gradient is a function of the inputs, recorded in its turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from toolkit._tensor.base import FLOATS, wrap
from toolkit._tensor.state import STATE
from toolkit._tensor.tape import FunctionRecord
from toolkit._tensor.writes import WRITES
from toolkit.errors import InvalidArgumentError
from toolkit.ops.dispatch import handle

if TYPE_CHECKING:
    import onnx_ir as ir


_IDENTITY = handle("Identity")


class Graphed:
    """Values of a graph as a function of others, compiled when it first runs.

    Gradients are appended to the same graph, which only grows.
    """

    def __init__(
        self, graph: ir.Graph, inputs: Sequence[ir.Value], outputs: Sequence[ir.Value]
    ) -> None:
        self.graph = graph
        self.inputs = list(inputs)
        self.outputs = list(outputs)
        self._program: Any = None
        self._gradients: dict[Any, tuple[Graphed, list[int]]] = {}
        self._reached: dict[Any, tuple[bool, ...]] = {}
        self._saving: dict[Any, Saving | None] = {}

    def __call__(self, values: Sequence[Any]) -> list[Any]:
        """Runs it on core tensors."""
        if self._program is None:
            from toolkit.runtime.lowering import lower

            self._program = lower(self.inputs, self.outputs).program.run
        return self._program(values)  # type: ignore[no-any-return]

    def reached(self, needs: tuple[int, ...]) -> tuple[bool, ...]:
        """For each output, whether a gradient flows from it to one of these inputs."""
        found = self._reached.get(needs)
        if found is None:
            from toolkit.autodiff.backward import dependents
            from toolkit.runtime.lowering import needed_nodes

            nodes = needed_nodes(self.outputs, dict.fromkeys(self.inputs, 0))
            active = dependents(nodes, [self.inputs[i] for i in needs])
            found = self._reached[needs] = tuple(v in active for v in self.outputs)
        return found

    def gradient(
        self, given: tuple[bool, ...], needs: tuple[int, ...]
    ) -> tuple[Graphed, list[int]]:
        """The function of the inputs and of cotangents that gives cotangents of inputs.

        Args:
            given: for each output, whether it has a cotangent.
            needs: the numbers of the inputs whose cotangents are wanted.

        Returns:
            The function, and the number of the input that each of its outputs belongs to.
        """
        found = self._gradients.get((given, needs))
        if found is None:
            import onnx_ir as ir

            from toolkit.autodiff.backward import gradients

            roots = [v for v, has in zip(self.outputs, given, strict=True) if has]
            cotangents = [
                ir.Value(name=f"d{i}", type=v.type, shape=v.shape) for i, v in enumerate(roots)
            ]
            made = gradients(self.graph, roots, cotangents, [self.inputs[i] for i in needs])
            pairs = [(i, g) for i, g in zip(needs, made, strict=True) if g is not None]
            graphed = Graphed(self.graph, [*self.inputs, *cotangents], [g for _, g in pairs])
            found = self._gradients[given, needs] = (graphed, [i for i, _ in pairs])
        return found

    def saving(self, needs: tuple[int, ...]) -> Saving | None:
        """Two programs for a call that is going to be differentiated once: forward and backward.

        None where no gradient flows to these inputs.
        """
        if needs not in self._saving:
            self._saving[needs] = self._split(needs) if any(self.reached(needs)) else None
        return self._saving[needs]

    def _split(self, needs: tuple[int, ...]) -> Saving:
        """Cuts a gradient at the values that the forward nodes compute."""
        from toolkit.graph.build import constant_of
        from toolkit.graph.subgraphs import reads
        from toolkit.runtime.lowering import lower, needed_nodes

        given = self.reached(needs)
        gradient, targets = self.gradient(given, needs)
        forward = set(needed_nodes(self.outputs, dict.fromkeys(self.inputs, 0)))
        backward = needed_nodes(gradient.outputs, dict.fromkeys(gradient.inputs, 0))
        wanted = [v for node in backward if node not in forward for v in reads(node)]
        known = set(gradient.inputs)
        touched = {*wanted, *gradient.outputs}
        read = [i for i, v in enumerate(self.inputs) if v in touched]
        kept = [
            v
            for v in dict.fromkeys([*wanted, *gradient.outputs])
            if v.producer() in forward and v not in known and constant_of(v) is None
        ]
        return Saving(
            given,
            targets,
            read,
            lower(self.inputs, [*self.outputs, *kept]).program.run,
            lower(
                [*kept, *(self.inputs[i] for i in read), *gradient.inputs[len(self.inputs) :]],
                gradient.outputs,
            ).program.run,
        )


class Saving(NamedTuple):
    """A function in two programs: values pass from one to the other.

    Attributes:
        given: for each output, whether it has a cotangent.
        targets: the inputs whose cotangents the second program gives.
        read: the inputs that the second program reads.
        forward: inputs -> outputs, values.
        backward: values, these inputs, cotangents -> cotangents of inputs.
    """

    given: tuple[bool, ...]
    targets: list[int]
    read: list[int]
    forward: Any
    backward: Any


def run(graphed: Graphed, tensors: Sequence[Any]) -> list[Any]:
    """Runs a function of tensors and records it on the tape where that is needed."""
    values, nodes = [], []
    for t in tensors:
        if t._base is not None:
            t._sync()
        values.append(t._value)
        nodes.append(t._node)
    saving = None
    if STATE.grad:
        needs = tuple(
            [i for i, n in enumerate(nodes) if n is not None and values[i].dtype in FLOATS]
        )
        saving = graphed.saving(needs) if needs else None
    if saving is None:
        return [wrap(v) for v in graphed(values)]
    results = saving.forward(values)
    count = len(graphed.outputs)
    outputs: list[Any] = [wrap(v) for v in results[:count]]
    slots = tuple([t._out for t in tensors])
    record = _StagedRecord(graphed, nodes, slots, values, saving, results[count:])
    for i, (y, depends) in enumerate(zip(outputs, saving.given, strict=True)):
        if depends and y._value.dtype in FLOATS:
            y._node, y._out = record, i
    return outputs


class _StagedRecord(FunctionRecord):
    """One run of a graph on the tape."""

    __slots__ = ("graphed", "kept", "saving")

    def __init__(
        self, graphed: Graphed, nodes: Sequence[Any], slots: tuple[int, ...],
        values: Sequence[Any], saving: Saving, kept: list[Any],
    ) -> None:  # fmt: skip
        outputs = tuple(range(len(graphed.outputs)))
        super().__init__(_IDENTITY, tuple(nodes), slots, tuple(values), outputs)
        self.graphed = graphed
        self.saving = saving
        self.kept = kept

    def name(self) -> str:
        """As `grad_fn` prints it."""
        return "GraphBackward"

    def free(self) -> None:
        """Drops the values; the structure stays."""
        self.inputs = None
        self.kept = []

    def backward(self, cotangents: list[Any]) -> list[tuple[Any, Any]]:
        """(edge, gradient) of the inputs that need one.

        Raises:
            InvalidArgumentError: the values were freed, or overwritten since.
        """
        if self.inputs is None:
            raise InvalidArgumentError(
                "Trying to backward through the graph a second time: the saved tensors have "
                "already been freed. Specify retain_graph=True."
            )
        given = tuple(c is not None for c in cotangents)
        again = STATE.grad or given != self.saving.given
        values = self.inputs if again else [self.inputs[i] for i in self.saving.read]
        if WRITES.any_since(self.stamp, values):
            raise InvalidArgumentError(
                "one of the variables needed for gradient computation has been modified by an "
                "inplace operation: clone() it before the write."
            )
        arrived = [c for c in cotangents if c is not None]
        if again:
            targets, grads = self._as_function(given, arrived)
        else:
            targets = self.saving.targets
            feeds = [*self.kept, *values, *(c._get() for c in arrived)]
            grads = [wrap(g) for g in self.saving.backward(feeds)]
        return [((self.nodes[i], self.slots[i]), g) for i, g in zip(targets, grads, strict=True)]

    def _as_function(
        self, given: tuple[bool, ...], arrived: list[Any]
    ) -> tuple[list[int], list[Any]]:
        """The gradients as a function of the inputs, to be differentiated again."""
        tensors: list[Any] = []
        for node, slot, value in zip(self.nodes, self.slots, self.inputs, strict=True):
            t: Any = wrap(value)
            t._node, t._out = node, slot
            tensors.append(t)
        needs = tuple(
            i
            for i, (node, v) in enumerate(zip(self.nodes, self.inputs, strict=True))
            if node is not None and v.dtype in FLOATS
        )
        graphed, targets = self.graphed.gradient(given, needs)
        return targets, run(graphed, [*tensors, *arrived])

"""`Profile`: what a target runs. `Roles`: which values of a graph its CPU holds anyway."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import onnx_ir as ir

from toolkit.graph.build import constant_of, known_dims, static_dims
from toolkit.graph.edit import names, where
from toolkit.graph.targets.registry import Rule
from toolkit.graph.walk import subgraphs

Types = frozenset[ir.DataType]

MAX_HOST_ELEMENTS = 64

# Inputs that say shapes, axes and places: read by the CPU when a kernel is started.
SHAPE_INPUTS: Mapping[str, frozenset[int]] = {
    **dict.fromkeys(("Expand", "Reshape", "Squeeze", "Tile", "Unsqueeze"), frozenset({1})),
    **dict.fromkeys(("Split", "CumSum", "Trilu", "TopK", "OneHot"), frozenset({1})),
    **dict.fromkeys(
        names(
            """
            ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd
            ReduceSum ReduceSumSquare
            """
        ),
        frozenset({1}),
    ),
    "ConstantOfShape": frozenset({0}),
    "Pad": frozenset({1, 3}),
    "Resize": frozenset({1, 2, 3}),
    "Slice": frozenset({1, 2, 3, 4}),
}
_HOST = names(
    """
    Abs Add And Cast Ceil Compress Concat ConstantOfShape Div Equal Exp Expand Floor Gather
    GatherElements Greater GreaterOrEqual Identity IsInf IsNaN Less LessOrEqual Log Max Min Mod Mul
    Neg NonZero Not Or Pow Range Reciprocal ReduceMax ReduceMin ReduceProd ReduceSum Reshape Round
    ScatterElements Shape Sign Size Slice Split Sqrt Squeeze Sub Sum Tile Unsqueeze Where Xor
    """
)
_SPREADING = names("ConstantOfShape Expand Range Tile")


@dataclass(frozen=True)
class Offence:
    """A node that a target cannot run, and why."""

    node: ir.Node
    reason: str

    def __str__(self) -> str:
        return f"{where(self.node)}: {self.reason}"


class Roles:
    """Tells the values that the CPU holds from those that the target's device computes.

    A *host value* is small and follows from shapes, constants, and inputs of one element (a
    learning rate, a step count) or of uint64 (the state of random numbers) alone. onnxruntime
    leaves such arithmetic on the CPU.
    """

    def __init__(self, graph: ir.Graph) -> None:
        self._host: set[ir.Value] = set()
        self._graph(graph)

    def _graph(self, graph: ir.Graph) -> None:
        for value in (*graph.inputs, *graph.initializers.values()):
            size = static_dims(value)
            words = value.dtype == ir.DataType.UINT64 and size is not None and len(size) == 1
            if size in ((), (1,)) or (words and max(size or ()) <= MAX_HOST_ELEMENTS):
                self._host.add(value)
        for node in graph:
            for inner in subgraphs(node):
                self._graph(inner)
            if self._is_host(node):
                self._host.update(node.outputs)

    def _is_host(self, node: ir.Node) -> bool:
        if node.domain or node.op_type not in _HOST:
            return False
        if node.op_type in ("Shape", "Size"):
            return True
        inputs = [v for v in node.inputs if v is not None]
        if not all(self.host(v) for v in inputs):
            return False
        return all(self._small(node, v) for v in node.outputs)

    def _small(self, node: ir.Node, value: ir.Value) -> bool:
        dims = known_dims(value)
        if dims is None:
            return node.op_type not in _SPREADING and all(
                v is None or len(known_dims(v) or ()) <= 1 for v in node.inputs
            )
        if not dims:
            return True
        size = static_dims(value)
        if size is None:
            return len(dims) <= 2 and node.op_type not in _SPREADING
        return len(dims) <= 2 and max(size) <= MAX_HOST_ELEMENTS

    def host(self, value: ir.Value | None) -> bool:
        """Whether the CPU holds a value: a constant, or what follows from shapes and scalars."""
        return value is None or value in self._host or self.constant(value)

    @staticmethod
    def constant(value: ir.Value) -> bool:
        """Whether a value is a constant, of any size."""
        return constant_of(value) is not None

    def on_host(self, node: ir.Node) -> bool:
        """Whether the CPU runs a node."""
        return node.op_type == "Constant" or all(
            v in self._host for v in node.outputs if v.name != ""
        )


@dataclass(frozen=True)
class Profile:
    """A target.

    Attributes:
        name: as users write it.
        kernels: for each operator the element types that its data may have; None: all standard
            operators with all types.
        rewrites: by (domain, operator), tried where a node is not at home; "*" is for all others.
        problem: what else is wrong with a node of `kernels`, None if nothing.
        finish: the last step of a lowering, in place.
        narrowed: types that `finish` takes away.
        host: whether shape and scalar arithmetic runs elsewhere, whatever its operators.
    """

    name: str
    kernels: Mapping[str, Types] | None = None
    rewrites: Mapping[tuple[str, str], Rule] = field(default_factory=dict)
    problem: Callable[[ir.Node, Roles], str | None] = lambda node, roles: None
    finish: Callable[[ir.Graph], None] = lambda graph: None
    narrowed: Types = frozenset()
    host: bool = False

    def offences(self, graph: ir.Graph) -> list[Offence]:
        """The nodes of a graph and its subgraphs that the target cannot run."""
        roles = Roles(graph)
        return [
            Offence(node, reason)
            for node in _all_nodes(graph)
            if (reason := self.offence(node, roles)) is not None
        ]

    def offence(self, node: ir.Node, roles: Roles, to_come: Types = frozenset()) -> str | None:
        """Why the target cannot run a node; None if it can.

        Args:
            node: the node.
            roles: of its graph.
            to_come: element types that are allowed besides, since they will go.
        """
        if self.host and roles.on_host(node):
            return None
        if node.domain:
            return "a standard operator is required"
        if self.kernels is None:
            return None
        allowed = self.kernels.get(node.op_type)
        if allowed is None:
            return f"there is no kernel for {node.op_type}"
        reason = self.problem(node, roles)
        return self._type_problem(node, roles, allowed | to_come) if reason is None else reason

    def _type_problem(self, node: ir.Node, roles: Roles, allowed: Types) -> str | None:
        shapes = SHAPE_INPUTS.get(node.op_type, frozenset())
        for i, value in enumerate(node.inputs):
            if value is None:
                continue
            if i in shapes:
                if self.host and not roles.host(value):
                    return f"a shape that does not depend on data is required, got '{value.name}'"
                continue
            if value.dtype is not None and value.dtype not in allowed:
                return f"no kernel takes {value.dtype.name.lower()} ('{value.name}')"
        return None


def _all_nodes(graph: ir.Graph) -> Iterator[ir.Node]:
    for node in graph:
        yield node
        for inner in subgraphs(node):
            yield from _all_nodes(inner)

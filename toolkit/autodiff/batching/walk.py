"""The batching walk: from the nodes for one example to the nodes for a batch of them.

A node that reads nothing batched is copied. Others are written by their rule; where there is none,
the operator's function body is batched, or else the node runs in a Scan over the examples.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import onnx_ir as ir

from toolkit.autodiff.batching.registry import Batch, Operand, Same, find
from toolkit.autodiff.recompute import CHECKPOINT
from toolkit.autodiff.sequences import finish
from toolkit.errors import InvalidArgumentError, UnsupportedOperatorError
from toolkit.graph.build import Builder, arithmetic, constant_of
from toolkit.graph.functions import base_name
from toolkit.graph.functions import find as composite
from toolkit.graph.inline import body_of, emit
from toolkit.graph.subgraphs import copy_node, reads, unique_names
from toolkit.graph.walk import subgraphs

Functions = Mapping[tuple[str, str, str], ir.Function]
Result = tuple[ir.Value, bool]  # A value, and whether it has the batch dimension.

_RANDOM = frozenset(
    {"RandomUniform", "RandomNormal", "RandomUniformLike", "RandomNormalLike", "Bernoulli"}
    | {"Multinomial"}
)
# Standard operators whose function body is as exact as their kernel, and better than a Scan.
_BY_BODY = frozenset(
    {"Attention", "NegativeLogLikelihoodLoss", "RotaryEmbedding", "SoftmaxCrossEntropyLoss"}
    | {"SwiGLU"}
)
# Composites in whose bodies sizes depend on the data, so that examples cannot be stacked.
_BY_SCAN = frozenset({"RoiAlignGrad", "MaxRoiPoolGrad"})
_KEPT = ("stop_gradient", CHECKPOINT)


def batch_graph(
    b: Builder,
    graph: ir.Graph,
    inputs: Mapping[ir.Value, ir.Value],
    outputs: Sequence[ir.Value],
    size: int | None,
    count: ir.Value,
    randomness: str = "error",
    functions: Functions | None = None,
) -> list[Result]:
    """Write what computes `outputs` for every example of a batch.

    Args:
        b: writes into the graph around `graph`.
        graph: computes `outputs` for one example; it may read values outside of it.
        inputs: for a value of one example, the value for the batch, whose dimension 0 it is.
        outputs: values of `graph`, or from outside.
        size: the number of examples where it is known.
        count: that number as an int64 vector of length 1.
        randomness: what a random operator does: "error", "different" or "same" for all examples.
        functions: model-local functions.

    Raises:
        UnsupportedOperatorError: an operator on sequences.
        InvalidArgumentError: a random operator, with randomness "error".
    """
    walk = _Walk(b, size, count, randomness, functions or {})
    walk.env.update({inner: (value, True) for inner, value in inputs.items()})
    walk.graphs.append(graph)
    with arithmetic(b):
        walk.run(_needed(graph, outputs))
    if walk.scanned and isinstance(b.graph, ir.Graph):
        unique_names(b.graph)
    return [walk.read(v) for v in outputs]


def _needed(graph: ir.Graph, outputs: Iterable[ir.Value]) -> list[ir.Node]:
    seen: set[ir.Node] = set()
    stack = list(outputs)
    while stack:
        node = stack.pop().producer()
        if node is not None and node.graph is graph and node not in seen:
            seen.add(node)
            stack.extend(reads(node))
    return [node for node in graph if node in seen]


class _Walk:
    def __init__(
        self, b: Builder, size: int | None, count: ir.Value, randomness: str, functions: Functions
    ) -> None:
        self.b = b
        self.size = size
        self.count = count
        self.randomness = randomness
        self.functions = functions
        self.env: dict[ir.Value, Result] = {}
        self.graphs: list[ir.Graph] = []  # Those of single examples.
        self.scanned = False

    def read(self, value: ir.Value) -> Result:
        """What stands for a value of one example; a value from outside stands for itself.

        Raises:
            UnsupportedOperatorError: a rule left this output of its operator out.
        """
        found = self.env.get(value)
        if found is None:
            node = value.producer()
            if node is not None and node.graph in self.graphs:
                raise UnsupportedOperatorError(
                    f"vmap: output {node.outputs.index(value)} of {node.op_type} '{node.name}' is "
                    "required, got a batching rule that does not compute it."
                )
            return value, False
        return found

    def run(self, nodes: Iterable[ir.Node]) -> None:
        """Writes all nodes, in order."""
        for node in nodes:
            start = len(self.b.graph)
            self.node(node)
            kept = {k: node.meta[k] for k in _KEPT if k in node.meta}
            if kept:
                for made in islice(reversed(self.b.graph), len(self.b.graph) - start):
                    made.meta.update(kept)

    def node(self, node: ir.Node) -> None:
        """Writes one node."""
        drawn = is_random(node)
        if drawn and self.randomness == "error":
            raise InvalidArgumentError(
                f"vmap: called random operation {node.op_type} while in randomness error mode. "
                "Please either use the 'same' or 'different' randomness flags on vmap or perform "
                "the randomness operation out of vmap."
            )
        if not any(self.read(v)[1] for v in reads(node)) and not (
            drawn and self.randomness == "different"
        ):
            self._copy(node)
            return
        self._refuse_sequences(node)
        rule = find(node.domain, node.op_type)
        if rule is not None:
            result = rule(self._context(node))
            if result is not NotImplemented:
                self._settle(node, result if isinstance(result, tuple) else (result,))
                return
        if not self._body(node):
            self._scan(node)

    def _context(self, node: ir.Node) -> Batch:
        operands = tuple(None if v is None else Operand(v, *self.read(v)) for v in node.inputs)
        return Batch(self.b, node, operands, self.size, self.count, self.randomness)

    def _settle(self, node: ir.Node, results: Sequence[Any]) -> None:
        for inner, result in zip(node.outputs, results, strict=False):
            if isinstance(result, Same):
                self.env[inner] = (result.value, False)
            elif result is not None:
                self._note(result, inner)
                self.env[inner] = (result, True)

    def _note(self, value: ir.Value, inner: ir.Value) -> None:
        """What is known of one example, noted on the batch."""
        if value.type is None:
            value.type = inner.type
        if inner.shape is None or constant_of(value) is not None:
            return
        first: Any = self.size
        old: Sequence[Any] = [None] * (len(inner.shape) + 1)
        if value.shape is not None and len(value.shape) == len(old):
            old = value.shape.dims
        if first is None:
            first = old[0] if old[0] is not None else ir.SymbolicDim(None)
        dims = [
            d if isinstance(d, int) or not isinstance(o, int) else o
            for d, o in zip(inner.shape.dims, old[1:], strict=True)
        ]
        value.shape = ir.Shape([first, *dims])

    def _copy(self, node: ir.Node) -> None:
        if node.op_type == "Constant" and not node.domain:
            array = constant_of(node.outputs[0])
            if array is not None:
                self.env[node.outputs[0]] = (self.b.const(array), False)
                return
        made = copy_node(node, {v: self.read(v)[0] for v in reads(node)})
        if made.domain and made.domain not in self.b.graph.opset_imports:
            self.b.graph.opset_imports[made.domain] = 1
        self.b.append(made)
        self.scanned = self.scanned or bool(subgraphs(made))
        for old, new in zip(node.outputs, made.outputs, strict=True):
            self.env[old] = (new, False)

    def _refuse_sequences(self, node: ir.Node) -> None:
        for value in (*reads(node), *node.outputs):
            if value.type is not None and not isinstance(value.type, ir.TensorType):
                raise UnsupportedOperatorError(
                    f"vmap: tensors are required at {node.op_type} '{node.name}', got the "
                    f"sequence or optional {value.name!r}. Stack its items, or loop in Python."
                )

    def _body(self, node: ir.Node) -> bool:
        """Batches the operator's function body; False if it has none."""
        name = base_name(node.op_type)
        local = node.op_identifier() in self.functions
        own = node.domain.startswith("toolkit.") and name not in _BY_SCAN
        if not (local or own or (not node.domain and name in _BY_BODY)):
            return False
        function = body_of(node, self.functions)
        if function is None or self._shapes_differ(node):
            return False
        scratch = ir.Graph([], [], nodes=[], opset_imports={"": 28}, name="body")
        with arithmetic(inner := Builder(scratch)):
            results = emit(inner, function, node.inputs, node.attributes)
        self.graphs.append(scratch)
        self.run(list(scratch))
        for old, new in zip(node.outputs, results, strict=False):
            if new is not None:
                self.env[old] = self.read(new)
        return True

    def _shapes_differ(self, node: ir.Node) -> bool:
        """Whether a composite is given a shape for each example, by which its body would differ."""
        found = composite(node.domain, node.op_type)
        return found is not None and any(
            name.endswith("shape") and value is not None and self.read(value)[1]
            for name, value in zip(found.inputs, node.inputs, strict=False)
        )

    def _scan(self, node: ir.Node) -> None:
        """Runs the node for one example after the other.

        Raises:
            UnsupportedOperatorError: it draws, and would not draw what `randomness` asks for.
        """
        if is_random(node) and (self.randomness == "different" or not _repeats(node)):
            raise UnsupportedOperatorError(
                f"vmap: an operator that can draw for a whole batch is required with randomness="
                f"{self.randomness!r}, got {node.op_type} '{node.name}'. Draw outside of it."
            )
        found = list(dict.fromkeys(reads(node)))
        scanned = [v for v in found if self.read(v)[1]]
        formal = {v: ir.Value(type=v.type, shape=v.shape) for v in scanned}
        values: dict[ir.Value, ir.Value | None] = {
            v: formal[v] if v in formal else self.read(v)[0] for v in found
        }
        body = ir.Graph(list(formal.values()), [], nodes=[], opset_imports={"": 28}, name="example")
        made = copy_node(node, values)
        made.meta.clear()
        inner = Builder(body)
        inner.append(made)
        pairs = [
            (old, new)
            for old, new in zip(node.outputs, made.outputs, strict=True)
            if old.name != ""
        ]
        with arithmetic(inner):
            finish(inner, [new for _, new in pairs])
        attributes = {
            "body": ir.AttrGraph("body", body),
            "num_scan_inputs": ir.AttrInt64("num_scan_inputs", len(scanned)),
        }
        if node.domain and node.domain not in self.b.graph.opset_imports:
            self.b.graph.opset_imports[node.domain] = 1
        results = self.b.call(
            "", "Scan", [self.read(v)[0] for v in scanned], attributes, len(pairs)
        )
        self.scanned = True
        self._settle_scan([old for old, _ in pairs], results)

    def _settle_scan(self, inner: Sequence[ir.Value], results: Any) -> None:
        made = [results] if len(inner) == 1 else list(results)
        for old, new in zip(inner, made, strict=True):
            self._note(new, old)
            self.env[old] = (new, True)


def is_random(node: ir.Node) -> bool:
    """Whether a node, or one in its subgraphs, draws random numbers."""
    if node.domain == "toolkit.random" or (not node.domain and node.op_type in _RANDOM):
        return True
    if not node.domain and node.op_type == "Dropout":
        mode = node.inputs[2] if len(node.inputs) > 2 else None
        known = constant_of(mode)
        return mode is not None and (known is None or bool(known.any()))
    return any(is_random(inner) for graph in subgraphs(node) for inner in graph)


def _repeats(node: ir.Node) -> bool:
    """Whether all that a node draws is a function of a state, the same each time it runs."""
    inner = [n for graph in subgraphs(node) for n in graph]
    if inner:
        return all(_repeats(n) for n in inner if is_random(n))
    return node.domain == "toolkit.random"

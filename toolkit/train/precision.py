"""Mixed precision: what of a training step's forward pass is kept in float16 or bfloat16.

As torch.autocast has it, by operator: products run on narrow copies of their inputs and give narrow
outputs; what moves values or acts on each follows its inputs; everything else (losses, softmax,
sums) reads float32. Parameters, their gradients, statistics and optimizer states stay float32, and
so does inference: the file's model has no narrow type. Gradients of narrow values are narrow.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from toolkit.autodiff.backward import ancestor_nodes
from toolkit.graph.build import Builder

NARROW = {"bfloat16": ir.DataType.BFLOAT16, "float16": ir.DataType.FLOAT16}

PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum", "Attention"})
FOLLOWERS = frozenset(
    {"Add", "Sub", "Mul", "Neg", "Relu", "LeakyRelu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh"}
    | {"Gelu", "Elu", "Selu", "PRelu", "Silu", "Swish", "Mish", "Clip", "Identity", "Dropout"}
    | {"MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Pad", "Concat", "Split"}
    | {"Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Expand", "Tile"}
    | {"DepthToSpace", "SpaceToDepth", "BatchNormalization", "BatchNormTraining"}
)
# Operators of whose inputs only some are narrow.
_NARROW_INPUTS = {"BatchNormalization": {0}, "BatchNormTraining": {0}, "Dropout": {0}}


def narrow(
    graph: ir.Graph, inference: Sequence[ir.Value], training: Sequence[ir.Value], precision: str
) -> dict[ir.Value, ir.Value]:
    """Rewrites the nodes that training needs and inference does not.

    Args:
        graph: forward passes and losses.
        inference: values whose ancestors stay as they are.
        training: values whose other ancestors are rewritten.
        precision: a key of `NARROW`.

    Returns:
        What stands for each value that was replaced.
    """
    kept = set(ancestor_nodes(graph, inference))
    rewriter = _Rewriter(graph, NARROW[precision])
    for node in ancestor_nodes(graph, training):
        if node not in kept:
            rewriter.visit(node)
    return rewriter.replaced


def export_opset(graph: ir.Graph) -> int | None:
    """The opset that a file needs: Conv, MaxPool and others take bfloat16 from 22 on."""
    outputs = (v for node in graph for v in node.outputs)
    return 22 if any(v.dtype == ir.DataType.BFLOAT16 for v in outputs) else None


class _Rewriter:
    def __init__(self, graph: ir.Graph, dtype: ir.DataType) -> None:
        self.b = Builder(graph)
        self.dtype = dtype
        self.narrow: dict[ir.Value, ir.Value] = {}  # Of a float32 value: its narrow copy.
        self.replaced: dict[ir.Value, ir.Value] = {}

    def visit(self, node: ir.Node) -> None:
        """Puts one of narrow inputs in the place of a product or a follower; its outputs widen."""
        which = self._narrow_inputs(node)
        if not which:
            return
        b = self.b
        b.before = node
        inputs = [
            self._narrowed(v) if v is not None and i in which else v
            for i, v in enumerate(node.inputs)
        ]
        attributes = dict(node.attributes)
        found = b.call(node.domain, node.op_type, inputs, attributes, len(node.outputs))
        results = [found] if len(node.outputs) == 1 else list(found)
        for old, new in zip(node.outputs, results, strict=True):
            wide = new
            if new.dtype == self.dtype and old.dtype == ir.DataType.FLOAT:
                wide = b.cast(new, ir.DataType.FLOAT)
                self.narrow[wide] = new
            self.replaced[old] = wide
            old.replace_all_uses_with(wide)
        b.graph.remove(node)

    def _narrow_inputs(self, node: ir.Node) -> set[int]:
        """Which inputs the narrow node takes narrow; none: it stays as it is."""
        if node.op_type not in PRODUCTS | FOLLOWERS:
            return set()
        only = _NARROW_INPUTS.get(node.op_type)
        floats = {
            i
            for i, v in enumerate(node.inputs)
            if v is not None and v.dtype == ir.DataType.FLOAT and (only is None or i in only)
        }
        if node.op_type in PRODUCTS:
            return floats
        computed = [v for i, v in enumerate(node.inputs) if i in floats and not _given(v)]
        follows = bool(computed) and all(v in self.narrow for v in computed)
        return floats if follows else set()

    def _narrowed(self, value: ir.Value) -> ir.Value:
        if value not in self.narrow:
            self.narrow[value] = self.b.cast(value, self.dtype)
        return self.narrow[value]


def _given(value: ir.Value | None) -> bool:
    """A parameter or a constant: its narrow copy is made anew."""
    assert value is not None
    node = value.producer()
    return value.is_initializer() or (node is not None and node.op_type == "Constant")

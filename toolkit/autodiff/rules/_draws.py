"""Random numbers in bodies: a gradient reads those that the forward pass drew."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from toolkit.autodiff.registry import Vjp
from toolkit.errors import UnsupportedOperatorError
from toolkit.graph.build import Builder, arithmetic, constant_of

V = Any  # An ir.Value under `arithmetic`.

_RANDOM = frozenset(
    {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike"}
    | {"Bernoulli", "Multinomial"}
)


def draws(node: ir.Node) -> bool:
    """Whether a node draws numbers, or may."""
    if node.domain or node.op_type not in {*_RANDOM, "Dropout"}:
        return False
    if node.op_type != "Dropout":
        return True
    training = node.inputs[2] if len(node.inputs) > 2 else None
    mode = constant_of(training)
    return training is not None and (mode is None or bool(mode.any()))


def drawn(body: ir.Graph) -> list[ir.Value]:
    """What the nodes of a body draw: numbers, or masks of Dropout, which gets that output."""
    return [_mask(n) if n.op_type == "Dropout" else n.outputs[0] for n in body if draws(n)]


def _mask(node: ir.Node) -> ir.Value:
    if len(node.outputs) < 2:
        node.resize_outputs(2)
        node.outputs[1].name = ""  # Left out until it is read.
    mask = node.outputs[1]
    mask.type = ir.TensorType(ir.DataType.BOOL)
    mask.shape = None if node.outputs[0].shape is None else node.outputs[0].shape.copy()
    return mask


def read(body: ir.Graph, made: dict[ir.Value, Any]) -> dict[ir.Value, ir.Value]:
    """Let a copy of a body read what the body drew.

    Args:
        body: the body.
        made: what became of each of its values in the copy.

    Returns:
        For each value that the body draws, the value that the copy reads instead.
    """
    found = {}
    for value in drawn(body):
        formal = ir.Value(type=value.type, shape=value.shape and value.shape.copy())
        found[value] = formal
        source = value.producer()
        assert source is not None
        node = made[source.outputs[0]].producer()
        if node.op_type != "Dropout":
            node.outputs[0].replace_all_uses_with(formal)
            continue
        node.resize_outputs(2)
        assert node.graph is not None
        b = Builder(node.graph)
        b.before = node
        with arithmetic(b):
            kept = _dropout(b, node, formal)
        node.outputs[0].replace_all_uses_with(kept, replace_graph_outputs=True)
        node.outputs[1].replace_all_uses_with(formal)
    return found


def _dropout(b: Builder, node: ir.Node, mask: V) -> V:
    """Dropout by a given mask: x / (1 - ratio) where it holds, else 0."""
    x, ratio, training = node.inputs
    assert x is not None and x.dtype is not None
    share: V = b.const(0.5, x.dtype) if ratio is None else b.cast(ratio, x.dtype)
    kept = 1.0 - share
    scale = b.Where(b.Greater(kept, 0.0), b.Reciprocal(kept), 0.0)
    factor = b.Where(training, scale, 1.0)
    return b.Where(mask, x * factor, 0.0)


def require_repeatable(c: Vjp, graph: ir.Graph) -> None:
    """What a gradient computes again must give what it gave before.

    Raises:
        UnsupportedOperatorError: it draws random numbers.
    """
    for node in graph.all_nodes():
        if draws(node):
            raise UnsupportedOperatorError(
                f"{c.node.op_type} '{c.node.name}': random numbers in the body itself are required "
                f"to differentiate it, got {node.op_type} '{node.name}' deeper or in a part that "
                "is computed again. Draw them before, and read them in the body."
            )


def offer(c: Vjp, value: ir.Value) -> None:
    """A value that the body drew is going to be an output of the node.

    Raises:
        UnsupportedOperatorError: the node has run already.
    """
    node = value.producer()
    if node is None or not draws(node):
        return
    if c.fixed:
        raise UnsupportedOperatorError(
            f"{c.node.op_type} '{c.node.name}': the random numbers of {node.op_type} "
            f"'{node.name}' are required, got a node that ran without giving them."
        )
    if value.name == "":
        value.name = None

"""Where a graph applies its weights: the MatMul, Gemm, Conv and Gather nodes that read each one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from toolkit.ops.dispatch import call
from toolkit.train.adapters.projections import (
    Convolution,
    Gemm,
    LeftProduct,
    Lookup,
    Product,
    Projection,
)

if TYPE_CHECKING:
    import onnx_ir as ir

# Between a weight and its reader.
_CHAIN = ("Transpose", "Identity", "Cast", "QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True)
class Site:
    """One node that applies a weight.

    Attributes:
        node: the node.
        projection: how it applies it.
        x: its other operand.
        weight: the weight as the node reads it.
        bias: what the node adds, where it does.
        beta: factor of the bias.
    """

    node: ir.Node
    projection: Projection
    x: ir.Value
    weight: ir.Value
    bias: ir.Value | None = None
    beta: float = 1.0


@dataclass(frozen=True)
class Reading:
    """All that reads one initializer: nodes of one kind, behind one chain of nodes.

    Attributes:
        initializer: the weight.
        chain: from it to what the sites read.
        sites: the nodes.
        inner: whether one is in a body of If, Loop or Scan.
    """

    initializer: ir.Value
    chain: tuple[ir.Node, ...]
    sites: tuple[Site, ...]
    inner: bool


def readings(graph: ir.Graph) -> Iterator[Reading]:
    """The initializers that an adapter can be put on.

    Those that are read in other ways too, or as an output, are not among them.
    """
    for value in graph.initializers.values():
        if value.is_graph_input() or value.is_graph_output():
            continue
        found = list(_leaves(value, ()))
        rank = 0 if value.shape is None else len(value.shape)  # A chain keeps it.
        sites = [_site(node, index, rank) for node, index, _ in found]
        kept = [site for site in sites if site is not None]
        if not kept or len(kept) < len(found):
            continue
        chain = found[0][2]
        inner = any(site.node.graph is not graph for site in kept)
        if inner and not all(node.op_type in ("Transpose", "Identity") for node in chain):
            continue
        kinds = {(type(s.projection), s.projection.out_axis, s.projection.groups) for s in kept}
        if len(kinds) == 1 and all(_same(chain, other) for _, _, other in found):
            yield Reading(value, chain, tuple(kept), inner)


def _leaves(
    value: ir.Value, chain: tuple[ir.Node, ...]
) -> Iterator[tuple[ir.Node, int, tuple[ir.Node, ...]]]:
    """(node, input, chain) of what reads a value, looking through the nodes of a chain."""
    for node, index in value.uses():
        passes_on = node.op_type in _CHAIN and not node.domain and index == 0
        if passes_on and not node.outputs[0].is_graph_output():
            yield from _leaves(node.outputs[0], (*chain, node))
        else:
            yield node, index, chain


def _same(a: tuple[ir.Node, ...], b: tuple[ir.Node, ...]) -> bool:
    """Whether two chains compute the same."""
    kinds = [
        [(n.op_type, _values(n), n.inputs[1:]) for n in chain if n.op_type != "Identity"]
        for chain in (a, b)
    ]
    return kinds[0] == kinds[1]


def _values(node: ir.Node) -> dict[str, Any]:
    return {name: attr.value for name, attr in node.attributes.items()}


def _site(node: ir.Node, index: int, rank: int) -> Site | None:
    """The node as a site of the weight of this rank at an input; None for other nodes."""
    if node.domain:
        return None
    weight = node.inputs[index]
    assert weight is not None
    attributes = _values(node)
    inputs = [*node.inputs, None, None]
    if node.op_type == "MatMul" and rank == 2:
        x = inputs[1 - index]
        projection: Projection = Product() if index else LeftProduct()
        return None if x is None else Site(node, projection, x, weight)
    x, bias = inputs[0], inputs[2]
    if node.op_type == "Gather" and rank == 2 and index == 0 and not attributes.get("axis", 0):
        ids = inputs[1]
        return None if ids is None else Site(node, Lookup(), ids, weight)
    if index != 1 or x is None:
        return None
    if node.op_type == "Gemm" and rank == 2:
        return Site(node, Gemm(attributes), x, weight, bias, attributes.get("beta", 1.0))
    if node.op_type == "Conv" and rank > 2:
        return Site(node, _convolution(attributes, rank - 2), x, weight, bias)
    return None


def _convolution(attributes: dict[str, Any], spatial: int) -> Convolution:
    given = {k: list(v) if isinstance(v, tuple) else v for k, v in attributes.items()}
    groups = attributes.get("group", 1)
    return Convolution(lambda x, w: call("Conv", (x, w), given), spatial, groups)

"""Matrix products take over what stands around them.

1. `MatMul(A, Transpose(B))`, `MatMul(Transpose(A), B)`, the same of Gemm: the transposition of the
   last two axes, also one behind another that undoes it, becomes a flag of the product.
2. `Transpose(MatMul(A, B))` of matrices, `Transpose(Gemm(A, B))` without C -> the product of the
   exchanged operands.
3. `MatMul(A, B) + bias` with a bias of one number a column -> its third input.
4. `f(MatMul(...))`, `f(Gemm(...))` with a function of floats -> its attribute `map`.

Rules 2 to 4 need a product that nothing else reads. A transposed constant is left alone: it is made
at load. Only floats.
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from toolkit.runtime.passes import elementwise
from toolkit.runtime.passes.region import DOMAIN, FusedNode, Node, Region, attribute

ORDER = 50

_FLOATS = frozenset(
    {ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16}
)
_WIDE = frozenset({ir.DataType.FLOAT, ir.DataType.DOUBLE})


def run(region: Region) -> None:
    """Runs the pass."""
    for node in region.nodes:
        if node not in region or node.domain != "" or not _is_product(node):
            continue
        if not _are_floats(node) or all(region.is_constant(v) for v in node.inputs):
            continue
        current = _flag_operands(region, node)
        current = _exchange(region, current)
        current = _add_bias(region, current)
        _apply_map(region, current)


def _is_product(node: Node) -> bool:
    return node.op_type in ("MatMul", "Gemm") and node.domain in ("", DOMAIN)


def _are_floats(node: Node) -> bool:
    return all(v is None or v.dtype in _FLOATS for v in (*node.inputs, *node.outputs))


def _rewritten(
    node: Node,
    inputs: list[ir.Value | None],
    output: ir.Value,
    changes: dict[str, Any],
    name: str = "",
) -> FusedNode:
    names = ("alpha", "beta", "transA", "transB", "map", "params")
    values = {n: attribute(node, n, None) for n in names} | changes
    values = {n: v for n, v in values.items() if v is not None}
    full = f"{node.name or node.op_type}+{name}" if name else node.name or ""
    return FusedNode(node.op_type, inputs, [output], values, full)


def _flag_operands(region: Region, node: Node) -> Node:
    """Rule 1."""
    inputs = list(node.inputs)
    flags = {"transA": attribute(node, "transA", 0), "transB": attribute(node, "transB", 0)}
    changed = False
    for k, flag in enumerate(flags):
        source, swapped = _source(region, inputs[k])
        if source is not inputs[k]:
            inputs[k] = source
            flags[flag] = int(bool(flags[flag]) != swapped)
            changed = True
    if not changed:
        return node
    new = _rewritten(node, inputs, node.outputs[0], flags)
    region.replace([node], new)
    return new


def _source(region: Region, value: ir.Value | None) -> tuple[ir.Value | None, bool]:
    """The value that a chain of Transpose nodes reads, if only the last two axes differ."""
    found, swapped = value, False
    perm: list[int] | None = None
    while value is not None and not region.is_constant(value):
        node = region.producer(value)
        if node is None or node.op_type != "Transpose" or node.domain != "":
            break
        own = attribute(node, "perm", None)
        value = node.inputs[0]
        if own is None or value is None:
            break
        perm = own if perm is None else [own[p] for p in perm]
        rank = len(perm)
        if perm[:-2] == list(range(rank - 2)) and rank >= 2:
            found, swapped = value, perm[-1] != rank - 1
    return found, swapped


def _rank(value: ir.Value | None) -> int | None:
    return None if value is None or value.shape is None else len(value.shape)


def _exchange(region: Region, node: Node) -> Node:
    """Rule 2."""
    product = node.outputs[0]
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        return node
    a, b = node.inputs[:2]
    if not region.is_private(product) or _rank(a) != 2 or _rank(b) != 2:
        return node
    (reader,) = region.readers(product)
    if reader.op_type != "Transpose" or reader.domain != "":
        return node
    if list(attribute(reader, "perm", [1, 0])) != [1, 0]:
        return node
    flags = {
        "transA": 1 - int(bool(attribute(node, "transB", 0))),
        "transB": 1 - int(bool(attribute(node, "transA", 0))),
    }
    new = _rewritten(node, [b, a], reader.outputs[0], flags)
    region.replace([node, reader], new)
    return new


def _add_bias(region: Region, node: Node) -> Node:
    """Rule 3."""
    product = node.outputs[0]
    if node.op_type != "MatMul" or len(node.inputs) > 2 or not region.is_private(product):
        return node
    (reader,) = region.readers(product)
    if reader.op_type != "Add" or reader.domain != "":
        return node
    bias = reader.inputs[0] if reader.inputs[1] is product else reader.inputs[1]
    if bias is None or bias.shape is None or product.shape is None or len(product.shape) < 2:
        return node
    if len(bias.shape) != 1 or bias.shape[0] != product.shape[-1] or bias.dtype != product.dtype:
        return node
    if not isinstance(bias.shape[0], int) or any(_rank(v) in (None, 1) for v in node.inputs):
        return node
    new = _rewritten(node, [*node.inputs, bias], reader.outputs[0], {}, reader.name or "Add")
    region.replace([node, reader], new)
    return new


def _apply_map(region: Region, node: Node) -> None:
    """Rule 4."""
    product = node.outputs[0]
    if product.dtype not in _WIDE or not region.is_private(product):
        return
    (reader,) = region.readers(product)
    function = elementwise.function_of(region, reader)
    if function is None:
        return
    name, params = function
    changes = {"map": name, "params": list(params)}
    label = reader.name or reader.op_type
    new = _rewritten(node, list(node.inputs), reader.outputs[0], changes, label)
    region.replace([node, reader], new)

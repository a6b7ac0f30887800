"""Products by constants that are stored as integers read them as they are.

`MatMul(A, W)`, `Gemm(A, W)` and their fused twins with W = `DequantizeLinear(constants)`, or its
transpose -> `NarrowMatMul`, whose kernel widens the integers in registers. The scales are one
number, one a column, or one for each column of a block of rows; all is float32.
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from toolkit.runtime.passes.match import made_by
from toolkit.runtime.passes.region import DOMAIN, FusedNode, Node, Region, attribute

ORDER = 60  # When products have their biases and functions.

_INTEGERS = frozenset({ir.DataType.INT8, ir.DataType.UINT8, ir.DataType.INT4, ir.DataType.UINT4})


def run(region: Region) -> None:
    """Runs the pass."""
    for node in region.nodes:
        if node.op_type in ("MatMul", "Gemm") and node.domain in ("", DOMAIN):
            _match(region, node)


def _match(region: Region, node: Node) -> None:
    a, b, *rest = node.inputs
    bias = rest[0] if rest else None
    transposed = bool(attribute(node, "transB", 0))
    if (transpose := made_by(region, b, "Transpose")) is not None:
        if list(attribute(transpose, "perm", [1, 0])) != [1, 0]:
            return
        b, transposed = transpose.inputs[0], not transposed
    dequantize = made_by(region, b, "DequantizeLinear")
    if dequantize is None or a is None or a.dtype != ir.DataType.FLOAT or not _is_plain(node, bias):
        return
    codes, scale, zero = (*dequantize.inputs, None)[:3]
    block = attribute(dequantize, "block_size", 0)
    axis = attribute(dequantize, "axis", 1)
    if not _fits(region, codes, scale, zero, transposed, axis % 2 if -2 <= axis < 2 else 2, block):
        return
    attributes: dict[str, Any] = {"transB": int(transposed), "axis": axis, "block_size": block}
    attributes["has_zero"] = int(zero is not None)
    for name in ("map", "params"):
        if attribute(node, name, None) is not None:
            attributes[name] = attribute(node, name, None)
    new = FusedNode(
        "NarrowMatMul", [a, codes, scale, zero, bias], node.outputs, attributes, node.name or ""
    )
    region.replace([node], new)


def _is_plain(node: Node, bias: ir.Value | None) -> bool:
    """Whether nothing but a bias of one number a column joins the product."""
    if attribute(node, "transA", 0) or node.outputs[0].dtype != ir.DataType.FLOAT:
        return False
    if node.op_type == "MatMul":
        return True
    if attribute(node, "alpha", 1.0) != 1.0 or attribute(node, "beta", 1.0) != 1.0:
        return False
    columns = node.outputs[0].shape[-1] if node.outputs[0].shape is not None else None
    shape = bias.shape if bias is not None else None
    if bias is None:
        return True
    return (
        shape is not None and isinstance(columns, int) and list(shape) in ([columns], [1, columns])
    )


def _fits(
    region: Region,
    codes: ir.Value | None,
    scale: ir.Value | None,
    zero: ir.Value | None,
    transposed: bool,
    axis: int,
    block: int,
) -> bool:
    """Whether the kernel takes matrices and scales of these shapes."""
    if codes is None or scale is None or codes.dtype not in _INTEGERS:
        return False
    if scale.dtype != ir.DataType.FLOAT or codes.shape is None or scale.shape is None:
        return False
    if not all(region.is_constant(v) and v not in region.fed for v in (codes, scale)):
        return False
    if not region.is_constant(zero) or len(codes.shape) != 2 or 0 in codes.shape:
        return False
    k_axis = 1 if transposed else 0
    if len(scale.shape) < 2 and all(d == 1 for d in scale.shape) and not block:
        return True
    return axis == k_axis if block else len(scale.shape) == 1 and axis == 1 - k_axis

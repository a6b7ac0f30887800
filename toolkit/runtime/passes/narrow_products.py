"""Products by constants that are stored narrow read them as they are.

`MatMul(A, W)`, `Gemm(A, W)` and their fused twins -> `NarrowMatMul`, whose kernel widens weights in
registers, where W or its transpose is

1. `DequantizeLinear` of constants of 8 or 4 bits: the scales are one number, one a column, or one
   for each column of a block of rows; all is float32;
2. a constant of float16 or bfloat16, and so is all else.
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from toolkit.runtime import _core
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
    if a is None or b is None or not _is_plain(node, bias):
        return
    attributes: dict[str, Any] = {"transB": int(transposed)}
    for name in ("map", "params"):
        if attribute(node, name, None) is not None:
            attributes[name] = attribute(node, name, None)
    if _is_half(region, a, b, node):
        attributes["has_scale"] = 0
        inputs = [a, b, None, None, bias]
        region.replace(
            [node], FusedNode("NarrowMatMul", inputs, node.outputs, attributes, node.name or "")
        )
        return
    dequantize = made_by(region, b, "DequantizeLinear")
    if dequantize is None or a.dtype != ir.DataType.FLOAT:
        return
    codes, scale, zero = (*dequantize.inputs, None)[:3]
    block = attribute(dequantize, "block_size", 0)
    axis = attribute(dequantize, "axis", 1)
    if not _fits(region, codes, scale, zero, transposed, axis % 2 if -2 <= axis < 2 else 2, block):
        return
    attributes |= {"axis": axis, "block_size": block, "has_zero": int(zero is not None)}
    new = FusedNode(
        "NarrowMatMul", [a, codes, scale, zero, bias], node.outputs, attributes, node.name or ""
    )
    region.replace([node], new)


def _is_plain(node: Node, bias: ir.Value | None) -> bool:
    """Whether nothing but a bias of one number a column joins the product."""
    if attribute(node, "transA", 0):
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


def _is_half(region: Region, a: ir.Value, b: ir.Value, node: Node) -> bool:
    """Rule 2."""
    kind = b.dtype
    if kind not in (ir.DataType.FLOAT16, ir.DataType.BFLOAT16) or a.dtype != kind:
        return False
    if kind == ir.DataType.FLOAT16 and _core.isa() not in ("x86-64-v3", "x86-64-v4"):
        return False
    fits = node.outputs[0].dtype == kind and b.shape is not None and len(b.shape) == 2
    return fits and 0 not in (b.shape or ()) and _is_stored(region, b)


def _is_stored(region: Region, value: ir.Value | None) -> bool:
    """Whether a constant lies in the file: what is computed from constants may not be kept."""
    if value is None or value in region.fed:
        return value is None
    return value.const_value is not None or made_by(region, value, "Constant") is not None


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
    if not all(_is_stored(region, v) for v in (codes, scale, zero)):
        return False
    if len(codes.shape) != 2 or 0 in codes.shape:
        return False
    k_axis = 1 if transposed else 0
    if len(scale.shape) < 2 and all(d == 1 for d in scale.shape) and not block:
        return True
    return axis == k_axis if block else len(scale.shape) == 1 and axis == 1 - k_axis

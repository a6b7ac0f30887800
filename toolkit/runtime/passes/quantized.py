"""Models with QuantizeLinear and DequantizeLinear around operators run on integers.

1. `Quantize(Conv(Dequantize(x), Dequantize(w)[, Dequantize(b)]))` -> `QLinearConv`; b is int32 with
   the scale of the sums. A Relu before Quantize is left out where its zero point is the least code.
2. `Quantize(MatMul(Dequantize(a), Dequantize(b)))` -> `QLinearMatMul`.
3. `Quantize(f(Dequantize(x)))` with the same scale and zero point and an f that only moves or
   chooses elements -> `f(x)`.

Codes of 8 bits, constant scales, one number for activations and one or one a channel for weights.
Sums are exact integers, so that a code differs from the plain path's only where float32 rounded the
other way. What else reads a dequantized value still does.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from toolkit.runtime.constants import native_attributes
from toolkit.runtime.passes.match import made_by
from toolkit.runtime.passes.region import DOMAIN, FusedNode, Node, Region, attribute

ORDER = 20

BYTES = frozenset({ir.DataType.INT8, ir.DataType.UINT8})
MOVES = frozenset({"MaxPool", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze"})
_CONV = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")
Array = np.ndarray[Any, Any]


class Codes:
    """Codes with a constant scale and zero point: what a Dequantize reads or a Quantize makes."""

    def __init__(self, region: Region, codes: ir.Value, node: Node) -> None:
        self.codes = codes
        self.scale_value = node.inputs[1]
        self.zero_value = node.inputs[2] if len(node.inputs) > 2 else None
        self.scale = region.array(self.scale_value)
        self.zero = region.array(self.zero_value)
        self.axis = attribute(node, "axis", 1)
        self.known = (
            self.scale is not None
            and self.scale.dtype == np.float32
            and (self.zero_value is None or self.zero is not None)
            and not attribute(node, "block_size", 0)
            and attribute(node, "precision", 0) in (0, 1)
        )

    @property
    def is_one(self) -> bool:
        """Whether one number is the scale of all codes."""
        return self.known and self.scale is not None and self.scale.size == 1

    def zero_input(self) -> ir.Value:
        """The zero point as operators on integers want it, which is never left out."""
        if self.zero_value is not None:
            return self.zero_value
        assert self.codes.dtype is not None and self.scale is not None
        zeros = np.zeros(self.scale.shape, self.codes.dtype.numpy())
        name = f"{self.codes.name}.no_zero_point"
        kind, shape = ir.TensorType(self.codes.dtype), ir.Shape(zeros.shape)
        return ir.Value(name=name, type=kind, shape=shape, const_value=ir.tensor(zeros, name=name))

    def numbers(self, region: Region) -> tuple[Array, Array]:
        """The scale and the zero point, both of which are known."""
        zero = region.array(self.zero_input())
        assert self.scale is not None and zero is not None
        return self.scale, zero

    def inputs(self) -> list[ir.Value | None]:
        """Codes, scale and zero point."""
        return [self.codes, self.scale_value, self.zero_input()]


def run(region: Region) -> None:
    """Runs the pass."""
    for node in region.nodes:
        if node in region and node.op_type == "QuantizeLinear" and node.domain == "":
            made = Codes(region, node.outputs[0], node)
            if made.is_one and made.codes.dtype in BYTES:
                _match(region, node, made)


def _match(region: Region, quantize: Node, made: Codes) -> None:
    before = region.producer(quantize.inputs[0])
    if before is None or not region.is_private(before.outputs[0]):
        return
    nodes, relu = [quantize, before], False
    if before.op_type == "Relu" and before.domain == "":
        relu, before = True, region.producer(before.inputs[0])
        if before is None or not region.is_private(before.outputs[0]):
            return
        nodes.append(before)
    if before.op_type == "Conv" and before.domain == "":
        new = _conv(region, before, made)
    elif before.op_type == "FusedConv" and before.domain == DOMAIN and len(before.inputs) < 4:
        relu = attribute(before, "activation", "") == "Relu"
        new = _conv(region, before, made) if relu else None
    elif before.op_type == "MatMul" and before.domain == "":
        new = _matmul(region, before, made)
    else:
        new = None if relu else _move(region, before, made)
    if new is not None and (not relu or is_least(made)):
        region.replace(nodes, new)


def is_least(made: Codes) -> bool:
    """Whether no code stands for a negative number."""
    zero = 0 if made.zero is None else int(made.zero.reshape(()))
    return zero == (0 if made.codes.dtype == ir.DataType.UINT8 else -128)


def dequantized(region: Region, value: ir.Value | None) -> Codes | None:
    """What `value` is dequantized from."""
    node = made_by(region, value, "DequantizeLinear")
    if node is None or node.inputs[0] is None:
        return None
    found = Codes(region, node.inputs[0], node)
    return found if found.known else None


def _conv(region: Region, conv: Node, made: Codes) -> FusedNode | None:
    x, w = (dequantized(region, v) for v in conv.inputs[:2])
    if x is None or w is None or not x.is_one:
        return None
    if x.codes.dtype not in BYTES or w.codes.dtype not in BYTES:
        return None
    rank = len(w.codes.shape) if w.codes.shape is not None else 0
    if rank == 0 or (not w.is_one and w.axis not in (0, -rank)):
        return None
    bias = bias_codes(region, conv, x, w)
    if bias is None:
        return None
    attributes = {n: attribute(conv, n, None) for n in _CONV}
    attributes = {n: v for n, v in attributes.items() if v is not None}
    result = [made.scale_value, made.zero_input(), *bias]
    inputs = [*x.inputs(), *w.inputs(), *result]
    name = conv.name or "Conv"
    return FusedNode("QLinearConv", inputs, [made.codes], attributes, name, "")


def bias_codes(region: Region, node: Node, x: Codes, w: Codes) -> list[ir.Value | None] | None:
    """The third input as int32 with the scale of the sums, none, or None where it is another."""
    if len(node.inputs) < 3 or node.inputs[2] is None:
        return []
    b = dequantized(region, node.inputs[2])
    if b is None or b.codes.dtype != ir.DataType.INT32 or (b.zero is not None and b.zero.any()):
        return None
    if x.scale is None or w.scale is None or b.scale is None:
        return None
    want = x.scale.reshape(-1) * w.scale.reshape(-1)
    if b.scale.size not in (1, want.size) or not np.allclose(
        b.scale.reshape(-1), want, rtol=1e-6, atol=0
    ):
        return None
    return [b.codes]


def _matmul(region: Region, product: Node, made: Codes) -> FusedNode | None:
    a, b = (dequantized(region, v) for v in product.inputs[:2])
    if a is None or b is None or not a.is_one:
        return None
    if a.codes.dtype not in BYTES or b.codes.dtype not in BYTES or b.codes.shape is None:
        return None
    rank = len(b.codes.shape)
    if not b.is_one and (rank != 2 or b.axis not in (1, -1)):
        return None
    inputs = [*a.inputs(), *b.inputs(), made.scale_value, made.zero_input()]
    return FusedNode("QLinearMatMul", inputs, [made.codes], {}, product.name or "MatMul", "")


def _move(region: Region, node: Node, made: Codes) -> FusedNode | None:
    if node.domain or node.op_type not in MOVES or any(v.name for v in node.outputs[1:]):
        return None
    x = dequantized(region, node.inputs[0])
    if x is None or not x.is_one or x.codes.dtype != made.codes.dtype:
        return None
    same = _number(x.scale) == _number(made.scale) and _number(x.zero) == _number(made.zero)
    if not same or _number(x.scale) <= 0 or not isinstance(node, ir.Node):
        return None
    inputs = [x.codes, *node.inputs[1:]]
    values = native_attributes(node.attributes.values())
    return FusedNode(node.op_type, inputs, [made.codes], values, node.name or "", "")


def _number(array: Array | None) -> float:
    return 0.0 if array is None else float(array.reshape(-1)[0])

"""What stands between DequantizeLinear and QuantizeLinear besides products runs on codes.

1. `Quantize([Relu] Add|Mul(Dequantize(a), Dequantize(b)))` -> `QAdd`, `QMul`: the same float32
   steps, in registers.
2. `Quantize(f(... g(Dequantize(x))))`, functions of one operand or of one and numbers ->
   `CodesTable`: what each of the 256 codes becomes. Without a function: a change of scale.
3. `Quantize(Concat(Dequantize(x), ...))` -> `Concat` of `CodesTable`.
4. `Quantize(f(Dequantize(x)))` of an f that only moves or chooses elements: f, then `CodesTable`.
5. `Quantize([Relu] Gemm(Dequantize(a), Dequantize(w)[, Dequantize(b)]))` -> `QConvNhwc` of rows.

Codes of 8 bits with one constant scale. Sums are those of the plain path, to the last bit; those of
5 are exact integers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from toolkit.runtime import _core
from toolkit.runtime.constants import native_attributes
from toolkit.runtime.passes import elementwise
from toolkit.runtime.passes.quantized import (
    BYTES,
    MOVES,
    Codes,
    bias_codes,
    dequantized,
    is_least,
)
from toolkit.runtime.passes.region import FusedNode, Node, Region, attribute
from toolkit.runtime.values import to_native, to_numpy

ORDER = 21
LONGEST = 8  # Functions in a chain.

Array = np.ndarray[Any, Any]


def run(region: Region) -> None:
    """Runs the pass."""
    for node in region.nodes:
        if node in region and node.op_type == "QuantizeLinear" and node.domain == "":
            made = Codes(region, node.outputs[0], node)
            if made.is_one and made.codes.dtype in BYTES:
                _match(region, node, made)


def _match(region: Region, quantize: Node, made: Codes) -> None:
    before = region.producer(quantize.inputs[0])
    if before is None or not isinstance(before, ir.Node) or before.domain:
        return
    if before.op_type == "DequantizeLinear":
        _table(region, quantize, made)
        return
    if not region.is_private(before.outputs[0]):
        return
    nodes, relu = [quantize, before], before.op_type == "Relu"
    if relu:
        last = region.producer(before.inputs[0])
        if isinstance(last, ir.Node) and region.is_private(last.outputs[0]) and not last.domain:
            before = last
            nodes.append(last)
    if before.op_type in ("Add", "Mul"):
        new = _binary(region, before, made, relu)
        if new is not None:
            region.replace(nodes, new)
            return
    elif before.op_type == "Gemm":
        several = _gemm(region, before, made)
        if several is not None and (not relu or is_least(made)):
            region.expand(nodes, several)
        return
    elif before.op_type in MOVES and not relu:
        _move(region, quantize, before, made)
        return
    elif before.op_type == "Concat" and not relu:
        _concat(region, quantize, before, made)
        return
    _table(region, quantize, made)


def _binary(region: Region, node: Node, made: Codes, relu: bool) -> FusedNode | None:
    a, b = (dequantized(region, v) for v in node.inputs)
    if a is None or b is None or not a.is_one or not b.is_one:
        return None
    if {a.codes.dtype, b.codes.dtype} != {made.codes.dtype}:
        return None
    inputs = [*a.inputs(), *b.inputs(), made.scale_value, made.zero_input()]
    values = {"relu": 1} if relu else {}
    name = node.name or node.op_type
    return FusedNode(f"Q{node.op_type}", inputs, [made.codes], values, name)


def _chain(region: Region, value: ir.Value | None) -> tuple[Codes, list[Node]] | None:
    """The codes behind functions of one value, and these functions, the last one first."""
    nodes: list[Node] = []
    while len(nodes) <= LONGEST:
        node = region.producer(value)
        if node is None or node.domain:
            return None
        if node.op_type == "DequantizeLinear":
            found = dequantized(region, value)
            ok = found is not None and found.is_one and found.codes.dtype in BYTES
            return (found, nodes) if found is not None and ok else None
        if not region.is_private(node.outputs[0]) or elementwise.steps_of(region, node) is None:
            return None
        rest = [v for v in node.inputs if v is not None and region.number(v) is None]
        if len(rest) != 1 or not all(_is_narrow(region, v) for v in node.inputs if v is not None):
            return None
        nodes.append(node)
        value = rest[0]
    return None


def _is_narrow(region: Region, value: ir.Value) -> bool:
    """Whether a constant does not add dimensions."""
    return region.number(value) is None or not value.shape


def table_of(region: Region, x: Codes, nodes: list[Node], made: Codes) -> Array:
    """What becomes of the codes, by the bits of x's."""
    assert x.codes.dtype is not None
    kind = x.codes.dtype.numpy()
    now = _core.Tensor.from_array(np.arange(256, dtype=np.uint8).view(kind))
    now = _run("DequantizeLinear", {}, [now, *map(to_native, x.numbers(region))])
    for node in reversed(nodes):
        inputs = [
            None if v is None else now if (a := region.array(v)) is None else to_native(a)
            for v in node.inputs
        ]
        values = node.attributes if isinstance(node, FusedNode) else None
        if isinstance(node, ir.Node):
            values = native_attributes(node.attributes.values())
        now = _run(node.op_type, dict(values or {}), inputs)
    now = _run("QuantizeLinear", {}, [now, *map(to_native, made.numbers(region))])
    return to_numpy(now).reshape(256)


def _run(op_type: str, values: dict[str, Any], inputs: list[Any]) -> _core.Tensor:
    result = _core.Op("", op_type, values).run(inputs, 1)[0]
    assert result is not None
    return result


def constant(name: str, array: Array) -> ir.Value:
    """A value that holds an array."""
    tensor = ir.tensor(array, name=name)
    return ir.Value(
        name=name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(array.shape), const_value=tensor
    )


def _table(region: Region, quantize: Node, made: Codes) -> None:
    found = _chain(region, quantize.inputs[0])
    if found is None:
        return
    x, nodes = found
    table = constant(f"{made.codes.name}.table", table_of(region, x, nodes, made))
    name = nodes[0].name or nodes[0].op_type if nodes else quantize.name or "Requantize"
    new = FusedNode("CodesTable", [x.codes, table], [made.codes], {}, name)
    region.replace([quantize, *nodes], new)


def _concat(region: Region, quantize: Node, node: Node, made: Codes) -> None:
    new: list[FusedNode] = []
    parts = []
    for value in node.inputs:
        x = dequantized(region, value)
        if x is None or not x.is_one or x.codes.dtype not in BYTES:
            return
        table = table_of(region, x, [], made)
        if x.codes.dtype == made.codes.dtype and np.array_equal(
            table.view(np.uint8), np.arange(256)
        ):
            parts.append(x.codes)
            continue
        name = f"{made.codes.name}.{len(parts)}"
        part = ir.Value(name=name, type=made.codes.type, shape=x.codes.shape)
        inputs = [x.codes, constant(f"{name}.table", table)]
        new.append(FusedNode("CodesTable", inputs, [part], {}, name))
        parts.append(part)
    values = {"axis": attribute(node, "axis", 0)}
    new.append(FusedNode("Concat", parts, [made.codes], values, node.name or "Concat", ""))
    region.expand([quantize, node], new)


def _move(region: Region, quantize: Node, node: ir.Node, made: Codes) -> None:
    x = dequantized(region, node.inputs[0])
    if x is None or not x.is_one or x.codes.dtype not in BYTES or (x.scale or 0) <= 0:
        return
    if any(v.name for v in node.outputs[1:]):
        return
    name = f"{made.codes.name}.moved"
    codes = ir.Value(name=name, type=x.codes.type, shape=made.codes.shape)
    values = native_attributes(node.attributes.values())
    rest = [x.codes, *node.inputs[1:]]
    table = constant(f"{name}.table", table_of(region, x, [], made))
    new = [
        FusedNode(node.op_type, rest, [codes], values, node.name or node.op_type, ""),
        FusedNode("CodesTable", [codes, table], [made.codes], {}, name),
    ]
    region.expand([quantize, node], new)


def _gemm(region: Region, node: Node, made: Codes) -> list[FusedNode] | None:
    plain = attribute(node, "alpha", 1.0) == 1.0 == attribute(node, "beta", 1.0)
    a, w = (dequantized(region, v) for v in node.inputs[:2])
    if not plain or attribute(node, "transA", 0) or a is None or w is None or not a.is_one:
        return None
    transposed = attribute(node, "transB", 0)
    if a.codes.dtype not in BYTES or not (w.is_one or w.axis % 2 == 1 - transposed):
        return None
    codes = region.array(w.codes)
    bias = bias_codes(region, node, a, w)
    if codes is None or codes.ndim != 2 or bias is None or 0 in codes.shape:
        return None
    weights = signed(codes if transposed else codes.T, w.numbers(region)[1])
    if weights is None:
        return None
    x, new = unsigned(region, a)
    end, kind = made.codes, made.codes.type
    name = node.name or "Gemm"
    zero = np.uint8(int(made.numbers(region)[1].reshape(())) + _shift(made.codes))
    is_signed = made.codes.dtype == ir.DataType.INT8
    if is_signed:
        end = ir.Value(name=f"{end.name}.unsigned", type=ir.TensorType(ir.DataType.UINT8))
    inputs = [*x, constant(f"{name}.weights", weights), w.scale_value, made.scale_value]
    inputs += [constant(f"{name}.zero", np.asarray(zero)), *bias]
    new.append(FusedNode("QConvNhwc", inputs, [end], {}, name))
    if is_signed:
        table = constant(f"{name}.sign", FLIP.view(np.int8))
        out = [made.codes]
        assert kind is not None
        new.append(FusedNode("CodesTable", [end, table], out, {}, f"{name}.sign"))
    return new


FLIP = (np.arange(256) ^ 128).astype(np.uint8)  # From int8 to uint8 moved by 128, and back.


def _shift(codes: ir.Value) -> int:
    return 128 if codes.dtype == ir.DataType.INT8 else 0


def signed(codes: Array, zero: Array) -> Array | None:
    """Codes of weights, outputs first, less their zero points as int8; None: they do not fit."""
    if codes.dtype == np.int8 and not zero.any():
        return np.ascontiguousarray(codes)
    moved = codes.astype(np.int32) - zero.astype(np.int32).reshape(-1, *[1] * (codes.ndim - 1))
    if moved.min() < -128 or moved.max() > 127:
        return None
    return np.ascontiguousarray(moved.astype(np.int8))


def unsigned(region: Region, x: Codes) -> tuple[list[ir.Value | None], list[FusedNode]]:
    """Codes as uint8, their scale and zero point, and what makes them."""
    if x.codes.dtype == ir.DataType.UINT8:
        return x.inputs(), []
    zero = np.asarray(np.uint8(int(x.numbers(region)[1].reshape(())) + 128))
    name = f"{x.codes.name}.unsigned"
    codes = ir.Value(name=name, type=ir.TensorType(ir.DataType.UINT8), shape=x.codes.shape)
    table = constant(f"{name}.table", FLIP)
    node = FusedNode("CodesTable", [x.codes, table], [codes], {}, name)
    return [codes, x.scale_value, constant(f"{name}.zero", zero)], [node]

"""Quantized images lie channels last, as uint8, from one integer convolution to the next.

1. `QLinearConv` with constant weights that are signed bytes -> `QConvNhwc`; its first input is
   transposed where nothing has it channels last yet, and its output back for who wants it so.
2. `QAdd`, `QMul`, `CodesTable`, `MaxPool`, `Concat` of channels follow where their inputs are.
3. `Quantize(AveragePool|GlobalAveragePool|ReduceMean(Dequantize(x)))` -> `QAveragePoolNhwc`, whose
   sums are integers.

int8 becomes uint8, moved by 128 and its zero point too. For processors with AVX-512, whose
micro-kernels read four channels of a position as one number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir

from toolkit.runtime import _core
from toolkit.runtime.passes.match import made_by
from toolkit.runtime.passes.quantized import BYTES, Codes, dequantized
from toolkit.runtime.passes.quantized_codes import FLIP, constant, signed
from toolkit.runtime.passes.region import DOMAIN, FusedNode, Node, Region, attribute

ORDER = 22

_LAST, _FIRST = [0, 2, 3, 1], [0, 3, 1, 2]
_WINDOW = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides", "ceil_mode",
           "count_include_pad")  # fmt: skip
_LEAST_OUTPUTS = 16  # Of a group: panels have 32.


def run(region: Region) -> None:
    """Runs the pass."""
    convolutions = sum(n.op_type == "QLinearConv" for n in region.nodes)
    if _core.isa() != "x86-64-v4" or convolutions < 2:  # One would only be transposed.
        return
    layout = _Layout(region)
    for node in region.nodes:
        rule = _RULES.get(node.op_type)
        if rule is not None and node in region and node.domain in ("", DOMAIN):
            rule(layout, node)


class _Layout:
    """Which values exist channels last, under another name."""

    def __init__(self, region: Region) -> None:
        self.region = region
        self.twins: dict[ir.Value, ir.Value] = {}

    def has(self, value: ir.Value | None) -> bool:
        """Whether a value exists channels last."""
        return value in self.twins

    def enter(self, value: ir.Value) -> tuple[ir.Value, list[FusedNode]]:
        """A value channels last, and the nodes that make it so."""
        if value in self.twins:
            return self.twins[value], []
        name = f"{value.name}.nhwc"
        nodes, x = [], value
        if value.dtype == ir.DataType.INT8:
            x = ir.Value(name=f"{value.name}.unsigned", type=ir.TensorType(ir.DataType.UINT8))
            nodes.append(_table(value, x, FLIP))
        twin = self.twins[value] = ir.Value(name=name, type=ir.TensorType(ir.DataType.UINT8))
        nodes.append(FusedNode("Transpose", [x], [twin], {"perm": _LAST}, name, ""))
        return twin, nodes

    def replace(
        self, old: list[Node], before: list[FusedNode], op_type: str, inputs: list[Any],
        output: ir.Value, values: dict[str, Any] | None = None, domain: str = DOMAIN,
    ) -> None:  # fmt: skip
        """Puts a node channels last where `old` were, and one that brings its output back."""
        unsigned = ir.TensorType(ir.DataType.UINT8)
        twin = self.twins[output] = ir.Value(name=f"{output.name}.nhwc", type=unsigned)
        new = FusedNode(op_type, inputs, [twin], values or {}, old[-1].name or op_type, domain)
        nodes = [*before, new]
        back, name = output, f"{output.name}.nchw"
        if output.dtype == ir.DataType.INT8:
            back = ir.Value(name=name, type=unsigned)
        nodes.append(FusedNode("Transpose", [twin], [back], {"perm": _FIRST}, name, ""))
        if back is not output:
            nodes.append(_table(back, output, FLIP.view(np.int8)))
        self.region.expand(old, nodes)

    def zero(self, value: ir.Value | None, codes: ir.Value) -> ir.Value | None:
        """The zero point of codes as those of uint8; None where it is not known."""
        if codes.dtype == ir.DataType.UINT8:
            return value
        array = self.region.array(value)
        if array is None or array.size != 1:
            return None
        moved = np.asarray(np.uint8(int(array.reshape(())) + 128))
        return constant(f"{codes.name}.zero_moved", moved)


def _table(x: ir.Value, y: ir.Value, table: Any) -> FusedNode:
    name = f"{y.name}.table"
    return FusedNode("CodesTable", [x, constant(name, table)], [y], {}, name)


def _is_image(value: ir.Value | None) -> bool:
    return (
        value is not None
        and value.dtype in BYTES
        and value.shape is not None
        and len(value.shape) == 4
    )


def _window(node: Node) -> dict[str, Any]:
    values = {n: attribute(node, n, None) for n in _WINDOW}
    return {n: v for n, v in values.items() if v is not None}


def _conv(layout: _Layout, node: Node) -> None:
    region, group = layout.region, attribute(node, "group", 1)
    x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, *bias = node.inputs
    codes, zeros, y = region.array(w), region.array(w_zero), node.outputs[0]
    if x is None or codes is None or zeros is None or codes.ndim != 4 or 0 in codes.shape:
        return
    outputs, channels = codes.shape[:2]
    depthwise = channels == 1 and outputs == group > 1
    if group > 1 and not depthwise and (channels % 4 or outputs // group < _LEAST_OUTPUTS):
        return
    weights = signed(codes, zeros)
    ends = layout.zero(x_zero, x), layout.zero(y_zero, y)
    if weights is None or None in ends or y.dtype is None:
        return
    value = w if weights is codes else constant(f"{w.name if w else ''}.signed", weights)
    before: list[FusedNode] = []
    twin, before = layout.enter(x)
    inputs = [twin, x_scale, ends[0], value, w_scale, y_scale, ends[1], *bias]
    layout.replace([node], before, "QConvNhwc", inputs, y, _window(node))


def _binary(layout: _Layout, node: Node) -> None:
    region, y = layout.region, node.outputs[0]
    operands = [(node.inputs[i], node.inputs[i + 2]) for i in (0, 3)]
    if not any(layout.has(v) for v, _ in operands) or not all(
        _is_image(v) or region.array(v) is not None for v, _ in operands
    ):
        return
    inputs = list(node.inputs)
    before: list[FusedNode] = []
    for i, (codes, zero) in zip((0, 3), operands, strict=True):
        assert codes is not None
        array = region.array(codes)
        if array is not None and array.ndim <= 4:
            array = array.reshape([1] * (4 - array.ndim) + list(array.shape)).transpose(_LAST)
            if codes.dtype == ir.DataType.INT8:
                array = array.view(np.uint8) ^ np.uint8(128)
            inputs[i] = constant(f"{codes.name}.nhwc", np.ascontiguousarray(array))
        elif _is_image(codes):
            inputs[i], nodes = layout.enter(codes)
            before += nodes
        inputs[i + 2] = layout.zero(zero, codes)
    inputs[7] = layout.zero(node.inputs[7], y)
    if inputs[2] is None or inputs[5] is None or inputs[7] is None:
        return
    relu = {"relu": 1} if attribute(node, "relu", 0) else {}
    layout.replace([node], before, node.op_type, inputs, y, relu)


def _look_up(layout: _Layout, node: Node) -> None:
    x, y = node.inputs[0], node.outputs[0]
    table = layout.region.array(node.inputs[1])
    if x is None or not layout.has(x) or table is None:
        return
    bits = table.view(np.uint8)
    if x.dtype == ir.DataType.INT8:
        bits = bits[FLIP]
    if y.dtype == ir.DataType.INT8:
        bits = FLIP[bits]
    inputs = [layout.twins[x], constant(f"{y.name}.table", np.ascontiguousarray(bits))]
    layout.replace([node], [], "CodesTable", inputs, y)


def _max_pool(layout: _Layout, node: Node) -> None:
    x = node.inputs[0]
    if x is not None and layout.has(x) and not any(v.name for v in node.outputs[1:]):
        layout.replace([node], [], "MaxPoolNhwc", [layout.twins[x]], node.outputs[0], _window(node))


def _concat(layout: _Layout, node: Node) -> None:
    rank = len(node.outputs[0].shape) if node.outputs[0].shape is not None else 0
    axis = attribute(node, "axis", 0)
    if rank == 4 and all(layout.has(v) for v in node.inputs):
        twins = [layout.twins[v] for v in node.inputs if v is not None]
        values = {"axis": _LAST.index(axis % 4)}
        layout.replace([node], [], "Concat", twins, node.outputs[0], values, "")


def _average(layout: _Layout, quantize: Node) -> None:
    region, made = layout.region, Codes(layout.region, quantize.outputs[0], quantize)
    old, moved = [quantize], made_by(region, quantize.inputs[0], "Reshape", "Flatten")
    end = quantize.inputs[0] if moved is None else moved.inputs[0]
    pool = made_by(region, end, "AveragePool", "GlobalAveragePool", "ReduceMean")
    if pool is None or not made.is_one or made.codes.dtype not in BYTES:
        return
    for node in [pool] if moved is None else [pool, moved]:
        if not region.is_private(node.outputs[0]):
            return
        old.append(node)
    values = _mean_of(region, pool)
    x = dequantized(region, pool.inputs[0])
    if x is None or not x.is_one or not layout.has(x.codes) or values is None:
        return
    ends = layout.zero(x.zero_input(), x.codes), layout.zero(made.zero_input(), made.codes)
    inputs = [layout.twins[x.codes], x.scale_value, ends[0], made.scale_value, ends[1]]
    flat = pool.op_type == "ReduceMean" and not attribute(pool, "keepdims", 1)
    if moved is None and not flat:
        layout.replace(old, [], "QAveragePoolNhwc", inputs, made.codes, values)
        return
    names = [f"{made.codes.name}.{n}" for n in ("nhwc", "nchw", "moved")]
    wide, back, last = (ir.Value(name=n, type=ir.TensorType(ir.DataType.UINT8)) for n in names)
    nodes = [
        FusedNode("QAveragePoolNhwc", inputs, [wide], values, pool.name or pool.op_type),
        FusedNode("Transpose", [wide], [back], {"perm": _FIRST}, names[1], ""),
    ]
    if flat:
        axes = constant(f"{wide.name}.axes", np.array([2, 3]))
        squeezed = ir.Value(name=f"{back.name}.squeezed", type=wide.type)
        nodes.append(FusedNode("Squeeze", [back, axes], [squeezed], {}, "Squeeze", ""))
        back = squeezed
    is_signed = made.codes.dtype == ir.DataType.INT8
    result = last if is_signed else made.codes
    if moved is None:
        nodes.append(FusedNode("Identity", [back], [result], {}, "Identity", ""))
    else:
        kept = {n: attribute(moved, n, d) for n, d in _MOVES[moved.op_type]}
        rest = [back, *moved.inputs[1:]]
        nodes.append(FusedNode(moved.op_type, rest, [result], kept, moved.name or "", ""))
    if is_signed:
        nodes.append(_table(last, made.codes, FLIP.view(np.int8)))
    region.expand(old, nodes)


_MOVES = {"Reshape": [("allowzero", 0)], "Flatten": [("axis", 1)]}


def _mean_of(region: Region, pool: Node) -> dict[str, Any] | None:
    """Attributes of QAveragePoolNhwc; None where it is another mean."""
    if pool.op_type == "ReduceMean":
        axes = region.array(pool.inputs[1]) if len(pool.inputs) > 1 else None
        if axes is None or sorted(int(a) % 4 for a in axes.reshape(-1)) != [2, 3]:
            return None
    if pool.op_type != "AveragePool":
        return {"global": 1}
    values = _window(pool)
    # How many are counted at the end is the float kernel's matter.
    both = values.get("count_include_pad", 0) and values.get("ceil_mode", 0)
    return None if both else values


_RULES: dict[str, Callable[[_Layout, Node], None]] = {
    "QLinearConv": _conv,
    "QAdd": _binary,
    "QMul": _binary,
    "CodesTable": _look_up,
    "MaxPool": _max_pool,
    "Concat": _concat,
    "QuantizeLinear": _average,
}

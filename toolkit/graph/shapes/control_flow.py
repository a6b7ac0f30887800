"""Types and shapes through the subgraphs of If, Loop and Scan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx_ir as ir

from toolkit.errors import InvalidModelError
from toolkit.graph.shapes.registry import (
    UNKNOWN,
    Dims,
    NodeCall,
    TypeInfo,
    is_known,
    tensor_info,
)

OPERATORS = frozenset({"If", "Loop", "Scan", "SequenceMap"})


def infer(walk: Any, node: ir.Node, call: NodeCall) -> Sequence[TypeInfo]:
    """The outputs of a control-flow node; `walk` is the GraphInference that meets it."""
    if call.op_type == "If":
        return _if(walk, node)
    if call.op_type == "Loop":
        return _loop(walk, node, call)
    if call.op_type == "Scan":
        return _scan(walk, node, call)
    return _sequence_map(walk, node, call)


def _info(value: ir.Value) -> TypeInfo:
    return TypeInfo(value.type, None if value.shape is None else tuple(value.shape.dims))


def _set(value: ir.Value, info: TypeInfo) -> None:
    if info.type is not None:
        value.type = info.type
    value.shape = None if info.dims is None else ir.Shape(info.dims)


def merge_dims(a: Dims | None, b: Dims | None) -> Dims | None:
    """What is true of both shapes."""
    if a is None or b is None or len(a) != len(b):
        return None
    return tuple(
        x if is_known(x) and x == y else ir.SymbolicDim(None) for x, y in zip(a, b, strict=True)
    )


def _if(walk: Any, node: ir.Node) -> Sequence[TypeInfo]:
    branches = []
    for name in ("then_branch", "else_branch"):
        graph = node.attributes[name].as_graph()
        walk.run(graph)
        branches.append([_info(v) for v in graph.outputs])
    return [
        TypeInfo(a.type or b.type, merge_dims(a.dims, b.dims))
        for a, b in zip(*branches, strict=False)
    ]


def _loop(walk: Any, node: ir.Node, call: NodeCall) -> Sequence[TypeInfo]:
    body = _body(node, call, max(len(call.inputs), 2))
    carried = [call.input(i) for i in range(2, len(call.inputs))]
    scalars = [tensor_info(ir.DataType.INT64, ()), tensor_info(ir.DataType.BOOL, ())]
    for value, info in zip(body.inputs, scalars, strict=False):
        _set(value, info)
    carried = _fixed_point(walk, body, carried, list(body.inputs[2:]), body.outputs[1:])
    stacked = [_info(v) for v in body.outputs[1 + len(carried) :]]
    return [*carried, *[_with_axis(i, 0, ir.SymbolicDim(None)) for i in stacked]]


def _body(node: ir.Node, call: NodeCall, inputs: int) -> ir.Graph:
    body = node.attributes["body"].as_graph()
    if len(body.inputs) != inputs:
        need = f"a body of {inputs} inputs is required"
        raise call.fail(need, f"one of {len(body.inputs)}", InvalidModelError)
    return body


def _scan(walk: Any, node: ir.Node, call: NodeCall) -> Sequence[TypeInfo]:
    body = _body(node, call, len(call.inputs))
    scanned = int(call.attr("num_scan_inputs"))
    if not 0 < scanned <= len(call.inputs):
        need = f"num_scan_inputs from 1 to {len(call.inputs)} is required"
        raise call.fail(need, str(scanned), InvalidModelError)
    states = len(call.inputs) - scanned
    in_axes = call.attr("scan_input_axes") or (0,) * scanned
    if len(in_axes) != scanned:
        need = f"scan_input_axes of {scanned} entries is required"
        raise call.fail(need, str(len(in_axes)), InvalidModelError)
    length: int | ir.SymbolicDim = ir.SymbolicDim(None)
    for k in range(scanned):
        info = call.input(states + k)
        if info.dims is None or not info.dims:
            _set(body.inputs[states + k], TypeInfo(info.type, None))
            continue
        axis = in_axes[k] % len(info.dims)
        length = length if is_known(length) else info.dims[axis]
        rest = info.dims[:axis] + info.dims[axis + 1 :]
        _set(body.inputs[states + k], TypeInfo(info.type, rest))
    carried = [call.input(i) for i in range(states)]
    carried = _fixed_point(walk, body, carried, list(body.inputs[:states]), body.outputs)
    stacked = [_info(v) for v in body.outputs[states:]]
    out_axes = call.attr("scan_output_axes") or (0,) * len(stacked)
    return [
        *carried,
        *[_with_axis(i, axis, length) for i, axis in zip(stacked, out_axes, strict=False)],
    ]


def _sequence_map(walk: Any, node: ir.Node, call: NodeCall) -> Sequence[TypeInfo]:
    body = _body(node, call, len(call.inputs))
    for index, value in enumerate(body.inputs):
        info = call.input(index)
        if isinstance(info.type, ir.SequenceType):
            info = TypeInfo(info.type.elem_type, info.dims)
        _set(value, info)
    walk.run(body)
    made = [_info(v) for v in body.outputs]
    return [UNKNOWN if i.type is None else TypeInfo(ir.SequenceType(i.type), i.dims) for i in made]


def _fixed_point(
    walk: Any,
    body: ir.Graph,
    carried: list[TypeInfo],
    inputs: list[ir.Value],
    outputs: Sequence[ir.Value],
) -> list[TypeInfo]:
    """Widens the loop-carried shapes until one more turn of the body leaves them as they are."""
    while True:
        for value, info in zip(inputs, carried, strict=False):
            _set(value, info)
        walk.run(body)
        after = [
            TypeInfo(a.type, merge_dims(a.dims, _info(v).dims))
            for a, v in zip(carried, outputs, strict=False)
        ]
        if [i.dims for i in after] == [i.dims for i in carried]:
            return after
        carried = after
        for graph in (body, *body.subgraphs()):
            for node in graph:
                for value in node.outputs:  # Inferred from shapes that do not hold.
                    value.shape = None


def _with_axis(info: TypeInfo, axis: int, dim: int | ir.SymbolicDim) -> TypeInfo:
    """`info` with one more axis."""
    if info.dims is None:
        return info
    axis = axis % (len(info.dims) + 1)
    return TypeInfo(info.type, (*info.dims[:axis], dim, *info.dims[axis:]))

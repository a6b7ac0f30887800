"""Rules of the operators that pick and place elements."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from toolkit.graph.downgrade.registry import before
from toolkit.graph.edit import Edit

_OLD_REDUCTIONS = ("none", "add", "mul")


@before("ScatterElements", "ScatterND", opset=18)
def scatter_18(edit: Edit) -> None:
    """Reductions min and max came with opset 18."""
    reduction = edit.get("reduction", "none")
    if reduction not in _OLD_REDUCTIONS:
        raise edit.fail("reduction none, add or mul is required before opset 18", reduction)


@before("ScatterElements", "ScatterND", opset=16)
def scatter_16(edit: Edit) -> None:
    """Reductions came with opset 16: before, sums compare each place with each index.

    Memory and time are places times indices. ScatterND's sums are one matrix product, in which an
    update that is not finite reaches all places.
    """
    reduction = edit.get("reduction", "none")
    if reduction == "none":
        return
    if reduction != "add":
        raise edit.fail("reduction none or add is required before opset 16", reduction)
    rank = edit.rank(edit.node.inputs[0])
    if rank is None:
        raise edit.fail("a known rank is required before opset 16", "none")
    (_add_elements if edit.node.op_type == "ScatterElements" else _add_rows)(edit, rank)


def _add_elements(edit: Edit, rank: int) -> None:
    x, indices, updates = edit.node.inputs
    axis = edit.get("axis", 0) % rank
    shape = edit.op("Shape", [x])
    hit = _hits(edit, indices, edit.op("Gather", [shape, edit.const([axis])]), axis + 1)
    spread = edit.op("Unsqueeze", [updates, edit.const([axis + 1])])
    found = _sum_where(edit, hit, spread, axis)
    missing = edit.op("Sub", [shape, edit.op("Shape", [found])])
    pads = edit.op("Concat", [edit.const([0] * rank), missing], {"axis": 0})
    edit.replace(edit.op("Add", [x, edit.op("Pad", [found, pads])]))


def _add_rows(edit: Edit, rank: int) -> None:
    x, indices, updates = edit.node.inputs
    dims = None if indices is None else indices.shape
    if dims is None or not isinstance(dims[-1], int):
        raise edit.fail("a known last dimension of indices is required before opset 16", "none")
    depth, shape = dims[-1], edit.op("Shape", [x])
    flat = _flat(edit, indices, shape, depth)
    count = [_product(edit, shape, 0, depth), _product(edit, shape, depth, rank)]
    rows = edit.op("Reshape", [x, edit.op("Concat", count, {"axis": 0})])
    taken = [edit.op("Shape", [flat]), count[1]]
    values = edit.op("Reshape", [updates, edit.op("Concat", taken, {"axis": 0})])
    hit = _hits(edit, flat, count[0], 1)
    if x is not None and x.dtype is not None and x.dtype.is_floating_point():
        chosen = edit.op("Cast", [hit], {"to": int(x.dtype)})
        found = edit.op("MatMul", [edit.op("Transpose", [chosen], {"perm": [1, 0]}), values])
    else:
        spread = edit.op("Unsqueeze", [values, edit.const([1])])
        found = _sum_where(edit, edit.op("Unsqueeze", [hit, edit.const([2])]), spread, 0)
    edit.replace(edit.op("Reshape", [edit.op("Add", [rows, found]), shape]))


def _hits(edit: Edit, indices: Any, places: Any, axis: int) -> Any:
    """Whether an index is the place: a dimension of places more, at `axis`."""
    hot = edit.op("OneHot", [indices, places, edit.const([0, 1], np.float32)], {"axis": axis})
    return edit.op("Cast", [hot], {"to": int(ir.DataType.BOOL)})


def _sum_where(edit: Edit, hit: Any, updates: Any, axis: int) -> Any:
    chosen = edit.op("Where", [hit, updates, edit.const_like(0, updates)])
    return edit.op("ReduceSum", [chosen, edit.const([axis])], {"keepdims": 0})


def _product(edit: Edit, shape: Any, start: int, end: int) -> Any:
    part = edit.op("Slice", [shape, edit.const([start]), edit.const([end])])
    return edit.op("ReduceProd", [part, edit.const([0])], {"keepdims": 1})


def _flat(edit: Edit, indices: Any, shape: Any, depth: int) -> Any:
    """Index tuples as places in the flattened first dimensions."""
    parts = edit.op("Reshape", [indices, edit.const([-1, depth])])
    flat = None
    for i in range(depth):
        start, end = edit.const([i]), edit.const([i + 1])
        size = edit.op("Slice", [shape, start, end])
        part = edit.op("Slice", [parts, start, end, edit.const([1])])
        part = edit.op("Reshape", [part, edit.const([-1])])
        behind = edit.op("Less", [part, edit.const([0])])
        part = edit.op("Where", [behind, edit.op("Add", [part, size]), part])
        flat = part if flat is None else edit.op("Add", [edit.op("Mul", [flat, size]), part])
    return flat


@before("ScatterElements", opset=11)
def scatter_elements_11(edit: Edit) -> None:
    """ScatterElements was Scatter."""
    edit.node.op_type = "Scatter"

"""Adapters of BatchNormalization and GroupNormalization."""

from __future__ import annotations

import onnx_ir as ir

from toolkit.graph.edit import Edit, take_place
from toolkit.graph.upgrade.registry import adapter


@adapter("BatchNormalization", to=7)
def batch_normalization_7(edit: Edit) -> None:
    """Attribute is_test -> training by the number of outputs, as opset 7 to 13 have it.

    is_test=0 with one output normalizes by the batch's statistics too.
    """
    edit.node.attributes.pop("consumed_inputs", None)
    is_test = edit.pop("is_test", 0)
    if not is_test:
        edit.put("training_mode", 1)
    elif not any(v.uses() or v.is_graph_output() for v in edit.node.outputs[1:]):
        edit.node.resize_outputs(1)


@adapter("BatchNormalization", to=9)
def batch_normalization_9(edit: Edit) -> None:
    """Attribute spatial=0 (a mean and variance for each activation) -> its formula.

    y = (x - mean) / sqrt(var + epsilon) * scale + B, all of shape (C, D1, ...).
    """
    if edit.pop("spatial", 1):
        return
    if len([v for v in edit.node.outputs if v.uses()]) > 1 or edit.get("training_mode", 0):
        raise edit.fail("spatial=1 is required in training mode", "spatial=0")
    x, scale, bias, mean, var = edit.node.inputs
    assert var is not None
    epsilon = edit.const_like(edit.get("epsilon", 1e-5), var, "epsilon")
    deviation = edit.op("Sqrt", [edit.op("Add", [var, epsilon])])
    normal = edit.op("Div", [edit.op("Sub", [x, mean]), deviation])
    edit.replace(edit.op("Add", [edit.op("Mul", [normal, scale]), bias]))


@adapter("BatchNormalization", to=14)
def batch_normalization_14(edit: Edit) -> None:
    """Outputs Y, mean, var, saved_mean, saved_var -> Y, running_mean, running_var.

    1. Training is said by training_mode=1 instead of by the number of outputs, used or not.
    2. saved_mean, saved_var are the batch's mean and (biased) variance over all axes but 1.
    """
    node = edit.node
    used = [bool(v.uses()) or v.is_graph_output() for v in node.outputs]
    if any(v.name for v in node.outputs[1:]):
        edit.put("training_mode", 1)
    if not edit.get("training_mode", 0):
        node.resize_outputs(1)
        return
    if len(node.outputs) > 3:
        _saved_statistics(edit, used[3:])
    before = len(node.outputs)
    node.resize_outputs(3)
    for value in node.outputs[before:]:
        value.name = edit.names.new(f"{node.outputs[0].name}.running")


def _saved_statistics(edit: Edit, used: list[bool]) -> None:
    """Writes the batch's mean and variance where they are used."""
    node = edit.node
    x = node.inputs[0]
    rank = edit.rank(x)
    if not any(used):
        return
    if rank is None:
        raise edit.fail("the rank of X is required for saved_mean", "an unknown rank")
    axes = edit.const([0, *range(2, rank)], wish="axes")
    mean = edit.op("ReduceMean", [x, axes], {"keepdims": 1})
    squares = edit.op("Mul", [edit.op("Sub", [x, mean])] * 2)
    take_place(node.outputs[3], edit.op("Squeeze", [mean, axes]))
    if len(node.outputs) > 4:
        variance = edit.op("ReduceMean", [squares, axes], {"keepdims": 0})
        take_place(node.outputs[4], variance)


@adapter("GroupNormalization", to=21)
def group_normalization_21(edit: Edit) -> None:
    """Inputs scale, bias of shape (num_groups,) -> (C,): repeated for each group's channels.

    scale' = Reshape(Expand(Unsqueeze(scale, 1), [1, C / num_groups]), [-1])
    """
    x, scale, bias = edit.node.inputs
    groups = edit.get("num_groups")
    channels = edit.op("Shape", [x], {"start": 1, "end": 2})
    each = edit.op("Div", [channels, edit.const([groups])])
    target = edit.op("Concat", [edit.const([1]), each], {"axis": 0})

    def repeated(value: ir.Value | None) -> ir.Value:
        column = edit.op("Unsqueeze", [value, edit.const([1])])
        wide = edit.op("Expand", [column, target])
        result: ir.Value = edit.op("Reshape", [wide, edit.const([-1])])
        return result

    edit.set_inputs(x, repeated(scale), repeated(bias))

"""Rules of Pad and Shape."""

from __future__ import annotations

from toolkit.graph.downgrade.registry import before
from toolkit.graph.edit import Edit
from toolkit.graph.pads import positions


@before("Pad", opset=19)
def pad_19(edit: Edit) -> None:
    """Mode wrap came with opset 19: `Concat(x[-begin:], x, x[:end])` along each axis."""
    if edit.get("mode", "constant") != "wrap":
        return
    rank, pads = edit.rank(edit.node.inputs[0]), edit.constant_of(1)
    axes = None if edit.input(3) is None else edit.constant_of(3)
    unknown = edit.input(3) is not None and axes is None
    if rank is None or pads is None or unknown or min(pads, default=0) < 0:
        need = "mode wrap with constant pads of a known rank, none negative, is required"
        raise edit.fail(f"{need} before opset 19", "others")
    places = list(range(rank)) if axes is None else [int(a) % rank for a in axes]
    y = edit.node.inputs[0]
    for i, axis in enumerate(places):
        begin, end = int(pads[i]), int(pads[len(places) + i])
        parts = [y]
        if begin:
            bounds = (edit.const([n]) for n in (-begin, 2**62, axis))
            parts.insert(0, edit.op("Slice", [y, *bounds]))
        if end:
            parts.append(edit.op("Slice", [y, *(edit.const([n]) for n in (0, end, axis))]))
        y = edit.op("Concat", parts, {"axis": axis}) if len(parts) > 1 else y
    assert y is not None
    edit.replace(edit.op("Identity", [y]) if y is edit.node.inputs[0] else y)


@before("Pad", opset=18)
def pad_18(edit: Edit) -> None:
    """Input axes -> pads of all axes: `pads' = Gather(Concat(pads, [0]), positions)`."""
    if edit.input(3) is None:
        return
    data, pads, value, axes = edit.node.inputs
    rank, known, chosen = edit.rank(data), edit.constant_of(1), edit.constant_of(3)
    if rank is None or chosen is None:
        need = "constant axes and a known rank are required before opset 18"
        raise edit.fail(need, "others")
    places = positions(chosen.tolist(), rank)
    edit.folded.update(v.name for v in (pads, axes) if v is not None and v.name)
    if known is not None:
        full = edit.const([[*known.tolist(), 0][p] for p in places], wish="pads")
    else:
        padded = edit.op("Concat", [pads, edit.const([0])], {"axis": 0})
        full = edit.op("Gather", [padded, edit.const(places)])
    edit.set_inputs(data, full, value)


@before("Pad", opset=11)
def pad_11(edit: Edit) -> None:
    """Inputs pads, constant_value -> attributes."""
    value = edit.input_as_attribute(2, "constant_value", default=(0.0,))
    edit.put("pads", edit.input_as_attribute(1, "pads"))
    edit.put("value", float(value[0]))


@before("Shape", opset=15)
def shape(edit: Edit) -> None:
    """Attributes start, end -> Slice of the whole shape."""
    start, end = edit.pop("start", 0), edit.pop("end", None)
    if not start and end is None:
        return
    x = edit.node.inputs[0]
    whole = edit.op("Shape", [x])
    last = 2**63 - 1 if end is None else end
    bounds = [edit.const([start]), edit.const([last]), edit.const([0])]
    edit.replace(edit.op("Slice", [whole, *bounds]))


@before("Reshape", opset=14)
def reshape_14(edit: Edit) -> None:
    """Attribute allowzero came with opset 14; it matters for tensors without elements only.

    A shape that is computed is taken to hold no zeros.
    """
    if not edit.get("allowzero", 0):
        return
    known = edit.constant_of(1)
    if known is not None and (known == 0).any():
        raise edit.fail("a shape without zeros is required before opset 14", str(known.tolist()))
    edit.pop("allowzero")

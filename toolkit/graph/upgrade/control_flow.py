"""Adapters of Scan."""

from __future__ import annotations

import onnx_ir as ir

from toolkit.graph.edit import Edit
from toolkit.graph.shapes.node import info_of
from toolkit.graph.shapes.registry import TypeInfo
from toolkit.graph.upgrade.registry import adapter


@adapter("Scan", to=9)
def scan_9(edit: Edit) -> None:
    """A scan of a batch (axis 0) of sequences (axis 1) -> a scan over the batch of scans.

    With sequence_lens, an item's sequences are cut to its length before, and its outputs, which the
    old operator left undefined behind it, are filled with zeros after.
    """
    node = edit.node
    lengths, *values = node.inputs
    count = len(values)
    scanned = edit.pop("num_scan_inputs")
    states = count - scanned
    items = [_item(edit, v, f"item{k}") for k, v in enumerate(values) if v is not None]
    inputs, body = list(items), _Body(edit)
    if lengths is not None:
        length = _item(edit, lengths, "length")
        inputs.append(length)
        for k in range(states, count):
            items[k] = body.head(items[k], length)
    attributes = [node.attributes["body"], ir.AttrInt64("num_scan_inputs", scanned)]
    directions = edit.pop("directions", None)
    if directions is not None:
        attributes.append(ir.AttrInt64s("scan_input_directions", directions))
    results = body.op("Scan", items, attributes, len(node.outputs))
    if lengths is not None:
        whole = body.op("Shape", [inputs[states]], [ir.AttrInt64("end", 1)])
        for k in range(states, len(results)):
            results[k] = body.filled(results[k], whole[0])
    graph = ir.Graph(inputs, results, nodes=body.nodes, name="batch",
                     opset_imports=dict(edit.graph.opset_imports))  # fmt: skip
    node.attributes["body"] = ir.AttrGraph("body", graph)
    edit.put("num_scan_inputs", len(inputs))
    edit.set_inputs(*values, *([lengths] if lengths is not None else []))


def _item(edit: Edit, value: ir.Value, wish: str) -> ir.Value:
    """The formal input that stands for `value` without its batch axis."""
    info = info_of(value)
    rest = TypeInfo(info.type, info.dims[1:] if info.dims else None)
    shape = None if rest.dims is None else ir.Shape(rest.dims)
    base = edit.node.outputs[0].name or "scan"
    return ir.Value(name=edit.names.new(f"{base}.{wish}"), type=rest.type, shape=shape)


class _Body:
    """The nodes of the new body."""

    def __init__(self, edit: Edit) -> None:
        self.edit = edit
        self.nodes: list[ir.Node] = []
        self.base = edit.node.outputs[0].name or "scan"

    def op(
        self, op_type: str, inputs: list[ir.Value], attributes: list[ir.Attr], outputs: int = 1
    ) -> list[ir.Value]:
        """Appends a node."""
        name = self.edit.names.new
        values = [ir.Value(name=name(f"{self.base}.{op_type}")) for _ in range(outputs)]
        node = ir.Node("", op_type, inputs, attributes, outputs=values, name=values[0].name)
        self.nodes.append(node)
        return values

    def const(self, *numbers: int) -> ir.Value:
        """An int64 vector."""
        return self.op("Constant", [], [ir.AttrInt64s("value_ints", numbers)])[0]

    def head(self, value: ir.Value, length: ir.Value) -> ir.Value:
        """The first `length` elements along axis 0."""
        (stop,) = self.op("Unsqueeze", [length, self.const(0)], [])
        return self.op("Slice", [value, self.const(0), stop, self.const(0)], [])[0]

    def filled(self, value: ir.Value, length: ir.Value) -> ir.Value:
        """Zeros behind `value` until it has `length` elements along axis 0."""
        size = self.op("Shape", [value], [ir.AttrInt64("end", 1)])
        missing = self.op("Sub", [length, *size], [])
        pads = self.op("Concat", [self.const(0), *missing], [ir.AttrInt64("axis", 0)])
        # Pad in opset 18's form: value left out, axes given.
        inputs = [value, pads[0], None, self.const(0)]
        return self.op("Pad", inputs, [])[0]  # type: ignore[arg-type]

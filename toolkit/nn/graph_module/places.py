"""The tensors of a file by name: initializers and the values of Constant nodes, of all its graphs.

A name that occurs in several graphs gets a number: "weight", "weight#1". The same walk gives the
same names over a `GraphProto` and over an `ir.Graph`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from toolkit.graph.survey import subgraphs

_TENSORS = ("value", "value_float", "value_floats", "value_int", "value_ints")


class Keys:
    """Gives each tensor a name of its own."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def take(self, name: str) -> str:
        """The key of the next tensor with this name."""
        count = self._counts.get(name, 0)
        self._counts[name] = count + 1
        return f"{name}#{count}" if count else name


@dataclass
class Place:
    """Where a tensor of a file is.

    Attributes:
        name: in its own graph.
        tensor: an initializer, or the tensor of a Constant node.
        attribute: of a Constant node, where its numbers stand in the attribute itself.
        node: the Constant node.
        graph: the graph that holds it.
    """

    name: str
    graph: onnx.GraphProto
    tensor: onnx.TensorProto | None = None
    attribute: onnx.AttributeProto | None = None
    node: onnx.NodeProto | None = None

    def read(self) -> np.ndarray[Any, Any]:
        """Its elements."""
        if self.tensor is not None:
            return onnx.numpy_helper.to_array(self.tensor)
        assert self.attribute is not None
        found = onnx.helper.get_attribute_value(self.attribute)
        kind = np.float32 if self.attribute.name.startswith("value_float") else np.int64
        return np.asarray(found, kind)

    def write(self, array: np.ndarray[Any, Any]) -> bool:
        """Replaces its elements, in the field of the file that held them, unless they equal.

        Returns:
            Whether they differed.
        """
        before = self.read()
        same = before.shape == array.shape and before.dtype == array.dtype
        if same and before.tobytes() == array.tobytes():
            return False
        if self.tensor is not None:
            _write_tensor(self.tensor, array)
            return True
        assert self.attribute is not None
        if self.attribute.name == "value_float" and array.ndim == 0:
            self.attribute.f = float(array)
        elif self.attribute.name == "value_floats" and array.ndim == 1:
            del self.attribute.floats[:]
            self.attribute.floats.extend(array.tolist())
        else:
            made = onnx.helper.make_attribute("value", onnx.numpy_helper.from_array(array))
            self.attribute.CopyFrom(made)
        return True


def _write_tensor(tensor: onnx.TensorProto, array: np.ndarray[Any, Any]) -> None:
    made = onnx.numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape))
    field = {"float32": "float_data", "float64": "double_data"}.get(str(array.dtype))
    listed = field is not None and len(getattr(tensor, field)) > 0
    for name in ("raw_data", "float_data", "double_data", "int32_data", "int64_data"):
        tensor.ClearField(name)
    tensor.data_type = made.data_type
    tensor.dims[:] = made.dims
    if listed and field is not None:
        getattr(tensor, field).extend(array.ravel().tolist())
    else:
        tensor.raw_data = made.raw_data


def places_of(graph: onnx.GraphProto) -> dict[str, Place]:
    """The numeric tensors of a graph and the graphs in it, by key, in the order of the file."""
    return dict(_walk(graph, Keys()))


def _walk(graph: onnx.GraphProto, keys: Keys) -> Iterator[tuple[str, Place]]:
    for tensor in graph.initializer:
        key = keys.take(tensor.name)
        if tensor.data_type != onnx.TensorProto.STRING:
            yield key, Place(tensor.name, graph, tensor)
    for node in graph.node:
        if node.op_type == "Constant" and not node.domain:
            key = keys.take(node.output[0])
            for attribute in node.attribute:
                if attribute.name == "value" and attribute.t.data_type != onnx.TensorProto.STRING:
                    yield key, Place(node.output[0], graph, attribute.t, None, node)
                elif attribute.name in _TENSORS[1:]:
                    yield key, Place(node.output[0], graph, None, attribute, node)
        for inner in subgraphs(node):
            yield from _walk(inner, keys)

"""A module's tensors, put into the file that they are from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx

from toolkit.autograd import no_grad
from toolkit.graph.training_info import strip
from toolkit.nn.graph_module.places import Place, places_of
from toolkit.nn.graph_module.quantized import dequantizer, stored
from toolkit.runtime.values import to_numpy

if TYPE_CHECKING:
    import numpy as np

    from toolkit.nn.graph_module.module import GraphModule


def filled(module: GraphModule) -> onnx.ModelProto:
    """A copy of the module's file in which the tensors that changed are as they are now."""
    proto = onnx.ModelProto()
    proto.CopyFrom(module._source)
    changed = False
    for key, place in places_of(proto.graph).items():
        if key in module._places:
            changed |= place.write(_stored(module, key, place))
    if changed:
        strip(proto)  # It described the weights as they were.
    return proto


def _stored(module: GraphModule, key: str, place: Place) -> np.ndarray[Any, Any]:
    """The numbers of a tensor as its place in the file holds them."""
    with no_grad():
        tensor = module.tensor_of(key).detach()
        change = module._parametrizations.get(key)
        tensor = tensor if change is None else change(tensor).detach()
        before = place.read()
        node = dequantizer(module._model.graph.initializers[key])
        if node is not None and before.dtype != to_numpy(tensor._get()).dtype:
            scale, zero = (
                None if v is None else module.tensor_of(v.name or "")
                for v in (node.inputs[1], node.inputs[2] if len(node.inputs) > 2 else None)
            )
            return stored(tensor, node, scale, zero, before)
        array: np.ndarray[Any, Any] = to_numpy(tensor._get())
    return array if array.dtype == before.dtype else array.astype(before.dtype)

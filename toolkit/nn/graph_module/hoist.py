"""The graph that a `GraphModule` runs: the file at the canonical opset, with its weights on top.

1. Float values of Constant nodes, and those of graphs inside If, Loop and Scan, become initializers
   of the main graph under their keys; so do integers that DequantizeLinear reads.
2. An initializer that is an input too (a default that may be fed) is no input.
3. Stored weights that DequantizeLinear alone reads become floats: see `quantized.py`.
"""

from __future__ import annotations

import contextlib
import warnings
from typing import Any

import onnx
import onnx_ir as ir

from toolkit.errors import ToolkitWarning
from toolkit.graph.edit import constant_of
from toolkit.graph.io import load_with_source
from toolkit.graph.passes import inline_functions
from toolkit.graph.walk import subgraphs
from toolkit.nn.graph_module.places import Keys
from toolkit.nn.graph_module.quantized import shadow


def canonical(source: Any, again: bool = False) -> tuple[ir.Model, onnx.ModelProto, Any]:
    """The model that runs, the file and its external layout.

    Args:
        source: as in `load_with_source`.
        again: the file was read before: no checks, no warnings.
    """
    with warnings.catch_warnings() if again else contextlib.nullcontext():
        if again:
            warnings.simplefilter("ignore", ToolkitWarning)
        model, proto, layout = load_with_source(source, _hoist, checked=again)
    inline_functions(model)
    shadow(model)
    return model, proto, layout


def _hoist(model: ir.Model) -> None:
    graph = model.graph
    kept = [v for v in graph.inputs if v.name not in graph.initializers]
    if len(kept) < len(graph.inputs):
        graph.inputs.clear()
        graph.inputs.extend(kept)
    _hoist_graph(graph, graph, Keys())


def _hoist_graph(graph: ir.Graph, main: ir.Graph, keys: Keys) -> None:
    for value in list(graph.initializers.values()):
        key = keys.take(value.name or "")
        if graph is not main and value.const_value is not None and _is_wanted(value, value.dtype):
            tensor = value.const_value
            del graph.initializers[str(value.name)]
            _to_top(value, tensor, key, main)
    for node in list(graph):
        if node.op_type == "Constant" and not node.domain:
            output = node.outputs[0]
            key = keys.take(output.name or "")
            array = constant_of(output)
            if array is not None and _is_wanted(output, ir.DataType.from_numpy(array.dtype)):
                given = node.attributes["value"].value if "value" in node.attributes else array
                _to_top(output, given, key, main)
                graph.remove(node, safe=True)
        for inner in subgraphs(node):
            _hoist_graph(inner, main, keys)


def _is_wanted(value: ir.Value, dtype: ir.DataType | None) -> bool:
    if dtype is None or dtype == ir.DataType.STRING:
        return False
    return is_float(dtype) or any(u.node.op_type == "DequantizeLinear" for u in value.uses())


def is_float(dtype: ir.DataType | None) -> bool:
    """Whether parameters may be of this type."""
    return dtype in (
        ir.DataType.FLOAT,
        ir.DataType.DOUBLE,
        ir.DataType.FLOAT16,
        ir.DataType.BFLOAT16,
    )


def _to_top(value: ir.Value, tensor: Any, key: str, main: ir.Graph) -> None:
    """An initializer of the main graph in the place of a value."""
    tensor = tensor if isinstance(tensor, ir.TensorProtocol) else ir.tensor(tensor)
    value.const_value = value.name = None  # In this order: the tensor is the file's.
    made = ir.Value(
        name=key, type=ir.TensorType(tensor.dtype), shape=ir.Shape(tensor.shape), const_value=tensor
    )
    main.register_initializer(made)
    for inner in main.subgraphs() if value.is_graph_output() else ():
        for i, output in enumerate(inner.outputs):
            if output is value:
                passed = ir.Node("", "Identity", [made], num_outputs=1)
                passed.outputs[0].type, passed.outputs[0].shape = made.type, made.shape
                passed.outputs[0].name = f"{key}.passed"
                inner.append(passed)
                inner.outputs[i] = passed.outputs[0]
    ir.convenience.replace_all_uses_with(value, made, replace_graph_outputs=True)

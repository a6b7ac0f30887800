"""Puts right in a file what can be understood but is against the standard, or a rare form of it.

1. Before IR version 4 a file without an opset is of opset 1.
2. Nodes that stand before what they read are sorted, in subgraphs too.
3. Sparse initializers and constants become dense.
4. A negative dimension of an input or output is an unknown one.
5. Operators that onnxruntime's tools put in ONNX's domain, which lacks them, are com.microsoft's.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import numpy_helper

from toolkit.graph.check import invalid
from toolkit.graph.survey import Survey, graphs_of, reads, subgraphs, survey

_LARGEST = 2**31  # Bytes of one dense tensor.


def normalize(
    proto: onnx.ModelProto, where: str, held: Survey
) -> tuple[onnx.ModelProto, list[str], Survey]:
    """The model as the standard wants it, what was against it, and the survey of it.

    `proto` is not changed.

    Args:
        proto: The parsed file.
        where: The beginning of a message.
        held: The survey of it.

    Raises:
        InvalidModelError: The nodes form a cycle, or a sparse tensor is malformed or too large.
    """
    names_opset = bool(proto.opset_import) or proto.ir_version >= 4 or proto.ir_version < 3
    foreign = any(e.domain == "com.microsoft" for e in proto.opset_import) and _is_foreign(proto)
    odd = held.sparse or not held.ordered or _has_negative_dims(proto.graph, held)
    if names_opset and not foreign and not odd:
        return proto, [], held
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    found = []
    if not names_opset:
        copy.opset_import.add(domain="", version=1)
        found.append("an opset is required, got none: it is read as opset 1")
    if foreign:
        from toolkit.graph.contrib.adopt import adopt

        adopt(copy)
    for graph in list(graphs_of(copy.graph)) if held.nested else [copy.graph]:
        if held.sparse:
            _densify(graph, where)
        for value in (*graph.input, *graph.output):
            _forget_negative_dims(value)
    if not held.ordered:
        _sort(copy.graph, where)
        found.append("nodes behind what they read are required, got others: they are sorted")
    return copy, found, survey(copy) if foreign or held.sparse else held


def _is_foreign(proto: onnx.ModelProto) -> bool:
    from toolkit.graph.contrib.adopt import is_foreign  # Not for files of others.

    return is_foreign(proto)


def _has_negative_dims(graph: onnx.GraphProto, held: Survey) -> bool:
    graphs = graphs_of(graph) if held.nested else [graph]
    return any(_negative_dims(v) for g in graphs for v in (*g.input, *g.output))


def _sort(graph: onnx.GraphProto, where: str) -> None:
    """Sorts nodes: each as soon as what it reads is there, else in the given order."""
    for node in graph.node:
        for inner in subgraphs(node):
            _sort(inner, where)
    maker = {name: k for k, node in enumerate(graph.node) for name in node.output if name}
    needs = {
        k: {maker[name] for name in reads(node) if name in maker}
        for k, node in enumerate(graph.node)
    }
    order = _topological(needs)
    if len(order) < len(needs):
        stuck = graph.node[min(set(needs) - set(order))]
        name = stuck.name or stuck.output[0]
        raise invalid(where, f"no node reads its own result, but '{name}' does through others")
    nodes = [graph.node[k] for k in order]
    kept = [onnx.NodeProto() for _ in nodes]
    for a, b in zip(kept, nodes, strict=True):
        a.CopyFrom(b)
    del graph.node[:]
    graph.node.extend(kept)


def _topological(needs: dict[int, set[int]]) -> list[int]:
    """Numbers whose needs come before them, small ones first; those in a cycle are left out."""
    users: dict[int, list[int]] = {k: [] for k in needs}
    for k, before in needs.items():
        for other in before:
            users[other].append(k)
    missing = {k: len(before) for k, before in needs.items()}
    ready = [k for k, count in missing.items() if not count]
    heapq.heapify(ready)
    order = []
    while ready:
        k = heapq.heappop(ready)
        order.append(k)
        for user in users[k]:
            missing[user] -= 1
            if not missing[user]:
                heapq.heappush(ready, user)
    return order


def _densify(graph: onnx.GraphProto, where: str) -> None:
    for sparse in graph.sparse_initializer:
        graph.initializer.append(_dense(sparse, where))
    del graph.sparse_initializer[:]
    for node in graph.node:
        for attr in node.attribute:
            if attr.type == onnx.AttributeProto.SPARSE_TENSOR and attr.name == "sparse_value":
                tensor = _dense(attr.sparse_tensor, where)
                attr.Clear()
                attr.CopyFrom(onnx.helper.make_attribute("value", tensor))


def _dense(sparse: onnx.SparseTensorProto, where: str) -> onnx.TensorProto:
    """Indices are (NNZ,) of the flat tensor or (NNZ, rank)."""
    name, dims = sparse.values.name, list(sparse.dims)
    try:
        onnx.checker.check_sparse_tensor(sparse)
        values = numpy_helper.to_array(sparse.values)
        indices = numpy_helper.to_array(sparse.indices)
        if values.dtype.kind == "O" or math.prod(dims) * values.itemsize > _LARGEST:
            raise ValueError(f"numbers for a shape that is not too large, got {tuple(dims)}")
        result = np.zeros(dims, values.dtype)
        place = indices if indices.ndim == 1 else np.ravel_multi_index(tuple(indices.T), dims)
        result.reshape(-1)[place] = values
        return numpy_helper.from_array(result, name)
    except Exception as error:  # Onnx refuses malformed tensors in many ways.
        raise invalid(where, f"sparse tensor {name!r}: {error}") from None


def _negative_dims(value: onnx.ValueInfoProto) -> Sequence[onnx.TensorShapeProto.Dimension]:
    return [d for d in value.type.tensor_type.shape.dim if d.dim_value < 0]


def _forget_negative_dims(value: onnx.ValueInfoProto) -> None:
    for dim in _negative_dims(value):
        dim.Clear()

"""Files in which onnxruntime's own operators stand in ONNX's domain."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from toolkit.graph.contrib.registry import DOMAIN, bodies


def adopt(proto: onnx.ModelProto) -> None:
    """Makes a model of onnxruntime's valid, in place.

    1. Its operators in ONNX's domain, of which ONNX has none at that opset, move to its own domain.
    2. BatchNormalization outside of training gives one output.
    """
    foreign = list(_foreign(proto))
    for node in foreign:
        node.domain = DOMAIN
    for node in nodes_of(proto.graph):
        if node.domain not in ("", "ai.onnx"):
            continue
        if node.op_type == "BatchNormalization" and not any(
            a.name == "training_mode" and a.i for a in node.attribute
        ):
            del node.output[1:]
    if not any(entry.domain == DOMAIN for entry in proto.opset_import):
        proto.opset_import.add(domain=DOMAIN, version=1)


def is_foreign(proto: onnx.ModelProto) -> bool:
    """Whether a file of onnxruntime's tools has operators of its own in ONNX's domain."""
    return any(e.domain == DOMAIN for e in proto.opset_import) and any(_foreign(proto))


def _foreign(proto: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    version = next((e.version for e in proto.opset_import if e.domain in ("", "ai.onnx")), 1)
    for node in nodes_of(proto.graph):
        if node.domain not in ("", "ai.onnx") or node.op_type not in bodies():
            continue
        if not _is_standard(node.op_type, version):
            yield node


def nodes_of(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """The nodes of a graph and of its subgraphs."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from nodes_of(inner)


def _is_standard(op_type: str, version: int) -> bool:
    try:
        onnx.defs.get_schema(op_type, version, "")
    except onnx.defs.SchemaError:
        return False
    return True

"""Files with training, rewritten for others: without it, or in standard operators only."""

from __future__ import annotations

import os
from collections.abc import Sequence

import onnx
import onnx.inliner
import onnx_ir as ir

from toolkit.errors import InvalidArgumentError, UnsupportedOperatorError
from toolkit.graph.io import DEFAULT_EXPORT_OPSET, load_model, read_proto, to_proto
from toolkit.graph.survey import graphs_of
from toolkit.graph.training_file import write_training
from toolkit.graph.training_info import strip
from toolkit.graph.training_join import FIRST_IR, Entry, check_training, join, rename, split
from toolkit.train.reading import initializations

PREVIEW = "ai.onnx.preview.training"
_WHERE = "lower_training"


def strip_training(path_in: str | os.PathLike[str], path_out: str | os.PathLike[str]) -> None:
    """Writes a model without its training: what some validators ask for, and smaller.

    The inference graph, its weights and its opset stay as they are.

    Args:
        path_in: a file with or without training_info.
        path_out: the file to write; it may be the same.

    Raises:
        InvalidModelError: it is no valid model.
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(read_proto(path_in))
    strip(proto)
    write_training(proto, path_out)


def lower_training(
    model: onnx.ModelProto | str | os.PathLike[str] | bytes, opset: int | None = None
) -> onnx.ModelProto:
    """The model with ai.onnx.preview.training written out in standard operators.

    Gradient, Adam, Momentum and Adagrad are replaced in the graph and in training_info, whose
    bindings and names of inputs, outputs and initializers stay.

    Args:
        model: a model, which is not changed, or a file.
        opset: of the result; the model's own where gradients can be written in it, else
            `DEFAULT_EXPORT_OPSET`.

    Raises:
        InvalidModelError: it is no valid model.
        UnsupportedOperatorError: a gradient must pass an operator that has none, or `opset` lacks
            an operator.
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(read_proto(model))
    check_training(proto, _WHERE)
    file = onnx.ModelProto()
    file.CopyFrom(proto)
    features = {v.name for v in proto.graph.input}
    predictions = {v.name for v in proto.graph.output}
    entries = join(proto)
    if any(node.domain == PREVIEW for f in proto.functions for node in f.node):
        proto = onnx.inliner.inline_local_functions(proto)
    result = _exported(load_model(proto), proto, opset)
    if entries:
        split(result, features, predictions, entries)
        result.ir_version = max(result.ir_version, FIRST_IR)
        for info, entry, old in zip(result.training_info, entries, file.training_info, strict=True):
            rename(info.algorithm, {new: name for name, new in entry.renamed.items()})
            info.algorithm.name, info.algorithm.doc_string = (
                old.algorithm.name,
                old.algorithm.doc_string,
            )
            info.update_binding.extend(old.update_binding)
            info.initialization_binding.extend(old.initialization_binding)
        _lower_initializations(result, file, entries)
    graphs = [result.graph, *(i.algorithm for i in result.training_info)]
    left = {
        n.op_type
        for g in graphs
        for inner in graphs_of(g)
        for n in inner.node
        if n.domain == PREVIEW
    }
    if left:
        raise UnsupportedOperatorError(
            f"{_WHERE}: Gradient, Adam, Momentum and Adagrad are required of {PREVIEW}, got "
            f"{', '.join(sorted(left))}."
        )
    return result


def _exported(model: ir.Model, proto: onnx.ModelProto, opset: int | None) -> onnx.ModelProto:
    """At the given opset, else at that of the file, else at the default one."""
    if opset is not None:
        return to_proto(model, opset, inline=True)
    own = next((e.version for e in proto.opset_import if e.domain in ("", "ai.onnx")), 0)
    try:
        return to_proto(model, own, inline=True)
    except (InvalidArgumentError, UnsupportedOperatorError):
        return to_proto(model, DEFAULT_EXPORT_OPSET, inline=True)


def _lower_initializations(
    result: onnx.ModelProto, file: onnx.ModelProto, entries: Sequence[Entry]
) -> None:
    (opset,) = [e.version for e in result.opset_import if not e.domain]
    for info, old, part in zip(
        result.training_info,
        file.training_info,
        initializations(file, entries, _WHERE),
        strict=True,
    ):
        if part is not None:
            info.initialization.CopyFrom(to_proto(part.model, opset, inline=True).graph)
            del info.initialization.input[:]  # Initializers of the model are global.
            info.initialization.name = old.initialization.name or "initialization"

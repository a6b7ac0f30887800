"""Writes a module into a file: its nodes compute an output from a value of the graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir

from toolkit.errors import InvalidArgumentError
from toolkit.nn.graph_module.file_graph import FileGraph, near

if TYPE_CHECKING:
    from toolkit.nn.graph_module.edits import Edits
    from toolkit.nn.module import Module
    from toolkit.tensor import Tensor

_EXAMPLE = 2  # Of a dimension that is not known.


def splice(
    module: Edits, file: FileGraph, start: str, head: Module, output: str | None, name: str
) -> dict[str, Tensor]:
    """Makes `head` compute an output from the value `start`.

    Returns:
        The tensors of the head by the names that they have in the file.

    Raises:
        InvalidArgumentError: no such value, or its rank is not known.
    """
    source = _value(module, file, start)
    outputs = file.outputs()
    if output is None:
        behind = {start, *file.downstream(start)}
        output = next((n for n in outputs if n in behind), outputs[0])
    elif output not in outputs:
        raise InvalidArgumentError(
            f"replace_head: an output is required, got '{output}'. {near(output, outputs)}"
        )
    if start == output and file.producer(start) is not None:
        start = file.fresh(f"{output}_before")
        file.rename_output(output, start)
    proto = _export(head, source, file.opset)
    tensors = dict((*head.named_parameters(), *head.named_buffers()))
    prefix = name
    taken = {t.name for t in file.graph.initializer}
    while any(f"{prefix}.{key}" in taken for key in tensors):
        prefix += "_"
    names = {"": "", proto.graph.input[0].name: start, proto.graph.output[0].name: output}
    _release(file, output)
    for tensor in proto.graph.initializer:
        names[tensor.name] = file.fresh(f"{prefix}.{tensor.name}")
        file.graph.initializer.add().CopyFrom(tensor)
        file.graph.initializer[-1].name = names[tensor.name]
    nodes = [renamed(node, names, file.fresh, prefix) for node in proto.graph.node]
    file.insert(nodes, len(file.graph.node))
    _declare(file, output, proto.graph.output[0])
    for extra in proto.graph.output[1:]:
        file.graph.output.add().CopyFrom(extra)
        file.graph.output[-1].name = names[extra.name]
    for entry in proto.opset_import:
        if entry.domain not in {e.domain for e in file.proto.opset_import}:
            file.proto.opset_import.add().CopyFrom(entry)
    return {names[key]: tensor for key, tensor in tensors.items() if key in names}


def _value(module: Edits, file: FileGraph, name: str) -> ir.Value:
    from toolkit.graph.training_info import values_by_name

    found = values_by_name(module._model).get(name)
    if found is None or name not in {*file.known(), *(v.name for v in file.graph.input)}:
        raise InvalidArgumentError(
            f"replace_head: a value of the graph is required as cut, got '{name}'. "
            f"{near(name, file.known())}"
        )
    if found.shape is None or found.dtype is None:
        raise InvalidArgumentError(
            f"replace_head: a value whose rank is known is required as cut, got '{name}'."
        )
    return found


def _export(head: Module, source: ir.Value, opset: int) -> onnx.ModelProto:
    """The head in evaluation mode, of standard operators, at the opset of the file."""
    from toolkit.graph.io import to_proto
    from toolkit.nn.export import export, input_names
    from toolkit.runtime.values import to_native
    from toolkit.tensor import Tensor

    dims = list(source.shape or ())
    assert source.dtype is not None
    sizes = [d if isinstance(d, int) else _EXAMPLE for d in dims]
    example = Tensor._from_native(to_native(np.zeros(sizes, source.dtype.numpy())))
    names = input_names(head, 1) or ["input"]
    dynamic = {names[0]: {i: f"d{i}" for i, d in enumerate(dims) if not isinstance(d, int)}}
    was_training = head.training
    head.eval()
    try:
        with _kept_dropout(head):
            model = export(head, example, dynamic)
    finally:
        head.train(was_training)
    return to_proto(model, opset, inline=True)


@contextmanager
def _kept_dropout(head: Module) -> Iterator[None]:
    """Each Dropout is written as a node, though it does nothing in evaluation mode."""
    from toolkit import ops
    from toolkit.nn.dropout import Dropout
    from toolkit.tensor import tensor

    found = [m for m in head.modules() if type(m) is Dropout]
    for module in found:
        ratio = tensor(float(module.p))
        module.__dict__["forward"] = lambda x, ratio=ratio: ops.Dropout(x, ratio)
    try:
        yield
    finally:
        for module in found:
            del module.__dict__["forward"]


def _release(file: FileGraph, output: str) -> None:
    """The output's name is free: what had it is dead, or read by others under a new name."""
    if file.producer(output) is not None:
        file.rename_output(output, file.fresh(f"{output}_replaced"))


def renamed(
    node: onnx.NodeProto, names: dict[str, str], fresh: Callable[[str], str], prefix: str
) -> onnx.NodeProto:
    """A copy of a node with its values under other names, new ones where there are none yet."""
    made = onnx.NodeProto()
    made.CopyFrom(node)
    for attribute in made.attribute:
        if attribute.HasField("t"):
            attribute.t.ClearField("name")  # It may be that of one of the file's tensors.
    made.name = fresh(f"{prefix}.{node.name or node.op_type}")
    for field in (made.input, made.output):
        for i, name in enumerate(field):
            if name not in names:
                names[name] = fresh(f"{prefix}.{name}")
            field[i] = names[name]
    return made


def _declare(file: FileGraph, output: str, made: onnx.ValueInfoProto) -> None:
    for info in file.graph.output:
        if info.name == output:
            info.type.CopyFrom(made.type)
            info.type.tensor_type.ClearField("shape")

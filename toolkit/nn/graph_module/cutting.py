"""The part of a loaded model between values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import onnx
import onnx_ir as ir

from toolkit.errors import InvalidArgumentError
from toolkit.nn.graph_module.file_graph import FileGraph, edited_copy, flat, near

Names = str | Iterable[str] | None


def cut(module: Any, outputs: Names, inputs: Names) -> Any:
    """See `GraphModule.cut`."""
    from toolkit.graph.training_info import strip, values_by_name

    file = edited_copy(module)
    known = values_by_name(module._model)
    if outputs is not None:
        infos = [_info(file, known, name) for name in flat(outputs)]
        del file.graph.output[:]
        file.graph.output.extend(infos)
    if inputs is not None:
        _feed(file, [_info(file, known, name) for name in flat(inputs)])
    file.prune()
    strip(file.proto)
    held = {**module._constants, **{k: module.tensor_of(k) for k in module._places}}
    made = type(module)(file.proto, held, None, module.batch_norm)
    made._promoted = set(module._promoted)
    made._parametrizations = dict(module._parametrizations)
    made.train(module.training)
    return made


def _info(file: FileGraph, known: dict[str, ir.Value], name: str) -> onnx.ValueInfoProto:
    """What the file declares of a value, or what was inferred."""
    made = onnx.ValueInfoProto()
    for info in (*file.graph.input, *file.graph.output):
        if info.name == name:
            made.CopyFrom(info)
            return made
    value = known.get(name)
    if value is None or value.type is None or name not in file.known():
        raise InvalidArgumentError(
            f"cut: a value of the graph is required, got '{name}'. {near(name, file.known())}"
        )
    ir.serde.serialize_value_into(made, value)
    return made


def _feed(file: FileGraph, infos: list[onnx.ValueInfoProto]) -> None:
    """Makes values the only inputs of the graph: what computed them goes."""
    copies = [onnx.ValueInfoProto.FromString(i.SerializeToString()) for i in infos]
    names = {info.name for info in copies}
    for name in names:
        node = file.producer(name)
        if node is not None:
            made = node.output[list(node.output).index(name)] = file.fresh(f"{name}_computed")
            file.alive.add(made)
    kept = [v for v in file.graph.input if file.place(v.name) is not None]
    before = [v for v in file.graph.input if file.place(v.name) is None and v.name not in names]
    needed = file._alive()
    missing = [v.name for v in before if v.name in needed]
    if missing:
        raise InvalidArgumentError(
            f"cut: the outputs are required to depend on {sorted(names)} alone, got some that "
            f"read the inputs {missing} too. Add them, or values behind them, to inputs."
        )
    entries = [onnx.ValueInfoProto.FromString(v.SerializeToString()) for v in kept]
    del file.graph.input[:]
    file.graph.input.extend([*copies, *entries])

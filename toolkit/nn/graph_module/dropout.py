"""Dropout that is put back into a loaded model, or taken out."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from toolkit.errors import InvalidArgumentError
from toolkit.nn.graph_module.file_graph import FileGraph, edited_copy, flat, near
from toolkit.nn.graph_module.head import classifier

if TYPE_CHECKING:
    from toolkit.nn.graph_module.edits import Edits

Patterns = str | Iterable[str]


def insert(module: Edits, p: float, after: Patterns | None, before: Patterns | None) -> None:
    """See `GraphModule.insert_dropout`."""
    if not 0.0 <= p < 1.0:
        raise InvalidArgumentError(f"insert_dropout: p from 0 to 1 is required, got {p}.")
    file = edited_copy(module)
    for name in _values(file, after or ()):
        _drop(file, name, p, file.uses(name))
    nodes = _nodes(file, before) if before is not None else []
    if after is None and before is None:
        nodes = [classifier(file, None, "insert_dropout").node]
    for node in nodes:
        _drop(file, node.input[0], p, [(node, 0)])
    module._edited(file)


def remove(module: Edits, patterns: Patterns) -> None:
    """See `GraphModule.remove_dropout`."""
    file = edited_copy(module)
    wanted = flat(patterns)
    found = [
        node
        for node in file.graph.node
        if node.op_type == "Dropout" and _matches((node.name, node.output[0]), wanted)
    ]
    if not found:
        _refuse(file, "remove_dropout: a pattern that matches a Dropout node", wanted)
    for node in found:
        file.bypass(node)
    module._edited(file)


def _drop(file: FileGraph, name: str, p: float, uses: Any) -> None:
    """Puts a Dropout between a value and some of its readers."""
    made = file.fresh(f"{name}_dropout")
    inputs = [name]
    if file.opset >= 12:
        ratio = file.fresh(f"{made}_ratio")
        file.add_initializer(ratio, np.asarray(p, np.float32))
        inputs.append(ratio)
    node = onnx.helper.make_node("Dropout", inputs, [made], name=made)
    if file.opset < 12:
        node.attribute.append(onnx.helper.make_attribute("ratio", p))
    if file.opset < 7:
        node.attribute.append(onnx.helper.make_attribute("is_test", 1))
    file.reroute(name, made, uses)
    file.insert([node], file.behind(name))


def _values(file: FileGraph, patterns: Patterns) -> list[str]:
    known = [v.name for v in file.graph.input if file.place(v.name) is None] + file.known()
    found: dict[str, None] = {}
    for pattern in flat(patterns):
        matched = [pattern] if pattern in known else fnmatch.filter(known, pattern)
        matched = [name for name in matched if file.uses(name) and file.place(name) is None]
        if not matched:
            _refuse(file, "insert_dropout: the name of a value that nodes read", [pattern])
        found.update(dict.fromkeys(matched))
    return list(found)


def _nodes(file: FileGraph, patterns: Patterns) -> list[onnx.NodeProto]:
    found = [
        node
        for node in file.graph.node
        if node.input and _matches((node.name, node.op_type), flat(patterns))
    ]
    if not found:
        _refuse(file, "insert_dropout: a name or operator of a node", flat(patterns))
    return found


def _matches(names: Iterable[str], patterns: Iterable[str]) -> bool:
    return any(n == p or fnmatch.fnmatchcase(n, p) for n in names for p in patterns)


def _refuse(file: FileGraph, need: str, got: list[str]) -> None:
    raise InvalidArgumentError(f"{need} is required, got {got}. {near(got[0], file.known())}")

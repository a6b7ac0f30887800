"""Edits of a file's main graph by name: only what is named changes, the rest keeps its bytes."""

from __future__ import annotations

import difflib
from collections.abc import Container, Sequence
from typing import Any

import numpy as np
import onnx

from toolkit.graph.check import all_nodes
from toolkit.graph.survey import reads, subgraphs
from toolkit.nn.graph_module.places import Place, places_of


class FileGraph:
    """The main graph of a `ModelProto`, and who makes and reads its values."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        self.proto = proto
        self.graph = proto.graph
        versions = [e.version for e in proto.opset_import if e.domain in ("", "ai.onnx")]
        self.opset = versions[0] if versions else 1
        self.alive = self._alive()

    # -- looking -------------------------------------------------------------------------------

    def producer(self, name: str) -> onnx.NodeProto | None:
        """The node of the main graph that makes a value."""
        return next((n for n in self.graph.node if name and name in n.output), None)

    def uses(self, name: str) -> list[tuple[onnx.NodeProto, int]]:
        """(node, input) of all that read a value, nodes of inner graphs too."""
        return [
            (node, i)
            for node in all_nodes(self.graph.node)
            for i, read in enumerate(node.input)
            if read == name
        ]

    def outputs(self) -> list[str]:
        """The names of the graph's outputs."""
        return [v.name for v in self.graph.output]

    def place(self, name: str) -> Place | None:
        """The initializer or the Constant node of a value."""
        found = places_of(self.graph).get(name)
        return found if found is not None and found.graph is self.graph else None

    def known(self) -> list[str]:
        """The names of the values that nodes make."""
        return [name for node in self.graph.node for name in node.output if name]

    def fresh(self, name: str) -> str:
        """The name, with a number if it is taken."""
        return free(name, self.names())

    def names(self) -> set[str]:
        """The names of all values and nodes."""
        taken = {v.name for v in (*self.graph.input, *self.graph.initializer)}
        for node in all_nodes(self.graph.node):
            taken.update((*node.output, node.name))
        return taken

    # -- changing ------------------------------------------------------------------------------

    def add_initializer(self, name: str, array: np.ndarray[Any, Any]) -> None:
        """A new initializer, at the end."""
        self.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
        if self.proto.ir_version < 4:  # Every initializer had to be an input as well.
            tensor = self.graph.initializer[-1]
            self.graph.input.append(
                onnx.helper.make_tensor_value_info(name, tensor.data_type, tensor.dims)
            )

    def insert(self, nodes: Sequence[onnx.NodeProto], before: int) -> None:
        """New nodes, before the node of this index."""
        for i, node in enumerate(nodes):
            self.graph.node.insert(before + i, node)

    def index_of(self, node: onnx.NodeProto) -> int:
        """The place of a node."""
        outputs = list(node.output)
        return next(i for i, n in enumerate(self.graph.node) if list(n.output) == outputs)

    def behind(self, name: str) -> int:
        """Where a node that reads a value may stand first."""
        node = self.producer(name)
        return 0 if node is None else self.index_of(node) + 1

    def reroute(
        self, old: str, new: str, only: Sequence[tuple[onnx.NodeProto, int]] | None = None
    ) -> None:
        """Makes those that read a value read another one; graph outputs keep their names."""
        for node, i in self.uses(old) if only is None else only:
            node.input[i] = new
        if only is None:
            for graph in (a for n in all_nodes(self.graph.node) for a in subgraphs(n)):
                for output in graph.output:
                    if output.name == old:  # A graph may give an outer value away.
                        output.name = new

    def rename_output(self, old: str, new: str) -> None:
        """Gives a value of the main graph another name, where it is made and read."""
        node = self.producer(old)
        assert node is not None
        self.reroute(old, new)
        node.output[list(node.output).index(old)] = new
        self.alive.add(new)
        self.forget([old, new])

    def rename_stored(self, old: str, new: str) -> None:
        """Gives an initializer or a Constant another name, where it is held and read."""
        place = self.place(old)
        assert place is not None
        self.reroute(old, new)
        if place.node is not None:
            place.node.output[0] = new
        elif place.tensor is not None:
            place.tensor.name = new
            for value in self.graph.input:
                if value.name == old:
                    value.name = new
        self.alive.add(new)

    def bypass(self, node: onnx.NodeProto) -> None:
        """Makes those that read a node's first output read its first input."""
        source, name = node.input[0], node.output[0]
        if name not in self.outputs():
            self.reroute(name, source)
            return
        self.reroute(name, source)
        node.output[0] = self.fresh(f"{name}_bypassed")  # Dead from now on.
        self.alive.add(node.output[0])
        if source not in self.outputs() and self.producer(source) is not None:
            self.rename_output(source, name)
        else:
            passed = onnx.helper.make_node("Identity", [source], [name], name=f"{name}_identity")
            self.insert([passed], self.behind(source))

    def forget(self, names: Sequence[str]) -> None:
        """Drops what the file declares of values that changed, but for names of dimensions."""
        kept = [v for v in self.graph.value_info if v.name not in names]
        if len(kept) < len(self.graph.value_info):
            _replace(self.graph.value_info, kept)
        for output in self.graph.output:
            if output.name in names:
                for dim in output.type.tensor_type.shape.dim:
                    dim.ClearField("dim_value")

    def downstream(self, name: str) -> list[str]:
        """The values that are computed from a value."""
        found = {name}
        for node in self.graph.node:
            if found.intersection(reads(node)):
                found.update(n for n in node.output if n)
        return [n for n in found if n != name]

    def prune(self) -> None:
        """Removes nodes and initializers that nothing reads any more since the first look."""
        alive = self._alive()
        dead = self.alive - alive
        nodes = [n for n in self.graph.node if not n.output or {*n.output} - dead - {""}]
        if len(nodes) < len(self.graph.node):
            _replace(self.graph.node, nodes)
        tensors = [t for t in self.graph.initializer if t.name not in dead]
        if len(tensors) < len(self.graph.initializer):
            _replace(self.graph.initializer, tensors)
            names = {t.name for t in tensors}
            gone = dead - names
            kept = [v for v in self.graph.input if v.name not in gone or v.name not in self._listed]
            _replace(self.graph.input, kept)
        self.forget(sorted(dead))
        self.alive = alive

    def _alive(self) -> set[str]:
        """The names that the outputs are computed from."""
        self._listed = {t.name for t in self.graph.initializer}
        found = set(self.outputs())
        for node in reversed(self.graph.node):
            if found.intersection(node.output):
                found.update(reads(node))
                found.update(n for n in node.output if n)
        return found


def _replace(field: Any, items: Sequence[Any]) -> None:
    copies = [type(item).FromString(item.SerializeToString()) for item in items]
    del field[:]
    field.extend(copies)


def edited_copy(module: Any) -> FileGraph:
    """A copy of a module's file to edit: an edit that fails leaves the module as it was."""
    proto = onnx.ModelProto()
    proto.CopyFrom(module._source)
    return FileGraph(proto)


def free(name: str, taken: Container[str]) -> str:
    """The name, with a number if it is taken."""
    made, count = name, 0
    while made in taken:
        count += 1
        made = f"{name}_{count}"
    return made


def flat(patterns: Any) -> list[str]:
    """One pattern, or nested lists of them, as a list."""
    if isinstance(patterns, str):
        return [patterns]
    return [p for item in patterns for p in flat(item)]


def near(name: str, names: Sequence[str]) -> str:
    """The end of a message about a name that does not exist."""
    found = difflib.get_close_matches(name.replace("*", ""), names, 3, 0.4) or list(names[-3:])
    return f"Near names: {', '.join(map(repr, found))}." if found else "There are none."

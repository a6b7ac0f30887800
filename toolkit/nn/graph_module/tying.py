"""Weights of a loaded model that become one, or several."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx

from toolkit.errors import InvalidArgumentError
from toolkit.nn.graph_module.file_graph import FileGraph, edited_copy
from toolkit.nn.graph_module.places import Place
from toolkit.nn.parameter import Parameter

if TYPE_CHECKING:
    from toolkit.nn.graph_module.edits import Edits


def tie(module: Edits, name: str, other: str, transposed: bool | None) -> None:
    """See `GraphModule.tie`."""
    file = edited_copy(module)
    kept, gone = _place(module, file, name, "tie"), _place(module, file, other, "tie")
    shape, wanted = (tuple(module.tensor_of(n).shape) for n in (name, other))
    if transposed is None:
        transposed = shape != wanted
    if name == other or (shape[::-1] if transposed else shape) != wanted:
        raise InvalidArgumentError(
            f"tie: two weights of one shape, or of that shape transposed, are required, got "
            f"'{name}' {shape} and '{other}' {wanted}."
        )
    if gone.node is not None:
        del file.graph.node[file.index_of(gone.node)]
    else:
        tensors = [t.name for t in file.graph.initializer]
        del file.graph.initializer[tensors.index(other)]
        listed = [v.name for v in file.graph.input]
        if other in listed:
            del file.graph.input[listed.index(other)]
    if transposed:
        node = onnx.helper.make_node("Transpose", [name], [other], name=other)
        file.insert([node], file.behind(name))
    else:
        file.reroute(other, name)
        if kept.node is not None:  # It must stand before all that read it.
            _to_front(file, kept.node)
    module._edited(file)


def untie(module: Edits, name: str) -> list[str]:
    """See `GraphModule.untie`."""
    file = edited_copy(module)
    place = _place(module, file, name, "untie")
    uses = file.uses(name)
    if len(uses) < 2:
        raise InvalidArgumentError(
            f"untie: a weight that several nodes read is required, got '{name}', which "
            f"{len(uses)} reads."
        )
    names, given = [name], {}
    array = place.read()
    for use in uses[1:]:
        made = file.fresh(name)
        file.add_initializer(made, array)
        file.reroute(name, made, [use])
        names.append(made)
        old = module.tensor_of(name)
        given[made] = Parameter(old.detach().clone(), old.requires_grad)
    module._edited(file, given)
    return names


def _place(module: Edits, file: FileGraph, name: str, where: str) -> Place:
    module.tensor_of(name)  # Its error names the names near to it.
    found = file.place(name)
    if found is None:
        raise InvalidArgumentError(
            f"{where}: a weight of the main graph is required, got '{name}' of an inner one."
        )
    return found


def _to_front(file: FileGraph, node: onnx.NodeProto) -> None:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    del file.graph.node[file.index_of(node)]
    file.insert([copy], 0)

"""Writes a function of tensors into a file, behind one of its nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx_ir as ir

from toolkit._tensor.base import wrap
from toolkit.errors import UnsupportedOperatorError
from toolkit.graph.io import to_proto
from toolkit.nn.graph_module.file_graph import FileGraph, free
from toolkit.nn.graph_module.splice import renamed
from toolkit.tensor import Tensor
from toolkit.tracing import Trace


class Splicer:
    """A file that functions are written into."""

    def __init__(self, file: FileGraph) -> None:
        self.file = file
        self._taken = file.names()

    def fresh(self, name: str) -> str:
        """The name, with a number if it is taken; it is, from now on."""
        made = free(name, self._taken)
        self._taken.add(made)
        return made


def insert_behind(
    splicer: Splicer,
    output: ir.Value,
    inputs: Sequence[ir.Value],
    build: Callable[..., Tensor],
    names: Mapping[str, Tensor],
    scope: str,
) -> None:
    """Lets the readers of a value read `build(*inputs, value)` instead, which takes its name.

    Args:
        splicer: the file.
        output: of a node, in the graph that was made of the file.
        inputs: values that are there before the node.
        build: traced on symbolic tensors.
        names: tensors that become initializers, by name.
        scope: what the names of the new nodes begin with.

    Raises:
        UnsupportedOperatorError: the file has no such values in its main graph.
    """
    file, fresh = splicer.file, splicer.fresh
    used = [str(v.name) for v in (*inputs, output)]
    node = file.producer(used[-1])
    known = {*file.known(), *(x.name for x in (*file.graph.input, *file.graph.initializer))}
    if node is None or not known.issuperset(used):
        raise UnsupportedOperatorError(
            f"save: nodes of the file's main graph are required to write the adapter '{scope}' "
            f"behind them, got '{used[-1]}' in a function or a body. Merge the adapters first."
        )
    with Trace() as trace:
        for name, tensor in names.items():
            trace.name_tensor(tensor, name)
        formal = [_formal(trace, i, value) for i, value in enumerate((*inputs, output))]
        model = trace.finish({"y": build(*formal)})
    proto = to_proto(model, file.opset, inline=True)
    before = fresh(f"{used[-1]}_base")
    node.output[list(node.output).index(used[-1])] = before
    known_as = {"": "", "y": used[-1]}
    known_as.update(zip((f"x{i}" for i in range(len(used))), [*used[:-1], before], strict=True))
    there = {t.name for t in file.graph.initializer}
    for tensor in proto.graph.initializer:
        own = tensor.name in names
        known_as[tensor.name] = tensor.name if own else fresh(f"{scope}.lora.{tensor.name}")
        if not (own and tensor.name in there):  # A weight may be read twice.
            file.graph.initializer.add().CopyFrom(tensor)
            file.graph.initializer[-1].name = known_as[tensor.name]
    nodes = [renamed(n, known_as, fresh, f"{scope}.lora") for n in proto.graph.node]
    file.insert(nodes, file.behind(before))


def _formal(trace: Trace, index: int, value: ir.Value) -> Any:
    """A symbolic tensor like a value of the other graph."""
    assert value.dtype is not None, f"the element type of '{value.name}'"
    shape = None if value.shape is None else [_dimension(d) for d in value.shape]
    return wrap(trace.recorder.input(f"x{index}", int(value.dtype), shape))


def _dimension(d: Any) -> int | str | None:
    return d if isinstance(d, int) else d.value

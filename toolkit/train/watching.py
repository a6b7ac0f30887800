"""What values inside a model hold while it runs: layers of modules, named values of graphs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from toolkit.errors import InvalidArgumentError
from toolkit.nn import Module
from toolkit.nn.graph_module import GraphModule
from toolkit.nn.graph_module.file_graph import near
from toolkit.tensor import Tensor


@contextmanager
def watched(model: Module, names: Iterable[str]) -> Iterator[dict[str, Tensor]]:
    """Inside the block, a run of the model puts its named values into the dict that it gives.

    Args:
        model: any module.
        names: of values of a loaded model, or paths of submodules, whose (first) output is meant.
            Values of a loaded model below another module have its path and a dot before them.

    Raises:
        InvalidArgumentError: there is no such value.
    """
    found: dict[str, Tensor] = {}
    undo: list[Callable[[], None]] = []
    try:
        for name in names:
            undo.append(_watch(model, name, found))
        yield found
    finally:
        for remove in undo:
            remove()


def graph_values(module: GraphModule) -> dict[str, Any]:
    """The values of a loaded model by name: inputs, and what its nodes give."""
    graph = module._model.graph
    outputs = [v for node in graph for v in node.outputs]
    return {str(v.name): v for v in (*graph.inputs, *outputs) if v.name}


def _watch(model: Module, name: str, found: dict[str, Tensor]) -> Callable[[], None]:
    modules = dict(model.named_modules())
    for path, module in modules.items():
        prefix = path and path + "."
        if isinstance(module, GraphModule) and name.startswith(prefix):
            value = graph_values(module).get(name[len(prefix) :])
            if value is not None:
                return _watch_value(module, value, name, found)
    if modules.get(name) is None:
        known = [*filter(None, modules)]
        for path, module in modules.items():
            if isinstance(module, GraphModule):
                prefix = path and path + "."
                known += [prefix + n for n in graph_values(module)]
        raise InvalidArgumentError(
            f"watched: a value or a submodule of the model is required, got '{name}'. "
            + near(name, known)
        )

    def keep(_: Module, __: Any, output: Any) -> None:
        found[name] = output[0] if isinstance(output, (tuple, list)) else output

    return modules[name].register_forward_hook(keep).remove


def _watch_value(
    module: GraphModule, value: Any, name: str, found: dict[str, Tensor]
) -> Callable[[], None]:
    def keep(env: dict[Any, Any]) -> None:
        found[name] = env[value]

    module._watchers.append(keep)
    return lambda: module._watchers.remove(keep)

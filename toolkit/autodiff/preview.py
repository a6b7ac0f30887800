"""The operator Gradient of ai.onnx.preview.training, written out as standard operators.

`Gradient(xs, zs, y)` names values of its graph: it differentiates y, as a function of xs and zs,
by xs. Its inputs are the values of xs and zs to do so at. Where these are the named values
themselves, the forward values are shared; else the part of the graph between is written once more.
A y that is no scalar counts as the sum of its elements. Gradients of gradients follow from taking
the nodes in order.

Deliberately absent: Gradient nodes in model-local functions.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from toolkit.autodiff.backward import ancestor_nodes, gradients, is_float
from toolkit.errors import InvalidModelError, ToolkitError, UnsupportedOperatorError
from toolkit.graph.build import Builder
from toolkit.graph.infer import infer_shapes
from toolkit.graph.subgraphs import reads, unique_names

DOMAIN = "ai.onnx.preview.training"


def expand_gradients(model: ir.Model) -> None:
    """Replaces every Gradient node of a model at the canonical opset, in place.

    Raises:
        InvalidModelError: A node names a value that is not there, or is no float.
        UnsupportedOperatorError: A gradient must pass an operator without a rule, or a node lies
            where it cannot be written out.
    """
    for function in model.functions.values():
        if any(_is_gradient(node) for node in function.all_nodes()):
            raise UnsupportedOperatorError(
                f"Gradient: a node of a graph is required, got one in function '{function.name}'. "
                "Inline the function."
            )
    for graph in (model.graph, *model.graph.subgraphs()):
        for node in [n for n in graph if _is_gradient(n)]:
            _expand(model, graph, node)
            graph.sort()
            infer_shapes(model)
    unique_names(model.graph)


def _is_gradient(node: ir.Node) -> bool:
    return node.domain == DOMAIN and node.op_type == "Gradient"


def _expand(model: ir.Model, graph: ir.Graph, node: ir.Node) -> None:
    xs, zs, target = _names(node, "xs"), _names(node, "zs"), _names(node, "y")
    if len(target) != 1 or not xs:
        raise _fail(node, "attributes 'xs' and 'y' are required", "a node without")
    if len(node.inputs) != len(xs) + len(zs):
        need = f"an input for each of {len(xs)} xs and {len(zs)} zs is required"
        raise _fail(node, need, f"{len(node.inputs)} inputs")
    named = [_find(model, graph, node, name) for name in (*xs, *zs)]
    y = _find(model, graph, node, target[0])
    given = [named[i] if v is None else v for i, v in enumerate(node.inputs)]
    other = any(a is not b for a, b in zip(named, given, strict=True))
    if other or _depend(graph, named):
        # Copies, so that a value that is given twice has two gradients.
        given = [Builder(graph).Identity(v) for v in given]
        y = _write_again(graph, node, dict(zip(named, given, strict=True)), y)
    wrt = given[: len(xs)]
    for value in (*wrt, y):
        if not is_float(value):
            raise _fail(node, "float values are required", f"'{value.name}' of another type")
    try:
        found = _differentiate(model, graph, y, wrt)
    except ToolkitError as error:
        raise type(error)(f"Gradient '{node.name}': {error}") from None
    _replace(graph, node, wrt, found)


def _differentiate(
    model: ir.Model, graph: ir.Graph, y: ir.Value, wrt: Sequence[ir.Value]
) -> list[ir.Value | None]:
    b = Builder(graph)
    assert y.dtype is not None
    return gradients(graph, [y], [b.full(b.shape(y), 1, y.dtype)], wrt, functions=model.functions)


def _names(node: ir.Node, name: str) -> list[str]:
    """The names that an attribute gives, which is a string or several."""
    attribute = node.attributes.get(name)
    if attribute is None:
        return []
    found = [attribute.value] if name == "y" else attribute.value
    if not isinstance(found, (list, tuple)) or not all(isinstance(n, str) for n in found):
        raise _fail(node, f"names are required in '{name}'", repr(attribute.value))
    return list(found)


def _find(model: ir.Model, graph: ir.Graph, node: ir.Node, name: str) -> ir.Value:
    """The value of a name in the node's graph, or outside of it in the main graph."""
    for scope in (graph, model.graph):
        if name in scope.initializers:
            return scope.initializers[name]
        for value in (*scope.inputs, *(v for n in scope for v in n.outputs)):
            if value.name == name:
                return value
    raise _fail(node, f"a value '{name}' of its graph is required", "none")


def _depend(graph: ir.Graph, named: Sequence[ir.Value]) -> bool:
    """Whether a named value is computed from another one."""
    return any(v in named for n in ancestor_nodes(graph, named) for v in reads(n))


def _write_again(
    graph: ir.Graph, node: ir.Node, values: dict[ir.Value, ir.Value], y: ir.Value
) -> ir.Value:
    """Copies of the nodes between the keys of `values` and y, over the values instead."""
    new = dict(values)
    for source in ancestor_nodes(graph, [y]):
        if all(v in values for v in source.outputs) or not any(v in new for v in reads(source)):
            continue
        if any(v in new and v not in source.inputs for v in reads(source)):
            need = "values named in xs and zs that no subgraph reads are required"
            raise _fail(node, need, f"one that {source.op_type} '{source.name}' reads")
        inputs = [v if v is None else new.get(v, v) for v in source.inputs]
        copy = ir.Node(
            source.domain,
            source.op_type,
            inputs,
            source.attributes.values(),
            num_outputs=len(source.outputs),
        )
        graph.append(copy)
        for old, value in zip(source.outputs, copy.outputs, strict=True):
            value.type, value.shape = old.type, old.shape
            new.setdefault(old, value)
    return new.get(y, y)


def _replace(
    graph: ir.Graph,
    node: ir.Node,
    wrt: Sequence[ir.Value],
    found: Sequence[ir.Value | None],
) -> None:
    """Puts the gradients in the place of the node's outputs, under their names."""
    b = Builder(graph)
    for old, x, gradient in zip(node.outputs, wrt, found, strict=False):
        if not old.name:
            continue
        assert x.dtype is not None
        value = b.zeros(b.shape(x), x.dtype) if gradient is None else gradient
        new = b.Identity(value)
        name, old.name = old.name, f"{old.name}_replaced"
        ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
        new.name = name
        new.type = x.type
        new.shape = x.shape if new.shape is None else new.shape
    graph.remove(node, safe=True)


def _fail(node: ir.Node, need: str, got: str) -> InvalidModelError:
    return InvalidModelError(f"Gradient '{node.name}': {need}, got {got}.")

"""Bodies of the composite operators (`toolkit.*`), one family a module.

A call is a node of a composite's domain and name. `attach` gives a model the bodies as model-local
functions, so that any runtime can run it; `inline` writes them out flat.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Mapping, MutableMapping, Sequence

import onnx_ir as ir

from toolkit.errors import UnsupportedOperatorError
from toolkit.graph.build import Builder
from toolkit.graph.functions import registry
from toolkit.graph.functions.registry import Composite, base_name, composite, composites
from toolkit.graph.subgraphs import unique_names

__all__ = [
    "attach",
    "attach_graph",
    "base_name",
    "composite",
    "composites",
    "find",
    "inline",
    "inline_graph",
    "instantiate",
    "take_places",
]

FunctionKey = tuple[str, str, str]


@functools.cache
def _load_families() -> None:
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")


def find(domain: str, op_type: str) -> Composite | None:
    """The composite of a domain and name (specialised or not), None if there is none."""
    _load_families()
    return registry.find(domain, op_type)


def instantiate(
    domain: str,
    name: str,
    attributes: Mapping[str, ir.Attr],
    input_types: Sequence[ir.Value | None],
) -> ir.Function | None:
    """The body of a call as a function of standard operators.

    Args:
        domain: the composite's domain.
        name: its name.
        attributes: the call's attributes.
        input_types: values with the types and ranks of the call's inputs, None where left out.

    Returns:
        The function, named `Name__detail`; None if no such composite exists.
    """
    found = find(domain, name)
    return None if found is None else registry.build(found, attributes, input_types)


def attach(model: ir.Model, opset: int | None = None) -> None:
    """Give every call of a composite in the model a model-local function.

    Args:
        model: at the canonical opset with types inferred; changed in place. Its calls get the
            specialised names, `Name__detail`.
        opset: the opset that the functions import; the canonical one without.

    Raises:
        UnsupportedOperatorError: a composite has no body.
    """
    used: set[str] = set()
    for graph in [model.graph, *(f.graph for f in model.functions.values())]:
        used |= attach_graph(graph, model.functions, opset)
    for domain in used:
        model.opset_imports.setdefault(domain, 1)


def attach_graph(
    graph: ir.Graph, functions: MutableMapping[FunctionKey, ir.Function], opset: int | None = None
) -> set[str]:
    """As `attach`, for one graph; adds to `functions` and returns the domains in use."""
    used = set()
    for node in list(graph.all_nodes()):
        if not node.domain.startswith("toolkit.") or node.op_identifier() in functions:
            continue
        function = instantiate(node.domain, node.op_type, node.attributes, node.inputs)
        if function is None:
            raise _no_body(node)
        if opset is not None:
            function.opset_imports[""] = opset
        node.op_type = function.name
        functions.setdefault(function.identifier(), function)
        used.add(node.domain)
    return used


def inline(model: ir.Model) -> None:
    """Replace every call of a composite in the model by its body, in place.

    Raises:
        UnsupportedOperatorError: a composite has no body.
    """
    for graph in [model.graph, *(f.graph for f in model.functions.values())]:
        inline_graph(graph)
        unique_names(graph)
    for key in [k for k in model.functions if k[0].startswith("toolkit.")]:
        del model.functions[key]
    for domain in [d for d in model.opset_imports if d.startswith("toolkit.")]:
        del model.opset_imports[domain]


def inline_graph(graph: ir.Graph) -> None:
    """As `inline`, for one graph and its subgraphs."""
    b = Builder(graph)
    for node in list(graph):
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH:
                inline_graph(attribute.as_graph())
            elif attribute.type == ir.AttributeType.GRAPHS:
                for inner in attribute.as_graphs():
                    inline_graph(inner)
        if node.domain.startswith("toolkit."):
            _replace(b, node)


def _replace(b: Builder, node: ir.Node) -> None:
    found = find(node.domain, node.op_type)
    if found is None:
        raise _no_body(node)
    b.before = node
    take_places(b, node, registry.emit_body(b, found, node.attributes, node.inputs))
    b.before = None


def take_places(b: Builder, node: ir.Node, results: Sequence[ir.Value | None]) -> None:
    """Puts what was written for a node in the place of its outputs, and removes the node."""
    for old, new in zip(node.outputs, results, strict=False):
        if new is None:
            continue
        made = _renameable(new, node)
        if old.is_graph_output() and not made:
            new, made = b.Identity(new), True
        if made and old.name:
            new.name = old.name
        if new.shape is None:
            new.shape = old.shape
        old.replace_all_uses_with(new, replace_graph_outputs=True)
    assert node.graph is not None
    node.graph.remove(node, safe=True)


def _renameable(new: ir.Value, node: ir.Node) -> bool:
    """Whether a value was just made for this call, so that it can take an output's name."""
    producer = new.producer()
    return (
        producer is not None
        and producer.op_type != "Constant"
        and new not in node.inputs
        and not new.is_graph_output()
        and producer.graph is node.graph
    )


def _no_body(node: ir.Node) -> UnsupportedOperatorError:
    return UnsupportedOperatorError(
        f"{node.domain}.{node.op_type} '{node.name}': a body of standard operators is required to "
        "write it to a file, got none."
    )

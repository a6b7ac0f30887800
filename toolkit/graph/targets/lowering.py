"""Applies a target's rewrites to a graph until each node is at home."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import onnx
import onnx_ir as ir

from toolkit.errors import UnsupportedOperatorError
from toolkit.graph.build import Builder, arithmetic
from toolkit.graph.functions.registry import base_name
from toolkit.graph.infer import OPSET
from toolkit.graph.inline import body_of, emit
from toolkit.graph.subgraphs import prune
from toolkit.graph.targets.profile import Profile, Roles
from toolkit.graph.targets.registry import Call, as_outputs
from toolkit.graph.walk import subgraphs

MAX_ROUNDS = 20


def rewrite_graph(graph: ir.Graph, profile: Profile) -> None:
    """Rewrites the nodes that are not at home on a target, in place.

    1. A node of a subgraph is rewritten where it is.
    2. Each node that the profile does not run: its rewrite, else the body that its schema gives it.
    3. Again, for the nodes just written, until nothing changes. What is left is for the caller.

    Raises:
        UnsupportedOperatorError: a rewrite refuses its node.
    """
    for _ in range(MAX_ROUNDS):
        if not _round(graph, profile, Roles(graph)):
            return
        prune(graph)
    raise UnsupportedOperatorError(
        f"target '{profile.name}': rewrites that come to an end are required, got more than "
        f"{MAX_ROUNDS} rounds."
    )


def _round(graph: ir.Graph, profile: Profile, roles: Roles) -> bool:
    changed = False
    b = Builder(graph)
    for node in list(graph):
        for inner in subgraphs(node):
            changed |= _round(inner, profile, roles)
        if profile.offence(node, roles, to_come=profile.narrowed) is None:
            continue
        b.before = node
        with arithmetic(b):
            results = _rewritten(b, node, profile)
        if results is not None:
            _replace(b, node, results)
            changed = True
    b.before = None
    return changed


def _rewritten(b: Builder, node: ir.Node, profile: Profile) -> Sequence[ir.Value | None] | None:
    """What a node's outputs are to be replaced by; None if nothing is known to write."""
    key = node.domain, base_name(node.op_type)
    rule = profile.rewrites.get(key) or profile.rewrites.get((node.domain, "*"))
    if rule is not None:
        call = Call(b, node, _defaults(node.domain, node.op_type))
        result = rule(call, *node.inputs)
        if result is not None:
            return as_outputs(result)
    if node.domain.startswith("toolkit."):
        return None
    body = body_of(node)
    return None if body is None else emit(b, body, node.inputs, node.attributes)


def _replace(b: Builder, node: ir.Node, results: Sequence[ir.Value | None]) -> None:
    graph = node.graph
    assert graph is not None
    for old, new in zip(node.outputs, results, strict=False):
        if new is None:
            continue
        if old.is_graph_output():
            new = b.Identity(new)
            new.name, old.name = old.name, None
        if old.shape is not None:
            new.shape = old.shape
        old.replace_all_uses_with(new, replace_graph_outputs=True)
    graph.remove(node, safe=True)


@functools.cache
def _defaults(domain: str, op_type: str) -> dict[str, Any]:
    if domain or not onnx.defs.has(op_type):
        return {}
    found = {}
    for name, attribute in onnx.defs.get_schema(op_type, OPSET).attributes.items():
        if attribute.default_value.type:
            value = onnx.helper.get_attribute_value(attribute.default_value)
            found[name] = value.decode() if isinstance(value, bytes) else value
    return found

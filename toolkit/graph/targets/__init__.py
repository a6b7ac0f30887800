"""Targets: runtimes that lack operators or types, and the lowering of any graph to what they have.

A target is a `Profile`: what it runs, and rewrites of what it does not. `lower_to` applies them
until nothing is left, `check_target` lists what a target cannot run.

| target | what it stands for |
|---|---|
| `ort` | the CPU of onnxruntime 1.32 |
| `ortweb` | the GPU of a browser, by onnxruntime-web (`web/`) |
| `reference` | `onnx.reference`: all standard operators |
"""

from __future__ import annotations

import functools

import onnx_ir as ir

from toolkit.errors import InvalidArgumentError, UnsupportedOperatorError
from toolkit.graph.edit import Names
from toolkit.graph.io import ModelSource, load_model
from toolkit.graph.passes.inline import InlineFunctionsPass
from toolkit.graph.subgraphs import prune, unique_names
from toolkit.graph.targets.lowering import rewrite_graph
from toolkit.graph.targets.profile import Offence, Profile

__all__ = ["TARGETS", "Offence", "check_target", "lower_to", "profile"]

TARGETS = ("ort", "ortweb", "reference")
_SHOWN = 5


@functools.cache
def profile(target: str) -> Profile:
    """The profile of a target.

    Raises:
        InvalidArgumentError: no such target.
    """
    if target == "ortweb":
        from toolkit.graph.targets import web

        return web.PROFILE
    if target == "ort":
        from toolkit.graph.targets import ort

        return ort.PROFILE
    if target == "reference":
        return Profile("reference")
    raise InvalidArgumentError(f"target: one of {', '.join(TARGETS)} is required, got '{target}'.")


def check_target(model: ModelSource, target: str) -> list[Offence]:
    """What keeps a model from running on a target as it is: a node and the reason each.

    Args:
        model: as in `load_model`; it is looked at at the canonical opset, functions inlined.
        target: one of `TARGETS`.
    """
    found = profile(target)
    work = load_model(model.clone() if isinstance(model, ir.Model) else model)
    _inline(work)
    return found.offences(work.graph)


def lower_to(model: ModelSource, target: str) -> ir.Model:
    """The model rewritten to what a target runs, with the same inputs and outputs.

    Functions, composites included, are inlined.

    Args:
        model: a path, bytes, a `ModelProto` (not changed) or an `ir.Model` (changed in place).
        target: one of `TARGETS`.

    Raises:
        InvalidArgumentError: no such target.
        UnsupportedOperatorError: nodes that cannot be rewritten; the message names them.
    """
    found = profile(target)
    work = load_model(model)
    InlineFunctionsPass()(work)
    rewrite_graph(work.graph, found)  # Composites too have rewrites.
    _inline(work)
    rewrite_graph(work.graph, found)
    found.finish(work.graph)
    prune(work.graph)
    unique_names(work.graph)
    _name_once(work.graph)
    offences = found.offences(work.graph)
    if offences:
        more = f" and {len(offences) - _SHOWN} more" if len(offences) > _SHOWN else ""
        raise UnsupportedOperatorError(
            f"target '{target}': nodes that it runs are required, got "
            f"{'; '.join(str(o) for o in offences[:_SHOWN])}{more}."
        )
    return work


def _name_once(graph: ir.Graph) -> None:
    """Names inner values of the main graph that have no name, or one that occurs twice."""
    kept = [*graph.inputs, *graph.initializers.values(), *graph.outputs]
    seen = {v.name for v in kept}
    names = Names(graph)
    for node in graph:
        for value in node.outputs:
            if value.name != "" and not value.is_graph_output():
                if value.name is None or value.name in seen:
                    value.name = names.new(value.name or f"{node.op_type}_output")
                seen.add(value.name)


def _inline(model: ir.Model) -> None:
    from toolkit.graph import functions
    from toolkit.graph.functions.preview import write_out

    InlineFunctionsPass()(model)
    write_out(model.graph)
    functions.inline(model)

"""Parts of a training graph as models of their own, cut out by the names of values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx

from toolkit.graph.training_join import ancestors


def cut(
    whole: onnx.ModelProto,
    outputs: Sequence[str],
    states: Sequence[onnx.ValueInfoProto] = (),
    given: Mapping[str, onnx.ValueInfoProto] | None = None,
    defaults: bool = True,
) -> onnx.ModelProto:
    """The model that computes some outputs of another.

    Args:
        whole: all of its values with a role are among its outputs; it is not changed.
        outputs: what is wanted, in order.
        states: initializers that become inputs too, as far as they are needed.
        given: values that the new model takes as inputs instead of computing them.
        defaults: states keep their initial value as the inputs' default.
    """
    given = given or {}
    result = onnx.ModelProto(ir_version=whole.ir_version, producer_name=whole.producer_name)
    result.opset_import.extend(whole.opset_import)
    result.functions.extend(whole.functions)
    source, graph = whole.graph, result.graph
    keep = ancestors(source, outputs, given)
    known = {v.name: v for v in source.output}
    fed = {v.name for v in states} if not defaults else set()
    made = [n for n in source.node if keep.intersection(n.output)]
    graph.name = source.name
    graph.node.extend(n for n in made if not given.keys() & set(n.output))
    graph.initializer.extend(t for t in source.initializer if t.name in keep - fed)
    graph.value_info.extend(v for v in source.value_info if v.name in keep and v.name not in given)
    graph.input.extend(v for v in source.input if v.name in keep)
    graph.input.extend(v for name, v in given.items() if name in keep)
    graph.input.extend(v for v in states if v.name in keep)
    graph.output.extend(known[name] for name in dict.fromkeys(outputs))
    return result

"""The optimizers of ai.onnx.preview.training written out as standard operators.

They take any number of tensors, so they are no functions of the file but are replaced where an
export asks for standard operators only (`inline`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import onnx_ir as ir

from toolkit.graph.build import Builder, arithmetic
from toolkit.graph.functions.optim import number
from toolkit.graph.walk import subgraphs

V = Any  # An ir.Value under `arithmetic`.
Attributes = Mapping[str, Any]

DOMAIN = "ai.onnx.preview.training"
_DOUBLE = ir.DataType.DOUBLE


def write_out(graph: ir.Graph) -> None:
    """Replaces the optimizers of a graph and its subgraphs, in place."""
    b = Builder(graph)
    for node in list(graph):
        for inner in subgraphs(node):
            write_out(inner)
        step = _STEPS.get(node.op_type) if node.domain == DOMAIN else None
        if step is None:
            continue
        b.before = node
        with arithmetic(b):
            _replace(b, node, *step)
    if not any(node.domain == DOMAIN for node in graph.all_nodes()):
        graph.opset_imports.pop(DOMAIN, None)


def _replace(b: Builder, node: ir.Node, step: Callable[..., Any], kinds: int) -> None:
    """One tensor after the other; inputs and outputs are grouped by kind: all X, all G, ..."""
    rate, time, *rest = node.inputs
    count = len(rest) // kinds
    attributes = {name: a.value for name, a in node.attributes.items()}
    for i in range(count):
        results = step(b, attributes, rate, time, *rest[i::count])
        for k, new in enumerate(results):
            old = node.outputs[k * count + i]
            if old.is_graph_output():
                new = b.Identity(new)
                new.name, old.name = old.name, None
            new.shape = old.shape if new.shape is None else new.shape
            old.replace_all_uses_with(new, replace_graph_outputs=True)
    assert node.graph is not None
    node.graph.remove(node, safe=True)


def _adagrad(b: Builder, a: Attributes, rate: V, time: V, x: V, g: V, h: V) -> Any:
    """h += g^2; x -= rate / (1 + time decay) g / (sqrt(h) + epsilon)."""
    g = _regularized(a, x, g)
    decay = b.cast(time, _DOUBLE) * number(a, "decay_factor", 0.0) + 1.0
    rate = b.cast(b.cast(rate, _DOUBLE) / decay, x.dtype)
    h = h + g * g
    return x - rate * g / (b.Sqrt(h) + number(a, "epsilon", 1e-6)), h


def _momentum(b: Builder, a: Attributes, rate: V, time: V, x: V, g: V, v: V) -> Any:
    """v = alpha v + beta g, with beta = 1 at first; x -= rate v, or rate (g + alpha v)."""
    g = _regularized(a, x, g)
    alpha = number(a, "alpha", 0.0)
    first = b.const(1.0, x.dtype)
    beta = b.Where(b.Greater(time, 0), b.const(number(a, "beta", 0.0), x.dtype), first)
    v = v * alpha + g * beta
    direction = g + v * alpha if a.get("mode") == "nesterov" else v
    return x - b.cast(rate, x.dtype) * direction, v


def _adam(b: Builder, a: Attributes, rate: V, time: V, x: V, g: V, v: V, h: V) -> Any:
    """Moving averages of g and g^2; x -= rate' v / (sqrt(h) + epsilon), shrunk at the end.

    rate' = rate sqrt(1 - beta^time) / (1 - alpha^time), after the first time.
    """
    g = _regularized(a, x, g)
    alpha, beta = number(a, "alpha", 0.9), number(a, "beta", 0.999)
    v = v * alpha + g * (1.0 - alpha)
    h = h * beta + g * g * (1.0 - beta)
    t, r = b.cast(time, _DOUBLE), b.cast(rate, _DOUBLE)
    later = b.Greater(time, 0)
    t = b.Where(later, t, b.const(1.0, _DOUBLE))  # No 0 / 0 in the branch not taken.
    up = b.Sqrt(1.0 - b.Pow(b.const(beta, _DOUBLE), t))
    down = 1.0 - b.Pow(b.const(alpha, _DOUBLE), t)
    rate = b.cast(b.Where(later, r * up / down, r), x.dtype)
    x = x - rate * v / (b.Sqrt(h) + number(a, "epsilon", 1e-6))
    return x * (1.0 - number(a, "norm_coefficient_post", 0.0)), v, h


def _regularized(a: Attributes, x: V, g: V) -> V:
    scale = number(a, "norm_coefficient", 0.0)
    return x * scale + g if scale else g


_STEPS: dict[str, tuple[Callable[..., Any], int]] = {
    "Adagrad": (_adagrad, 3),
    "Adam": (_adam, 4),
    "Momentum": (_momentum, 3),
}

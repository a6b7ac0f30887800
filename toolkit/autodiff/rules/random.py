"""Gradients of random operators: the same mask again."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from toolkit.autodiff.registry import Vjp, not_differentiable, vjp
from toolkit.errors import UnsupportedOperatorError
from toolkit.graph.build import constant_of

V = Any  # An ir.Value under `arithmetic`.

not_differentiable(
    "Uniform", "Normal", domain="toolkit.random", reason="Draws numbers of a given shape."
)


@vjp("Dropout", domain="toolkit.random")
def seeded_dropout(c: Vjp, x: V, state: V) -> V:
    """dx = dy mask / (1 - ratio); without a mask at hand, the same draw applied to dy."""
    b, ratio = c.b, float(c.attr("ratio", 0.5))
    if len(c.outputs) > 1 and c.outputs[1].name != "":
        if ratio >= 1.0:
            return c.dy * 0.0
        return b.Where(c.outputs[1], c.dy * (1.0 / (1.0 - ratio)), 0.0)
    return b.call("toolkit.random", "Dropout", [c.dy, state], c.attributes)


@vjp("Dropout")
def dropout(c: Vjp, x: V, ratio: V = None, training: V = None) -> V:
    """Inference: dx = dy. Training: dx = dy mask / (1 - ratio)."""
    b = c.b
    mode = constant_of(training)
    if training is None or (mode is not None and not mode.any()):
        return c.dy
    share = constant_of(ratio)
    if ratio is None or share is not None:
        kept = 1.0 - (0.5 if share is None else float(share.reshape(())))
        factor: V = b.const(0.0 if kept <= 0.0 else 1.0 / kept, x.dtype)
    else:
        factor = b.Reciprocal(b.cast(1.0 - ratio, x.dtype))
    if mode is None:
        factor = b.Where(training, factor, 1.0)
    return b.Where(_mask(c), c.dy * factor, 0.0)


def _mask(c: Vjp) -> ir.Value:
    """The node's mask output, added to it if it has none."""
    if len(c.node.outputs) > 1:
        return c.node.outputs[1]
    if c.fixed:
        raise UnsupportedOperatorError(
            f"Dropout '{c.node.name}': its gradient requires its mask output, got a node that ran "
            "without one. Use toolkit.nn.Dropout, or ask for both outputs."
        )
    c.node.resize_outputs(2)
    mask = c.node.outputs[1]
    mask.name = f"{c.node.outputs[0].name}.mask"
    mask.type = ir.TensorType(ir.DataType.BOOL)
    if c.node.outputs[0].shape is not None:
        mask.shape = ir.Shape(c.node.outputs[0].shape.dims)
    return mask

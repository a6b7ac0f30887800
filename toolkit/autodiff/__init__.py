"""Reverse-mode differentiation of ONNX graphs: gradients are more nodes of the same graph.

Nothing is executed here. `gradients` works on an onnx-ir graph in place, `grad_model` on a model.
"""

from __future__ import annotations

from toolkit.autodiff.backward import gradients
from toolkit.autodiff.model import grad_model
from toolkit.autodiff.registry import (
    derivative,
    linear,
    not_differentiable,
    operators,
    vjp,
)

__all__ = [
    "derivative",
    "grad_model",
    "gradients",
    "linear",
    "not_differentiable",
    "operators",
    "vjp",
]

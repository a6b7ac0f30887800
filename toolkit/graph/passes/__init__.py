"""Graph passes: each an onnx-ir pass class in a file of its own, its rules in its docstring.

`optimize` runs what every runtime gains from; fusion and lowering belong to `toolkit.runtime`.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import PassManager
from onnx_ir.passes.common import RemoveUnusedFunctionsPass

from toolkit.graph.infer import GraphInference
from toolkit.graph.passes.common_subexpressions import CommonSubexpressionPass
from toolkit.graph.passes.constant_folding import ConstantFoldingPass, Evaluate
from toolkit.graph.passes.dead_code import DeadCodePass
from toolkit.graph.passes.inline import InlineFunctionsPass
from toolkit.graph.passes.no_ops import NoOpPass

__all__ = [
    "CommonSubexpressionPass",
    "ConstantFoldingPass",
    "DeadCodePass",
    "Evaluate",
    "InlineFunctionsPass",
    "NoOpPass",
    "PassManager",
    "RemoveUnusedFunctionsPass",
    "inline_functions",
    "optimize",
]


def optimize(
    model: ir.Model,
    evaluate: Evaluate | None = None,
    rounds: int = 3,
    inference: GraphInference | None = None,
) -> ir.Model:
    """Simplifies a model in place; inputs, outputs and results stay bit for bit as they are.

    Args:
        model: A model at the canonical opset.
        evaluate: Runs one node on arrays, for constant folding; without it, only shape arithmetic
            folds.
        rounds: How often to repeat while something changes.
        inference: What inferred the model's nodes as they are; without, they are inferred again.

    Returns:
        The same model.
    """
    for step in range(rounds):
        inlined = InlineFunctionsPass()(model).modified
        changed = NoOpPass()(model).modified
        if step and not (inlined or changed):
            break  # What the rest leaves is nothing for itself.
        folding = ConstantFoldingPass(evaluate, inference=None if inlined else inference)
        inference = None  # Folding tells more of later nodes' inputs.
        rest = (folding, CommonSubexpressionPass(), DeadCodePass())
        modified = [each(model).modified for each in rest]
        if not any(modified):
            break
    return model


def inline_functions(model: ir.Model, composites: bool = False) -> ir.Model:
    """Replaces the calls of model-local functions by their bodies, in place.

    Args:
        model: A model at the canonical opset.
        composites: Inline the functions of the `toolkit.*` domains too, which have kernels.

    Returns:
        The same model.
    """
    InlineFunctionsPass(composites)(model)
    return model

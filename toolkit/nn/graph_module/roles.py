"""What the tensors of a graph are: weights that train, running statistics, or constants.

A file does not say which of its numbers were learned. A float tensor is a weight, but for

1. arguments of operators: bounds of Clip, sizes of Resize, exponents, scales of quantization;
2. single numbers that only arithmetic reads, in a Constant node without dimensions or under a name
   that an exporter makes up: 0.5, an epsilon;
3. masks: zeros, and elements of -10,000 or less;
4. ones and zeros under such a name as scale and bias of a normalization, which a GroupNorm that is
   written out has;
5. what nothing reads.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from enum import Enum
from typing import Any

import numpy as np
import onnx_ir as ir

from toolkit.nn.graph_module.hoist import is_float


class Role(Enum):
    """A weight is a Parameter, a statistic a buffer; a constant is neither."""

    WEIGHT = "weight"
    STATISTIC = "statistic"
    CONSTANT = "constant"


_STATISTICS = {"BatchNormalization": (3, 4), "BatchNormTraining": (3, 4)}
_ARGUMENTS: dict[str, Collection[int]] = {
    "Clip": (1, 2), "ConstantOfShape": (0,), "DequantizeLinear": (1, 2), "Dropout": (1, 2),
    "NonMaxSuppression": (2, 3, 4), "OneHot": (1, 2), "Pad": (2,), "Pow": (1,),
    "QLinearConv": range(9), "QLinearMatMul": range(8), "QuantizeLinear": (1, 2),
    "Range": (0, 1, 2), "Resize": (1, 2), "Shape": (0,), "Upsample": (1,),
}  # fmt: skip
_ARITHMETIC = frozenset(
    {"Add", "Sub", "Mul", "Div", "Min", "Max", "Mod", "Where", "Cast", "CastLike", "Expand"}
    | {"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Sqrt", "Unsqueeze", "Identity"}
)
# Names that exporters give to numbers they found in the code.
_MADE = re.compile(r"(^|/)(_?val_\d+|scalar_tensor|\d+$|[xy](:\d+)?$)|onnx::|[Cc]onst")
_MASKED = -1e4
_NORMS = frozenset({"InstanceNormalization", "LayerNormalization", "GroupNormalization"})


def role_of(value: ir.Value, constant_node: bool, array: np.ndarray[Any, Any]) -> Role:
    """The role of an initializer of the graph that runs.

    Args:
        value: the initializer.
        constant_node: whether the file holds it in a Constant node.
        array: its elements.
    """
    uses = [(u.node.op_type, u.idx) for u in value.uses()]
    if not is_float(value.dtype) or not uses:
        return Role.CONSTANT
    if all(i in _STATISTICS.get(op, ()) for op, i in uses):
        return Role.STATISTIC
    if all(i in _ARGUMENTS.get(op, ()) for op, i in uses):
        return Role.CONSTANT
    made = (constant_node and array.ndim == 0) or bool(_MADE.search(value.name or ""))
    if made and array.size == 1 and all(op in _ARITHMETIC for op, _ in uses):
        return Role.CONSTANT
    if made and all(op in _NORMS and i in (1, 2) for op, i in uses) and _is_trivial(array):
        return Role.CONSTANT
    low = array <= _MASKED
    if array.size > 1 and low.any() and not array[~low].any():
        return Role.CONSTANT
    return Role.WEIGHT


def _is_trivial(array: np.ndarray[Any, Any]) -> bool:
    return bool((array == 0).all() or (array == 1).all())

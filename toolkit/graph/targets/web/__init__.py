"""`ortweb`: the GPU of a browser, as onnxruntime-web drives it by WebGPU.

Its kernels compute in float32, float16, int32 and uint32; truth values only choose (Where, Not,
Cast). What is not in `KERNELS` or has other types would run on the CPU, with a copy there and back.
The table is what onnxruntime's own page of WebGPU operators lists for the standard domain, without
those that came after the first releases, so that older browsers' builds run it too.

What a lowering guarantees:
- every node is in the table with types of the table, or computes a host value (`Roles`), or is a
  Cast by which an input of another type enters or such an output leaves;
- results are those of the original graph, up to rounding of float sums taken in another order,
  wherever every int64 element outside of host values fits 32 bits, indices are within range, and
  no NaN and no infinity meets a rewritten operator (WGSL itself promises nothing for those).
"""

from __future__ import annotations

import importlib
import pkgutil

import onnx_ir as ir

from toolkit.graph.edit import names
from toolkit.graph.targets.pads import full_pad, names_axes
from toolkit.graph.targets.profile import Profile, Roles
from toolkit.graph.targets.registry import rewrite, rewrites
from toolkit.graph.targets.web.integers import narrow

for _family in pkgutil.iter_modules(__path__):  # Imported to register.
    importlib.import_module(f"{__name__}.{_family.name}")

rewrite("ortweb", "Pad")(full_pad)

BOOL = frozenset({ir.DataType.BOOL})
FLOATS = frozenset({ir.DataType.FLOAT, ir.DataType.FLOAT16})
SIGNED = FLOATS | {ir.DataType.INT32}
NUMBERS = SIGNED | {ir.DataType.UINT32}

_FLOAT_KERNELS = names(
    """
    Acos Acosh Asin Asinh Atan Atanh AveragePool BatchNormalization Ceil Clip Conv ConvTranspose Cos
    Cosh Einsum Elu Erf Exp Floor Gemm GlobalAveragePool GlobalMaxPool InstanceNormalization
    LayerNormalization LeakyRelu Log MatMul MaxPool Reciprocal Relu Resize Sigmoid Sin Sinh
    Softmax Sqrt Tan Tanh ThresholdedRelu
    """
)
_SIGNED_KERNELS = names(
    """
    Abs Neg Pow Range ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin
    ReduceProd ReduceSum ReduceSumSquare
    """
)
_NUMBER_KERNELS = names(
    """
    Add Concat Div Equal Expand Flatten Gather GatherElements Greater GreaterOrEqual Less
    LessOrEqual Mul Pad Reshape Slice Split Squeeze Sub Tile Transpose Unsqueeze
    """
)
MOVERS = names(
    "Concat Expand Flatten Gather GatherElements Pad Reshape Slice Split Squeeze Tile Transpose"
    " Unsqueeze"
)
KERNELS = {
    **dict.fromkeys(_FLOAT_KERNELS, FLOATS),
    **dict.fromkeys(_SIGNED_KERNELS, SIGNED),
    **dict.fromkeys(_NUMBER_KERNELS, NUMBERS),
    **dict.fromkeys(("Cast", "Identity", "Where"), NUMBERS | BOOL),
    **dict.fromkeys(("If", "Not"), BOOL),
    "Constant": NUMBERS | BOOL,
}
_WINDOWED = names("AveragePool Conv ConvTranspose MaxPool")


def _problem(node: ir.Node, roles: Roles) -> str | None:
    """What the kernels of the table do not do."""
    x = node.inputs[0] if node.inputs else None
    rank = None if x is None or x.shape is None else len(x.shape)
    if node.op_type in _WINDOWED and rank is not None and rank > 4:
        return f"at most 2 spatial axes are required, got {rank - 2}"
    if names_axes(node):
        return "pads of all axes are required"
    if "ceil_mode" in node.attributes and node.attributes["ceil_mode"].value:
        return "ceil_mode=0 is required, got 1"
    used = [v for v in node.outputs[1:] if v.uses() or v.is_graph_output()]
    if node.op_type == "MaxPool" and used:
        return "a MaxPool without Indices is required"
    training = node.attributes.get("training_mode")
    if node.op_type == "BatchNormalization" and training is not None and training.value:
        return "training_mode=0 is required, got 1"
    if node.op_type == "Where" and node.inputs[1] is not None:
        chosen = node.inputs[1].dtype
        return "no kernel takes truth values" if chosen == ir.DataType.BOOL else None
    if node.op_type == "Cast":
        return _cast_problem(node)
    return None


def _cast_problem(node: ir.Node) -> str | None:
    """Other types may enter from an input of the graph, and leave by an output."""
    result, to = node.outputs[0], ir.DataType(node.attributes["to"].value)
    if to in NUMBERS | BOOL or (result.is_graph_output() and not result.uses()):
        return None
    return f"a type of the GPU is required, got {to.name.lower()}"


class _Web(Profile):
    """Casts at the border take all types."""

    def _type_problem(
        self, node: ir.Node, roles: Roles, allowed: frozenset[ir.DataType]
    ) -> str | None:
        source = node.inputs[0] if node.inputs else None
        enters = source is not None and (source.producer() is None or roles.host(source))
        if node.op_type == "Constant" or (enters and node.op_type in ("Cast", "Identity")):
            return None
        return super()._type_problem(node, roles, allowed)


PROFILE = _Web(
    "ortweb",
    KERNELS,
    rewrites("ortweb"),
    _problem,
    narrow,
    frozenset({ir.DataType.INT64}),
    host=True,
)

"""Shape functions of the composite operators of the `toolkit.*` domains."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx_ir as ir

from toolkit.graph import special_names
from toolkit.graph.shapes.registry import (
    NodeCall,
    ShapeFunction,
    TypeInfo,
    shape_function,
    shape_text,
    tensor_info,
)
from toolkit.graph.shapes.rules import broadcast


def _same_as(*indices: int) -> ShapeFunction:
    """Output k has the type and shape of input `indices[k]`."""

    def function(call: NodeCall) -> Sequence[TypeInfo]:
        return [call.input(index) for index in indices[: call.outputs]]

    return function


def _shaped_by(shape: int, like: int) -> ShapeFunction:
    """The one output has the shape that input `shape` holds and the dtype of input `like`."""
    return lambda call: [call.shape_input(shape, like)]


_TABLE: dict[tuple[str, str], ShapeFunction] = {
    ("toolkit.grad", "SumToShape"): _shaped_by(1, like=0),
    ("toolkit.grad", "ConvGradInput"): _shaped_by(2, like=0),
    ("toolkit.grad", "ConvGradWeight"): _shaped_by(2, like=0),
    ("toolkit.grad", "MaxPoolGrad"): _same_as(0),
    ("toolkit.grad", "AveragePoolGrad"): _shaped_by(1, like=0),
    ("toolkit.grad", "SoftmaxCrossEntropyLossGrad"): _same_as(0),
    ("toolkit.grad", "LayerNormalizationGrad"): _same_as(0, 1, 1),
    ("toolkit.grad", "BatchNormalizationGrad"): _same_as(0, 1, 1),
    ("toolkit.grad", "DetGrad"): _same_as(0),
    ("toolkit.grad", "GatherGrad"): _shaped_by(2, like=0),
    ("toolkit.grad", "SliceGrad"): _shaped_by(1, like=0),
    ("toolkit.grad", "ResizeGrad"): _shaped_by(1, like=0),
    ("toolkit.grad", "GridSampleGrad"): _same_as(0, 1),
    ("toolkit.grad", "CTCLossGrad"): _same_as(1),
    ("toolkit.grad", "RoiAlignGrad"): _shaped_by(3, like=0),
    ("toolkit.grad", "MaxRoiPoolGrad"): _same_as(0),
    ("toolkit.nn", "BatchNormTraining"): _same_as(0, 3, 4),
}
for (_domain, _op_type), _function in _TABLE.items():
    shape_function(_domain, _op_type)(_function)


@shape_function("toolkit.nn", "CumMax", "CumMin", "CumLogSumExp")
def _running(call: NodeCall) -> Sequence[TypeInfo]:
    x, axis = call.input(0), call.attr("axis", -1)
    if x.dims is not None and not -len(x.dims) <= axis < len(x.dims):
        raise call.fail(f"axis must lie in [{-len(x.dims)}, {len(x.dims) - 1}]", str(axis))
    return [x, tensor_info(ir.DataType.INT64, x.dims)][: call.outputs]


@shape_function("toolkit.grad", "SoftmaxGrad", "LogSoftmaxGrad")
def _softmax_grad(call: NodeCall) -> Sequence[TypeInfo]:
    y, dy = call.input(0), call.input(1)
    if y.dims is not None and dy.dims is not None and len(y.dims) != len(dy.dims):
        raise call.fail("y and dy must have one shape", f"{y} and {dy}")
    return [y]


def _recurrent_grad(*indices: int) -> ShapeFunction:
    """Output k is the gradient of input `indices[k]`, which may be left out."""

    def function(call: NodeCall) -> Sequence[TypeInfo]:
        unknown = tensor_info(call.input(0).dtype, None)
        return [call.input(i) if call.has_input(i) else unknown for i in indices[: call.outputs]]

    return function


shape_function("toolkit.grad", "RNNGrad", "GRUGrad")(_recurrent_grad(0, 1, 2, 3, 5))
shape_function("toolkit.grad", "LSTMGrad")(_recurrent_grad(0, 1, 2, 3, 5, 6, 7))


@shape_function("toolkit.special", *special_names.UNARY, *special_names.BINARY)
def _elementwise(call: NodeCall) -> Sequence[TypeInfo]:
    return [tensor_info(call.input(0).dtype, broadcast(call))]


@shape_function("toolkit.nn", "CTCLoss")
def _ctc_loss(call: NodeCall) -> Sequence[TypeInfo]:
    x, lengths = call.input(0), call.input(3)
    if x.dims is not None and len(x.dims) != 3:
        raise call.fail("log_probs must have shape (T, N, C)", f"{x}")
    return [tensor_info(x.dtype, lengths.dims)]


@shape_function("toolkit.nn", "Im2Col")
def _im2col(call: NodeCall) -> Sequence[TypeInfo]:
    x = call.input(0)
    if x.dims is None:
        return [tensor_info(x.dtype, None)]
    return [tensor_info(x.dtype, (x.dims[0], ir.SymbolicDim(None), ir.SymbolicDim(None)))]


@shape_function("toolkit.random", "Dropout")
def _dropout(call: NodeCall) -> Sequence[TypeInfo]:
    x = call.input(0)
    return [x, tensor_info(ir.DataType.BOOL, x.dims)][: call.outputs]


@shape_function("toolkit.random", "Uniform", "Normal")
def _random(call: NodeCall) -> Sequence[TypeInfo]:
    dtype = ir.DataType(int(call.attr("dtype", ir.DataType.FLOAT)))
    return [tensor_info(dtype, call.dims_from(0))]


def _optimizer(*outputs: int) -> Callable[[NodeCall], Sequence[TypeInfo]]:
    """Output k is the new value of input `outputs[k]`; parameter and gradient have one shape."""

    def function(call: NodeCall) -> Sequence[TypeInfo]:
        p, g = call.input(0).dims, call.input(1).dims
        if p is not None and g is not None:
            wrong = len(p) != len(g) or any(
                isinstance(a, int) and isinstance(b, int) and a != b
                for a, b in zip(p, g, strict=False)
            )
            if wrong:
                need = "parameter and gradient must have one shape"
                raise call.fail(need, f"{shape_text(p)} and {shape_text(g)}")
        # A missing buffer is created, of the parameter's type.
        found = [i if call.has_input(i) else 0 for i in outputs]
        return [call.input(i) for i in found[: call.outputs]]

    return function


shape_function("toolkit.optim", "SGD")(_optimizer(0, 2))
shape_function("toolkit.optim", "Adam", "AdamW", "AdamWOptimizer")(_optimizer(0, 2, 3, 6))
for _name in ("NAdam", "RAdam", "Adamax", "Adagrad", "Adadelta", "RMSprop", "Rprop", "ASGD", "Lion",
              "LAMB", "Adafactor", "Muon"):  # fmt: skip
    shape_function("toolkit.optim", _name)(_optimizer(0, 4, 5, 6))


@shape_function("toolkit.optim", "GradNormPower", "NonFinite")
def _one_number(call: NodeCall) -> Sequence[TypeInfo]:
    wide = call.op_type.startswith("GradNormPower") and call.input(0).dtype == ir.DataType.DOUBLE
    return [tensor_info(ir.DataType.DOUBLE if wide else ir.DataType.FLOAT, ())]


@shape_function("toolkit.optim", "ClipGradNorm", "ClipGradValue")
def _as_the_gradient(call: NodeCall) -> Sequence[TypeInfo]:
    return [call.input(0)]

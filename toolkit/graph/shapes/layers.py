"""Shape functions of what networks mostly hold, where nothing is unusual about the node.

ONNX's own inference takes five times as long. Whatever is not plain (sizes that are not known,
padding by name, shapes that do not fit) is left to it, by giving `None`.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from toolkit.graph.shapes.registry import Dim, Dims, NodeCall, TypeInfo, shape_function, tensor_info

_INT64 = ir.DataType.INT64


def window_dims(call: NodeCall, kernel: Sequence[Dim] | None) -> list[Dim] | None:
    """The spatial sizes of a convolution or pooling; `None` where ONNX is to say."""
    dims = call.input(0).dims
    if dims is None or kernel is None or len(kernel) != len(dims) - 2:
        return None
    if call.attr("auto_pad", "NOTSET") not in ("NOTSET", "") or call.attr("ceil_mode", 0):
        return None
    rank = len(kernel)
    strides = call.attr("strides") or [1] * rank
    dilations = call.attr("dilations") or [1] * rank
    pads = call.attr("pads") or [0] * 2 * rank
    if len(strides) != rank or len(dilations) != rank or len(pads) != 2 * rank:
        return None
    result: list[Dim] = []
    for d, size in enumerate(dims[2:]):
        taps = kernel[d]
        if not isinstance(size, int):
            result.append(ir.SymbolicDim(None))
            continue
        if not isinstance(taps, int) or strides[d] < 1 or dilations[d] < 1:
            return None
        room = size + pads[d] + pads[d + rank] - (taps - 1) * dilations[d] - 1
        if room < 0:
            return None
        result.append(room // strides[d] + 1)
    return result


def conv_output(call: NodeCall) -> Sequence[TypeInfo] | None:
    """Y of Conv, whose X and W have one known rank."""
    x, w = call.input(0).dims, call.input(1).dims
    if x is None or w is None or call.attr("kernel_shape") not in (None, tuple(w[2:])):
        return None
    spatial = window_dims(call, w[2:])
    return None if spatial is None else [tensor_info(call.input(0).dtype, (x[0], w[0], *spatial))]


@shape_function("", "MaxPool", "AveragePool")
def _pool(call: NodeCall) -> Sequence[TypeInfo] | None:
    x, spatial = call.input(0).dims, window_dims(call, call.attr("kernel_shape"))
    if x is None or spatial is None or call.outputs != 1 or len(x) < 3:
        return None
    return [tensor_info(call.input(0).dtype, (*x[:2], *spatial))]


@shape_function("", "GlobalAveragePool", "GlobalMaxPool")
def _global_pool(call: NodeCall) -> Sequence[TypeInfo] | None:
    x = call.input(0)
    if x.dims is None or len(x.dims) < 3:
        return None
    return [tensor_info(x.dtype, (*x.dims[:2], *[1] * (len(x.dims) - 2)))]


@shape_function("", "BatchNormalization")
def _batch_normalization(call: NodeCall) -> Sequence[TypeInfo] | None:
    x = call.input(0)
    if x.dims is None or len(x.dims) < 2 or call.outputs != 1 or call.attr("training_mode", 0):
        return None
    channels = (x.dims[1],)
    fit = isinstance(x.dims[1], int) and all(call.input(i).dims == channels for i in range(1, 5))
    return [x] if fit else None


@shape_function("", "LayerNormalization")
def _layer_normalization(call: NodeCall) -> Sequence[TypeInfo] | None:
    x, axis = call.input(0), call.attr("axis", -1)
    if x.dims is None or call.outputs != 1 or not -len(x.dims) <= axis < len(x.dims):
        return None
    return [x]


@shape_function("", "MatMul")
def _matmul(call: NodeCall) -> Sequence[TypeInfo] | None:
    a, b = call.input(0).dims, call.input(1).dims
    if a is None or b is None or len(a) < 2 or len(b) < 2 or a[-1] != b[-2]:
        return None
    if not isinstance(a[-1], int):
        return None
    batch: Dims | None = a[:-2] if len(b) == 2 else b[:-2] if len(a) == 2 else None
    if batch is None and a[:-2] == b[:-2] and all(isinstance(d, int) for d in a[:-2]):
        batch = a[:-2]
    return None if batch is None else [tensor_info(call.input(0).dtype, (*batch, a[-2], b[-1]))]


def gemm_output(call: NodeCall) -> Sequence[TypeInfo] | None:
    """Y of Gemm, whose A and B are matrices."""
    a, b = call.input(0).dims, call.input(1).dims
    if a is None or b is None:
        return None
    rows, columns = a[1 if call.attr("transA", 0) else 0], b[0 if call.attr("transB", 0) else 1]
    return [tensor_info(call.input(0).dtype, (rows, columns))]


@shape_function("", "Cast")
def _cast(call: NodeCall) -> Sequence[TypeInfo] | None:
    to = call.attr("to")
    return None if to is None else [tensor_info(ir.DataType(to), call.input(0).dims)]


@shape_function("", "CastLike")
def _cast_like(call: NodeCall) -> Sequence[TypeInfo] | None:
    dtype = call.input(1).dtype
    return None if dtype is None else [tensor_info(dtype, call.input(0).dims)]


@shape_function("", "Shape")
def _shape(call: NodeCall) -> Sequence[TypeInfo] | None:
    dims = call.input(0).dims
    if dims is None:
        return None
    count = len(dims[slice(call.attr("start", 0), call.attr("end", None))])
    return [tensor_info(_INT64, (count,))]


@shape_function("", "Concat")
def _concat(call: NodeCall) -> Sequence[TypeInfo] | None:
    shapes = [call.input(i).dims for i in range(len(call.inputs))]
    first, axis = shapes[0] if shapes else None, call.attr("axis")
    if first is None or axis is None or not -len(first) <= axis < len(first):
        return None
    axis %= len(first)
    total = 0
    for dims in shapes:
        if dims is None or len(dims) != len(first):
            return None
        size = dims[axis]
        rest = (*dims[:axis], *dims[axis + 1 :])
        if not isinstance(size, int) or rest != (*first[:axis], *first[axis + 1 :]):
            return None
        if not all(isinstance(d, int) for d in rest):
            return None
        total += size
    return [tensor_info(call.input(0).dtype, (*first[:axis], total, *first[axis + 1 :]))]


@shape_function("", "Unsqueeze")
def _unsqueeze(call: NodeCall) -> Sequence[TypeInfo] | None:
    x, axes = call.input(0), call.known(1)
    if x.dims is None or axes is None or axes.dtype != "int64" or axes.ndim != 1:
        return None
    rank = len(x.dims) + len(axes)
    ones = {a % rank for a in axes.tolist() if -rank <= a < rank}
    if len(ones) != len(axes):
        return None
    rest = iter(x.dims)
    return [tensor_info(x.dtype, [1 if i in ones else next(rest) for i in range(rank)])]


@shape_function("", "Squeeze")
def _squeeze(call: NodeCall) -> Sequence[TypeInfo] | None:
    x, axes = call.input(0), call.known(1)
    if x.dims is None or axes is None or axes.dtype != "int64" or axes.ndim != 1:
        return None
    rank = len(x.dims)
    gone = {a % rank for a in axes.tolist() if -rank <= a < rank}
    if len(gone) != len(axes) or any(x.dims[a] != 1 for a in gone):
        return None
    return [tensor_info(x.dtype, [d for i, d in enumerate(x.dims) if i not in gone])]


@shape_function("", "Identity")
def _identity(call: NodeCall) -> Sequence[TypeInfo] | None:
    x = call.input(0)
    return [x] if isinstance(x.type, ir.TensorType) and x.dims is not None else None


@shape_function("", "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin")
def _reduce(call: NodeCall) -> Sequence[TypeInfo] | None:
    x, axes = call.input(0), call.known(1)
    if x.dims is None or axes is None or axes.dtype != "int64" or not axes.size:
        return None
    rank = len(x.dims)
    gone = {a % rank for a in axes.reshape(-1).tolist() if -rank <= a < rank}
    if len(gone) != axes.size:
        return None
    kept = [1] if call.attr("keepdims", 1) else []
    dims = [d for i, size in enumerate(x.dims) for d in (kept if i in gone else [size])]
    return [tensor_info(x.dtype, dims)]

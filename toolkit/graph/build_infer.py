"""What `Builder` knows of a node it writes: element types, cheap shapes, values of small constants.

Full shape inference is `toolkit.graph.infer`; an unknown shape here is None, never a guess.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from toolkit.graph import special_names

Dim = int | ir.SymbolicDim
Dims = tuple[Dim, ...]
Array = np.ndarray[Any, Any]

MAX_FOLDED_SIZE = 1024


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_BOOL = _names(
    """
    Equal Less LessOrEqual Greater GreaterOrEqual And Or Xor Not IsNaN IsInf
    """
)
_INT64 = _names(
    """
    Shape Size ArgMax ArgMin NonZero LuPermutation
    """
)
_TYPED_BY_INPUT = {
    "Where": 1, "CastLike": 1, "OneHot": 2, "DequantizeLinear": 1, "QuantizeLinear": 2,
    "QLinearConv": 7, "QLinearMatMul": 7,
}  # fmt: skip
_TYPED_BY_ATTRIBUTE = {
    "Cast": "to",
    "EyeLike": "dtype",
    "RandomNormal": "dtype",
    "RandomUniform": "dtype",
    "RandomNormalLike": "dtype",
    "RandomUniformLike": "dtype",
    "Multinomial": "dtype",
    "Bernoulli": "dtype",
    "Uniform": "dtype",
    "Normal": "dtype",
}
_SECOND_OUTPUT = {
    "TopK": ir.DataType.INT64,
    "MaxPool": ir.DataType.INT64,
    "Unique": ir.DataType.INT64,
    "Dropout": ir.DataType.BOOL,
    "Cholesky": ir.DataType.INT32,
    "Lu": ir.DataType.INT32,
}

BROADCASTING = (
    _names(
        """
    Add Sub Mul Div Mod Pow Min Max Sum Mean Where And Or Xor Equal Less LessOrEqual
    Greater GreaterOrEqual BitwiseAnd BitwiseOr BitwiseXor BitShift
    """
    )
    | special_names.BINARY
)
_SAME_SHAPE = (
    _names(
        """
    Abs Acos Acosh Asin Asinh Atan Atanh BitwiseNot Cast CastLike Ceil Celu Clip Cos Cosh
    CumSum Dropout Elu Erf Exp Floor Gelu HardSigmoid HardSwish Hardmax Identity IsInf
    IsNaN LayerNormalization LeakyRelu Log LogSoftmax LpNormalization LRN
    MeanVarianceNormalization Mish Neg Not PRelu RMSNormalization Reciprocal Relu
    ReverseSequence Round ScatterElements ScatterND Selu Shrink Sigmoid Sign Sin Sinh
    Softmax Softplus Softsign Sqrt Swish Tan Tanh ThresholdedRelu Trilu BatchNormalization
    GroupNormalization InstanceNormalization SoftmaxGrad LogSoftmaxGrad MaxPoolGrad
    SoftmaxCrossEntropyLossGrad
    """
    )
    | special_names.UNARY
)


def output_dtypes(
    op_type: str,
    inputs: Sequence[ir.Value | None],
    attributes: Mapping[str, Any],
    outputs: int,
) -> list[ir.DataType | None]:
    """The element types of a node's outputs (None where an input's type is unknown)."""
    first: ir.DataType | None = None
    if op_type in _BOOL:
        first = ir.DataType.BOOL
    elif op_type in _INT64:
        first = ir.DataType.INT64
    elif op_type in _TYPED_BY_ATTRIBUTE and _TYPED_BY_ATTRIBUTE[op_type] in attributes:
        first = ir.DataType(attributes[_TYPED_BY_ATTRIBUTE[op_type]])
    elif op_type == "ConstantOfShape":
        value = attributes.get("value")
        first = ir.DataType.FLOAT if value is None else value.dtype
    elif op_type in ("Uniform", "Normal", "RandomNormal", "RandomUniform", "Bernoulli"):
        first = ir.DataType.FLOAT
    elif op_type in ("MatMulInteger", "ConvInteger"):
        first = ir.DataType.INT32
    elif op_type == "DynamicQuantizeLinear":
        kinds: list[ir.DataType | None] = [ir.DataType.UINT8, ir.DataType.FLOAT, ir.DataType.UINT8]
        return kinds[:outputs]
    else:
        index = _TYPED_BY_INPUT.get(op_type, 0)
        source = inputs[index] if index < len(inputs) else None
        first = None if source is None else source.dtype
    rest = _SECOND_OUTPUT.get(op_type, first)
    if op_type == "Solve":  # X, LU, pivots, info.
        return [first, first, ir.DataType.INT32, ir.DataType.INT32][:outputs]
    return [first] + [rest] * (outputs - 1)


def known_dims(value: ir.Value | None) -> Dims | None:
    """The dimensions of `value`, or None when not even its rank is known."""
    if value is None or value.shape is None:
        return None
    return value.shape.dims


def static_dims(value: ir.Value | None) -> tuple[int, ...] | None:
    """The dimensions of `value` when every one is a known number."""
    dims = known_dims(value)
    if dims is None or not all(isinstance(d, int) for d in dims):
        return None
    return dims  # type: ignore[return-value]


def same_dim(a: Dim, b: Dim) -> bool:
    """Whether two dimensions are provably equal (an unnamed one equals nothing)."""
    if isinstance(a, int) or isinstance(b, int):
        return a is b or (isinstance(a, int) and isinstance(b, int) and a == b)
    return a.value is not None and a.value == b.value


def broadcast_dims(shapes: Sequence[Dims | None]) -> Dims | None:
    """The shape that numpy-style broadcasting gives; unprovable dimensions are unnamed."""
    if any(s is None for s in shapes):
        return None
    known = [s for s in shapes if s is not None]
    rank = max((len(s) for s in known), default=0)
    result: list[Dim] = [1] * rank
    for shape in known:
        for i, dim in enumerate(shape, start=rank - len(shape)):
            old = result[i]
            if isinstance(old, int) and old == 1:
                result[i] = dim
            elif (isinstance(dim, int) and dim == 1) or same_dim(old, dim):
                pass
            elif isinstance(dim, int):
                result[i] = dim
            elif not isinstance(old, int):
                result[i] = ir.SymbolicDim(None)
    return tuple(result)


def output_dims(
    op_type: str, inputs: Sequence[ir.Value | None], attributes: Mapping[str, Any]
) -> Dims | None:
    """The shape of a node's first output where that costs next to nothing, else None."""
    if not inputs:
        return None
    if op_type in BROADCASTING:
        return broadcast_dims([known_dims(x) for x in inputs])
    if op_type in _SAME_SHAPE:
        return known_dims(inputs[0])
    rule = _SHAPES.get(op_type)
    return None if rule is None else rule(inputs, attributes)


_ShapeRule = Callable[[Sequence[ir.Value | None], Mapping[str, Any]], Dims | None]


def _ints(inputs: Sequence[ir.Value | None], index: int) -> list[int] | None:
    """The constant integers of an input; None when it is absent or not constant."""
    if index >= len(inputs):
        return None
    array = constant_of(inputs[index])
    return None if array is None else [int(i) for i in array.reshape(-1)]


def _shape_of_shape(
    inputs: Sequence[ir.Value | None], attributes: Mapping[str, Any]
) -> Dims | None:
    dims = known_dims(inputs[0])
    return (
        None if dims is None else (len(dims[attributes.get("start", 0) : attributes.get("end")]),)
    )


def _size(inputs: Sequence[ir.Value | None], attributes: Mapping[str, Any]) -> Dims | None:
    return ()


def _matmul(inputs: Sequence[ir.Value | None], attributes: Mapping[str, Any]) -> Dims | None:
    a, b = known_dims(inputs[0]), known_dims(inputs[1])
    if not a or not b:
        return None
    rows = () if len(a) == 1 else (a[-2],)
    columns = () if len(b) == 1 else (b[-1],)
    batch = broadcast_dims([a[:-2], b[:-2]])
    return None if batch is None else (*batch, *rows, *columns)


def _gemm(inputs: Sequence[ir.Value | None], attributes: Mapping[str, Any]) -> Dims | None:
    a, b = known_dims(inputs[0]), known_dims(inputs[1])
    if a is None or b is None or len(a) != 2 or len(b) != 2:
        return None
    return (a[1 if attributes.get("transA") else 0], b[0 if attributes.get("transB") else 1])


def _transpose(inputs: Sequence[ir.Value | None], attributes: Mapping[str, Any]) -> Dims | None:
    dims = known_dims(inputs[0])
    if dims is None:
        return None
    perm = attributes.get("perm")
    return dims[::-1] if perm is None else tuple(dims[i] for i in perm)


def _reduce(inputs: Sequence[ir.Value | None], attributes: Mapping[str, Any]) -> Dims | None:
    dims = known_dims(inputs[0])
    if dims is None:
        return None
    keep = attributes.get("keepdims", 1)
    if len(inputs) < 2 or inputs[1] is None:
        axes = set() if attributes.get("noop_with_empty_axes") else set(range(len(dims)))
    else:
        found = _ints(inputs, 1)
        if found is None:
            return tuple(ir.SymbolicDim(None) for _ in dims) if keep else None
        axes = {a % len(dims) for a in found}
        if not axes and not attributes.get("noop_with_empty_axes"):
            axes = set(range(len(dims)))
    if keep:
        return tuple(1 if i in axes else d for i, d in enumerate(dims))
    return tuple(d for i, d in enumerate(dims) if i not in axes)


def _reshape(inputs: Sequence[ir.Value | None], attributes: Mapping[str, Any]) -> Dims | None:
    target = _ints(inputs, 1)
    if target is None:
        length = static_dims(inputs[1])
        return None if length is None else tuple(ir.SymbolicDim(None) for _ in range(length[0]))
    dims = known_dims(inputs[0])
    result: list[Dim] = []
    for i, n in enumerate(target):
        if n == 0 and not attributes.get("allowzero"):
            result.append(dims[i] if dims is not None and i < len(dims) else ir.SymbolicDim(None))
        else:
            result.append(ir.SymbolicDim(None) if n == -1 else n)
    if -1 in target and dims is not None:
        unknown = target.index(-1)
        rest_in = list(dims)
        rest_out = [d for i, d in enumerate(result) if i != unknown]
        for d in list(rest_out):
            match = next((e for e in rest_in if not isinstance(e, int) and same_dim(d, e)), None)
            if match is not None:
                rest_in.remove(match)
                rest_out.remove(d)
        sizes = [d for d in rest_in if isinstance(d, int)]
        divisor = math.prod(d for d in rest_out if isinstance(d, int))
        if divisor and len(sizes) == len(rest_in) and all(isinstance(d, int) for d in rest_out):
            result[unknown] = math.prod(sizes) // divisor
    return tuple(result)


def _expand(inputs: Sequence[ir.Value | None], attributes: Mapping[str, Any]) -> Dims | None:
    target = _ints(inputs, 1)
    if target is not None:
        return broadcast_dims([known_dims(inputs[0]), tuple(target)])
    dims, length = known_dims(inputs[0]), static_dims(inputs[1])
    if dims is None or length is None:
        return None
    return tuple(ir.SymbolicDim(None) for _ in range(max(len(dims), length[0])))


def _unsqueeze(inputs: Sequence[ir.Value | None], attributes: Mapping[str, Any]) -> Dims | None:
    dims, axes = known_dims(inputs[0]), _ints(inputs, 1)
    if dims is None or axes is None:
        return None
    rank = len(dims) + len(axes)
    new = {a % rank for a in axes}
    rest = iter(dims)
    return tuple(1 if i in new else next(rest) for i in range(rank))


def _squeeze(inputs: Sequence[ir.Value | None], attributes: Mapping[str, Any]) -> Dims | None:
    dims, axes = known_dims(inputs[0]), _ints(inputs, 1)
    if dims is None or (axes is None and len(inputs) > 1 and inputs[1] is not None):
        return None
    if axes is None:
        if not all(isinstance(d, int) for d in dims):
            return None
        return tuple(d for d in dims if d != 1)
    gone = {a % len(dims) for a in axes}
    return tuple(d for i, d in enumerate(dims) if i not in gone)


def _concat(inputs: Sequence[ir.Value | None], attributes: Mapping[str, Any]) -> Dims | None:
    shapes = [known_dims(x) for x in inputs]
    if any(s is None for s in shapes):
        return None
    known = [s for s in shapes if s is not None]
    axis = attributes["axis"] % max(len(known[0]), 1)
    along = [s[axis] for s in known]
    total: Dim = ir.SymbolicDim(None)
    if all(isinstance(d, int) for d in along):
        total = sum(d for d in along if isinstance(d, int))
    return tuple(total if i == axis else d for i, d in enumerate(known[0]))


def _gather(inputs: Sequence[ir.Value | None], attributes: Mapping[str, Any]) -> Dims | None:
    dims, indices = known_dims(inputs[0]), known_dims(inputs[1])
    if dims is None or indices is None or not dims:
        return None
    axis = attributes.get("axis", 0) % len(dims)
    return (*dims[:axis], *indices, *dims[axis + 1 :])


def _of_second(inputs: Sequence[ir.Value | None], attributes: Mapping[str, Any]) -> Dims | None:
    return known_dims(inputs[1])


def _of_target(position: int) -> _ShapeRule:
    """The shape that an input tensor spells out."""

    def rule(inputs: Sequence[ir.Value | None], attributes: Mapping[str, Any]) -> Dims | None:
        target = _ints(inputs, position)
        if target is not None:
            return tuple(target)
        length = static_dims(inputs[position])
        return None if length is None else tuple(ir.SymbolicDim(None) for _ in range(length[0]))

    return rule


_SHAPES: dict[str, _ShapeRule] = {
    "Shape": _shape_of_shape,
    "Size": _size,
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Expand": _expand,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Concat": _concat,
    "Gather": _gather,
    "GatherElements": _of_second,
    "ConstantOfShape": _of_target(0),
    "SumToShape": _of_target(1),
    "ConvGradInput": _of_target(2),
    "ConvGradWeight": _of_target(2),
    "AveragePoolGrad": _of_target(1),
    "GatherGrad": _of_target(2),
    "SliceGrad": _of_target(1),
    **dict.fromkeys(
        _names("""
ReduceSum ReduceMean ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2
ReduceLogSum ReduceLogSumExp ReduceSumSquare"""),
        _reduce,
    ),
}


# -- values of small constants --------------------------------------------------------------------


VARIABLE = "toolkit.variable"  # Key of `ir.Value.meta`.


def mark_variable(value: ir.Value) -> ir.Value:
    """Says that an initializer is a state: parameter, moment, running statistic, random state."""
    value.meta[VARIABLE] = True
    return value


def constant_of(value: ir.Value | None) -> Array | None:
    """The array a value is known to hold: an initializer's or a Constant node's, else None.

    An initializer that is also a graph input may be overridden, so it is not a constant; neither is
    one whose value changes from run to run (`mark_variable`).
    """
    if value is None or VARIABLE in value.meta:
        return None
    node = value.producer()
    if node is None:
        if value.const_value is None or value.is_graph_input():
            return None
        return value.const_value.numpy()
    if value.const_value is not None:
        return value.const_value.numpy()
    if node.op_type != "Constant" or node.domain != "":
        return None
    for name, attribute in node.attributes.items():
        if name == "value":
            return attribute.as_tensor().numpy()
        if name in ("value_int", "value_ints"):
            return np.asarray(attribute.value, np.int64)
        if name in ("value_float", "value_floats"):
            return np.asarray(attribute.value, np.float32)
    return None


def _slice(x: Array, starts: Array, ends: Array, axes: Array | None, steps: Array | None) -> Array:
    index = [slice(None)] * x.ndim
    for i in range(len(starts)):
        axis = i if axes is None else int(axes[i])
        step = 1 if steps is None else int(steps[i])
        end = int(ends[i])
        stop = None if step < 0 and end < -x.shape[axis] else end
        index[axis] = slice(int(starts[i]), stop, step)
    return x[tuple(index)]


def _div(a: Array, b: Array) -> Array:
    if a.dtype.kind == "f":
        return a / b
    quotient = np.abs(a) // np.abs(b)
    return np.where((a < 0) != (b < 0), -quotient, quotient).astype(a.dtype)


def _unsqueeze_array(x: Array, axes: Array) -> Array:
    return np.expand_dims(x, tuple(int(a) for a in axes.reshape(-1)))


def _squeeze_array(x: Array, axes: Array | None = None) -> Array:
    return np.squeeze(x, None if axes is None else tuple(int(a) for a in axes.reshape(-1)))


def _axis_tuple(axes: Array | None) -> tuple[int, ...] | None:
    return None if axes is None or axes.size == 0 else tuple(int(a) for a in axes.reshape(-1))


def _cast(x: Array, *, to: int, saturate: int = 1, round_mode: str = "up") -> Array:
    return x.astype(ir.DataType(to).numpy())


_FOLD: dict[str, Callable[..., Any]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": _div,
    "Mod": lambda a, b, fmod=0: np.fmod(a, b) if fmod else np.mod(a, b),
    "Neg": np.negative,
    "Abs": np.abs,
    "Min": lambda *xs: np.minimum.reduce(np.broadcast_arrays(*xs)),
    "Max": lambda *xs: np.maximum.reduce(np.broadcast_arrays(*xs)),
    "Equal": np.equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "And": np.logical_and,
    "Or": np.logical_or,
    "Not": np.logical_not,
    "Where": np.where,
    "Concat": lambda *xs, axis: np.concatenate(xs, axis),
    "Gather": lambda x, i, axis=0: np.take(x, i, axis),
    "Slice": lambda x, starts, ends, axes=None, steps=None: _slice(x, starts, ends, axes, steps),
    "Unsqueeze": _unsqueeze_array,
    "Squeeze": _squeeze_array,
    "Reshape": lambda x, shape, allowzero=0: x.reshape(
        [x.shape[i] if n == 0 and not allowzero else n for i, n in enumerate(shape.tolist())]
    ),
    "Transpose": lambda x, perm=None: np.transpose(x, perm),
    "Expand": lambda x, shape: np.broadcast_to(
        x, np.broadcast_shapes(x.shape, tuple(shape.tolist()))
    ),
    "Tile": lambda x, repeats: np.tile(x, repeats.tolist()),
    "Cast": _cast,
    "CastLike": lambda x, y: x.astype(y.dtype),
    "Range": lambda a, b, step: np.arange(a, b, step, dtype=a.dtype),
    "ReduceSum": lambda x, axes=None, keepdims=1: np.sum(
        x, axis=_axis_tuple(axes), keepdims=bool(keepdims), dtype=x.dtype
    ),
    "ReduceProd": lambda x, axes=None, keepdims=1: np.prod(
        x, axis=_axis_tuple(axes), keepdims=bool(keepdims), dtype=x.dtype
    ),
    "ReduceMax": lambda x, axes=None, keepdims=1: np.max(
        x, axis=_axis_tuple(axes), keepdims=bool(keepdims)
    ),
    "Identity": lambda x: x,
    "CumSum": lambda x, axis: np.cumsum(x, int(axis), dtype=x.dtype),
}


def _part_of_shape(inputs: Sequence[ir.Value | None]) -> Array | None:
    """Slice(x, starts, ends) of a vector: also where x is the Shape of a partly known shape."""
    starts, ends = _ints(inputs, 1), _ints(inputs, 2)
    if starts is None or ends is None or inputs[0] is None:
        return None
    vector = constant_of(inputs[0])
    node = inputs[0].producer()
    if vector is None and node is not None and node.op_type == "Shape" and not node.domain:
        dims = known_dims(node.inputs[0])
        if dims is None or node.attributes:
            return None
        part = dims[starts[0] : ends[0]]
        return np.array(part, np.int64) if all(isinstance(d, int) for d in part) else None
    if vector is None or vector.size > MAX_FOLDED_SIZE:
        return None
    return _slice(vector, np.array(starts), np.array(ends), None, None)


def fold(
    op_type: str, inputs: Sequence[ir.Value | None], attributes: Mapping[str, Any]
) -> Array | None:
    """The value of a node whose inputs are small constants, else None."""
    if op_type in ("Shape", "Size"):
        dims = static_dims(inputs[0])
        if op_type == "Shape" and dims is None:
            known = known_dims(inputs[0])
            part = (
                () if known is None else known[attributes.get("start", 0) : attributes.get("end")]
            )
            if known is None or not all(isinstance(d, int) for d in part):
                return None
            return np.array(part, np.int64)
        if dims is None:
            return None
        if op_type == "Size":
            return np.array(np.prod(dims, dtype=np.int64))
        return np.array(dims[attributes.get("start", 0) : attributes.get("end")], np.int64)
    rule = _FOLD.get(op_type)
    if rule is None:
        return None
    if op_type == "CumSum" and attributes:
        return None  # Exclusive or from the end: the kernel does it.
    if op_type == "Cast" and len(attributes) > 1:
        return None  # How narrow types round and saturate is the kernel's.
    if op_type == "Slice" and len(inputs) == 3:
        return _part_of_shape(inputs)
    arrays: list[Array | None] = []
    for value in inputs:
        array = None if value is None else constant_of(value)
        if value is not None and (array is None or array.size > MAX_FOLDED_SIZE):
            return None
        arrays.append(array)
    if op_type in ("ReduceMax", "ReduceMin") and arrays[0] is not None and not arrays[0].size:
        return None  # Of nothing: the kernel knows.
    result = np.asarray(rule(*arrays, **attributes))
    return result if result.size <= MAX_FOLDED_SIZE else None

"""Shape functions of ONNX operators.

They are where symbolic dimensions say more than ONNX's own inference, where ONNX's does not see a
mistake, and where speed counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import onnx_ir as ir

from toolkit.graph.shapes.layers import conv_output, gemm_output
from toolkit.graph.shapes.registry import (
    Dim,
    Dims,
    NodeCall,
    TypeInfo,
    is_known,
    same,
    shape_function,
    shape_text,
    tensor_info,
)

_UNARY = """
    Abs Acos Acosh Asin Asinh Atan Atanh BitwiseNot Ceil Celu Clip Cos Cosh CumSum Elu Erf Exp Floor
    Gelu GroupNormalization HardSigmoid HardSwish Hardmax LeakyRelu Log LogSoftmax
    MeanVarianceNormalization Mish Neg Not Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh
    Softmax Softplus Softsign Sqrt Swish Tan Tanh ThresholdedRelu
"""
_BROADCASTING = """
    Add BitShift BitwiseAnd BitwiseOr BitwiseXor Div Max Mean Min Mod Mul PRelu Pow Sub Sum
"""
_COMPARISONS = "And Equal Greater GreaterOrEqual Less LessOrEqual Or Xor"


@shape_function("", *_UNARY.split())
def _unary(call: NodeCall) -> Sequence[TypeInfo] | None:
    axis, dims = call.attr("axis"), call.input(0).dims
    if axis is not None and dims is not None and not -len(dims) <= axis < max(len(dims), 1):
        need = f"axis must lie in [{-len(dims)}, {len(dims) - 1}]"
        raise call.fail(need, f"{axis} for an input of shape {shape_text(dims)}")
    return [call.input(0)]


@shape_function("", *_BROADCASTING.split())
def _broadcasting(call: NodeCall) -> Sequence[TypeInfo] | None:
    return [tensor_info(call.input(0).dtype, broadcast(call))]


@shape_function("", *_COMPARISONS.split())
def _comparison(call: NodeCall) -> Sequence[TypeInfo] | None:
    return [tensor_info(ir.DataType.BOOL, broadcast(call))]


@shape_function("", "Where")
def _where(call: NodeCall) -> Sequence[TypeInfo] | None:
    return [tensor_info(call.input(1).dtype, broadcast(call))]


def broadcast(call: NodeCall) -> Dims | None:
    """The common shape of all inputs by ONNX's multidirectional broadcasting."""
    shapes = [call.input(i).dims for i in range(len(call.inputs))]
    known = [s for s in shapes if s is not None]
    if len(known) != len(shapes) or not known:
        return None
    return broadcast_dims(call, known)


def broadcast_dims(call: NodeCall, known: Sequence[Dims]) -> Dims:
    """The common shape of several.

    Raises:
        ShapeError: they do not broadcast.
    """
    first = known[0]
    if all(s is first or s == first for s in known) and all(map(is_known, first)):
        return first
    rank = max(map(len, known))
    wide = [s for s in known if any(d != 1 for d in s)]
    if len(wide) == 1 and len(wide[0]) == rank:
        return wide[0]
    result = []
    for axis in range(-rank, 0):
        dim = _broadcast_dim([s[axis] for s in known if -axis <= len(s)])
        if dim is None:
            texts = " and ".join(map(shape_text, known))
            raise call.fail("shapes must broadcast", texts)
        result.append(dim)
    return tuple(result)


def _broadcast_dim(dims: Sequence[Dim]) -> Dim | None:
    """The common dimension; `None` where numbers differ."""
    numbers = {d for d in dims if isinstance(d, int) and d != 1}
    if len(numbers) > 1:
        return None
    if numbers:
        return numbers.pop()
    symbols = [d for d in dims if not isinstance(d, int)]
    if not symbols:
        return 1
    if all(same(symbols[0], d) for d in symbols):
        return symbols[0]
    return ir.SymbolicDim(None)


@shape_function("", "Reshape")
def _reshape(call: NodeCall) -> Sequence[TypeInfo] | None:
    x, wanted = call.input(0), call.known(1)
    if wanted is None:
        return [tensor_info(x.dtype, call.dims_from(1))]
    items = wanted.reshape(-1).tolist()
    result: list[Dim] = []
    hole = -1
    for k, item in enumerate(items):
        if isinstance(item, int) and item == 0 and not call.attr("allowzero", 0):
            if x.dims is not None and k >= len(x.dims):
                raise call.fail("shape's 0 must stand for an axis of data", f"{items} and data {x}")
            result.append(x.dims[k] if x.dims is not None else ir.SymbolicDim(None))
        elif isinstance(item, int) and item < 0:
            if item < -1 or hole >= 0:
                raise call.fail("shape must hold at most one -1 and nothing below", str(items))
            hole = k
            result.append(ir.SymbolicDim(None))
        else:
            result.append(item)
    if x.dims is not None:
        _fill_hole(call, x.dims, result, hole)
    return [tensor_info(x.dtype, result)]


def _fill_hole(call: NodeCall, source: Dims, result: list[Dim], hole: int) -> None:
    """Solves for the -1 by cancelling what both sides share; checks sizes where all is known."""
    rest = [d for k, d in enumerate(result) if k != hole]
    if not all(map(is_known, source)) or not all(map(is_known, rest)):
        return
    left, above = _factors(source)
    right, below = _factors(rest)
    up, down = above - below, below - above
    impossible = right == 0 or left % right != 0 if hole >= 0 else left != right
    if not up and not down and impossible:
        raise call.fail(
            f"shape must hold as many elements as data {shape_text(source)}",
            shape_text(tuple(-1 if k == hole else d for k, d in enumerate(result))),
        )
    if hole < 0 or down or right == 0 or left % right:
        return
    dim: Dim = left // right
    for symbol in up.elements():
        try:
            dim = ir.SymbolicDim(symbol) if dim == 1 else ir.SymbolicDim(symbol) * dim
        except Exception:  # A name that is no expression.
            return
    result[hole] = dim


def _factors(dims: Sequence[Dim]) -> tuple[int, Counter[str]]:
    """The product as a number times a bag of symbols."""
    number, symbols = 1, Counter[str]()
    for dim in dims:
        if isinstance(dim, int):
            number *= dim
        else:
            symbols[str(dim.value)] += 1
    return number, symbols


@shape_function("", "Expand")
def _expand(call: NodeCall) -> Sequence[TypeInfo] | None:
    x, target = call.input(0), call.dims_from(1)
    if x.dims is None or target is None:
        return [tensor_info(x.dtype, None)]
    rank = max(len(x.dims), len(target))
    result = []
    for axis in range(-rank, 0):
        dim = _broadcast_dim([s[axis] for s in (x.dims, target) if -axis <= len(s)])
        if dim is None:
            need = f"shape must broadcast with input {x}"
            raise call.fail(need, shape_text(target))
        result.append(dim)
    return [tensor_info(x.dtype, result)]


@shape_function("", "ConstantOfShape")
def _constant_of_shape(call: NodeCall) -> Sequence[TypeInfo] | None:
    value = call.attr("value")
    dtype = ir.DataType.FLOAT if value is None else ir.DataType(value.dtype)
    return [tensor_info(dtype, call.dims_from(0))]


@shape_function("", "Conv")
def _conv(call: NodeCall) -> Sequence[TypeInfo] | None:
    """ONNX's inference does not compare the channels; the rest is like it."""
    x, w = call.input(0).dims, call.input(1).dims
    if x is None or w is None:
        return None
    if len(x) != len(w) or len(x) < 3:
        need = "X must be (N, C, D1, ...) and W (M, C/group, k1, ...) of one rank"
        raise call.fail(need, f"X {shape_text(x)} and W {shape_text(w)}")
    group = call.attr("group", 1)
    if isinstance(x[1], int) and isinstance(w[1], int) and x[1] != w[1] * group:
        need = f"X must have {w[1] * group} channels (W {shape_text(w)}, group {group})"
        raise call.fail(need, f"{x[1]} in X {shape_text(x)}")
    return conv_output(call)


@shape_function("", "Transpose")
def _transpose(call: NodeCall) -> Sequence[TypeInfo] | None:
    x, perm = call.input(0), call.attr("perm")
    if x.dims is None:
        return [tensor_info(x.dtype, None)]
    rank = len(x.dims)
    perm = list(perm) if perm is not None else list(range(rank))[::-1]
    if sorted(perm) != list(range(rank)):
        raise call.fail(f"perm must hold each axis of data {x} once", str(perm))
    return [tensor_info(x.dtype, [x.dims[k] for k in perm])]


@shape_function("", "Gemm")
def _gemm(call: NodeCall) -> Sequence[TypeInfo] | None:
    """ONNX's message does not say which dimensions differ."""
    a, b = call.input(0).dims, call.input(1).dims
    if a is None or b is None:
        return None
    if len(a) != 2 or len(b) != 2:
        raise call.fail("A and B must be matrices", f"A {shape_text(a)} and B {shape_text(b)}")
    k, other = a[0 if call.attr("transA", 0) else 1], b[1 if call.attr("transB", 0) else 0]
    if isinstance(k, int) and isinstance(other, int) and k != other:
        signs = ["'" if call.attr(name, 0) else "" for name in ("transA", "transB")]
        got = f"A{signs[0]} from A {shape_text(a)} and B{signs[1]} from B {shape_text(b)}"
        raise call.fail("inner dimensions must match", got)
    return gemm_output(call)


@shape_function("", "MaxUnpool")
def _max_unpool(call: NodeCall) -> Sequence[TypeInfo] | None:
    x, dims = call.input(0), call.dims_from(2) if call.has_input(2) else None
    if not call.has_input(2) or x.dims is None:
        return None
    return [tensor_info(x.dtype, dims or (ir.SymbolicDim(None),) * len(x.dims))]


@shape_function("", "STFT")
def _stft(call: NodeCall) -> Sequence[TypeInfo] | None:
    """ONNX's own inference takes an absent `onesided` for 0, where the default is 1."""
    x, step = call.input(0), call.known(1)
    if x.dims is None or len(x.dims) != 3:
        return None
    length: Dim = x.dims[1]
    if call.has_input(3):
        known = call.known(3)
        length = ir.SymbolicDim(None) if known is None else known.reshape(-1)[0]
    elif call.has_input(2):
        window = call.input(2).dims
        length = ir.SymbolicDim(None) if window is None else window[0]
    frames: Dim = ir.SymbolicDim(None)
    bins: Dim = ir.SymbolicDim(None)
    if not isinstance(length, ir.SymbolicDim):
        length = int(length)
        bins = length // 2 + 1 if call.attr("onesided", 1) else length
        stride = None if step is None else step.reshape(-1)[0]
        if isinstance(x.dims[1], int) and stride and not isinstance(stride, ir.SymbolicDim):
            frames = (x.dims[1] - length) // int(stride) + 1
    return [tensor_info(x.dtype, (x.dims[0], frames, bins, 2))]


@shape_function("ai.onnx.preview.training", "Gradient")
def _gradient(call: NodeCall) -> Sequence[TypeInfo] | None:
    """Each gradient is like the value that it is of."""
    return [call.input(i) for i in range(call.outputs)]

"""Data propagation: the values of small integer tensors, symbolic entries included.

An entry is an int, or an `ir.SymbolicDim` where it is a dimension that only the run knows. Arrays
of numbers and arrays of dtype object then go through the same numpy calls.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir

from toolkit.graph.shapes.registry import Data, Dims, NodeCall, is_known

LIMIT = 1024
"""Values of more elements are not followed."""

_RULES: dict[str, Callable[[NodeCall], Data | None]] = {}
_SOURCES = frozenset({"Shape", "Size", "Constant"})


def propagate(call: NodeCall) -> Data | None:
    """The value of the node's first output where it follows from what is known, else `None`."""
    rule = _RULES.get(call.op_type)
    if rule is None or call.domain:
        return None
    if call.op_type not in _SOURCES and any(
        call.known(i) is None for i in range(len(call.inputs)) if call.has_input(i)
    ):
        return None
    try:
        with np.errstate(all="ignore"):  # Infinities of masks and what else is no size.
            found = rule(call)
    except (ValueError, IndexError, TypeError, ZeroDivisionError, NotImplementedError):
        return None  # A wrong node: shape inference names it.
    return found if found is not None and found.size <= LIMIT else None


def concrete(data: Data | None) -> Data | None:
    """`data` where every entry is a number."""
    return None if data is None or data.dtype == object else data


def _rule(*op_types: str) -> Callable[[Callable[[NodeCall], Data | None]], Any]:
    def register(function: Callable[[NodeCall], Data | None]) -> Any:
        for op_type in op_types:
            _RULES[op_type] = function
        return function

    return register


def _array(items: list[Any]) -> Data:
    """A vector of dimensions; of int64 where all are numbers."""
    if all(isinstance(item, int) for item in items):
        return np.array(items, np.int64)
    result = np.empty(len(items), object)
    result[:] = items
    return result


def _tidy(data: Any) -> Data:
    """Back to int64 where no symbol is left."""
    array: Data = np.asarray(data)
    if array.dtype != object:
        return array
    flat = array.reshape(-1).tolist()
    return _array(flat).reshape(array.shape)


def _ints(data: Data) -> tuple[int, ...]:
    """The numbers of a shape; a symbol is a ValueError."""
    if data.dtype == object:
        raise ValueError("a symbol")
    return tuple(data.reshape(-1).tolist())


def _inputs(call: NodeCall) -> list[Data]:
    return [d for d in (call.known(i) for i in range(len(call.inputs))) if d is not None]


@_rule("Shape")
def _shape(call: NodeCall) -> Data | None:
    dims = call.input(0).dims
    if dims is None:
        return None
    return _array(list(dims[slice(call.attr("start", 0), call.attr("end", None))]))


@_rule("Size")
def _size(call: NodeCall) -> Data | None:
    dims = call.input(0).dims
    if dims is None:
        return None
    return _tidy(product(dims)) if all(map(is_known, dims)) else None


def product(dims: Dims) -> Any:
    """The product of dimensions: a number, or a symbolic dimension."""
    result: Any = 1
    for dim in dims:
        result = dim if isinstance(result, int) and result == 1 else result * dim
    return result


@_rule("Constant")
def _constant(call: NodeCall) -> Data | None:
    for name in ("value_int", "value_ints"):
        value = call.attr(name)
        if value is not None:
            return np.array(value, np.int64)
    value = call.attr("value")
    return small_value(value)


def small_value(tensor: Any) -> Data | None:
    """The numbers of a small constant tensor."""
    if tensor is None:
        return None
    if isinstance(tensor, np.ndarray):
        return tensor if tensor.size <= LIMIT else None
    size = 1
    for dim in tensor.shape:
        if not isinstance(dim, int):
            return None
        size *= dim
    if size > LIMIT or tensor.dtype == ir.DataType.STRING:
        return None
    return np.asarray(tensor.numpy())


@_rule("Identity")
def _identity(call: NodeCall) -> Data | None:
    return call.known(0)


@_rule("Cast")
def _cast(call: NodeCall) -> Data | None:
    data = _inputs(call)[0]
    to = ir.DataType(call.attr("to"))
    if data.dtype == object:
        return data if to in (ir.DataType.INT64, ir.DataType.INT32) else None
    return data.astype(to.numpy()) if to.is_integer() and data.dtype.kind in "iub" else None


@_rule("Gather")
def _gather(call: NodeCall) -> Data | None:
    data, indices = _inputs(call)
    return _tidy(np.take(data, indices.astype(np.int64), axis=call.attr("axis", 0)))


@_rule("Concat")
def _concat(call: NodeCall) -> Data | None:
    return _tidy(np.concatenate(_inputs(call), axis=call.attr("axis", 0)))


@_rule("Slice")
def _slice(call: NodeCall) -> Data | None:
    data = _inputs(call)[0]
    starts, ends = call.known(1), call.known(2)
    if starts is None or ends is None or starts.dtype == object or ends.dtype == object:
        return None
    axes, steps = call.known(3), call.known(4)
    axes = np.arange(len(starts)) if axes is None else axes
    steps = np.ones(len(starts), np.int64) if steps is None else steps
    index = [slice(None)] * data.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        below = step < 0 and end < -data.shape[axis]
        index[axis] = slice(int(start), None if below else int(end), int(step))
    return _tidy(data[tuple(index)])


@_rule("Unsqueeze")
def _unsqueeze(call: NodeCall) -> Data | None:
    data, axes = _inputs(call)
    return np.expand_dims(data, tuple(axes.tolist()))


@_rule("Squeeze")
def _squeeze(call: NodeCall) -> Data | None:
    data, *axes = _inputs(call)
    return np.squeeze(data, tuple(axes[0].tolist()) if axes else None)


@_rule("Reshape")
def _reshape(call: NodeCall) -> Data | None:
    data, shape = _inputs(call)
    return data.reshape(_ints(shape)) if (shape != 0).all() else None


@_rule("Expand")
def _expand(call: NodeCall) -> Data | None:
    data, shape = _inputs(call)
    target = np.broadcast_shapes(data.shape, _ints(shape))
    return np.broadcast_to(data, target) if np.prod(target) <= LIMIT else None


@_rule("Transpose")
def _transpose(call: NodeCall) -> Data | None:
    return np.transpose(_inputs(call)[0], call.attr("perm", None))


@_rule("ConstantOfShape")
def _constant_of_shape(call: NodeCall) -> Data | None:
    shape = _ints(_inputs(call)[0])
    value = call.attr("value")
    if value is None or np.prod(shape) > LIMIT:
        return None
    return np.broadcast_to(np.asarray(value.numpy()).reshape(()), shape)


@_rule("Range")
def _range(call: NodeCall) -> Data | None:
    start, limit, delta = ends = [d.item() for d in _inputs(call)]
    if any(isinstance(n, ir.SymbolicDim) for n in ends):
        return None
    if (limit - start) / delta > LIMIT:
        return None
    return np.asarray(np.arange(start, limit, delta), _inputs(call)[0].dtype)


def _division(a: Any, b: Any) -> Any:
    """Integer division towards zero; of symbols, which are sizes, downwards."""
    if isinstance(a, int) and isinstance(b, int) and (a < 0) != (b < 0):
        return -(-a // b) if b > 0 else -(a // -b)
    return a // b


@_rule("Add", "Sub", "Mul", "Div")
def _arithmetic(call: NodeCall) -> Data | None:
    a, b = _inputs(call)
    symbolic = a.dtype == object or b.dtype == object
    if not symbolic and (a.dtype.kind not in "iu" or b.dtype.kind not in "iu"):
        return None
    if call.op_type == "Add":
        return _tidy(a + b)
    if call.op_type == "Sub":
        return _tidy(a - b)
    if call.op_type == "Mul":
        return _tidy(a * b)
    divided = np.frompyfunc(_division, 2, 1)(a.astype(object), b.astype(object))
    return _tidy(divided) if symbolic else np.asarray(divided).astype(a.dtype)


_REDUCTIONS: dict[str, Callable[..., Any]] = {
    "ReduceProd": np.prod,
    "ReduceSum": np.sum,
    "ReduceMax": np.max,
    "ReduceMin": np.min,
}


@_rule("Neg", "Abs", "Min", "Max", "Equal", "Where", "Not", "Greater", "Less", "And", "Or")
@_rule("GreaterOrEqual", "LessOrEqual", "Mod", *_REDUCTIONS)
def _numbers(call: NodeCall) -> Data | None:
    data = _inputs(call)
    if any(d.dtype == object or d.dtype.kind not in "iub" for d in data):
        return None
    if call.op_type in _REDUCTIONS:
        axes = tuple(data[1].tolist()) if len(data) > 1 else ()
        if not axes and call.attr("noop_with_empty_axes", 0):
            return data[0]
        reduced = _REDUCTIONS[call.op_type](
            data[0], axis=axes or None, keepdims=bool(call.attr("keepdims", 1))
        )
        return np.asarray(reduced, data[0].dtype)
    if call.op_type == "Mod" and not (data[1] != 0).all():
        return None
    if call.op_type == "Mod" and call.attr("fmod", 0):
        return np.asarray(np.fmod(*data))
    if call.op_type in ("Min", "Max"):
        function = np.minimum if call.op_type == "Min" else np.maximum
        result = data[0]
        for other in data[1:]:
            result = function(result, other)
        return np.asarray(result)
    return np.asarray(_NUMPY[call.op_type](*data))


_NUMPY: dict[str, Callable[..., Any]] = {
    "Neg": np.negative,
    "Abs": np.abs,
    "Equal": np.equal,
    "Where": np.where,
    "Not": np.logical_not,
    "Greater": np.greater,
    "Less": np.less,
    "And": np.logical_and,
    "Or": np.logical_or,
    "GreaterOrEqual": np.greater_equal,
    "LessOrEqual": np.less_equal,
    "Mod": np.mod,
}

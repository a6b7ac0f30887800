"""`Builder`: write ONNX nodes as calls, `b.Add(x, 1.0)`, with element types always known.

Constants become Constant nodes, so the same code fills a graph, a function body or a subgraph.
A node whose inputs are all small constants becomes a constant itself; a Shape of a static shape
too: code written for symbolic shapes gives constant axes and sizes wherever they are known.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from toolkit.errors import InvalidArgumentError, ToolkitError
from toolkit.graph.build_infer import (
    Array,
    constant_of,
    fold,
    known_dims,
    mark_variable,
    output_dims,
    output_dtypes,
    static_dims,
)

__all__ = ["Builder", "arithmetic", "constant_of", "known_dims", "mark_variable", "static_dims"]

# Operators with outputs that are no tensors, or with subgraphs.
WHOLE_TYPES = frozenset(
    {"SequenceConstruct", "SequenceEmpty", "SequenceInsert", "SequenceErase", "SequenceAt"}
    | {"SplitToSequence", "ConcatFromSequence", "SequenceLength", "SequenceMap"}
    | {"Optional", "OptionalGetElement", "OptionalHasElement", "If", "Loop", "Scan"}
)

RECOMPUTED = "toolkit.recomputed"  # Key of metadata_props: a node that repeats another on purpose.

Operand = ir.Value | float | Sequence[int] | Array | None


class Builder:
    """Appends nodes to a graph or a function body.

    `b.OpType(*inputs, **attributes)` appends one node of the standard domain and returns its
    output, or a tuple of `_outputs` of them. An input may be a value, None (left out), a number (a
    scalar constant of the other operands' element type), a list of integers (an int64 tensor), or
    an array.

    Args:
        graph: the graph or function to append to.

    Attributes:
        before: a node of the graph to insert before, None to append. Constants that were written
            already stay where they are: move it only towards the graph's end.
    """

    def __init__(self, graph: ir.Graph | ir.Function) -> None:
        self.graph = graph
        self.before: ir.Node | None = None
        self._constants: dict[tuple[int, tuple[int, ...], bytes], ir.Value] = {}

    def __getattr__(self, op_type: str) -> Callable[..., Any]:
        if not op_type[0].isupper():
            raise AttributeError(op_type)

        def op(*inputs: Operand, _outputs: int = 1, **attributes: Any) -> Any:
            return self.call("", op_type, inputs, attributes, _outputs)

        return op

    def call(
        self,
        domain: str,
        op_type: str,
        inputs: Sequence[Operand],
        attributes: Mapping[str, Any] | None = None,
        outputs: int = 1,
    ) -> Any:
        """Append one node.

        Args:
            domain: the operator's domain, "" for the standard one.
            op_type: the operator.
            inputs: its inputs, see the class.
            attributes: its attributes; those that are None are left out.
            outputs: how many outputs to declare.

        Returns:
            The output `ir.Value`, or a tuple of them when `outputs` is not 1.
        """
        given = {k: v for k, v in (attributes or {}).items() if v is not None}
        plain = {k: v.value if isinstance(v, ir.Attr) else v for k, v in given.items()}
        values = self._values(op_type, inputs)
        if domain == "" and outputs == 1:
            folded = fold(op_type, values, plain)
            if folded is not None:
                return self.const(folded)
        node = ir.Node(
            domain, op_type, values, _attributes(domain, op_type, given), num_outputs=outputs
        )
        if domain == "" and (op_type in WHOLE_TYPES or not all(map(_is_tensor, values))):
            _infer_whole(node)
            self.append(node)
            return node.outputs[0] if outputs == 1 else node.outputs
        dtypes = output_dtypes(op_type, values, plain, outputs)
        for value, dtype in zip(node.outputs, dtypes, strict=True):
            if dtype is not None:
                value.type = ir.TensorType(dtype)
        dims = output_dims(op_type, values, plain)
        if dims is not None:
            node.outputs[0].shape = ir.Shape(dims)
        if dims is None or outputs > 1:
            _infer(node)
        if domain not in self.graph.opset_imports and domain != "":
            self.graph.opset_imports[domain] = 1
        self.append(node)
        return node.outputs[0] if outputs == 1 else node.outputs

    def append(self, node: ir.Node) -> None:
        """Append a node made elsewhere, such as one that holds graphs; its outputs are typed."""
        if self.before is None:
            self.graph.append(node)
        else:
            self.graph.insert_before(self.before, node)

    def const(self, value: Any, dtype: ir.DataType | int | None = None) -> ir.Value:
        """A constant; equal constants of one builder are one node.

        Args:
            value: a number, nested lists or an array. Without `dtype` an array keeps its own type,
                integers become int64 and floats float32.
            dtype: the ONNX element type.
        """
        array = _array(value, dtype)
        key = (int(ir.DataType.from_numpy(array.dtype)), array.shape, array.tobytes())
        found = self._constants.get(key)
        if found is None:
            tensor = ir.Tensor(array)
            node = ir.Node("", "Constant", (), [ir.AttrTensor("value", tensor)], num_outputs=1)
            found = node.outputs[0]
            found.type = ir.TensorType(tensor.dtype)
            found.shape = ir.Shape(array.shape)
            found.const_value = tensor
            self.append(node)
            self._constants[key] = found
        return found

    def ints(self, values: Sequence[int]) -> ir.Value:
        """A 1-D int64 constant."""
        return self.const(np.array(values, np.int64))

    def shape(self, x: ir.Value) -> ir.Value:
        """The shape of `x` as an int64 vector: a constant if it is static, else a Shape node."""
        shape: ir.Value = self.Shape(x)
        return shape

    def dim(self, x: ir.Value, axis: int) -> ir.Value:
        """One dimension of `x` as an int64 vector of length 1."""
        rank = self.rank(x)
        if rank is None:
            return self.Gather(self.Shape(x), [axis])  # type: ignore[no-any-return]
        axis %= max(rank, 1)
        dim: ir.Value = self.Shape(x, start=axis, end=axis + 1)
        return dim

    @staticmethod
    def rank(x: ir.Value) -> int | None:
        """The number of dimensions, None if unknown."""
        return None if x.shape is None else len(x.shape)

    def zeros(self, shape: ir.Value, dtype: ir.DataType) -> ir.Value:
        """A tensor of zeros of a shape given as an int64 vector."""
        return self.full(shape, 0, dtype)

    def full(self, shape: ir.Value, value: float, dtype: ir.DataType) -> ir.Value:
        """A tensor filled with `value` of a shape given as an int64 vector."""
        tensor = ir.Tensor(_array([value], dtype))
        return self.ConstantOfShape(shape, value=tensor)  # type: ignore[no-any-return]

    def cast(self, x: ir.Value, dtype: ir.DataType | int) -> ir.Value:
        """`x` as `dtype`; `x` itself when it has that type."""
        if x.dtype is not None and int(x.dtype) == int(dtype):
            return x
        return self.Cast(x, to=int(dtype))  # type: ignore[no-any-return]

    def _values(self, op_type: str, inputs: Sequence[Operand]) -> list[ir.Value | None]:
        """Inputs as values: numbers take the element type of the operand they meet."""
        dtype: ir.DataType | None = None
        for x in inputs[1:] if op_type == "Where" else inputs:
            if isinstance(x, ir.Value):
                dtype = x.dtype
                if dtype is None:
                    raise InvalidArgumentError(
                        f"Builder.{op_type}: the element type of {x.name!r} is required, got none. "
                        "Run shape inference on the graph first."
                    )
                break
        values: list[ir.Value | None] = []
        for x in inputs:
            if x is None or isinstance(x, ir.Value):
                values.append(x)
            elif isinstance(x, (bool, int, float, np.number)):
                values.append(self.const(x, dtype))
            else:
                values.append(self.const(x))
        while values and values[-1] is None:
            values.pop()
        return values


def _array(value: Any, dtype: ir.DataType | int | None) -> Array:
    if dtype is not None:
        return np.array(value, ir.DataType(dtype).numpy(), order="C")
    if isinstance(value, (np.ndarray, np.generic)):
        array = np.asarray(value)
        return array if array.flags.c_contiguous else array.copy(order="C")
    array = np.asarray(value)
    if array.dtype.kind in "iu" or array.size == 0:
        return array.astype(np.int64)
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def _is_tensor(value: ir.Value | None) -> bool:
    return value is None or value.type is None or isinstance(value.type, ir.TensorType)


def _infer_whole(node: ir.Node) -> None:
    """Types that are no tensors', and those of control flow."""
    from toolkit.graph.infer import GraphInference

    GraphInference({}, strict=False).node(node)


def _infer(node: ir.Node) -> None:
    """Fill in what the full inference knows and the cheap table does not."""
    from toolkit.graph.infer import infer_node

    try:
        found = infer_node(
            node.op_type, node.domain, node.inputs, node.attributes, len(node.outputs)
        )
    except ToolkitError:
        return  # The kernel will say what is wrong, with the values at hand.
    for value, (dtype, shape) in zip(node.outputs, found, strict=False):
        if value.type is None and dtype is not None:
            value.type = ir.TensorType(dtype)
        if value.shape is None and shape is not None:
            value.shape = shape


@functools.cache
def _attribute_types(domain: str, op_type: str) -> dict[str, ir.AttributeType]:
    if not onnx.defs.has(op_type, domain):
        return {}
    attributes: Mapping[str, Any] = onnx.defs.get_schema(op_type, domain).attributes
    return {name: ir.AttributeType[a.type.name] for name, a in attributes.items()}


def _attributes(domain: str, op_type: str, given: Mapping[str, Any]) -> list[ir.Attr]:
    types = _attribute_types(domain, op_type)
    return [_attribute(name, value, types.get(name)) for name, value in given.items()]


def _attribute(name: str, value: Any, kind: ir.AttributeType | None) -> ir.Attr:
    if isinstance(value, ir.Attr):
        return value
    if isinstance(value, (bool, np.bool_)):
        value = int(value)
    if kind is None:
        return ir.convenience.convert_attribute(name, value)
    if kind is ir.AttributeType.FLOAT:
        value = float(value)
    elif kind is ir.AttributeType.INT:
        value = int(value)
    elif kind is ir.AttributeType.INTS:
        value = tuple(int(v) for v in value)
    elif kind is ir.AttributeType.TENSOR and isinstance(value, np.ndarray):
        value = ir.Tensor(value)
    return ir.Attr(name, kind, value)


_ARITHMETIC_LOCK = threading.RLock()


@contextlib.contextmanager
def arithmetic(builder: Builder) -> Iterator[Builder]:
    """Within this context `x + y`, `2.0 * x`, `-x` on graph values write nodes through `builder`.

    onnx-ir holds one handler for the whole process: other threads wait here.
    """
    with _ARITHMETIC_LOCK:
        previous = ir.set_value_magic_handler(builder)
        try:
            yield builder
        finally:
            ir.set_value_magic_handler(previous)

"""The registry of shape functions, and the view of a node that one gets."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx_ir as ir

from toolkit.errors import ShapeError, ToolkitError

Dim = int | ir.SymbolicDim
Dims = tuple[Dim, ...]
Data = np.ndarray[Any, Any]


class TypeInfo(NamedTuple):
    """The type and the shape of one value; `None` where it is not known."""

    type: ir.TypeProtocol | None = None
    dims: Dims | None = None

    @property
    def dtype(self) -> ir.DataType | None:
        """The element type."""
        return self.type.dtype if self.type is not None else None

    def __str__(self) -> str:
        return shape_text(self.dims)


UNKNOWN = TypeInfo()
_TENSOR_TYPES: dict[int, ir.TensorType] = {}


def tensor_info(dtype: ir.DataType | None, dims: Sequence[Dim] | None) -> TypeInfo:
    """A tensor's `TypeInfo`."""
    if dtype is None:
        return TypeInfo(None, None if dims is None else tuple(dims))
    found = _TENSOR_TYPES.get(dtype)
    if found is None:
        found = _TENSOR_TYPES[dtype] = ir.TensorType(dtype)
    return TypeInfo(found, None if dims is None else tuple(dims))


@dataclasses.dataclass(slots=True)
class NodeCall:
    """One node as a shape function sees it.

    `inputs[i]` is `None` for an omitted optional input. `data[i]` is the value of input i where it
    is known: a numpy array, of dtype object with `ir.SymbolicDim` entries for symbols.
    """

    op_type: str
    domain: str
    attributes: Mapping[str, Any]
    inputs: Sequence[TypeInfo | None]
    data: Sequence[Data | None]
    outputs: int
    name: str = ""
    outer: Mapping[ir.Value, TypeInfo] = dataclasses.field(default_factory=dict)

    def attr(self, name: str, default: Any = None) -> Any:
        """The Python value of an attribute, or `default`."""
        found = self.attributes.get(name)
        if found is None:
            return default
        if isinstance(found, ir.Attr):
            return default if found.is_ref() else found.value
        return found

    def input(self, index: int) -> TypeInfo:
        """Input `index`; unknown where it is omitted."""
        found = self.inputs[index] if index < len(self.inputs) else None
        return UNKNOWN if found is None else found

    def has_input(self, index: int) -> bool:
        """Whether input `index` is given."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def known(self, index: int) -> Data | None:
        """The value of input `index` where it is known, else `None`."""
        return self.data[index] if index < len(self.data) else None

    def shape_input(self, index: int, like: int | None = None) -> TypeInfo:
        """A tensor whose shape is the value of input `index` and whose dtype is input `like`'s."""
        dtype = self.input(like).dtype if like is not None else None
        return tensor_info(dtype, self.dims_from(index))

    def dims_from(self, index: int) -> Dims | None:
        """The dimensions that the int64 vector input `index` holds; unknown ones if unknown."""
        data = self.known(index)
        if data is not None:
            return tuple(as_dim(item) for item in data.reshape(-1).tolist())
        dims = self.input(index).dims
        if dims is not None and len(dims) == 1 and isinstance(dims[0], int):
            return (ir.SymbolicDim(None),) * dims[0]
        return None

    def where(self) -> str:
        """`Conv 'conv1'`: the beginning of this node's messages."""
        domain = f"{self.domain}." if self.domain else ""
        return f"{domain}{self.op_type}" + (f" '{self.name}'" if self.name else "")

    def fail(self, need: str, got: str, error: type[ToolkitError] = ShapeError) -> ToolkitError:
        """The error to raise, in toolkit's form."""
        return error(f"{self.where()}: {need}, got {got}.")


ShapeFunction = Callable[[NodeCall], Sequence[TypeInfo] | None]
_FUNCTIONS: dict[tuple[str, str], ShapeFunction] = {}


def shape_function(domain: str, *op_types: str) -> Callable[[ShapeFunction], ShapeFunction]:
    """Registers the decorated function as the shape function of operators.

    It takes a `NodeCall` and gives one `TypeInfo` an output, or `None` to leave the node to ONNX's
    own inference. A specialised name `Name__detail` uses `Name`'s function.
    """

    def register(function: ShapeFunction) -> ShapeFunction:
        for op_type in op_types:
            _FUNCTIONS[domain, op_type] = function
        return function

    return register


def find(domain: str, op_type: str) -> ShapeFunction | None:
    """The shape function of an operator, or `None`."""
    return _FUNCTIONS.get((domain, op_type.split("__", 1)[0]))


def as_dim(item: Any) -> Dim:
    """A dimension from an element of a shape vector; negative and unknown ones become unknown."""
    if isinstance(item, ir.SymbolicDim):
        return item
    if isinstance(item, (int, np.integer)) and item >= 0:
        return int(item)
    return ir.SymbolicDim(None)


def is_known(dim: Dim | None) -> bool:
    """Whether a dimension is a number or has a name."""
    if type(dim) is int:
        return True
    return isinstance(dim, int) or (isinstance(dim, ir.SymbolicDim) and dim.value is not None)


def same(a: Dim, b: Dim) -> bool:
    """Whether two dimensions are surely equal."""
    return is_known(a) and a == b


def shape_text(dims: Dims | None) -> str:
    """`(N, 3, ?)`: a shape in a message."""
    if dims is None:
        return "(unknown)"
    texts = [str(d) if is_known(d) else "?" for d in dims]
    return f"({', '.join(texts)}{',' if len(texts) == 1 else ''})"

"""Runs one operator on tensors: at once by its kernel, or as a node of the trace that records.

The hot path of eager execution: cached operator handles, no shape inference, no onnx-ir.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from toolkit._tensor import base
from toolkit._tensor.base import FLOATS, TensorBase
from toolkit._tensor.consts import Const, scalar, vector
from toolkit._tensor.state import STATE
from toolkit._tensor.tape import Record
from toolkit.errors import DTypeError
from toolkit.runtime import _core

if TYPE_CHECKING:
    from toolkit.tensor import Tensor

_new: Any = object.__new__
_handles: dict[Any, Handle] = {}
_MAX_HANDLES = 4096  # Attributes that change from call to call must not fill the memory.


class Handle:
    """An operator with its attributes.

    Attributes:
        op: runs its kernel on inputs, for the first output; made at first use.
        run: runs it on a sequence of inputs, for as many outputs as are asked for.
    """

    __slots__ = ("attributes", "domain", "op", "op_type", "run")
    op: Any
    run: Any

    def __init__(self, domain: str, op_type: str, attributes: dict[str, Any]) -> None:
        self.domain = domain
        self.op_type = op_type
        self.attributes = attributes

    def __getattr__(self, name: str) -> Any:
        if name not in ("op", "run"):
            raise AttributeError(name)
        op: Any
        if _core.has_kernel(self.domain, self.op_type):
            op = _core.Op(self.domain, self.op_type, self.attributes)
        else:
            from toolkit.ops.fallback import FallbackOp

            op = FallbackOp(self.domain, self.op_type, self.attributes)
        self.op, self.run = op.call, op.run
        return self.op if name == "op" else self.run

    def __repr__(self) -> str:
        return f"{self.domain + '.' if self.domain else ''}{self.op_type}({self.attributes})"


def handle(op_type: str, domain: str = "", /, **attributes: Any) -> Handle:
    """The cached handle of an operator with these attributes (None: left out)."""
    if not attributes:
        key: Any = (domain, op_type)
    else:
        attributes = {k: v for k, v in attributes.items() if v is not None}
        items: list[Any] = []
        for name in sorted(attributes):
            value = attributes[name]
            # The type tells 1 from 1.0 and True, which are equal as keys.
            item = tuple(value) if isinstance(value, (list, tuple)) else value
            items.append(
                (name, type(item[0]) if type(item) is tuple and item else type(item), item)
            )
        key = (domain, op_type, *items)
    found = _handles.get(key)
    if found is None:
        if len(_handles) >= _MAX_HANDLES:
            _handles.clear()
        found = _handles[key] = Handle(domain, op_type, attributes)
    return found


_quick: dict[Any, Handle] = {}


def quick(op_type: str, name: str, value: Any) -> Handle:
    """`handle` with one attribute that is an int or a tuple of ints, without the general key."""
    found = _quick.get((op_type, name, value))
    if found is None:
        if len(_quick) >= _MAX_HANDLES:
            _quick.clear()
        found = _quick[op_type, name, value] = handle(op_type, **{name: value})
    return found


def record(h: Handle, inputs: tuple[Any, ...], outputs: tuple[Any, ...]) -> Record:
    """Puts an executed operation on the tape."""
    nodes: list[Any] = []
    slots: list[int] = []
    values: list[Any] = []
    for t in inputs:
        if t is None:
            nodes.append(None)
            slots.append(0)
            values.append(None)
        else:
            nodes.append(t._node)
            slots.append(t._out)
            values.append(t if type(t) is Const else t._value)
    return Record(h, tuple(nodes), tuple(slots), tuple(values), outputs)


# Types without a kernel of their own are computed in a wider one, as PyTorch's CPU kernels do.
_WIDER = {10: 1, 16: 1, 2: 6, 3: 6, 4: 6, 5: 6, 12: 7, 13: 7}


def _widened(h: Handle, inputs: tuple[Any, ...], outputs: int, error: DTypeError) -> Any:
    """Runs `h` between casts to a wider type; the error again where that cannot help."""
    codes = [None if t is None else t._value.dtype for t in inputs]
    narrow = next((c for c in codes if c in _WIDER), None)
    if narrow is None or h.op_type == "Cast":
        raise error
    wide = [
        t if c not in _WIDER else apply1(quick("Cast", "to", _WIDER[c]), t)
        for t, c in zip(inputs, codes, strict=True)
    ]
    made = apply_many(h, tuple(wide), outputs) if outputs > 1 else (apply(h, *wide),)
    back = quick("Cast", "to", narrow)
    target = _WIDER[narrow]
    return tuple(apply1(back, t) if t is not None and t._value.dtype == target else t for t in made)


def apply1(h: Handle, x: Any) -> Tensor:
    """One input, one output."""
    if STATE.trace is not None:
        return STATE.trace.apply(h, (x,), 1)[0]
    if x._base is not None:
        x._sync()
    r = _new(base.tensor_class)
    try:
        r._value = value = h.op(x._value)
    except DTypeError as error:
        return _widened(h, (x,), 1, error)[0]
    if x._node is not None and STATE.grad and value.dtype in FLOATS:
        r._node = Record(h, (x._node,), (x._out,), (x._value,), (value,))
    return r


def apply2(h: Handle, a: Any, b: Any) -> Tensor:
    """Two inputs, one output."""
    if STATE.trace is not None:
        return STATE.trace.apply(h, (a, b), 1)[0]
    if a._base is not None:
        a._sync()
    if b._base is not None:
        b._sync()
    r = _new(base.tensor_class)
    try:
        r._value = value = h.op(a._value, b._value)
    except DTypeError as error:
        return _widened(h, (a, b), 1, error)[0]
    if (a._node is not None or b._node is not None) and STATE.grad and value.dtype in FLOATS:
        r._node = record(h, (a, b), (value,))
    return r


def apply_constants(h: Handle, x: Any, *consts: Const) -> Tensor:
    """One tensor and constants, one output."""
    if STATE.trace is not None:
        return STATE.trace.apply(h, (x, *consts), 1)[0]
    if x._base is not None:
        x._sync()
    r = _new(base.tensor_class)
    try:
        r._value = value = h.op(x._value, *[c._value for c in consts])
    except DTypeError as error:
        return _widened(h, (x, *consts), 1, error)[0]
    if x._node is not None and STATE.grad and value.dtype in FLOATS:
        r._node = record(h, (x, *consts), (value,))
    return r


def known(h: Handle, value: Any, *inputs: Any) -> Tensor:
    """The result of an operation whose value is there already: a part of its input's memory."""
    r = _new(base.tensor_class)
    r._value = value
    if inputs[0]._node is not None and STATE.grad and value.dtype in FLOATS:
        r._node = record(h, inputs, (value,))
    return r


def _gather(inputs: tuple[Any, ...]) -> tuple[list[Any], bool]:
    values: list[Any] = []
    grad = False
    for t in inputs:
        if t is None:
            values.append(None)
            continue
        if t._base is not None:
            t._sync()
        values.append(t._value)
        if t._node is not None:
            grad = True
    return values, grad


def apply(h: Handle, *inputs: Any) -> Tensor:
    """Any number of inputs (`Tensor`, `Const` or None), one output."""
    if STATE.trace is not None:
        return STATE.trace.apply(h, inputs, 1)[0]
    values, grad = _gather(inputs)
    r = _new(base.tensor_class)
    try:
        r._value = value = h.op(*values)
    except DTypeError as error:
        return _widened(h, inputs, 1, error)[0]
    if grad and STATE.grad and value.dtype in FLOATS:
        r._node = record(h, inputs, (value,))
    return r


def apply_many(h: Handle, inputs: tuple[Any, ...], outputs: int) -> tuple[Any, ...]:
    """Any number of inputs and outputs; None where the kernel does not produce one."""
    if STATE.trace is not None:
        return STATE.trace.apply(h, inputs, outputs)
    values, grad = _gather(inputs)
    try:
        produced = h.run(values, outputs)
    except DTypeError as error:
        return _widened(h, inputs, outputs, error)
    node = record(h, inputs, produced) if grad and STATE.grad else None
    results: list[Any] = []
    for i, value in enumerate(produced):
        if value is None:
            results.append(None)
            continue
        r = _new(base.tensor_class)
        r._value = value
        if node is not None and value.dtype in FLOATS:
            r._node, r._out = node, i
        results.append(r)
    return tuple(results)


def call(
    op_type: str,
    inputs: Any,
    attributes: dict[str, Any] | None = None,
    outputs: int = 1,
    domain: str = "",
) -> Any:
    """Runs an operator of any domain.

    Args:
        op_type: its ONNX name.
        inputs: tensors; None where an optional input is absent. A Python number becomes a constant
            of the first tensor's element type, a list of ints an int64 vector.
        attributes: its ONNX attributes.
        outputs: how many outputs are wanted.
        domain: "" for ONNX, "toolkit.nn" and such for composite functions.

    Returns:
        The tensor, or a tuple of `outputs` tensors when more than one is asked for.

    Raises:
        UnsupportedOperatorError: nothing here can run it.
        ShapeError, DTypeError, InvalidArgumentError: from the kernel.
    """
    h = handle(op_type, domain, **attributes) if attributes else handle(op_type, domain)
    operands = as_operands(op_type, inputs)
    if outputs == 1:
        return apply(h, *operands)
    return apply_many(h, operands, outputs)


def as_operands(where: str, inputs: Any) -> tuple[Any, ...]:
    """Tensors as they are; Python numbers, lists and arrays as constants."""
    code = 0
    plain = True
    for t in inputs:
        if isinstance(t, TensorBase):
            code = code or t._value.dtype
        elif t is not None and type(t) is not Const:
            plain = False
    if plain:
        return tuple(inputs)
    return tuple(
        t if t is None or isinstance(t, (TensorBase, Const)) else _operand(where, t, code)
        for t in inputs
    )


def _operand(where: str, value: Any, code: int) -> Any:
    if isinstance(value, (bool, int, float)):
        if not code:
            code = 9 if isinstance(value, bool) else 7 if isinstance(value, int) else 1
        return scalar(value, code)
    if isinstance(value, (list, tuple)) and all(type(v) is int for v in value):
        return vector(tuple(value))
    from toolkit._tensor.factories import as_tensor

    try:
        return as_tensor(value)
    except (TypeError, ValueError):
        raise DTypeError(
            f"{where}: tensors, numbers or arrays are required, got {type(value).__name__}."
        ) from None

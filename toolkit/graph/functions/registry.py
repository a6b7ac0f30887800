"""Composite operators and their bodies of standard operators.

A body is a Python function that writes nodes; attributes and the inputs' types and ranks are known
while it does, dimensions are not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from toolkit.errors import InvalidModelError, ToolkitError, UnsupportedOperatorError
from toolkit.graph.build import Builder, arithmetic, known_dims

Body = Callable[..., Any]
Attributes = Mapping[str, Any]

BODY_OPSET = 28


@dataclass(frozen=True)
class Composite:
    """One composite operator: the names of its inputs and outputs, and its body."""

    domain: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    body: Body


_COMPOSITES: dict[tuple[str, str], Composite] = {}


def composite(domain: str, name: str, inputs: str, outputs: str) -> Callable[[Body], Body]:
    """Register a body.

    Args:
        domain: the operator's domain, `toolkit.…`.
        name: the operator.
        inputs: the inputs' names, separated by spaces.
        outputs: the outputs' names; the last ones may be left out by the body.

    The body is `f(b, a, *inputs) -> value or tuple`: `b` writes nodes, `a` is a dict of the
    attributes as Python values, an input that is left out is None. `x + y` on values writes Add.
    """

    def register(body: Body) -> Body:
        _COMPOSITES[domain, name] = Composite(
            domain, name, tuple(inputs.split()), tuple(outputs.split()), body
        )
        return body

    return register


def base_name(op_type: str) -> str:
    """The operator's own name: `Name` of the specialised `Name__detail`."""
    return op_type.partition("__")[0]


def find(domain: str, op_type: str) -> Composite | None:
    """The composite that a node calls, None if it is not one."""
    return _COMPOSITES.get((domain, base_name(op_type)))


def composites() -> Mapping[tuple[str, str], Composite]:
    """All of them, by (domain, name)."""
    return _COMPOSITES


def build(
    found: Composite, attributes: Mapping[str, ir.Attr], values: Sequence[ir.Value | None]
) -> ir.Function:
    """The body as a function, for attributes and inputs of given types and ranks."""
    # Those left out at the end are none of the function's: a caller may have to give them all.
    inputs = [_formal(name, v) for name, v in zip(found.inputs, values, strict=False)]
    graph = ir.Graph(inputs, [], nodes=[], opset_imports={"": BODY_OPSET}, name=found.name)
    b = Builder(graph)
    given = [None if v is None else formal for v, formal in zip(values, inputs, strict=False)]
    results = emit_body(b, found, attributes, given)
    for name, value in zip(found.outputs, results, strict=False):
        if value in inputs or value in graph.outputs or value.producer() is None:
            value = b.Identity(value)
        value.name = name
        graph.outputs.append(value)
    declared = [ir.Attr(a.name, a.type, None) for a in attributes.values() if not a.is_ref()]
    name = f"{found.name}__{_digest(found, attributes, values)}"
    return ir.Function(found.domain, name, graph=graph, attributes=declared)


def emit_body(
    b: Builder,
    found: Composite,
    attributes: Mapping[str, ir.Attr],
    inputs: Sequence[ir.Value | None],
) -> tuple[ir.Value, ...]:
    """Write the body through `b`, where the inputs' shapes and constants may be known too."""
    padded = [*inputs, *[None] * (len(found.inputs) - len(inputs))]
    plain = {name: attribute.value for name, attribute in attributes.items()}
    with arithmetic(b):
        try:
            results = found.body(b, plain, *padded)
        except ToolkitError:
            raise
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            unknown = [i for i, v in enumerate(inputs) if v is not None and v.shape is None]
            if not unknown or not isinstance(error, TypeError):
                need = "inputs and attributes that it takes are required"
                raise InvalidModelError(
                    f"{found.domain}.{found.name}: {need}, got some where: {error!r}."
                ) from error
            raise UnsupportedOperatorError(
                f"{found.domain}.{found.name}: inputs of known rank are required to write it in "
                f"standard operators, got '{inputs[unknown[0]].name}' of an unknown one. "  # type: ignore[union-attr]
                "Declare the model's shapes."
            ) from None
    return results if isinstance(results, tuple) else (results,)


def _formal(name: str, value: ir.Value | None) -> ir.Value:
    """A function's input: the type and rank of the actual one, and the length of a shape vector."""
    formal = ir.Value(name=name)
    if value is not None and value.type is not None:
        formal.type = value.type
        signature = _signature(value)
        if signature is not None:
            formal.shape = ir.Shape(signature)
    return formal


def _signature(value: ir.Value) -> tuple[int | ir.SymbolicDim, ...] | None:
    dims = known_dims(value)
    if dims is None:
        return None
    if len(dims) == 1 and value.dtype == ir.DataType.INT64:
        return dims
    return tuple(ir.SymbolicDim(None) for _ in dims)


def _digest(
    found: Composite, attributes: Mapping[str, ir.Attr], values: Sequence[ir.Value | None]
) -> str:
    """Eight hex digits that name a specialisation."""
    parts = [f"{name}={attributes[name].value!r}" for name in sorted(attributes)]
    for value in values:
        if value is None:
            parts.append("-")
            continue
        signature = _signature(value)
        dims = (
            "?" if signature is None
            else "x".join(str(d) if isinstance(d, int) else "_" for d in signature)
        )  # fmt: skip
        parts.append(f"{value.dtype}[{dims}]")
    return hashlib.sha256(";".join(parts).encode()).hexdigest()[:8]

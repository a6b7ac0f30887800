"""Functions generated from operator schemas, at the newest opset."""

from __future__ import annotations

from typing import Any

from toolkit.errors import InvalidArgumentError
from toolkit.ops.dispatch import call


def function(op_type: str) -> Any:
    """The function of an ONNX operator.

    Raises:
        AttributeError: ONNX has no such operator.
    """
    import onnx

    try:
        schema = onnx.defs.get_schema(op_type)
    except onnx.defs.SchemaError:
        raise AttributeError(f"module 'toolkit.ops' has no operator {op_type!r}") from None
    variadic = onnx.defs.OpSchema.FormalParameterOption.Variadic
    optional = onnx.defs.OpSchema.FormalParameterOption.Optional
    names = [p.name for p in schema.inputs]
    more = bool(schema.inputs) and schema.inputs[-1].option == variadic
    least, known = schema.min_input, frozenset(schema.attributes)
    required = sorted(a for a, spec in schema.attributes.items() if spec.required)
    produced = sum(1 for p in schema.outputs if p.option != optional)

    signature = [*names[:-1], "*" + names[-1]] if more else names
    doc = (
        f"ONNX {op_type}({', '.join([*signature, *(f'{a}=' for a in sorted(known))])})"
        f" -> {', '.join(p.name for p in schema.outputs)}.\n\n{schema.doc}"
    )
    if op_type in ("If", "Loop", "Scan"):
        from toolkit.ops import control_flow

        return control_flow.function(op_type, doc)

    def op(*inputs: Any, outputs: int | None = None, **attributes: Any) -> Any:
        if len(inputs) < least or (len(inputs) > len(names) and not more):
            more_or = "" if len(names) == least and not more else " or more"
            raise InvalidArgumentError(
                f"{op_type}: {least}{more_or} inputs ({', '.join(names)}) are required, got "
                f"{len(inputs)}."
            )
        unknown = sorted(set(attributes) - known)
        if unknown:
            raise InvalidArgumentError(
                f"{op_type}: attributes among {sorted(known)} are required, got {unknown[0]!r}."
            )
        missing = [a for a in required if attributes.get(a) is None]
        if missing:
            raise InvalidArgumentError(
                f"{op_type}: attribute {missing[0]!r} is required, got none."
            )
        given = {k: v for k, v in attributes.items() if v is not None}
        if op_type == "Dropout" and outputs is None:
            return call(op_type, inputs, given, 2)[0]  # Its gradient reads the mask.
        return call(op_type, inputs, given, produced if outputs is None else outputs)

    op.__name__ = op.__qualname__ = op_type
    op.__doc__ = doc
    return op

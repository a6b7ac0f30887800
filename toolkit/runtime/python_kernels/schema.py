"""What a schema asks of a call, checked before a Python kernel sees it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx.defs

from toolkit.errors import DTypeError, InvalidArgumentError

_KINDS: dict[str, tuple[Any, str]] = {
    "INT": (int, "an integer"),
    "FLOAT": ((int, float), "a number"),
    "STRING": (str, "a string"),
    "INTS": (int, "a list of integers"),
    "FLOATS": ((int, float), "a list of numbers"),
    "STRINGS": (str, "a list of strings"),
    "TENSOR": (np.ndarray, "a tensor"),
}
_NAMES = {"float32": "float", "float64": "double", "object": "string"}


class Signature:
    """The inputs and attributes of an operator at its newest version."""

    def __init__(self, domain: str, op_type: str) -> None:
        self._schema = onnx.defs.get_schema(op_type, domain=domain)

    def attributes(self, given: dict[str, Any]) -> dict[str, Any]:
        """The attributes with the schema's defaults filled in.

        Raises:
            InvalidArgumentError: One is missing or of another kind than the schema says.
        """
        values = {}
        for name, declared in self._schema.attributes.items():
            if name in given:
                values[name] = _checked(name, str(declared.type).rpartition(".")[2], given[name])
            elif declared.required:
                raise InvalidArgumentError(f"attribute '{name}' is required, got none.")
            elif declared.default_value.name:
                default = onnx.helper.get_attribute_value(declared.default_value)
                values[name] = default.decode() if isinstance(default, bytes) else default
        return values

    def inputs(self, given: list[Any]) -> list[Any]:
        """The inputs, with None for those left out at the end.

        Raises:
            InvalidArgumentError: One that is required is missing, or there are too many.
            DTypeError: The schema does not allow an input's type.
        """
        schema = self._schema
        if len(given) > schema.max_input:
            raise InvalidArgumentError(
                f"at most {schema.max_input} inputs are required, got {len(given)}."
            )
        padded = given + [None] * (len(schema.inputs) - len(given))
        for i, value in enumerate(padded):
            declared = schema.inputs[min(i, len(schema.inputs) - 1)]
            if value is None:
                if declared.option == onnx.defs.OpSchema.FormalParameterOption.Single:
                    raise InvalidArgumentError(f"input {i} is required, got none.")
            elif isinstance(value, np.ndarray):
                kind = f"tensor({_NAMES.get(value.dtype.name, value.dtype.name)})"
                if kind not in declared.types:
                    allowed = ", ".join(sorted(declared.types))
                    raise DTypeError(f"input {i} must be one of {allowed}, got {kind}.")
        return padded


def _checked(name: str, kind: str, value: Any) -> Any:
    if kind not in _KINDS:
        return value
    types, text = _KINDS[kind]
    items = value if kind.endswith("S") and isinstance(value, list) else [value]
    plural = kind.endswith("S") == isinstance(value, list)
    if not plural or any(isinstance(x, bool) or not isinstance(x, types) for x in items):
        raise InvalidArgumentError(f"attribute '{name}' must be {text}, got {value!r}.")
    return value

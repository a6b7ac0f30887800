"""Constants and attributes of a graph as the native core takes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir

from toolkit.errors import UnsupportedOperatorError
from toolkit.runtime import _core
from toolkit.runtime.values import to_native

# What a kernel does not need: types of values, which they bring along.
_IGNORED = frozenset({ir.AttributeType.TYPE_PROTO, ir.AttributeType.TYPE_PROTOS})
_AS_THEY_ARE = frozenset({ir.AttributeType.INT, ir.AttributeType.STRING})
_HYPERPARAMETERS = 16  # Longer lists of floats are weights, which kernels take as float32.
_LISTS = frozenset({ir.AttributeType.INTS, ir.AttributeType.STRINGS})


def native_of(tensor: ir.TensorProtocol) -> _core.Tensor:
    """A constant of the graph as the core holds it."""
    return to_native(tensor.numpy())


def native_attributes(attributes: Iterable[ir.Attr]) -> dict[str, Any]:
    """Attribute values as the core takes them.

    Raises:
        UnsupportedOperatorError: an attribute is of a kind that no kernel takes.
    """
    values: dict[str, Any] = {}
    for attr in attributes:
        kind = attr.type
        if kind == ir.AttributeType.TENSOR:
            values[attr.name] = native_of(attr.value)
        elif kind in _AS_THEY_ARE:
            values[attr.name] = attr.value
        elif kind == ir.AttributeType.FLOAT:
            values[attr.name] = _decimal(attr.value)
        elif kind == ir.AttributeType.FLOATS:
            short = len(attr.value) <= _HYPERPARAMETERS
            values[attr.name] = [_decimal(x) for x in attr.value] if short else list(attr.value)
        elif kind in _LISTS:
            values[attr.name] = list(attr.value)
        elif kind not in _IGNORED:
            raise UnsupportedOperatorError(
                f"attribute '{attr.name}': a number, string or tensor is required, got {kind.name}."
            )
    return values


def _decimal(value: float) -> float:
    """The double that a float attribute stands for: 0.999, not the 0.99900001287 nearest to it.

    A file keeps float32; its shortest decimal is what was meant, in memory and from a file alike.
    """
    return float(str(np.float32(value)))


def constant_of(attributes: Mapping[str, ir.Attr]) -> _core.Tensor:
    """The value of a Constant node."""
    if "value" in attributes:
        return native_of(attributes["value"].value)
    for name in ("value_string", "value_strings"):
        if name in attributes:
            return to_native(np.array(attributes[name].value, dtype=object))
    return _core.Op("", "Constant", native_attributes(attributes.values())).call()

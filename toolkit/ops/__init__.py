"""ONNX operators as functions: `ops.Relu(x)`, `ops.Conv(x, w, b, strides=[2, 2])`.

Inputs are positional as in the schema, attributes are keyword arguments. The functions are made
from the schemas of `onnx.defs` when they are first asked for. `ops.call` runs an operator of any
domain by its name.
"""

from __future__ import annotations

from typing import Any

from toolkit.ops.dispatch import call

__all__ = ["call"]


def __getattr__(name: str) -> Any:
    if name.startswith("_") or not name[0].isupper():
        raise AttributeError(f"module 'toolkit.ops' has no attribute {name!r}")
    from toolkit.ops.schemas import function

    made = function(name)
    globals()[name] = made
    return made

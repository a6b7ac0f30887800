"""Kernels written in Python, for operators that no model spends its time in.

`TABLE` names each operator's factory as "module:function" of this package; the module is imported
when a graph first uses the operator. A factory takes the node's attributes and gives the kernel: a
function of a list of values (None where an input is absent) and the number of outputs that gives
the list of outputs. Values are as in `toolkit.runtime.values`: arrays, lists, dicts, None.

Deliberately absent: anything that computes on large tensors of numbers.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Sequence
from typing import Any

from toolkit import dtypes
from toolkit.runtime import _core

Kernel = Callable[[list[Any], int], Sequence[Any]]
Factory = Callable[[dict[str, Any]], Kernel]

_STRING = (dtypes.string.onnx,)
_UINT8 = (dtypes.uint8.onnx,)

# (domain, operator): (factory, element types of the first input).
TABLE: dict[tuple[str, str], tuple[str, tuple[int, ...]]] = {
    ("", "ImageDecoder"): ("image:image_decoder", _UINT8),
    ("", "RegexFullMatch"): ("text:regex_full_match", _STRING),
    ("", "StringNormalizer"): ("text:string_normalizer", _STRING),
}


def register() -> None:
    """Enters the kernels in the core's registry."""
    for key, (where, types) in TABLE.items():
        _core.add_python_kernel(*key, list(types), functools.partial(_create, key, where))


def _create(
    key: tuple[str, str], where: str, attributes: dict[str, Any]
) -> Callable[[list[Any], int], list[Any]]:
    from toolkit.runtime.python_kernels.schema import Signature
    from toolkit.runtime.values import value_from_native, value_to_native

    signature = Signature(*key)
    module, _, name = where.partition(":")
    factory: Factory = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    given = {
        k: value_from_native(v) if isinstance(v, _core.Tensor) else v for k, v in attributes.items()
    }
    kernel = factory(signature.attributes(given))

    def run(inputs: list[Any], outputs: int) -> list[Any]:
        values = [None if t is None else value_from_native(t) for t in inputs]
        made = list(kernel(signature.inputs(values), outputs))
        made += [None] * (outputs - len(made))
        return [None if v is None else value_to_native(v) for v in made[:outputs]]

    return run

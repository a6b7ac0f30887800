"""The table of onnxruntime's operators, and what a body sees of the node it is written for."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir

from toolkit.errors import UnsupportedOperatorError
from toolkit.graph.build import Builder, known_dims

DOMAIN = "com.microsoft"
NCHWC = "com.microsoft.nchwc"
GRAD = "toolkit.grad"

Body = Callable[..., Any]


@dataclass(frozen=True)
class Origin:
    """The node that a value was an output of before it was written out."""

    op_type: str
    inputs: tuple[ir.Value | None, ...]
    attributes: Mapping[str, ir.Attr]


@dataclass
class Call:
    """One node that is being written out.

    Attributes:
        b: writes the nodes.
        node: the node.
        origins: by value, the nodes that were written out before.
    """

    b: Builder
    node: ir.Node
    origins: Mapping[ir.Value, Origin] = field(default_factory=dict)

    def attr(self, name: str, default: Any) -> Any:
        """An attribute's value, `default` where the node has none."""
        found = self.node.attributes.get(name)
        return default if found is None else found.value

    def taken(self, *names: str) -> dict[str, Any]:
        """Those attributes of the node, to be put on another one."""
        return {n: self.node.attributes[n] for n in names if n in self.node.attributes}

    def wants(self, index: int) -> bool:
        """Whether the node has an output `index`."""
        return index < len(self.node.outputs) and bool(self.node.outputs[index].name)

    def grad(self, op_type: str, *inputs: Any, outputs: int = 1, **attributes: Any) -> Any:
        """Append a composite of the domain toolkit.grad."""
        return self.b.call(GRAD, op_type, inputs, attributes, outputs)

    def rank(self, value: ir.Value) -> int:
        """The number of dimensions of a value, which has to be known.

        Raises:
            UnsupportedOperatorError: it is not.
        """
        dims = known_dims(value)
        if dims is None:
            raise self.fail(
                "inputs of known rank are required", f"'{value.name}' of an unknown one"
            )
        return len(dims)

    def fail(self, need: str, got: str) -> UnsupportedOperatorError:
        """The error for a node that cannot be written out."""
        return UnsupportedOperatorError(
            f"{self.node.domain}.{self.node.op_type} '{self.node.name}': {need}, got {got}."
        )


_BODIES: dict[str, dict[str, Body]] = {DOMAIN: {}, NCHWC: {}}
_FAMILIES = (
    "activation", "attention", "conv", "elementwise", "fused", "indexing", "loss", "matmul",
    "nchwc", "normalization", "packed", "quantized", "recurrent", "refused", "standard", "training",
    "transformer",
)  # fmt: skip


def contrib(*names: str, domain: str = DOMAIN) -> Callable[[Body], Body]:
    """Register the body of operators of com.microsoft, or of another domain of onnxruntime's.

    The body is `f(c, *inputs) -> value or tuple`: `c` is the `Call`, an input that is left out is
    None, and so may be a result that `c.wants` not. `x + y` on values writes Add.
    """

    def register(body: Body) -> Body:
        _BODIES[domain].update(dict.fromkeys(names, body))
        return body

    return register


@functools.cache
def bodies(domain: str = DOMAIN) -> Mapping[str, Body]:
    """The body of each operator of a domain by its name; of a foreign domain, none."""
    package = __name__.rpartition(".")[0]
    for name in _FAMILIES:
        importlib.import_module(f"{package}.{name}")
    return _BODIES.get(domain, {})

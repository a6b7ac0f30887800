"""Shapes that a file declares for computed values: compared with what follows from the nodes.

Exporters bake the sizes of an example into them, so they are claims, not facts: while the nodes are
inferred only their rank is kept, and a wrong one is a warning. Absent: the declared inputs, which a
run checks what it is fed against.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import onnx_ir as ir

from toolkit.graph.shapes.registry import is_known, shape_text
from toolkit.graph.walk import all_nodes


class DeclaredShapes:
    """The shapes taken off a model's computed values."""

    def __init__(self, model: ir.Model) -> None:
        self._shapes: dict[str, ir.Shape] = {}
        for value in _computed(model):
            if value.shape is not None and value.name:
                self._shapes[value.name] = value.shape
                value.shape = _of_rank(len(value.shape))

    def put_back(self, model: ir.Model) -> list[str]:
        """What is wrong among them, after inference.

        The outputs' dimensions that inference left open are again as declared: a reader of the file
        sees them.
        """
        outputs = set(model.graph.outputs)
        wrong = []
        for value in _computed(model):
            declared = self._shapes.get(value.name or "")
            if declared is None or value.shape is None:
                continue
            if not _agree(declared, value.shape):
                kind = "output" if value in outputs else "value"
                texts = shape_text(tuple(value.shape)), shape_text(tuple(declared))
                wrong.append(f"{kind} '{value.name}' of {texts[0]} declared as {texts[1]}")
            elif value in outputs:
                value.shape = ir.Shape(
                    b if is_known(b) else a for a, b in zip(declared, value.shape, strict=True)
                )
        return wrong


@functools.cache
def _of_rank(rank: int) -> ir.Shape:
    return ir.Shape([None] * rank, frozen=True)


def _computed(model: ir.Model) -> Iterator[ir.Value]:
    for node in all_nodes(model.graph):
        yield from node.outputs


def _agree(declared: ir.Shape, inferred: ir.Shape) -> bool:
    return len(declared) == len(inferred) and not any(
        isinstance(a, int) and isinstance(b, int) and a != b
        for a, b in zip(declared, inferred, strict=True)
    )

"""Einsum's shape where ellipses of several ranks broadcast, as numpy and torch have it."""

from __future__ import annotations

from collections.abc import Sequence

from toolkit.graph.shapes.registry import Dim, Dims, NodeCall, TypeInfo, shape_function, tensor_info
from toolkit.graph.shapes.rules import broadcast_dims


@shape_function("", "Einsum")
def _einsum(call: NodeCall) -> Sequence[TypeInfo] | None:
    """None where ONNX's own inference, which wants ellipses of one rank, does it."""
    left, arrow, right = str(call.attr("equation", "")).replace(" ", "").partition("->")
    terms = left.split(",")
    shapes = [call.input(i).dims for i in range(len(call.inputs))]
    if len(terms) != len(shapes):
        return None
    letters: dict[str, Dim] = {}
    ellipses: list[Dims] = []
    for term, dims in zip(terms, shapes, strict=True):
        before, dots, after = term.partition("...")
        if dims is None or len(dims) < len(before) + len(after):
            return None
        end = len(dims) - len(after)
        letters |= dict(zip(before + after, dims[: len(before)] + dims[end:], strict=True))
        if dots:
            ellipses.append(dims[len(before) : end])
    if len(set(map(len, ellipses))) < 2:
        return None
    if not arrow:
        right = "..." + "".join(sorted(c for c in letters if left.count(c) == 1))
    before, dots, after = right.partition("...")
    middle = broadcast_dims(call, ellipses) if dots else ()
    result = [*(letters[c] for c in before), *middle, *(letters[c] for c in after)]
    return [tensor_info(call.input(0).dtype, result)]

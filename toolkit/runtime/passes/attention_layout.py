"""Where the operands of an Attention of a program lie: pasts, caches, three dimensions.

Rules 4 to 6 of `passes/attention.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from toolkit.runtime.passes.dims import Size, items, size
from toolkit.runtime.passes.match import made_by
from toolkit.runtime.passes.region import DOMAIN, Caches, FusedNode, Node, Region, attribute

_KEPT = (
    *("scale", "is_causal", "q_num_heads", "kv_num_heads", "softcap", "left_window_size"),
    *("right_window_size", "spread_mask", "nan_rows", "last_rows"),
)


def _pasts(region: Region, values: Sequence[ir.Value | None]) -> list[Node]:
    """The concatenations of two along the keys that make K and V, or none."""
    joins = [made_by(region, v, "Concat") for v in values]
    found = [
        j
        for j in joins
        if j is not None
        and len(j.inputs) == 2
        and attribute(j, "axis", 0) in (2, -2)
        and not region.is_constant(j.inputs[1])
    ]
    return found if len(found) == 2 else []


def take_past(region: Region, node: FusedNode) -> FusedNode:
    """Rule 4. Who reads the whole keys must come later."""
    q, k, v, bias = (*node.inputs, None)[:4]
    joins = _pasts(region, [k, v])
    here = region.place(node)
    if (
        not joins
        or joins[0] is joins[1]
        or any(
            reader is not node and region.place(reader) < here
            for join in joins
            for reader in region.readers(join.outputs[0])
        )
    ):
        return node
    inputs = [q, *(j.inputs[1] for j in joins), bias, *(j.inputs[0] for j in joins)]
    outputs = [node.outputs[0], *(j.outputs[0] for j in joins)]
    new = FusedNode("Attention", inputs, outputs, node.attributes, node.name)
    region.replace([node, *joins], new)
    return new


def tell_shapes(region: Region, caches: Caches) -> None:
    """The shape of a cache is that of its past, or of the past with what is new."""
    for past, present in caches.presents.items():
        node = region.producer(present)
        if node is None or node.op_type not in ("Concat", "Attention") or node.domain:
            continue
        new = node.inputs[1]
        for value, more in ((past, []), (present, [new])):
            for shape in list(region.readers(value)):
                if shape.op_type == "Shape" and shape.domain == "":
                    values = {n: attribute(shape, n, None) for n in ("start", "end")}
                    told = FusedNode(
                        "CacheShape",
                        [past, caches.length, *more],
                        shape.outputs,
                        {n: v for n, v in values.items() if v is not None},
                        shape.name or "",
                    )
                    region.replace([shape], told)


def keep(region: Region, caches: Caches, node: Node) -> None:
    """Rule 6."""
    k, pasts, presents = node.inputs[1], node.inputs[4:6], node.outputs[1:3]
    if k is None or k.shape is None or len(pasts) != 2 or len(presents) != 2:
        return
    if node.domain not in ("", DOMAIN) or any(v.name for v in node.outputs[3:]):
        return
    for past, present in zip(pasts, presents, strict=True):
        if past is None or caches.presents.get(past) is not present or present in region.wanted:
            return
        if past.dtype not in (ir.DataType.FLOAT, ir.DataType.DOUBLE):
            return  # Halves are widened, which is a copy.
        others = [r for r in region.readers(past) if r is not node] + region.readers(present)
        if any(r.op_type != "CacheShape" for r in others):
            return
    step = size(region, k, 1 if len(k.shape) == 3 else 2)
    if not isinstance(step, int | str) or caches.step not in (None, step):
        return
    caches.step = step
    caches.taken.update(v for v in pasts if v is not None)
    inputs = [*node.inputs[:4], *pasts, None, caches.length]
    fused(region, node, inputs, node.outputs[:1], in_place=1)


def fused(
    region: Region,
    node: Node,
    inputs: Sequence[ir.Value | None],
    outputs: Sequence[ir.Value],
    **more: int,
) -> FusedNode:
    """Puts the twin that programs have in place of an Attention."""
    values = {name: attribute(node, name, None) for name in _KEPT}
    attributes = {n: v for n, v in values.items() if v is not None} | more
    new = FusedNode("Attention", inputs, outputs, attributes, node.name or "Attention")
    region.replace([node], new)
    return new


def pack(region: Region, node: FusedNode) -> None:
    """Rule 5."""
    q, k, v = node.inputs[:3]
    flat = [_unsplit(region, x) for x in (q, k, v)]
    output = node.outputs[0]
    if any(x is None for x in flat) or not region.is_private(output):
        return
    assert q is not None and k is not None and v is not None
    (transpose,) = region.readers(output)
    if transpose.domain or transpose.op_type != "Transpose" or not _swaps(transpose):
        return
    if not region.is_private(transpose.outputs[0]):
        return
    (reshape,) = region.readers(transpose.outputs[0])
    result = reshape.outputs[0]
    if reshape.domain or reshape.op_type != "Reshape" or attribute(reshape, "allowzero", 0):
        return
    heads, width = size(region, q, 1), size(region, v, 3)
    target = items(region, reshape.inputs[1])
    if target is None or not isinstance(heads, int) or not isinstance(width, int):
        return
    if not _is(target, size(region, q, 0), size(region, q, 2), heads * width):
        return
    if any(
        region.place(r) < region.place(reshape) for x in node.outputs[1:] for r in region.readers(x)
    ):
        return
    attributes = {**node.attributes, "q_num_heads": heads, "kv_num_heads": size(region, k, 1)}
    inputs, outputs = [*flat, *node.inputs[3:]], [result, *node.outputs[1:]]
    new = FusedNode("Attention", inputs, outputs, attributes, node.name)
    region.replace([node, transpose, reshape], new)


def _swaps(transpose: Node) -> bool:
    return list(attribute(transpose, "perm", [])) == [0, 2, 1, 3]


def _is(target: Sequence[Size], batch: Size, length: Size, *rest: int) -> bool:
    """Whether Reshape's target is (batch, length, *rest); 0 keeps a size, one -1 is derived."""
    allowed = [(0, -1, batch), (0, -1, length), *((-1, r) for r in rest)]
    if len(target) != len(allowed) or list(target).count(-1) > 1:
        return False
    return all(t in a for t, a in zip(target, allowed, strict=True))


def _unsplit(region: Region, value: ir.Value | None) -> ir.Value | None:
    """(B, L, H D) where `value` is `Transpose(Reshape(x, (B, L, H, D)), (0, 2, 1, 3))`."""
    transpose = made_by(region, value, "Transpose")
    reshape = made_by(region, transpose.inputs[0], "Reshape") if transpose is not None else None
    x = reshape.inputs[0] if reshape is not None else None
    if transpose is None or not _swaps(transpose) or x is None or x.shape is None:
        return None
    if reshape is None or len(x.shape) != 3 or attribute(reshape, "allowzero", 0):
        return None
    heads, width = size(region, reshape.outputs[0], 2), size(region, reshape.outputs[0], 3)
    target = items(region, reshape.inputs[1])
    if target is None or not isinstance(heads, int) or not isinstance(width, int):
        return None
    fits = size(region, x, 2) == heads * width and _is(
        target, size(region, x, 0), size(region, x, 1), heads, width
    )
    return x if fits else None

"""Attention written out becomes Attention.

1. `MatMul(Softmax(c MatMul(Q, Transpose(K)) + bias), V)` of (B, H, L, D) -> `Attention(Q, K, V,
   bias)` with the scale c, whose factors may stand at Q, K or their product. Without a bias, with
   one that is 0, with `Where(keep, scores, -inf)`, or causal: a bias of -inf above the diagonal.
2. `Where(every key is masked, 0, Softmax)` is left out: the kernel gives 0 there, NaN without it.
3. Heads of K and V that are repeated (Unsqueeze, Expand, Reshape) are read where they lie.
4. `K = Concat(past, new)` and V alike, along the keys -> past and present of the operator.
5. `Q`, `K` and `V` that come from (B, L, H D) by Reshape and Transpose, and a result that goes back
   the same way -> the operator on three dimensions.

6. A past that is a cache of the program (`Region.caches`) is appended to in place, if the operator
   and `Shape` alone read it and what it becomes; they get the past's length.

Nothing else may read the scores. Sizes that cannot be proven to fit leave the nodes as they are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import onnx_ir as ir

from toolkit.runtime.passes.attention_layout import fused, keep, pack, take_past, tell_shapes
from toolkit.runtime.passes.dims import Size, items, size, sizes
from toolkit.runtime.passes.match import is_closed, made_by
from toolkit.runtime.passes.region import FusedNode, Node, Region, attribute

ORDER = 30  # After Softmax is found, before products take their neighbours.

_TYPES = frozenset(
    {ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16}
)


@dataclass
class _Found:
    """The operands of one attention, and the nodes that it replaces."""

    q: ir.Value
    k: ir.Value
    v: ir.Value
    scale: float
    output: ir.Value
    bias: ir.Value | None = None
    causal: Size | None = None  # The first row's position among the keys.
    guarded: bool = False
    nodes: list[Node] = field(default_factory=list)


def run(region: Region) -> None:
    """Runs the pass."""
    written = []
    for node in region.nodes:
        if node in region and node.domain == "" and node.op_type == "MatMul":
            found = _match(region, node)
            if found is not None and is_closed(region, found.nodes):
                written.append(_replace(region, found))
        elif node in region and node.domain == "" and node.op_type == "Attention":
            plain = len(node.inputs) < 5 and not any(v.name for v in node.outputs[1:])
            written += [fused(region, node, node.inputs, node.outputs[:1])] if plain else []
    if region.caches is not None:
        tell_shapes(region, region.caches)
    for node in written:
        pack(region, take_past(region, node))
    for node in region.nodes:
        if region.caches is not None and node.op_type == "Attention" and node in region:
            keep(region, region.caches, node)


def _match(region: Region, last: Node) -> _Found | None:
    probabilities, v = last.inputs[:2]
    guard = made_by(region, probabilities, "Where")
    softmax = made_by(region, guard.inputs[2] if guard else probabilities, "Softmax")
    if softmax is None or v is None or attribute(softmax, "axis", -1) not in (-1, 3):
        return None
    scores, nodes = softmax.inputs[0], [softmax, *([guard] if guard else []), last]
    if scores is None or scores.shape is None or len(scores.shape) != 4:
        return None
    bias, keep = None, None
    add, where = made_by(region, scores, "Add"), made_by(region, scores, "Where")
    if add is not None:
        nodes.append(add)
        scores, bias = _scores_and_bias(region, add)
    elif where is not None and scalar(region, where.inputs[2]) == -math.inf:
        nodes.append(where)
        keep, scores = where.inputs[:2]
    factor, scores, scaling = _scaled(region, scores)
    product = made_by(region, scores, "MatMul")
    if product is None:
        return None
    q_factor, q, _ = _scaled(region, product.inputs[0])
    k_factor, k, _ = _scaled(region, product.inputs[1])
    transpose = made_by(region, k, "Transpose")
    if transpose is None or list(attribute(transpose, "perm", [])) != [0, 1, 3, 2]:
        return None
    inner, k, _ = _scaled(region, transpose.inputs[0])
    if q is None or k is None:
        return None
    found = _Found(q, k, v, factor * q_factor * k_factor * inner, last.outputs[0])
    found.nodes = [*nodes, *scaling, product]
    if not _are_heads(region, found):
        return None
    if guard is not None:
        around = _masked_rows(region, guard, bias) if bias is not None else None
        if around is None:
            return None
        found.nodes += around
        found.guarded = True
    found.bias = bias or keep
    _drop_bias(region, found)
    return found if _bias_fits(region, found) else None


def _scores_and_bias(region: Region, add: Node) -> tuple[ir.Value | None, ir.Value | None]:
    """The operand of an addition that is a scaled product, and the other."""
    a, b = add.inputs[:2]
    is_product = made_by(region, _scaled(region, a)[1], "MatMul") is not None
    return (a, b) if is_product else (b, a)


def scalar(region: Region, value: ir.Value | None) -> float | None:
    """The number that a constant of one element holds, or that is computed from such."""
    number = region.number(value)
    if number is not None or value is None or not region.is_constant(value):
        return number
    node = made_by(
        region, value, "Cast", "CastLike", "Sqrt", "Div", "Mul", "Identity", "Reciprocal"
    )
    if node is None or (value.shape is not None and any(d != 1 for d in value.shape)):
        return None
    a = scalar(region, node.inputs[0])
    b = scalar(region, node.inputs[1]) if node.op_type in ("Div", "Mul") else 1.0
    if a is None or b is None or (node.op_type == "Sqrt" and a < 0):
        return None
    if node.op_type in ("Div", "Reciprocal"):
        a, b = (a, b) if node.op_type == "Div" else (1.0, a)
        number = a / b if b else None
    else:
        number = math.sqrt(a) if node.op_type == "Sqrt" else a * b
    if number is None or value.dtype not in _TYPES:
        return None
    return float(value.dtype.numpy().type(number))  # Rounded as each operator would.


def _scaled(region: Region, value: ir.Value | None) -> tuple[float, ir.Value | None, list[Node]]:
    """(c, x, nodes) where `value` is c x."""
    factor, nodes = 1.0, []
    while (node := made_by(region, value, "Mul", "Div")) is not None:
        a, b = node.inputs[:2]
        number = scalar(region, b)
        if number is None and node.op_type == "Mul":
            a, b = b, a
            number = scalar(region, b)
        if not number or not math.isfinite(number) or a is None or b is None or a.shape is None:
            break
        if b.shape is None or len(b.shape) > len(a.shape):
            break
        factor *= 1 / number if node.op_type == "Div" else number
        nodes.append(node)
        value = a
    return factor, value, nodes


def _are_heads(region: Region, found: _Found) -> bool:
    """Whether Q, K and V are (B, H, L, D) as the kernel wants them; takes rule 3."""
    for value in (found.q, found.k, found.v):
        if value.dtype not in _TYPES or value.dtype != found.q.dtype or value.shape is None:
            return False
        if len(value.shape) != 4:
            return False
    heads = size(region, found.q, 1)
    if (
        not isinstance(heads, int)
        or heads != size(region, found.k, 1)
        or heads != size(region, found.v, 1)
    ):
        return False
    if size(region, found.q, 0) != size(region, found.k, 0) or size(region, found.q, 0) != size(
        region, found.v, 0
    ):
        return False
    k, v = _unrepeated(region, found.k, found.k), _unrepeated(region, found.v, found.k)
    if size(region, k, 1) == size(region, v, 1):
        found.k, found.v = k, v
    return True


def _unrepeated(region: Region, value: ir.Value, keys: ir.Value) -> ir.Value:
    """Rule 3: (B, heads, S, D) whose heads `value` repeats, one after the other."""
    reshape = made_by(region, value, "Reshape")
    if reshape is None or attribute(reshape, "allowzero", 0):
        return value
    expand = made_by(region, reshape.inputs[0], "Expand")
    wide = expand.inputs[0] if expand is not None else reshape.inputs[0]
    unsqueeze = made_by(region, wide, "Unsqueeze")
    x = unsqueeze.inputs[0] if unsqueeze is not None else None
    if unsqueeze is None or x is None or x.shape is None or len(x.shape) != 4:
        return value
    axes = region.array(unsqueeze.inputs[1])
    if axes is None or axes.reshape(-1).tolist() not in ([2], [-3]):
        return value
    batch, heads, length, width = (size(region, x, i) for i in range(4))
    lengths = (length, size(region, keys, 2), _length_behind(region, keys))
    all_heads = size(region, value, 1)
    if not isinstance(heads, int) or not isinstance(all_heads, int) or all_heads % heads:
        return value
    target = items(region, reshape.inputs[1])
    if target is None or len(target) != 4 or target[2] not in (*lengths, -1):
        return value
    if [target[0], target[1], target[3]] != [batch, all_heads, width]:
        return value
    if expand is None:
        return x if heads == all_heads else value
    target = items(region, expand.inputs[1])
    if target is None or len(target) != 5 or target[2] != all_heads // heads:
        return value
    fits = target[0] in (batch, 1) and target[1] in (heads, 1) and target[4] in (width, 1)
    return x if fits and target[3] in (*lengths, 1) else value


def _length_behind(region: Region, keys: ir.Value) -> Size:
    """The number of keys, where it can be seen before heads were repeated."""
    value: ir.Value | None = keys
    while (node := made_by(region, value, "Reshape", "Expand", "Unsqueeze")) is not None:
        value = node.inputs[0]
    known = value is not None and value.shape is not None and len(value.shape) == 4
    return size(region, value if value is not None and known else keys, 2)


def _masked_rows(region: Region, guard: Node, bias: ir.Value) -> list[Node] | None:
    """Nodes beside `Where(Equal(ReduceMax(bias, -1), -inf), 0, p)`; None: it is not that."""
    zero = made_by(region, guard.inputs[1], "CastLike")
    equal = made_by(region, guard.inputs[0], "Equal")
    if equal is None or scalar(region, zero.inputs[0] if zero else guard.inputs[1]) != 0.0:
        return None
    low = made_by(region, equal.inputs[1], "CastLike")
    top = made_by(region, equal.inputs[0], "ReduceMax")
    if scalar(region, low.inputs[0] if low else equal.inputs[1]) != -math.inf:
        return None
    if top is None or top.inputs[0] is not bias or not attribute(top, "keepdims", 1):
        return None
    axes = region.array(top.inputs[1]) if len(top.inputs) > 1 else None
    rank = len(bias.shape) if bias.shape is not None else 0
    if axes is None or axes.reshape(-1).tolist() not in ([-1], [rank - 1]):
        return None
    return [zero] if zero else []


def _drop_bias(region: Region, found: _Found) -> None:
    """Forgets a bias of zeros, and makes one that is causal a flag."""
    parts = _summands(region, found.bias)
    parts = [p for p in parts if not _is_zero(region, p, found)]
    if not parts:
        found.bias = None
    elif len(parts) == 1:
        position = _causal_position(region, parts[0], found)
        if position is not None:
            found.bias, found.causal = None, position


def _summands(region: Region, value: ir.Value | None) -> list[ir.Value]:
    node = made_by(region, value, "Add")
    if value is None or node is None or region.is_constant(value):
        return [] if value is None else [value]
    return [p for v in node.inputs for p in _summands(region, v)]


def _is_zero(region: Region, value: ir.Value, found: _Found) -> bool:
    """Whether `value` is zeros that do not enlarge the scores."""
    node = made_by(region, value, "ConstantOfShape")
    shape = items(region, node.inputs[0]) if node is not None else None
    if node is None or shape is None or len(shape) > 4:
        return False
    fill = attribute(node, "value", None)
    if fill is not None and (fill.numpy() != 0).any():
        return False
    full = [
        size(region, found.q, 0),
        size(region, found.q, 1),
        size(region, found.q, 2),
        _length_behind(region, found.k),
    ]
    return all(s in (1, f) for s, f in zip(reversed(shape), reversed(full), strict=False))


def _causal_position(region: Region, value: ir.Value, found: _Found) -> Size | None:
    """The p for which `value`, shaped as scores, is -inf where i + p < j and 0 elsewhere."""
    while (cast := made_by(region, value, "CastLike")) is not None and cast.inputs[0] is not None:
        value = cast.inputs[0]
    where = made_by(region, value, "Where")
    if where is None or scalar(region, where.inputs[1]) != -math.inf:
        return None
    less = made_by(region, where.inputs[0], "Less")
    if less is None or scalar(region, where.inputs[2]) != 0.0:
        return None
    rows = less.inputs[0]
    offset: list[Size] | None = [0]
    add = made_by(region, rows, "Add")
    if add is not None:
        rows, offset = add.inputs[0], items(region, add.inputs[1])
    if offset is None or len(offset) != 1:
        return None
    if not _counts(region, rows, 1, size(region, found.q, 2)):
        return None
    keys = _length_behind(region, found.k)
    if not _counts(region, less.inputs[1], 0, keys):
        return None
    return offset[0] if offset[0] == 0 or _is_past(region, offset[0], found) else None


def _is_past(region: Region, position: Size, found: _Found) -> bool:
    """Whether the queries are the last of the keys: those behind the first `position`."""
    join = made_by(region, found.k, "Concat")
    if join is None or len(join.inputs) != 2 or attribute(join, "axis", 0) not in (2, -2):
        return False
    past, new = join.inputs
    if past is None or past.shape is None or new is None or new.shape is None:
        return False
    return size(region, past, 2) == position and size(region, new, 2) == size(region, found.q, 2)


def _counts(region: Region, value: ir.Value | None, axis: int, length: Size) -> bool:
    """Whether `value` is `Unsqueeze(Range(0, length, 1), axis)`."""
    unsqueeze = made_by(region, value, "Unsqueeze")
    axes = region.array(unsqueeze.inputs[1]) if unsqueeze is not None else None
    if unsqueeze is None or axes is None or axes.reshape(-1).tolist() != [axis]:
        return False
    count = made_by(region, unsqueeze.inputs[0], "Range")
    if count is None or region.number(count.inputs[0]) != 0 or region.number(count.inputs[2]) != 1:
        return False
    return items(region, count.inputs[1]) == [length]


def _bias_fits(region: Region, found: _Found) -> bool:
    """Whether the bias broadcasts to the scores without enlarging them."""
    if found.bias is None:
        return True
    shape = sizes(region, found.bias)
    if shape is None or not 1 <= len(shape) <= 4:
        return False
    full = [size(region, found.q, 0), size(region, found.q, 1), size(region, found.q, 2)]
    return all(s in (1, f) for s, f in zip(reversed(shape[:-1]), reversed(full), strict=False))


def _replace(region: Region, found: _Found) -> FusedNode:
    attributes: dict[str, float] = {"scale": found.scale, "spread_mask": 1}
    attributes["nan_rows"] = int(not found.guarded)
    if found.causal is not None:
        attributes["is_causal"] = 1
        attributes["last_rows"] = int(found.causal != 0)
    name = max(found.nodes, key=region.place).name or "Attention"
    inputs = [found.q, found.k, found.v, found.bias]
    node = FusedNode("Attention", inputs, [found.output], attributes, name)
    region.replace(found.nodes, node)
    return node

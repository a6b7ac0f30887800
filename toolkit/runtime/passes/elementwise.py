"""Connected elementwise nodes become one tile program.

1. A node joins the one that reads its result when that is the only reader, nothing outside wants
   the result, and both have the same shape: nothing is computed twice, and nothing small is
   computed at the size of something large.
2. Arithmetic and functions of floats, comparisons, logic, `Where`, `Cast` between numbers, `Clip`
   with constant bounds, `Pow` by 2 and 3, `Sum`, `Mean`, `Min`, `Max` of several.
3. A program has at most MAX_INPUTS inputs and MAX_STEPS steps; what is beyond starts another.
4. Types must be known. What is constant is left alone: it is computed at load.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from toolkit.runtime.passes.region import FusedNode, Node, Region, attribute, same_shape

ORDER = 90
MAX_INPUTS = 8
MAX_STEPS = 14

_T = ir.DataType
_HALVES = frozenset({_T.FLOAT16, _T.BFLOAT16})
_FLOATS = frozenset({_T.FLOAT, _T.DOUBLE}) | _HALVES
_INTS = frozenset(
    {_T.INT8, _T.INT16, _T.INT32, _T.INT64, _T.UINT8, _T.UINT16, _T.UINT32, _T.UINT64}
)
_BOOL = frozenset({_T.BOOL})

# Float attributes of functions of one operand, in the order and with the defaults of the kernels.
_PLAIN = frozenset(
    {"Neg", "Abs", "Sign", "Relu", "Sqrt", "Reciprocal", "Ceil", "Floor", "Round", "Softsign"}
    | {"Exp", "Log", "Sigmoid", "Tanh", "Erf", "Softplus", "Mish", "Sin", "Cos", "Atan", "IsNaN"}
)
_UNARY: dict[str, tuple[tuple[str, float], ...]] = {
    **dict.fromkeys(_PLAIN, ()),
    "LeakyRelu": (("alpha", float(np.float32(0.01))),),
    "ThresholdedRelu": (("alpha", 1.0),),
    "HardSigmoid": (("alpha", float(np.float32(0.2))), ("beta", 0.5)),
    "Shrink": (("lambd", 0.5), ("bias", 0.0)),
    "Swish": (("alpha", 1.0),),
    "Elu": (("alpha", 1.0),),
    "Celu": (("alpha", 1.0),),
    "Selu": (("alpha", 1.67326319217681884765625), ("gamma", 1.05070102214813232421875)),
}
_ARITHMETIC = frozenset({"Add", "Sub", "Mul", "Div"})
_LOGIC = frozenset({"And", "Or", "Xor"})
# ONNX's name: the step and whether its operands change places.
_COMPARE = {
    "Equal": ("Equal", False),
    "Less": ("Less", False),
    "LessOrEqual": ("LessOrEqual", False),
    "Greater": ("Less", True),
    "GreaterOrEqual": ("LessOrEqual", True),
}
_FOLDS = {"Sum": "Add", "Mean": "Add", "Min": "Min", "Max": "Max"}

Operand = ir.Value | int  # A value, or -2 - s for the result of the node's own step s.


@dataclass
class Step:
    """One operation of a program."""

    op: str
    operands: list[Operand]
    params: tuple[float, float] = (0.0, 0.0)


def steps_of(region: Region, node: Node) -> list[Step] | None:
    """The steps that compute a node; None where no tile program does."""
    if node.domain != "" or len(node.outputs) != 1:
        return None
    if any(v is not None and v.dtype is None for v in (*node.inputs, *node.outputs)):
        return None
    rule = _RULES.get(node.op_type)
    return None if rule is None or not node.inputs else rule(region, node)


def run(region: Region) -> None:
    """Runs the pass."""
    steps: dict[Node, list[Step]] = {}
    for node in region.nodes:
        found = None if _is_folded(region, node) else steps_of(region, node)
        if found is not None:
            steps[node] = found
    taken: set[Node] = set()
    for root in reversed(region.nodes):
        if root not in steps or root in taken:
            continue
        group = _grow(region, root, steps, taken)
        if len(group) < 2:
            continue
        taken.update(group)
        group.sort(key=region.place)
        region.replace(group, _program(group, steps))


def _is_folded(region: Region, node: Node) -> bool:
    return all(region.is_constant(v) for v in node.inputs)


def _grow(
    region: Region, root: Node, steps: dict[Node, list[Step]], taken: set[Node]
) -> list[Node]:
    """The nodes that run in one program with `root`, the last of them."""
    group = [root]
    inside = {root}
    count = len(steps[root])
    inputs = _leaves(steps[root])
    queue = list(inputs)
    while queue:
        value = queue.pop(0)
        node = region.producer(value)
        if node is None or node in taken or node not in steps or value not in inputs:
            continue
        if value in region.wanted or any(r not in inside for r in region.readers(value)):
            continue
        if not same_shape(value, root.outputs[0]):
            continue
        added = _leaves(steps[node])
        merged = {v: None for v in inputs if v is not value} | added
        if count + len(steps[node]) > MAX_STEPS or len(merged) > MAX_INPUTS:
            continue
        group.append(node)
        inside.add(node)
        count += len(steps[node])
        queue.extend(merged)
        inputs = merged
    return group


def _leaves(steps: list[Step]) -> dict[ir.Value, None]:
    return {v: None for step in steps for v in step.operands if isinstance(v, ir.Value)}


def _program(group: list[Node], steps: dict[Node, list[Step]]) -> FusedNode:
    """The node that runs a group, given in order."""
    results: dict[ir.Value, int] = {}  # The last step of each node, as an operand.
    inputs: dict[ir.Value, int] = {}
    ops: list[str] = []
    operands: list[int] = []
    params: list[float] = []
    for node in group:
        base = len(ops)
        for step in steps[node]:
            row = []
            for x in step.operands:
                if isinstance(x, int):
                    row.append(x - base)
                elif x in results:
                    row.append(results[x])
                else:
                    row.append(inputs.setdefault(x, len(inputs)))
            ops.append(step.op)
            operands += row + [-1] * (3 - len(row))
            params += step.params
        results[node.outputs[0]] = -2 - (len(ops) - 1)
    output = group[-1].outputs[0]
    narrowing = any(_size(v) > _size(output) for v in inputs)
    return FusedNode(
        "ElementwiseNarrowing" if narrowing else "Elementwise",
        list(inputs),
        [output],
        {"ops": ops, "operands": operands, "params": params},
        "+".join(n.name or n.op_type for n in group),
    )


def _size(value: ir.Value) -> int:
    assert value.dtype is not None
    return value.dtype.itemsize if isinstance(value.dtype.itemsize, int) else 8


def function_of(region: Region, node: Node) -> tuple[str, tuple[float, float]] | None:
    """The step and parameters of a node that is one function of one operand."""
    steps = steps_of(region, node)
    if steps is None or len(steps) != 1 or len(steps[0].operands) != 1 or steps[0].op in _NOT_MAPS:
        return None
    return steps[0].op, steps[0].params


_NOT_MAPS = frozenset({"Cast", "IsNaN", "Not"})  # Results of another type, or no floats.
_Rule = Callable[[Region, Node], list[Step] | None]
_RULES: dict[str, _Rule] = {}


def _rule(*op_types: str) -> Callable[[_Rule], _Rule]:
    def register(function: _Rule) -> _Rule:
        _RULES.update(dict.fromkeys(op_types, function))
        return function

    return register


def _given(node: Node) -> list[ir.Value]:
    return [v for v in node.inputs if v is not None]


def _are(values: list[ir.Value], types: frozenset[ir.DataType]) -> bool:
    """All of one type, which is among `types`."""
    return values[0].dtype in types and all(v.dtype == values[0].dtype for v in values)


@_rule(*_UNARY)
def _unary(region: Region, node: Node) -> list[Step] | None:
    if not _are(_given(node), _FLOATS):
        return None
    values = [float(attribute(node, n, d)) for n, d in _UNARY[node.op_type]] + [0.0, 0.0]
    return [Step(node.op_type, [*_given(node)], (values[0], values[1]))]


@_rule("HardSwish")
def _hard_swish(region: Region, node: Node) -> list[Step] | None:
    ok = _are(_given(node), _FLOATS)
    return [Step("HardSwish", [*_given(node)], (1 / 6, 0.5))] if ok else None


@_rule("Gelu")
def _gelu(region: Region, node: Node) -> list[Step] | None:
    tanh = attribute(node, "approximate", "none") == "tanh"
    ok = _are(_given(node), _FLOATS)
    return [Step("GeluTanh" if tanh else "Gelu", [*_given(node)])] if ok else None


@_rule("Not")
def _not(region: Region, node: Node) -> list[Step] | None:
    return [Step("Not", [*_given(node)])] if _are(_given(node), _BOOL) else None


@_rule(*_ARITHMETIC)
def _arithmetic(region: Region, node: Node) -> list[Step] | None:
    return [Step(node.op_type, [*_given(node)])] if _are(_given(node), _FLOATS) else None


@_rule(*_LOGIC)
def _logic(region: Region, node: Node) -> list[Step] | None:
    return [Step(node.op_type, [*_given(node)])] if _are(_given(node), _BOOL) else None


@_rule(*_COMPARE)
def _compare(region: Region, node: Node) -> list[Step] | None:
    if not _are(_given(node), _FLOATS | _INTS):
        return None
    name, swapped = _COMPARE[node.op_type]
    a, b = _given(node)
    return [Step(name, [b, a] if swapped else [a, b])]


@_rule("Where")
def _where(region: Region, node: Node) -> list[Step] | None:
    condition, *values = _given(node)
    ok = condition.dtype == _T.BOOL and _are(values, _FLOATS)
    return [Step("Where", [condition, *values])] if ok else None


@_rule("Cast")
def _cast(region: Region, node: Node) -> list[Step] | None:
    x = _given(node)[0]
    to = _T(attribute(node, "to", 0))
    if x.dtype not in _FLOATS | _INTS | _BOOL or to not in _FLOATS | _BOOL:
        return None
    if to in _HALVES and x.dtype not in _HALVES | {_T.FLOAT}:
        return None  # Would round twice.
    return [Step("Cast", [x], (float(to), 0.0))]


@_rule("Pow")
def _pow(region: Region, node: Node) -> list[Step] | None:
    x = _given(node)[0]
    power = region.number(node.inputs[1])
    scalar = node.inputs[1] is not None and _rank(node.inputs[1]) == 0
    if power not in (2.0, 3.0) or not scalar or x.dtype not in _FLOATS - _HALVES:
        return None
    square = Step("Mul", [x, x])
    return [square] if power == 2.0 else [square, Step("Mul", [-2, x])]


def _rank(value: ir.Value | None) -> int | None:
    return None if value is None or value.shape is None else len(value.shape)


@_rule("Clip")
def _clip(region: Region, node: Node) -> list[Step] | None:
    x, *bounds = (*node.inputs, None, None)[:3]
    assert x is not None
    if not _are([x, *(b for b in bounds if b is not None)], _FLOATS):
        return None
    if any(b is not None and _rank(b) != 0 for b in bounds):
        return None
    steps: list[Step] = []
    for op, bound in zip(("Max", "Min"), bounds, strict=True):
        if bound is not None:
            steps.append(Step(op, [x if not steps else -2, bound]))
    return steps or None


@_rule(*_FOLDS)
def _fold(region: Region, node: Node) -> list[Step] | None:
    values = _given(node)
    if len(values) < 2 or len(values) > MAX_INPUTS - 1 or not _are(values, _FLOATS):
        return None
    steps: list[Step] = []
    for value in values[1:]:
        steps.append(Step(_FOLDS[node.op_type], [-1 - len(steps) if steps else values[0], value]))
    if node.op_type == "Mean":
        assert values[0].dtype is not None
        count = ir.tensor(np.asarray(len(values), values[0].dtype.numpy()), name="count")
        value = ir.Value(name="count", const_value=count, type=values[0].type, shape=ir.Shape(()))
        steps.append(Step("Div", [-1 - len(steps), value]))
    return steps

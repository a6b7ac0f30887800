"""Unknown dimensions get names, the same one where two values certainly agree."""

from __future__ import annotations

from itertools import count

import onnx_ir as ir

from toolkit.graph.walk import inner_graphs

_AS_FIRST = frozenset(
    {"Abs", "BatchNormalization", "Cast", "Clip", "Dropout", "Elu", "Erf", "Exp", "Gelu"}
    | {"HardSigmoid", "HardSwish", "Identity", "LayerNormalization", "LeakyRelu", "Log", "Mish"}
    | {"Neg", "Relu", "Reciprocal", "Sigmoid", "Softmax", "Softplus", "Sqrt", "Swish", "Tanh"}
)
_BROADCAST = frozenset({"Add", "Div", "Max", "Min", "Mul", "Pow", "Sub", "Sum"})

_MADE_UP = "_dim_"

Dim = int | str


def made_up(dim: int | str) -> bool:
    """Whether a symbol is one of this pass: it tells no more than that it is some number."""
    return isinstance(dim, str) and dim.startswith(_MADE_UP)


class NameDimsPass(ir.passes.InPlacePass):
    """A symbol for each dimension of a node's result that inference left unknown.

    1. `y = f(x)` element by element -> y has x's dimensions.
    2. `y = a + b` -> in each dimension the one that is not 1, where that is one number or symbol.
    3. `y = Conv(x, w)` with stride 1 and padding for all taps -> y has x's spatial dimensions.
    4. Others -> a new symbol.

    Passes that ask whether two values have one shape then see that they do. Inputs and outputs of
    a graph stay as they are declared.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Runs the pass."""
        fresh = (f"{_MADE_UP}{i}" for i in count())
        for graph in (model.graph, *inner_graphs(model.graph)):
            for node in graph:
                for i, value in enumerate(node.outputs):
                    if value.shape is None or value.is_graph_output():
                        continue
                    dims = [_dim(d) for d in value.shape.dims]
                    if None not in dims:
                        continue
                    found = _sizes(node) if i == 0 else None
                    sizes = found if found and len(found) == len(dims) else None
                    value.shape = ir.Shape(
                        [
                            d if d is not None else (sizes and sizes[axis]) or next(fresh)
                            for axis, d in enumerate(dims)
                        ]
                    )
        return ir.passes.PassResult(model, True)


def _dim(d: int | ir.SymbolicDim) -> Dim | None:
    return d if isinstance(d, int) else d.value


def _sizes(node: ir.Node) -> list[Dim | None] | None:
    """What the inputs tell of the first result's dimensions."""
    if node.domain or not node.inputs:
        return None
    shapes = [None if v is None or v.shape is None else v.shape for v in node.inputs]
    if node.op_type in _AS_FIRST:
        return None if shapes[0] is None else [_dim(d) for d in shapes[0]]
    if node.op_type == "Conv" and shapes[0] is not None and shapes[1] is not None:
        return _conv_sizes(node, shapes[0], shapes[1])
    if node.op_type not in _BROADCAST or any(s is None for s in shapes):
        return None
    rank = max(len(s) for s in shapes if s is not None)
    columns: list[set[Dim | None]] = [set() for _ in range(rank)]
    for shape in shapes:
        for axis, d in enumerate(shape or ()):
            if d != 1:
                columns[axis + rank - len(shape or ())].add(_dim(d))
    return [next(iter(c)) if len(c) == 1 else 1 if not c else None for c in columns]


def _conv_sizes(node: ir.Node, x: ir.Shape, w: ir.Shape) -> list[Dim | None] | None:
    rank = len(x) - 2
    if len(w) != len(x):
        return None

    def ints(name: str, default: list[int]) -> list[int]:
        attr = node.attributes.get(name)
        return default if attr is None else list(attr.as_ints())

    strides, dilations = ints("strides", [1] * rank), ints("dilations", [1] * rank)
    pads, auto = ints("pads", [0] * 2 * rank), node.attributes.get("auto_pad")
    same = auto is not None and auto.as_string().startswith("SAME")
    sizes: list[Dim | None] = [_dim(x[0]), _dim(w[0])]
    for d in range(rank):
        kernel = w[d + 2]
        whole = isinstance(kernel, int) and pads[d] + pads[d + rank] == (kernel - 1) * dilations[d]
        sizes.append(_dim(x[d + 2]) if strides[d] == 1 and (same or whole) else None)
    return sizes

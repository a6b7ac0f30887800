"""Convolutions with what follows them in one kernel, for inference sessions.

The graph of a session is the runtime's own: these nodes never reach a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from toolkit.graph.edit import constant_of
from toolkit.graph.held import initializer
from toolkit.graph.walk import inner_graphs
from toolkit.graph.weights import StoredTensor
from toolkit.runtime.passes.region import same_shape

Array = np.ndarray[Any, Any]

DOMAIN = "toolkit.fused"

# Float attributes in the kernel's order, with the schema's defaults.
_PARAMS: dict[str, tuple[tuple[str, float], ...]] = {
    "Relu": (),
    "LeakyRelu": (("alpha", 0.01),),
    "Sigmoid": (),
    "HardSigmoid": (("alpha", 0.2), ("beta", 0.5)),
    "HardSwish": (),
    "Tanh": (),
    "Elu": (("alpha", 1.0),),
    "Swish": (("alpha", 1.0),),
    "Mish": (),
    "Softplus": (),
}
_FLOATS = (ir.DataType.FLOAT, ir.DataType.DOUBLE)


class FuseConvPass(ir.passes.InPlacePass):
    """Gives a convolution what is done to its result, where nothing else reads it.

    1. `BatchNormalization(Conv(x, w, b))` with constants -> `Conv(x, w', b')`, with
       w' = w s and b' = (b - mean) s + bias, where s = scale / sqrt(var + epsilon).
    2. `Conv(x, w) + c` with a constant c of one number, or one a channel -> `Conv(x, w, c)`;
       `Conv(x, w, b) c` likewise -> `Conv(x, w c, b c)`.
    3. `Conv(x, w, b) + r` with r of the same shape -> `FusedConv(x, w, b, r)`.
    4. `Relu`, `Clip` with constant bounds, or another cheap function of the result -> its
       attribute `activation`; `x Sigmoid(x)` counts as Swish, `x Clip(x + 3, 0, 6) / 6` as
       HardSwish.
    5. `Conv(a x, w)` with a constant a as in 2 -> `Conv(x, w a)`; `Conv(x + c, w)` without padding
       -> `Conv(x, w, w c)`.

    Weights that can be fed stay as they are.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Runs the pass."""
        changed = False
        for graph in (model.graph, *inner_graphs(model.graph)):
            for node in tuple(graph):
                if node.op_type == "Conv" and not node.domain:
                    while _fold_before(graph, node):
                        changed = True
                    changed |= _fuse(graph, node)
        return ir.passes.PassResult(model, changed)


def measure_convolutions(model: ir.Model) -> None:
    """Lets the first run of every convolution time its algorithms (`runtime.autotune`)."""
    for graph in (model.graph, *inner_graphs(model.graph)):
        for node in graph:
            if (node.domain, node.op_type) in (("", "Conv"), (DOMAIN, "FusedConv")):
                node.attributes["algorithm"] = ir.AttrString("algorithm", "measured")


def _fuse(graph: ir.Graph, conv: ir.Node) -> bool:
    changed = False
    while (after := only_reader(conv)) is not None and (
        _fold_batch_norm(graph, conv, after)
        or _fold_bias(graph, conv, after)
        or _fold_scale(graph, conv, after)
    ):
        changed = True
    fused = conv
    if after is not None and (residual := _residual(conv, after)) is not None:
        operands = [*conv.inputs, *[None] * (3 - len(conv.inputs)), residual]
        fused = _replace(graph, conv, after, operands, {})
        after = only_reader(fused)
    if after is not None and (activation := _activation(after)) is not None:
        fused = _replace(graph, fused, after, fused.inputs, activation)
    elif (found := _swish(fused) or _hard_swish(fused)) is not None:
        activation, (*inner, last) = found
        done = _replace(graph, fused, last, fused.inputs, activation, keep=True)
        for node in (*reversed(inner), fused):
            graph.remove(node, safe=True)
        fused = done
    return changed or fused is not conv


def only_reader(node: ir.Node) -> ir.Node | None:
    """The node that alone reads the only output, if it is one of the same graph."""
    y = node.outputs[0]
    uses = list(y.uses())
    if y.is_graph_output() or len(uses) != 1 or uses[0].node.graph is not node.graph:
        return None
    return uses[0].node


def constant(value: ir.Value | None) -> Array | None:
    """The numbers of an initializer, unless it may be fed."""
    if value is None or value.is_graph_input():
        return None
    return constant_of(value)


def is_constant(value: ir.Value | None) -> bool:
    """Whether `constant` gives an array, without reading it."""
    if value is None or value.is_graph_input():
        return False
    return value.const_value is not None or constant_of(value) is not None


def _weights(conv: ir.Node) -> tuple[Any, int, int] | None:
    """Type, rank and output channels of constant weights whose bias, if any, is constant."""
    w, given = conv.inputs[1], operand(conv, 2)
    if not is_constant(w) or (given is not None and not is_constant(given)):
        return None
    assert w is not None
    if w.dtype not in _FLOATS or w.shape is None or not isinstance(w.shape[0], int):
        return None
    return w.dtype.numpy(), len(w.shape), w.shape[0]


def _scaled(conv: ir.Node, w: Array, factors: Array) -> Array:
    """Weights times factors of float64, rounded once, in place where nothing else has them."""
    value = conv.inputs[1]
    just_read = value is not None and isinstance(value.const_value, StoredTensor)
    result = w if just_read else np.empty_like(w)
    np.multiply(w, factors, out=result, dtype=np.float64, casting="same_kind")
    return result


def operand(node: ir.Node, index: int) -> ir.Value | None:
    """An input, None where it is absent."""
    return node.inputs[index] if index < len(node.inputs) else None


def _add_initializer(graph: ir.Graph, base: str, array: Array) -> ir.Value:
    name, n = base, 0
    while name in graph.initializers:
        name, n = f"{base}_{n}", n + 1
    value = graph.initializers[name] = initializer(name, array)
    return value


def _set_weights(graph: ir.Graph, conv: ir.Node, w: Array | None, b: Array) -> None:
    name = conv.outputs[0].name or "conv"
    if w is not None:
        conv.replace_input_with(1, _add_initializer(graph, f"{name}.folded_weight", w))
    if len(conv.inputs) < 3:
        conv.resize_inputs(3)
    conv.replace_input_with(2, _add_initializer(graph, f"{name}.folded_bias", b))


def _take_over(graph: ir.Graph, conv: ir.Node, after: ir.Node) -> None:
    """The convolution's output becomes that of `after`, which is removed."""
    old, y = after.outputs[0], conv.outputs[0]
    name = old.name
    old.replace_all_uses_with(y, replace_graph_outputs=True)
    graph.remove(after, safe=True)
    y.name = name


def _fold_batch_norm(graph: ir.Graph, conv: ir.Node, after: ir.Node) -> bool:
    if after.op_type != "BatchNormalization" or after.domain or len(after.inputs) != 5:
        return False
    training = after.attributes.get("training_mode")
    if (training is not None and training.as_int()) or after.inputs[0] is not conv.outputs[0]:
        return False
    if any(v.uses() or v.is_graph_output() for v in after.outputs[1:]):
        return False
    known = _weights(conv)
    if known is None or not all(map(is_constant, after.inputs[1:])):
        return False
    scale, bias, mean, var = (constant(v) for v in after.inputs[1:])
    b, w = constant(operand(conv, 2)), constant(conv.inputs[1])
    assert w is not None and scale is not None and bias is not None
    assert mean is not None and var is not None
    if any(a.shape != w.shape[:1] for a in (scale, bias, mean, var)):
        return False
    epsilon = after.attributes.get("epsilon")
    eps = 1e-5 if epsilon is None else epsilon.as_float()
    s = scale.astype(np.float64) / np.sqrt(var.astype(np.float64) + eps)
    folded = _scaled(conv, w, s.reshape(-1, *[1] * (w.ndim - 1)))
    shift = ((0 if b is None else b) - mean.astype(np.float64)) * s + bias
    _set_weights(graph, conv, folded, shift.astype(w.dtype))
    _take_over(graph, conv, after)
    return True


def _other(after: ir.Node, value: ir.Value) -> ir.Value | None:
    """The other summand of an addition."""
    if after.op_type != "Add" or after.domain:
        return None
    a, b = after.inputs
    return b if a is value else a


def _of_channels(value: ir.Value | None, conv: ir.Node) -> Array | None:
    """A constant as one number for each output channel of a convolution with constant weights."""
    known = _weights(conv) if is_constant(value) else None
    if known is None:
        return None
    (dtype, rank, channels), c = known, constant(value)
    if c is None or c.dtype != dtype or c.ndim > rank:
        return None
    if c.size == 1:
        return np.full(channels, c.reshape(()), c.dtype)
    shape = (1,) * (rank - c.ndim) + c.shape
    return c.reshape(-1) if shape == (1, channels, *[1] * (rank - 2)) else None


def _fold_bias(graph: ir.Graph, conv: ir.Node, after: ir.Node) -> bool:
    c = _of_channels(_other(after, conv.outputs[0]), conv)
    if c is None:
        return False
    b = constant(operand(conv, 2))
    _set_weights(graph, conv, None, c if b is None else c + b)
    _take_over(graph, conv, after)
    return True


def _fold_scale(graph: ir.Graph, conv: ir.Node, after: ir.Node) -> bool:
    if after.op_type not in ("Mul", "Div") or after.domain:
        return False
    y, (a, b) = conv.outputs[0], after.inputs
    if after.op_type == "Div" and b is y:
        return False
    c = _of_channels(b if a is y else a, conv)
    if c is None or (after.op_type == "Div" and not c.all()):
        return False
    w, given = constant(conv.inputs[1]), constant(operand(conv, 2))
    assert w is not None
    scale = c.astype(np.float64) if after.op_type == "Mul" else 1 / c.astype(np.float64)
    scaled = _scaled(conv, w, scale.reshape(-1, *[1] * (w.ndim - 1)))
    bias = np.zeros_like(c) if given is None else given * scale
    _set_weights(graph, conv, scaled, bias.astype(w.dtype))
    _take_over(graph, conv, after)
    return True


def _fold_before(graph: ir.Graph, conv: ir.Node) -> bool:
    x = conv.inputs[0]
    before = None if x is None else x.producer()
    if before is None or before.domain or before.op_type not in ("Add", "Mul"):
        return False
    a, b = (*before.inputs, None)[:2]
    c, x = (constant(b), a) if not is_constant(a) else (constant(a), b)
    if c is None or x is None or only_reader(before) is not conv or _weights(conv) is None:
        return False
    given, w = operand(conv, 2), constant(conv.inputs[1])
    assert w is not None
    group = conv.attributes.get("group")
    groups = 1 if group is None else group.as_int()
    channels = w.shape[1] * groups
    shape = (1,) * (w.ndim - c.ndim) + c.shape
    if c.ndim > w.ndim or c.dtype != w.dtype or x.shape is None or len(x.shape) != w.ndim:
        return False
    if c.size != 1 and shape != (1, channels, *[1] * (w.ndim - 2)):
        return False
    # As the weights lie: (groups, outputs of a group, inputs of a group, taps).
    factors = np.broadcast_to(c.reshape(-1), channels).reshape(groups, 1, -1, 1)
    wide = w.astype(np.float64).reshape(groups, w.shape[0] // groups, w.shape[1], -1)
    bias = np.zeros(w.shape[0], w.dtype) if given is None else constant(given)
    assert bias is not None
    if before.op_type == "Mul":
        _set_weights(graph, conv, (wide * factors).reshape(w.shape).astype(w.dtype), bias)
    elif _is_padded(conv):
        return False
    else:
        total = bias + (wide * factors).sum((2, 3)).reshape(-1)
        _set_weights(graph, conv, None, total.astype(w.dtype))
    conv.replace_input_with(0, x)
    graph.remove(before, safe=True)
    return True


def _is_padded(conv: ir.Node) -> bool:
    auto, pads = conv.attributes.get("auto_pad"), conv.attributes.get("pads")
    if auto is not None and auto.as_string() not in ("NOTSET", "VALID"):
        return True
    return pads is not None and any(pads.as_ints())


def _residual(conv: ir.Node, after: ir.Node) -> ir.Value | None:
    y = conv.outputs[0]
    other = _other(after, y)
    if other is None or other is y or y.dtype not in _FLOATS or other.dtype != y.dtype:
        return None
    return other if same_shape(y, other) else None


def _attributes(name: str, params: list[float]) -> dict[str, ir.Attr]:
    attributes = {"activation": ir.AttrString("activation", name)}
    if params:
        attributes["activation_params"] = ir.AttrFloat32s("activation_params", params)
    return attributes


def _activation(after: ir.Node) -> dict[str, ir.Attr] | None:
    if after.domain:
        return None
    if after.op_type == "Clip":
        bounds = []
        for index, missing in ((1, -np.inf), (2, np.inf)):
            value = operand(after, index)
            number = constant(value)
            if value is not None and (number is None or number.size != 1):
                return None
            bounds.append(missing if number is None else float(number.reshape(())))
        return _attributes("Clip", bounds)
    schema = _PARAMS.get(after.op_type)
    if schema is None:
        return None
    params = []
    for name, default in schema:
        attr = after.attributes.get(name)
        if attr is not None and attr.is_ref():
            return None
        params.append(default if attr is None else attr.as_float())
    return _attributes(after.op_type, params)


Written = tuple[dict[str, ir.Attr], list[ir.Node]]  # An activation and its nodes in order.


def _two_readers(conv: ir.Node, first: str) -> tuple[ir.Node, ir.Node] | None:
    """The `first` and the Mul that alone read a convolution's result."""
    y = conv.outputs[0]
    nodes = [use.node for use in y.uses()]
    if y.is_graph_output() or len(nodes) != 2 or any(n.graph is not conv.graph for n in nodes):
        return None
    inner = next((n for n in nodes if n.op_type == first and not n.domain), None)
    multiply = next((n for n in nodes if n.op_type == "Mul" and not n.domain), None)
    return None if inner is None or multiply is None else (inner, multiply)


def _swish(conv: ir.Node) -> Written | None:
    """The nodes of `y Sigmoid(y)` where y, the convolution's result, has no other readers."""
    found = _two_readers(conv, "Sigmoid")
    if found is None or only_reader(found[0]) is not found[1]:
        return None
    return _attributes("Swish", [1.0]), list(found)


def _hard_swish(conv: ir.Node) -> Written | None:
    """The nodes of `y Clip(y + 3, 0, 6) / 6`, likewise."""
    found = _two_readers(conv, "Add")
    if found is None:
        return None
    add, multiply = found
    clip, last = only_reader(add), only_reader(multiply)
    if clip is None or last is None or only_reader(clip) is not multiply:
        return None
    bounds = _activation(clip) if clip.op_type == "Clip" else None
    if bounds is None or list(bounds["activation_params"].as_floats()) != [0.0, 6.0]:
        return None
    if _number(_other(add, conv.outputs[0])) != 3.0 or last.op_type not in ("Mul", "Div"):
        return None
    y, (a, b) = multiply.outputs[0], last.inputs
    number = _number(b if a is y else a)
    sixth = last.op_type == "Div" and a is y and number == 6.0
    if not sixth and not (last.op_type == "Mul" and np.isclose(number or 0.0, 1 / 6, rtol=1e-6)):
        return None
    return _attributes("HardSwish", []), [add, clip, multiply, last]


def _number(value: ir.Value | None) -> float | None:
    found = constant(value)
    return float(found.reshape(())) if found is not None and found.size == 1 else None


def _replace(
    graph: ir.Graph,
    conv: ir.Node,
    after: ir.Node,
    inputs: Sequence[ir.Value | None],
    extra: dict[str, ir.Attr],
    keep: bool = False,
) -> ir.Node:
    """A FusedConv in the place of `after`; `keep`: the caller removes `conv`."""
    attributes = {**conv.attributes, **extra}
    old = after.outputs[0]
    fused = ir.Node(DOMAIN, "FusedConv", list(inputs), attributes.values(), name=conv.name)
    y = fused.outputs[0]
    y.type, y.shape = old.type, old.shape
    graph.insert_before(after, fused)
    name = old.name
    old.replace_all_uses_with(y, replace_graph_outputs=True)
    graph.remove(after, safe=True)
    y.name = name
    if not keep:
        graph.remove(conv, safe=True)
    return fused

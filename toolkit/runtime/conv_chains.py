"""Pointwise and depthwise convolutions in a row as one kernel, for inference sessions."""

from __future__ import annotations

import os
from typing import Any

import onnx_ir as ir

from toolkit.graph.walk import inner_graphs
from toolkit.runtime.conv_fusion import DOMAIN, FuseConvPass, is_constant, only_reader, operand


class ChainConvPass(ir.passes.InPlacePass):
    """`Conv` and `FusedConv` nodes that nothing else reads -> `ConvChain`.

    A chain is a depthwise convolution (3 x 3 or 5 x 5) between two pointwise ones, with at least
    twice as many channels as go in and come out: the blocks of MobileNets. Weights are constants of
    float32; a residual may be added at the end. In place of the large values between them, which
    would leave the core's cache, a few rows at a time are kept.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Runs the pass."""
        changed = False
        for graph in (model.graph, *inner_graphs(model.graph)):
            for node in tuple(graph):
                if node.graph is graph and _is_depthwise(node):
                    changed |= _chain(graph, node)
        return ir.passes.PassResult(model, changed)


def fuse_convolutions(model: ir.Model) -> ir.Model:
    """Runs both passes in place, unless TOOLKIT_OPT=0 asks for every operator on its own."""
    if os.environ.get("TOOLKIT_OPT") != "0":
        FuseConvPass()(model)
        ChainConvPass()(model)
    return model


def _chain(graph: ir.Graph, depthwise: ir.Node) -> bool:
    x = depthwise.inputs[0]
    before, after = None if x is None else x.producer(), only_reader(depthwise)
    if before is None or after is None or not (_is_pointwise(before) and _is_pointwise(after)):
        return False
    if not (_ends_in(before, depthwise) and _ends_in(depthwise, after)) or not _widens(
        before, after
    ):
        return False
    stages = [before, depthwise, after]
    operands: list[ir.Value | None] = [stages[0].inputs[0]]
    for stage in stages:
        operands += [stage.inputs[1], operand(stage, 2)]
    operands.append(operand(stages[-1], 3))
    last = stages[-1]
    chain = ir.Node(DOMAIN, "ConvChain", operands, _attributes(stages), name=last.name)
    y, old = chain.outputs[0], last.outputs[0]
    y.type, y.shape, name = old.type, old.shape, old.name
    graph.insert_before(last, chain)
    ir.convenience.replace_all_uses_with(old, y, replace_graph_outputs=True)
    for stage in reversed(stages):
        graph.remove(stage, safe=True)
    y.name = name
    return True


def _ends_in(node: ir.Node, after: ir.Node) -> bool:
    """Whether the result goes nowhere but into a convolution's X, with nothing added to it."""
    x = after.inputs[0]
    return only_reader(node) is after and x is node.outputs[0] and operand(node, 3) is None


def _widens(before: ir.Node, after: ir.Node) -> bool:
    (inner, outer, *_), (out, *_) = _weight(before) or [0, 0], _weight(after) or [0]
    return inner >= 2 * max(outer, out)


def _attributes(stages: list[ir.Node]) -> list[ir.Attr]:
    params = [_params(stage) for stage in stages]
    return [
        ir.AttrInt64s("depthwise", [int(_is_depthwise(s)) for s in stages]),
        ir.AttrInt64s("strides", [_ints(s, "strides", [1, 1])[0] for s in stages]),
        ir.AttrInt64s("pads", [p for s in stages for p in _ints(s, "pads", [0] * 4)]),
        ir.AttrStrings("activations", [_string(s, "activation") for s in stages]),
        ir.AttrInt64s("activation_counts", [len(p) for p in params]),
        ir.AttrFloat32s("activation_params", [v for p in params for v in p]),
    ]


def _is_depthwise(node: ir.Node) -> bool:
    w = _weight(node)
    if w is None or w[1] != 1 or w[2] != w[3] or w[2] not in (3, 5):
        return False
    return _int(node, "group") == w[0] and _ints(node, "strides", [1, 1]) in ([1, 1], [2, 2])


def _is_pointwise(node: ir.Node) -> bool:
    w = _weight(node)
    if w is None or w[2:] != [1, 1] or _int(node, "group") != 1:
        return False
    return _ints(node, "strides", [1, 1]) == [1, 1] and not any(_ints(node, "pads", [0] * 4))


def _weight(node: ir.Node) -> list[int] | None:
    """The shape of a convolution's weights, if a chain could run it."""
    if (node.domain, node.op_type) not in (("", "Conv"), (DOMAIN, "FusedConv")):
        return None
    w, given = node.inputs[1], operand(node, 2)
    if w is None or w.dtype != ir.DataType.FLOAT or w.shape is None or len(w.shape) != 4:
        return None
    if _string(node, "auto_pad") not in ("", "NOTSET", "VALID"):
        return None
    if not is_constant(w) or (given is not None and not is_constant(given)):
        return None
    if any(p < 0 for p in _ints(node, "pads", [])) or _ints(node, "dilations", [1, 1]) != [1, 1]:
        return None
    return [int(d) for d in w.shape if isinstance(d, int)]


def _ints(node: ir.Node, name: str, default: list[int]) -> list[int]:
    attr = node.attributes.get(name)
    return default if attr is None else list(attr.as_ints())


def _int(node: ir.Node, name: str) -> int:
    attr = node.attributes.get(name)
    return 1 if attr is None else attr.as_int()


def _string(node: ir.Node, name: str) -> str:
    attr = node.attributes.get(name)
    return "" if attr is None else attr.as_string()


def _params(node: ir.Node) -> list[Any]:
    attr = node.attributes.get("activation_params")
    return [] if attr is None else list(attr.as_floats())

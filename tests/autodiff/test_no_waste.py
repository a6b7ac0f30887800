"""A gradient graph holds what its results need, once, and nothing else."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from tests import gradcheck, opcheck
from tests.autodiff.test_control_flow import TURNS, model
from tests.test_gradients import DIFFERENTIABLE, not_empty
from toolkit.autodiff import gradients
from toolkit.graph.build import Builder
from toolkit.graph.io import load_model
from toolkit.graph.passes.common_subexpressions import node_key
from toolkit.graph.subgraphs import reads


def added(proto: onnx.ModelProto, wrt: str, outputs: list[str]) -> tuple[list[ir.Node], ir.Value]:
    """The nodes that one gradient adds to a graph, and the gradient."""
    graph = load_model(onnx.ModelProto.FromString(proto.SerializeToString())).graph
    x = next(v for v in graph.inputs if v.name == wrt)
    ys = [v for v in graph.outputs if v.name in outputs]
    arriving = [ir.Value(name=f"d_{y.name}", type=y.type, shape=y.shape) for y in ys]
    graph.inputs.extend(arriving)
    before = set(graph)
    (dx,) = gradients(graph, ys, arriving, [x])
    return [n for n in graph if n not in before], dx


def needed(value: ir.Value | None) -> set[ir.Node]:
    found: set[ir.Node] = set()
    stack = [] if value is None else [value]
    while stack:
        node = stack.pop().producer()
        if node is not None and node not in found:
            found.add(node)
            stack.extend(v for v in reads(node) if v is not None)
    return found


@pytest.mark.parametrize("op", DIFFERENTIABLE, ids=lambda op: op.name)
def test_one_input_alone(op, rng):
    for sample in not_empty(op, 1):
        c = gradcheck.case(op, sample, rng)
        ys = opcheck.run(op, sample)
        outputs = [f"y{i}" for i in c.outputs]
        for k, i in enumerate(c.wrt):
            alone = gradcheck.grad_model(
                opcheck.model(op, sample, ys), [f"x{i}"], outputs, opset=gradcheck.export_opset(op)
            )
            dx = gradcheck.session(alone).run([f"d_x{i}"], c.feed)[0]
            scale = max(1.0, abs(c.grads[k]).max(initial=0.0))
            np.testing.assert_allclose(dx, c.grads[k], rtol=1e-10, atol=1e-10 * scale)
            for symbolic in (False, True):
                nodes, result = added(
                    opcheck.model(op, sample, ys, symbolic), f"x{i}", outputs
                )  # fmt: skip
                unread = set(nodes) - needed(result)
                assert not unread, f"{[n.op_type for n in unread]} contribute nothing to d_x{i}"
                keys = [node_key(n) for n in nodes]
                twice = [n.op_type for n, key in zip(nodes, keys, strict=True)
                         if key is not None and keys.count(key) > 1]  # fmt: skip
                assert not twice, f"{twice} are computed twice for d_x{i}"


def op_types(build) -> list[str]:
    """The operators that the gradient of y = build(b, x) adds, x of 3 x 4 numbers."""
    graph = ir.Graph([], [], nodes=[], opset_imports={"": 28})
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([3, 4]))
    graph.inputs.append(x)
    y = build(Builder(graph), x)
    before = set(graph)
    dy = ir.Value(name="dy", type=x.type, shape=x.shape)
    gradients(graph, [y], [dy], [x])
    return [n.op_type for n in graph if n not in before]


def test_shapes_that_agree_need_no_nodes():
    scale = np.ones(4, np.float32)
    assert op_types(lambda b, x: b.LayerNormalization(x, b.const(scale))) == [
        "LayerNormalizationGrad"
    ]
    flip = op_types(lambda b, x: b.Slice(x, [-1], [np.iinfo(np.int64).min], [0], [-1]))
    assert flip == ["Slice"]


def test_a_loop_stacks_a_state_once():
    """TURNS with the state that enters each turn as an output of its own."""
    text = TURNS.replace("double[T,N] ys)", "double[T,N] ys, double[T,N] hs)").replace(
        "y, ys = Loop", "y, ys, hs = Loop"
    )
    text = text.replace("double[N] s)", "double[N] s, double[N] k)").replace(
        "more = Identity (c)", "more = Identity (c)\n        k = Identity (h)"
    )
    for source, outputs in ((TURNS, 3), (text, 3)):
        graded = gradcheck.grad_model(model(source), ["x"], ["y"], opset=21)
        loops = [n for n in graded.graph.node if n.op_type == "Loop"]
        assert [len([o for o in n.output if o]) for n in loops] == [outputs]

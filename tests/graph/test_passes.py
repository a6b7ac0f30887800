"""Passes: what each removes, what it must leave, and that results stay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from toolkit.errors import InvalidModelError
from toolkit.graph.edit import Edit, Names
from toolkit.graph.infer import GraphInference
from toolkit.graph.io import load_model, to_proto
from toolkit.graph.passes import (
    CommonSubexpressionPass,
    ConstantFoldingPass,
    DeadCodePass,
    NoOpPass,
    inline_functions,
    optimize,
)
from toolkit.graph.schema_functions import inline_schema_function

HEAD = '<ir_version: 9, opset_import: ["" : 21, "f" : 1]>\n'
X = np.linspace(-2, 2, 12, dtype=np.float32).reshape(3, 4)


def load(body: str) -> ir.Model:
    return load_model(onnx.parser.parse_model(HEAD + body))


def ops(model: ir.Model) -> list[str]:
    return [n.op_type for n in model.graph.all_nodes()]


def run(model: ir.Model, **feeds: np.ndarray) -> list[Any]:
    proto = to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    return list(ReferenceEvaluator(proto).run(None, feeds))


def evaluate(node: ir.Node, inputs: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    proto = ir.serde.serialize_node(node)
    feeds = {n: a for n, a in zip(proto.input, inputs, strict=True) if a is not None}
    opset = onnx.helper.make_opsetid("", 28)
    graph = onnx.helper.make_graph(
        [proto],
        "g",
        [onnx.helper.make_empty_tensor_value_info(n) for n in feeds],
        [onnx.helper.make_empty_tensor_value_info(n) for n in proto.output],
    )
    model = onnx.helper.make_model(graph, opset_imports=[opset])
    return list(ReferenceEvaluator(model).run(None, feeds))


@pytest.mark.parametrize(
    ("body", "want"),
    [
        ("a = Identity(x) y = Relu(a)", ["Relu"]),
        ("a = Relu(x) y = Identity(a)", ["Relu"]),
        ("y = Identity(x)", ["Identity"]),
        ("a = Dropout(x) y = Relu(a)", ["Relu"]),
        ("a = Cast<to = 1>(x) y = Relu(a)", ["Relu"]),
        ("a = Cast<to = 11>(x) y = Cast<to = 1>(a)", ["Cast", "Cast"]),
        ("a = Transpose<perm = [0, 1]>(x) y = Relu(a)", ["Relu"]),
        ("a = Flatten(x) y = Relu(a)", ["Relu"]),
        ("a = Concat<axis = 0>(x) b = Sum(a) y = Relu(b)", ["Relu"]),
        ("one = Constant<value = float {1.0}>() a = Mul(x, one) y = Relu(a)", ["Constant", "Relu"]),
        (
            "one = Constant<value = float[1,1,1] {1.0}>() a = Mul(x, one) y = Squeeze(a)",
            ["Constant", "Mul", "Squeeze"],
        ),
        ("two = Constant<value = float {2.0}>() y = Mul(x, two)", ["Constant", "Mul"]),
    ],
)
def test_no_ops(body: str, want: list[str]) -> None:
    model = load(f"g (float[3,4] x) => (float[3,4] y) {{ {body} }}")
    before = run(model, x=X)
    NoOpPass()(model)
    assert ops(model) == want
    np.testing.assert_array_equal(run(model, x=X)[0], before[0])


def test_two_outputs_of_one_value_stay_two() -> None:
    model = load("g (float[3,4] x) => (float[3,4] a, float[3,4] b) { a = Relu(x) b = Identity(a) }")
    optimize(model)
    assert [v.name for v in model.graph.outputs] == ["a", "b"]
    assert ops(model) == ["Relu", "Identity"]


def test_a_branch_does_not_give_an_outer_value() -> None:
    model = load(
        """g (float[3,4] x, bool c) => (float[3,4] y) {
          h = Relu(x)
          y = If (c) <
            then_branch = t () => (float[3,4] ty) { ty = Identity(h) },
            else_branch = e () => (float[3,4] ey) { ey = Neg(h) }
          >
        }"""
    )
    optimize(model)
    assert sorted(ops(model)) == ["Identity", "If", "Neg", "Relu"]
    got = run(model, x=X, c=np.array(True))[0]
    np.testing.assert_array_equal(got, np.maximum(X, 0))


def test_common_subexpressions() -> None:
    model = load(
        """g (float[3,4] x) => (float[3,4] y) {
          a = Relu(x) b = Relu(x) c = Softmax<axis = 0>(x) d = Softmax<axis = 1>(x)
          e = Add(a, b) f = Add(c, d) y = Add(e, f)
        }"""
    )
    before = run(model, x=X)
    CommonSubexpressionPass()(model)
    assert ops(model).count("Relu") == 1
    assert ops(model).count("Softmax") == 2
    np.testing.assert_array_equal(run(model, x=X)[0], before[0])


def test_random_nodes_are_not_common() -> None:
    model = load(
        """g (float[3,4] x) => (float[3,4] y) {
          a = RandomNormalLike(x) b = RandomNormalLike(x) y = Sub(a, b)
        }"""
    )
    optimize(model)
    assert ops(model) == ["RandomNormalLike", "RandomNormalLike", "Sub"]


def test_dead_code() -> None:
    model = load(
        """g (float[3,4] x) => (float[3,4] y) <float[2] w = {1, 2}> {
          a = Relu(x) b = Neg(a) y, mask = Dropout(x)
        }"""
    )
    DeadCodePass()(model)
    assert ops(model) == ["Dropout"]
    assert not model.graph.initializers
    assert len(next(iter(model.graph)).outputs) == 1


SHAPE_CHAIN = """g (float[N,3,4] x) => (float[N,12] y) {
  s = Shape(x)
  zero = Constant<value = int64 {0}>()
  n = Gather(s, zero)
  axes = Constant<value_ints = [0]>()
  n1 = Unsqueeze(n, axes)
  rest = Constant<value_ints = [-1]>()
  target = Concat<axis = 0>(n1, rest)
  y = Reshape(x, target)
}"""


def test_shape_arithmetic_folds_once_dimensions_are_known() -> None:
    model = load(SHAPE_CHAIN)
    optimize(model)
    assert "Shape" in ops(model)  # N is only known to the run.
    fixed = load(SHAPE_CHAIN.replace("float[N,3,4] x", "float[2,3,4] x"))
    optimize(fixed)
    assert ops(fixed) == ["Reshape"]
    np.testing.assert_array_equal(
        run(fixed, x=np.ones((2, 3, 4), np.float32))[0], np.ones((2, 12), np.float32)
    )


def test_constants_fold_by_the_evaluator_handed_in() -> None:
    body = """g (float[3,4] x) => (float[3,4] y) <float[4] w = {1, 2, 3, 4}> {
      e = Exp(w) two = Constant<value = float {2.0}>() s = Mul(e, two) y = Add(x, s)
    }"""
    model = load(body)
    before = run(model, x=X)
    ConstantFoldingPass()(model)
    assert ops(model) == ["Exp", "Mul", "Add"]
    optimize(model, evaluate)
    assert ops(model) == ["Add"]
    np.testing.assert_allclose(run(model, x=X)[0], before[0], rtol=1e-6)


def test_outputs_are_not_folded() -> None:
    model = load("g (float[2,3] x) => (int64[2] y) { y = Shape(x) }")
    optimize(model, evaluate)
    assert ops(model) == ["Shape"]


FUNCTIONS = """g (float[3,4] x) => (float[3,4] y) {
  a = f.outer <k = 3.0> (x)
  y = f.outer (a)
}
<domain: "f", opset_import: ["" : 21, "f" : 1]>
outer <k : float = 2.0> (p) => (q) {
  c = Constant <value_float : float = @k> ()
  m = Mul(p, c)
  q = f.inner(m)
}
<domain: "f", opset_import: ["" : 21]>
inner (p) => (q) { h = Neg(p) q = Abs(h) }"""


def test_functions_inline_with_attributes_and_defaults() -> None:
    model = load(FUNCTIONS)
    inline_functions(model)
    assert not model.functions
    assert ops(model) == ["Constant", "Mul", "Neg", "Abs"] * 2
    np.testing.assert_allclose(run(model, x=X)[0], np.abs(X) * 6, rtol=1e-6)


def test_functions_that_call_themselves_are_refused() -> None:
    model = load(FUNCTIONS)
    (inner,) = (f for f in model.functions.values() if f.name == "inner")
    next(iter(inner)).op_type, next(iter(inner)).domain = "inner", "f"
    with pytest.raises(InvalidModelError, match="calls itself"):
        inline_functions(model)


def test_inlining_keeps_toolkit_functions() -> None:
    body = FUNCTIONS.replace('"f"', '"toolkit.f"').replace("f.", "toolkit.f.")
    model = load_model(onnx.parser.parse_model(HEAD.replace('"f"', '"toolkit.f"') + body))
    inline_functions(model)
    assert len(model.functions) == 2
    inline_functions(model, composites=True)
    assert not model.functions


@pytest.mark.parametrize(
    ("call", "shape"),
    [
        ("Softplus(x)", (3, 4)),
        ("HardSwish(x)", (3, 4)),
        ("Elu<alpha = 0.5>(x)", (3, 4)),
        ("LayerNormalization<axis = 1>(x, w, w)", (3, 4)),
        ('Gelu<approximate = "tanh">(x)', (3, 4)),
        ("ReduceLogSumExp<keepdims = 1>(x, axes)", (3, 1)),
    ],
)
def test_schema_bodies_give_what_the_operator_gives(call: str, shape: tuple[int, ...]) -> None:
    weights = "float[4] w = {1, 2, 3, 4}, int64[1] axes = {1}"
    dims = ",".join(map(str, shape))
    model = load(f"g (float[3,4] x) => (float[{dims}] y) <{weights}> {{ y = {call} }}")
    before = run(model, x=X)
    edit = Edit(model.graph, Names(model.graph), GraphInference({}, False))
    (node,) = model.graph
    new = inline_schema_function(node, edit)
    assert new is not None
    assert node.op_type not in ops(model)
    assert [v.name for v in model.graph.outputs] == ["y"]
    np.testing.assert_allclose(run(model, x=X)[0], before[0], rtol=1e-5, atol=1e-6)

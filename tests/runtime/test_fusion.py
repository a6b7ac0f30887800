"""Elementwise programs against the same graph run operator by operator, on drawn graphs."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from tests.tolerances import assert_close
from toolkit.runtime import InferenceSession, SessionOptions

TYPES = {
    TensorProto.FLOAT: np.dtype(np.float32),
    TensorProto.DOUBLE: np.dtype(np.float64),
    TensorProto.FLOAT16: np.dtype(np.float16),
    TensorProto.BFLOAT16: np.dtype(ml_dtypes.bfloat16),
}
SHAPES = [(3, 5, 7), (5, 7), (7,), (1, 7), (3, 1, 7), (3, 5, 1), (5, 1), (1,), ()]
UNARY = ["Neg", "Abs", "Relu", "Sigmoid", "Tanh", "Erf", "Softplus", "Softsign", "Floor", "Sign"]
UNARY += ["Gelu", "HardSwish", "Elu", "LeakyRelu", "Swish", "Mish", "Celu", "Selu", "HardSigmoid"]
BINARY = ["Add", "Sub", "Mul", "Max", "Min", "Sum", "Mean"]
COMPARE = ["Less", "Greater", "LessOrEqual", "GreaterOrEqual", "Equal"]


def plain() -> SessionOptions:
    """Options under which every operator runs on its own."""
    options = SessionOptions()
    options.graph_optimization_level = 0
    return options


def counts(model: onnx.ModelProto, options: SessionOptions | None = None) -> list[str]:
    """The operators that a session runs."""
    session = InferenceSession(model, options)
    (program,) = (p.program for p in session._programs.values())
    program.enable_profile(True)
    return [node["op_type"] for node in program.profile()["nodes"]]


def model_of(nodes, inputs, outputs, initializers=()) -> onnx.ModelProto:
    """A checked model; inputs by name: (type, shape); outputs by name: type."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(n, t, s) for n, (t, s) in inputs.items()],
        [helper.make_tensor_value_info(n, t, None) for n, t in outputs.items()],
        list(initializers),
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)])


@st.composite
def graphs(draw):
    """(model, feed): up to 20 elementwise nodes over a few inputs, results reused at will."""
    element = draw(st.sampled_from(list(TYPES)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    width = draw(st.sampled_from([7, 64, 600]))
    shapes = [tuple(width if d == 7 else d for d in s) for s in SHAPES]
    inputs, feed, pool, bools = {}, {}, [], []
    for i in range(draw(st.integers(1, 4))):
        shape = shapes[0] if i == 0 else draw(st.sampled_from(shapes))
        inputs[f"x{i}"] = (element, shape)
        feed[f"x{i}"] = (2 * rng.standard_normal(shape)).astype(TYPES[element])
        pool.append(f"x{i}")
    nodes, outputs = [], {}
    for i in range(draw(st.integers(2, 20))):
        name = f"t{i}"
        kind = draw(st.sampled_from(["unary", "binary", "binary", "compare", "where", "cast"]))
        if kind == "unary":
            op = draw(st.sampled_from(UNARY))
            nodes.append(helper.make_node(op, [draw(st.sampled_from(pool))], [name]))
        elif kind == "binary" or (kind == "where" and not bools):
            op = draw(st.sampled_from(BINARY))
            ends = [draw(st.sampled_from(pool)) for _ in range(2)]
            nodes.append(helper.make_node(op, ends, [name]))
        elif kind == "compare":
            op = draw(st.sampled_from(COMPARE))
            ends = [draw(st.sampled_from(pool)) for _ in range(2)]
            nodes.append(helper.make_node(op, ends, [name]))
            bools.append(name)
            continue
        elif kind == "where":
            ends = [draw(st.sampled_from(s)) for s in (bools, pool, pool)]
            nodes.append(helper.make_node("Where", ends, [name]))
        else:
            source = draw(st.sampled_from([*pool, *bools]))
            nodes.append(helper.make_node("Cast", [source], [name], to=element))
        pool.append(name)
        if draw(st.integers(0, 9)) == 0:
            outputs[name] = element
    outputs[nodes[-1].output[0]] = TensorProto.BOOL if nodes[-1].op_type in COMPARE else element
    # Bounded, so that tolerances mean something.
    last = nodes[-1].output[0]
    if last not in bools:
        nodes.append(helper.make_node("Tanh", [last], ["y"]))
        outputs["y"] = element
    return model_of(nodes, inputs, outputs), feed


@settings(max_examples=150, deadline=None)
@given(graphs())
def test_programs_equal_single_operators(case):
    model, feed = case
    fused, single = InferenceSession(model), InferenceSession(model, plain())
    for _ in range(2):  # The second run has its memory planned, some of it in place.
        for got, want in zip(fused.run(None, feed), single.run(None, feed), strict=True):
            if want.dtype in (np.float32, np.float64, np.bool_):
                np.testing.assert_array_equal(got, want)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([*UNARY[3:8], "Add", "Mul"]), min_size=2, max_size=8), st.booleans()
)
def test_half_precision_rounds_at_the_ends_only(ops, brain):
    element = TensorProto.BFLOAT16 if brain else TensorProto.FLOAT16
    feed32 = {n: np.random.default_rng(k).standard_normal((4, 33)) for k, n in enumerate("ab")}
    nodes, last = [], "a"
    for i, op in enumerate(ops):
        ends = [last, "b"] if op in ("Add", "Mul") else [last]
        nodes.append(helper.make_node(op, ends, [f"t{i}"]))
        last = f"t{i}"
    narrow = model_of(nodes, dict.fromkeys("ab", (element, (4, 33))), {last: element})
    wide = model_of(nodes, dict.fromkeys("ab", (TensorProto.FLOAT, (4, 33))), {last: 1})
    feed = {n: x.astype(TYPES[element]) for n, x in feed32.items()}
    (got,) = InferenceSession(narrow).run(None, feed)
    exact = {n: x.astype(np.float32) for n, x in feed.items()}
    (want,) = InferenceSession(wide, plain()).run(None, exact)
    assert_close(got, want.astype(TYPES[element]))


def chain(*ops, shape=(4, 32), output=None, element=TensorProto.FLOAT):
    """The input through the named operators; two-operand ones take `b` too."""
    nodes = [
        helper.make_node(op, [f"t{i}" if i else "x"] + ["b"] * (op in BINARY), [f"t{i + 1}"])
        for i, op in enumerate(ops)
    ]
    outputs = {f"t{len(ops)}": element} | ({output: element} if output else {})
    return model_of(nodes, {"x": (element, shape), "b": (element, (shape[-1],))}, outputs)


def test_a_chain_is_one_program():
    assert counts(chain("Mul", "Add", "Tanh", "Relu", "Mul")) == ["Elementwise"]


def test_graph_optimization_level_0_and_the_environment_turn_it_off(monkeypatch):
    model = chain("Mul", "Tanh")
    assert counts(model, plain()) == ["Mul", "Tanh"]
    monkeypatch.setenv("TOOLKIT_OPT", "0")
    assert counts(model) == ["Mul", "Tanh"]


def test_a_result_that_is_wanted_ends_a_program():
    model = chain("Mul", "Add", "Tanh", "Relu", output="t2")
    assert counts(model) == ["Elementwise", "Elementwise"]


def test_a_long_chain_is_cut():
    ops = ["Add", "Tanh"] * 20
    found = counts(chain(*ops))
    assert 1 < len(found) < 6 and set(found) == {"Elementwise"}


def test_a_small_result_is_not_computed_at_the_size_of_a_large_one():
    nodes = [
        helper.make_node("Exp", ["b"], ["e"]),
        helper.make_node("Mul", ["x", "e"], ["m"]),
        helper.make_node("Tanh", ["m"], ["y"]),
    ]
    inputs = {"x": (TensorProto.FLOAT, (64, 8)), "b": (TensorProto.FLOAT, (8,))}
    assert counts(model_of(nodes, inputs, {"y": 1})) == ["Exp", "Elementwise"]


def test_integers_stay_single():
    model = chain("Mul", "Add", element=TensorProto.INT64)
    assert counts(model) == ["Mul", "Add"]


def test_clip_and_powers():
    low, high = (helper.make_tensor(n, 1, [], [v]) for n, v in (("lo", -0.5), ("hi", 0.75)))
    two = helper.make_tensor("two", TensorProto.INT64, [], [2])
    nodes = [
        helper.make_node("Clip", ["x", "lo", "hi"], ["c"]),
        helper.make_node("Pow", ["c", "two"], ["p"]),
        helper.make_node("Clip", ["p", "", "hi"], ["d"]),
        helper.make_node("Neg", ["d"], ["y"]),
    ]
    model = model_of(nodes, {"x": (1, (5, 40))}, {"y": 1}, [low, high, two])
    assert counts(model) == ["Elementwise"]
    x = np.random.default_rng(0).standard_normal((5, 40)).astype(np.float32)
    (got,) = InferenceSession(model).run(None, {"x": x})
    np.testing.assert_array_equal(got, -np.minimum(np.clip(x, -0.5, 0.75) ** 2, 0.75))


def test_a_memory_of_larger_elements_is_not_taken():
    """float64 (N, 1) and float32 (N, 2) have the same number of bytes."""
    nodes = [
        helper.make_node("Neg", ["x"], ["n"]),
        helper.make_node("Transpose", ["n"], ["w"], perm=[1, 0]),
        helper.make_node("Less", ["w", "b"], ["l"]),
        helper.make_node("Cast", ["l"], ["y"], to=TensorProto.FLOAT),
    ]
    inputs = {"x": (TensorProto.DOUBLE, (1, 5000)), "b": (TensorProto.DOUBLE, (1, 2))}
    model = model_of(nodes, inputs, {"y": 1})
    rng = np.random.default_rng(0)
    feed = {"x": rng.standard_normal((1, 5000)), "b": rng.standard_normal((1, 2))}
    session = InferenceSession(model)
    for _ in range(2):
        (got,) = session.run(None, feed)
        np.testing.assert_array_equal(got, (feed["b"] > -feed["x"].T).astype(np.float32))


def test_types_that_differ_are_an_error():
    from toolkit.errors import ToolkitError
    from toolkit.runtime import _core

    values = {"ops": ["Add"], "operands": [0, 1, -1], "params": [0.0, 0.0]}
    op = _core.Op("toolkit.fused", "Elementwise", values)
    a = _core.Tensor.from_array(np.zeros(3, np.float32))
    b = _core.Tensor.from_array(np.zeros(3, np.float64))
    with pytest.raises(ToolkitError, match="same dtype"):
        op.run([a, b], 1)


@pytest.mark.parametrize(
    "change",
    [{"ops": ["Nope"]}, {"operands": [0, -1, -1]}, {"operands": [0, -2, -1]}, {"params": []}],
)
def test_a_program_that_makes_no_sense_is_an_error(change):
    from toolkit.errors import ToolkitError
    from toolkit.runtime import _core

    values = {"ops": ["Add"], "operands": [0, 1, -1], "params": [0.0, 0.0]} | change
    with pytest.raises(ToolkitError):
        _core.Op("toolkit.fused", "Elementwise", values)

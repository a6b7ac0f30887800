"""training_info that other programs wrote, by the text of onnx.proto: run, resumed, refused."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import toolkit as tk
from toolkit.errors import (
    InvalidArgumentError,
    InvalidModelError,
    OutOfMemoryError,
    ShapeError,
    ToolkitError,
)
from toolkit.runtime import InferenceSession
from toolkit.train import TrainStep

RNG = np.random.default_rng(0)
W, B = RNG.standard_normal((3, 2)).astype(np.float32), np.zeros(2, np.float32)
X = RNG.standard_normal((8, 3)).astype(np.float32)
T = X @ np.array([[1, 0], [0, -1], [0.5, 2]], np.float32)

INFERENCE = """<ir_version: 8, opset_import: ["" : 17, "ai.onnx.preview.training" : 1]>
linear (float[N,3] x) => (float[N,2] y) { xw = MatMul(x, W)  y = Add(xw, B) }"""
LOSS = "d = Sub(y, t)  s = Mul(d, d)  loss = ReduceMean<keepdims = 0>(s)"
SGD = (
    """step (float[N,2] t) => (float loss, float[3,2] W_new, float[2] B_new, int64 T_new) {
  """
    + LOSS
    + """
  dW, dB = ai.onnx.preview.training.Gradient<xs = ["W", "B"], zs = ["x", "t"], y = "loss">
    (W, B, x, t)
  one = Constant<value = int64 {1}>()
  T_new = Add(T, one)
  Tf = Cast<to = 1>(T_new)
  r = Div(R, Tf)
  rW = Mul(r, dW)  W_new = Sub(W, rW)
  rB = Mul(r, dB)  B_new = Sub(B, rB)
}"""
)


def constant(name: str, value, dtype=np.float32) -> TensorProto:
    return numpy_helper.from_array(np.asarray(value, dtype), name)


def model(text: str = INFERENCE, weights=None) -> onnx.ModelProto:
    proto = onnx.parser.parse_model(text)
    proto.graph.initializer.extend(weights or [constant("W", W), constant("B", B)])
    return proto


def add(proto: onnx.ModelProto, algorithm: str, initializers, updates, initialization="", first=()):
    """Adds an entry: the algorithm and its bindings."""
    info = proto.training_info.add()
    info.algorithm.CopyFrom(onnx.parser.parse_graph(algorithm))
    info.algorithm.initializer.extend(initializers)
    if initialization:
        info.initialization.CopyFrom(onnx.parser.parse_graph(initialization))
    for key, value in updates.items():
        info.update_binding.add(key=key, value=value)
    for key, value in dict(first).items():
        info.initialization_binding.add(key=key, value=value)
    return info


def sgd() -> onnx.ModelProto:
    """X = x - r / t g, with the count in the algorithm."""
    proto = model()
    add(proto, SGD, [constant("R", 0.3), constant("T", 0, np.int64)],
        {"W": "W_new", "B": "B_new", "T": "T_new"})  # fmt: skip
    return proto


def load(proto: onnx.ModelProto, folder, **options) -> TrainStep:
    path = folder / "training.onnx"
    path.write_bytes(proto.SerializeToString())
    return tk.load_training(path, **options)


def mean_square(w, b):
    error = X.astype(np.float64) @ w + b - T
    g = 2 * error / error.size
    return (error**2).mean(), X.T @ g, g.sum(0)


class ByHand:
    """The same training in numpy."""

    def __init__(self) -> None:
        self.w, self.b, self.t = W.astype(np.float64), B.astype(np.float64), 0

    def step(self, rate: float = 0.3) -> float:
        loss, dw, db = mean_square(self.w, self.b)
        self.t += 1
        self.w, self.b = self.w - rate / self.t * dw, self.b - rate / self.t * db
        return loss


def test_gradient_descent_by_hand(tmp_path):
    step, hand = load(sgd(), tmp_path), ByHand()
    for _ in range(6):
        loss, outputs = step(X, T)
        np.testing.assert_allclose(outputs[0].numpy(), X @ hand.w + hand.b, 1e-4, 1e-5)
        assert float(loss) == pytest.approx(hand.step(), rel=1e-5)
    np.testing.assert_allclose(step.state_dict()["W"], hand.w, 1e-5, 1e-6)
    assert step.state_dict()["T"] == 6
    loss, (y,) = step.evaluate(X, T)
    assert loss == pytest.approx(mean_square(hand.w, hand.b)[0], rel=1e-5)
    np.testing.assert_allclose(y, step.predict(X)[0])


def test_saved_again_only_the_states_differ(tmp_path):
    """Names, nodes, opset, Gradient, metadata and even the bytes of what did not change."""
    proto = sgd()
    proto.metadata_props.add(key="who", value="another program")
    proto.training_info[0].algorithm.doc_string = "as it was"
    step = load(proto, tmp_path)
    step.save(tmp_path / "same.onnx")
    assert (tmp_path / "same.onnx").read_bytes() == (tmp_path / "training.onnx").read_bytes()
    for _ in range(3):
        step(X, T)
    step.save(tmp_path / "later.onnx")
    later = onnx.load(tmp_path / "later.onnx")
    onnx.checker.check_model(later, full_check=True)
    (y,) = InferenceSession(tmp_path / "later.onnx").run(None, {"x": X})
    np.testing.assert_array_equal(y, step.predict(X)[0])
    for graph, old in (
        (later.graph, proto.graph),
        (later.training_info[0].algorithm, proto.training_info[0].algorithm),
    ):
        for tensor, other in zip(graph.initializer, old.initializer, strict=True):
            assert tensor.name == other.name
            changed = numpy_helper.to_array(tensor) != numpy_helper.to_array(other)
            assert changed.any() == (tensor.name != "R")
            tensor.CopyFrom(other)
    assert later == proto
    again = tk.load_training(tmp_path / "later.onnx")
    for _ in range(3):
        assert float(again(X, T)[0]) == float(step(X, T)[0])
    step.save(tmp_path / "new.onnx", opset=21)
    assert onnx.load(tmp_path / "new.onnx").opset_import[0].version == 21
    third = tk.load_training(tmp_path / "new.onnx")
    assert float(third(X, T)[0]) == pytest.approx(float(step(X, T)[0]), rel=1e-6)


HALF = """half (float[N,2] t) => (float loss, float[{shape}] new) {{
  {loss}
  g = ai.onnx.preview.training.Gradient<xs = ["{key}"], zs = ["{other}", "x", "t"], y = "loss">
    ({key}, {other}, x, t)
  rg = Mul(R, g)
  new = Sub({key}, rg)
}}"""


def test_entries_are_steps_one_after_the_other(tmp_path):
    """Block coordinate descent: the second entry sees what the first one has assigned.

    Both algorithms use the same names; each binding is to its own.
    """
    proto = model()
    for key, other, shape, rate in (("W", "B", "3,2", 0.3), ("B", "W", "2", 0.7)):
        text = HALF.format(key=key, other=other, shape=shape, loss=LOSS)
        add(proto, text, [constant("R", rate)], {key: "new"})
    step = load(proto, tmp_path)
    w, b = W.astype(np.float64), B.astype(np.float64)
    for _ in range(4):
        before, dw, _ = mean_square(w, b)
        w = w - 0.3 * dw
        between, _, db = mean_square(w, b)
        b = b - 0.7 * db
        loss, outputs = step(X, T)
        assert float(loss) == pytest.approx(before, rel=1e-5)
        assert float(outputs[1]) == pytest.approx(between, rel=1e-5)
    np.testing.assert_allclose(step.state_dict()["W"], w, 1e-5, 1e-6)
    np.testing.assert_allclose(step.state_dict()["B"], b, 1e-5, 1e-6)
    step.save(tmp_path / "later.onnx")
    assert len(onnx.load(tmp_path / "later.onnx").training_info) == 2
    again = tk.load_training(tmp_path / "later.onnx")
    assert float(again(X, T)[0]) == float(step(X, T)[0])
    tk.export_train_step(tmp_path / "flat.onnx", again)
    import onnxruntime

    session = onnxruntime.InferenceSession(tmp_path / "flat.onnx")
    names = [o.name for o in session.get_outputs()]
    got = dict(zip(names, session.run(None, {"x": X, "t": T}), strict=True))
    again(X, T)
    np.testing.assert_allclose(got["W.next"], again.state_dict()["W"], 1e-5, 1e-6)
    np.testing.assert_allclose(got["B.next"], again.state_dict()["B"], 1e-5, 1e-6)


def test_entries_within_control_flow(tmp_path):
    """The branches of an If read what the first entry has assigned."""
    proto = model(
        """<ir_version: 8, opset_import: ["" : 17]>
        g (float[N,3] x) => (float[N,2] y) {
          m = ReduceMax<keepdims = 0>(x)  z = Constant<value = float {0}>()  c = Greater(m, z)
          y = If (c) <
            then_branch = a () => (float[N,2] o) { o = MatMul(x, W) },
            else_branch = b () => (float[N,2] o) { n = Neg(W)  o = MatMul(x, n) }>
        }""",
        [constant("W", W)],
    )
    add(proto, "one () => (float[3,2] W1) { W1 = Mul(W, F) }", [constant("F", 2.0)], {"W": "W1"})
    second = """two () => (float loss, float[N,2] C1) {
      s = Mul(y, y)  loss = ReduceSum<keepdims = 0>(s)  C1 = Identity(y)
    }"""
    add(proto, second, [constant("C", np.zeros((8, 2)))], {"C": "C1"})
    step = load(proto, tmp_path)
    loss, _ = step(abs(X))
    np.testing.assert_allclose(step.state_dict()["C"], abs(X) @ (2 * W), 1e-5, 1e-6)
    assert float(loss) == pytest.approx(np.square(abs(X) @ (2 * W)).sum(), rel=1e-5)


RANDOM = """begin () => (float[3,2] W0, int64 T0) {
  W0 = RandomNormal<shape = [3, 2], seed = 3.0, scale = 0.5>()
  T0 = Constant<value = int64 {0}>()
}"""


def test_initialization_with_random_operators(tmp_path):
    proto = sgd()
    proto.training_info[0].initialization.CopyFrom(onnx.parser.parse_graph(RANDOM))
    for key in "WT":
        proto.training_info[0].initialization_binding.add(key=key, value=f"{key}0")
    step = load(proto, tmp_path)
    step(X, T)
    trained = {k: v.copy() for k, v in step.state_dict().items()}
    step.initialize()
    begun = {k: v.copy() for k, v in step.state_dict().items()}
    assert begun["T"] == 0 and 0.05 < begun["W"].std() < 1.5
    assert not np.array_equal(begun["W"], trained["W"]) and not np.array_equal(begun["W"], W)
    # No binding names B: it is what the file's initializer says.
    np.testing.assert_array_equal(begun["B"], B)
    assert not np.array_equal(trained["B"], B)
    step(X, T)
    step.initialize()
    np.testing.assert_array_equal(step.state_dict()["W"], begun["W"])
    with pytest.raises(InvalidArgumentError, match=r"'initialization\.seed' is required"):
        step.initialize(seed=1)


def test_initializations_follow_each_other(tmp_path):
    """The second reads an initializer as the first has left it, and may bind it again."""
    proto = model()
    twice = "a () => (float l, float[3,2] n) { n = Add(W, W)  l = ReduceSum<keepdims = 0>(n) }"
    add(proto, twice, [], {"W": "n"}, "i () => (float[3,2] W0) { W0 = Mul(W, half) }", {"W": "W0"})
    proto.training_info[0].initialization.initializer.append(constant("half", 0.5))
    add(proto, "b () => (float[2] m) { m = Neg(B) }", [], {"B": "m"},
        "j () => (float[2] B0) { B0 = ReduceSum<axes = [0], keepdims = 0>(W) }",
        {"B": "B0"})  # fmt: skip
    proto.opset_import[0].version = 11
    step = load(proto, tmp_path)
    step(X)
    step.initialize()
    np.testing.assert_allclose(step.state_dict()["W"], W / 2, 1e-6)
    np.testing.assert_allclose(step.state_dict()["B"], (W / 2).sum(0), 1e-5)


def test_an_output_of_the_inference_graph_may_be_bound(tmp_path):
    """A state that inference hands on: no algorithm's output is needed."""
    proto = model("""<ir_version: 8, opset_import: ["" : 17]>
        g (float[2] x) => (float[2] h_next) { s = Add(h, x)  h_next = Tanh(s) }""",
        [constant("h", [0, 0])])  # fmt: skip
    add(proto, "a () => (float loss) { loss = ReduceSum<keepdims = 0>(h_next) }", [],
        {"h": "h_next"})  # fmt: skip
    step = load(proto, tmp_path)
    h, x = np.zeros(2), np.array([0.5, -1], np.float32)
    for _ in range(3):
        step(x)
        h = np.tanh(h + x)
    np.testing.assert_allclose(step.state_dict()["h"], h, 1e-5)


def test_sparse_initializers_are_joined_too(tmp_path):
    proto = sgd()
    algorithm = proto.training_info[0].algorithm
    algorithm.initializer.remove(algorithm.initializer[0])
    values = constant("R", [0.3])
    values.dims[:] = [1]
    indices = numpy_helper.from_array(np.array([0]), "indices")
    algorithm.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [1]))
    step, hand = load(proto, tmp_path), ByHand()
    for _ in range(3):
        assert float(step(X, T)[0]) == pytest.approx(hand.step(), rel=1e-5)
    step.save(tmp_path / "again.onnx")
    assert onnx.load(tmp_path / "again.onnx").training_info[0].algorithm.sparse_initializer


def test_states_may_change_places(tmp_path):
    proto = model("""<ir_version: 8, opset_import: ["" : 17]>
        g (float[2] x) => (float[2] y) { s = Add(a, b)  y = Mul(s, x) }""",
        [constant("a", [1, 2]), constant("b", [3, 4])])  # fmt: skip
    add(proto, "swap () => (float[2] a, float[2] b) { }", [], {"a": "b", "b": "a"})
    step = load(proto, tmp_path, loss="s")
    for first, second in (([3, 4], [1, 2]), ([1, 2], [3, 4])):
        step(np.ones(2, np.float32))
        assert step.state_dict()["a"].tolist() == first
        assert step.state_dict()["b"].tolist() == second


def test_the_loss_may_be_what_a_gradient_differentiates(tmp_path):
    proto = sgd()
    del proto.training_info[0].algorithm.output[0]
    step, hand = load(proto, tmp_path), ByHand()
    assert float(step(X, T)[0]) == pytest.approx(hand.step(), rel=1e-5)
    step = load(proto, tmp_path, loss="d")
    assert step(X, T)[0].shape == (8, 2)
    for node in list(proto.training_info[0].algorithm.node):
        if node.op_type == "Gradient":
            proto.training_info[0].algorithm.node.remove(node)
    proto.training_info[0].algorithm.initializer.extend([constant("dW", W), constant("dB", B)])
    with pytest.raises(
        InvalidModelError, match=r"its loss, is required, .* load_training\(path, l"
    ):
        load(proto, tmp_path)


def test_small_states_are_no_constants_of_a_gradient(tmp_path):
    """The gradient of x a^p by a, where p moves too: for a constant 2 it would be 2 x a."""
    proto = model("""<ir_version: 8, opset_import: ["" : 17, "ai.onnx.preview.training" : 1]>
        g (float[N] x) => (float[N] y) { w = Pow(a, p)  y = Mul(x, w) }""",
        [constant("a", [1.5]), constant("p", [2.0])])  # fmt: skip
    add(proto, """step () => (float loss, float[1] a_new, float[1] p_new) {
        loss = ReduceSum<keepdims = 0>(y)
        da = ai.onnx.preview.training.Gradient<xs = ["a"], zs = ["p", "x"], y = "loss">(a, p, x)
        ra = Mul(R, da)  a_new = Sub(a, ra)  p_new = Sub(p, R)
      }""", [constant("R", 0.05)], {"a": "a_new", "p": "p_new"})  # fmt: skip
    step, x = load(proto, tmp_path), np.array([0.5, 1.0], np.float32)
    a, p = 1.5, 2.0
    for _ in range(5):
        assert float(step(x)[0]) == pytest.approx(1.5 * a**p, rel=1e-5)
        a, p = a - 0.05 * 1.5 * p * a ** (p - 1), p - 0.05
    assert step.state_dict()["a"][0] == pytest.approx(a, rel=1e-5)


# -- what breaks the standard ------------------------------------------------------------------


def broken(change) -> onnx.ModelProto:
    proto = sgd()
    change(proto, proto.training_info[0])
    return proto


def bind(key: str, value: str, which: str = "update_binding"):
    return lambda p, i: getattr(i, which).add(key=key, value=value)


def graph_input(proto, info) -> None:
    value = helper.make_tensor_value_info("seed", TensorProto.INT64, [])
    info.initialization.input.append(value)


def second_entry(proto, info) -> None:
    proto.training_info.add().update_binding.add(key="W", value="y")


def read_algorithm(proto, info) -> None:
    proto.graph.node[0].input[0] = "t"


def cycle(proto, info) -> None:
    info.algorithm.node[0].input[1] = "s"


def node_twice(proto, info) -> None:
    info.algorithm.node.add().CopyFrom(info.algorithm.node[0])


def initializer_twice(proto, info) -> None:
    info.algorithm.initializer.append(constant("W", W))


def other_input_type(proto, info) -> None:
    value = helper.make_tensor_value_info("x", TensorProto.DOUBLE, ["N", 3])
    info.algorithm.input.append(value)


def sparse_key(proto, info) -> None:
    values, indices = constant("S", [1.0]), numpy_helper.from_array(np.array([0]), "i")
    info.algorithm.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [2]))
    info.update_binding.add(key="S", value="B_new")


def set_field(path: str, value: str):
    def change(proto, info) -> None:
        info.algorithm.node[0].input[1] = value

    return change


CASES = {
    "initialization with an input": (
        graph_input, r"training_info\[0\]\.initialization: a graph without inputs .* 'seed'"),
    "a key twice": (
        bind("W", "W_new"), r"training_info\[0\]\.update_binding: each key once .* 'W' again"),
    "a key twice over entries": (
        second_entry, r"training_info\[1\]\.update_binding: each key once .* 'W' again"),
    "a key that is no initializer": (
        bind("x", "W_new"), r"update_binding: an initializer of the inference .* key 'x'"),
    "a sparse key": (sparse_key, r"an initializer of the inference .* the sparse key 'S'"),
    "a value that is no output": (
        bind("R", "loss_"), r"an output of the algorithm or of the inference graph .* 'loss_'"),
    "an inner value": (bind("R", "s"), r"update_binding: an output of the algorithm .* 's'"),
    "a first value that is no output": (
        bind("W", "W_new", "initialization_binding"),
        r"an output of the initialization .* 'W_new'"),
    "inference that reads the algorithm": (read_algorithm, r"'t' of node"),
    "a cycle": (cycle, r"no node reads its own result, but 'd' does"),
    "a name that is nowhere": (
        set_field("", "nowhere"), r"algorithm: a value .* required by Sub 'd', got 'nowhere'"),
    "a value twice": (node_twice, r"algorithm: names that are given once .* 'd', which itself"),
    "an initializer twice": (initializer_twice, r"'W', which the inference graph gives too"),
    "an input of another type": (other_input_type, r"the type of the inference graph's input 'x'"),
    "an update of another shape": (
        lambda p, i: setattr(i.update_binding[0], "value", "B_new"),
        r"update_binding of 'W': a value of shape \(3, 2\) is required, got .* of \(2,\)"),
    "an update of another type": (
        lambda p, i: setattr(i.update_binding[2], "value", "loss"),
        r"update_binding of 'T': a value of INT64 is required, got .* of FLOAT"),
    "initialization that reads inference": (
        lambda p, i: i.initialization.CopyFrom(
            onnx.parser.parse_graph("i () => (float[N,2] z) { z = Neg(y) }")),
        r"initialization: a value of the graph itself or an initializer .* Neg 'z', got 'y'"),
    "an output that is nowhere": (
        lambda p, i: setattr(i.algorithm.output[0], "name", "lost"),
        r"algorithm: an output that is a value .* got 'lost'"),
    "a Gradient of nothing": (
        lambda p, i: setattr(i.algorithm.node[3].attribute[2], "s", b"nil"), r"'nil'"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_breaks_the_standard_is_named(tmp_path, name):
    change, message = CASES[name]
    with pytest.raises(InvalidModelError, match=message) as caught:
        load(broken(change), tmp_path)
    assert "training.onnx" in str(caught.value)


def test_shapes_that_only_a_run_shows(tmp_path):
    proto = model()
    step = "a (float[K] t) => (float l, float[K] n) { n = Neg(t)  l = ReduceSum<keepdims = 0>(t) }"
    begin = "i () => (float[Q] z) { c = Constant<value = float[4] {1,2,3,4}>()  z = Relu(c) }"
    add(proto, step, [], {"B": "n"}, begin, {"B": "z"})
    step = load(proto, tmp_path)
    step(X, np.ones(2, np.float32))
    with pytest.raises(ShapeError, match="a state must keep its type and shape"):
        step(X, np.ones(3, np.float32))
    with pytest.raises(ShapeError, match=r"initialize: state 'B' must have shape .*2.*, got .*4"):
        step.initialize()


@pytest.mark.parametrize("size", [2**33, 2**62])
def test_huge_sizes(tmp_path, size):
    proto = broken(bind("B", "z", "initialization_binding"))
    text = f"i () => (float[K] z) {{ z = RandomNormal<shape = [{size}]>() }}"
    proto.training_info[0].initialization.CopyFrom(onnx.parser.parse_graph(text))
    step = load(proto, tmp_path)
    with pytest.raises(OutOfMemoryError, match="RandomNormal"):
        step.initialize()
    proto = model()
    fill = f"s = Constant<value = int64[1] {{{size}}}>()  c = ConstantOfShape(s)"
    add(proto, f"a () => (float[1] l) {{ {fill}  l = ReduceSum(c) }}", [], {})
    with pytest.raises(OutOfMemoryError, match="ConstantOfShape"):
        load(proto, tmp_path)(X)
    proto = model()
    empty = TensorProto(name="C", dims=[size], data_type=TensorProto.FLOAT)
    add(proto, "a () => (float l) { l = ReduceSum<keepdims = 0>(C) }", [empty], {})
    with pytest.raises(InvalidModelError, match=r"training\.onnx.*C"):
        load(proto, tmp_path)


def test_a_file_may_say_nothing_of_training(tmp_path):
    """Empty entries are the standard's defaults: nothing would be changed."""
    proto = model()
    proto.training_info.add()
    with pytest.raises(ToolkitError, match="its loss, is required"):
        load(proto, tmp_path)
    step = load(proto, tmp_path, loss="y")
    step(X)
    np.testing.assert_array_equal(step.state_dict()["W"], W)

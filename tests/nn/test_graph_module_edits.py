"""Heads, cuts, Dropout and ties of a loaded file: numbers, and what of the file changes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import toolkit as tk
from tests.nn.test_graph_module import loaded, parsed, run_elsewhere, saved
from toolkit import nn, optim
from toolkit.errors import InvalidArgumentError
from toolkit.train import TrainStep

X = np.random.default_rng(5).standard_normal((6, 4)).astype("f4")
BODY = """
  a = MatMul(x, first__weight)
  b = Add(a, first__bias)
  features = Relu(b)
"""
ROWS, COLUMNS, BIAS = "float[3, 5] head__w", "float[5, 3] head__w", "float[3] head__b"
GEMM = "Gemm(features, head__w, head__b)"
# A head of each kind: what it holds, and its nodes.
HEADS = {
    "gemm": ([ROWS, BIAS], ["y = Gemm<transB = 1>(features, head__w, head__b)"]),
    "gemm of rows": ([COLUMNS, "float[1, 3] head__b"], [f"y = {GEMM}"]),
    "gemm without bias": ([COLUMNS], ["y = Gemm(features, head__w)"]),
    "matmul": ([COLUMNS, BIAS], ["h = MatMul(features, head__w)", "y = Add(head__b, h)"]),
    "transposed": (
        [ROWS, BIAS],
        ["t = Transpose<perm = [1, 0]>(head__w)", "h = MatMul(features, t)", "y = Add(h, head__b)"],
    ),
    "softmax": ([COLUMNS, BIAS], [f"z = {GEMM}", "y = Softmax<axis = -1>(z)"]),
    "written out": (
        [COLUMNS, BIAS],
        [f"z = {GEMM}", "m = ReduceMax<axes = [1]>(z)", "s = Sub(z, m)", "e = Exp(s)",
         "o = ReduceSum(e, one)", "y = Div(e, o)"],
    ),
    "conv": (
        ["float[3, 5, 1, 1] head__w", BIAS],
        ["f = Unsqueeze(features, last)", "z = Conv(f, head__w, head__b)", "y = Squeeze(z, last)"],
    ),
}  # fmt: skip
FRESH = {"head.w", "head.b"}


def net(kind: str) -> onnx.ModelProto:
    """The network with a head of this kind, weights drawn."""
    held, nodes = HEADS[kind]
    rng = np.random.default_rng(9)
    proto = parsed("g (float[N, 4] x) => (float[N, 3] y) {" + BODY + "\n".join(nodes) + "\n}")
    for item in ("float[4, 5] first__weight", "float[5] first__bias", *held):
        dims, name = item.removeprefix("float[").split("] ")
        array = rng.standard_normal([int(d) for d in dims.split(",")]).astype("f4")
        proto.graph.initializer.append(numpy_helper.from_array(array, name.replace("__", ".")))
    for name, value in (("last", [2, 3]), ("one", [1])):
        if any(name in n.input for n in proto.graph.node):
            proto.graph.initializer.append(numpy_helper.from_array(np.array(value), name))
    proto.graph.value_info.append(onnx.helper.make_tensor_value_info("features", 1, ["N", 5]))
    return proto


def load(proto: onnx.ModelProto, **options):
    return tk.load(proto.SerializeToString(), **options)


def out(module, x=X):
    return module(tk.tensor(x)).detach().numpy()


def entries(proto: onnx.ModelProto) -> dict[str, bytes]:
    """Nodes and initializers by name, serialized."""
    found = {t.name: t.SerializeToString() for t in proto.graph.initializer}
    return found | {n.output[0] + "=": n.SerializeToString() for n in proto.graph.node}


@pytest.mark.parametrize("softmax", ["drop", "keep"])
@pytest.mark.parametrize("kind", HEADS)
def test_a_head_for_other_classes(kind, softmax):
    """Drawn as nn.Linear draws, under the old names; all else is as it was; it trains."""
    tk.manual_seed(0)
    proto = net(kind)
    module = load(proto)
    before = out(module)
    kept = module.get_parameter("first.weight")
    assert module.replace_head(classes=7, softmax=softmax) is module
    assert module.get_parameter("first.weight") is kept
    drawn = {n: p.detach().numpy() for n, p in module.named_parameters() if n.startswith("head")}
    assert set(drawn) == {n for n in FRESH if any(t.name == n for t in proto.graph.initializer)}
    for array in drawn.values():
        assert 7 in array.shape and np.abs(array).max() <= 5**-0.5
    assert drawn["head.w"].std() == pytest.approx(5**-0.5 / 3**0.5, rel=0.25)
    y = out(module)
    assert before.shape == (6, 3) and y.shape == (6, 7)
    probabilities = kind in ("softmax", "written out") and softmax == "keep"
    assert np.allclose(y.sum(1), 1) == probabilities
    np.testing.assert_allclose(run_elsewhere(module, X)[0], y, rtol=1e-4, atol=1e-6)
    declared = saved(module).graph.output[0]
    assert declared.name == "y"
    dims = declared.type.tensor_type.shape.dim
    assert (dims[0].dim_param, dims[1].dim_value) == ("N", 7)

    old, new = entries(proto), entries(saved(module))
    changed = {k for k in old if k in new and old[k] != new[k]}
    if kind not in ("transposed", "softmax", "written out"):
        assert changed == set(drawn)
        assert list(old) == list(new)
    assert {k for k in old if k.startswith(("first", "a=", "b=", "features="))} <= set(
        new
    ) - changed

    loss = nn.MSELoss() if probabilities else nn.CrossEntropyLoss()
    target = tk.tensor(np.eye(7, dtype="f4")[:6] if probabilities else np.arange(6))
    step = TrainStep(module, loss, optim.Adam(module.parameters(), lr=0.05))
    losses = [float(step(tk.tensor(X), target)[0]) for _ in range(30)]
    assert losses[-1] < 0.6 * losses[0]


def test_the_same_number_of_classes_is_drawn_anew_too():
    module = load(net("gemm"))
    old = module.get_parameter("head.w").detach().numpy().copy()
    module.replace_head(classes=3)
    assert (module.get_parameter("head.w").detach().numpy() != old).all()


def test_a_head_that_is_shared_leaves_the_others_as_they_were():
    """An embedding whose table is the classifier too."""
    module = loaded("""g (int64[N] i) => (float[N, 4] y) <float[4, 2] table = {1,2,3,4,5,6,7,8}> {
      e = Gather(table, i)
      h = Relu(e)
      y = Gemm<transB = 1>(h, table)
    }""")
    module.replace_head(classes=3)
    assert {n: tuple(p.shape) for n, p in module.named_parameters()} == {
        "table": (4, 2),
        "table_1": (3, 2),
    }
    ids = np.array([0, 3])
    np.testing.assert_allclose(run_elsewhere(module, ids)[0], out(module, ids), rtol=1e-5)


def test_a_module_as_head():
    """Its parameters are shared, its Dropout and BatchNorm train; softmax comes back at last."""
    head = nn.Sequential(
        nn.BatchNorm1d(5), nn.Linear(5, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2)
    )
    head[0].running_mean.copy_(tk.arange(5.0))
    proto = net("softmax")
    module = load(proto)
    features = module.cut(outputs="features")
    assert module.replace_head(cut="features", head=head) is module
    assert module.get_parameter("head.1.weight") is head[1].weight
    assert "head.w" not in dict(module.named_parameters())
    want = head.eval()(features(tk.tensor(X))).detach().numpy()
    np.testing.assert_allclose(out(module), want, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(run_elsewhere(module, X)[0], want, rtol=1e-4, atol=1e-5)
    assert [n.op_type for n in saved(module).graph.node].count("Dropout") == 1
    module.train()
    first, second = out(module), out(module)
    assert (first != second).any()
    assert float(head[0].running_mean[4]) != 4.0
    module.eval()
    logits = out(module)
    module.replace_head(cut="y", head=nn.Softmax(-1))
    assert module.output_names == ["y"]
    np.testing.assert_allclose(
        out(module), np.exp(logits) / np.exp(logits).sum(1, keepdims=True), rtol=1e-5
    )
    np.testing.assert_allclose(run_elsewhere(module, X)[0], out(module), rtol=1e-4, atol=1e-6)
    module.replace_head(head=nn.Linear(8, 4))  # In front of the last classifier.
    assert out(module).shape == (6, 4)
    assert "head.4.weight" not in dict(module.named_parameters())


def test_what_no_head_can_be():
    module = load(net("gemm"))
    before = module.to_proto()
    for options, message in (
        ({}, "classes=, or head="),
        ({"classes": 2, "head": nn.ReLU()}, "classes=, or head="),
        ({"classes": 2, "cut": "b"}, "classes=, or head="),
        ({"classes": 0}, "1 class or more is required, got 0"),
        ({"classes": 2, "softmax": "no"}, "'drop' or 'keep' is required, got 'no'"),
        ({"classes": 2, "output": "z"}, "the name of an output is required, got 'z'"),
        ({"cut": "feature", "head": nn.ReLU()}, "required as cut, got 'feature'.*'features'"),
    ):  # fmt: skip
        with pytest.raises(InvalidArgumentError, match=message):
            module.replace_head(**options)
    assert module.to_proto() == before
    with pytest.raises(InvalidArgumentError, match="in front of output 'y' is required"):
        loaded("g (float[2] x) => (float[2] y) { y = Relu(x) }").replace_head(classes=2)
    for nodes, message in (
        ("y = Mul(z, s)", "got Mul 'y' with 's'"),
        ("e = Exp(z)\n y = MatMul(i, e)", "got MatMul 'y' with 'i'"),
        ("y = Reshape(z, k)", "got Reshape 'y' with 'k'"),
        ("y = If(c) <then_branch = t () => (a) { a = Exp(z) }, "
         "else_branch = f () => (b) { b = Neg(z) }>", "got If 'y' with graphs inside"),
    ):  # fmt: skip
        module = loaded(
            """g (float[N, 2] x, bool c) => (float[N, 2] y)
          <float[2, 2] w = {1,2,3,4}, float[2] s = {1,2}, float[2, 2] i = {1,2,3,4},
           int64[2] k = {-1, 2}> {
          z = MatMul(x, w)\n"""
            + nodes
            + "\n}"
        )
        with pytest.raises(InvalidArgumentError, match=f"behind 'MatMul', {message}. Pass cut="):
            module.replace_head(classes=3)


def test_a_cut_is_two_modules_that_share():
    proto = net("softmax")
    module = load(proto)
    low, high = module.cut(outputs="features"), module.cut(inputs="features")
    assert (low.output_names, high.input_names) == (["features"], ["features"])
    values = out(low)
    assert values.shape == (6, 5)
    np.testing.assert_array_equal(out(high, values), out(module))
    np.testing.assert_allclose(run_elsewhere(low, X)[0], values, rtol=1e-5)
    np.testing.assert_allclose(run_elsewhere(high, values)[0], out(high, values), rtol=1e-5)
    assert {n for n, _ in low.named_parameters()} == {"first.weight", "first.bias"}
    assert {n for n, _ in high.named_parameters()} == {"head.w", "head.b"}
    step = TrainStep(high, nn.MSELoss(), optim.SGD(high.parameters(), lr=1.0))
    step(tk.tensor(values), tk.zeros(6, 3))
    np.testing.assert_array_equal(out(high, values), out(module))
    both = module.cut(outputs=["z", "features"])
    assert [tuple(y.shape) for y in both(tk.tensor(X))] == [(6, 3), (6, 5)]
    assert set(entries(saved(low)).items()) <= set(entries(proto).items())
    with pytest.raises(InvalidArgumentError, match=r"got 'feature'. Near names: 'features'"):
        module.cut(outputs="feature")
    skip = loaded(
        "g (float[2] x) => (float[2] y) { a = Relu(x) b = Tanh(a) y = Add(b, x) }".replace(
            ") ", ")\n"
        )
    )
    with pytest.raises(
        InvalidArgumentError,
        match=r"depend on \['b'\] alone, got some that read the inputs \['x'\]",
    ):
        skip.cut(inputs="b")
    assert skip.cut(inputs=["x", "b"])(tk.ones(2), tk.zeros(2)).tolist() == [1, 1]


@pytest.mark.parametrize("opset", [7, 9, 17])
def test_dropout_in_and_out_again(opset):
    proto = net("matmul")
    proto.opset_import[0].version = opset
    module = load(proto)
    plain = out(module)
    assert module.insert_dropout(0.5) is module
    module.insert_dropout(0.25, after="b").insert_dropout(0.9, after=["x"])
    np.testing.assert_array_equal(out(module), plain)
    np.testing.assert_allclose(run_elsewhere(module, X)[0], plain, rtol=1e-5)
    order = [n.op_type for n in saved(module).graph.node]
    assert order == ["Dropout", "MatMul", "Add", "Dropout", "Relu", "Dropout", "MatMul", "Add"]
    old, new = entries(proto), entries(saved(module))
    assert {k for k in old if old[k] != new[k]} == {"a=", "features=", "h="}  # Their first inputs.
    module.train()
    assert (out(module) != out(module)).any()
    again = load(saved(module)).train()  # The file remembers.
    assert (out(again) != out(again)).any()
    module.remove_dropout("x_*").remove_dropout(["b_dropout", "features*"])
    assert module.to_proto() == proto


def test_dropout_in_the_oldest_form():
    """Before opset 7 an attribute says that a node does nothing."""
    proto = parsed("g (float[N, 2] x) => (float[N, 2] y) { a = Relu(x)\n y = Tanh(a) }")
    proto.opset_import[0].version = 6
    module = load(proto).insert_dropout(0.5, after="a")
    np.testing.assert_allclose(run_elsewhere(module, X[:, :2])[0], out(module, X[:, :2]), rtol=1e-5)
    assert (out(load(saved(module)).train(), X[:, :2]) != out(module, X[:, :2])).any()


def test_dropout_before_nodes_by_operator_and_what_is_refused():
    module = load(net("conv"))
    module.insert_dropout(0.5, before=["Conv", "MatMul"])
    assert [n.op_type for n in saved(module).graph.node].count("Dropout") == 2
    with pytest.raises(InvalidArgumentError, match=r"p from 0 to 1 is required, got 1.0"):
        module.insert_dropout(1.0)
    for options in ({"before": "Gemm"}, {"after": "feature"}, {"after": "first.weight"}):
        with pytest.raises(InvalidArgumentError, match=r"is required, got \['"):
            module.insert_dropout(0.1, **options)
    module.remove_dropout()
    with pytest.raises(InvalidArgumentError, match="matches a Dropout node is required"):
        module.remove_dropout()


def test_dropout_of_the_output_keeps_its_name():
    module = loaded("g (float[N] x) => (float[N] y, float[N] z) { y = Tanh(x)\n z = Neg(y) }")
    module.insert_dropout(0.5, after="y")
    assert module.output_names == ["y", "z"]
    y, z = module.train()(tk.ones(1000))
    assert (y.numpy() > 0.5).all() and (z.numpy() == 0).any()


TWO = """g (float[N, 2] x) => (float[N, 2] y)
  <float[2, 3] a = {1,2,3,4,5,6}, float[3, 2] b = {1,4,2,5,3,6}, float[2, 3] c = {6,5,4,3,2,1}> {
  p = MatMul(x, a)
  q = MatMul(x, c)
  s = Add(p, q)
  y = MatMul(s, b)
}"""


def test_weights_are_tied_and_untied():
    module = loaded(TWO)
    x = X[:, :2]
    module.tie("a", "b")  # Its transpose.
    module.tie("a", "c")
    assert [n for n, _ in module.named_parameters()] == ["a"]
    w = np.array([[1, 2, 3], [4, 5, 6]], "f4")
    np.testing.assert_allclose(out(module, x), (x @ w * 2) @ w.T, rtol=1e-5)
    np.testing.assert_allclose(run_elsewhere(module, x)[0], out(module, x), rtol=1e-5)
    module(tk.tensor(x)).sum().backward()
    ones = np.ones((6, 2), "f4")
    want = 2 * x.T @ ones @ w + 2 * (ones.T @ (x @ w))
    np.testing.assert_allclose(module.get_parameter("a").grad.numpy(), want, rtol=1e-4)
    old, new = entries(parsed(TWO)), entries(saved(module))
    assert {k for k in old if old[k] != new.get(k)} == {"b", "c", "q="}

    names = module.untie("a")
    assert names == ["a", "a_1", "a_2"]
    assert {n for n, _ in module.named_parameters()} == set(names)
    np.testing.assert_allclose(out(module, x), (x @ w * 2) @ w.T, rtol=1e-5)
    with tk.no_grad():
        module.get_parameter("a_1").zero_()
        module.get_parameter("a_2").zero_()
    assert (out(module, x) == 0).any() and module.get_parameter("a").abs().sum().item() == 21
    np.testing.assert_allclose(run_elsewhere(module, x)[0], out(module, x), rtol=1e-5)
    with pytest.raises(
        InvalidArgumentError, match="that several nodes read is required, got 'a', which 1"
    ):
        module.untie("a")
    with pytest.raises(
        InvalidArgumentError, match=r"of one shape, .* got 'a' \(2, 3\) and 'b' \(3, 2\)"
    ):
        loaded(TWO).tie("a", "b", transposed=False)
    with pytest.raises(InvalidArgumentError, match="the name of a weight is required, got 'd'"):
        loaded(TWO).tie("a", "d")

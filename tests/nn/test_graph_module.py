"""A loaded file as a module: what its tensors are, which train, its modes, and what is saved."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import toolkit as tk
from toolkit import nn, optim
from toolkit.errors import InvalidArgumentError
from toolkit.train import TrainStep

HEAD = '<ir_version: 10, opset_import: ["" : 17]>\n'


def parsed(text: str) -> onnx.ModelProto:
    """A model; a double underscore stands for the dot that the parser does not take in names."""
    proto = onnx.parser.parse_model(HEAD + text)
    for tensor in proto.graph.initializer:
        tensor.name = tensor.name.replace("__", ".")
    for node in proto.graph.node:
        node.input[:] = [name.replace("__", ".") for name in node.input]
    return proto


def loaded(text: str, **options):
    return tk.load(parsed(text).SerializeToString(), **options)


def saved(module) -> onnx.ModelProto:
    proto = module.to_proto()
    onnx.checker.check_model(proto, full_check=True)
    return proto


def run_elsewhere(module, *inputs):
    onnxruntime = pytest.importorskip("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    text = saved(module).SerializeToString()
    session = onnxruntime.InferenceSession(text, options, ["CPUExecutionProvider"])
    names = [v.name for v in session.get_inputs()]
    return session.run(None, dict(zip(names, inputs, strict=True)))


NET = """g (float[N, 2] x) => (float[N, 3] y)
  <float[2, 4] first__weight = {1,2,3,4,5,6,7,8}, float[4] first__bias = {1,2,3,4},
   float[4, 3] head__weight = {1,0,0,0,1,0,0,0,1,1,1,1}, float[3] head__bias = {0,0,0}> {
  a = MatMul(x, first__weight)
  b = Add(a, first__bias)
  h = Tanh(b)
  y = Gemm(h, head__weight, head__bias)
}"""


def test_any_name_is_a_key_and_comes_back():
    """Names that no attribute can have, that are methods, and that begin as another one ends."""
    names = [
        "conv/w:0",
        "a.b",
        "a",
        "a.b.c",
        "forward",
        "x..y",
        ".z",
        "7",
        "freeze.w",
        "w[0]",
        "cut",
    ]
    names += ["α β", "training", "_modules.w", "bias"]
    nodes, last = [], "x"
    for i, name in enumerate(names):
        nodes.append(helper.make_node("Add", [last, name], [last := f"t{i}"]))
    tensors = [numpy_helper.from_array(np.full(2, i, "f4"), n) for i, n in enumerate(names)]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [2]) for n in ("x", last))
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y], tensors),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    module = tk.load(model.SerializeToString())
    state = module.state_dict()
    assert sorted(state) == sorted(names)
    assert {n for n, _ in module.named_parameters()} == set(names)
    for i, name in enumerate(names):
        assert module.get_parameter(name) is module.tensor_of(name)
        assert float(state[name][0]) == i
    module.load_state_dict({n: t + 1.0 for n, t in state.items()})
    assert module.training is False and callable(module.freeze)
    module.freeze("w[0]", "a.*")
    frozen = {n for n, p in module.named_parameters() if not p.requires_grad}
    assert frozen == {"w[0]", "a.b", "a.b.c"}
    after = {t.name: numpy_helper.to_array(t) for t in saved(module).graph.initializer}
    assert {n: float(a[0]) for n, a in after.items()} == {n: i + 1.0 for i, n in enumerate(names)}
    np.testing.assert_allclose(
        module(tk.tensor([0.0, 0.0])).detach().numpy(), run_elsewhere(module, np.zeros(2, "f4"))[0]
    )


def trains(module) -> set[str]:
    return {n for n, p in module.named_parameters() if p.requires_grad}


def test_what_trains_is_a_glob():
    module = loaded(NET, trainable="head.*")
    assert trains(module) == {"head.weight", "head.bias"}
    module.unfreeze()
    assert len(trains(module)) == 4
    module.freeze(["first.*", "*.bias"])
    assert trains(module) == {"head.weight"}
    module.freeze().unfreeze("first.weight")
    assert trains(module) == {"first.weight"}
    for call in (module.freeze, module.unfreeze, lambda p: loaded(NET, trainable=p)):
        with pytest.raises(InvalidArgumentError, match=r"'haed.*'. Near names: 'head\."):
            call("haed.*")
    with pytest.raises(InvalidArgumentError, match="'train' or 'frozen' is required, got 'no'"):
        loaded(NET, batch_norm="no")


def test_inputs_by_name():
    module = loaded("g (float[2] x, float[2] s) => (float[2] y) { y = Sub(x, s) }")
    assert (module.input_names, module.output_names) == (["x", "s"], ["y"])
    x, s = tk.tensor([1.0, 2.0]), tk.tensor([3.0, 5.0])
    assert module(s=s, x=x).tolist() == module(x, s).tolist() == module(x, s=s).tolist() == [-2, -3]
    for args, named in (((x,), {}), ((x, s, s), {}), ((x, s), {"s": s}), ((x,), {"t": s})):
        with pytest.raises(InvalidArgumentError, match=r"inputs \['x', 's'\] are required, got"):
            module(*args, **named)


PLACES = """g (float[N, 2] x, bool c) => (float[N, 2] y) <float[1, 2] shared = {2, 3}> {
  w = Constant<value = float[2, 2] {1, 2, 3, 4}>()
  v = Constant<value_floats = [5.0, 6.0]>()
  half = Constant<value = float {0.5}>()
  a = MatMul(x, w)
  b = Mul(a, shared)
  d = Add(b, v)
  e = Mul(d, half)
  y = If(c) <
    then_branch = t () => (float[N, 2] p) <float[2] inner = {1, 1}> {
      k = Constant<value = float[2] {7, 8}>()
      q = Mul(e, inner)
      p = Add(q, k)
    },
    else_branch = f () => (float[N, 2] p2) <float[2] inner = {2, 2}> {
      q2 = Mul(e, inner)
      p2 = Mul(q2, shared)
    }>
}"""


def test_weights_are_found_wherever_the_file_holds_them():
    """Constant nodes, inner graphs that use one name twice, and a weight of two nodes."""
    module = loaded(PLACES)
    names = {n for n, _ in module.named_parameters()}
    assert names == {"shared", "w", "v", "inner", "inner#1", "k"}
    assert module.tensor_of("half").item() == 0.5
    x = np.array([[1.0, -1.0], [2.0, 0.5]], "f4")
    for branch in (True, False):
        y = module(tk.tensor(x), tk.tensor(branch))
        want = run_elsewhere(module, x, np.array(branch))[0]
        np.testing.assert_allclose(y.detach().numpy(), want, rtol=1e-6)
        module.zero_grad()
        y.sum().backward()
        d = (x @ [[1, 2], [3, 4]] * [2, 3] + [5, 6]) * 0.5
        inner = {True: d.sum(0), False: (d * [2, 3]).sum(0)}[branch]
        name = "inner" if branch else "inner#1"
        np.testing.assert_allclose(module.get_parameter(name).grad.numpy(), inner, rtol=1e-6)
    before = parsed(PLACES)
    with tk.no_grad():
        for p in module.parameters():
            p.add_(1.0)
    after = saved(module)
    assert after != before
    y = module(tk.tensor(x), tk.tensor(False)).detach().numpy()
    np.testing.assert_allclose(y, run_elsewhere(module, x, np.array(False))[0], rtol=1e-6)
    again = tk.load(after.SerializeToString())
    for name in names:
        np.testing.assert_array_equal(
            again.tensor_of(name).detach().numpy(), module.tensor_of(name).detach().numpy()
        )
    with tk.no_grad():
        for p in again.parameters():
            p.sub_(1.0)
    assert again.to_proto() == before


MOVED = """g (float[N, 2] x, int64 turns) => (float[N, 2] y)
  <float[2, 2] a = {1, 2, 3, 4}, float[8] packed = {1, 0, 2, 1, 1, 1, 0, 3},
   float16[2] narrow = {14336, 16384}, int64[2] square = {2, 2},
   float[2, 2] rec = {0.5, 0, 0, 0.25}, bool yes = {1}> {
  at = Transpose<perm = [1, 0]>(a)
  b, c = Split(packed)
  b2 = Reshape(b, square)
  c2 = Reshape(c, square)
  wide = Cast<to = 1>(narrow)
  p = MatMul(x, at)
  q = MatMul(p, b2)
  r = MatMul(q, c2)
  s = Mul(r, wide)
  y = Loop(turns, yes, s) <body = loop (int64 i, bool go, float[N, 2] h)
      => (bool go2, float[N, 2] h2) {
    go2 = Identity(go)
    bias = Constant<value = float[2] {0.1, 0.2}>()
    m = MatMul(h, rec)
    h2 = Add(m, bias)
  }>
}"""


def test_weights_train_through_what_moves_them():
    """Transposed, split, reshaped, of another type, and in each turn of a loop: beside torch."""
    torch = pytest.importorskip("torch")
    module = loaded(MOVED)
    names = {n for n, _ in module.named_parameters()}
    assert names == {"a", "packed", "narrow", "rec", "bias"}
    x = np.array([[1.0, -1.0], [0.5, 2.0]], "f4")
    module(tk.tensor(x), tk.tensor(3)).square().sum().backward()
    w = {
        n: torch.tensor(module.get_parameter(n).detach().numpy(), requires_grad=True) for n in names
    }
    b, c = w["packed"].reshape(2, 2, 2)
    h = torch.tensor(x) @ w["a"].T @ b @ c * w["narrow"].float()
    for _ in range(3):
        h = h @ w["rec"] + w["bias"]
    h.square().sum().backward()
    for name in names:
        got, want = module.get_parameter(name).grad.numpy(), w[name].grad.numpy()
        assert got.dtype == want.dtype
        np.testing.assert_allclose(got, want, rtol=1e-3 if name == "narrow" else 1e-5)


def test_functional_call_and_scopes():
    """Other tensors for a call; dotted names are modules."""
    module = loaded(NET)
    x = tk.tensor([[0.1, 0.2]])
    zeros = {n: t * 0.0 for n, t in module.state_dict().items()}
    assert tk.func.functional_call(module, zeros, (x,)).tolist() == [[0.0] * 3]
    assert module.head.weight is module.get_parameter("head.weight")
    module.first.requires_grad_(False)
    assert trains(module) == {"head.weight", "head.bias"}


def test_arguments_are_constants_until_their_name_is_written_out():
    text = """g (float[N, 2] x) => (float[N, 2] y)
      <float low = {-1}, float high = {1}, float scalar_tensor_default = {2},
       float logit_scale = {3}, float[2, 2] mask = {0, -10000, 0, 0}> {
      a = Clip(x, low, high)
      b = Mul(a, scalar_tensor_default)
      d = Mul(b, logit_scale)
      y = Add(d, mask)
    }"""
    module = loaded(text)
    assert [n for n, _ in module.named_parameters()] == ["logit_scale"]
    assert list(module.buffers()) == []
    module.unfreeze("*")
    assert trains(module) == {"logit_scale"}
    module.unfreeze("high", "scalar_tensor_default")
    assert trains(module) == {"logit_scale", "high", "scalar_tensor_default"}
    module(tk.tensor([[0.5, 4.0], [9.0, 0.0]])).sum().backward()
    assert module.get_parameter("high").grad.item() == 2 * 2 * 3
    with pytest.raises(InvalidArgumentError, match="matches a weight is required, got 'lo'"):
        module.unfreeze("lo")


def test_an_initializer_that_is_an_input_is_a_weight():
    text = """g (float[N, 2] x, float[2] w) => (float[N, 2] y) <float[2] w = {1, 2}> {
      y = Mul(x, w)
    }"""
    module = loaded(text)
    assert module.input_names == ["x"]
    assert [n for n, _ in module.named_parameters()] == ["w"]
    assert module(tk.tensor([[3.0, 4.0]])).tolist() == [[3.0, 8.0]]
    assert [v.name for v in saved(module).graph.input] == ["x", "w"]


@pytest.mark.parametrize("made", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_are_independent(made):
    module = loaded(NET, trainable="head.*").insert_dropout(0.5)
    module.extra = nn.Linear(2, 2)
    other = made(module)
    assert trains(other) == {*trains(module)}
    with tk.no_grad():
        other.get_parameter("head.weight").zero_()
    assert module.get_parameter("head.weight").abs().sum().item() == 6
    x = tk.tensor([[0.1, 0.2]])
    assert other(x).abs().sum().item() == 0 != module(x).abs().sum().item()


BATCH_NORM = nn.Sequential(
    nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.BatchNorm2d(4, momentum=0.3, eps=1e-3),
    nn.Flatten(), nn.Linear(64, 3),
)  # fmt: skip


def batch_norm_twins(path, **options):
    """A module, and the file it was saved as."""
    tk.manual_seed(3)
    net = copy.deepcopy(BATCH_NORM)
    net(tk.randn(4, 1, 6, 6))  # So that the running statistics are no constants.
    net.save(path, tk.zeros(2, 1, 6, 6))
    return net, tk.load(path, **options)


@pytest.mark.parametrize("compiled", [False, True])
def test_batch_norm_trains_as_in_a_module(tmp_path, compiled):
    """Weights and running statistics after 3 steps, momentum and all."""
    net, file = batch_norm_twins(tmp_path / "net.onnx")
    x, t = tk.randn(5, 1, 6, 6), tk.tensor([0, 1, 2, 1, 0])
    for module in (net, file):
        optimizer = optim.SGD(module.parameters(), lr=0.1)
        if compiled:
            step = TrainStep(module, nn.CrossEntropyLoss(), optimizer)
            for _ in range(3):
                step(x, t)
        else:
            module.train()
            for _ in range(3):
                optimizer.zero_grad()
                nn.CrossEntropyLoss()(module(x), t).backward()
                optimizer.step()
        module.eval()
    want = net.state_dict()
    assert {"1.running_var", "3.running_mean"} <= set(dict(file.named_buffers()))
    for name, tensor in file.state_dict().items():
        np.testing.assert_allclose(
            tensor.numpy(), want[name].numpy(), rtol=1e-4, atol=1e-5, err_msg=name
        )
    np.testing.assert_allclose(
        run_elsewhere(file, x.numpy())[0], net(x).detach().numpy(), rtol=1e-4, atol=1e-5
    )


def test_batch_norm_that_is_frozen_keeps_its_statistics(tmp_path):
    x = tk.randn(5, 1, 6, 6)
    cases = [({"batch_norm": "frozen"}, []), ({"trainable": "5.*"}, [])]
    for options, moved in (*cases, ({"trainable": ["3.bias"]}, [3])):
        _, file = batch_norm_twins(tmp_path / "net.onnx", **options)
        before = {n: b.numpy().copy() for n, b in file.named_buffers()}
        file.train()(x)
        changed = {n for n, b in file.named_buffers() if (b.numpy() != before[n]).any()}
        assert changed == {f"{i}.running_{s}" for i in moved for s in ("mean", "var")}
    file.unfreeze("1.running_mean")  # As a weight, in the form for inference.
    file.zero_grad()
    file(x).sum().backward()
    assert file.get_parameter("1.running_mean").grad.abs().sum().item() > 0


def test_dropout_of_a_file_is_active_in_training():
    text = """g (float[N] x) => (float[N] y) <float r = {0.25}> { y = Dropout(x, r) }"""
    x = tk.ones(4000)
    module = loaded(text)
    assert module(x).tolist() == [1.0] * 4000
    y = module.train()(x).numpy()
    np.testing.assert_allclose(np.unique(y), [0, 4 / 3], rtol=1e-6)
    assert 0.2 < (y == 0).mean() < 0.3
    assert module.to_proto() == parsed(text)


def test_metadata_opset_and_order_stay(tmp_path):
    """Also nodes that stand before what they read, which loading sorts."""
    proto = parsed(NET)
    proto.producer_name, proto.doc_string, proto.model_version = "someone", "a net", 7
    proto.metadata_props.add(key="labels", value="a,b,c")
    proto.graph.node[0].doc_string = "first"
    proto.graph.initializer[0].doc_string = "weight"
    proto.graph.value_info.add().CopyFrom(helper.make_tensor_value_info("h", 1, ["N", 4]))
    nodes = [proto.graph.node[i] for i in (3, 0, 2, 1)]
    copies = [onnx.NodeProto.FromString(n.SerializeToString()) for n in nodes]
    del proto.graph.node[:]
    proto.graph.node.extend(copies)
    path = tmp_path / "net.onnx"
    with pytest.warns(match="they are sorted"):
        module = tk.load(proto.SerializeToString())
    module.save(path)
    assert path.read_bytes() == proto.SerializeToString()
    with tk.no_grad():
        module.get_parameter("first.weight").mul_(2.0)
    module.save(path)
    tuned = onnx.load(path)
    assert tuned.graph.initializer[0].doc_string == "weight"
    assert len(tuned.graph.initializer[0].float_data) == 8  # The field that held it.
    tuned.graph.initializer[0].CopyFrom(proto.graph.initializer[0])
    assert tuned == proto


def test_external_data_lies_where_it_lay(tmp_path):
    weights = np.random.default_rng(0).standard_normal((2, 300, 4)).astype("f4")
    tensors = [numpy_helper.from_array(w, f"w{i}") for i, w in enumerate(weights)]
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["a"]),
        helper.make_node("MatMul", ["x", "w1"], ["b"]),
    ]
    nodes.append(helper.make_node("Add", ["a", "b"], ["y"]))
    x, y = (helper.make_tensor_value_info(n, 1, ["N", k]) for n, k in (("x", 300), ("y", 4)))
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y], tensors),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    first = tmp_path / "net.onnx"
    onnx.save(model, first, save_as_external_data=True, location="net.onnx.data", size_threshold=16)
    data = (tmp_path / "net.onnx.data").read_bytes()
    module = tk.load(first)
    with tk.no_grad():
        module.get_parameter("w1").add_(1.0)
    module.save(tmp_path / "tuned.onnx")
    assert (tmp_path / "net.onnx.data").read_bytes() == data
    tuned = (tmp_path / "tuned.onnx.data").read_bytes()
    assert len(tuned) == len(data)
    assert tuned[:4800] == data[:4800]
    bare = onnx.load(tmp_path / "tuned.onnx", load_external_data=False)
    old = onnx.load(first, load_external_data=False)
    for a, b in zip(bare.graph.initializer, old.graph.initializer, strict=True):
        keys = ({e.key: e.value for e in t.external_data} for t in (a, b))
        assert next(keys) == {**next(keys), "location": "tuned.onnx.data"}
    whole = onnx.load(tmp_path / "tuned.onnx")
    np.testing.assert_array_equal(numpy_helper.to_array(whole.graph.initializer[1]), weights[1] + 1)
    module.save(first)  # In its own place.
    assert (tmp_path / "net.onnx.data").read_bytes() == tuned
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "net.onnx",
        "net.onnx.data",
        "tuned.onnx",
        "tuned.onnx.data",
    ]


def test_another_opset_and_a_parametrization():
    module = loaded(NET)
    x = np.array([[0.1, 0.2]], "f4")
    module.parametrize("head.weight", lambda w: w * 2.0)
    y = module(tk.tensor(x)).detach().numpy()
    np.testing.assert_allclose(run_elsewhere(module, x)[0], y, rtol=1e-6)
    module.parametrize("head.weight", None)
    assert module.to_proto() == parsed(NET)
    with pytest.raises(InvalidArgumentError, match="name of a weight is required, got 'head'"):
        module.parametrize("head", None)


def test_another_opset(tmp_path):
    module = loaded(NET)
    module.save(tmp_path / "net.onnx", opset=11)
    proto = onnx.load(tmp_path / "net.onnx")
    assert proto.opset_import[0].version == 11
    x = tk.tensor([[0.1, 0.2]])
    assert tk.load(tmp_path / "net.onnx")(x).tolist() == module(x).tolist()

"""Files with training for others: stripped, or with standard operators only."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

import toolkit as tk
from tests.cli.test_cli import call
from tests.train.test_onefile import batches, make_step
from tests.train.test_training_info import (
    HALF,
    INFERENCE,
    LOSS,
    RANDOM,
    ByHand,
    T,
    W,
    X,
    add,
    constant,
    load,
    model,
    sgd,
)
from toolkit.errors import InvalidModelError, UnsupportedOperatorError
from toolkit.graph.normalize import graphs_of
from toolkit.train import lower_training, strip_training

DOMAIN = "ai.onnx.preview.training"
RNG = np.random.default_rng(1)


def operators(proto: onnx.ModelProto) -> set[tuple[str, str]]:
    graphs = [proto.graph]
    for info in proto.training_info:
        graphs += [info.algorithm, info.initialization]
    return {(n.domain, n.op_type) for g in graphs for inner in graphs_of(g) for n in inner.node}


# -- each operator against its formula in the specification --------------------------------------


def regularized(a, x, g):
    return a.get("norm_coefficient", 0.0) * x + g


def adagrad(a, rate, time, x, g, h):
    g = regularized(a, x, g)
    h = h + g * g
    r = rate / (1 + time * a.get("decay_factor", 0.0))
    return x - r * g / (np.sqrt(h) + a.get("epsilon", 1e-6)), h


def momentum(a, rate, time, x, g, v):
    g = regularized(a, x, g)
    v = a["alpha"] * v + (a["beta"] if time > 0 else 1.0) * g
    return x - rate * (g + a["alpha"] * v if a["mode"] == "nesterov" else v), v


def adam(a, rate, time, x, g, v, h):
    g = regularized(a, x, g)
    alpha, beta = a.get("alpha", 0.9), a.get("beta", 0.999)
    v = alpha * v + (1 - alpha) * g
    h = beta * h + (1 - beta) * g * g
    r = rate * np.sqrt(1 - beta**time) / (1 - alpha**time) if time > 0 else rate
    x = x - r * v / (np.sqrt(h) + a.get("epsilon", 1e-6))
    return (1 - a.get("norm_coefficient_post", 0.0)) * x, v, h


OPTIMIZERS = {
    "Adagrad": (adagrad, {}),
    "Adagrad with all": (
        adagrad, {"norm_coefficient": 0.25, "decay_factor": 0.125, "epsilon": 0.5}),
    "Momentum": (
        momentum, {"alpha": 0.75, "beta": 0.5, "mode": "standard", "norm_coefficient": 0.0}),
    "Momentum nesterov": (
        momentum, {"alpha": 0.75, "beta": 0.5, "mode": "nesterov", "norm_coefficient": 0.25}),
    "Adam": (adam, {}),
    "Adam with all": (adam, {"alpha": 0.75, "beta": 0.5, "epsilon": 0.5, "norm_coefficient": 0.25,
                             "norm_coefficient_post": 0.125}),
}  # fmt: skip


@pytest.mark.parametrize("opset", [11, 17, 21])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name, opset):
    """Two tensors at once, at the first time and at a later one, in onnxruntime."""
    formula, attributes = OPTIMIZERS[name]
    kinds = 4 if formula is adam else 3
    shapes = [(2, 3), (4,)]
    values = [[RNG.uniform(0.1, 1, s).astype(np.float32) for s in shapes] for _ in range(kinds)]
    feed = {f"v{k}_{i}": v for k, row in enumerate(values) for i, v in enumerate(row)}
    outputs = [f"n{k}_{i}" for k in [0, *range(2, kinds)] for i in range(2)]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node(
                name.split()[0], ["R", "T", *feed], outputs, domain=DOMAIN, **attributes
            )
        ],
        "g",
        [info("R", 1, []), info("T", 7, []), *(info(k, 1, v.shape) for k, v in feed.items())],
        [info(k, 1, None) for k in outputs],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid(DOMAIN, 1)]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    before = proto.SerializeToString()
    lowered = lower_training(proto)
    assert proto.SerializeToString() == before
    assert {d for d, _ in operators(lowered)} == {""}
    assert [(e.domain, e.version) for e in lowered.opset_import] == [("", opset)]
    onnx.checker.check_model(lowered, full_check=True)
    session = onnxruntime.InferenceSession(lowered.SerializeToString())
    for time in (0, 3):
        scalars = {"R": np.array(0.1, np.float32), "T": np.array(time, np.int64)}
        got = dict(zip(outputs, session.run(outputs, scalars | feed), strict=True))
        for i in range(2):
            parts = [row[i].astype(np.float64) for row in values]
            want = formula(attributes, 0.1, time, *parts)
            for k, value in zip([0, *range(2, kinds)], want, strict=True):
                np.testing.assert_allclose(got[f"n{k}_{i}"], value, 1e-5, 1e-6)


def test_gradients_of_gradients():
    """Y = sum(x^3): 3 x^2, 6 x; a Gradient in a branch too."""
    proto = onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["" : 17, "{DOMAIN}" : 1]>
        g (float[3] x) => (float[3] d, float[3] dd, float[3] z) {{
          q = Mul(x, x)  c = Mul(q, x)  y = ReduceSum<keepdims = 0>(c)
          d = {DOMAIN}.Gradient<xs = ["x"], y = "y">(x)
          dd = {DOMAIN}.Gradient<xs = ["x"], y = "d">(x)
          zero = Constant<value = float {{0}}>()  b = Greater(y, zero)
          z = If (b) <then_branch = t () => (float[3] o) {{ o = Identity(d) }},
                      else_branch = e () => (float[3] o2) {{
                        h = Tanh(x)  s = ReduceSum<keepdims = 0>(h)
                        o2 = {DOMAIN}.Gradient<xs = ["x"], y = "s">(x) }}>
        }}"""
    )
    lowered = lower_training(proto)
    assert not [o for o in operators(lowered) if o[0]]
    x = np.array([-1, 0.5, -2], np.float32)
    session = onnxruntime.InferenceSession(lowered.SerializeToString())
    d, dd, z = session.run(None, {"x": x})
    np.testing.assert_allclose(d, 3 * x * x, 1e-6)
    np.testing.assert_allclose(dd, 6 * x, 1e-6)
    np.testing.assert_allclose(z, 1 - np.tanh(x) ** 2, 1e-5)


def test_optimizers_in_functions():
    proto = onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["" : 17, "my" : 1, "{DOMAIN}" : 1]>
        g (float[2] x, float[2] g, float[2] h) => (float[2] a, float[2] b) {{
          R = Constant<value = float {{0.5}}>()  T = Constant<value = int64 {{0}}>()
          a, b = my.step(R, T, x, g, h)
        }}
        <domain: "my", opset_import: ["" : 17, "{DOMAIN}" : 1]>
        step (R, T, x, g, h) => (a, b) {{ a, b = {DOMAIN}.Adagrad(R, T, x, g, h) }}"""
    )
    lowered = lower_training(proto)
    assert not [o for o in operators(lowered) if o[0]] and not lowered.functions
    x, g, h = np.array([[1, 2], [0.5, -1], [1, 0]], np.float32)
    feed = {"x": x, "g": g, "h": h}
    a, b = onnxruntime.InferenceSession(lowered.SerializeToString()).run(None, feed)
    want = adagrad({}, 0.5, 0, x, g, h)
    np.testing.assert_allclose(a, want[0], 1e-5)
    np.testing.assert_allclose(b, want[1], 1e-5)


# -- training_info -------------------------------------------------------------------------------


def test_training_info_keeps_its_names_and_trains_alike(tmp_path):
    proto = sgd()
    info = proto.training_info[0]
    info.initialization.CopyFrom(onnx.parser.parse_graph(RANDOM))
    info.initialization_binding.add(key="W", value="W0")
    info.algorithm.doc_string = "one step"
    lowered = lower_training(proto)
    onnx.checker.check_model(lowered, full_check=True)
    assert {d for d, _ in operators(lowered)} == {""}
    (new,) = lowered.training_info
    assert new.update_binding == info.update_binding
    assert new.initialization_binding == info.initialization_binding
    assert new.algorithm.doc_string == "one step"
    assert [v.name for v in new.algorithm.output] == [v.name for v in info.algorithm.output]
    assert {t.name for t in new.algorithm.initializer} == {"R", "T"}
    assert [v.name for v in new.algorithm.input] == ["t"]
    assert [v.name for v in lowered.graph.input] == ["x"]
    assert {t.name for t in lowered.graph.initializer} == {"W", "B"}
    assert [n.op_type for n in lowered.graph.node] == ["MatMul", "Add"]
    step, old, hand = load(lowered, tmp_path), load(proto, tmp_path), ByHand()
    for _ in range(4):
        loss = float(step(X, T)[0])
        assert loss == pytest.approx(hand.step(), rel=1e-5)
        assert loss == pytest.approx(float(old(X, T)[0]), rel=1e-6)
    for one in (step, old):
        one.initialize()
    np.testing.assert_array_equal(step.state_dict()["W"], old.state_dict()["W"])


def test_several_entries_stay_apart(tmp_path):
    proto = model()
    for key, other, shape, rate in (("W", "B", "3,2", 0.3), ("B", "W", "2", 0.7)):
        text = HALF.format(key=key, other=other, shape=shape, loss=LOSS)
        add(proto, text, [constant("R", rate)], {key: "new"})
    lowered = lower_training(proto)
    assert {d for d, _ in operators(lowered)} == {""}
    assert [[o.name for o in i.algorithm.output] for i in lowered.training_info] == [
        ["loss", "new"]
    ] * 2
    assert [[t.name for t in i.algorithm.initializer] for i in lowered.training_info] == [["R"]] * 2
    a, b = load(lowered, tmp_path), load(proto, tmp_path)
    for _ in range(3):
        assert float(a(X, T)[0]) == pytest.approx(float(b(X, T)[0]), rel=1e-6)


def test_what_cannot_be_lowered_is_named():
    text = INFERENCE.replace("y = Add(xw, B)", f"y = {DOMAIN}.Unknown(xw, B)")
    with pytest.raises((UnsupportedOperatorError, InvalidModelError), match="Unknown"):
        lower_training(model(text))
    with pytest.raises(InvalidModelError, match="lower_training, training_info"):
        proto = sgd()
        proto.training_info[0].update_binding.add(key="W", value="nil")
        lower_training(proto)


# -- strip ---------------------------------------------------------------------------------------


def test_strip_leaves_inference_as_it_was(tmp_path):
    step = make_step()
    ((x, y),) = batches(1)
    step(x, y)
    path, out = tmp_path / "m.onnx", tmp_path / "bare.onnx"
    step.save(path, metadata={"author": "me", "toolkit.trainer": "{}"})
    strip_training(path, out)
    full, bare = onnx.load(path), onnx.load(out)
    onnx.checker.check_model(bare, full_check=True)
    assert bare.graph == full.graph
    assert not bare.training_info and not bare.functions
    assert [e.key for e in bare.metadata_props] == ["author"]
    assert [e.domain for e in bare.opset_import] == [""]
    assert out.stat().st_size < path.stat().st_size / 2
    (got,) = onnxruntime.InferenceSession(out).run(None, {"x": x})
    np.testing.assert_allclose(got, step.predict(x)[0], 1e-5, 1e-5)
    strip_training(path, path)
    assert path.read_bytes() == out.read_bytes()
    strip_training(path, path)
    assert path.read_bytes() == out.read_bytes()


def test_strip_keeps_functions_that_inference_calls(tmp_path):
    text = """<ir_version: 8, opset_import: ["" : 17, "toolkit.x" : 1, "my" : 1]>
      g (float[3] x) => (float[3] y) { y = my.f(x) }
      <domain: "my", opset_import: ["" : 17, "toolkit.x" : 1]> f (a) => (b) { b = toolkit.x.h(a) }
      <domain: "toolkit.x", opset_import: ["" : 17]> h (a) => (b) { b = Neg(a) }
      <domain: "toolkit.x", opset_import: ["" : 17]> k (a) => (b) { b = Abs(a) }"""
    (tmp_path / "m.onnx").write_bytes(onnx.parser.parse_model(text).SerializeToString())
    strip_training(tmp_path / "m.onnx", tmp_path / "m.onnx")
    bare = onnx.load(tmp_path / "m.onnx")
    onnx.checker.check_model(bare)
    assert [f.name for f in bare.functions] == ["f", "h"]


def test_a_loaded_module_that_was_changed_is_saved_without_the_training(tmp_path):
    step = make_step()
    ((x, y),) = batches(1)
    step(x, y)
    step.save(tmp_path / "m.onnx")
    loaded = tk.load(tmp_path / "m.onnx")
    loaded.save(tmp_path / "same.onnx")
    assert (tmp_path / "same.onnx").read_bytes() == (tmp_path / "m.onnx").read_bytes()
    with tk.no_grad():
        next(loaded.parameters()).mul_(2)
    loaded.save(tmp_path / "changed.onnx")
    changed = onnx.load(tmp_path / "changed.onnx")
    assert not changed.training_info and not changed.functions and not changed.metadata_props
    assert [e.domain for e in changed.opset_import] == [""]


# -- the command ---------------------------------------------------------------------------------


def test_commands(tmp_path):
    proto = sgd()
    source, target = str(tmp_path / "m.onnx"), str(tmp_path / "o.onnx")
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    assert call("convert", source, target, "--lower-training")[0] == 0
    lowered = onnx.load(target)
    assert {d for d, _ in operators(lowered)} == {""} and len(lowered.training_info) == 1
    assert call("convert", source, target, "--strip-training")[0] == 0
    assert onnx.load(target).graph == proto.graph
    assert call("convert", source, target, "--lower-training", "--opset", "19")[0] == 0
    assert onnx.load(target).opset_import[0].version == 19
    code, _ = call("convert", source, target, "--strip-training", "--opset", "20", "--inline")
    assert code == 0
    bare = onnx.load(target)
    assert bare.opset_import[0].version == 20 and not bare.training_info
    (got,) = onnxruntime.InferenceSession(target).run(None, {"x": X})
    np.testing.assert_allclose(got, X @ W, 1e-5, 1e-6)

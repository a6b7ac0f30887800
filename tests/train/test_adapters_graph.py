"""LoRA and DoRA on loaded files, beside onnxruntime with the adapted weight written by hand."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import toolkit as tk
from tests.tolerances import FORWARD
from toolkit import errors, nn, optim
from toolkit.train import TrainStep, load_adapters, lora, merge, save_adapters
from toolkit.train.adapters import formula

RTOL, ATOL = (2 * t for t in FORWARD["float32"])
R, ALPHA = 2, 6
N = helper.make_node


def file(nodes, weights, x, output_rank, opset=17, functions=()):
    """A model of these nodes from x to y."""
    kind = helper.np_dtype_to_tensor_dtype(x.dtype)
    shape = ["N", *x.shape[1:]]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * output_rank)],
        [numpy_helper.from_array(np.asarray(w), name) for name, w in weights.items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    opsets += [helper.make_opsetid(f.domain, 1) for f in functions]
    proto = helper.make_model(
        graph, opset_imports=opsets, producer_name="someone", functions=functions
    )
    proto.ir_version = 8
    helper.set_model_props(proto, {"author": "me"})
    onnx.checker.check_model(proto)
    return proto


def run(proto, x):
    options = onnxruntime.SessionOptions()
    # It would multiply quantized weights with fewer bits.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    return session.run(None, {"x": x})[0]


def draw(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32) * 0.5


# Each case: nodes, weights, x, rank of y; then the name of the adapted weight, its path in the
# model, and how it is made of (out, in).
def product(rng):
    nodes = [N("MatMul", ["x", "w"], ["m"], "/block/query/MatMul"), N("Add", ["m", "b"], ["y"])]
    weights = {"w": draw(rng, 6, 5), "b": draw(rng, 5)}
    return (nodes, weights, draw(rng, 3, 4, 6), 3), "w", "block.query.MatMul", np.transpose


def transposed(rng):
    nodes = [N("Transpose", ["fc.weight"], ["t"]), N("MatMul", ["x", "t"], ["y"])]
    return (nodes, {"fc.weight": draw(rng, 5, 6)}, draw(rng, 3, 6), 2), "fc.weight", "fc", np.copy


def left(rng):
    nodes = [N("MatMul", ["w", "x"], ["y"])]
    return (nodes, {"w": draw(rng, 5, 6)}, draw(rng, 2, 6, 3), 3), "w", "adapters.w", np.copy


def gemm(rng):
    nodes = [N("Gemm", ["x", "fc.weight", "c"], ["y"], transB=1)]
    weights = {"fc.weight": draw(rng, 5, 6), "c": draw(rng, 5)}
    return (nodes, weights, draw(rng, 3, 6), 2), "fc.weight", "fc", np.copy


def gemm_of_all_attributes(rng):
    nodes = [N("Gemm", ["x", "w", "c"], ["y"], "g", alpha=0.5, beta=3.0, transA=1)]
    weights = {"w": draw(rng, 4, 5), "c": draw(rng, 1)}
    return (nodes, weights, draw(rng, 4, 3), 2), "w", "g", np.transpose


def conv(rng):
    nodes = [
        N("Conv", ["x", "c.weight", "c.bias"], ["y"], group=2, strides=[2, 1], dilations=[1, 2],
          pads=[1, 0, 1, 2]),
    ]  # fmt: skip
    weights = {"c.weight": draw(rng, 6, 2, 3, 3), "c.bias": draw(rng, 6)}
    return (nodes, weights, draw(rng, 2, 4, 7, 8), 4), "c.weight", "c", np.copy


def gather(rng):
    nodes = [N("Gather", ["table", "x"], ["y"], "/embed/Gather")]
    x = rng.integers(0, 7, (3, 4))
    return (nodes, {"table": draw(rng, 7, 5)}, x, 3), "table", "embed.Gather", np.transpose


def read_twice(rng):
    nodes = [
        N("MatMul", ["x", "w"], ["h"], "first"),
        N("Tanh", ["h"], ["t"]),
        N("MatMul", ["t", "w"], ["y"], "second"),
    ]
    return (nodes, {"w": draw(rng, 6, 6)}, draw(rng, 3, 6), 2), "w", "first", np.transpose


CASES = [product, transposed, left, gemm, gemm_of_all_attributes, conv, gather, read_twice]


def by_hand(weight, state, stem, matrix, dora):
    """The adapted weight, in numpy and in the layout of the file."""
    table = f"{stem}.lora_embedding_A" in state
    names = ("lora_embedding_{}" if table else "lora_{}.weight").format
    a, b = (state[f"{stem}.{names(factor)}"].astype(np.float64) for factor in "AB")
    groups = a.shape[0] // R
    w = matrix(weight).astype(np.float64)  # (out, in, ...).
    pairs = zip(np.split(a, groups), np.split(b, groups), strict=True)
    update = [v.reshape(len(v), R) @ u.reshape(R, -1) for u, v in pairs]
    moved = w + ALPHA / R * np.concatenate(update).reshape(w.shape)
    if dora:
        flat = moved.reshape(len(w), -1)
        flat *= (state[f"{stem}.lora_magnitude_vector"] / np.linalg.norm(flat, axis=1))[:, None]
    return (moved if matrix is np.copy else moved.T).astype(np.float32)


@pytest.mark.parametrize("dora", [False, True], ids=["lora", "dora"])
@pytest.mark.parametrize(("case", "wide"), [*((c, 16) for c in CASES), (conv, 0)])
def test_beside_onnxruntime(case, wide, dora, rng, tmp_path, monkeypatch):
    """Adapted, saved with adapters, merged: all are the file with the weight made by hand."""
    monkeypatch.setattr(formula, "_WIDE", wide)  # 0: convolutions apply the factors.
    parts, name, stem, matrix = case(rng)
    original, x = file(*parts), parts[2]
    model = lora(tk.load(original.SerializeToString()), R, ALPHA, targets=name, dora=dora)
    y0 = run(original, x)
    np.testing.assert_allclose(model(tk.tensor(x)).detach().numpy(), y0, RTOL, ATOL)
    factors = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert factors and all(n.startswith(f"{stem}.lora_") for n in factors)
    step = TrainStep(model, nn.MSELoss(), optim.Adam(model.parameters(), lr=0.05))
    goal = tk.tensor(rng.standard_normal(y0.shape).astype(np.float32))
    losses = [float(step(tk.tensor(x), goal)[0]) for _ in range(5)]
    assert losses[-1] < losses[0]
    changed = onnx.ModelProto()
    changed.CopyFrom(original)
    state = {n: p.detach().numpy() for n, p in factors.items()}
    for tensor in changed.graph.initializer:
        if tensor.name == name:
            w = by_hand(numpy_helper.to_array(tensor), state, stem, matrix, dora)
            tensor.CopyFrom(numpy_helper.from_array(w, name))
    want = run(changed, x)
    assert np.abs(want - y0).max() > 1e-2
    np.testing.assert_allclose(model(tk.tensor(x)).detach().numpy(), want, RTOL, ATOL)

    model.save(tmp_path / "unmerged.onnx")
    unmerged = onnx.load(tmp_path / "unmerged.onnx")
    onnx.checker.check_model(unmerged, full_check=True)
    np.testing.assert_allclose(run(unmerged, x), want, RTOL, ATOL)
    stored = {t.name: numpy_helper.to_array(t) for t in unmerged.graph.initializer}
    for kept in original.graph.initializer:
        np.testing.assert_array_equal(stored[kept.name], numpy_helper.to_array(kept))
    assert factors.keys() <= stored.keys()
    assert unmerged.opset_import[0].version == 17 and not unmerged.functions
    assert unmerged.graph.input == original.graph.input
    assert unmerged.metadata_props == original.metadata_props
    assert unmerged.producer_name == "someone"
    again = tk.load(tmp_path / "unmerged.onnx")
    np.testing.assert_allclose(again(tk.tensor(x)).detach().numpy(), want, RTOL, ATOL)

    save_adapters(model, tmp_path / "adapters.onnx")
    twin = load_adapters(tk.load(original.SerializeToString()), tmp_path / "adapters.onnx")
    np.testing.assert_array_equal(
        twin(tk.tensor(x)).detach().numpy(), model(tk.tensor(x)).detach().numpy()
    )
    merge(model)
    assert type(model).__name__ == "GraphModule"
    model.save(tmp_path / "merged.onnx")
    merged = onnx.load(tmp_path / "merged.onnx")
    np.testing.assert_allclose(run(merged, x), want, RTOL, ATOL)
    for tensor in merged.graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(next(t for t in original.graph.initializer if t.name == name))
    assert merged == original  # But for that weight, the file as it was.


def test_a_quantized_weight(rng, tmp_path):
    """The adapter is on the result of DequantizeLinear; merged, the weight is rounded again."""
    nodes = [
        N("DequantizeLinear", ["q", "scale", "zero"], ["w"], "dequantize", axis=1),
        N("MatMul", ["x", "w"], ["y"], "fc"),
    ]
    weights = {
        "q": rng.integers(-127, 127, (6, 5), dtype=np.int8),
        "scale": np.full(5, 0.01, np.float32),
        "zero": np.zeros(5, np.int8),
    }
    x = draw(rng, 3, 6)
    original = file(nodes, weights, x, 2)
    for dora in (False, True):
        model = lora(tk.load(original.SerializeToString()), R, dora=dora)
        assert {n for n, p in model.named_parameters() if p.requires_grad} >= {
            "fc.lora_A.weight",
            "fc.lora_B.weight",
        }
        step = TrainStep(model, nn.MSELoss(), optim.Adam(model.parameters(), lr=0.05))
        for _ in range(3):
            step(tk.tensor(x), tk.zeros(3, 5))
        model.save(tmp_path / "unmerged.onnx")
        want = model(tk.tensor(x)).detach().numpy()
        np.testing.assert_allclose(run(onnx.load(tmp_path / "unmerged.onnx"), x), want, RTOL, ATOL)
        assert np.abs(want - run(original, x)).max() > 1e-2
        merge(model).save(tmp_path / "merged.onnx")
        merged = onnx.load(tmp_path / "merged.onnx")
        assert merged.graph.initializer[0].data_type == TensorProto.INT8
        assert merged.graph.node == original.graph.node
        np.testing.assert_allclose(run(merged, x), want, atol=0.005 * np.abs(x).sum(1).max())


def test_float16_weights(rng, tmp_path):
    """Behind a Cast; the factors are float32, the merged weight float16 again."""
    nodes = [N("Cast", ["fc.weight"], ["w"], to=1), N("MatMul", ["x", "w"], ["y"])]
    x = draw(rng, 3, 6)
    original = file(nodes, {"fc.weight": draw(rng, 6, 5).astype(np.float16)}, x, 2)
    model = lora(tk.load(original.SerializeToString()), R, dora=True)
    assert model.get_parameter("fc.lora_A.weight").dtype is tk.float32
    step = TrainStep(model, nn.MSELoss(), optim.Adam(model.parameters(), lr=0.05))
    for _ in range(3):
        step(tk.tensor(x), tk.zeros(3, 5))
    want = model(tk.tensor(x)).detach().numpy()
    merge(model).save(tmp_path / "merged.onnx")
    merged = onnx.load(tmp_path / "merged.onnx")
    assert merged.graph.initializer[0].data_type == TensorProto.FLOAT16
    np.testing.assert_allclose(run(merged, x), want, *FORWARD["float16"])


def test_targets_and_what_can_hold_no_adapter(rng):
    """Globs over weights and nodes; a weight that is read in two ways is left alone."""
    body = helper.make_graph(
        [N("MatMul", ["x", "inner"], ["z"], "inside")],
        "then",
        [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
    )
    nodes = [
        N("MatMul", ["x", "enc.0.q.weight"], ["a"], "/enc/0/q/MatMul"),
        N("MatMul", ["x", "enc.1.q.weight"], ["b"], "/enc/1/q/MatMul"),
        N("MatMul", ["x", "both"], ["c"]),
        N("Relu", ["both"], ["d"]),
        N("MatMul", ["x", "d"], ["e"]),
        N("If", ["flag"], ["f"], then_branch=body, else_branch=body),
        N("Sum", ["a", "b", "c", "e", "f"], ["y"]),
    ]
    weights = {n: draw(rng, 4, 4) for n in ("enc.0.q.weight", "enc.1.q.weight", "both", "inner")}
    weights["flag"] = np.array(True)
    text = file(nodes, weights, draw(rng, 2, 4), 2).SerializeToString()

    def adapted(targets, **options):
        model = lora(tk.load(text), R, targets=targets, **options)
        names = [n for n, p in model.named_parameters() if p.requires_grad]
        return sorted({n.split(".lora")[0] for n in names})

    both = ["enc.0.q", "enc.1.q"]
    assert adapted("all-linear") == adapted("*") == [*both, "inside"]
    assert adapted("q") == adapted("enc.*") == both
    assert adapted("/enc/1/*") == adapted("1.q.weight") == adapted("1.q.MatMul") == ["enc.1.q"]
    assert adapted(["*"], exclude=["enc.0.*", "inner"]) == ["enc.1.q"]
    with pytest.raises(errors.InvalidArgumentError, match=r"'both'. Near names: "):
        lora(tk.load(text), targets="both")


def test_a_part_of_a_larger_module(rng, tmp_path):
    """A loaded model below a module of ours: adapters in both, exported and merged as one."""
    parts, *_ = gemm(rng)
    x = tk.tensor(parts[2])
    tk.manual_seed(0)
    model = nn.Sequential(tk.load(file(*parts).SerializeToString()), nn.ReLU(), nn.Linear(5, 3))
    lora(model, R, dropout=0.1)
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert trained == {f"{s}.lora_{f}.weight" for s in ("0.fc", "2") for f in "AB"}
    step = TrainStep(model, nn.MSELoss(), optim.Adam(model.parameters(), lr=0.05))
    for _ in range(3):
        step(x, tk.zeros(3, 3))
    model.eval()
    want = model(x).detach().numpy()
    model.save(tmp_path / "model.onnx", inputs=x)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    np.testing.assert_allclose(session.run(None, {"input": x.numpy()})[0], want, RTOL, ATOL)
    save_adapters(model, tmp_path / "adapters.onnx")
    merge(model)
    np.testing.assert_allclose(model(x).detach().numpy(), want, RTOL, ATOL)
    assert {n for n, _ in model.named_parameters()} == {"0.fc.weight", "0.c", "2.weight", "2.bias"}


def test_edits_and_copies(rng, tmp_path):
    """Adapters stay where they are when the model is edited, cut or copied."""
    nodes = [
        N("Gemm", ["x", "a.weight", "a.bias"], ["h"], "a", transB=1),
        N("Relu", ["h"], ["r"]),
        N("Gemm", ["r", "b.weight", "b.bias"], ["y"], "b", transB=1),
    ]
    weights = {"a.weight": draw(rng, 8, 6), "a.bias": draw(rng, 8), "b.weight": draw(rng, 5, 8)}
    x = draw(rng, 3, 6)
    original = file(nodes, weights | {"b.bias": draw(rng, 5)}, x, 2)
    model = lora(tk.load(original.SerializeToString()), R)
    for p in model.parameters():
        if p.requires_grad:
            nn.init.normal_(p)
    want = model(tk.tensor(x)).detach().numpy()
    twin = copy.deepcopy(model)
    np.testing.assert_array_equal(twin(tk.tensor(x)).detach().numpy(), want)
    nn.init.zeros_(twin.get_parameter("a.lora_B.weight"))
    np.testing.assert_array_equal(model(tk.tensor(x)).detach().numpy(), want)
    np.testing.assert_allclose(merge(twin)(tk.tensor(x)).detach().numpy()[0, 0], want[0, 0], 10)

    body, head = model.cut(outputs="r"), model.cut(inputs="r")
    assert body.get_parameter("a.lora_A.weight") is model.get_parameter("a.lora_A.weight")
    parts = head(body(tk.tensor(x))).detach().numpy()
    np.testing.assert_allclose(parts, want, RTOL, ATOL)
    body.save(tmp_path / "body.onnx")
    found = run(onnx.load(tmp_path / "body.onnx"), x)
    np.testing.assert_allclose(found, body(tk.tensor(x)).detach().numpy(), RTOL, ATOL)

    model.insert_dropout(0.5, after="r")
    np.testing.assert_array_equal(model(tk.tensor(x)).detach().numpy(), want)
    model.remove_dropout().replace_head(classes=2)  # Its adapter is for the shape that was.
    assert [n for n, p in model.named_parameters() if "lora" in n and p.requires_grad] == [
        "a.lora_A.weight",
        "a.lora_B.weight",
    ]
    want = model(tk.tensor(x)).detach().numpy()
    assert want.shape == (3, 2)
    merge(model).save(tmp_path / "merged.onnx")
    np.testing.assert_allclose(run(onnx.load(tmp_path / "merged.onnx"), x), want, RTOL, ATOL)


@pytest.mark.filterwarnings("ignore:::torch")
@pytest.mark.parametrize("dynamo", [False, True], ids=["script", "dynamo"])
def test_a_transformer_that_torch_exported(rng, tmp_path, dynamo):
    """Every projection trains by DoRA; the file with adapters and the merged one agree."""
    import torch

    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.0)
    net = torch.nn.Sequential(torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False))
    with torch.no_grad():
        for p in net.parameters():
            p.add_(torch.randn_like(p) * 0.1)  # The layers are copies of one.
    x = draw(rng, 3, 5, 16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net.eval(), (torch.tensor(x),), tmp_path / "net.onnx", input_names=["x"],
            dynamo=dynamo, opset_version=17 if not dynamo else 18,
        )  # fmt: skip
    model = lora(tk.load(tmp_path / "net.onnx"), R, ALPHA, dora=True)
    factors = [n for n, p in model.named_parameters() if p.requires_grad]
    assert len(factors) == 2 * 4 * 3  # Layers; in, out, two of the feed-forward part; A, B, m.
    step = TrainStep(model, nn.MSELoss(), optim.AdamW(model.parameters(), lr=0.02))
    goal = tk.tensor(rng.standard_normal(x.shape).astype(np.float32))
    losses = [float(step(tk.tensor(x), goal)[0]) for _ in range(8)]
    assert losses[-1] < 0.9 * losses[0]
    model.save(tmp_path / "unmerged.onnx")
    want = model(tk.tensor(x)).detach().numpy()
    near = {"rtol": 10 * RTOL, "atol": 10 * ATOL}
    np.testing.assert_allclose(run(onnx.load(tmp_path / "unmerged.onnx"), x), want, **near)
    merge(model).save(tmp_path / "merged.onnx")
    np.testing.assert_allclose(run(onnx.load(tmp_path / "merged.onnx"), x), want, **near)


@pytest.mark.parametrize("case", [gemm, conv, gather])
def test_an_old_opset(case, rng, tmp_path):
    """The nodes of the adapters are written as the file's opset has them."""
    parts = case(rng)[0]
    x = parts[2]
    model = lora(tk.load(file(*parts, opset=9).SerializeToString()), R, targets="*", dora=True)
    for p in model.parameters():
        if p.requires_grad:
            nn.init.uniform_(p, 0.1, 0.5)
    model.save(tmp_path / "unmerged.onnx")
    unmerged = onnx.load(tmp_path / "unmerged.onnx")
    assert unmerged.opset_import[0].version == 9
    want = model(tk.tensor(x)).detach().numpy()
    np.testing.assert_allclose(run(unmerged, x), want, RTOL, ATOL)


def test_a_weight_inside_a_function(rng, tmp_path):
    """It trains and merges; nodes cannot be written into the function of a file."""
    function = helper.make_function(
        "mine", "Dense", ["a", "w"], ["b"],
        [N("MatMul", ["a", "w"], ["t"], "fc"), N("Relu", ["t"], ["b"])],
        [helper.make_opsetid("", 17)],
    )  # fmt: skip
    x = draw(rng, 3, 6)
    weights = {"w": draw(rng, 6, 5)}
    original = file([N("Dense", ["x", "w"], ["h"], domain="mine"), N("Neg", ["h"], ["y"])],
                    weights, x, 2, functions=[function])  # fmt: skip
    model = lora(tk.load(original.SerializeToString()), R)
    for p in model.parameters():
        if p.requires_grad:
            nn.init.normal_(p)
    want = model(tk.tensor(x)).detach().numpy()
    assert np.abs(want - run(original, x)).max() > 1e-2
    with pytest.raises(errors.UnsupportedOperatorError, match="Merge the adapters first"):
        model.save(tmp_path / "unmerged.onnx")
    merge(model).save(tmp_path / "merged.onnx")
    np.testing.assert_allclose(run(onnx.load(tmp_path / "merged.onnx"), x), want, RTOL, ATOL)


def test_a_step_for_onnxruntime(rng, tmp_path):
    """A step with adapters and Dropout, exported flat, trains the same in onnxruntime."""
    parts, *_ = gemm(rng)
    x, y = parts[2], rng.standard_normal((3, 5)).astype(np.float32)
    model = lora(tk.load(file(*parts).SerializeToString()), R, dropout=0.3, dora=True)
    step = TrainStep(model, nn.MSELoss(), optim.AdamW(model.parameters(), lr=0.05))
    step.prepare(tk.tensor(x), tk.tensor(y))
    tk.export_train_step(tmp_path / "step.onnx", step)
    session = onnxruntime.InferenceSession(tmp_path / "step.onnx")
    names = [v.name for v in session.get_outputs()]
    first = [v.name for v in session.get_inputs()][:3]
    feeds = dict(zip(first, (x, y, np.array(0.05, np.float32)), strict=True))
    for _ in range(4):
        found = dict(zip(names, session.run(None, feeds), strict=True))
        feeds |= {n.removesuffix(".next"): v for n, v in found.items() if n.endswith(".next")}
        loss = float(step(tk.tensor(x), tk.tensor(y))[0])
        np.testing.assert_allclose(found[names[0]], loss, 1e-5)
    assert sorted(n for n in feeds if "weight" in n and not n.startswith("optimizer")) == [
        "fc.lora_A.weight",
        "fc.lora_B.weight",
    ]


@pytest.mark.parametrize("dora", [False, True], ids=["lora", "dora"])
def test_weights_in_bodies(dora, rng, tmp_path):
    """Of the main graph and of a branch itself, transposed or not: they train and merge."""

    def branch(name, weight):
        return helper.make_graph(
            [
                N("Transpose", ["outer"], [f"{name}t"]),
                N("MatMul", ["x", f"{name}t"], [f"{name}a"], f"{name}/outer"),
                N("MatMul", [f"{name}a", f"{name}w"], [f"{name}y"], f"{name}/own"),
            ],
            name,
            [],
            [helper.make_tensor_value_info(f"{name}y", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(weight, f"{name}w")],
        )

    branches = {
        "then_branch": branch("t", draw(rng, 4, 5)),
        "else_branch": branch("e", draw(rng, 4, 5)),
    }
    x = draw(rng, 3, 6)
    weights = {"outer": draw(rng, 4, 6), "flag": np.array(True)}
    original = file([N("If", ["flag"], ["y"], **branches)], weights, x, 2)
    model = lora(tk.load(original.SerializeToString()), R, dora=dora)
    assert len({n.split(".lora")[0] for n, p in model.named_parameters() if p.requires_grad}) == 3
    model.get_parameter("e.own.lora_A.weight").requires_grad_(False)  # The branch that never runs.
    model.get_parameter("e.own.lora_B.weight").requires_grad_(False)
    for p in model.parameters():
        if p.requires_grad:
            nn.init.uniform_(p, 0.1, 0.5)
    y = model(tk.tensor(x))
    y.square().mean().backward()
    assert model.get_parameter("t.own.lora_A.weight").grad is not None
    step = TrainStep(model, nn.MSELoss(), optim.Adam(model.parameters(), lr=0.05))
    losses = [float(step(tk.tensor(x), tk.zeros(3, 5))[0]) for _ in range(6)]
    assert losses[0] == pytest.approx(float(y.square().mean().detach()), rel=1e-5)
    assert losses[-1] < losses[0]
    want = model(tk.tensor(x)).detach().numpy()
    with pytest.raises(errors.UnsupportedOperatorError, match="Merge the adapters first"):
        model.save(tmp_path / "unmerged.onnx")
    merge(model).save(tmp_path / "merged.onnx")
    np.testing.assert_allclose(run(onnx.load(tmp_path / "merged.onnx"), x), want, RTOL, ATOL)
    with pytest.raises(errors.InvalidArgumentError, match="dropout 0 is required in bodies"):
        lora(tk.load(original.SerializeToString()), R, dropout=0.1)

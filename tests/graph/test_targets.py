"""Lowering to targets: nothing is left that the target lacks, and the numbers stay the same.

The original graph in onnxruntime is the oracle; the lowered one runs there and in ours.
"""

from __future__ import annotations

import ml_dtypes  # noqa: F401 - names bfloat16 for numpy
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper

from tests import tolerances
from tests.autodiff.helpers import model_of, rand, run
from toolkit import nn, optim
from toolkit.autodiff import grad_model
from toolkit.errors import InvalidArgumentError, UnsupportedOperatorError
from toolkit.graph.io import load_model, to_proto
from toolkit.graph.targets import check_target, lower_to
from toolkit.models.char_gpt import token_cross_entropy
from toolkit.runtime import InferenceSession
from toolkit.train import TrainStep
from toolkit.train.onefile import export_train_step

RNG = np.random.default_rng(0)
F = np.float32


def ints(*shape: int, low: int = -3, high: int = 3) -> np.ndarray:
    return RNG.integers(low, high, shape)


def truth(*shape: int) -> np.ndarray:
    return RNG.integers(0, 2, shape).astype(bool)


def case(op_type: str, *inputs, outputs: int = 1, name: str = "", **attributes):
    """A node with drawn inputs."""
    return pytest.param(op_type, inputs, outputs, attributes, id=name or op_type)


WEB = [
    case("Sign", np.array([-2.0, -0.0, 0.0, 3.0], F)),
    case("Sign", ints(7), name="Sign of integers"),
    case("Max", rand(3, 4), rand(4, seed=1), rand(3, 1, seed=2)),
    case("Min", ints(5), ints(5)),
    case("Max", rand(3), name="Max of one"),
    case("Sum", rand(3, 4), rand(4), rand(1)),
    case("Mean", rand(3, 4), rand(4, seed=3), rand(1)),
    case("And", truth(9), truth(9)),
    case("Or", truth(3, 1), truth(5)),
    case("Xor", truth(9), truth(9)),
    case("Equal", truth(9), truth(9), name="Equal of truth values"),
    case("Equal", ints(9), ints(9), name="Equal of integers"),
    case("Where", truth(9), ints(9), ints(9)),
    case("IsInf", np.array([np.inf, -np.inf, 1], F), detect_negative=0),
    case("IsInf", np.array([np.inf, -np.inf, 1], F), name="IsInf both"),
    case("IsNaN", np.array([np.nan, 1, np.inf], F)),
    case("Round", np.array([-2.5, -1.5, -0.5, 0.49999997, 0.5, 1.5, 2.6, 8388609.0], F)),
    case("Mod", ints(50, low=-9, high=9), ints(50, low=1, high=5) * 2 - 5),
    case("Mod", ints(50, low=-9, high=9), ints(50, low=1, high=5) * 2 - 5, fmod=1, name="fmod"),
    case("Softplus", np.array([-200, -1, 0, 1, 200], F)),
    case("LogSoftmax", rand(3, 5), axis=1),
    case("Gelu", rand(9)),
    case("Hardmax", rand(3, 5)),
    case("Shrink", rand(9), bias=0.5, lambd=0.7),
    case("CastLike", ints(4), rand(1)),
    case("GroupNormalization", rand(2, 4, 3), rand(4), rand(4), num_groups=2, epsilon=1e-5),
    case("Concat", truth(2, 3), truth(1, 3), axis=0, name="Concat of truth values"),
    case("Transpose", truth(2, 3), perm=[1, 0], name="Transpose of truth values"),
    case("Expand", truth(2, 1), np.array([2, 3])),
    case("Flatten", truth(2, 3, 2)),
    case("GatherElements", truth(2, 3), np.array([[1, 0, -1]])),
    case("Reshape", truth(2, 3), np.array([3, 2])),
    case("Slice", truth(5, 3), np.array([1]), np.array([4])),
    case("Split", truth(5, 3), np.array([2, 3]), outputs=2),
    case("Squeeze", truth(1, 3), np.array([0])),
    case("Tile", truth(1, 3), np.array([2, 2])),
    case("Unsqueeze", truth(3), np.array([0])),
    case("Gather", truth(4, 3), np.array([0, -1]), name="Gather of truth values"),
    case("EyeLike", rand(3, 5), k=1),
    case("Trilu", rand(2, 4, 5), np.array(-1)),
    case("Trilu", ints(4, 4), upper=0),
    case("OneHot", ints(2, 3, low=-4, high=6), np.array(4), np.array([2.0, 5.0], F)),
    case("OneHot", ints(2, 3, low=-4, high=6), np.array(4), np.array([0, 7]), axis=1, name="axis"),
    case("ArgMax", rand(3, 5), axis=1),
    case("ArgMin", ints(4, 5).astype(F), axis=0, keepdims=0),
    case("ArgMax", ints(4, 5).astype(F), axis=1, select_last_index=1, name="ArgMax last"),
    case("TopK", rand(3, 7), np.array([3]), outputs=2),
    case("TopK", ints(7, 4).astype(F), np.array([4]), outputs=2, axis=0, largest=0, name="ties"),
    *[
        case("ScatterElements", rand(4, 5), ints(2, 3, low=-4, high=4), rand(2, 3, seed=4),
             axis=0, reduction=r, name=f"ScatterElements {r}")
        for r in ("add", "mul", "max", "min")
    ],
    case("ScatterElements", rand(4, 5), np.array([[1, 4, 0]]), rand(1, 3, seed=4), axis=1),
    case("ScatterElements", ints(6), np.array([1, -1]), np.array([7, 8]), name="integers"),
    *[
        case("ScatterND", rand(4, 5, 2), ints(3, 1, low=-4, high=4), rand(3, 5, 2, seed=4),
             reduction=r, name=f"ScatterND {r}")
        for r in ("add", "mul", "max", "min")
    ],
    case("ScatterND", rand(4, 5), np.array([[1, 2], [3, -1]]), rand(2, seed=4)),
    case("GatherND", rand(4, 5, 2), np.array([[[1, 2]], [[3, -1]]])),
    case("DepthToSpace", rand(1, 8, 2, 3), blocksize=2),
    case("DepthToSpace", rand(1, 8, 2, 3), blocksize=2, mode="CRD", name="CRD"),
    case("SpaceToDepth", rand(1, 2, 4, 6), blocksize=2),
    case("Pow", ints(5), np.array(2.0, F), name="Pow of integers"),
    case("Cast", rand(5), to=2, name="Cast to a type that leaves"),
    case("CumSum", rand(3, 5), np.array(1)),
    case("CumSum", rand(3, 5), np.array(0), exclusive=1, name="exclusive"),
    case("CumSum", rand(3, 5), np.array(-1), reverse=1, name="reverse"),
    case("CumSum", rand(3, 5), np.array(1), reverse=1, exclusive=1, name="both"),
    case("MaxPool", ints(2, 3, 7, 8).astype(F), outputs=2, kernel_shape=[3, 2], strides=[2, 2],
         pads=[1, 0, 1, 1]),
    case("MaxPool", rand(1, 2, 9), outputs=2, kernel_shape=[3], dilations=[2], name="dilated"),
    case("BatchNormalization", rand(3, 2, 4), rand(2), rand(2, seed=1), rand(2, seed=2),
         np.ones(2, F), outputs=3, training_mode=1, momentum=0.7),
    case("Conv", rand(2, 4, 5, 6, 7), rand(6, 2, 3, 2, 3), rand(6), group=2, strides=[2, 1, 2],
         pads=[1, 0, 1, 0, 1, 2], dilations=[1, 2, 1]),
    case("Conv", rand(1, 2, 7, 4, 4), rand(3, 2, 2, 1, 3), dilations=[3, 1, 1],
         name="Conv dilated"),
    case("ConvTranspose", rand(2, 4, 3, 4, 5), rand(4, 3, 3, 2, 3), rand(6), group=2,
         strides=[2, 1, 2], pads=[1, 0, 1, 0, 1, 2], output_padding=[1, 0, 1]),
    case("ConvTranspose", rand(1, 2, 4, 3, 3), rand(2, 1, 1, 2, 2), strides=[3, 1, 1],
         name="ConvTranspose of one tap"),
    case("ConvTranspose", rand(1, 2, 4, 3, 3), rand(2, 1, 2, 2, 2), dilations=[2, 1, 1],
         name="ConvTranspose dilated"),
    case("MaxPool", rand(2, 3, 5, 6, 7), kernel_shape=[3, 2, 2], strides=[2, 2, 1],
         pads=[1, 0, 1, 1, 1, 0], name="MaxPool of volumes"),
    case("MaxPool", rand(1, 2, 4, 5, 4), outputs=2, kernel_shape=[2, 2, 2],
         name="MaxPool places of volumes"),
    case("AveragePool", rand(2, 3, 5, 6, 7), kernel_shape=[3, 2, 2], strides=[2, 2, 1],
         pads=[1, 0, 1, 1, 1, 0]),
    case("AveragePool", rand(2, 3, 5, 6, 7), kernel_shape=[3, 2, 2], pads=[1, 0, 1, 1, 1, 0],
         count_include_pad=1, name="AveragePool with pads counted"),
    case("AveragePool", rand(1, 3, 5, 6, 7), kernel_shape=[2, 2, 3], name="AveragePool without"),
    case("Pad", rand(2, 3, 4), np.array([1, 0, 2, -1]), np.array(2.5, F), np.array([-1, 1])),
    case("Dropout", rand(3)),
    case("LSTM", rand(4, 2, 3), rand(1, 20, 3), rand(1, 20, 5), rand(1, 40), outputs=3,
         hidden_size=5),
    case("GRU", rand(4, 2, 3), rand(2, 15, 3), rand(2, 15, 5), outputs=2, hidden_size=5,
         direction="bidirectional"),
    case("Gather", rand(5, 2), ints(3, low=-5, high=5)),
    case("NegativeLogLikelihoodLoss", rand(5, 3), ints(5, low=0, high=3), rand(3)),
    case("SoftmaxCrossEntropyLoss", rand(5, 3), np.array([0, -100, 2, 1, 1]), outputs=2,
         ignore_index=-100),
]  # fmt: skip


def close(got: dict, want: dict, scale: float = 4) -> None:
    assert list(got) == list(want)
    for name, value in want.items():
        tolerances.assert_close(np.asarray(got[name]), value, scale, message=name)


def ours(model: onnx.ModelProto, feeds: dict) -> dict:
    session = InferenceSession(model.SerializeToString())
    names = [v.name for v in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize(("op_type", "inputs", "outputs", "attributes"), WEB)
def test_rewrites_for_the_browser(op_type, inputs, outputs, attributes, dynamic):
    """Each rewrite equals its operator, and what it writes is at home on the target."""
    if dynamic and op_type in ("LSTM", "GRU"):
        pytest.skip("the number of steps must be known")
    shapes = ("CumSum", "Trilu", "TopK", "OneHot", "Expand", "Reshape", "Split", "Squeeze", "Tile")
    shapes += ("Conv", "ConvTranspose")  # The depth of a window must be known.
    constant = {
        "Slice": (1, 2),
        "Pad": (1, 3),
        "Unsqueeze": (1,),
        **dict.fromkeys(shapes, (1,)),
    }.get(op_type, ())
    feeds = {f"x{i}": v for i, v in enumerate(inputs) if i not in constant}
    weights = {f"x{i}": v for i, v in enumerate(inputs) if i in constant}
    names = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op_type, [f"x{i}" for i in range(len(inputs))], names, **attributes)
    model = model_of([node], feeds, names, dynamic, weights)
    lowered = lower_to(model, "ortweb")
    assert check_target(lowered, "ortweb") == []
    proto = to_proto(lowered, 21)
    onnx.checker.check_model(proto, full_check=True)
    assert check_target(proto, "ortweb") == []
    assert [v.name for v in proto.graph.input] == [v.name for v in model.graph.input]
    want = run(model, feeds)
    close(run(proto, feeds), want)
    close(ours(proto, feeds), want)


def test_every_rewrite_has_a_case():
    from toolkit.graph.targets import profile

    covered = {p.values[0] for p in WEB}
    in_networks = {"MaxPoolGrad", "Uniform", "Normal", "Scan", "Loop", "ConstantOfShape", "RNN"}
    named = {op for _, op in profile("ortweb").rewrites}
    assert named - covered - in_networks == set()


LOOP = """
<ir_version: 10, opset_import: ["" : 21]>
g (float[N, 3] x) => (float[N, 3] y, float[T, N, 3] all) {
    count = Constant<value = int64 {4}>()
    y, all = Loop(count, , x) <body = b (int64 i, bool go, float[N, 3] h)
        => (bool on, float[N, 3] next, float[N, 3] seen) {
        most = Constant<value = int64 {MOST}>()
        on = Less(i, most)
        two = Constant<value = float {2.0}>()
        a = Mul(h, two)
        at = Cast<to = 1>(i)
        next = Add(a, at)
        seen = Sub(next, x)
    }>
}"""


@pytest.mark.parametrize("most", [1, 9])
def test_loops_are_written_out(most):
    """Until the trip count, or until the condition says so."""
    model = onnx.parser.parse_model(LOOP.replace("MOST", str(most)))
    onnx.checker.check_model(model)
    feeds = {"x": rand(2, 3)}
    lowered = to_proto(lower_to(model, "ortweb"), 21)
    assert "Loop" not in {n.op_type for n in lowered.graph.node}
    assert check_target(lowered, "ortweb") == []
    want = run(model, feeds)
    assert len(want["all"]) == min(most + 1, 4)
    close(run(lowered, feeds), want)


def test_loops_that_data_ends_are_refused():
    text = LOOP.replace("on = Less(i, most)", "s = ReduceMax<keepdims = 0>(h)\non = Less(s, limit)")
    text = text.replace(
        "most = Constant<value = int64 {MOST}>()", "limit = ReduceMin<keepdims = 0>(x)"
    )
    with pytest.raises(UnsupportedOperatorError, match="a number of turns that does not depend"):
        lower_to(onnx.parser.parse_model(text), "ortweb")


def test_lowering_leaves_other_graphs_alone():
    """Types that graphs share are not changed in place."""
    test = [p.values for p in WEB if p.id in ("TopK", "Mod")]
    for op_type, inputs, outputs, attributes in test:
        names = [f"x{i}" for i in range(len(inputs))], [f"y{i}" for i in range(outputs)]
        model = model_of([helper.make_node(op_type, *names, **attributes)],
                         dict(zip(names[0], inputs, strict=True)), names[1])  # fmt: skip
        before = load_model(model)
        types = [v.dtype for n in before.graph for v in n.outputs]
        if op_type == "Mod":
            lower_to(before.clone(), "ortweb")
        assert [v.dtype for n in before.graph for v in n.outputs] == types


@pytest.mark.parametrize(
    "attributes",
    [
        {"kernel_shape": [2, 2], "strides": [2, 2]},
        {"kernel_shape": [3, 3], "strides": [2, 1], "pads": [1, 1, 1, 1]},
        {"kernel_shape": [3, 2], "strides": [1, 2], "auto_pad": "SAME_UPPER"},
        {"kernel_shape": [2, 2], "strides": [3, 3], "dilations": [2, 1]},
    ],
)
def test_gradient_of_max_pool_has_no_scatter(attributes):
    feeds = {"x": ints(2, 3, 8, 9).astype(F)}  # With ties: the first of equals takes it all.
    node = helper.make_node("MaxPool", ["x"], ["y"], **attributes)
    model = model_of([node], feeds, ["y"], dynamic=True)
    feeds["d_y"] = rand(*run(model, feeds)["y"].shape, seed=3)
    graded = grad_model(model, ["x"], target="ortweb")
    assert not {"ScatterElements", "ScatterND"} & {n.op_type for n in graded.graph.node}
    assert check_target(graded, "ortweb") == []
    want = run(grad_model(model, ["x"], inline=True), feeds)
    close(run(graded, feeds), want)
    close(ours(graded, feeds), want)


@pytest.mark.parametrize("steps", [[1, 1], [2, -1]])
def test_gradient_of_slice_scatters_only_over_steps(steps):
    """Steps of one, which some exporters write, are none: dy is padded."""
    feeds = {"x": rand(5, 7)}
    starts, ends = np.array([1, 5], np.int32), np.array([10**9, 10**9 if steps[1] > 0 else 0], "i4")
    weights = {"b": starts, "e": ends, "a": np.array([0, 1], "i4"), "s": np.array(steps, "i4")}
    node = helper.make_node("Slice", ["x", *weights], ["y"])
    model = model_of([node], feeds, ["y"], initializers=weights)
    feeds["d_y"] = rand(*run(model, feeds)["y"].shape, seed=3)
    graded = grad_model(model, ["x"], inline=True)
    padded = "Pad" in {n.op_type for n in graded.graph.node}
    assert padded == (steps == [1, 1])
    want = np.zeros((5, 7), F)
    want[1 : 10**9 : steps[0], 5 : (10**9 if steps[1] > 0 else 0) : steps[1]] = feeds["d_y"]
    got = run(graded, feeds)
    np.testing.assert_array_equal(got["d_x"], want)
    close(run(grad_model(model, ["x"], target="ortweb"), feeds), got)


class Tokens(nn.Module):
    """Embedding, attention and a head over tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.head = nn.Linear(8, 11)

    def forward(self, x):
        return self.head(self.block(self.embed(x)))


class Steps(nn.Module):
    """An LSTM, read at its last step."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 6, batch_first=True)
        self.head = nn.Linear(6, 1)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, stride=2), nn.GELU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(6, 3),
    )  # fmt: skip


def volumes() -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(1, 4, 3, padding=1), nn.BatchNorm3d(4), nn.ReLU(), nn.MaxPool3d(2),
        nn.Conv3d(4, 6, 2, stride=2), nn.Tanh(), nn.AvgPool3d(2), nn.Flatten(), nn.Linear(6, 3),
    )  # fmt: skip


STEPS = {
    "mlp": (lambda: nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3)),
            nn.CrossEntropyLoss(), rand(4, 8), ints(4, low=0, high=3), optim.AdamW),
    "convolutional": (convolutional, nn.CrossEntropyLoss(label_smoothing=0.1), rand(4, 1, 12, 12),
                      ints(4, low=0, high=3), optim.SGD),
    "volumes": (volumes, nn.CrossEntropyLoss(), rand(2, 1, 8, 8, 8), ints(2, low=0, high=3),
                optim.SGD),
    "dropout": (lambda: nn.Sequential(nn.Linear(8, 30), nn.Dropout(0.4), nn.Linear(30, 3)),
                nn.CrossEntropyLoss(), rand(6, 8), ints(6, low=0, high=3), optim.AdamW),
    "tokens": (Tokens, token_cross_entropy, ints(3, 5, low=0, high=11),
               ints(3, 5, low=0, high=11), optim.SGD),
    "lstm": (Steps, nn.MSELoss(), rand(3, 5, 4), rand(3, 1), optim.SGD),
}  # fmt: skip


@pytest.mark.parametrize("name", STEPS)
def test_training_steps_run_in_the_browser(name, tmp_path):
    """Three steps of the lowered graph in onnxruntime, its states fed back, equal ours."""
    make, loss_fn, x, y, optimizer = STEPS[name]
    module = make()
    step = TrainStep(module, loss_fn, optimizer(module.parameters(), lr=1e-2)).prepare(x, y)
    path = tmp_path / "step.onnx"
    export_train_step(path, step, target="ortweb")
    proto = onnx.load(path)
    onnx.checker.check_model(proto, full_check=True)
    assert check_target(path, "ortweb") == []
    feed_names = {v.name for v in proto.graph.input}
    states = {k: v.copy() for k, v in step.state_dict().items() if k in feed_names}
    batch = dict(zip([v.name for v in proto.graph.input][:2], (x, y), strict=True))
    for _ in range(3):
        got = run(proto, {**batch, "lr": np.array(1e-2, F), **states})
        loss, _ = step(x, y)
        np.testing.assert_allclose(got["loss"], loss.numpy(), rtol=2e-5)
        states = {k: got[f"{k}.next"] for k in states}
    for k, v in step.state_dict().items():
        if k in states:
            np.testing.assert_allclose(states[k], v, rtol=2e-3, atol=2e-5, err_msg=k)


@pytest.mark.parametrize(
    ("nodes", "feeds", "match"),
    [
        ([("NonZero", ["x"], ["y"])], {"x": rand(3)}, "NonZero 'n0': there is no kernel"),
        ([("Sin", ["x"], ["y"])], {"x": rand(3).astype(np.float64)}, "takes double"),
        (
            [("Cast", ["i"], ["s"], {"to": 7}), ("Reshape", ["x", "s"], ["y"])],
            {"x": rand(6), "i": np.array([2, 3], np.int32)},
            "Reshape 'n1': a shape that does not depend on data",
        ),
        (
            [("Add", ["i", "c"], ["y"])],
            {"i": ints(2)},
            r"Add 'n0': constants within 32 bits are required.*1099511627776",
        ),
        ([("MaxPool", ["x"], ["y"], {"kernel_shape": [2] * 3, "auto_pad": "SAME_UPPER"})],
         {"x": rand(1, 1, 4, 4, 4)}, "pads instead of auto_pad are required"),
        ([("Dropout", ["x", "", "t"], ["y"])], {"x": rand(3)}, "draws no random numbers"),
    ],
)  # fmt: skip
def test_what_cannot_be_avoided_is_refused_by_name(nodes, feeds, match):
    protos = []
    for i, (op_type, inputs, outputs, *attributes) in enumerate(nodes):
        more = attributes[0] if attributes else {}
        protos.append(helper.make_node(op_type, inputs, outputs, f"n{i}", **more))
    constants = {"c": np.array(2**40), "t": np.array(True)}
    used = {k: v for k, v in constants.items() if any(k in n.input for n in protos)}
    model = model_of(protos, feeds, ["y"], initializers=used)
    with pytest.raises(UnsupportedOperatorError, match=match):
        lower_to(model, "ortweb")


PAD = """
<ir_version: 10, opset_import: ["" : 21]>
g (float[N, 3, 4, 5] x) => (float[A, B, C, D] y) {
    t = Transpose<perm = [0, 2, 3, 1]>(x)
    r = Relu(t)
    axes = Constant<value = int64[2] {1, 2}>()
    pads = Constant<value = int64[4] {1, 0, 2, 3}>()
    p = Pad(r, pads, , axes)
    y = Transpose<perm = [0, 3, 1, 2]>(p)
}"""


@pytest.mark.parametrize("target", ["ort", "ortweb"])
def test_pads_of_chosen_axes_survive_the_optimizer(target):
    """Between two Transpose onnxruntime 1.32 permutes pads as if they were of all axes."""
    feeds = {"x": rand(2, 3, 4, 5)}
    proto = to_proto(lower_to(onnx.parser.parse_model(PAD), target), 21)
    options = onnxruntime.SessionOptions()
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    (got,) = session.run(None, feeds)
    want = np.pad(np.maximum(feeds["x"], 0), ((0, 0), (0, 0), (1, 2), (0, 3)))
    np.testing.assert_array_equal(got, want)


def test_offences_name_nodes_and_reasons():
    node = helper.make_node("TopK", ["x", "k"], ["y", "i"], "pick")
    model = model_of([node], {"x": rand(5)}, ["y"], initializers={"k": np.array([2])})
    (offence,) = check_target(model, "ortweb")
    assert offence.node.name == "pick"
    assert str(offence) == "TopK 'pick': there is no kernel for TopK"
    with pytest.raises(InvalidArgumentError, match="one of ort, ortweb, reference is required"):
        check_target(model, "web")


def test_gradients_of_a_network_beside_torch():
    """A gradient graph lowered for the browser: the oracle is torch."""
    torch.manual_seed(0)
    w, x = rand(5, 4), rand(3, 5)
    nodes = [
        helper.make_node("Gather", ["w", "k"], ["g"], axis=0),
        helper.make_node("Abs", ["g"], ["a"]),
        helper.make_node("Max", ["a", "c"], ["m"]),
        helper.make_node("MatMul", ["x", "m"], ["h"]),
        helper.make_node("ReduceMean", ["h"], ["loss"], keepdims=0),
    ]
    k = np.array([0, 3, 3, 1, -1])
    model = model_of(
        nodes, {"x": x, "k": k}, ["loss"], initializers={"w": w, "c": np.array(0.7, F)}
    )
    graded = grad_model(model, ["w", "x"], loss="loss", target="ortweb")
    assert check_target(graded, "ortweb") == []
    got = run(graded, {"x": x, "k": k})
    tw, tx = torch.tensor(w, requires_grad=True), torch.tensor(x, requires_grad=True)
    (tx @ torch.clamp(tw[k].abs(), min=0.7)).mean().backward()
    np.testing.assert_allclose(got["d_w"], tw.grad.numpy(), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(got["d_x"], tx.grad.numpy(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("op_type", "dtype", "inputs"),
    [
        ("Where", "bool", 3),
        ("Neg", "bfloat16", 1),
        ("Max", "uint16", 2),
        ("Mul", "bfloat16", 2),
        ("Relu", "int16", 1),
    ],
)
def test_types_that_onnxruntime_lacks_are_computed_wider(op_type, dtype, inputs):
    """Refused by onnxruntime as it is, equal to ours once lowered."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    names = [f"x{i}" for i in range(inputs)]
    infos = [helper.make_tensor_value_info(n, kind, [6]) for n in names]
    if op_type == "Where":
        infos[0] = helper.make_tensor_value_info("x0", onnx.TensorProto.BOOL, [6])
    outputs = [helper.make_tensor_value_info("y", kind, None)]
    graph = helper.make_graph([helper.make_node(op_type, names, ["y"])], "g", infos, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    feeds = {n: RNG.integers(0, 100, 6).astype(np.dtype(dtype)) for n in names}
    if op_type == "Where":
        feeds["x0"] = truth(6)
    (offence,) = check_target(model, "ort")
    assert "no kernel takes" in offence.reason
    with pytest.raises(Exception, match="NOT_IMPLEMENTED"):
        run(model, feeds)
    lowered = lower_to(model, "ort")
    assert check_target(lowered, "ort") == []
    proto = to_proto(lowered, 21)
    want = ours(model, feeds)
    if dtype == "bfloat16":
        close(ours(proto, feeds), want)
        onnxruntime.InferenceSession(proto.SerializeToString())
    else:
        close(run(proto, feeds), want)


def test_what_onnxruntime_cannot_do_is_refused():
    node = helper.make_node("Conv", ["x", "w"], ["y"], "c")
    feeds = {"x": rand(1, 1, 4, 4), "w": rand(1, 1, 2, 2)}
    model = model_of([node], feeds, ["y"])
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    with pytest.raises(UnsupportedOperatorError, match="Conv 'c': no kernel takes double as T"):
        lower_to(model, "ort")


@pytest.mark.parametrize("target", ["ort", "reference"])
def test_gradient_graphs_for_other_targets(target):
    feeds = {"x": ints(2, 3, 8, 9).astype(F)}
    model = model_of([helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2])], feeds, ["y"])
    feeds["d_y"] = rand(*run(model, feeds)["y"].shape, seed=3)
    graded = grad_model(model, ["x"], target=target)
    assert {n.domain for n in graded.graph.node} == {""}
    close(run(graded, feeds), run(grad_model(model, ["x"]), feeds))

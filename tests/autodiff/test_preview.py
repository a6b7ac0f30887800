"""The operator Gradient of ai.onnx.preview.training, against finite differences."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests import tolerances
from tests.opinfo.preview import ROWS as OPTIMIZERS
from toolkit.errors import InvalidModelError
from toolkit.graph.io import load_model, save_model, to_proto
from toolkit.runtime import InferenceSession

DOMAIN = "ai.onnx.preview.training"
RNG = np.random.default_rng(0)
X, W, Z = (RNG.uniform(0.3, 1.5, s) for s in ((3, 4), (4, 5), (5, 2)))


def gradient(inputs, outputs, xs, y, zs=()) -> onnx.NodeProto:
    more = {"zs": list(zs)} if zs else {}
    return helper.make_node("Gradient", inputs, outputs, "g", domain=DOMAIN, xs=xs, y=y, **more)


def node(op_type: str, inputs, outputs, **attributes) -> onnx.NodeProto:
    return helper.make_node(op_type, inputs, outputs, **attributes)


def session(nodes, feeds: dict[str, np.ndarray], outputs) -> InferenceSession:
    return InferenceSession(model_of_nodes(nodes, feeds, outputs).SerializeToString())


def model_of_nodes(nodes, feeds: dict[str, np.ndarray], outputs) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(k, TensorProto.DOUBLE, v.shape) for k, v in feeds.items()],
        [helper.make_tensor_value_info(k, TensorProto.DOUBLE, None) for k in outputs],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def differences(value, x: np.ndarray) -> np.ndarray:
    """Of the sum of value(x), by central differences."""
    h = tolerances.FINITE_STEP
    found = np.zeros_like(x)
    for i in range(x.size):
        up, down = x.copy(), x.copy()
        up.flat[i] += h
        down.flat[i] -= h
        found.flat[i] = (value(up).sum() - value(down).sum()) / (2 * h)
    return found


def close(got, want) -> None:
    rtol, atol = tolerances.FINITE
    np.testing.assert_allclose(got, want, rtol=rtol, atol=atol * max(1.0, abs(want).max()))


def hidden(x, w):
    return np.tanh(x @ w)


FORWARD = [
    node("MatMul", ["X", "W"], ["A"]),
    node("Tanh", ["A"], ["H"]),
    node("MatMul", ["H", "Z"], ["Y"]),
]


def test_by_parameters_with_a_value_that_is_not_differentiated():
    s = session(
        [*FORWARD, gradient(["W", "Z", "X"], ["dW", "dZ"], ["W", "Z"], "Y", ["X"])],
        {"X": X, "W": W, "Z": Z},
        ["Y", "dW", "dZ"],
    )
    y, dw, dz = s.run(None, {"X": X, "W": W, "Z": Z})
    np.testing.assert_allclose(y, hidden(X, W) @ Z)
    close(dw, differences(lambda w: hidden(X, w) @ Z, W))
    close(dz, differences(lambda z: hidden(X, W) @ z, Z))


def test_by_an_intermediate_value():
    s = session(
        [*FORWARD, gradient(["H", "Z"], ["dH", "dZ"], ["H", "Z"], "Y")],
        {"X": X, "W": W, "Z": Z},
        ["dH", "dZ"],
    )
    dh, dz = s.run(None, {"X": X, "W": W, "Z": Z})
    close(dh, differences(lambda h: h @ Z, hidden(X, W)))
    close(dz, differences(lambda z: hidden(X, W) @ z, Z))


def test_at_other_values_than_the_named_ones():
    """dY/dH where H = H1, which has nothing to do with X and W; the forward value stays."""
    other = RNG.uniform(-1, 1, (3, 5))
    nodes = [
        node("MatMul", ["X", "W"], ["H"]),
        node("Mul", ["H", "H"], ["S"]),
        node("MatMul", ["S", "Z"], ["Y"]),
        gradient(["H1", "Z"], ["dH", "dZ"], ["H", "Z"], "Y"),
    ]
    feeds = {"X": X, "W": W, "Z": Z, "H1": other}
    y, dh, dz = session(nodes, feeds, ["Y", "dH", "dZ"]).run(None, feeds)
    np.testing.assert_allclose(y, (X @ W) ** 2 @ Z)
    close(dh, differences(lambda h: h**2 @ Z, other))
    close(dz, differences(lambda z: other**2 @ z, Z))


def test_one_value_for_two_variables_has_two_gradients():
    a, b = RNG.uniform(1, 2, 3), RNG.uniform(1, 2, 3)
    nodes = [
        node("Pow", ["a", "b"], ["y"]),
        gradient(["a", "a"], ["da", "db"], ["a", "b"], "y"),
    ]
    _, da, db = session(nodes, {"a": a, "b": b}, ["y", "da", "db"]).run(None, {"a": a, "b": b})
    close(da, differences(lambda v: v**a, a))
    close(db, differences(lambda v: a**v, a))


def test_second_order():
    """The specification's example: d(dO/dW)/dX and d2O/dW2, through a Gradient's output."""
    x, w = RNG.uniform(0.5, 1, 4), RNG.uniform(0.5, 1, 4)
    nodes = [
        node("Mul", ["X", "W"], ["P"]),
        node("Exp", ["P"], ["E"]),
        node("ReduceSum", ["E"], ["O"], keepdims=0),
        gradient(["X", "W"], ["dX", "dW"], ["X", "W"], "O"),
        gradient(["X", "W"], ["dWdX", "dWdW"], ["X", "W"], "dW"),
    ]
    dwdx, dwdw = session(nodes, {"X": x, "W": w}, ["dWdX", "dWdW"]).run(None, {"X": x, "W": w})
    close(dwdx, np.exp(x * w) * (1 + x * w))
    close(dwdw, np.exp(x * w) * x * x)


def test_without_a_path_the_gradient_is_zero_and_outputs_are_optional():
    nodes = [
        node("Mul", ["X", "X"], ["Y"]),
        gradient(["X", "V"], ["", "dV"], ["X", "V"], "Y"),
    ]
    feeds = {"X": X, "V": W}
    (dv,) = session(nodes, feeds, ["dV"]).run(None, feeds)
    np.testing.assert_array_equal(dv, np.zeros_like(W))


def test_users_of_a_gradient_follow_it():
    """One step of gradient descent, and the operator that such files hold for it."""
    momentum = {"alpha": 0.5, "beta": 1.0, "norm_coefficient": 0.0, "mode": "standard"}
    nodes = [
        *FORWARD,
        gradient(["W"], ["dW"], ["W"], "Y"),
        node("Constant", [], ["T"], value=helper.make_tensor("t", TensorProto.INT64, [], [1])),
        node("Momentum", ["R", "T", "W", "dW", "V"], ["W2", "V2"], domain=DOMAIN, **momentum),
    ]
    feeds = {"X": X, "W": W, "Z": Z, "R": np.array(0.1), "V": np.ones_like(W)}
    w2, v2 = session(nodes, feeds, ["W2", "V2"]).run(None, feeds)
    dw = differences(lambda w: hidden(X, w) @ Z, W)
    close(v2, 0.5 + dw)
    close(w2, W - 0.1 * (0.5 + dw))


def test_a_file_lowers_to_standard_operators(tmp_path):
    """Gradient of a Gradient and each optimizer: what is written runs in onnxruntime."""
    from tests.autodiff.helpers import run

    adam = {"alpha": 0.9, "beta": 0.99, "epsilon": 1e-3}
    nodes = [
        *FORWARD,
        gradient(["W", "X"], ["dW"], ["W"], "Y", ["X"]),
        gradient(["W", "X"], ["dWdW"], ["W"], "dW", ["X"]),
        node("Constant", [], ["T"], value=helper.make_tensor("t", TensorProto.INT64, [], [3])),
        node("Adam", ["R", "T", "W", "dWdW", "V", "V"], ["W2", "V2", "H2"], domain=DOMAIN, **adam),
    ]
    feeds = {"X": X, "W": W, "Z": Z, "R": np.array(0.1), "V": np.ones_like(W)}
    outputs = ["dW", "dWdW", "W2", "V2", "H2"]
    s = session(nodes, feeds, outputs)
    source, target = tmp_path / "source.onnx", tmp_path / "target.onnx"
    source.write_bytes(model_of_nodes(nodes, feeds, outputs).SerializeToString())
    save_model(load_model(source), target, inline=True)
    lowered = onnx.load(target)
    onnx.checker.check_model(lowered, full_check=True)
    assert {n.domain for n in lowered.graph.node} == {""}
    assert [e.domain for e in lowered.opset_import] == [""]
    for name, got, want in zip(
        outputs, run(lowered, feeds).values(), s.run(None, feeds), strict=True
    ):
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12, err_msg=name)

    def first(w):
        h = np.tanh(X @ w)
        return X.T @ ((1 - h * h) * Z.sum(1))

    close(run(lowered, feeds)["dWdW"], differences(first, W))


@pytest.mark.parametrize("row", OPTIMIZERS, ids=lambda r: r.op_type)
def test_optimizers_written_out_equal_their_kernels(row):
    from tests.autodiff.helpers import run

    for sample in row.samples(row.draw("float64")):
        names = [f"x{i}" for i in range(len(sample.inputs))]
        feeds = dict(zip(names, sample.inputs, strict=True))
        count = sample.outputs
        results = [f"y{i}" for i in range(count)]
        one = helper.make_node(row.op_type, names, results, domain=DOMAIN, **sample.attributes)
        infos = [
            helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
            for k, v in feeds.items()
        ]
        outputs = [helper.make_tensor_value_info(k, TensorProto.DOUBLE, None) for k in results]
        graph = helper.make_graph([one], "g", infos, outputs)
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid(DOMAIN, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        want = InferenceSession(model.SerializeToString()).run(results, feeds)
        got = run(to_proto(load_model(model), 21, inline=True), feeds)
        for name, w in zip(results, want, strict=True):
            np.testing.assert_allclose(got[name], w, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("nodes", "error", "message"),
    [
        ([gradient(["X"], ["dX"], ["X"], "nowhere")], InvalidModelError, "'nowhere'"),
        ([gradient(["X"], ["dX"], ["X", "W"], "Y")], InvalidModelError, "an input for each"),
        (
            [node("Shape", ["X"], ["S"]), gradient(["X"], ["dX"], ["X"], "S")],
            InvalidModelError,
            "float values are required",
        ),
    ],
)
def test_what_cannot_be_differentiated_is_refused(nodes, error, message):
    feeds = {"X": X, "W": W, "Z": Z}
    with pytest.raises(error, match=message):
        session([*FORWARD, *nodes], feeds, ["dX"])

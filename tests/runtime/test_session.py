"""`InferenceSession` and the onnx.backend entry, against onnxruntime's behaviour."""

from __future__ import annotations

import sys
import threading
from types import MappingProxyType

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from toolkit import dtypes, errors
from toolkit.runtime import (
    InferenceSession,
    OrtValue,
    SessionOptions,
    backend,
    get_available_providers,
)


def mlp(batch: int | str = "batch") -> onnx.ModelProto:
    """relu(x W + b), with a second output that is a view of the input."""
    rng = np.random.default_rng(0)
    weights = {
        "w": rng.standard_normal((4, 3)).astype(np.float32),
        "b": rng.standard_normal(3).astype(np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["xw"], name="mm"),
        helper.make_node("Add", ["xw", "b"], ["z"], name="bias"),
        helper.make_node("Relu", ["z"], ["y"], name="act"),
        helper.make_node("Identity", ["x"], ["same"], name="copy"),
    ]
    graph = helper.make_graph(
        nodes,
        "mlp",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 4])],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 3]),
            helper.make_tensor_value_info("same", TensorProto.FLOAT, [batch, 4]),
        ],
        [onnx.numpy_helper.from_array(v, k) for k, v in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"author": "test"})
    return model


def test_run_equals_onnxruntime(rng):
    import onnxruntime

    text = mlp().SerializeToString()
    ours, theirs = InferenceSession(text), onnxruntime.InferenceSession(text)
    for n in (1, 5, 0, 5):
        x = rng.standard_normal((n, 4)).astype(np.float32)
        for a, b in zip(ours.run(None, {"x": x}), theirs.run(None, {"x": x}), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)
    for a, b in zip(ours.get_inputs(), theirs.get_inputs(), strict=True):
        assert (a.name, a.type, a.shape) == (b.name, b.type, b.shape)
    assert ours.get_modelmeta().custom_metadata_map == {"author": "test"}
    assert get_available_providers() == ["CPUExecutionProvider"]


def test_selected_outputs_and_order(rng):
    x = rng.standard_normal((2, 4)).astype(np.float32)
    session = InferenceSession(mlp())
    same, y = session.run(["same", "y"], {"x": x})
    np.testing.assert_array_equal(same, x)
    assert y.shape == (2, 3)
    assert same.ctypes.data != x.ctypes.data  # An output never aliases an input.


def test_outputs_survive_later_runs(rng):
    session = InferenceSession(mlp())
    first = session.run(["y"], {"x": np.ones((2, 4), np.float32)})[0]
    kept = first.copy()
    session.run(["y"], {"x": np.zeros((2, 4), np.float32)})
    np.testing.assert_array_equal(first, kept)


def test_iobinding(rng):
    session = InferenceSession(mlp())
    binding = session.io_binding()
    binding.bind_cpu_input("x", np.ones((2, 4), np.float32))
    binding.bind_output("y")
    session.run_with_iobinding(binding)
    (y,) = binding.copy_outputs_to_cpu()
    np.testing.assert_array_equal(y, session.run(["y"], {"x": np.ones((2, 4), np.float32)})[0])


def test_threads_share_a_session(rng):
    session = InferenceSession(mlp())
    inputs = [rng.standard_normal((n % 5 + 1, 4)).astype(np.float32) for n in range(16)]
    expected = [session.run(["y"], {"x": x})[0] for x in inputs]
    wrong = []

    def work() -> None:
        for _ in range(20):
            for x, y in zip(inputs, expected, strict=True):
                if not np.array_equal(session.run(["y"], {"x": x})[0], y):
                    wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


@pytest.mark.parametrize(
    ("feed", "error", "match"),
    [
        ({}, errors.InvalidArgumentError, r"input 'x' is required, got \[\]"),
        ({"z": np.ones(1)}, errors.InvalidArgumentError, "input 'x' is required, got .*z"),
        ({"x": np.ones((2, 4))}, errors.DTypeError, "input 'x' must be float32, got float64"),
        (
            {"x": np.ones((2, 5), np.float32)},
            errors.ShapeError,
            r"input 'x' must have shape \(batch, 4\), got \(2, 5\)",
        ),
        ({"x": np.ones(4, np.float32)}, errors.ShapeError, r"must have shape \(batch, 4\)"),
        ({"x": np.array(["a"])}, errors.DTypeError, "must be float32, got string"),
    ],
)
@pytest.mark.parametrize("ran", [False, True])  # Later runs take another way.
def test_bad_feeds(feed, error, match, ran):
    session = InferenceSession(mlp())
    if ran:
        session.run(None, {"x": np.ones((1, 4), np.float32)})
    with pytest.raises(error, match=match):
        session.run(None, feed)


@pytest.mark.parametrize(
    "feed",
    [
        lambda x: np.asfortranarray(x),
        lambda x: np.repeat(x, 2, axis=1)[:, ::2],
        lambda x: OrtValue.ortvalue_from_numpy(x),
        lambda x: x.view(np.recarray),
        lambda x: memoryview(x),
    ],
)
def test_later_runs_take_what_the_first_takes(feed):
    session = InferenceSession(mlp())
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    x.flags.writeable = False
    want = session.run(["same"], {"x": feed(x)})[0]
    np.testing.assert_array_equal(want, x)
    np.testing.assert_array_equal(session.run(["same"], {"x": feed(x)})[0], x)
    np.testing.assert_array_equal(session.run(["same"], MappingProxyType({"x": feed(x)}))[0], x)


@pytest.mark.parametrize("kind", [*dtypes.ALL, *dtypes.NARROW, dtypes.string], ids=lambda k: k.name)
def test_later_runs_of_every_type(kind):
    values = [helper.make_tensor_value_info(n, kind.onnx, ["n"]) for n in "xy"]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])], "g", values[:1], values[1:]
    )
    session = InferenceSession(helper.make_model(graph, ir_version=13))
    items = np.array(["a", "bc"] if kind is dtypes.string else [1, 1], kind.numpy)
    for n in (2, 2, 0, 1):
        x = items[:n]
        (y,) = session.run(None, {"x": x})
        assert y.dtype == x.dtype and y.flags.writeable and y.shape == (n,)
        np.testing.assert_array_equal(y, x)


def test_a_run_gives_its_inputs_back():
    session = InferenceSession(mlp())
    x = np.ones((1, 4), np.float32)
    for _ in range(3):
        session.run(None, {"x": x})
    with pytest.raises(errors.DTypeError):
        session.run(None, {"x": x.astype(np.float64)})
    assert sys.getrefcount(x) == 2
    x.resize((2, 4))  # Refused while anything holds the buffer.
    outputs = session.run(None, {"x": x})
    assert [sys.getrefcount(y) for y in outputs] == [3, 3]  # The list, the loop, the argument.


def test_unknown_output_and_provider():
    with pytest.raises(errors.InvalidArgumentError, match=r"an output among .* got 'nope'"):
        InferenceSession(mlp()).run(["nope"], {"x": np.ones((1, 4), np.float32)})
    with pytest.warns(UserWarning, match="'CUDAExecutionProvider' is not in available"):
        session = InferenceSession(mlp(), providers=["CUDAExecutionProvider"])
    assert session.get_providers() == ["CPUExecutionProvider"]


def test_bad_files(tmp_path):
    with pytest.raises(errors.InvalidModelError, match="no such file"):
        InferenceSession(tmp_path / "none.onnx")
    text = mlp().SerializeToString()
    for cut in (0, 1, 10, len(text) // 2, len(text) - 1):
        with pytest.raises(errors.InvalidModelError, match="load"):
            InferenceSession(text[:cut])
    with pytest.raises(errors.InvalidModelError):
        InferenceSession(b"not a model at all")


def test_unknown_operator_names_place_and_need():
    model = mlp()
    model.opset_import.append(helper.make_opsetid("acme", 1))
    model.graph.node[2].op_type, model.graph.node[2].domain = "Frobnicate", "acme"
    with pytest.raises(errors.UnsupportedOperatorError, match=r"Frobnicate 'act'.*acme"):
        InferenceSession(model)


def test_kernel_errors_name_the_node():
    model = mlp("n")
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "k"
    session = InferenceSession(model)
    with pytest.raises(errors.ShapeError, match=r"MatMul 'mm\+bias\+act'"):
        session.run(None, {"x": np.ones((2, 3), np.float32)})


def test_session_options_are_accepted():
    options = SessionOptions()
    options.graph_optimization_level = 0
    options.add_session_config_entry("session.dynamic_block_base", "4")
    session = InferenceSession(mlp(), options)
    assert session.run(["y"], {"x": np.ones((1, 4), np.float32)})[0].shape == (1, 3)


def test_backend():
    x = np.ones((2, 4), np.float32)
    _, same = backend.prepare(mlp()).run([x])
    np.testing.assert_array_equal(same, x)
    node = helper.make_node("Relu", ["x"], ["y"])
    (out,) = backend.run_node(node, [np.array([-1.0, 2.0], np.float32)])
    np.testing.assert_array_equal(out, [0.0, 2.0])
    assert backend.supports_device("CPU") and not backend.supports_device("TPU")

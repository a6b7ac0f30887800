"""onnxruntime's API: each test runs with onnxruntime and with our runtime in its place."""

from __future__ import annotations

import importlib
import json
import threading
import warnings

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.runtime.test_session import mlp
from toolkit import errors, runtime
from toolkit.errors import ToolkitWarning
from toolkit.runtime.api import environment

X = np.arange(8, dtype=np.float32).reshape(2, 4)
TEXT = mlp().SerializeToString()


@pytest.fixture(params=["onnxruntime", "ours"])
def ort(request):
    """A module named onnxruntime."""
    if request.param == "onnxruntime":
        import onnxruntime

        onnxruntime.set_default_logger_severity(4)
        yield onnxruntime
    else:
        with runtime.install_as_onnxruntime():
            yield importlib.import_module("onnxruntime")


def graph_of(nodes, inputs, outputs, **imports) -> bytes:
    graph = helper.make_graph(nodes, "g", inputs, outputs)
    opsets = [helper.make_opsetid(d, v) for d, v in {"": 17, **imports}.items()]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def test_install_and_restore():
    import onnxruntime

    with runtime.install_as_onnxruntime() as module:
        import onnxruntime as installed
        from onnxruntime.capi import _pybind_state as state
        from onnxruntime.capi.onnxruntime_inference_collection import InferenceSession
        from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

        assert installed is module and installed is not onnxruntime
        assert installed.InferenceSession is InferenceSession is runtime.InferenceSession
        assert state.InvalidArgument is InvalidArgument
        assert installed.__version__ == installed.get_version_string() == onnxruntime.__version__
        assert importlib.util.find_spec("onnxruntime") is not None
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module("onnxruntime.transformers")
    assert importlib.import_module("onnxruntime") is onnxruntime


def bad(ort):
    wrong_op = mlp()
    wrong_op.graph.node[2].op_type = "Frobnicate"
    session = ort.InferenceSession(TEXT)
    stop = ort.RunOptions()
    stop.terminate = True
    return {
        "NoSuchFile": lambda: ort.InferenceSession("/no/such/file.onnx"),
        "InvalidProtobuf": lambda: ort.InferenceSession(b"junk"),
        "InvalidGraph": lambda: ort.InferenceSession(wrong_op.SerializeToString()),
        "InvalidArgument": lambda: session.run(None, {"x": X.astype(np.float64)}),
        "InvalidArgument shape": lambda: session.run(None, {"x": X[:, :3]}),
        "InvalidArgument rank": lambda: session.run(None, {"x": X[0]}),
        "InvalidArgument output": lambda: session.run(["nope"], {"x": X}),
        "InvalidArgument input": lambda: session.run(None, {"x": X, "z": X}),
        "Fail": lambda: session.run(None, {"x": X}, stop),
    }


def test_exceptions(ort):
    state = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    for name, call in bad(ort).items():
        with pytest.raises(getattr(state, name.split()[0])):
            call()
    with pytest.raises(ValueError, match="x"):
        ort.InferenceSession(TEXT).run(None, {})
    with pytest.raises(AttributeError):
        ort.SessionOptions().nonsense = 1
    with pytest.raises(RuntimeError):
        ort.SessionOptions().get_session_config_entry("never.added")


def test_our_exceptions_are_toolkits_too():
    kinds = {
        "InvalidArgument": errors.DTypeError, "InvalidArgument shape": errors.ShapeError,
        "NoSuchFile": errors.InvalidModelError, "Fail": errors.ToolkitError,
    }  # fmt: skip
    for name, kind in kinds.items():
        with pytest.raises(kind):
            bad(runtime)[name]()


def test_options(ort):
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.intra_op_num_threads = 2
    options.log_severity_level = 3
    options.logid = "me"
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    options.add_free_dimension_override_by_name("batch", 2)
    session = ort.InferenceSession(TEXT, sess_options=options, providers=["CPUExecutionProvider"])
    described = [(v.name, v.type, v.shape) for v in (*session.get_inputs(), *session.get_outputs())]
    assert described == [
        ("x", "tensor(float)", [2, 4]), ("y", "tensor(float)", [2, 3]),
        ("same", "tensor(float)", [2, 4]),
    ]  # fmt: skip
    assert session.get_session_options().logid == "me"
    assert session.get_provider_options() == {"CPUExecutionProvider": {}}
    session.disable_fallback()
    session.enable_fallback()
    session.set_providers(["CPUExecutionProvider"])
    run = ort.RunOptions()
    run.logid, run.log_severity_level = "run", 3
    run.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    assert run.get_run_config_entry("memory.enable_memory_arena_shrinkage") == "cpu:0"
    assert session.run(["y"], {"x": X}, run)[0].shape == (2, 3)


def test_a_denoted_dimension(ort):
    model = mlp()
    model.graph.input[0].type.tensor_type.shape.dim[0].denotation = "DATA_BATCH"
    options = ort.SessionOptions()
    options.add_free_dimension_override_by_denotation("DATA_BATCH", 3)
    session = ort.InferenceSession(model.SerializeToString(), options)
    assert session.get_inputs()[0].shape == [3, 4]


def test_what_has_no_meaning_warns_once(monkeypatch):
    monkeypatch.setattr(environment, "_warned", set())
    options = runtime.SessionOptions()
    with pytest.warns(ToolkitWarning, match="SessionOptions.enable_mem_pattern"):
        options.enable_mem_pattern = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        options.enable_mem_pattern = False
        options.enable_mem_reuse = True  # As it is.


def test_severity_silences_warnings():
    model = mlp()
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 9
    with pytest.warns(ToolkitWarning):
        runtime.InferenceSession(model)
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        runtime.InferenceSession(model, options).run(None, {"x": X})


def test_lists_are_arrays(ort):
    session = ort.InferenceSession(TEXT)
    y = session.run(["y"], {"x": X})[0]
    np.testing.assert_array_equal(session.run(["y"], {"x": X.tolist()})[0], y)
    np.testing.assert_array_equal(session.run(["y"], {"x": X.tolist()})[0], y)


def test_ort_value(ort):
    x = X.copy()
    value = ort.OrtValue.ortvalue_from_numpy(x)
    assert (value.data_type(), value.element_type(), list(value.shape())) == (
        "tensor(float)", TensorProto.FLOAT, [2, 4],
    )  # fmt: skip
    assert value.is_tensor() and value.has_value() and not value.is_sparse_tensor()
    assert not value.is_tensor_sequence() and value.device_name() == "cpu"
    assert value.tensor_size_in_bytes() == x.nbytes and value.data_ptr() == x.ctypes.data
    value.update_inplace(x + 1)
    np.testing.assert_array_equal(x, X + 1)  # It holds the array's memory.
    with pytest.raises(RuntimeError):
        value.update_inplace(X[:1])
    empty = ort.OrtValue.ortvalue_from_shape_and_type([3, 2], np.int64)
    assert empty.numpy().shape == (3, 2) and empty.data_type() == "tensor(int64)"
    bits = np.array([0x3F80, 0x4000], np.uint16)
    half = ort.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, TensorProto.BFLOAT16)
    assert half.data_type() == "tensor(bfloat16)" and half.element_type() == TensorProto.BFLOAT16
    np.testing.assert_array_equal(np.from_dlpack(value), X + 1)
    session = ort.InferenceSession(TEXT)
    (y,) = session.run_with_ort_values(["y"], {"x": value})
    np.testing.assert_array_equal(y.numpy(), session.run(["y"], {"x": x})[0])


def test_iobinding(ort):
    session = ort.InferenceSession(TEXT)
    want, same = session.run(None, {"x": X})
    binding = session.io_binding()
    with pytest.raises(RuntimeError):
        binding.bind_cpu_input("nope", X)
    binding.bind_cpu_input("x", X)
    with pytest.raises(RuntimeError):
        session.run_with_iobinding(binding)
    binding.bind_output("same")
    memory = np.zeros((2, 3), np.float32)
    binding.bind_output("y", "cpu", 0, np.float32, memory.shape, memory.ctypes.data)
    session.run_with_iobinding(binding)
    np.testing.assert_array_equal(memory, want)
    assert [v.data_type() for v in binding.get_outputs()] == ["tensor(float)"] * 2
    for got, expected in zip(binding.copy_outputs_to_cpu(), (same, want), strict=True):
        np.testing.assert_array_equal(got, expected)
    x = X + 1
    binding.clear_binding_inputs()
    binding.bind_input("x", "cpu", 0, np.float32, x.shape, x.ctypes.data)
    binding.clear_binding_outputs()
    value = ort.OrtValue.ortvalue_from_shape_and_type([2, 3], np.float32, "cpu", 0)
    binding.bind_ortvalue_output("y", value)
    session.run_with_iobinding(binding)
    np.testing.assert_array_equal(value.numpy(), session.run(["y"], {"x": x})[0])
    binding.bind_ortvalue_input("x", ort.OrtValue.ortvalue_from_numpy(X))
    session.run_with_iobinding(binding, ort.RunOptions())
    np.testing.assert_array_equal(value.numpy(), want)
    binding.synchronize_inputs()
    binding.synchronize_outputs()


def test_bound_memory_of_another_shape():
    session = runtime.InferenceSession(TEXT)
    binding = session.io_binding()
    binding.bind_cpu_input("x", X)
    binding.bind_ortvalue_output("y", runtime.OrtValue.ortvalue_from_shape_and_type([2, 4]))
    with pytest.raises(errors.ShapeError, match=r"output 'y': the shape \(2, 4\) is required"):
        session.run_with_iobinding(binding)


def test_run_async(ort):
    session = ort.InferenceSession(TEXT)
    done, found = threading.Event(), []

    def callback(results, data, error):
        found.append((results, data, error))
        done.set()

    session.run_async(["y"], {"x": X}, callback, {"k": 1})
    assert done.wait(20)
    (results, data, error), done = found[0], done.clear()
    assert data == {"k": 1} and error == ""
    np.testing.assert_array_equal(results[0], session.run(["y"], {"x": X})[0])


def test_run_async_that_fails():
    session = runtime.InferenceSession(TEXT)
    done, found = threading.Event(), []
    session.run_async(None, {"x": X[0]}, lambda *a: (found.append(a), done.set()), None)
    assert done.wait(20)
    assert found[0][0] == [] and "must have shape" in found[0][2]


def test_sequences_and_maps(ort):
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    text = graph_of(
        [helper.make_node("SplitToSequence", ["x"], ["s"], axis=0)], [x],
        [helper.make_value_info("s", kind)],
    )  # fmt: skip
    session = ort.InferenceSession(text)
    assert session.get_outputs()[0].type == "seq(tensor(float))"
    data = np.ones((3, 2), np.float32)
    (parts,) = session.run(None, {"x": data})
    assert isinstance(parts, list) and [p.shape for p in parts] == [(1, 2)] * 3
    (value,) = session.run_with_ort_values(None, {"x": ort.OrtValue.ortvalue_from_numpy(data)})
    assert value.is_tensor_sequence() and value.data_type() == "seq(tensor(float))"
    maps = helper.make_sequence_type_proto(
        helper.make_map_type_proto(
            TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, None)
        )
    )
    node = helper.make_node(
        "ZipMap", ["x"], ["m"], domain="ai.onnx.ml", classlabels_strings=["a", "b"]
    )
    text = graph_of([node], [x], [helper.make_value_info("m", maps)], **{"ai.onnx.ml": 1})
    session = ort.InferenceSession(text)
    assert session.get_outputs()[0].type == "seq(map(string,tensor(float)))"
    assert session.run(None, {"x": data[:1]})[0] == [{"a": 1.0, "b": 1.0}]


def test_profile(ort, tmp_path):
    options = ort.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(tmp_path / "p")
    session = ort.InferenceSession(TEXT, options)
    assert session.get_profiling_start_time_ns() > 0
    for _ in range(3):
        session.run(["y"], {"x": X})
    path = session.end_profiling()
    assert path.startswith(str(tmp_path / "p_")) and path.endswith(".json")
    with open(path) as file:
        events = json.load(file)
    keys = {"cat", "pid", "tid", "dur", "ts", "ph", "name", "args"}
    assert all(keys <= e.keys() and e["ph"] == "X" for e in events)
    assert sum(e["name"] == "model_run" for e in events) == 3
    assert any(e["name"] == "session_initialization" for e in events)
    nodes = [e for e in events if e["cat"] == "Node" and e["name"].endswith("_kernel_time")]
    first = nodes[0]["args"]
    assert len(nodes) >= 3 and first["provider"] == "CPUExecutionProvider"
    assert first["input_type_shape"][0] == {"float": [2, 4]} and first["op_name"]
    assert first["output_type_shape"] == [{"float": [2, 3]}] and first["output_size"] == "24"


def test_the_optimized_model(ort, tmp_path):
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(tmp_path / "o.onnx")
    want = ort.InferenceSession(TEXT, options).run(None, {"x": X})
    proto = onnx.load(tmp_path / "o.onnx")
    onnx.checker.check_model(proto)
    assert {n.domain for n in proto.graph.node} == {""}
    got = ort.InferenceSession(proto.SerializeToString()).run(None, {"x": X})
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_initializers_from_outside(ort):
    options, b = ort.SessionOptions(), np.full(3, 7, np.float32)
    value = ort.OrtValue.ortvalue_from_numpy(b)
    options.add_initializer("b", value)
    w = numpy_helper.to_array(mlp().graph.initializer[0])
    (y,) = ort.InferenceSession(TEXT, options).run(["y"], {"x": X})
    np.testing.assert_allclose(y, np.maximum(X @ w + 7, 0), rtol=1e-5)


def test_external_initializers(ort, tmp_path):
    """The file that they are said to lie in is not there."""
    model = mlp()
    names = [t.name for t in model.graph.initializer]
    values = [
        ort.OrtValue.ortvalue_from_numpy(numpy_helper.to_array(t).copy())
        for t in model.graph.initializer
    ]
    onnx.save(
        model, tmp_path / "m.onnx", save_as_external_data=True, location="gone.bin",
        size_threshold=0,
    )  # fmt: skip
    (tmp_path / "gone.bin").unlink()
    options = ort.SessionOptions()
    options.add_external_initializers(names, values)
    session = ort.InferenceSession(str(tmp_path / "m.onnx"), options)
    want = ort.InferenceSession(TEXT).run(None, {"x": X})
    for a, b in zip(session.run(None, {"x": X}), want, strict=True):
        np.testing.assert_array_equal(a, b)


def test_seeds(ort):
    node = helper.make_node("RandomNormal", [], ["y"], shape=[5])
    text = graph_of([node], [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [5])])

    def draw(seed):
        ort.set_seed(seed)
        session = ort.InferenceSession(text)
        return [session.run(None, {})[0] for _ in range(2)]

    one, again, other = draw(1), draw(1), draw(2)
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other) and not np.array_equal(one[0], one[1])


def test_the_environment(ort):
    assert "CPUExecutionProvider" in ort.get_available_providers()
    assert set(ort.get_available_providers()) <= set(ort.get_all_providers())
    assert ort.get_device() == "CPU" and ort.get_build_info()
    assert not ort.has_collective_ops()
    ort.set_default_logger_severity(3)
    ort.set_default_logger_verbosity(0)
    ort.set_default_logger_severity(2)
    ort.disable_telemetry_events()
    assert ort.OrtDevice.make("cpu", 0).device_type() == 0


def test_copy_tensors():
    a, b = (runtime.OrtValue.ortvalue_from_numpy(np.full(2, v, np.float32)) for v in (1, 2))
    runtime.copy_tensors([a], [b])
    assert b.numpy().tolist() == [1, 1]


@pytest.mark.parametrize(
    "name", ["SparseTensor", "LoraAdapter", "ModelCompiler", "AdapterFormat", "OrtSyncStream"]
)
def test_refused_names_say_why(name):
    with pytest.raises(runtime.capi.onnxruntime_pybind11_state.NotImplemented, match=name):
        getattr(runtime, name)("x")
    with pytest.raises(errors.ToolkitError, match=rf"{name}\.make_one"):
        getattr(runtime, name).make_one()


def test_an_adapter_is_refused():
    with pytest.raises(errors.ToolkitError, match=r"toolkit\.train\.adapters"):
        runtime.RunOptions().add_active_adapter(None)

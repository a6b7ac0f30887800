"""What onnxruntime's documentation shows of sessions, values, IO binding and profiles.

Each example is a program that says `import onnxruntime as rt`. It runs as it stands with
onnxruntime and with our runtime installed in its place, and once more with the import changed.
"""

from __future__ import annotations

import contextlib

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from toolkit.runtime import install_as_onnxruntime

CHANGED = ("import onnxruntime as rt", "from toolkit import runtime as rt")

LOAD_AND_PREDICT = """
import numpy
import onnxruntime as rt

sess = rt.InferenceSession("model.onnx", providers=rt.get_available_providers())
input_name = sess.get_inputs()[0].name
assert sess.get_inputs()[0].shape == ["N", 3, 4] and sess.get_inputs()[0].type == "tensor(float)"
output_name = sess.get_outputs()[0].name
x = numpy.random.random((2, 3, 4)).astype(numpy.float32)
res = sess.run([output_name], {input_name: x})
result = res[0].shape
numpy.testing.assert_allclose(res[0], 1 / (1 + numpy.exp(-x)), atol=1e-6)
"""
FROM_BYTES_WITH_OPTIONS = """
import numpy
import onnxruntime as rt

so = rt.SessionOptions()
so.graph_optimization_level = rt.GraphOptimizationLevel.ORT_ENABLE_BASIC
so.optimized_model_filepath = "optimized.onnx"
so.intra_op_num_threads = 2
so.execution_mode = rt.ExecutionMode.ORT_SEQUENTIAL
with open("model.onnx", "rb") as f:
    sess = rt.InferenceSession(f.read(), so, providers=["CPUExecutionProvider"])
x = numpy.zeros((1, 3, 4), numpy.float32)
again = rt.InferenceSession("optimized.onnx", providers=["CPUExecutionProvider"])
result = sess.run(None, {"X": x})[0].tolist(), again.run(None, {"X": x})[0].tolist()
"""
METADATA = """
import onnxruntime as rt

sess = rt.InferenceSession("model.onnx", providers=rt.get_available_providers())
meta = sess.get_modelmeta()
result = (meta.custom_metadata_map, meta.description, meta.domain, meta.graph_name,
          meta.producer_name, meta.version)
"""
COMMON_ERRORS = """
import numpy
import onnxruntime as rt

sess = rt.InferenceSession("model.onnx", providers=rt.get_available_providers())
result = []
cases = [
    (["Y"], {"X": numpy.zeros((1, 3, 4), numpy.float64)}),
    (["wrong"], {"X": numpy.zeros((1, 3, 4), numpy.float32)}),
    (["Y"], {"X": numpy.zeros((1, 3, 5), numpy.float32)}),
    (["Y"], {"X": numpy.zeros((3, 4), numpy.float32)}),
    (["Y"], {"wrong": numpy.zeros((1, 3, 4), numpy.float32)}),
]
for names, feed in cases:
    try:
        sess.run(names, feed)
    except Exception as e:
        result.append((type(e).__name__ == "InvalidArgument", isinstance(e, ValueError)))
result = [any(r) for r in result]
assert result == [True] * 5
"""
PROFILE = """
import json
import numpy
import onnxruntime as rt

options = rt.SessionOptions()
options.enable_profiling = True
sess_profile = rt.InferenceSession("model.onnx", options, providers=rt.get_available_providers())
x = numpy.arange(12, dtype=numpy.float32).reshape(1, 3, 4)
sess_profile.run(None, {"X": x})
prof_file = sess_profile.end_profiling()
with open(prof_file, "r") as f:
    sess_time = json.load(f)
assert prof_file.startswith("onnxruntime_profile_")
result = sorted({e["args"]["op_name"] for e in sess_time if e["cat"] == "Node"})
"""
VALUES = """
import numpy as np
import onnxruntime as rt

X = np.ones((2, 3, 4), np.float32)
ortvalue = rt.OrtValue.ortvalue_from_numpy(X)
result = ortvalue.device_name(), list(ortvalue.shape()), ortvalue.data_type(), ortvalue.is_tensor()
assert np.array_equal(ortvalue.numpy(), X)
session = rt.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
results = session.run(["Y"], {"X": ortvalue})
assert results[0].shape == (2, 3, 4)
"""
BINDING_ON_CPU = """
import numpy as np
import onnxruntime as rt

X = np.ones((2, 3, 4), np.float32)
session = rt.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
io_binding = session.io_binding()
io_binding.bind_cpu_input("X", X)
io_binding.bind_output("Y")
session.run_with_iobinding(io_binding)
result = io_binding.copy_outputs_to_cpu()[0].shape
"""
BINDING_OF_VALUES = """
import numpy as np
import onnxruntime as rt

X = np.ones((2, 3, 4), np.float32)
X_ortvalue = rt.OrtValue.ortvalue_from_numpy(X, "cpu", 0)
Y_ortvalue = rt.OrtValue.ortvalue_from_shape_and_type([2, 3, 4], np.float32, "cpu", 0)
session = rt.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
io_binding = session.io_binding()
io_binding.bind_input(
    name="X",
    device_type=X_ortvalue.device_name(),
    device_id=0,
    element_type=np.float32,
    shape=X_ortvalue.shape(),
    buffer_ptr=X_ortvalue.data_ptr(),
)
io_binding.bind_output(
    name="Y",
    device_type=Y_ortvalue.device_name(),
    device_id=0,
    element_type=np.float32,
    shape=Y_ortvalue.shape(),
    buffer_ptr=Y_ortvalue.data_ptr(),
)
session.run_with_iobinding(io_binding)
result = round(float(Y_ortvalue.numpy()[1, 2, 3]), 5)
"""
BINDING_OF_AN_OUTPUT_OF_ANY_SIZE = """
import numpy as np
import onnxruntime as rt

X_ortvalue = rt.OrtValue.ortvalue_from_numpy(np.ones((2, 3, 4), np.float32), "cpu", 0)
session = rt.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
io_binding = session.io_binding()
io_binding.bind_ortvalue_input("X", X_ortvalue)
io_binding.bind_output("Y", "cpu")
session.run_with_iobinding(io_binding)
ort_output = io_binding.get_outputs()[0]
result = list(ort_output.numpy().shape), ort_output.data_type()
"""
BINDING_OF_TORCH = """
import numpy as np
import torch
import onnxruntime as rt

x_tensor = torch.ones(2, 3, 4).contiguous()
y_tensor = torch.empty((2, 3, 4), dtype=torch.float32).contiguous()
session = rt.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
binding = session.io_binding()
binding.bind_input(
    name="X", device_type="cpu", device_id=0, element_type=np.float32,
    shape=tuple(x_tensor.shape), buffer_ptr=x_tensor.data_ptr(),
)
binding.bind_output(
    name="Y", device_type="cpu", device_id=0, element_type=np.float32,
    shape=tuple(y_tensor.shape), buffer_ptr=y_tensor.data_ptr(),
)
session.run_with_iobinding(binding)
assert torch.allclose(y_tensor, torch.sigmoid(x_tensor), atol=1e-6)
result = None
"""
ASYNCHRONOUS = """
import threading
import numpy as np
import onnxruntime as rt

class MyData:
    def __init__(self, id):
        self.id = id
        self.done = threading.Event()

def callback(res, user_data, err):
    if err:
        print(err)
    else:
        user_data.shape = res[0].shape
    user_data.done.set()

sess = rt.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
my_data = MyData(123456)
sess.run_async(["Y"], {"X": np.ones((2, 3, 4), np.float32)}, callback, my_data)
assert my_data.done.wait(20)
result = my_data.shape
"""
SHARED_WEIGHTS = """
import numpy as np
import onnxruntime as rt

options = rt.SessionOptions()
options.add_free_dimension_override_by_name("N", 2)
options.add_session_config_entry("session.disable_prepacking", "1")
options.log_severity_level = 3
rt.set_default_logger_severity(3)
sess = rt.InferenceSession("model.onnx", sess_options=options)
rt.set_default_logger_severity(2)
run_options = rt.RunOptions()
run_options.log_severity_level = 3
run_options.logid = "inference"
out = sess.run(None, {"X": np.ones((2, 3, 4), np.float32)}, run_options=run_options)
result = sess.get_inputs()[0].shape, sess.get_providers()
"""
EXAMPLES = {k.lower(): v for k, v in list(globals().items()) if isinstance(v, str) and "rt." in v}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working folder, with model.onnx: Y = sigmoid(X)."""
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 3, 4]) for n in "XY")
    graph = helper.make_graph([helper.make_node("Sigmoid", ["X"], ["Y"], "s")], "sigmoid", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    model.producer_name, model.doc_string, model.model_version = "someone", "An example", 3
    helper.set_model_props(model, {"stage": "test"})
    onnx.save(model, tmp_path / "model.onnx")
    monkeypatch.chdir(tmp_path)


@pytest.mark.filterwarnings("ignore:Specified provider")
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example(name, folder):
    np.random.seed(0)
    found = []
    source = EXAMPLES[name]
    for place, text in (
        (contextlib.nullcontext, source),
        (install_as_onnxruntime, source),
        (contextlib.nullcontext, source.replace(*CHANGED)),
    ):
        with place():
            names: dict[str, object] = {}
            exec(compile(text, name, "exec"), names)
            found.append(names["result"])
    assert found[0] == found[1] == found[2]

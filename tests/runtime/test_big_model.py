"""Weights in a file beside the model: mapped, packed once, and not held twice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from benchmarks import big_model
from toolkit.runtime import InferenceSession


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return big_model.write_model(tmp_path, layers=8, width=1024)  # 64 MiB.


def test_weights_are_resident_once(path: Path) -> None:
    found = big_model.measure("ours", path, threads=1)["memory"]
    size = (path.parent / "big.data").stat().st_size
    for step in ("load", "half", "all"):
        assert found[step]["rss"] <= big_model.LIMIT * size, (step, found)


def test_some_outputs_share_the_packed_weights(path: Path) -> None:
    session = InferenceSession(str(path))
    peer = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    feed = {"x": np.random.default_rng(0).standard_normal((3, 1024), np.float32)}
    names = [o.name for o in session.get_outputs()]
    for wanted in (names[1:], names[:1], names[::-1], [names[0], names[0]], names):
        for ours, theirs in zip(session.run(wanted, feed), peer.run(wanted, feed), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


def test_a_mapped_weight_that_a_kernel_reads(tmp_path: Path) -> None:
    """Gather reads the table where it is mapped, and MatMul packs the same one."""
    table = np.random.default_rng(0).standard_normal((300, 300), np.float32)
    table.tofile(tmp_path / "table.data")
    tensor = TensorProto(name="table", data_type=TensorProto.FLOAT, dims=table.shape)
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="table.data")
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"]),
        helper.make_node("MatMul", ["rows", "table"], ["y"]),
    ]
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["n"])
    results = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 300]) for n in "y"]
    graph = helper.make_graph(nodes, "mapped", [ids], results, [tensor])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.save(model, tmp_path / "mapped.onnx")
    session = InferenceSession(str(tmp_path / "mapped.onnx"))
    (y,) = session.run(None, {"ids": np.array([7, 0, 299])})
    np.testing.assert_allclose(y, table[[7, 0, 299]] @ table, rtol=1e-4, atol=1e-4)


SHARED = """
import sys
import numpy as np
from benchmarks.big_model import resident
from toolkit.runtime import InferenceSession, OrtValue, SessionOptions

path, kept = sys.argv[1], []
w = OrtValue.ortvalue_from_numpy(np.random.default_rng(0).standard_normal((4096, 4096), np.float32))
before = resident()["rss"]
for _ in range(2):
    options = SessionOptions()
    options.add_initializer("w", w)
    kept.append(InferenceSession(path, options))
    kept[-1].run(None, {"x": np.ones((1, 4096), np.float32)})
print(resident()["rss"] - before)
"""


def test_a_shared_initializer_is_packed_but_not_copied(tmp_path: Path) -> None:
    """Two sessions hold their packed weights, 64 MiB each, and no copy of the value besides."""
    np.zeros((4096, 4096), np.float32).tofile(tmp_path / "w.data")
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=(4096, 4096))
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="w.data")
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 4096]) for n in "xy"]
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    graph = helper.make_graph(nodes, "shared", infos[:1], infos[1:], [tensor])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.save(model, tmp_path / "shared.onnx")
    command = [sys.executable, "-W", "ignore", "-c", SHARED, str(tmp_path / "shared.onnx")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) <= big_model.LIMIT * 2 * 4096 * 4096 * 4

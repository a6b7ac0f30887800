"""Training files whose weights lie in a file beside them."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

import toolkit as tk
from tests.train.test_onefile import assert_same_bits, batches, make_step, states
from toolkit.errors import InvalidModelError
from toolkit.graph import training_file
from toolkit.graph.io import load_model, save_model
from toolkit.runtime import InferenceSession
from toolkit.train import lower_training, strip_training


@pytest.fixture
def large(tmp_path, monkeypatch):
    """A folder, and a step whose files are too large."""
    limit = training_file.write_training.__defaults__
    monkeypatch.setattr(training_file.write_training, "__defaults__", (10_000,))
    assert limit is not None and limit[0] > 2**30
    return tmp_path


def test_weights_and_moments_go_beside_the_file(large):
    data = batches(6)
    step = make_step()
    for x, y in data[:3]:
        step(x, y)
    path = large / "m.onnx"
    step.save(path)
    step.save(path)
    (beside,) = large.glob("m.onnx.*.data")
    proto = onnx.load(path, load_external_data=False)
    moved = [
        t.name
        for t in (*proto.graph.initializer, *proto.training_info[0].algorithm.initializer)
        if t.data_location == onnx.TensorProto.EXTERNAL
    ]
    assert moved == [
        "head.weight",
        "optimizer.head.weight.exp_avg",
        "optimizer.head.weight.exp_avg_sq",
    ]
    assert beside.stat().st_size == 3 * 4 * 2560
    onnx.checker.check_model(path, full_check=True)
    for session in (InferenceSession(path), onnxruntime.InferenceSession(path)):
        (got,) = session.run(None, {"x": data[0][0]})
        np.testing.assert_allclose(got, step.predict(data[0][0])[0], 1e-5, 1e-5)
    again = tk.load_training(path)
    for x, y in data[3:]:
        step(x, y)
        again(x, y)
    assert_same_bits(states(step), states(again))
    again.save(path)
    assert len(list(large.iterdir())) == 2
    assert_same_bits(states(step), states(tk.load_training(path)))


def test_other_ways_to_write_it(large):
    """Elsewhere, stripped, lowered, at another opset, from the graph: nothing is lost."""
    step = make_step()
    ((x, y),) = batches(1)
    step(x, y)
    (large / "a").mkdir()
    (large / "b").mkdir()
    path = large / "a" / "m.onnx"
    step.save(path)
    strip_training(path, large / "b" / "bare.onnx")
    save_model(load_model(path), large / "b" / "graph.onnx", opset=20)
    tk.load_training(path).save(large / "b" / "again.onnx", opset=20)
    lowered = lower_training(path)
    training_file.write_training(lowered, large / "b" / "lowered.onnx")
    for file in (large / "a").iterdir():
        file.unlink()
    for name in ("bare", "graph", "again", "lowered"):
        session = onnxruntime.InferenceSession(large / "b" / f"{name}.onnx")
        np.testing.assert_allclose(session.run(None, {"x": x})[0], step.predict(x)[0], 1e-5, 1e-5)
    for name in ("graph", "again", "lowered"):
        loaded = tk.load_training(large / "b" / f"{name}.onnx")
        assert_same_bits(states(step), states(loaded))
        assert float(loaded(x, y)[0]) == pytest.approx(float(step.evaluate(x, y)[0]), rel=0.5)


def test_a_file_that_is_not_there_is_named(large):
    step = make_step()
    ((x, y),) = batches(1)
    step(x, y)
    step.save(large / "m.onnx")
    (beside,) = large.glob("*.data")
    text = beside.read_bytes()
    beside.write_bytes(text[:-100])
    with pytest.raises(InvalidModelError, match=r"m\.onnx"):
        tk.load_training(large / "m.onnx")
    beside.unlink()
    with pytest.raises(InvalidModelError, match=r"m\.onnx"):
        tk.load_training(large / "m.onnx")


def test_a_place_outside_the_folder_is_refused(large):
    step = make_step()
    ((x, y),) = batches(1)
    step(x, y)
    step.save(large / "m.onnx")
    proto = onnx.load(large / "m.onnx", load_external_data=False)
    for tensor in proto.training_info[0].algorithm.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../../etc/passwd"
    (large / "m.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(InvalidModelError, match=r"m\.onnx"):
        tk.load_training(large / "m.onnx")

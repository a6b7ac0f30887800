"""Adapters on models that people ship: all their weights, saved with adapters and merged."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import toolkit as tk
from tests.nn.test_fine_tune_real_models import inputs_of
from tests.runtime.test_real_models import path_of
from toolkit import nn
from toolkit.train import lora, merge

CASES = [
    ("magika/models/standard_v3_3/model.onnx", 3, False, True),
    ("rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx", 54, True, True),
    ("silero_vad/data/silero_vad.onnx", 12, True, False),  # All inside the branches of an If.
]


def run(path, feeds):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
    return session.run(None, feeds)


@pytest.mark.parametrize(("file", "count", "dora", "apart"), CASES)
def test_real_models(file, count, dora, apart, tmp_path):
    """Nothing changes at first; adapted, onnxruntime and we agree, before and after merging."""
    tk.manual_seed(0)
    path = path_of(file)
    feeds = inputs_of(file)
    model = lora(tk.load(path), r=4, alpha=8, targets="*", dora=dora)
    factors = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert len({n.split(".lora")[0] for n in factors}) == count

    def outputs():
        found = model(**{n: tk.tensor(x) for n, x in feeds.items()})
        return [y.detach().numpy() for y in (found if isinstance(found, tuple) else (found,))]

    def compare(want):
        for y, w in zip(outputs(), want, strict=True):
            np.testing.assert_allclose(y, w, 1e-4, 2e-5)

    before = run(path, feeds)
    compare(before)
    for name, p in factors.items():
        if "magnitude" not in name:
            nn.init.normal_(p, 0.0, 0.05)
    if apart:
        model.save(tmp_path / "unmerged.onnx")
        compare(run(tmp_path / "unmerged.onnx", feeds))
    assert np.abs(outputs()[0] - before[0]).max() > 1e-4
    merge(model).save(tmp_path / "merged.onnx")
    compare(run(tmp_path / "merged.onnx", feeds))
    wiring = [
        [(n.op_type, list(n.input), list(n.output)) for n in onnx.load(p).graph.node]
        for p in (path, tmp_path / "merged.onnx")
    ]
    assert wiring[0] == wiring[1]

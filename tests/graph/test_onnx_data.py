"""Models that onnx carries along: exported by old PyTorch at opset 6, with inputs and outputs.

Each is loaded, simplified and exported, and must give its recorded outputs in onnxruntime.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from toolkit.graph.io import load_model, to_proto
from toolkit.graph.passes import optimize

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"
CONVERTED = sorted(p.parent for p in DATA.glob("pytorch-*/*/model.onnx"))
NETWORKS = sorted(DATA.glob("light/*.onnx"))


def tensors(folder: Path, kind: str) -> list[np.ndarray]:
    paths = sorted((folder / "test_data_set_0").glob(f"{kind}_*.pb"))
    return [numpy_helper.to_array(onnx.load_tensor(p)) for p in paths]


@pytest.mark.parametrize("folder", CONVERTED, ids=lambda p: p.name.removeprefix("test_"))
def test_recorded_outputs(folder: Path) -> None:
    ort = pytest.importorskip("onnxruntime")
    model = load_model(folder / "model.onnx")
    optimize(model)
    proto = to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    options = ort.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = ort.InferenceSession(proto.SerializeToString(), options, ["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    got = session.run(None, dict(zip(names, tensors(folder, "input"), strict=True)))
    for g, w in zip(got, tensors(folder, "output"), strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("path", NETWORKS, ids=lambda p: p.stem)
def test_networks_have_every_shape(path: Path) -> None:
    model = load_model(path)
    for node in model.graph:
        for value in node.outputs:
            assert value.shape is not None
            assert value.shape.is_static()
    optimize(model)
    onnx.checker.check_model(to_proto(model), full_check=True)

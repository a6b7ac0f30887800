"""onnxruntime.backend, and custom operators: with onnxruntime and with ours in its place."""

from __future__ import annotations

import importlib

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.runtime.test_ort_api import TEXT, X, graph_of, ort  # noqa: F401, a fixture
from toolkit import errors


@pytest.mark.filterwarnings("ignore:onnx.version is deprecated")  # onnxruntime's.
@pytest.mark.parametrize("form", ["path", "bytes", "model", "session", "prepared"])
def test_backend(ort, form, tmp_path):  # noqa: F811
    """The documentation's example: `rep = backend.prepare(model, "CPU"); rep.run(x)`."""
    backend = importlib.import_module("onnxruntime.backend")
    (tmp_path / "m.onnx").write_bytes(TEXT)
    session = ort.InferenceSession(TEXT)
    model = {
        "path": str(tmp_path / "m.onnx"), "bytes": TEXT, "model": onnx.ModelProto.FromString(TEXT),
        "session": session, "prepared": backend.prepare(TEXT),
    }[form]  # fmt: skip
    rep = backend.prepare(model, "CPU", log_severity_level=3)
    want = session.run(None, {"x": X})
    for got in (rep.run(X), rep.run([X]), backend.run(model, [X], "CPU"), rep.run(X, logid="r")):
        assert isinstance(got, list)
        for a, b in zip(got, want, strict=True):
            np.testing.assert_array_equal(a, b)
    assert backend.supports_device("CPU") and backend.is_compatible(model, "CPU")
    assert not backend.supports_device("TPU")
    if form not in ("session", "prepared"):
        with pytest.raises(Exception, match="TPU"):
            backend.prepare(model, "TPU")


def test_a_library_of_custom_operators(ort):  # noqa: F811
    """The file is not there; here a hint says what to do instead."""
    with pytest.raises(Exception, match=r"nowhere\.so|Give the operator a body"):
        ort.SessionOptions().register_custom_ops_library("/nowhere.so")


def test_a_custom_operator_without_a_body(ort):  # noqa: F811
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])
    text = graph_of([helper.make_node("Mine", ["x"], ["y"], domain="my.ops")], [x], [y],
                    **{"my.ops": 1})  # fmt: skip
    state = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    kinds = (state.Fail, state.InvalidGraph, state.NotImplemented, errors.ToolkitError)
    with pytest.raises(kinds, match="Mine"):
        ort.InferenceSession(text)

"""Each adapter: a model written by the old schema, upgraded, gives what the old one gave.

The nodes stand in upgrade_cases.py.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from tests.graph.upgrade_cases import (
    CASES,
    Case,
    expected,
    feeds_of,
    model_of,
    onnxruntime_run,
    typed,
)
from toolkit.errors import UnsupportedOperatorError
from toolkit.graph.io import CANONICAL_OPSET, load_model, to_proto

# onnx.reference is wrong or has no version for these.
RUN_BY_ONNXRUNTIME = (
    "Gemm", "GlobalLpPool", "LRN", "LpPool", "MaxPool", "Resize", "Split", "Upsample",
)  # fmt: skip


def assert_same(got: list[Any], want: list[np.ndarray], dtype_too: bool = True) -> None:
    assert len(got) == len(want)
    for g, w in zip(got, want, strict=True):
        assert np.shape(g) == w.shape
        if dtype_too and w.dtype.kind != "f":
            assert g.dtype == w.dtype
        np.testing.assert_allclose(g, w, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_upgraded_node_gives_what_the_old_one_gave(case: Case) -> None:
    want = expected(case)
    model = load_model(typed(model_of(case), want))
    assert model.graph.opset_imports[""] == CANONICAL_OPSET
    new = to_proto(model, CANONICAL_OPSET)
    onnx.checker.check_model(new, full_check=True)
    assert [o.name for o in new.graph.output] == [f"y{k}" for k in range(case.outputs)]
    if case.op == "BatchNormalization" and case.outputs == 5:
        new_outputs = ReferenceEvaluator(new).run(None, feeds_of(case))
    elif case.op in RUN_BY_ONNXRUNTIME:
        new_outputs = onnxruntime_run(to_proto(model, 21), feeds_of(case))
    else:
        new_outputs = ReferenceEvaluator(new).run(None, feeds_of(case))
    assert_same(new_outputs, want)


@pytest.mark.parametrize(("outputs", "training"), [(1, 0), (5, 1)])
def test_batch_normalization_trains_by_its_number_of_outputs(outputs: int, training: int) -> None:
    """Also where nothing reads the statistics, as torch writes it."""
    case = next(c for c in CASES if str(c).startswith("BatchNormalization-9"))
    model = model_of(dataclasses.replace(case, outputs=outputs))
    del model.graph.output[1:]
    (node,) = (n for n in load_model(model).graph if n.op_type == "BatchNormalization")
    found = node.attributes.get("training_mode")
    assert (found.value if found else 0) == training


BACK = [c for c in CASES if c.outputs < 5]


# The opset that brought the operator, or Where, into which it is rewritten.
OLDEST = {
    "DFT": 17, "Erf": 9, "GRUUnit": 9, "GridSample": 16, "MaxPool": 8,
    "Resize-11": 11, "Resize-10-down": 10,
    "RoiAlign": 10, "Scatter": 9, "ScatterND": 11, "ThresholdedRelu": 9, "Tile": 9,
}  # fmt: skip


@pytest.mark.parametrize("opset", [7, 8, 9, 10, 11, 13, 18, 21])
@pytest.mark.parametrize("case", BACK, ids=str)
def test_exported_node_gives_the_same_at_an_older_opset(case: Case, opset: int) -> None:
    """Onnxruntime runs the upgraded model, brought down to `opset`."""
    want = expected(case)
    model = load_model(typed(model_of(case), want))
    oldest = (OLDEST.get(key) for key in (str(case), case.op, f"{case.op}-{case.opset}"))
    if opset < next(filter(None, oldest), 7):
        with pytest.raises(UnsupportedOperatorError, match="It cannot be exported to opset"):
            to_proto(model, opset)
        return
    old = to_proto(model, opset)
    onnx.checker.check_model(old, full_check=True)
    assert old.opset_import[0].version == opset
    try:
        got = onnxruntime_run(old, feeds_of(case))
    except Exception as error:
        if "NOT_IMPLEMENTED" in str(error) or "NotImplemented" in type(error).__name__:
            pytest.skip("onnxruntime has no kernel for these types")
        raise
    assert_same(got, want)

"""The operator table lowered for browsers: calls and gradients are equal, or refused by name."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from tests import gradcheck, opcheck
from tests.opinfo import FAMILIES, OpInfo
from toolkit.errors import UnsupportedOperatorError
from toolkit.graph.io import to_proto
from toolkit.graph.targets import check_target, lower_to
from toolkit.graph.targets.profile import SHAPE_INPUTS

ROWS = [row for rows in FAMILIES.values() for row in rows if not row.domain]
SAMPLES = 2
CONSTANT = {**SHAPE_INPUTS, "CenterCropPad": {1}, "OneHot": {1}}  # Shapes must not be data.
WINDOWS = ("HannWindow", "HammingWindow", "BlackmanWindow")

# Their data decides on shapes, they draw, they hold what is no tensor of numbers, or types that
# GPUs have not (OneHot's samples), or nobody has written a rewrite yet.
REFUSED = {
    "AffineGrid", "Bernoulli", "BitCast", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr",
    "BitwiseXor", "Col2Im", "Compress", "ConcatFromSequence", "CumProd", "DFT", "DeformConv",
    "DequantizeLinear", "Det", "DynamicQuantizeLinear", "GlobalLpPool", "GridSample",
    "ImageDecoder", "LRN", "Loop", "LpNormalization", "LpPool", "MaxRoiPool", "MaxUnpool",
    "MelWeightMatrix", "Multinomial", "NonMaxSuppression", "NonZero", "OneHot", "Optional",
    "OptionalGetElement", "OptionalHasElement", "QuantizeLinear", "RandomNormal",
    "RandomNormalLike", "RandomUniform", "RandomUniformLike", "RegexFullMatch",
    "ReverseSequence", "RoiAlign", "STFT", "SequenceAt", "SequenceConstruct", "SequenceEmpty",
    "SequenceErase", "SequenceInsert", "SequenceLength", "SequenceMap", "SplitToSequence",
    "StringConcat", "StringNormalizer", "StringSplit", "TensorScatter", "Unique",
}  # fmt: skip


def outcome(op: OpInfo, model: onnx.ModelProto, feed: dict[str, np.ndarray]) -> str:
    """Lowers a model and compares: "equal" or "refused"."""
    fixed = {f"x{i}" for i in CONSTANT.get(op.op_type, ())} & feed.keys()
    model.graph.initializer.extend(onnx.numpy_helper.from_array(feed[n], n) for n in fixed)
    kept = [v for v in model.graph.input if v.name not in fixed]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    feed = {name: array for name, array in feed.items() if name not in fixed}
    want = gradcheck.session(model).run(None, feed)
    try:
        lowered = lower_to(model, "ortweb")
    except UnsupportedOperatorError:
        return "refused"
    assert check_target(lowered, "ortweb") == []
    got = gradcheck.session(to_proto(lowered, gradcheck.export_opset(op))).run(None, feed)
    for g, w in zip(got, want, strict=True):
        assert g.dtype == w.dtype
        if w.dtype.kind == "f":
            finite = np.isfinite(w)  # Nothing is promised of others.
            size = np.abs(w[finite]).max(initial=1.0)
            np.testing.assert_allclose(g[finite], w[finite], rtol=2e-4, atol=2e-5 * size)
        else:
            np.testing.assert_array_equal(g, w)
    return "equal"


@pytest.mark.parametrize("op", ROWS, ids=lambda op: op.name)
def test_calls_and_gradients(op):
    if "float32" not in op.dtypes:
        pytest.skip("no float32")
    if "empty" in op.name:
        pytest.skip("a Scan of no turns has nothing to write out")
    if op.op_type in WINDOWS:
        pytest.skip("the standard's body gives 0 for a window of one element, kernels give 1")
    rng = np.random.default_rng(0)
    found = set()
    for sample in list(op.samples(op.draw("float32")))[:SAMPLES]:
        y = opcheck.run(op, sample)
        model, feed = opcheck.model(op, sample, y, False), opcheck.feed(sample)
        if any(isinstance(v, (list, dict, type(None))) for v in (*y, *feed.values())):
            pytest.skip("no tensors")
        found.add(outcome(op, model, feed))
        if gradcheck.wanted(op, sample, "float32"):
            case = gradcheck.case(op, sample, rng, dtype="float32")
            found.add(outcome(op, case.model, case.feed))
    assert ("equal" in found) is (op.op_type not in REFUSED)

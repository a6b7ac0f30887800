"""Every composite exports at old and new opsets, as function and flat, with equal results."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from toolkit.graph import functions, special_names
from toolkit.graph.infer import infer_shapes
from toolkit.graph.io import load_model, to_proto

RNG = np.random.default_rng(1)


def f32(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape, np.float32)


def i64(*items: int) -> np.ndarray:
    return np.array(items, np.int64)


X, W = f32(2, 3, 6, 6), f32(4, 3, 3, 3)
DY = f32(2, 4, 4, 4)
STATE = np.array([7, 3], np.uint64)
LR, STEP = np.float32(0.1), np.int64(2)
SAME = [f32(3, 4) for _ in range(5)]
HEADS = [f32(2, 2, 3, 4), f32(2, 2, 3, 4), f32(2, 2, 3, 4)]
MOMENT = np.abs(f32(3, 4))
MUON = {"coefficients": ["3.4445", "-4.775", "2.0315"], "steps": 3}
BOTH = {"direction": "bidirectional", "hidden_size": 2}
LENS = np.array([4, 2], np.int32)


def recurrent(gates: int) -> list[np.ndarray]:
    """X (4 steps, 2 samples, 3), W, R, B, sequence_lens, initial_h of two directions."""
    rows = gates * 2
    return [f32(4, 2, 3), f32(2, rows, 3), f32(2, rows, 2), f32(2, 2 * rows), LENS, f32(2, 2, 2)]


def arriving(states: int) -> list[np.ndarray]:
    """Y and the cotangents of Y and the last states."""
    return [f32(4, 2, 2, 2), f32(4, 2, 2, 2), *(f32(2, 2, 2) for _ in range(states))]


ROIS = np.float32([[0, 0, 4, 4], [1, 1, 5, 4]])
P01 = np.float32([[0.1, 0.4], [0.6, 0.9]])
SPECIAL: list[tuple[str, str, list[Any], dict[str, Any], int]] = [
    *[("special", name, [P01], {}, 1) for name in sorted(special_names.UNARY)],
    *[
        ("special", name, [P01 + 2, P01[0] * 3], {}, 1)
        for name in sorted(special_names.BINARY - {"Gcd"})
    ],
    ("special", "Gcd", [i64(12, -18, 0), i64(8)], {}, 1),
]
SPD = np.eye(3, dtype=np.float32) * 3 + 0.1 * np.ones((2, 3, 3), np.float32)
PIVOTS = np.array([[1, 3, 3], [2, 2, 3]], np.int32)
CTC = [f32(6, 2, 4), i64(0, 2, 2, 3, 0, 0).reshape(2, 3), i64(6, 4), i64(3, 1)]
CASES: list[tuple[str, str, list[Any], dict[str, Any], int]] = [
    ("grad", "SumToShape", [f32(2, 3, 4), i64(3, 1)], {}, 1),
    ("grad", "ConvGradInput", [DY, W, i64(2, 3, 6, 6)], {"kernel_shape": [3, 3]}, 1),
    ("grad", "ConvGradWeight", [X, DY, i64(4, 3, 3, 3)], {"kernel_shape": [3, 3]}, 1),
    ("grad", "MaxPoolGrad", [X, f32(2, 3, 3, 3)], {"kernel_shape": [2, 2], "strides": [2, 2]}, 1),
    (
        "grad",
        "AveragePoolGrad",
        [f32(2, 3, 3, 3), i64(2, 3, 6, 6)],
        {"kernel_shape": [2, 2], "strides": [2, 2]},
        1,
    ),
    ("grad", "SoftmaxGrad", [f32(3, 4), f32(3, 4)], {"axis": -1}, 1),
    ("grad", "LogSoftmaxGrad", [f32(3, 4), f32(3, 4)], {"axis": 0}, 1),
    (
        "grad",
        "SoftmaxCrossEntropyLossGrad",
        [f32(3, 4), i64(0, 3, 1), np.float32(1.5)],
        {"reduction": "mean"},
        1,
    ),
    ("grad", "LayerNormalizationGrad", [f32(3, 4), f32(4), f32(3, 4)], {"axis": -1}, 3),
    ("grad", "BatchNormalizationGrad", [X, f32(3), f32(2, 3, 6, 6)], {}, 3),
    ("grad", "GatherGrad", [f32(2, 4), i64(2, 2), i64(5, 4)], {"axis": 0}, 1),
    ("grad", "DetGrad", [f32(2, 3, 3), f32(2)], {}, 1),
    ("grad", "SliceGrad", [f32(2, 4), i64(5, 4), i64(1), i64(3), i64(0)], {}, 1),
    (
        "grad",
        "AttentionGrad",
        [*HEADS, f32(3, 3), None, None, None, *HEADS[:2]],
        {"is_causal": 1},
        3,
    ),
    (
        "grad",
        "LinearAttentionGrad",
        [f32(2, 3, 8), f32(2, 3, 8), f32(2, 3, 6), None, f32(2, 3, 2), f32(2, 3, 1), f32(2, 3, 6)],
        {"q_num_heads": 2, "kv_num_heads": 2, "update_rule": "gated_delta"},
        5,
    ),
    (
        "grad",
        "ResizeGrad",
        [f32(1, 2, 6, 8), i64(1, 2, 3, 4), None, np.float32([1, 1, 2, 2])],
        {"mode": "linear"},
        1,
    ),
    ("grad", "GridSampleGrad", [X, f32(2, 4, 5, 2), f32(2, 3, 4, 5)], {"mode": "linear"}, 2),
    (
        "grad",
        "RoiAlignGrad",
        [f32(2, 3, 2, 2), ROIS, i64(0, 1), i64(2, 3, 6, 6), None],
        {"output_height": 2, "output_width": 2},
        1,
    ),
    (
        "grad",
        "MaxRoiPoolGrad",
        [X, np.float32([[0, 0, 0, 4, 4], [1, 1, 1, 5, 4]]), f32(2, 3, 2, 2)],
        {"pooled_shape": [2, 2]},
        1,
    ),
    ("nn", "CumMax", [f32(2, 5)], {"axis": 1}, 2),
    ("nn", "CumMin", [f32(2, 5)], {"axis": 0}, 2),
    ("nn", "CumLogSumExp", [f32(2, 5, 3)], {"axis": 1, "reverse": 1}, 1),
    ("nn", "CTCLoss", CTC, {"blank": 1}, 1),
    ("grad", "CTCLossGrad", [f32(2), *CTC], {"blank": 1}, 1),
    ("nn", "Im2Col", [X, i64(2, 2)], {}, 1),
    ("grad", "RNNGrad", [*recurrent(1), *arriving(1)], BOTH, 5),
    ("grad", "GRUGrad", [*recurrent(3), *arriving(1)], BOTH | {"linear_before_reset": 1}, 5),
    ("grad", "LSTMGrad", [*recurrent(4), f32(2, 2, 2), f32(2, 6), *arriving(2)], BOTH, 7),
    ("nn", "BatchNormTraining", [X, f32(3), f32(3), f32(3), MOMENT[:, 0]], {"momentum": 0.1}, 3),
    ("random", "Dropout", [f32(3, 5), STATE], {"ratio": 0.4, "call": 2}, 2),
    ("random", "Uniform", [i64(3, 5), STATE], {"call": 0, "dtype": 1}, 1),
    ("random", "Normal", [i64(3, 5), STATE], {"call": 1, "dtype": 1}, 1),
    ("optim", "SGD", [*SAME[:3], LR, STEP], {"momentum": 0.9}, 2),
    ("optim", "Adam", [*SAME[:3], MOMENT, LR, STEP], {"weight_decay": 0.01}, 3),
    ("optim", "AdamW", [*SAME[:3], MOMENT, LR, STEP], {}, 3),
    ("optim", "LAMB", [*SAME[:2], LR, STEP, SAME[2], MOMENT], {}, 3),
    ("optim", "Adafactor", [*SAME[:2], LR, STEP, MOMENT[:, :1], MOMENT[:1]], {}, 3),
    ("optim", "Muon", [*SAME[:2], LR, STEP, SAME[2]], MUON, 2),
    ("optim", "NAdam", [*SAME[:2], LR, STEP, SAME[2], MOMENT, np.float32(0.9)], {}, 4),
    ("optim", "RAdam", [*SAME[:2], LR, np.int64(9), SAME[2], MOMENT], {}, 3),
    ("optim", "Adamax", [*SAME[:2], LR, STEP, SAME[2], MOMENT], {}, 3),
    ("optim", "Adagrad", [*SAME[:2], LR, STEP, MOMENT], {}, 2),
    ("optim", "Adadelta", [*SAME[:2], LR, STEP, MOMENT, MOMENT], {}, 3),
    ("optim", "RMSprop", [*SAME[:2], LR, STEP, MOMENT], {}, 2),
    ("optim", "Rprop", [*SAME[:2], LR, STEP, SAME[2], MOMENT], {}, 3),
    ("optim", "ASGD", [*SAME[:2], LR, STEP, SAME[2], LR, np.float32(1)], {}, 4),
    ("optim", "Lion", [*SAME[:2], LR, STEP, SAME[2]], {}, 2),
    ("optim", "AdamWOptimizer", [*SAME[:3], MOMENT, LR, STEP], {"adam_mode": 1}, 3),
    ("optim", "GradNormPower", [SAME[0]], {"norm_type": 3.0}, 1),
    ("optim", "ClipGradNorm", [SAME[0], np.float32(3)], {"max_norm": 0.5}, 1),
    ("optim", "ClipGradValue", [SAME[0]], {"clip_value": 0.5}, 1),
    ("optim", "NonFinite", [SAME[0]], {}, 1),
    *SPECIAL,
    ("linalg", "Cholesky", [SPD], {}, 2),
    ("linalg", "Lu", [f32(2, 4, 3)], {}, 3),
    ("linalg", "LuPermutation", [SPD, PIVOTS], {"inverse": 1}, 1),
    ("linalg", "LuSolve", [SPD, PIVOTS, f32(2, 3, 2)], {"trans": 1}, 1),
    ("linalg", "Solve", [SPD, f32(2, 3, 2)], {}, 4),
    ("linalg", "SolveTriangular", [SPD, f32(2, 3, 2)], {"upper": 1}, 1),
    ("linalg", "Geqrf", [f32(2, 4, 3)], {}, 2),
    ("linalg", "HouseholderProduct", [f32(2, 4, 3), f32(2, 3)], {}, 1),
    ("linalg", "Qr", [f32(2, 4, 3)], {"mode": "complete"}, 2),
    ("linalg", "Eigh", [SPD], {}, 2),
    ("linalg", "Svd", [f32(2, 4, 3)], {"full_matrices": 1}, 3),
    ("linalg", "MatrixExp", [SPD], {}, 1),
    ("linalg", "PinvOf", [f32(2, 4, 3), f32(2, 3, 4)], {}, 1),
]
IDS = [name for _, name, *_ in CASES]


def model_of(case: tuple[str, str, list[Any], dict[str, Any], int]) -> ir.Model:
    domain, name, arrays, attrs, outputs = case
    given: list[ir.Value | None] = []
    for k, item in enumerate(arrays):
        array = np.asarray(item)
        given.append(
            None
            if item is None
            else ir.Value(
                name=f"x{k}",
                type=ir.TensorType(ir.DataType.from_numpy(array.dtype)),
                shape=ir.Shape(array.shape),
            )
        )
    inputs = [value for value in given if value is not None]
    node = ir.node(name, given, attrs, domain=f"toolkit.{domain}", num_outputs=outputs)
    for k, value in enumerate(node.outputs):
        value.name = f"y{k}"
    graph = ir.Graph(inputs, node.outputs, nodes=[node], opset_imports={"": 28}, name="g")
    graph.opset_imports[f"toolkit.{domain}"] = 1
    infer_shapes(graph, strict=True)
    return ir.Model(graph, ir_version=10)


def run(proto: onnx.ModelProto, arrays: list[Any]) -> list[np.ndarray]:
    ort = pytest.importorskip("onnxruntime")
    options = ort.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = ort.InferenceSession(proto.SerializeToString(), options, ["CPUExecutionProvider"])
    return list(
        session.run(None, {f"x{k}": np.array(a) for k, a in enumerate(arrays) if a is not None})
    )


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_composite_exports(case: tuple[str, str, list[Any], dict[str, Any], int]) -> None:
    model, arrays = model_of(case), case[2]
    want: list[np.ndarray] | None = None
    for opset in (21, 18):
        for inline in (False, True):
            proto = to_proto(model, opset, inline)
            onnx.checker.check_model(proto, full_check=True)
            assert bool(proto.functions) is not inline
            assert all(not n.domain for n in proto.graph.node) is inline
            got = run(proto, arrays)
            want = got if want is None else want
            for value, g, w in zip(model.graph.outputs, got, want, strict=True):
                np.testing.assert_allclose(g, w, rtol=1e-5, atol=1e-6)
                assert g.dtype == value.dtype.numpy() if value.dtype else True
                assert value.shape is not None
                assert len(value.shape) == g.ndim
    again = load_model(to_proto(model))
    assert len(again.graph) == 1


def test_every_composite_is_tried() -> None:
    functions.find("", "")  # Loads all families.
    assert {(f"toolkit.{d}", n) for d, n, *_ in CASES} == set(functions.composites())

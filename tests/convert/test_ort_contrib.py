"""Operators of com.microsoft beside onnxruntime itself: models of one node, run by both.

A row is (operator, inputs, attributes, number of outputs, tolerance); an array that ends as a
constant of the model is wrapped in `K`. What onnxruntime computes in steps of 8 bits may be off by
one code.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from toolkit import errors
from toolkit.graph.contrib import bodies
from toolkit.graph.io import load_model, to_proto
from toolkit.runtime import InferenceSession

MS = "com.microsoft"
RNG = np.random.default_rng(7)
CODE = "one code"


class K:
    """A constant of the model."""

    def __init__(self, array: Any) -> None:
        self.array = np.asarray(array)


def f(*shape: int, scale: float = 1.0) -> np.ndarray:
    return (RNG.standard_normal(shape) * scale).astype(np.float32)


def u8(*shape: int, low: int = 0, high: int = 256) -> np.ndarray:
    return RNG.integers(low, high, shape).astype(np.uint8)


def i8(*shape: int) -> np.ndarray:
    return RNG.integers(-128, 128, shape).astype(np.int8)


def ids(*shape: int, high: int = 10, kind: Any = np.int32) -> np.ndarray:
    return RNG.integers(0, high, shape).astype(kind)


def s(value: float) -> K:
    return K(np.float32(value))


def z(value: int, kind: Any = np.uint8) -> K:
    return K(kind(value))


def caches(n: int, half: int) -> tuple[np.ndarray, np.ndarray]:
    angles = np.arange(n)[:, None] / 10 ** (np.arange(half) / half)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


COS, SIN = caches(32, 4)
COS16, SIN16 = caches(32, 8)
CACHE = f(2, 2, 9, 16)  # What is behind the tokens of a row is not specified.
CACHE[0, :, 5:], CACHE[1, :, 3:] = 0, 0
PADS = np.array([0, 0, 1, 1, 0, 0, 0, 1], np.int64)
BIN = [u8(2, 3, 4), s(0.04), z(120), u8(3, 4), s(0.02), z(9), s(0.06), z(100)]
FUSED = [
    ("FusedMatMul", [f(2, 4, 3), f(2, 5, 4)], {"transA": 1, "transB": 1, "alpha": 0.5}),
    ("FusedMatMul", [f(3, 2, 4), f(3, 4, 5)], {"transBatchA": 0}),
    ("FusedMatMul", [f(4, 2, 3), f(2, 3, 5)], {"transBatchA": 1}),
    ("FusedGemm", [f(3, 4), f(4, 5), f(5)], {"activation": "Relu", "alpha": 0.7}),
    ("FusedGemm", [f(3, 4), f(5, 4), f(3, 5)],
     {"activation": "LeakyRelu", "activation_alpha": 0.2, "transB": 1, "beta": 2.0}),
    ("FusedGemm", [f(3, 4), f(4, 5)], {"activation": "Sigmoid"}),
    ("FusedGemm", [f(3, 4), f(4, 5), f(5)], {"activation": "Tanh"}),
    ("FusedConv", [f(1, 3, 6, 6), f(4, 3, 3, 3), f(4)], {"activation": "Relu", "pads": [1] * 4}),
    ("FusedConv", [f(1, 3, 6, 6), f(4, 3, 3, 3), f(4), f(1, 4, 4, 4)], {"activation": "Relu"}),
    ("FusedConv", [f(1, 4, 6, 6), f(4, 2, 3, 3), None, f(1, 4, 2, 2)],
     {"group": 2, "strides": [2, 2]}),
    ("FusedConv", [f(1, 3, 6, 6), f(4, 3, 3, 3)],
     {"activation": "Clip", "activation_params": [0.0, 6.0]}),
    ("FusedConv", [f(1, 3, 6, 6), f(4, 3, 1, 1)],
     {"activation": "LeakyRelu", "activation_params": [0.3]}),
    ("FusedConv", [f(1, 3, 6, 6), f(4, 3, 1, 1)],
     {"activation": "HardSigmoid", "activation_params": [0.3, 0.4]}),
    ("NhwcMaxPool", [u8(1, 6, 6, 3)], {"kernel_shape": [2, 2], "strides": [2, 2]}),
    ("ConvTransposeWithDynamicPads",
     [f(1, 3, 4, 4), f(3, 2, 3, 3), K(np.array([1, 1, 1, 1])), f(2)], {"strides": [2, 2]}),
    ("CDist", [f(4, 3), f(5, 3)], {"metric": "sqeuclidean"}),
    ("CDist", [f(4, 3), f(5, 3)], {"metric": "euclidean"}),
    ("Gelu", [f(2, 5)], {}),
    ("QuickGelu", [f(2, 5)], {"alpha": 1.5}),
    ("BiasGelu", [f(2, 5), f(5)], {}),
    ("FastGelu", [f(2, 5), f(5)], {}),
    ("FastGelu", [f(2, 5)], {}),
]  # fmt: skip
STANDARD = [
    ("Inverse", [f(4, 4)], {}, 1, 1e-4),
    ("Inverse", [f(2, 3, 3)], {}, 1, 1e-4),
    ("ExpandDims", [f(2, 3), K(np.int32(1))], {}),
    ("ExpandDims", [f(2, 3), K(np.int32(-1))], {}),
    ("GridSample", [f(1, 2, 4, 5), f(1, 3, 3, 2, scale=0.5)], {"padding_mode": "border"}),
    ("GridSample", [f(1, 2, 4, 5), f(1, 3, 3, 2, scale=0.5)], {"mode": "nearest"}),
    ("GridSample", [f(1, 2, 4, 5), f(1, 3, 3, 2)], {"mode": "bicubic", "align_corners": 1}),
    ("Pad", [f(1, 1, 3, 3), K(PADS), s(2.0)], {}),
    ("Pad", [f(1, 1, 3, 3), K(PADS)], {"mode": "reflect"}),
    ("Range", [s(1.0), s(4.0), s(0.5)], {}),
    ("Range", [K(np.int64(1)), K(np.int64(4))], {}),
    ("Unique", [np.float32([3, 1, 3, 2, 1])], {}, 3),
    ("Trilu", [f(3, 4), K(np.int64(1))], {"upper": 0}),
    ("GatherND", [f(3, 4, 2), ids(5, 2, high=3)], {}),
    ("UnfoldTensor", [f(3, 9)], {"dim": 1, "size": 3, "step": 2}),
    ("SampleOp", [f(3)], {}),
    ("CropAndResize", [f(2, 3, 6, 5), np.float32([[0.1, 0.2, 0.9, 0.7], [-0.2, 0, 1, 1.3]]),
                       K(np.int32([1, 0])), K(np.int32([4, 3]))], {"extrapolation_value": 2.0}),
    ("CropAndResize", [f(2, 3, 6, 5), np.float32([[0.1, 0.2, 0.9, 0.7], [0, 0, 1, 1]]),
                       K(np.int32([1, 0])), K(np.int32([2, 1]))], {"mode": "nearest"}),
]  # fmt: skip
NORMS = [
    ("SkipLayerNormalization", [f(2, 3, 8), f(2, 3, 8), f(8), f(8), f(8)], {"epsilon": 1e-5}),
    ("SkipLayerNormalization", [f(2, 3, 8), f(2, 3, 8), f(8)], {}, (0, 3)),
    ("SkipLayerNormalization", [f(2, 3, 8), f(1, 3, 8), f(8), None, f(8)], {}, (0, 3)),
    ("SkipLayerNormalization", [f(2, 3, 8), f(3, 8), f(8), f(8)], {}),
    ("SkipSimplifiedLayerNormalization", [f(2, 3, 8), f(2, 3, 8), f(8)], {}, (0, 3)),
    ("SkipSimplifiedLayerNormalization", [f(2, 3, 8), f(2, 3, 8), f(8), f(8)], {"epsilon": 1e-3}),
    ("EmbedLayerNormalization",
     [ids(2, 4), ids(2, 4, high=2), f(10, 8), f(6, 8), f(2, 8), f(8), f(8),
      np.int32([[1, 1, 1, 0], [1, 1, 0, 0]])], {}, 2),
    ("EmbedLayerNormalization",
     [ids(2, 4), None, f(10, 8), f(6, 8), None, f(8), f(8), None, ids(2, 4, high=6)],
     {"epsilon": 1e-4}, (0, 2)),
    ("RotaryEmbedding", [f(2, 5, 24), ids(2, 5, high=20, kind=np.int64), K(COS), K(SIN)], {}),
    ("RotaryEmbedding", [f(2, 5, 24), K(np.array([3])), K(COS), K(SIN)], {"interleaved": 1}),
    ("RotaryEmbedding", [f(2, 3, 5, 8), ids(2, 5, high=20, kind=np.int64), K(COS), K(SIN)], {}),
    ("RotaryEmbedding", [f(2, 5, 36), ids(2, 5, high=20, kind=np.int64), K(COS), K(SIN)],
     {"num_heads": 3, "rotary_embedding_dim": 8}),
]  # fmt: skip
M2 = np.int32([[1, 1, 1, 0], [1, 1, 1, 1]])
ATTENTION = [
    ("Attention", [f(2, 4, 6), f(6, 24), f(24)], {"num_heads": 2}),
    ("Attention", [f(2, 4, 6), f(6, 24), f(24)], {"num_heads": 2, "unidirectional": 1}, 2),
    ("Attention", [f(2, 4, 6), f(6, 24), f(24), M2], {"num_heads": 2, "scale": 0.3}),
    ("Attention", [f(2, 4, 6), f(6, 24), f(24), np.int32([3, 4])], {"num_heads": 2}),
    ("Attention", [f(2, 4, 6), f(6, 24), f(24), np.int32([4, 4, 1, 0])], {"num_heads": 2}),
    ("Attention", [f(2, 4, 6), f(6, 24), f(24), np.stack([M2] * 4, 1)], {"num_heads": 2}),
    ("Attention", [f(2, 4, 6), f(6, 20), f(20)], {"num_heads": 2, "qkv_hidden_sizes": [8, 8, 4]}),
    ("Attention", [f(2, 4, 6), f(6, 24), f(24), None, None, f(2, 2, 4, 4)], {"num_heads": 2}),
    ("Attention", [f(2, 2, 6), f(6, 24), f(24), M2, f(2, 2, 2, 2, 4)],
     {"num_heads": 2, "unidirectional": 1}, 2),
    ("MultiHeadAttention", [f(2, 4, 8), f(2, 5, 8), f(2, 5, 8), f(24)], {"num_heads": 2}),
    ("MultiHeadAttention", [f(2, 4, 8), f(2, 5, 8), f(2, 5, 4)], {"num_heads": 2}),
    ("MultiHeadAttention", [f(2, 4, 8), f(2, 4, 8), f(2, 4, 8), None, M2], {"num_heads": 2}),
    ("MultiHeadAttention", [f(2, 4, 8), f(2, 4, 8), f(2, 4, 8)],
     {"num_heads": 2, "unidirectional": 1}),
    ("MultiHeadAttention", [f(2, 2, 8), f(2, 2, 8), f(2, 2, 8), None, None, f(1, 2, 2, 5),
                            f(2, 2, 3, 4), f(2, 2, 3, 4)], {"num_heads": 2}, 3),
    ("MultiHeadAttention", [f(2, 2, 8), f(2, 2, 8), f(2, 2, 8), f(24), None, None,
                            f(2, 2, 3, 4), f(2, 2, 3, 4)],
     {"num_heads": 2, "unidirectional": 1, "scale": 0.7}, 3),
    ("MultiHeadAttention", [f(2, 4, 8), f(2, 2, 5, 4), f(2, 2, 5, 4)], {"num_heads": 2}),
    ("GroupQueryAttention", [f(2, 5, 24), f(2, 5, 8), f(2, 5, 8), None, None, np.int32([4, 4]),
                             K(np.int32(5))], {"num_heads": 3, "kv_num_heads": 1}, 3),
    ("GroupQueryAttention", [f(2, 5, 64), f(2, 5, 32), f(2, 5, 32), None, None, np.int32([4, 4]),
                             K(np.int32(5)), K(COS16), K(SIN16)],
     {"num_heads": 4, "kv_num_heads": 2, "do_rotary": 1}, 3),
    ("GroupQueryAttention", [f(2, 1, 64), f(2, 1, 32), f(2, 1, 32), f(2, 2, 5, 16), f(2, 2, 5, 16),
                             np.int32([5, 5]), K(np.int32(6)), K(COS16), K(SIN16)],
     {"num_heads": 4, "kv_num_heads": 2, "do_rotary": 1, "rotary_interleaved": 1}, 3),
    ("GroupQueryAttention", [f(2, 1, 128), None, None, CACHE, CACHE + CACHE,
                             np.int32([5, 3]), K(np.int32(6)), K(COS16), K(SIN16)],
     {"num_heads": 4, "kv_num_heads": 2, "do_rotary": 1}, 3),
    ("GroupQueryAttention", [f(1, 5, 64), f(1, 5, 32), f(1, 5, 32), None, None, np.int32([4]),
                             K(np.int32(5))],
     {"num_heads": 4, "kv_num_heads": 2, "local_window_size": 2, "softcap": 3.0}),
    ("GroupQueryAttention", [f(1, 1, 64), f(1, 1, 32), f(1, 1, 32), f(1, 2, 6, 16), f(1, 2, 6, 16),
                             np.int32([6]), K(np.int32(7))],
     {"num_heads": 4, "kv_num_heads": 2, "local_window_size": 3}, 3),
    ("GroupQueryAttention", [f(1, 5, 64), f(1, 5, 32), f(1, 5, 32), None, None, np.int32([4]),
                             K(np.int32(5))],
     {"num_heads": 4, "kv_num_heads": 2, "smooth_softmax": 1}),
    ("GroupQueryAttention", [f(1, 5, 64), f(1, 5, 32), f(1, 5, 32), None, None, np.int32([4]),
                             K(np.int32(5)), None, None, None, None, f(4)],
     {"num_heads": 4, "kv_num_heads": 2}),
    ("GroupQueryAttention", [f(2, 3, 64), f(2, 3, 32), f(2, 3, 32), None, None, np.int32([2, 2]),
                             K(np.int32(3)), None, None, None, f(2, 1, 3, 3)],
     {"num_heads": 4, "kv_num_heads": 2}),
]  # fmt: skip
QUANTIZED = [
    ("QLinearAdd", BIN, {}, 1, CODE),
    ("QLinearMul", BIN, {}, 1, CODE),
    ("QLinearAdd", [i8(2, 4), s(0.04), z(3, np.int8), i8(4), s(0.02), z(-9, np.int8), s(0.06)],
     {}, 1, CODE),
    ("QLinearSigmoid", [u8(2, 40), s(0.05), z(120), s(1 / 256), z(0)], {}, 1, CODE),
    ("QLinearLeakyRelu", [u8(2, 40), s(0.05), z(120), s(0.03), z(50)], {"alpha": 0.2}, 1, CODE),
    ("QLinearSoftmax", [u8(2, 10), s(0.05), z(120), s(1 / 256), z(0)],
     {"axis": -1, "opset": 13}, 1, CODE),
    ("QLinearSoftmax", [u8(2, 3, 4), s(0.05), z(120), s(1 / 256), z(0)],
     {"axis": 1, "opset": 11}, 1, CODE),
    ("QLinearConcat", [s(0.05), z(10), u8(2, 3), s(0.05), z(10), u8(2, 4), s(0.02), z(90)],
     {"axis": 1}, 1, CODE),
    ("QLinearWhere", [RNG.random((2, 3)) > 0.5, u8(2, 3), s(0.05), z(10), u8(2, 3), s(0.02), z(90),
                      s(0.04), z(50)], {}, 1, CODE),
    ("QLinearAveragePool", [u8(1, 3, 6, 6), s(0.05), z(10), s(0.04), z(20)],
     {"kernel_shape": [3, 3], "pads": [1] * 4}, 1, CODE),
    ("QLinearAveragePool", [u8(1, 6, 6, 3), s(0.05), z(10), s(0.04), z(20)],
     {"kernel_shape": [2, 2], "channels_last": 1, "count_include_pad": 1}, 1, CODE),
    ("QLinearGlobalAveragePool", [u8(1, 3, 6, 6), s(0.05), z(10), s(0.04), z(20)], {}, 1, CODE),
    ("QLinearGlobalAveragePool", [u8(1, 6, 6, 3), s(0.05), z(10), s(0.04), z(20)],
     {"channels_last": 1}, 1, CODE),
    ("QLinearConv", [u8(1, 6, 6, 3), s(0.05), z(10), K(u8(4, 3, 3, 3)), s(0.04), z(20),
                     s(0.9), z(128), K(ids(4, high=99))], {"channels_last": 1}, 1, CODE),
    ("QGemm", [u8(3, 4), s(0.05), z(10), K(i8(4, 5)), s(0.04), z(2, np.int8),
               K(ids(5, high=99)), s(0.3), z(99)], {}, 1, CODE),
    ("QGemm", [u8(4, 3), s(0.05), z(10), K(i8(5, 4)), K(np.float32([0.1, 0.2, 0.3, 0.4, 0.5])),
               K(np.zeros(5, np.int8)), K(ids(5, high=99))], {"transA": 1, "transB": 1,
                                                              "alpha": 0.5}),
    ("MatMulIntegerToFloat", [u8(2, 3, 4), K(i8(4, 5)), s(0.05), s(0.04), z(7), z(3, np.int8),
                              K(f(5))], {}),
    ("MatMulIntegerToFloat", [u8(3, 4), K(u8(4, 5)), s(0.05), K(np.abs(f(5))), z(7),
                              K(u8(5))], {}),
    ("DynamicQuantizeMatMul", [f(2, 3, 4), K(i8(4, 5)), s(0.04), z(3, np.int8), K(f(5))], {}),
    ("DynamicQuantizeMatMul", [f(3, 4), K(u8(4, 5)), K(np.abs(f(5))), K(u8(5))], {}),
    ("DynamicQuantizeMatMul", [f(3, 4), K(i8(4, 5)), s(0.04)], {}),
    ("MatMulInteger16", [ids(3, 4, kind=np.int16), ids(4, 5, kind=np.int16)], {}),
    ("QuantizeLinear", [f(3, 4), s(0.05), z(100)], {}),
    ("DequantizeLinear", [u8(3, 4), s(0.05), z(100)], {}),
    ("DequantizeLinear", [u8(3, 4), K(np.abs(f(3))), K(u8(3))], {"axis": 0}),
    ("DynamicQuantizeLSTM",
     [f(3, 2, 4), K(i8(1, 4, 20)), K(i8(1, 5, 20)), K(f(1, 40)), None, None, None, None,
      K(np.float32([0.004])), K(np.int8([0])), K(np.float32([0.004])), K(np.int8([0]))],
     {"hidden_size": 5}, 3, 2e-2),
    ("QAttention", [u8(2, 4, 6), K(i8(6, 24)), K(f(24)), s(0.02), s(0.01), np.int32([3, 4]),
                    z(120), z(3, np.int8)], {"num_heads": 2}),
    ("QEmbedLayerNormalization",
     [ids(2, 4), ids(2, 4, high=2), K(u8(10, 8)), K(u8(6, 8)), K(u8(2, 8)), K(u8(8)), K(u8(8)),
      np.int32([[1, 1, 1, 0], [1, 1, 0, 0]]), *[s(v) for v in (0.1, 0.2, 0.3, 0.01, 0.02)],
      *[z(v) for v in (100, 120, 90, 9, 3)]], {}, 2),
    ("MatMulNBits", [f(2, 40), K(u8(6, 3, 8)), K(np.abs(f(18)))],
     {"K": 40, "N": 6, "bits": 4, "block_size": 16}),
    ("MatMulNBits", [f(2, 3, 32), K(u8(6, 2, 8)), K(np.abs(f(12))), K(u8(6)), None, K(f(6))],
     {"K": 32, "N": 6, "bits": 4, "block_size": 16}),
    ("MatMulNBits", [f(2, 48), K(u8(6, 3, 8)), K(np.abs(f(18))), K(u8(12))],
     {"K": 48, "N": 6, "bits": 4, "block_size": 16}),
    ("MatMulNBits", [f(2, 32), K(u8(6, 2, 16)), K(np.abs(f(12)))],
     {"K": 32, "N": 6, "bits": 8, "block_size": 16}),
    ("MatMulNBits", [f(2, 32), K(u8(6, 2, 8)), K(np.abs(f(6, 2))), K(f(6, 2))],
     {"K": 32, "N": 6, "bits": 4, "block_size": 16}),
    ("GatherBlockQuantized", [K(u8(7, 16)), ids(2, 3, high=7), K(np.abs(f(7, 2)))],
     {"block_size": 16, "bits": 4, "gather_axis": 0, "quantize_axis": 1}),
    ("GatherBlockQuantized", [K(u8(7, 32)), ids(2, 3, high=7), K(np.abs(f(7, 2))), K(u8(7, 2))],
     {"block_size": 16, "bits": 8, "gather_axis": 0, "quantize_axis": 1}),
]  # fmt: skip
ROWS = [*FUSED, *STANDARD, *NORMS, *ATTENTION, *QUANTIZED]


def model_of(row, kind: Any = None) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """The model of a row and what to feed; onnxruntime says of what types the outputs are."""
    op, inputs, attributes = row[:3]
    outputs = row[3] if len(row) > 3 else 1
    wanted = range(outputs) if isinstance(outputs, int) else outputs
    names = ["" if v is None else f"x{i}" for i, v in enumerate(inputs)]
    results = [f"y{i}" if i in wanted else "" for i in range(max(wanted) + 1)]
    fed = {n: v for n, v in zip(names, inputs, strict=True) if n and not isinstance(v, K)}
    kept = [
        numpy_helper.from_array(v.array, n)
        for n, v in zip(names, inputs, strict=True) if isinstance(v, K)
    ]  # fmt: skip
    infos = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
        for n, v in fed.items()
    ]
    ends = [helper.make_empty_tensor_value_info(n) for n in results if n]
    node = helper.make_node(op, names, results, domain=MS, **attributes)
    graph = helper.make_graph([node], op, infos, ends, kept)
    imports = [helper.make_opsetid("", 17), helper.make_opsetid(MS, 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    kinds = [kind] if kind else [y.dtype for y in by_onnxruntime(model.SerializeToString(), fed)]
    for end, dtype in zip(graph.output, kinds, strict=True):
        end.type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return helper.make_model(graph, opset_imports=imports, ir_version=8), fed


def by_onnxruntime(text: bytes, fed) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(text, options, ["CPUExecutionProvider"]).run(None, fed)


def equal(row, got, want) -> None:
    tolerance = row[4] if len(row) > 4 else 2e-5
    assert len(got) == len(want)
    for a, b in zip(got, want, strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape, (a.dtype, b.dtype, a.shape, b.shape)
        if tolerance == CODE:
            assert np.abs(a.astype(int) - b.astype(int)).max() <= 1
        else:
            np.testing.assert_allclose(
                a, b, rtol=tolerance, atol=tolerance * max(1, np.abs(b).max())
            )


def label(row) -> str:
    return f"{row[0]}-{'-'.join(map(str, row[2]))}"


@pytest.mark.parametrize("row", ROWS, ids=label)
def test_as_onnxruntime(row):
    model, fed = model_of(row)
    text = model.SerializeToString()
    want = by_onnxruntime(text, fed)
    equal(row, InferenceSession(text).run(None, fed), want)


@pytest.mark.parametrize("row", ROWS, ids=label)
def test_written_out_it_is_standard(row):
    """What is left runs in onnxruntime too: at opset 21, without an operator of its own."""
    model, fed = model_of(row)
    proto = to_proto(load_model(model), 21, inline=True)
    assert {n.domain for n in proto.graph.node} <= {""}
    onnx.checker.check_model(proto)
    equal(row, by_onnxruntime(proto.SerializeToString(), fed), by_onnxruntime(
        model.SerializeToString(), fed))  # fmt: skip


def formula(op, inputs, expected, **attributes):
    """A row of an operator that onnxruntime has no kernel for on the CPU, with what numpy gives."""
    tolerance = CODE if expected.dtype == np.uint8 else 2e-5
    return (op, inputs, attributes, 1, tolerance), expected


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def group_norm(x, gamma, beta, groups: int) -> np.ndarray:
    n, h, w, c = x.shape
    y = x.reshape(n, h * w, groups, c // groups)
    y = (y - y.mean((1, 3), keepdims=True)) / np.sqrt(y.var((1, 3), keepdims=True) + 1e-5)
    y = y.reshape(x.shape) * gamma + beta
    return y / (1 + np.exp(-y))


def complex_of(x: np.ndarray) -> np.ndarray:
    return x[..., 0] + 1j * x[..., 1]


def pair(x: np.ndarray) -> np.ndarray:
    return np.stack([x.real, x.imag], -1).astype(np.float32)


def relative_buckets(table: np.ndarray, length: int, most: int, both: int) -> np.ndarray:
    """T5's table of biases, one distance after the other."""
    count = len(table) // 2 if both else len(table)
    out = np.zeros((1, table.shape[1], length, length), np.float32)
    for i in range(length):
        for j in range(length):
            d, base = i - j, 0
            if both and d < 0:
                d, base = -d, count
            d = max(d, 0)
            exact = count // 2
            if d >= exact:
                far = np.log(d / exact) / np.log(most / exact) * (count - exact)
                d = min(exact + int(far), count - 1)
            out[0, :, i, j] = table[base + d]
    return out


def gelu(x: np.ndarray) -> np.ndarray:
    u = float(np.sqrt(2 / np.pi)) * (x + 0.044715 * x**3)
    return x * (1 + np.tanh(u)) / 2


def erf_gelu(x: np.ndarray) -> np.ndarray:
    return (x * (1 + np.vectorize(math.erf)(x / np.sqrt(2))) / 2).astype(np.float32)


ONES = f(8, 8, 1, 1)
A, B, C = f(2, 3, 4, 5), f(2, 1, 1, 5), f(2, 3, 4, 2)
G, H, W = f(2, 5, 4, 8), f(8), f(8)
L, TABLE, D = f(3, 8), f(8, 2), f(2, 3, 4, 2)
U, Q = u8(2, 3, 4), u8(2, 3, 4)
N6 = K(np.int64([6]))
FORMULAS = [
    formula("BiasSoftmax", [A, B], softmax(A + B), axis=3, is_inner_broadcast=1),
    formula("GroupNorm", [G, H, W], group_norm(G, H, W, 4), groups=4, activation=1),
    formula("ComplexMul", [C, D], pair(complex_of(C) * complex_of(D))),
    formula("ComplexMulConj", [C, D], pair(complex_of(C) * complex_of(D).conj())),
    formula("Rfft", [L], pair(np.fft.rfft(L)), signal_ndim=1),
    formula("Irfft", [pair(np.fft.rfft(L))], L, signal_ndim=1),
    formula("RelativePositionBias", [TABLE, N6, N6], relative_buckets(TABLE, 6, 12, 1),
            max_distance=12, is_bidirectional=1),
    formula("RelativePositionBias", [TABLE, N6, N6], relative_buckets(TABLE, 6, 12, 0),
            max_distance=12),
    formula("MulInteger", [U, z(9), Q, z(20)], (U.astype("i4") - 9) * (Q.astype("i4") - 20)),
    formula("QLinearReduceMean", [U, s(0.05), z(120), s(0.02), z(100)],
            np.clip(np.rint((U - 120.0).mean(2, keepdims=True) * 2.5) + 100, 0, 255).astype("u1"),
            axes=[2], keepdims=1),
    formula("ReduceSumInteger", [U], U.sum(1, dtype=np.uint32), axes=[1], keepdims=0),
    formula("FusedMatMulActivation", [L, TABLE], np.maximum(L @ TABLE * 2, 0), alpha=2.0,
            activation="Relu"),
    formula("GemmFastGelu", [L, TABLE], gelu(L @ TABLE)),
    formula("NhwcFusedConv", [G, K(ONES), H], np.maximum(G @ ONES[:, :, 0, 0].T + H, 0),
            activation="Relu"),
    formula("NhwcConv", [G, K(ONES)], G @ ONES[:, :, 0, 0].T),
    formula("BiasAdd", [G, H, G * 2], G * 3 + H),
    formula("BiasSplitGelu", [L, H], (L + H)[:, :4] * erf_gelu((L + H)[:, 4:])),
    formula("SkipGroupNorm", [G, H, W, G * 2, H], group_norm(G * 3 + H, H, W, 4), groups=4,
            activation=1),
    formula("ScaledSiLU", [L], L / (1 + np.exp(-2 * L)), alpha=2.0),
    formula("TorchEmbedding", [TABLE, K(np.array([3, 1]))], TABLE[[3, 1]]),
]  # fmt: skip


@pytest.mark.parametrize("case", FORMULAS, ids=lambda c: c[0][0])
def test_as_its_formula(case):
    row, want = case
    model, fed = model_of(row, want.dtype)
    (got,) = InferenceSession(model.SerializeToString()).run(None, fed)
    equal(row, [got], [want])


@pytest.mark.parametrize("op", ["BeamSearch", "GreedySearch", "Sampling", "Tokenizer"])
def test_what_is_refused_says_what_to_do(op):
    node = helper.make_node(op, ["x0"], ["y"], domain=MS)
    info = helper.make_tensor_value_info("x0", onnx.TensorProto.FLOAT, [2, 2])
    end = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "g", [info], [end])
    imports = [helper.make_opsetid("", 17), helper.make_opsetid(MS, 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    with pytest.raises(errors.UnsupportedOperatorError, match=rf"{op}.*\. [A-Z]"):
        InferenceSession(model)
    assert op in bodies()

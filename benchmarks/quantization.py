"""Speed of integer products, convolutions and of quantization, beside onnxruntime's.

python benchmarks/quantization.py [--threads 2] [--seconds 3]
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.harness import compare
from toolkit.runtime import InferenceSession, _core

OPSET = 21
rng = np.random.default_rng(0)


def bytes_of(*shape: int, dtype: Any = np.uint8) -> np.ndarray:
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, dtype, endpoint=True)


def model(
    op_type: str, fed: np.ndarray, constants: list[Any], **attributes: Any
) -> onnx.ModelProto:
    """One node whose first input is fed and whose others are initializers."""
    names = ["x", *(f"c{i}" for i in range(len(constants)))]
    kind = helper.np_dtype_to_tensor_dtype(fed.dtype)
    outputs = ["y", *(f"y{i}" for i in range(1, onnx.defs.get_schema(op_type).max_output))]
    graph = helper.make_graph(
        [helper.make_node(op_type, names, outputs, **attributes)],
        op_type,
        [helper.make_tensor_value_info("x", kind, fed.shape)],
        [helper.make_empty_tensor_value_info(y) for y in outputs],
        [
            numpy_helper.from_array(np.asarray(c), n)
            for c, n in zip(constants, names[1:], strict=True)
        ],
    )
    opsets = [helper.make_opsetid("", OPSET)]
    inferred = onnx.shape_inference.infer_shapes(
        helper.make_model(graph, opset_imports=opsets, ir_version=10)
    )
    return inferred


def cases() -> Iterator[tuple[str, float, onnx.ModelProto, np.ndarray]]:
    """Name, operations (multiply-adds times two, or bytes), model, input."""
    zero = np.uint8(113)
    for m, k, n in ((1, 768, 768), (128, 768, 768), (512, 512, 512)):
        x = bytes_of(m, k)
        for kind in (np.int8, np.uint8):
            w = bytes_of(k, n, dtype=kind)
            yield (f"MatMulInteger {m}x{k}x{n} u8 {np.dtype(kind).name}", 2.0 * m * k * n,
                   model("MatMulInteger", x, [w, zero, kind(3)]), x)  # fmt: skip
    x = bytes_of(128, 768)
    w = bytes_of(768, 768, dtype=np.int8)
    constants = [np.float32(0.1), zero, w, np.float32(0.01), np.int8(0), np.float32(9), zero]
    yield (
        "QLinearMatMul 128x768x768",
        2.0 * 128 * 768 * 768,
        model("QLinearMatMul", x, constants),
        x,
    )
    for channels, size, kernel, stride, group in (
        (64, 56, 3, 1, 1), (64, 56, 1, 1, 1), (128, 28, 3, 1, 1), (256, 14, 3, 1, 1),
        (512, 7, 3, 1, 1), (64, 56, 3, 2, 1), (64, 56, 3, 1, 64),
    ):  # fmt: skip
        x = bytes_of(1, channels, size, size)
        w = bytes_of(channels, channels // group, kernel, kernel, dtype=np.int8)
        scales = rng.uniform(0.01, 0.02, channels).astype(np.float32)
        constants = [
            np.float32(0.1),
            zero,
            w,
            scales,
            np.zeros(channels, np.int8),
            np.float32(9),
            zero,
        ]
        attributes = {"pads": [kernel // 2] * 4, "strides": [stride] * 2, "group": group}
        count = 2.0 * w.size * (size // stride) ** 2
        name = f"QLinearConv {channels}ch {kernel}x{kernel} {size}^2 s{stride} g{group}"
        yield name, count, model("QLinearConv", x, constants, **attributes), x
    x = rng.standard_normal((1024, 1024)).astype(np.float32)
    constants = [np.float32(0.02), zero]
    yield "QuantizeLinear 1M", 1.0 * x.size, model("QuantizeLinear", x, constants), x
    yield "DynamicQuantizeLinear 1M", 1.0 * x.size, model("DynamicQuantizeLinear", x, []), x
    x = bytes_of(1024, 1024)
    yield "DequantizeLinear 1M", 1.0 * x.size, model("DequantizeLinear", x, constants), x


def theirs(proto: onnx.ModelProto, threads: int) -> Callable[[dict[str, np.ndarray]], Any]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return partial(session.run, None)


def main() -> None:
    """Prints a Markdown table of rates in 10^9 operations a second."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=_core.get_num_threads())
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    _core.set_num_threads(options.threads)
    print(f"{_core.isa()}, {options.threads} threads, onnxruntime {onnxruntime.__version__}\n")
    print("| case | ours Gop/s | onnxruntime Gop/s | ratio | differ |\n|---|---|---|---|---|")
    for name, count, proto, x in cases():
        if options.only not in name:
            continue
        own = partial(InferenceSession(proto.SerializeToString()).run, None)
        ort = theirs(proto, options.threads)
        feed = {"x": x}
        pairs = zip(own(feed), ort(feed), strict=True)
        differ = max(int((a != b).sum()) for a, b in pairs)
        sides = {"ours": partial(own, feed), "onnxruntime": partial(ort, feed)}
        row = compare(name, sides, options.seconds)
        rates = [1e-9 * count / t for t in row.medians.values()]
        ratio = row.ratio("onnxruntime")
        print(f"| {name} | {rates[0]:.1f} | {rates[1]:.1f} | {ratio:.2f} | {differ} |")


if __name__ == "__main__":
    main()

"""Speed of MatMul with a constant weight, beside onnxruntime's.

python benchmarks/gemm.py [--threads 2] [--seconds 3]
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.harness import compare
from toolkit.runtime import _core

# (M, K, N); B is a constant weight.
SHAPES = [
    (1, 1024, 1024),
    (8, 768, 768),
    (16, 16, 16),
    (128, 768, 768),
    (128, 768, 3072),
    (512, 512, 512),
    (2048, 2048, 2048),
]


def ours(b: np.ndarray) -> Callable[[np.ndarray], None]:
    program = _core.Program()
    a_slot = program.add_input("a")
    b_slot = program.add_constant(_core.Tensor.from_array(b))
    y_slot = program.add_slot()
    program.add_node("", "MatMul", "matmul", {}, [a_slot, b_slot], [y_slot])
    program.add_output(y_slot)
    program.finalize()
    return lambda a: program.run([_core.Tensor.from_array(a)])


def theirs(b: np.ndarray, threads: int) -> Callable[[np.ndarray], None]:
    k, n = b.shape
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["a", "b"], ["y"])],
        "matmul",
        [helper.make_tensor_value_info("a", TensorProto.FLOAT, ["m", k])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["m", n])],
        [numpy_helper.from_array(b, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda a: session.run(None, {"a": a})


def main() -> None:
    """Prints a Markdown table of rates in GFLOP/s."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=_core.get_num_threads())
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    _core.set_num_threads(options.threads)
    rng = np.random.default_rng(0)
    print(f"{_core.isa()}, {options.threads} threads, onnxruntime {onnxruntime.__version__}\n")
    print("| M x K x N | ours GFLOP/s | onnxruntime GFLOP/s | ratio |\n|---|---|---|---|")
    for m, k, n in SHAPES:
        a = rng.standard_normal((m, k), dtype=np.float32)
        b = rng.standard_normal((k, n), dtype=np.float32)
        own, ort = ours(b), theirs(b, options.threads)
        name = f"{m}x{k}x{n}"
        sides = {"ours": partial(own, a), "onnxruntime": partial(ort, a)}
        row = compare(name, sides, options.seconds)
        rates = [2e-9 * m * k * n / t for t in row.medians.values()]
        print(f"| {name} | {rates[0]:.1f} | {rates[1]:.1f} | {row.ratio('onnxruntime'):.2f} |")


if __name__ == "__main__":
    main()

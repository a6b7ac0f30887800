"""Speed of MatMul against onnxruntime: one process, runs interleaved, median of the ratios.

Usage: python benchmarks/gemm.py [threads] [rounds]
"""

import sys
import time
from collections.abc import Callable

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

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


def seconds(run: Callable[[np.ndarray], None], a: np.ndarray, repeats: int) -> float:
    time.sleep(0.01)  # The other side's workers stop spinning.
    run(a)
    start = time.perf_counter()
    for _ in range(repeats):
        run(a)
    return (time.perf_counter() - start) / repeats


def main() -> None:
    threads = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 15
    _core.set_num_threads(threads)
    rng = np.random.default_rng(0)
    print(f"{_core.isa()}, {threads} threads; GFLOP/s, median of {rounds} interleaved rounds")
    print(f"{'M x K x N':>18} {'toolkit':>9} {'ort':>9} {'ratio':>7}")
    for m, k, n in SHAPES:
        a = rng.standard_normal((m, k), dtype=np.float32)
        b = rng.standard_normal((k, n), dtype=np.float32)
        pair = ours(b), theirs(b, threads)
        flop = 2 * m * k * n
        repeats = max(1, min(200, int(1e9 / flop)))
        times = []
        for _ in range(rounds + 1):  # The first warms up.
            times.append([seconds(run, a, repeats) for run in pair])
        own, ort = np.array(times[1:]).T
        rates = [flop / np.median(t) / 1e9 for t in (own, ort)]
        print(f"{f'{m}x{k}x{n}':>18} {rates[0]:9.1f} {rates[1]:9.1f} {np.median(ort / own):7.2f}")


if __name__ == "__main__":
    main()

"""Speed of Attention, beside onnxruntime's and torch's scaled_dot_product_attention.

python benchmarks/attention.py [--threads 2] [--seconds 3] [--gradient]
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from onnx import TensorProto, helper
from torch.nn.functional import scaled_dot_product_attention

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.harness import compare, header
from toolkit.runtime import _core

# (name, heads, query rows, keys, causal); head size 64.
CASES = [
    ("T 128", 12, 128, 128, False),
    ("T 128 causal", 12, 128, 128, True),
    ("T 512", 12, 512, 512, False),
    ("T 512 causal", 12, 512, 512, True),
    ("T 1024", 12, 1024, 1024, False),
    ("T 1024 causal", 12, 1024, 1024, True),
    ("decode, KV 1024", 12, 1, 1024, False),
]
HEAD = 64


def ours(causal: bool, inputs: list[np.ndarray]) -> Callable[[], object]:
    program = _core.Program()
    slots = [program.add_input(name) for name in "qkv"]
    y = program.add_slot()
    program.add_node("", "Attention", "attention", {"is_causal": int(causal)}, slots, [y])
    program.add_output(y)
    program.finalize()
    tensors = [_core.Tensor.from_array(x) for x in inputs]
    return lambda: program.run(tensors)


def session(
    graph: list, inputs: list[np.ndarray], threads: int, opset: int
) -> Callable[[], object]:
    infos = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, x.shape)
        for name, x in zip("qkv", inputs, strict=True)
    ]
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    model = helper.make_model(
        helper.make_graph(graph, "attention", infos, [result]),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=10,
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    run = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    ).run
    feed = dict(zip("qkv", inputs, strict=True))
    return lambda: run(None, feed)


def onnxruntime_operator(causal: bool, inputs: list[np.ndarray], threads: int):
    node = helper.make_node("Attention", ["q", "k", "v"], ["y"], is_causal=int(causal))
    return session([node], inputs, threads, 23)


def onnxruntime_chain(inputs: list[np.ndarray], threads: int):
    """MatMul, Mul, Softmax, MatMul: what exports hold that know no Attention."""
    scale = helper.make_tensor("scale", TensorProto.FLOAT, [], [HEAD**-0.5])
    nodes = [
        helper.make_node("Constant", [], ["scale"], value=scale),
        helper.make_node("Transpose", ["k"], ["t"], perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", ["q", "t"], ["s"]),
        helper.make_node("Mul", ["s", "scale"], ["z"]),
        helper.make_node("Softmax", ["z"], ["p"]),
        helper.make_node("MatMul", ["p", "v"], ["y"]),
    ]
    return session(nodes, inputs, threads, 21)


def torch_sdpa(causal: bool, inputs: list[np.ndarray]) -> Callable[[], object]:
    q, k, v = (torch.from_numpy(x) for x in inputs)

    def call() -> object:
        with torch.inference_mode():
            return scaled_dot_product_attention(q, k, v, is_causal=causal)

    return call


def our_gradient(causal: bool, inputs: list[np.ndarray], dy: np.ndarray) -> Callable[[], object]:
    """The forward pass and the gradient as one program."""
    program = _core.Program()
    q, k, v, d = (program.add_input(name) for name in ("q", "k", "v", "dy"))
    y, *grads = (program.add_slot() for _ in range(4))
    how = {"is_causal": int(causal)}
    program.add_node("", "Attention", "attention", how, [q, k, v], [y])
    program.add_node(
        "toolkit.grad", "AttentionGrad", "grad", how, [q, k, v, -1, -1, -1, -1, y, d], grads
    )
    for slot in (y, *grads):
        program.add_output(slot)
    program.finalize()
    tensors = [_core.Tensor.from_array(x) for x in (*inputs, dy)]
    return lambda: program.run(tensors)


def torch_gradient(causal: bool, inputs: list[np.ndarray], dy: np.ndarray):
    q, k, v = (torch.from_numpy(x).requires_grad_() for x in inputs)
    cotangent = torch.from_numpy(dy)

    def call() -> object:
        y = scaled_dot_product_attention(q, k, v, is_causal=causal)
        return torch.autograd.grad(y, (q, k, v), cotangent)

    return call


def main() -> None:
    """Prints a Markdown table of milliseconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=_core.get_num_threads())
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--gradient", action="store_true", help="forward and backward")
    options = parser.parse_args()
    _core.set_num_threads(options.threads)
    torch.set_num_threads(options.threads)
    rng = np.random.default_rng(0)
    print(f"{_core.isa()}, {options.threads} threads, onnxruntime {onnxruntime.__version__}, ")
    print(f"torch {torch.__version__}, 12 heads of {HEAD}\n")
    peers = ["torch"] if options.gradient else ["torch", "onnxruntime", "onnxruntime chain"]
    print(header("ours", *peers))
    for name, heads, rows, keys, causal in CASES:
        shapes = [(1, heads, rows, HEAD)] + [(1, heads, keys, HEAD)] * 2
        inputs = [rng.standard_normal(shape, dtype=np.float32) for shape in shapes]
        if options.gradient:
            if rows == 1:
                continue
            dy = rng.standard_normal(shapes[0], dtype=np.float32)
            sides = {
                "ours": our_gradient(causal, inputs, dy),
                "torch": torch_gradient(causal, inputs, dy),
            }
        else:
            # The chain has no mask: it does the work of the case that is not causal.
            sides = {
                "ours": ours(causal, inputs),
                "torch": torch_sdpa(causal, inputs),
                "onnxruntime": onnxruntime_operator(causal, inputs, options.threads),
                "onnxruntime chain": onnxruntime_chain(inputs, options.threads),
            }
        print(compare(name, sides, options.seconds).line(), flush=True)


if __name__ == "__main__":
    main()

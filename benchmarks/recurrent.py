"""Bidirectional LSTM and GRU stacks, inference beside onnxruntime.

    python benchmarks/recurrent.py [--threads 2] [--seconds 3]

Two layers of hidden size 256, 64 time steps; both sides run the same file, in turns.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.harness import compare, header
from toolkit.runtime import InferenceSession, _core

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


def stack(
    op_type: str, steps: int, batch: int, hidden: int, layers: int = 2, directions: int = 2
) -> onnx.ModelProto:
    """Layers of one operator; each takes the former's directions side by side."""
    rng = np.random.default_rng(0)
    gates = GATES[op_type] * hidden
    nodes, weights, x, width = [], [], "x", hidden
    direction = "bidirectional" if directions == 2 else "forward"
    for layer in range(layers):
        for name, shape in (
            ("W", (directions, gates, width)),
            ("R", (directions, gates, hidden)),
            ("B", (directions, 2 * gates)),
        ):
            value = rng.uniform(-0.06, 0.06, shape).astype(np.float32)
            weights.append(numpy_helper.from_array(value, f"{name}{layer}"))
        nodes.append(
            helper.make_node(
                op_type,
                [x, *(f"{name}{layer}" for name in "WRB")],
                [f"y{layer}"],
                hidden_size=hidden,
                direction=direction,
                **({"linear_before_reset": 1} if op_type == "GRU" else {}),
            )
        )
        nodes.append(helper.make_node("Transpose", [f"y{layer}"], [f"t{layer}"], perm=[0, 2, 1, 3]))
        nodes.append(helper.make_node("Reshape", [f"t{layer}", "flat"], [f"x{layer}"]))
        x, width = f"x{layer}", directions * hidden
    weights.append(numpy_helper.from_array(np.array([0, 0, -1], np.int64), "flat"))
    info = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [steps, batch, hidden]),
        helper.make_tensor_value_info(x, TensorProto.FLOAT, [steps, batch, width]),
    ]
    graph = helper.make_graph(nodes, op_type, info[:1], info[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=_core.get_num_threads())
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    _core.set_num_threads(options.threads)
    session_options = onnxruntime.SessionOptions()
    session_options.intra_op_num_threads = options.threads
    print(f"{_core.isa()}, {options.threads} threads, onnxruntime {onnxruntime.__version__}\n")
    print(header("ours", "onnxruntime"))
    for op_type, directions in (("LSTM", 2), ("GRU", 2), ("RNN", 2), ("LSTM", 1), ("GRU", 1)):
        for batch in (1, 16):
            data = stack(op_type, 64, batch, 256, 2, directions).SerializeToString()
            ours = InferenceSession(data)
            theirs = onnxruntime.InferenceSession(
                data, session_options, providers=["CPUExecutionProvider"]
            )
            x = np.random.default_rng(1).standard_normal((64, batch, 256), dtype=np.float32)
            np.testing.assert_allclose(
                ours.run(None, {"x": x})[0], theirs.run(None, {"x": x})[0], rtol=1e-4, atol=1e-5
            )
            sides = {
                "ours": lambda s=ours, x=x: s.run(None, {"x": x}),
                "onnxruntime": lambda s=theirs, x=x: s.run(None, {"x": x}),
            }
            way = "bidirectional" if directions == 2 else "one direction"
            print(compare(f"{op_type}, {way}, batch {batch}", sides, options.seconds).line())


if __name__ == "__main__":
    main()

"""A forest of 100 trees of depth 8 on our runtime and on onnxruntime, by batch size and threads.

    python benchmarks/trees.py

Random full trees over 30 features, one value a leaf or three classes a leaf. Each call sees other
rows: on rows that come again a branch predictor remembers the way through the trees.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.harness import compare, header
from toolkit.runtime import InferenceSession, SessionOptions

TREES, DEPTH, FEATURES = 100, 8, 30


def forest(classes: int) -> onnx.ModelProto:
    """A regressor, or a classifier of `classes` classes."""
    rng = np.random.default_rng(0)
    inner, nodes = (1 << DEPTH) - 1, (2 << DEPTH) - 1
    own = np.arange(nodes)
    child = np.where(own < inner, 2 * own + 1, 0)
    leaves = np.repeat(own[inner:], max(classes, 1))
    votes = "class" if classes else "target"
    weights = rng.uniform(size=(TREES, len(leaves))).astype(np.float32).ravel() / TREES

    def every(values: np.ndarray) -> list[int]:
        return np.tile(values, TREES).tolist()

    attributes = {
        "nodes_treeids": np.repeat(np.arange(TREES), nodes).tolist(),
        "nodes_nodeids": every(own),
        "nodes_featureids": rng.integers(0, FEATURES, TREES * nodes).tolist(),
        "nodes_values": rng.normal(size=TREES * nodes).astype(np.float32).tolist(),
        "nodes_modes": (["BRANCH_LEQ"] * inner + ["LEAF"] * (nodes - inner)) * TREES,
        "nodes_truenodeids": every(child),
        "nodes_falsenodeids": every(np.where(own < inner, child + 1, 0)),
        f"{votes}_treeids": np.repeat(np.arange(TREES), len(leaves)).tolist(),
        f"{votes}_nodeids": every(leaves),
        f"{votes}_ids": every(np.arange(len(leaves)) % max(classes, 1)),
        f"{votes}_weights": weights.tolist(),
    }
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    if classes:
        attributes["classlabels_int64s"] = list(range(classes))
        outputs.insert(0, helper.make_tensor_value_info("label", TensorProto.INT64, None))
    else:
        attributes["n_targets"] = 1
    node = helper.make_node(
        f"TreeEnsemble{'Classifier' if classes else 'Regressor'}",
        ["x"],
        [v.name for v in outputs],
        domain="ai.onnx.ml",
        **attributes,
    )
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, FEATURES])
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 3)]
    graph = helper.make_graph([node], "forest", [x], outputs)
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def main() -> None:
    """Prints a table of milliseconds a call."""
    print(header("toolkit", "onnxruntime"))
    for classes in (0, 3):
        text = forest(classes).SerializeToString()
        for threads in (1, 2):
            options, peer = SessionOptions(), ort.SessionOptions()
            options.intra_op_num_threads = peer.intra_op_num_threads = threads
            ours = InferenceSession(text, options)
            theirs = ort.InferenceSession(text, peer, ["CPUExecutionProvider"])
            for batch in (1, 10, 100, 1000):
                rng = np.random.default_rng(1)
                rows = rng.normal(size=(2000 // batch, batch, FEATURES)).astype(np.float32)
                x = rows[0]
                np.testing.assert_allclose(
                    ours.run(["y"], {"x": x})[0], theirs.run(["y"], {"x": x})[0], rtol=1e-4
                )

                def call(
                    session: InferenceSession, rows: np.ndarray = rows
                ) -> Callable[[], object]:
                    batches = itertools.cycle(rows)
                    return lambda: session.run(None, {"x": next(batches)})

                kind = f"{classes} classes" if classes else "regression"
                name = f"{kind}, batch {batch}, {threads} thread{'s' * (threads > 1)}"
                sides = {"toolkit": call(ours), "onnxruntime": call(theirs)}
                print(compare(name, sides, seconds=2).line(), flush=True)


if __name__ == "__main__":
    main()

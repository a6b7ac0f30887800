"""LSTM layers whose state h is projected (Sak et al., 2014), as Scans: ONNX's LSTM has none."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from toolkit import ops
from toolkit.dtypes import int32
from toolkit.tensor import Tensor, arange, cat, ones, zeros


def projected_layer(
    x: Any, weights: list[list[Tensor]], bias: bool, lens: Any, start: list[Any]
) -> tuple[Any, list[Any]]:
    """One layer of (L, N, features): output (L, N, directions P), last h and c.

    Args:
        x: the input.
        weights: of each direction, W (4 H, features), R (4 H, P), biases if any, P's (P, H).
        bias: whether there are biases.
        lens: (N,) lengths, None: all are L.
        start: h (directions, N, P) and c (directions, N, H), None: zeros.
    """
    inside = _inside(x, lens)
    made = []
    for direction, parts in enumerate(weights):
        w, r, hr = parts[0], parts[1], parts[-1]
        gates = x @ w.t()
        if bias:
            gates = gates + (parts[2] + parts[3])
        batch = x.shape[1]
        h = zeros(batch, hr.shape[0], dtype=x.dtype) if start[0] is None else start[0][direction]
        c = zeros(batch, hr.shape[1], dtype=x.dtype) if start[1] is None else start[1][direction]
        way = [direction, direction]
        made.append(
            ops.Scan(
                h, c, gates, inside,
                outer={"r": r.t(), "hr": hr.t()},
                body=_step(x.dtype.onnx),
                num_scan_inputs=2,
                scan_input_directions=way,
                scan_output_directions=way[:1],
            )
        )  # fmt: skip
    last = [_joined([m[k] for m in made]) for k in (0, 1)]
    outputs = [m[2] for m in made]
    return outputs[0] if len(outputs) == 1 else cat(outputs, 2), last


def _joined(parts: list[Any]) -> Any:
    return cat([p.unsqueeze(0) for p in parts], 0)


def _inside(x: Any, lens: Any) -> Any:
    """Bool (L, N, 1): which steps are of a sequence."""
    if lens is None:
        return ones(x.shape[0], x.shape[1], 1, dtype=x.dtype) > 0
    time = arange(x.shape[0], dtype=int32).reshape(-1, 1, 1)
    return time < lens.reshape(1, -1, 1)


@lru_cache
def _step(code: int) -> Any:
    """I f g o = gates + h R; c' = f c + i g; h' = (o tanh c') P; outside, the state stays."""
    from onnx import TensorProto, helper

    def node(op: str, inputs: str, outputs: str, **attributes: Any) -> Any:
        return helper.make_node(op, inputs.split(), outputs.split(), **attributes)

    nodes = [
        node("MatMul", "h r", "recurrent"),
        node("Add", "gates recurrent", "all"),
        node("Split", "all", "i f g o", axis=1, num_outputs=4),
        *(node("Sigmoid", k, f"s{k}") for k in "ifo"),
        node("Tanh", "g", "tg"),
        node("Mul", "sf c", "kept"),
        node("Mul", "si tg", "more"),
        node("Add", "kept more", "c_new"),
        node("Tanh", "c_new", "tc"),
        node("Mul", "so tc", "wide"),
        node("MatMul", "wide hr", "h_new"),
        node("Where", "inside h_new h", "h_next"),
        node("Where", "inside c_new c", "c_next"),
        node("Sub", "h h", "nothing"),
        node("Where", "inside h_new nothing", "y"),
    ]

    def info(name: str, kind: int = code) -> Any:
        return helper.make_tensor_value_info(name, kind, None)

    return helper.make_graph(
        nodes, "projected_step",
        [info("h"), info("c"), info("gates"), info("inside", TensorProto.BOOL)],
        [info("h_next"), info("c_next"), info("y")],
    )  # fmt: skip

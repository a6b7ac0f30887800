"""Shape functions of layers against ONNX's own inference, wherever they do not leave it to that."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from toolkit.errors import ToolkitError
from toolkit.graph.shapes import node as inference
from toolkit.graph.shapes import registry
from toolkit.graph.shapes.registry import NodeCall, TypeInfo, tensor_info

FLOAT, INT64 = ir.DataType.FLOAT, ir.DataType.INT64
RNG = np.random.default_rng(0)


def dims(*sizes: Any) -> TypeInfo:
    return tensor_info(FLOAT, [d if isinstance(d, int) else ir.SymbolicDim(d) for d in sizes])


def axes(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def drawn_windows() -> list[tuple[str, dict[str, Any], list[Any]]]:
    """Convolutions and poolings with all attributes, sizes too small for the taps among them."""
    found: list[tuple[str, dict[str, Any], list[Any]]] = []
    for _ in range(60):
        rank = int(RNG.integers(1, 4))
        kernel = [int(k) for k in RNG.integers(1, 5, rank)]
        attributes: dict[str, Any] = {}
        for name, high, count in (("strides", 4, 1), ("dilations", 3, 1), ("pads", 3, 2)):
            if RNG.random() < 0.7:
                low = 0 if name == "pads" else 1
                attributes[name] = [int(v) for v in RNG.integers(low, high, rank * count)]
        for name, value in (("auto_pad", "SAME_UPPER"), ("auto_pad", "VALID")):
            if RNG.random() < 0.1:
                attributes[name] = value
        sizes = [int(s) if RNG.random() < 0.8 else "s" for s in RNG.integers(3, 20, rank)]
        batch = ["N", 2, None][int(RNG.integers(3))]
        found.append(("Conv", attributes, [dims(batch, 4, *sizes), dims(6, 4, *kernel)]))
        pool = {**attributes, "kernel_shape": kernel, "ceil_mode": int(RNG.random() < 0.3)}
        for op_type in ("MaxPool", "AveragePool"):
            found.append((op_type, pool, [dims(batch, 4, *sizes)]))
    return found


PLAIN: list[tuple[str, dict[str, Any], list[Any]]] = [
    ("GlobalAveragePool", {}, [dims("N", 3, 5, "w")]),
    ("GlobalMaxPool", {}, [dims(2, 3, 5)]),
    ("BatchNormalization", {}, [dims("N", 3, "h", None), *[dims(3)] * 4]),
    ("BatchNormalization", {}, [dims("N", 3, 4), *[dims(3)] * 3, dims(4)]),
    ("LayerNormalization", {"axis": -2}, [dims("N", 3, 4), dims(3, 4), dims(3, 4)]),
    ("MatMul", {}, [dims("N", "T", 4), dims(4, 5)]),
    ("MatMul", {}, [dims(3, 4), dims(7, 4, 5)]),
    ("MatMul", {}, [dims(2, 3, 4), dims(2, 4, 5)]),
    ("MatMul", {}, [dims(1, 3, 4), dims(2, 4, 5)]),
    ("MatMul", {}, [dims(4), dims(4, 5)]),
    ("MatMul", {}, [dims(3, 4), dims(5, 6)]),
    ("Gemm", {"transA": 1}, [dims(4, "M"), dims(4, 5), dims(5)]),
    ("Gemm", {"transB": 1}, [dims("M", 4), dims(5, 4)]),
    ("Cast", {"to": int(INT64)}, [dims("N", 3)]),
    ("CastLike", {}, [dims("N", 3), tensor_info(INT64, None)]),
    ("Shape", {"start": 1}, [dims("N", 3, None)]),
    ("Shape", {"start": -2, "end": -1}, [dims("N", 3, None)]),
    ("Concat", {"axis": 1}, [dims(2, 3), dims(2, 4)]),
    ("Concat", {"axis": -1}, [dims(2, "a"), dims(2, 4)]),
    ("Concat", {"axis": 0}, [dims(2, "a"), dims(2, "a")]),
    ("Concat", {"axis": 0}, [dims(2, 3), dims(2, 4)]),
    ("Unsqueeze", {}, [dims("N", 3), axes(0, -1)]),
    ("Unsqueeze", {}, [dims("N", 3), axes(7)]),
    ("Unsqueeze", {}, [dims("N", 3), axes(1, 1)]),
    ("Squeeze", {}, [dims("N", 1, 1), axes(1, -1)]),
    ("Squeeze", {}, [dims("N", 3), axes(1)]),
    ("Squeeze", {}, [dims("N", 3), axes(0)]),
    ("Squeeze", {}, [dims(1, 3)]),
    ("Identity", {}, [dims("N", None)]),
    ("ReduceMean", {}, [dims("N", 3, "w"), axes(2)]),
    ("ReduceSum", {"keepdims": 0}, [dims("N", 3, "w"), axes(0, -1)]),
    ("ReduceMax", {}, [dims("N", 3), axes(5)]),
    ("ReduceMin", {}, [dims("N", 3)]),
]  # fmt: skip


def call_of(op_type: str, attributes: dict[str, Any], inputs: list[Any]) -> NodeCall:
    data = [x if isinstance(x, np.ndarray) else None for x in inputs]
    infos = [tensor_info(INT64, x.shape) if isinstance(x, np.ndarray) else x for x in inputs]
    made = {k: ir.convenience.convert_attribute(k, v) for k, v in attributes.items()}
    return NodeCall(op_type, "", made, infos, data, 1)


def result(call: NodeCall) -> Any:
    try:
        return [(i.dtype, i.dims) for i in inference.infer_call(call)]
    except ToolkitError as error:
        return type(error)


@pytest.mark.parametrize(("op_type", "attributes", "inputs"), [*PLAIN, *drawn_windows()])
def test_as_onnx_infers(
    op_type: str, attributes: dict[str, Any], inputs: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    call = call_of(op_type, attributes, inputs)
    ours = result(call)
    monkeypatch.delitem(registry._FUNCTIONS, ("", op_type))
    assert ours == result(call)


def test_most_are_not_left_to_onnx() -> None:
    cases = [*PLAIN, *drawn_windows()]
    given = 0
    for op_type, attributes, inputs in cases:
        function = registry.find("", op_type)
        assert function is not None
        given += function(call_of(op_type, attributes, inputs)) is not None
    assert given > len(cases) / 3

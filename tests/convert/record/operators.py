"""Makes data/ort_operators.zip: what onnxruntime-training gives for its own operators.

    pip install onnxruntime-training==1.19.2 onnx==1.17 "numpy<2.3"   # Python 3.11 or older
    python -m tests.convert.record.operators

Each case is a model; its inputs and, as `expected/<name>`, its outputs are initializers of it.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

TARGET = Path(__file__).parent.parent / "data" / "ort_operators.zip"
MS = "com.microsoft"
_RNG = np.random.RandomState(3)
_CASES: dict[str, onnx.ModelProto] = {}


def f(*shape: int) -> np.ndarray:
    return _RNG.randn(*shape).astype(np.float32)


def i(*values: Any) -> np.ndarray:
    return np.array(values, np.int64)


def scalar(value: Any) -> np.ndarray:
    return np.array(value, np.float32 if isinstance(value, float) else None)


def case(
    op: str,
    *inputs: Any,
    name: str = "",
    outputs: Any = 1,
    domain: str = MS,
    opset: int = 17,
    fixed: tuple[int, ...] = (),
    typed: bool = False,
    **attributes: Any,
) -> None:
    """One node. `outputs` is their number or their names; inputs of `fixed` are constants."""
    names = [f"y{k}" for k in range(outputs)] if isinstance(outputs, int) else outputs
    given = {f"x{k}": np.asarray(v) for k, v in enumerate(inputs) if v is not None}
    operands = [f"x{k}" if v is not None else "" for k, v in enumerate(inputs)]
    key = f"{op}_{name}" if name else op
    node = helper.make_node(op, operands, names, domain=domain, name=key, **attributes)
    record(key, [node], given, [n for n in names if n], opset, {f"x{k}" for k in fixed}, typed)


def pool_case(op: str, x: np.ndarray, dy: np.ndarray, name: str, **attributes: Any) -> None:
    """A pool with its gradient, which finds its input's shape in the declaration of its output."""
    places = ["places"] if op == "MaxPool" else []
    nodes = [
        helper.make_node("Identity", ["data"], ["X"]),
        helper.make_node(op, ["X"], ["pooled", *places], **attributes),
        helper.make_node(f"{op}Grad", ["dy", *places], ["X_grad"], name=name, **attributes),
    ]
    record(f"{op}Grad_{name}", nodes, {"data": x, "dy": dy}, ["X_grad"], shapes={"X_grad": x.shape})


def recurrent_case(kind: str, full: bool, linear_before_reset: int = 0) -> None:
    """A recurrent network with its gradient; `full`: with bias and initial states."""
    gates, size = {"LSTM": 4, "GRU": 3}[kind], 4
    given = {"X": f(5, 2, 3), "W": f(1, gates * size, 3), "R": f(1, gates * size, size)}
    given |= {"dY": f(5, 1, 2, size), "dH": f(1, 2, size)}
    if full:
        given |= {"B": f(1, 2 * gates * size), "H0": f(1, 2, size)}
    if full and kind == "LSTM":
        given["C0"] = f(1, 2, size)
    x = {
        name: name if name in given else "" for name in ("X", "W", "R", "B", "H0", "C0", "dY", "dH")
    }
    d = {name: f"d{name}" if x[name] else "" for name in ("X", "W", "R", "B", "H0", "C0")}
    how: dict[str, Any] = {"hidden_size": size, "domain": MS}
    if kind == "LSTM":
        forward = (
            [x["X"], x["W"], x["R"], x["B"], "", x["H0"], x["C0"]],
            ["Y", "Yh", "Yc", "C", "gates"],
        )
        backward = (
            ["X", "W", "R", "", x["H0"], x["C0"], "Y", "C", "gates", "dY", "dH", ""],
            [*d.values()],
        )
    else:
        how["linear_before_reset"] = linear_before_reset
        forward = [x["X"], x["W"], x["R"], x["B"], "", x["H0"]], ["Y", "Yh", "gates"]
        backward = ["X", "W", "R", x["B"], "", x["H0"], "Y", "gates", "dY", "dH"], [*d.values()][:5]
    nodes = [
        helper.make_node(f"{kind}Training", *forward, **how),
        helper.make_node(f"{kind}Grad", *backward, **how),
    ]
    wanted = ["Y", "Yh", *(name for name in backward[1] if name)]
    record(f"{kind}Grad_{full:d}{linear_before_reset}", nodes, given, wanted, typed=True)


def record(
    key: str,
    nodes: list[onnx.NodeProto],
    given: dict[str, np.ndarray],
    wanted: list[str],
    opset: int = 17,
    fixed: Any = (),
    typed: bool = False,
    shapes: Any = None,
) -> None:
    import onnxruntime

    inputs = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
        for n, v in given.items()
        if n not in fixed
    ]
    outputs = [
        helper.make_tensor_value_info(n, 1, (shapes or {}).get(n))
        if typed or shapes
        else onnx.ValueInfoProto(name=n)
        for n in wanted
    ]
    constants = [numpy_helper.from_array(given[n], n) for n in fixed]
    graph = helper.make_graph(nodes, key, inputs, outputs, constants)
    imports = [helper.make_opsetid("", opset), helper.make_opsetid(MS, 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    fed = {n: v for n, v in given.items() if n not in fixed}
    results = session.run(None, fed)
    for output, result in zip(model.graph.output, results):
        output.CopyFrom(
            helper.make_tensor_value_info(
                output.name, helper.np_dtype_to_tensor_dtype(result.dtype), None
            )
        )
    held = fed | {f"expected/{n}": np.asarray(r) for n, r in zip(wanted, results)}
    model.graph.initializer.extend(numpy_helper.from_array(v, n) for n, v in held.items())
    _CASES[key] = model


def softmax(x: np.ndarray, axis: int) -> np.ndarray:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def elementwise() -> None:
    x, dy = f(3, 5), f(3, 5)
    for op in ("ReluGrad", "GeluGrad", "FastGeluGrad", "QuickGeluGrad"):
        case(op, dy, x)
    case("QuickGeluGrad", dy, x, name="alpha", alpha=1.0)
    case("BiasGeluGrad_dX", dy, x, f(5))
    case("BiasFastGeluGrad_dX", dy, x, f(5))
    case("SigmoidGrad", dy, 1 / (1 + np.exp(-x)))
    case("TanhGrad", dy, np.tanh(x))
    case("LeakyReluGrad", dy, x, alpha=0.2)
    case("Gelu", x)
    case("BiasGelu", x, f(5))
    case("FastGelu", x)
    case("FastGelu", x, f(5), name="bias")
    case("QuickGelu", x)
    case("Scale", x, i(4)[0], scale_down=1)
    case("Scale", x, scalar(3.0), name="up")
    case("DivGrad", f(3, 5), f(3, 5), f(5) + 3, outputs=2)
    case("DivGrad", f(2, 3, 5), f(3, 1), f(2, 1, 5) + 4, name="both", outputs=2)
    case("InPlaceAccumulator", x, dy)
    case("InPlaceAccumulator", x, dy, np.array([False]), name="no")
    case("ZeroGradient", x, np.array(True))
    case("Group", x, dy)


def softmaxes() -> None:
    x, dy = f(2, 3, 4), f(2, 3, 4)
    rows = softmax(x.reshape(2, 12), 1).reshape(2, 3, 4)
    case("SoftmaxGrad_13", dy, softmax(x, 1), axis=1)
    case("SoftmaxGrad_13", dy, softmax(x, -1), name="last")
    case("LogSoftmaxGrad_13", dy, np.log(softmax(x, 1)), axis=1)
    case("SoftmaxGrad", dy, rows, axis=1)
    case("SoftmaxGrad", dy, softmax(x, -1), name="last", axis=2)
    case("LogSoftmaxGrad", dy, np.log(rows), axis=1)


def normalizations() -> None:
    x, dy, axes = f(2, 3, 4, 4), f(2, 3, 4, 4), (0, 2, 3)
    case(
        "BatchNormInternal",
        x,
        f(3),
        f(3),
        f(3),
        np.abs(f(3)),
        outputs=5,
        training_mode=1,
        momentum=0.8,
    )
    case(
        "BatchNormalizationGrad",
        dy,
        x,
        f(3),
        x.mean(axes),
        1 / np.sqrt(x.var(axes) + 1e-5, dtype=np.float32),
        outputs=3,
        epsilon=1e-5,
    )
    x, dy, scale, bias = f(2, 4, 6), f(2, 4, 6), f(6), f(6)
    mean, inverse = (
        x.mean(-1, keepdims=True),
        1 / np.sqrt(x.var(-1, keepdims=True) + 1e-5, dtype=np.float32),
    )
    case("LayerNormalization", x, scale, bias, outputs=3, domain="", opset=12, axis=-1)
    case("LayerNormalizationGrad", dy, x, scale, mean, inverse, outputs=3, axis=-1)
    two = (
        x.mean((1, 2), keepdims=True),
        1 / np.sqrt(x.var((1, 2), keepdims=True) + 1e-5, dtype=np.float32),
    )
    case("LayerNormalizationGrad", dy, x, f(4, 6), *two, name="axis1", outputs=3, axis=1)
    y = (x - mean) * inverse * scale + bias
    case(
        "InvertibleLayerNormalizationGrad",
        dy,
        y,
        scale,
        bias,
        inverse,
        outputs=3,
        axis=-1,
        typed=True,
    )
    inverse = 1 / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5, dtype=np.float32)
    case("SimplifiedLayerNormalization", x, scale, outputs=2, domain="", axis=-1, epsilon=1e-5)
    case("SimplifiedLayerNormalizationGrad", dy, x, scale, inverse, outputs=2, axis=-1)


def convolutions() -> None:
    x = f(2, 3, 4, 4)
    case(
        "ConvGrad",
        f(2, 4, 2, 2),
        x,
        f(4, 3, 3, 3),
        outputs=3,
        kernel_shape=[3, 3],
        strides=[2, 2],
        pads=[1, 1, 0, 0],
    )
    case(
        "ConvGrad",
        f(2, 6, 4, 4),
        x,
        f(6, 1, 3, 3),
        name="group",
        outputs=["", "dw", "db"],
        kernel_shape=[3, 3],
        pads=[1, 1, 1, 1],
        group=3,
    )
    pool_case("MaxPool", x, f(2, 3, 2, 2), "plain", kernel_shape=[2, 2], strides=[2, 2])
    for counted in (0, 1):
        pool_case(
            "AveragePool",
            x,
            f(2, 3, 3, 3),
            f"count{counted}",
            kernel_shape=[2, 2],
            strides=[2, 2],
            pads=[1, 1, 1, 1],
            count_include_pad=counted,
        )
    recurrent_case("LSTM", True)
    recurrent_case("LSTM", False)
    recurrent_case("GRU", True, 1)
    recurrent_case("GRU", True, 0)
    recurrent_case("GRU", False)


def indexing() -> None:
    case("GatherGrad", i(4, 3, 2), i([0, 2, 2], [1, 0, 2]), f(4, 2, 3, 2), axis=1)
    case("GatherGrad", i(5, 3), i(4, 0, 4).astype(np.int32), f(3, 3), name="rows", axis=0)
    case("GatherElementsGrad", f(2, 3), i(4, 3), i([0, 3, 1], [0, 1, 1]), axis=0)
    case("GatherNDGrad", i(3, 4, 2), i([0, 1], [2, 3], [0, 1]), f(3, 2), batch_dims=0)
    case(
        "GatherNDGrad",
        i(2, 4, 3),
        i([[1], [3]], [[0], [0]]),
        f(2, 2, 3),
        name="batch",
        batch_dims=1,
    )
    case("SliceGrad", f(2, 2, 4), i(4, 3, 4), i(1, -2), i(3, 9), i(0, 1), i(1, 1))
    case("SliceGrad", f(2, 3), i(5, 3), i(4), i(0), i(0), i(-2), name="steps")
    case("ConcatTraining", f(2, 1, 3), f(2, 4, 3), outputs=2, axis=1)
    case("SplitTraining", f(2, 5, 3), i(1, 4), outputs=2, axis=1)
    case("ShrunkenGather", f(5, 3), i(4, 0), axis=0)
    case("Trilu", f(3, 4), upper=0)
    case("Trilu", f(3, 4), i(1)[0], name="k", upper=1)
    case("BroadcastGradientArgs", i(2, 1, 5), i(3, 1), outputs=2)
    case("BroadcastGradientArgs", i(4), i(3, 4), name="lead", outputs=2)


def products() -> None:
    case("FusedMatMul", f(2, 4, 3), f(2, 4, 5), transA=1, alpha=0.5)
    case("FusedMatMul", f(2, 3, 4), f(2, 5, 4), name="b", transB=1)
    case("FusedMatMul", f(3, 2, 4), f(2, 4, 5), name="batch", transBatchA=1)
    case(
        "FusedMatMul",
        f(4, 2, 3),
        f(5, 2, 4),
        name="all",
        transBatchA=1,
        transA=1,
        transBatchB=1,
        transB=1,
    )
    case("TransposeMatMul", f(3, 4), f(5, 4), transB=1)
    case("ReduceSumTraining", f(2, 3, 4), i(0, 2), keepdims=0)
    case("ReduceAllL2", f(3, 5), f(4), typed=True)


def losses() -> None:
    log_p, labels, weights, dy = (
        np.log(softmax(f(4, 5), 1)),
        i(1, 0, 4, 2),
        np.abs(f(5)),
        scalar(0.7),
    )
    for reduction in ("mean", "sum"):
        case("SoftmaxCrossEntropyLossGrad", dy, log_p, labels, name=reduction, reduction=reduction)
        case(
            "SoftmaxCrossEntropyLossGrad",
            dy,
            log_p,
            labels,
            weights,
            name=f"{reduction}_weights",
            reduction=reduction,
            ignore_index=4,
        )
    case("SoftmaxCrossEntropyLossGrad", f(4), log_p, labels, name="none", reduction="none")
    case(
        "SoftmaxCrossEntropyLossGrad",
        scalar(1.0),
        np.log(softmax(f(2, 5, 3), 1)),
        i([1, 0, 4], [2, 2, 3]),
        name="space",
    )
    case(
        "SoftmaxCrossEntropyLossInternal",
        f(4, 5),
        labels,
        weights,
        i(4)[0],
        outputs=2,
        fixed=(3,),
        reduction="mean",
    )
    case(
        "SoftmaxCrossEntropyLossInternalGrad",
        dy,
        log_p,
        labels,
        weights,
        i(4)[0],
        fixed=(4,),
        reduction="mean",
    )
    case("SoftmaxCrossEntropyLossInternalGrad", dy, log_p, labels, name="plain", reduction="sum")
    old: dict[str, Any] = {"domain": "", "opset": 9, "reduction": "mean"}
    case("SparseSoftmaxCrossEntropy", f(4, 5), labels, outputs=2, **old)
    case(
        "SparseSoftmaxCrossEntropy", f(4, 5), labels, np.abs(f(4)), name="weights", outputs=2, **old
    )
    case("SparseSoftmaxCrossEntropyGrad", dy, log_p, labels, **old)
    case("SparseSoftmaxCrossEntropyGrad", dy, log_p, labels, np.abs(f(4)), name="weights", **old)


def training() -> None:
    dy, mask = f(3, 5), _RNG.rand(3, 5) > 0.3
    case("DropoutGrad", dy, mask, scalar(0.3), np.array(True))
    case("DropoutGrad", dy, mask, name="plain")
    case("FakeQuant", f(3, 5) * 2, scalar(0.1), scalar(10.0), outputs=2, quant_min=0, quant_max=15)
    case("FakeQuantGrad", dy, mask)


def main() -> None:
    for family in (
        elementwise,
        softmaxes,
        normalizations,
        convolutions,
        indexing,
        products,
        losses,
        training,
    ):
        family()
    with zipfile.ZipFile(TARGET, "w") as target:
        for key, model in _CASES.items():
            info = zipfile.ZipInfo(f"{key}.onnx", (2026, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            target.writestr(info, model.SerializeToString(), compresslevel=9)


if __name__ == "__main__":
    main()

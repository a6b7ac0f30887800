"""Files that onnxruntime's own tools write, of ten networks, run by both runtimes.

As exported; as its optimizer writes it at the highest level, for this machine; and by its
quantizer: dynamic, static with QuantizeLinear and DequantizeLinear around operators (QDQ) and with
operators on codes (QOperator). The codes of an activation depend on how float32 was rounded before,
so that results of whole networks agree to a fraction of their range. Node by node, on the values
that onnxruntime has there, they are the same: those of the standard's operators but where a sum
lies halfway between codes, those of onnxruntime's own to one code.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from tests.benchmarks.test_zoo import SMALL
from tests.runtime.test_real_models import SIZES, feeds_of, path_of
from toolkit.graph.io import load_model, to_proto
from toolkit.runtime import InferenceSession

ZOO = [
    "resnet18, small", "mobilenet_v2", "convnext, small", "vgg, small", "unet", "bert, small",
    "mnist_convnet", "gpt2, prefill", "gpt2, step", "char_gpt", "lstm", "lstm_language_model",
    "mlp", "detection",
]  # fmt: skip
OCR = "rapidocr_onnxruntime/models/"
REAL = [f"{OCR}ch_ppocr_mobile_v2.0_cls_infer.onnx", "magika/models/standard_v3_3/model.onnx",
        f"{OCR}ch_PP-OCRv4_rec_infer.onnx"]  # fmt: skip
PROVIDERS = ["CPUExecutionProvider"]
KINDS = ["exported", "optimized", "dynamic", "QDQ", "QOperator"]
NOT_QUANTIZED = {REAL[2]: KINDS[2:]}  # The quantizer does not take it.
CASES = [
    (name, kind) for name in (*ZOO, *REAL) for kind in KINDS
    if kind not in NOT_QUANTIZED.get(name, ())
]  # fmt: skip
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def options() -> onnxruntime.SessionOptions:
    made = onnxruntime.SessionOptions()
    made.log_severity_level = 4
    made.intra_op_num_threads = 1
    return made


def theirs(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, options(), PROVIDERS)


def detection(path: Path) -> list[dict[str, np.ndarray]]:
    """Writes convolutions to boxes and scores of places, and NonMaxSuppression; its inputs."""
    rng = np.random.default_rng(0)

    def weights(name, *shape):
        scale = np.sqrt(2 / np.prod(shape[1:])) if len(shape) > 1 else 0.1
        values = (rng.standard_normal(shape) * scale).astype(np.float32)
        return helper.make_tensor(name, onnx.TensorProto.FLOAT, shape, values.ravel())

    kept = [weights("w0", 8, 3, 3, 3), weights("b0", 8), weights("w1", 16, 8, 3, 3)]
    kept += [weights("b1", 16), weights("wb", 4, 16, 1, 1), weights("ws", 3, 16, 1, 1)]
    for name, values in {"places": [0, -1, 64], "most": [5], "turned": [0, 4, 64]}.items():
        kept.append(helper.make_tensor(name, onnx.TensorProto.INT64, [len(values)], values))
    for name, value in {"iou": 0.5, "least": 0.4}.items():
        kept.append(helper.make_tensor(name, onnx.TensorProto.FLOAT, [], [value]))
    make = helper.make_node
    nodes = [
        make("Conv", ["x", "w0", "b0"], ["c0"], "c0", pads=[1] * 4, strides=[2, 2]),
        make("Relu", ["c0"], ["r0"], "r0"),
        make("Conv", ["r0", "w1", "b1"], ["c1"], "c1", pads=[1] * 4, strides=[2, 2]),
        make("Relu", ["c1"], ["r1"], "r1"), make("Conv", ["r1", "wb"], ["cb"], "cb"),
        make("Conv", ["r1", "ws"], ["cs"], "cs"), make("Sigmoid", ["cs"], ["ss"], "ss"),
        make("Reshape", ["ss", "places"], ["scores"], "scores"),
        make("Reshape", ["cb", "turned"], ["rb"], "rb"),
        make("Transpose", ["rb"], ["boxes"], "boxes", perm=[0, 2, 1]),
        make("NonMaxSuppression", ["boxes", "scores", "most", "iou", "least"], ["chosen"], "nms"),
    ]  # fmt: skip
    info, real = helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    ends = [info("boxes", real, [2, 64, 4]), info("scores", real, [2, 3, 64])]
    ends.append(info("chosen", onnx.TensorProto.INT64, ["n", 3]))
    graph = helper.make_graph(nodes, "detection", [info("x", real, [2, 3, 32, 32])], ends, kept)
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return [{"x": rng.standard_normal((2, 3, 32, 32)).astype(np.float32)} for _ in range(3)]


def chosen(boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """By onnxruntime's NonMaxSuppression."""
    kinds = {"boxes": boxes, "scores": scores, "most": np.int64([5]), "iou": np.float32([0.5])}
    kinds["least"] = np.float32([0.4])
    infos = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
        for n, v in kinds.items()
    ]
    node = helper.make_node("NonMaxSuppression", list(kinds), ["y"])
    end = helper.make_tensor_value_info("y", onnx.TensorProto.INT64, ["n", 3])
    graph = helper.make_graph([node], "g", infos, [end])
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options(), PROVIDERS)
    return session.run(None, kinds)[0]


class Example:
    """A few inputs, as the quantizer reads them."""

    def __init__(self, feeds) -> None:
        self.feeds = iter(feeds)

    def get_next(self):
        return next(self.feeds, None)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """(path, inputs) of a network; written once."""
    folder, made = tmp_path_factory.mktemp("networks"), {}

    def find(name: str):
        if name not in made:
            path = folder / f"{len(made)}.onnx"
            if name == "detection":
                feeds = detection(path)
            elif name in SMALL:
                SMALL[name].save(path)
                # At opset 21 the quantizer writes files of attention that onnxruntime refuses.
                path.write_bytes(to_proto(load_model(path), 17).SerializeToString())
                names = [v.name for v in theirs(path).get_inputs()]
                feeds = [
                    dict(zip(names, SMALL[name].example(seed), strict=True)) for seed in range(3)
                ]
            else:
                path.write_bytes(path_of(name).read_bytes())
                feeds = list(feeds_of(theirs(path).get_inputs(), SIZES[name], seed=1))
            made[name] = path, feeds
        return made[name]

    return find


def finite(path: Path) -> Path:
    """The file with a large number for minus infinity, as in masks, of which scales are made."""
    model = onnx.load(path)
    held = [a.t for node in model.graph.node for a in node.attribute if a.HasField("t")]
    for tensor in (*model.graph.initializer, *held):
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.float32 and np.isinf(array).any():
            name, array = tensor.name, np.where(np.isinf(array), np.float32(-1e4), array)
            tensor.CopyFrom(numpy_helper.from_array(array.astype(np.float32), name))
    new = path.with_suffix(".finite.onnx")
    onnx.save(model, new)
    return new


def written(path: Path, kind: str, feeds, folder: Path) -> Path:
    """The file that onnxruntime's tool makes of one."""
    from onnxruntime import quantization

    new = folder / "new.onnx"
    logging.disable(logging.WARNING)
    try:
        if kind == "optimized":
            how = options()
            how.optimized_model_filepath = str(new)
            onnxruntime.InferenceSession(path, how, PROVIDERS)
        elif kind == "dynamic":
            quantization.quantize_dynamic(path, new)
        else:
            quantization.quantize_static(
                finite(path), new, Example(feeds), quant_format=quantization.QuantFormat[kind]
            )
    finally:
        logging.disable(logging.NOTSET)
    return new


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_file_of_onnxruntimes_tools(name, kind, files, tmp_path):
    path, feeds = files(name)
    if kind != "exported":
        path = written(path, kind, feeds, tmp_path)
    session, other = InferenceSession(path), theirs(path)
    assert [v.name for v in session.get_outputs()] == [v.name for v in other.get_outputs()]
    tolerance = 1e-4 if kind in ("exported", "optimized") else 0.05
    for feed in feeds[:2]:
        results, wanted = session.run(None, feed), other.run(None, feed)
        if name == "detection":  # A box whose score is one code lower may give way to another.
            np.testing.assert_array_equal(results[2], chosen(*results[:2]))
            assert 3 < len(results.pop()) <= 30 and len(wanted.pop())
        for got, want in zip(results, wanted, strict=True):
            assert got.dtype == want.dtype and got.shape == want.shape
            most = max(np.abs(want).max(), 1e-6)
            np.testing.assert_allclose(got, want, rtol=1e-3, atol=tolerance * most)


def test_the_optimizers_file_has_blocked_convolutions(files, tmp_path):
    """On this machine; the tests above would else say nothing of them."""
    path, feeds = files("resnet18, small")
    model = onnx.load(written(path, "optimized", feeds, tmp_path))
    assert ("com.microsoft.nchwc", "Conv") in {(n.domain, n.op_type) for n in model.graph.node}


@pytest.mark.parametrize("name", ["resnet18, small", REAL[0]])
def test_codes_node_by_node(name, files, tmp_path):
    path, feeds = files(name)
    model = onnx.load(written(path, "QOperator", feeds, tmp_path))
    kept = {t.name: t for t in model.graph.initializer}
    every = onnx.ModelProto()
    every.CopyFrom(model)
    given = {v.name for v in model.graph.output}
    names = [n for node in model.graph.node for n in node.output if n and n not in given]
    every.graph.output.extend(helper.make_empty_tensor_value_info(n) for n in names)
    how = options()
    how.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(every.SerializeToString(), how, PROVIDERS)
    values = dict(
        zip([v.name for v in session.get_outputs()], session.run(None, feeds[0]), strict=True)
    )
    values |= feeds[0]
    seen = set()
    for node in model.graph.node:
        if not node.op_type.startswith("Q"):
            continue
        own = [n for n in dict.fromkeys(node.input) if n and n not in kept]
        infos, ends = (
            [
                helper.make_tensor_value_info(
                    n, helper.np_dtype_to_tensor_dtype(values[n].dtype), values[n].shape
                )
                for n in names
            ]
            for names in (own, node.output)
        )
        graph = helper.make_graph(
            [node], "node", infos, ends,
            [kept[n] for n in dict.fromkeys(node.input) if n in kept],
        )  # fmt: skip
        alone = helper.make_model(
            graph, opset_imports=model.opset_import, ir_version=model.ir_version
        )
        (got,) = InferenceSession(alone).run(None, {n: values[n] for n in own})
        off = np.abs(got.astype(int) - values[node.output[0]].astype(int))
        assert off.max(initial=0) <= 1, node.name
        assert node.domain or np.count_nonzero(off) <= 1 + off.size // 10000, node.name
        seen.add(node.op_type)
    assert {"QuantizeLinear", "QLinearConv", "QLinearAdd"} <= seen


@pytest.mark.parametrize("kind", KINDS[1:])
@pytest.mark.parametrize("name", ["resnet18, small", "gpt2, step", "lstm"])
def test_it_leaves_as_standard_onnx(name, kind, files, tmp_path):
    path, feeds = files(name)
    path = written(path, kind, feeds, tmp_path)
    proto = to_proto(load_model(path), 21, inline=True)
    onnx.checker.check_model(proto)
    assert {n.domain for n in proto.graph.node} <= {""}

"""Loading, exporting, saving: what is kept, what is refused, and how."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from toolkit.errors import InvalidArgumentError, InvalidModelError, UnsupportedOperatorError
from toolkit.graph import io, training_info
from toolkit.graph.io import CANONICAL_OPSET, load_model, read_proto, save_model, to_proto

W = np.arange(6, dtype=np.float32).reshape(3, 2)


def parse(body: str, opset: int = 21) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : {opset}]>\n{body}')


def model(opset: int = 21) -> onnx.ModelProto:
    proto = parse("g (float[N,3] x) => (float[N,2] y) { y = MatMul(x, w) }", opset)
    proto.graph.initializer.append(numpy_helper.from_array(W, "w"))
    return proto


def run(proto: onnx.ModelProto, **feeds: np.ndarray) -> list[np.ndarray]:
    return list(ReferenceEvaluator(proto).run(None, feeds))


def test_names_metadata_and_doc_strings_survive(tmp_path: Path) -> None:
    source = model()
    source.producer_name, source.producer_version = "maker", "1.2"
    source.model_version, source.domain, source.doc_string = 7, "org.example", "a model"
    source.graph.name, source.graph.doc_string = "graph_name", "a graph"
    source.graph.node[0].name, source.graph.node[0].doc_string = "node_name", "a node"
    source.graph.input[0].doc_string = "an input"
    helper.set_model_props(source, {"author": "somebody"})
    entry = source.graph.node[0].metadata_props.add()
    entry.key, entry.value = "layer", "3"
    path = tmp_path / "m.onnx"
    save_model(load_model(source), path)
    got = onnx.load(path)
    onnx.checker.check_model(got, full_check=True)
    assert (got.producer_name, got.producer_version) == ("maker", "1.2")
    assert (got.model_version, got.domain, got.doc_string) == (7, "org.example", "a model")
    assert (got.graph.name, got.graph.doc_string) == ("graph_name", "a graph")
    assert (got.graph.node[0].name, got.graph.node[0].doc_string) == ("node_name", "a node")
    assert got.graph.node[0].metadata_props[0].value == "3"
    assert got.graph.input[0].doc_string == "an input"
    assert got.metadata_props[0].value == "somebody"
    assert [v.name for v in (*got.graph.input, *got.graph.output)] == ["x", "y"]
    assert got.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"
    x = np.ones((4, 3), np.float32)
    np.testing.assert_array_equal(run(got, x=x)[0], x @ W)


@pytest.mark.parametrize(("opset", "ir_version"), [(None, 10), (9, 4), (13, 7), (28, 14)])
def test_ir_version_matches_the_opset(opset: int | None, ir_version: int) -> None:
    proto = to_proto(load_model(model()), opset)
    assert proto.opset_import[0].version == (opset or io.DEFAULT_EXPORT_OPSET)
    assert proto.ir_version == ir_version


def test_export_changes_neither_the_model_nor_the_source() -> None:
    source = model(11)
    text = source.SerializeToString()
    loaded = load_model(source)
    assert source.SerializeToString() == text
    before = ir.serde.serialize_model(loaded).SerializeToString(deterministic=True)
    to_proto(loaded, 9)
    to_proto(loaded, 21)
    assert ir.serde.serialize_model(loaded).SerializeToString(deterministic=True) == before


def test_paths_bytes_protos_and_models_load(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(model().SerializeToString())
    for source in (path, str(path), path.read_bytes(), model(), ir.serde.from_proto(model())):
        loaded = load_model(source)
        assert loaded.graph.opset_imports[""] == CANONICAL_OPSET
        assert [str(d) for d in loaded.graph.outputs[0].shape or ()] == ["N", "2"]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (None, r"^load '.*m\.onnx': an \.onnx file is required, got no such file\."),
        (b"", r"an ONNX model is required, got an empty one"),
        (b"this is no model at all", r"got 23 bytes that do not parse\. Is it truncated\?"),
        (b"\x08\x0a", r"got 2 bytes without a graph\. Is it truncated\?"),
    ],
)
def test_files_that_are_no_models(tmp_path: Path, content: bytes | None, match: str) -> None:
    path = tmp_path / "m.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidModelError, match=match) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


def test_every_truncation_is_refused_or_checked(tmp_path: Path) -> None:
    """A cut may leave a valid message that says less; it is never accepted as this model."""
    text = model().SerializeToString()
    for end in range(0, len(text), 7):
        try:
            loaded = load_model(text[:end])
        except InvalidModelError as error:
            assert "\n" not in str(error)
        else:
            assert len(loaded.graph) == 1


@pytest.mark.parametrize(
    ("body", "match"),
    [
        ("g (float[2] x) => (float[2] y) { y = Nothing(x) }", "No Op registered for Nothing"),
        ("g (float[2] x) => (float[2] y) { y = Relu(z) }", "z"),
        ("g (float[2] x) => (float[2] y) { y = Add(x) }", "input size 1"),
        ("g (float[2] x) => (float[2] y) { y = Elu<alpha = 1>(x) }", "alpha"),
    ],
)
def test_invalid_graphs_are_refused_in_one_line(body: str, match: str) -> None:
    with pytest.raises(InvalidModelError, match=match) as caught:
        load_model(parse(body))
    assert str(caught.value).startswith("load: a valid ONNX model is required, got one where: ")
    assert "\n" not in str(caught.value)


def test_opset_of_the_future_is_refused() -> None:
    with pytest.raises(InvalidModelError, match=r"opset 1 to \d+ is required, got 999"):
        load_model(model(999))


def test_tensor_with_too_few_bytes_is_refused() -> None:
    proto = model()
    proto.graph.initializer[0].raw_data = proto.graph.initializer[0].raw_data[:-4]
    with pytest.raises(InvalidModelError, match=r"w.*\(20 bytes\) is too small"):
        load_model(proto)


def test_output_without_a_shape_loads() -> None:
    proto = model()
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    assert load_model(proto).graph.outputs[0].shape is not None


def test_initializers_of_old_files_are_no_inputs() -> None:
    proto = model(8)
    proto.ir_version = 3
    proto.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [3, 2]))
    assert [v.name for v in load_model(proto).graph.inputs] == ["x"]


def test_unknown_export_opset() -> None:
    with pytest.raises(InvalidArgumentError, match="an opset from 7 to 28 is required, got 5"):
        to_proto(load_model(model()), 5)


def test_operator_newer_than_the_opset_is_expanded() -> None:
    loaded = load_model(parse("g (float[2,8] x) => (float[2,8] y) { y = Gelu(x) }"))
    old = to_proto(loaded, 13)
    onnx.checker.check_model(old, full_check=True)
    assert "Gelu" not in {n.op_type for n in old.graph.node}
    x = np.linspace(-3, 3, 16, dtype=np.float32).reshape(2, 8)
    np.testing.assert_allclose(run(old, x=x)[0], run(to_proto(loaded), x=x)[0], atol=1e-6)


def test_operator_without_a_body_is_refused() -> None:
    loaded = load_model(parse("g (float[3,3] x) => (float[3,3] y) { y = Trilu(x) }"))
    match = r"Trilu: opset 14 is required, got 13\. It cannot be exported to opset 13: ask for"
    with pytest.raises(UnsupportedOperatorError, match=match):
        to_proto(loaded, 13)


def test_nothing_is_left_when_writing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.onnx"
    save_model(load_model(model()), path)
    text = path.read_bytes()

    def fail(_: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        save_model(load_model(model()), path)
    assert path.read_bytes() == text
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


def external(folder: Path, location: str, **entries: int) -> Path:
    proto = model()
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    path = folder / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def test_external_data_is_read(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(b"\0" * 8 + W.tobytes())
    path = external(tmp_path, "w.bin", offset=8, length=24)
    x = np.ones((1, 3), np.float32)
    for proto in (to_proto(load_model(path)), read_proto(path)):
        np.testing.assert_array_equal(run(proto, x=x)[0], x @ W)


@pytest.mark.parametrize(
    ("location", "entries", "match"),
    [
        ("missing.bin", {}, "missing.bin"),
        ("../w.bin", {}, "outside"),
        ("/etc/passwd", {}, "relative path"),
        ("short.bin", {}, "needs 24 bytes of 'short.bin' from byte 0 and there are 8"),
        ("w.bin", {"offset": 8}, "from byte 8 and there are 16"),
        ("w.bin", {"length": 4}, "there are 4"),
    ],
)
def test_wrong_external_data_is_refused(
    tmp_path: Path, location: str, entries: dict[str, int], match: str
) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    (tmp_path / "w.bin").write_bytes(W.tobytes())
    (folder / "w.bin").write_bytes(W.tobytes())
    (folder / "short.bin").write_bytes(W.tobytes()[:8])
    with pytest.raises(InvalidModelError, match=match):
        load_model(external(folder, location, **entries))


def test_external_data_of_bytes_is_refused(tmp_path: Path) -> None:
    text = external(tmp_path, "w.bin").read_bytes()
    with pytest.raises(
        InvalidModelError, match="a path is required for a model with external data"
    ):
        load_model(text)


def test_large_weights_go_beside_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(io, "PROTO_LIMIT", 1000)
    big = np.arange(3000, dtype=np.float32).reshape(3, 1000)
    proto = parse("g (float[N,3] x) => (float[N,1000] y) { y = MatMul(x, w) }")
    proto.graph.initializer.append(numpy_helper.from_array(big, "w"))
    loaded, path = load_model(proto), tmp_path / "m.onnx"
    save_model(loaded, path)
    save_model(loaded, path)
    assert len(list(tmp_path.iterdir())) == 2
    assert path.stat().st_size < 1000
    onnx.checker.check_model(path, full_check=True)
    again = load_model(path)
    assert isinstance(again.graph.initializers["w"].const_value, ir.ExternalTensor)
    np.testing.assert_array_equal(again.graph.initializers["w"].const_value.numpy(), big)


TRAINABLE = """g (float[N,3] x) => (float[N,2] y) <float[3,2] w = {1,2,3,4,5,6}> {
  y = MatMul(x, w)
}"""
ALGORITHM = """alg (float[N,2] t) => (float loss, float[3,2] w_new) <float lr = {0.1}> {
  d = Sub(y, t)
  sq = Mul(d, d)
  loss = ReduceSum<keepdims = 0, axes = [0, 1]>(sq)
  xt = Transpose(x)
  g = MatMul(xt, d)
  s = Mul(g, lr)
  w_new = Sub(w, s)
}"""


def trainable() -> onnx.ModelProto:
    proto = parse(TRAINABLE, 11)
    info = proto.training_info.add()
    info.algorithm.CopyFrom(onnx.parser.parse_graph(ALGORITHM))
    info.update_binding.add(key="w", value="w_new")
    return proto


@pytest.mark.parametrize("opset", [11, 13, 21])
def test_training_info_moves_with_the_opset(tmp_path: Path, opset: int) -> None:
    path = tmp_path / "m.onnx"
    save_model(load_model(trainable()), path, opset)
    proto = onnx.load(path)
    onnx.checker.check_model(proto, full_check=True)
    (info,) = proto.training_info
    assert [(e.key, e.value) for e in info.update_binding] == [("w", "w_new")]
    assert [v.name for v in info.algorithm.input] == ["t"]
    (reduction,) = [n for n in info.algorithm.node if n.op_type == "ReduceSum"]
    assert len(reduction.input) == (1 if opset < 13 else 2)


def test_training_info_as_graphs() -> None:
    loaded = load_model(trainable())
    (info,) = training_info.read(loaded)
    assert info.algorithm is not None
    assert [v.name for v in info.algorithm.inputs] == ["t", "y", "x", "w"]
    info.update_binding["w"] = "other"
    training_info.write(loaded, [info])
    proto = to_proto(loaded)
    assert proto.training_info[0].update_binding[0].value == "other"
    assert [v.name for v in proto.training_info[0].algorithm.input] == ["t"]
    training_info.strip(proto)
    assert not proto.training_info
    training_info.strip(loaded)
    assert not to_proto(loaded).training_info


def test_training_info_that_reads_nothing_known_is_refused() -> None:
    proto = trainable()
    proto.training_info[0].algorithm.node[0].input[0] = "nowhere"
    loaded = load_model(proto)  # Who only infers is not kept by it.
    for use in (training_info.read, to_proto):
        with pytest.raises(InvalidModelError, match="nowhere"):
            use(loaded)


def test_a_module_is_checked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import toolkit as tk

    (tmp_path / "w.bin").write_bytes(b"\0" * 8 + W.tobytes())
    path = external(tmp_path, "w.bin", offset=8, length=24)
    calls: list[object] = []
    real = onnx.checker.check_model
    monkeypatch.setattr(onnx.checker, "check_model", lambda m: (calls.append(m), real(m)))
    module = tk.load(path)
    assert len(calls) == 1
    module.save(tmp_path / "again.onnx")  # The weights that lay outside are in the file.
    assert len(onnx.load(tmp_path / "again.onnx").graph.initializer[0].raw_data) == 24

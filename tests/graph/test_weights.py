"""Large weights that stay in the file, against protobuf's own reading of it."""

from __future__ import annotations

import copy
import gc
import os
import pickle
from pathlib import Path

import numpy as np
import onnx
import onnx.reference
import pytest
from onnx import TensorProto, helper, numpy_helper

from toolkit import dtypes
from toolkit.errors import InvalidModelError, ToolkitError
from toolkit.graph import weights
from toolkit.graph.io import load_model, read_proto, to_proto
from toolkit.runtime import InferenceSession

COUNT = 1 << 17


def model(*tensors: TensorProto) -> onnx.ModelProto:
    """A Shape of each tensor, so that all are used."""
    outputs = [f"shape of {t.name}" for t in tensors]
    nodes = [
        helper.make_node("Shape", [t.name], [y]) for t, y in zip(tensors, outputs, strict=True)
    ]
    infos = [helper.make_tensor_value_info(y, TensorProto.INT64, None) for y in outputs]
    graph = helper.make_graph(nodes, "g", [], infos, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11)


def large(name: str = "w", kind: dtypes.DType = dtypes.float32) -> TensorProto:
    rng = np.random.default_rng(0)
    size = COUNT * 8 // (8 if kind.is_complex else 4)
    values = rng.standard_normal(size).astype(kind.numpy)
    return numpy_helper.from_array(values.reshape(2, -1), name)


def loaded(text: bytes) -> dict[str, np.ndarray]:
    initial = load_model(text).graph.initializers
    return {name: value.const_value.numpy() for name, value in initial.items()}


def stripped(text: bytes) -> set[str]:
    return set(weights.split_bytes(text).spans)


@pytest.mark.parametrize("kind", [t for t in dtypes.ALL if t is not dtypes.bool])
def test_values_are_those_of_the_file(kind: dtypes.DType, tmp_path: Path) -> None:
    tensor = large(kind=kind)
    text = model(
        numpy_helper.from_array(np.ones(3, np.float32), "small"), tensor
    ).SerializeToString()
    assert stripped(text) == {"w"}
    (tmp_path / "m.onnx").write_bytes(text)
    for source in (text, tmp_path / "m.onnx"):
        value = load_model(source).graph.initializers["w"].const_value
        assert value.shape == tensor.dims
        assert value.tobytes() == tensor.raw_data
        assert value.numpy().ctypes.data % 64 == 0
        assert to_proto(load_model(source)).graph.initializer[1].raw_data == tensor.raw_data


def test_what_is_left_is_the_file_without_their_bytes() -> None:
    tensors = [large("a"), numpy_helper.from_array(np.ones(3), "b"), large("c")]
    proto = model(*tensors)
    proto.graph.doc_string, proto.producer_name = "x" * 200, "behind the graph"
    text = proto.SerializeToString()
    stored = weights.split_bytes(text)
    for tensor in tensors:
        if tensor.name in stored.spans:
            start, length = stored.spans[tensor.name]
            assert text[start : start + length] == tensor.raw_data
    for tensor in (proto.graph.initializer[0], proto.graph.initializer[2]):
        tensor.ClearField("raw_data")
    assert onnx.ModelProto.FromString(stored.text) == proto


def odd_files() -> dict[str, bytes]:
    """Files whose weights are not taken out, though protobuf reads them."""
    floats = helper.make_tensor("w", TensorProto.FLOAT, [COUNT], np.ones(COUNT, np.float32))
    plain = model(large()).SerializeToString()
    half = onnx.ModelProto(graph=onnx.GraphProto(doc_string="merged")).SerializeToString()
    twice = large()
    text = twice.SerializeToString() + TensorProto(raw_data=twice.raw_data).SerializeToString()
    double = model(large())
    double.graph.ClearField("initializer")
    inner = double.graph.SerializeToString() + b"\x2a" + _varint(len(text)) + text
    double.ClearField("graph")
    return {
        "float_data": model(floats).SerializeToString(),
        "two graphs": plain + half,
        "raw_data twice": double.SerializeToString() + b"\x3a" + _varint(len(inner)) + inner,
        "small": model(numpy_helper.from_array(np.ones(3), "w")).SerializeToString(),
        "int4": model(
            helper.make_tensor("w", TensorProto.INT4, [COUNT * 2], b"\x21" * COUNT, raw=True)
        ).SerializeToString(),
    }


def _varint(n: int) -> bytes:
    return bytes([n & 127 | 128]) + _varint(n >> 7) if n > 127 else bytes([n])


@pytest.mark.parametrize("name", odd_files())
def test_odd_files_are_read_whole(name: str) -> None:
    text = odd_files()[name]
    assert not stripped(text)
    (tensor,) = onnx.ModelProto.FromString(text).graph.initializer
    np.testing.assert_array_equal(loaded(text)["w"], numpy_helper.to_array(tensor))


@pytest.mark.parametrize("size", [0, 4, -4])
def test_wrong_sizes_are_refused(size: int) -> None:
    tensor = large()
    tensor.raw_data = tensor.raw_data[:size] if size < 0 else tensor.raw_data + b"x" * size
    text = model(tensor).SerializeToString()
    assert stripped(text) == {"w"}
    if size:
        with pytest.raises(InvalidModelError, match=r"'w' of shape .* needs \d+ bytes and holds"):
            load_model(text)
    tensor.dims[:] = [-2, -tensor.dims[1]]
    with pytest.raises(InvalidModelError, match="'w'"):
        load_model(model(tensor).SerializeToString())


def test_names_are_checked_as_in_a_whole_file() -> None:
    twice = model(large(), large()).SerializeToString()
    assert not stripped(twice)
    nameless = large()
    nameless.ClearField("name")
    for text in (twice, model(nameless).SerializeToString()):
        with pytest.raises(InvalidModelError):
            load_model(text)


def test_damaged_files_are_refused_or_as_protobuf_reads_them() -> None:
    text = model(large("a"), large("b")).SerializeToString()
    starts = [span.offset for span in weights.split_bytes(text).spans.values()]
    rng = np.random.default_rng(0)
    # Where something is said of the weights: before each, and behind the last.
    places = [p for s in starts for p in range(max(0, s - 40), s)] + list(
        range(len(text) - 60, len(text))
    )
    for place in places:
        damaged = bytearray(text)
        damaged[place] = rng.integers(256)
        _compare(bytes(damaged))
    for cut in (*places[::7], *rng.integers(0, len(text), 20)):
        _compare(text[:cut])


def _compare(text: bytes) -> None:
    try:
        want = {t.name: numpy_helper.to_array(t) for t in read_proto(text).graph.initializer}
    except Exception:
        want = None
    try:
        got = loaded(text)
    except ToolkitError:
        got = None
    if got is not None:
        assert want is not None
        assert got.keys() == want.keys()
        for name, value in got.items():
            np.testing.assert_array_equal(value, want[name])


def test_a_session_outlives_its_file(tmp_path: Path) -> None:
    path, tensor = tmp_path / "m.onnx", large()
    path.write_bytes(model(tensor).SerializeToString())
    kept = load_model(path)
    path.unlink()
    assert kept.graph.initializers["w"].const_value.tobytes() == tensor.raw_data
    path.write_bytes(model(tensor).SerializeToString())
    session, kept = InferenceSession(path), load_model(path)
    os.truncate(path, 1000)
    assert session.run(None, {})[0].tolist() == list(tensor.dims)
    with pytest.raises(InvalidModelError, match=r"'w'.* bytes .*got \d+\. Was the file changed"):
        kept.graph.initializers["w"].const_value.numpy()


def test_copies_share_the_open_file(tmp_path: Path) -> None:
    path, tensor = tmp_path / "m.onnx", large()
    path.write_bytes(model(tensor).SerializeToString())
    kept = load_model(path).graph.initializers["w"].const_value
    for copied in (copy.copy(kept), copy.deepcopy(kept)):
        assert copied.tobytes() == tensor.raw_data
    del copied
    gc.collect()
    assert kept.tobytes() == tensor.raw_data
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(kept)


def test_files_are_closed(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(model(large()).SerializeToString())
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        load_model(path)
    gc.collect()  # Values of a graph refer to each other.
    assert len(os.listdir("/proc/self/fd")) <= before


def constants_model() -> onnx.ModelProto:
    """Constants that are read as initializers, and some that stay nodes."""
    rng = np.random.default_rng(0)
    held = {
        "raw": numpy_helper.from_array(rng.standard_normal((2, 3)).astype(np.float32), "other"),
        "large": numpy_helper.from_array(rng.standard_normal((300, 300)).astype(np.float32)),
        "typed": helper.make_tensor("t", TensorProto.INT64, [2], [3, 4]),
        "scalar": helper.make_tensor("s", TensorProto.FLOAT, [], [2.5]),
        "text": helper.make_tensor("x", TensorProto.STRING, [1], [b"a"]),
    }
    nodes = [helper.make_node("Constant", [], [k], value=t) for k, t in held.items()]
    nodes.append(helper.make_node("Constant", [], ["ints"], value_ints=[5, 6]))
    nodes.append(helper.make_node("Constant", [], ["wanted"], value=held["typed"]))
    names = [*held, "ints"]
    nodes += [helper.make_node("Identity", [k], [f"y {k}"], name="Constant") for k in names]
    infos = [helper.make_tensor_value_info(f"y {k}", held[k].data_type, None) for k in held]
    infos += [
        helper.make_tensor_value_info(k, TensorProto.INT64, None) for k in ("y ints", "wanted")
    ]
    graph = helper.make_graph(nodes, "g", [], infos)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def test_constants_are_read_as_initializers(tmp_path: Path) -> None:
    proto = constants_model()
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    for source in (path, path.read_bytes()):
        found = load_model(source, constants=True).graph
        assert set(found.initializers) == {"raw", "large", "typed", "scalar"}
        assert [n.outputs[0].name for n in found if n.op_type == "Constant"] == [
            "text", "ints", "wanted"
        ]  # fmt: skip
        assert not load_model(source).graph.initializers
    got = InferenceSession(path).run(None, {})
    for value, want in zip(
        got, onnx.reference.ReferenceEvaluator(proto).run(None, {}), strict=True
    ):
        np.testing.assert_array_equal(value, want)


def test_constants_of_old_files_stay_nodes() -> None:
    """Before IR version 4 an initializer had to be an input."""
    proto = constants_model()
    proto.ir_version = 3
    assert not load_model(proto.SerializeToString(), constants=True).graph.initializers


def test_a_constant_named_as_an_initializer_is_refused() -> None:
    proto = constants_model()
    proto.graph.initializer.append(numpy_helper.from_array(np.ones(2, np.float32), "raw"))
    with pytest.raises(InvalidModelError):
        load_model(proto.SerializeToString(), constants=True)

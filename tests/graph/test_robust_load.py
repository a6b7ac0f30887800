"""Files as they are in the wild: what onnxruntime runs, we run, with a warning where it is due."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.graph.upgrade_cases import onnxruntime_run
from toolkit.errors import InvalidModelError, ShapeError, ToolkitWarning
from toolkit.graph.io import load_model, read_proto, to_proto
from toolkit.runtime import InferenceSession

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'
LOCAL = '<ir_version: 8, opset_import: ["" : 17, "my" : 1]>\n'
X = np.array([1.5, -2.0], np.float32)


def parse(text: str, head: str = HEAD) -> onnx.ModelProto:
    return onnx.parser.parse_model(head + text)


def same_as_onnxruntime(proto: onnx.ModelProto, **feeds: np.ndarray) -> list[np.ndarray]:
    """Runs both; the exported model too."""
    feeds = feeds or {"x": X}
    want = onnxruntime_run(proto, feeds)
    got = InferenceSession(proto).run(None, feeds)
    again = onnxruntime_run(to_proto(load_model(proto), 21), feeds)
    for a, b, c in zip(got, again, want, strict=True):
        np.testing.assert_array_equal(a, c)
        np.testing.assert_array_equal(b, c)
    return got


def session_with_one_warning(proto: onnx.ModelProto, match: str) -> InferenceSession:
    with pytest.warns(ToolkitWarning, match=match) as caught:
        session = InferenceSession(proto)
    assert len(caught) == 1
    return session


# -- declared shapes ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (
            "g (float[2] x) => (float[5] y) { y = Relu(x) }",
            r"^load: declared shapes that hold are required, "
            r"got output 'y' of \(2,\) declared as \(5,\)\.$",
        ),
        (
            "g (float[2] x) => (float[1,2] y) <float[2,2] z> { z = Relu(x) y = Neg(z) }",
            r"value 'z' of \(2,\) declared as \(2, 2\) and 1 more\.$",
        ),
    ],
)
def test_wrong_declared_shapes_warn_once(text: str, match: str) -> None:
    session = session_with_one_warning(parse(text), match)
    assert session.get_outputs()[0].shape == [2]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert session.run(None, {"x": X})[0].shape == (2,)


def test_wrong_declared_output_that_only_a_run_shows() -> None:
    session = InferenceSession(
        parse("g (float[2] x) => (float[5] y) { i = NonZero(x) c = Cast<to=1>(i) y = Squeeze(c) }")
    )
    assert session.get_outputs()[0].shape == [5]
    match = r"^run: output 'y' must have the declared shape \(5\), got \(2,\)\.$"
    with pytest.warns(ToolkitWarning, match=match):
        assert session.run(None, {"x": X})[0].tolist() == [0, 1]
    assert session.run(None, {"x": X})[0].tolist() == [0, 1]  # Once for a model.


def test_shape_arithmetic_does_not_build_on_declared_shapes() -> None:
    """The declared (7,) of z would make n 7."""
    proto = parse(
        "g (float[2] x) => (int64[1] n) <int64[1,7] i, float[1,7] z>"
        "{ i = NonZero(x) z = Cast<to=1>(i) s = Shape(z) n = Slice(s, one, two) }"
    )
    for name, number in (("one", 1), ("two", 2)):
        proto.graph.initializer.append(numpy_helper.from_array(np.array([number]), name))
    assert InferenceSession(proto).run(None, {"x": X})[0].tolist() == [2]


def test_declared_names_of_dimensions_are_kept() -> None:
    proto = parse(
        "g (float[2] x) => (float[found] y) { i = NonZero(x) c = Cast<to=1>(i) y = Squeeze(c) }"
    )
    assert InferenceSession(proto).get_outputs()[0].shape == ["found"]


def test_fed_shape_that_the_input_does_not_declare_is_an_error() -> None:
    session = InferenceSession(parse("g (float[3] x) => (float[3] y) { y = Relu(x) }"))
    with pytest.raises(ShapeError, match=r"input 'x' must have shape \(3\), got \(2,\)"):
        session.run(None, {"x": X})


def test_negative_dimension_of_an_input_is_unknown() -> None:
    proto = parse("g (float[2] x) => (float[2] y) { y = Relu(x) }")
    for value in (proto.graph.input[0], proto.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_value = -1
    text = proto.SerializeToString()
    same_as_onnxruntime(proto)
    assert InferenceSession(proto).get_inputs()[0].shape == [None]
    assert proto.SerializeToString() == text


def test_no_declared_shapes_and_types_at_all() -> None:
    proto = parse("g (float[2] x) => (float[2] y) { z = Relu(x) w = Neg(z) y = Abs(w) }")
    del proto.graph.value_info[:]
    proto.graph.input[0].type.tensor_type.ClearField("shape")
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    same_as_onnxruntime(proto)


# -- names, inputs, outputs --------------------------------------------------------------------


def test_initializers_that_are_inputs_can_be_fed() -> None:
    proto = parse("g (float[2] x, float[2] w) => (float[2] y) <float[2] w={3,4}> { y = Add(x, w) }")
    same_as_onnxruntime(proto, x=X)
    same_as_onnxruntime(proto, x=X, w=X)
    session = InferenceSession(proto)
    assert [v.name for v in session.get_inputs()] == ["x"]
    assert [v.name for v in session.get_overridable_initializers()] == ["w"]
    with pytest.raises(ShapeError, match="'w' must have shape"):
        session.run(None, {"x": X, "w": np.zeros(3, np.float32)})


def test_initializers_of_ir_version_3_are_constants() -> None:
    proto = parse("g (float[2] x, float[2] w) => (float[2] y) <float[2] w={3,4}> { y = Add(x, w) }")
    proto.ir_version = 3
    same_as_onnxruntime(proto)
    assert not InferenceSession(proto).get_overridable_initializers()


def test_ir_version_3_without_an_opset_is_opset_1() -> None:
    proto = parse("g (float[2] x) => (float[2] y) { y = Add <broadcast = 1> (x, x) }")
    proto.ir_version = 3
    del proto.opset_import[:]
    session = session_with_one_warning(proto, "an opset is required, got none: .* opset 1")
    np.testing.assert_array_equal(session.run(None, {"x": X})[0], 2 * X)
    proto.ir_version = 8
    with pytest.raises(InvalidModelError, match="opset_import"):
        load_model(proto)


@pytest.mark.parametrize("names", [("", ""), ("same", "same"), ("x", "y"), ("z", "z")])
def test_node_names_are_only_names(names: tuple[str, str]) -> None:
    """Onnxruntime refuses equal ones."""
    proto = parse("g (float[2] x) => (float[2] y) { z = Relu(x) y = Neg(z) }")
    for node, name in zip(proto.graph.node, names, strict=True):
        node.name = name
    want = [-np.maximum(X, 0)]
    np.testing.assert_array_equal(InferenceSession(proto).run(None, {"x": X}), want)
    assert [n.name for n in to_proto(load_model(proto)).graph.node] == list(names)


def test_outputs_that_are_inputs_or_initializers_or_named_twice() -> None:
    proto = parse(
        "g (float[2] x) => (float[2] x, float[2] w, float[2] y, float[2] y) <float[2] w={3,4}>"
        "{ y = Relu(x) }"
    )
    got = same_as_onnxruntime(proto)
    assert len(got) == 4
    assert not np.shares_memory(got[0], X)


@pytest.mark.parametrize(
    "body",
    [
        "{ y = Clip(x, , half) }",
        "{ y = Clip(x, half, ) }",
        "{ unused = Neg(x) also = Abs(unused) y = Relu(x) }",
        "{ a, unused = Split <axis = 0> (x) y = Concat <axis = 0> (a, a) }",
        "{ y, unused = Dropout(x) }",
        "{ y, = Dropout(x) }",
        "{ y = Relu(x) }",
    ],
)
def test_left_out_and_unused_values(body: str) -> None:
    same_as_onnxruntime(parse(f"g (float[2] x) => (float[2] y) <float half = {{0.5}}> {body}"))


def test_left_out_outputs_before_others() -> None:
    rng = np.random.default_rng(0)
    shapes = {"x": (4, 1, 3), "w": (1, 8, 3), "r": (1, 8, 2)}
    feeds = {k: rng.standard_normal(s).astype(np.float32) for k, s in shapes.items()}
    proto = parse(
        "g (float[4,1,3] x, float[1,8,3] w, float[1,8,2] r) => (float[1,1,2] c)"
        "{ , , c = LSTM <hidden_size = 2> (x, w, r) }"
    )
    assert list(proto.graph.node[0].output) == ["", "", "c"]
    again = to_proto(load_model(proto), 21)
    (got,), (want,) = onnxruntime_run(again, feeds), onnxruntime_run(proto, feeds)
    np.testing.assert_array_equal(got, want)


# -- order -------------------------------------------------------------------------------------


def reverse(graph: onnx.GraphProto) -> None:
    nodes = [onnx.NodeProto.FromString(n.SerializeToString()) for n in graph.node]
    del graph.node[:]
    graph.node.extend(reversed(nodes))


def test_unsorted_nodes_are_sorted() -> None:
    """As onnxruntime does; it refuses unsorted subgraphs."""
    proto = parse(
        "g (float[2] x, bool c) => (float[2] y) { z = Relu(x) w = Neg(z) y = If(c) <"
        "then_branch = t () => (float[2] a) { v = Abs(w) a = Add(v, z) },"
        "else_branch = e () => (float[2] b) { b = Identity(z) }> }"
    )
    good = onnx.ModelProto.FromString(proto.SerializeToString())
    reverse(proto.graph)
    reverse(next(a.g for a in proto.graph.node[0].attribute if a.name == "then_branch"))
    text = proto.SerializeToString()
    match = "nodes behind what they read are required, got others: they are sorted"
    session = session_with_one_warning(proto, match)
    for c in (True, False):
        feeds = {"x": X, "c": np.array(c)}
        want = onnxruntime_run(good, feeds)
        np.testing.assert_array_equal(session.run(None, feeds), want)
    assert proto.SerializeToString() == text


def test_cycles_are_refused() -> None:
    proto = parse("g (float[2] x) => (float[2] y) { z = Relu(x) y = Neg(z) }")
    proto.graph.node[0].input[0] = "y"
    match = "no node reads its own result, but 'z' does through others"
    with pytest.raises(InvalidModelError, match=match):
        load_model(proto)


# -- functions ---------------------------------------------------------------------------------

FUNCTIONS = {
    "named as a standard operator": """g (float[2] x) => (float[2] y) { y = my.Relu(x) }
        <domain: "my", opset_import: ["" : 17]> Relu (a) => (b) { b = Neg(a) }""",
    "nested, with attributes": """
        g (float[2] x) => (float[2] y) { z = my.F <k = 0.5> (x) w = my.F(x) y = Add(z, w) }
        <domain: "my", opset_import: ["" : 17, "my" : 1]>
        F <k: float = 2.0, j: float = 0.25> (a) => (b) {
          c = my.G <p: float = @k> (a) d = LeakyRelu <alpha: float = @j> (a) b = Add(c, d) }
        <domain: "my", opset_import: ["" : 17]>
        G <p> (a) => (b) { b = LeakyRelu <alpha: float = @p> (a) }""",
    "with subgraphs": """
        g (float[2] x) => (float[2] y) { y = my.F <k = 0.5> (x) }
        <domain: "my", opset_import: ["" : 17]>
        F <k> (a) => (b) {
          s = ReduceSum <keepdims = 0> (a) zero = Constant <value_float = 0.0> ()
          c = Less(s, zero)
          b = If <then_branch = t () => (q) { q = LeakyRelu <alpha: float = @k> (a) },
                  else_branch = e () => (r) { r = Identity(a) }> (c) }""",
    "with an input left out": """
        g (float[2] x) => (float[2] y) { y = my.F(x) }
        <domain: "my", opset_import: ["" : 17]> F (a, low) => (b) { b = Clip(a, low) }""",
    "in a subgraph": """
        g (float[2] x) => (float[2] y) { t = Constant <value = bool {1}> () y = If <
          then_branch = t () => (float[2] p) { p = my.F(x) },
          else_branch = e () => (float[2] q) { q = Neg(x) }> (t) }
        <domain: "my", opset_import: ["" : 17]> F (a) => (b) { b = Abs(a) }""",
}


@pytest.mark.parametrize("label", FUNCTIONS)
def test_functions(label: str) -> None:
    same_as_onnxruntime(parse(FUNCTIONS[label], LOCAL))


def test_functions_of_opset_11_run_at_the_canonical_one() -> None:
    text = """g (float[2] x) => (float[1] y) { y = my.F(x) }
        <domain: "my", opset_import: ["" : 11]> F (a) => (b) { b = ReduceSum <axes = [0]> (a) }"""
    same_as_onnxruntime(parse(text, LOCAL.replace("17", "11")))


# -- tensors -----------------------------------------------------------------------------------


def sparse(name: str, indices: list, dims: list[int]) -> onnx.SparseTensorProto:
    values = helper.make_tensor(name, TensorProto.FLOAT, [2], [5.0, 7.0])
    flat = np.array(indices).ravel()
    shape = np.array(indices).shape
    return helper.make_sparse_tensor(
        values, helper.make_tensor(f"{name}_i", TensorProto.INT64, shape, flat), dims
    )


@pytest.mark.parametrize("indices", [[1, 4], [[0, 1], [1, 1]]])
def test_sparse_initializers(indices: list) -> None:
    proto = parse("g (float[2] x) => (float[3] y) { y = MatMul(x, w) }")
    proto.graph.sparse_initializer.append(sparse("w", indices, [2, 3]))
    if np.ndim(indices) == 1:
        same_as_onnxruntime(proto)
    got = InferenceSession(proto).run(None, {"x": X})[0]
    np.testing.assert_array_equal(got, X @ np.array([[0, 5, 0], [0, 7, 0]], np.float32))


def test_sparse_constants() -> None:
    proto = parse("g (float[3] x) => (float[3] y) { y = Add(x, w) }")
    node = helper.make_node("Constant", [], ["w"], sparse_value=sparse("w", [0, 2], [3]))
    proto.graph.node.insert(0, node)
    x = np.ones(3, np.float32)
    assert same_as_onnxruntime(proto, x=x)[0].tolist() == [6, 1, 8]


@pytest.mark.parametrize(
    ("indices", "dims", "match"),
    [([1, 9], [2, 3], "index value"), ([1, 4], [2**20, 2**20], "too large")],
)
def test_wrong_sparse_tensors_are_refused(indices: list, dims: list[int], match: str) -> None:
    proto = parse("g (float[2] x) => (float[3] y) { y = MatMul(x, w) }")
    proto.graph.sparse_initializer.append(sparse("w", indices, dims))
    with pytest.raises(InvalidModelError, match=f"sparse tensor 'w'.*{match}"):
        load_model(proto)


def external(name: str) -> onnx.TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[2])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": "w.bin", "offset": "4", "length": "8"}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


@pytest.mark.parametrize("place", ["initializer", "subgraph", "constant"])
def test_external_data_beside_the_file(place: str, tmp_path: Path, monkeypatch) -> None:
    """Looked up beside the model, wherever the process stands."""
    w = np.array([3, 4], np.float32)
    (tmp_path / "w.bin").write_bytes(b"\0" * 4 + w.tobytes())
    monkeypatch.chdir("/")
    if place == "initializer":
        proto = parse("g (float[2] x) => (float[2] y) { y = Add(x, w) }")
        proto.graph.initializer.append(external("w"))
    elif place == "constant":
        proto = parse("g (float[2] x) => (float[2] y) { y = Add(x, w) }")
        node = helper.make_node("Constant", [], ["w"], value=external("w"))
        proto.graph.node.insert(0, node)
    else:
        proto = parse(
            "g (float[2] x) => (float[2] y) { t = Constant <value = bool {1}> () y = If <"
            "then_branch = t () => (float[2] p) { p = Add(x, w) },"
            "else_branch = e () => (float[2] q) { q = Neg(x) }> (t) }"
        )
        branches = {a.name: a.g for a in proto.graph.node[1].attribute}
        branches["then_branch"].initializer.append(external("w"))
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    np.testing.assert_array_equal(InferenceSession(path).run(None, {"x": X})[0], X + w)
    for whole in (read_proto(path), to_proto(load_model(path), 17)):
        np.testing.assert_array_equal(onnxruntime_run(whole, {"x": X})[0], X + w)
    with pytest.raises(InvalidModelError, match="a path is required"):
        load_model(path.read_bytes())
    (tmp_path / "w.bin").write_bytes(w.tobytes())
    with pytest.raises(InvalidModelError, match=r"w\.bin"):
        load_model(path)

"""What one node does not show: Scan of opset 8, `ai.onnx.ml`, subgraphs, functions, domains."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.graph.upgrade_cases import onnxruntime_run
from toolkit.errors import InvalidModelError, UnsupportedOperatorError
from toolkit.graph.io import CANONICAL_OPSET, load_model, to_proto

ML = "ai.onnx.ml"
FLOAT, INT64, STRING = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING
tensor = helper.make_tensor_value_info


def parse(text: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(text)


def model_of(
    node: onnx.NodeProto,
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    **opsets: int,
) -> onnx.ModelProto:
    imports = [helper.make_opsetid({"standard": "", "ml": ML}[k], v) for k, v in opsets.items()]
    graph = helper.make_graph([node], "g", inputs, outputs)
    return helper.make_model(graph, opset_imports=imports, ir_version=4)


@pytest.mark.parametrize("directions", [None, [1], [0]])
@pytest.mark.parametrize("lengths", [False, True])
def test_scan_of_a_batch(lengths: bool, directions: list[int] | None, rng) -> None:
    """Running sums over sequences of a batch; behind a length onnxruntime too writes zeros."""
    body = helper.make_graph(
        [
            helper.make_node("Add", ["state", "x"], ["sum"]),
            helper.make_node("Softmax", ["sum"], ["y"], axis=0),
        ],
        "body",
        [tensor("state", FLOAT, [2]), tensor("x", FLOAT, [2])],
        [tensor("sum", FLOAT, [2]), tensor("y", FLOAT, [2])],
    )
    given = {"directions": directions} if directions else {}
    names = ["lengths" if lengths else "", "initial", "xs"]
    node = helper.make_node("Scan", names, ["final", "ys"], body=body, num_scan_inputs=1, **given)
    inputs = [tensor("initial", FLOAT, [3, 2]), tensor("xs", FLOAT, [3, 4, 2])]
    feeds = {
        "initial": rng.standard_normal((3, 2)).astype(np.float32),
        "xs": rng.standard_normal((3, 4, 2)).astype(np.float32),
    }
    if lengths:
        inputs.append(tensor("lengths", INT64, [3]))
        feeds["lengths"] = np.array([4, 2, 1])
    outputs = [tensor("final", FLOAT, [3, 2]), tensor("ys", FLOAT, [3, 4, 2])]
    old = model_of(node, inputs, outputs, standard=8)
    new = to_proto(load_model(old), 21)
    onnx.checker.check_model(new, full_check=True)
    for a, b in zip(onnxruntime_run(new, feeds), onnxruntime_run(old, feeds), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


def test_scan_does_not_go_below_opset_9() -> None:
    text = """<ir_version: 8, opset_import: ["" : 16]>
    g (float[2] s, float[3,2] xs) => (float[2] f, float[3,2] ys) {
      f, ys = Scan <num_scan_inputs = 1,
        body = b (float[2] a, float[2] x) => (float[2] c, float[2] y) {
          c = Add(a, x) y = Mul(a, x)
        }>(s, xs)
    }"""
    with pytest.raises(UnsupportedOperatorError, match="Scan: opset 9 is required"):
        to_proto(load_model(parse(text)), 8)


@pytest.mark.parametrize("to_string", [False, True])
def test_label_encoder_of_the_first_version(to_string: bool) -> None:
    default = {"default_string": "none"} if to_string else {"default_int64": -5}
    node = helper.make_node(
        "LabelEncoder", ["x"], ["y"], domain=ML, classes_strings=["a", "b", "c"], **default
    )
    kinds = (INT64, STRING) if to_string else (STRING, INT64)
    old = model_of(
        node, [tensor("x", kinds[0], [3])], [tensor("y", kinds[1], [3])], standard=7, ml=1
    )
    x = np.array([2, 7, 0]) if to_string else np.array(["c", "x", "a"], dtype=object)
    new = to_proto(load_model(old), 13)
    assert {e.domain: e.version for e in new.opset_import} == {"": 13, ML: 2}
    want = ["c", "none", "a"] if to_string else [2, -5, 0]
    for proto in (old, new):
        assert onnxruntime_run(proto, {"x": x})[0].tolist() == want


def tree(version: int) -> onnx.ModelProto:
    """One decision: x[0] <= 0.5 -> 1, else 2."""
    node = helper.make_node(
        "TreeEnsembleRegressor", ["x"], ["y"], domain=ML, n_targets=1,
        nodes_treeids=[0, 0, 0], nodes_nodeids=[0, 1, 2], nodes_featureids=[0, 0, 0],
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"], nodes_values=[0.5, 0.0, 0.0],
        nodes_truenodeids=[1, 0, 0], nodes_falsenodeids=[2, 0, 0], target_treeids=[0, 0],
        target_nodeids=[1, 2], target_ids=[0, 0], target_weights=[1.0, 2.0],
    )  # fmt: skip
    shapes = [tensor("x", FLOAT, ["N", 2])], [tensor("y", FLOAT, ["N", 1])]
    return model_of(node, *shapes, standard=15, ml=version)


@pytest.mark.parametrize("version", [1, 3, 5])
def test_tree_ensembles_stay_and_leave_as_version_1(version: int) -> None:
    """Also from version 5, which deprecates them: onnxruntime runs such files no more."""
    loaded = load_model(tree(version))
    assert dict(loaded.opset_imports) == {"": CANONICAL_OPSET, ML: 5}
    assert [n.op_type for n in loaded.graph] == ["TreeEnsembleRegressor"]
    new = to_proto(loaded, 13)
    onnx.checker.check_model(new, full_check=True)
    assert {e.domain: e.version for e in new.opset_import} == {"": 13, ML: 1}
    x = np.array([[0.0, 9.0], [1.0, 9.0]], np.float32)
    np.testing.assert_array_equal(onnxruntime_run(new, {"x": x})[0], [[1], [2]])


def test_subgraphs_of_a_canonical_model_are_upgraded_in_other_domains() -> None:
    text = f"""<ir_version: 13, opset_import: ["" : {CANONICAL_OPSET}, "{ML}" : 1]>
    g (bool c, int64[2] x) => (string[2] y) {{
      y = If <then_branch = t () => (string[2] a) {{
            a = {ML}.LabelEncoder <classes_strings = ["p", "q"]>(x) }},
          else_branch = e () => (string[2] b) {{
            b = {ML}.LabelEncoder <classes_strings = ["r", "s"]>(x) }}>(c)
    }}"""
    loaded = load_model(parse(text))
    inner = [n for g in loaded.graph.subgraphs() for n in g]
    assert [sorted(n.attributes) for n in inner] == [["keys_int64s", "values_strings"]] * 2


@pytest.mark.parametrize("node_domain", ["", "ai.onnx"])
def test_the_long_name_of_the_standard_domain(node_domain: str) -> None:
    text = """<ir_version: 8, opset_import: ["ai.onnx" : 11]>
    g (float[2,3] x) => (float[2,1] y) { y = ReduceSum <axes = [1]>(x) }"""
    proto = parse(text)
    proto.graph.node[0].domain = node_domain
    loaded = load_model(proto)
    assert dict(loaded.opset_imports) == {"": CANONICAL_OPSET}
    x = np.ones((2, 3), np.float32)
    new = to_proto(loaded, 21)
    np.testing.assert_array_equal(onnxruntime_run(new, {"x": x})[0], [[3], [3]])


@pytest.mark.parametrize(("op", "opset"), [("Upsample", 10), ("Scatter", 13)])
def test_deprecated_operators_are_refused(op: str, opset: int) -> None:
    text = f"""<ir_version: 8, opset_import: ["" : {opset}]>
    g (float[1,1,2,2] x, float[4] s, float[4] t) => (float[A,B,C,D] y) {{
      y = {op}(x{", s" if op == "Upsample" else ", s, t"})
    }}"""
    with pytest.raises(InvalidModelError, match=f"{op} is deprecated"):
        load_model(parse(text))


@pytest.mark.parametrize(("op", "opset"), [("ATen", 7), ("Affine", 10)])
def test_experimental_operators_that_nothing_replaces_are_refused(op: str, opset: int) -> None:
    text = f"""<ir_version: 3, opset_import: ["" : {opset}]>
    g (float[2] x) => (float[2] y) {{ y = {op}(x) }}"""
    match = f"{op}: an operator of opset {CANONICAL_OPSET}, or one that it replaces, is required"
    with pytest.raises(UnsupportedOperatorError, match=match):
        load_model(parse(text))


@pytest.mark.parametrize("call", ["Affine()", "Crop(x)", "GRUUnit(x)", "Crop <border = [1]> (x)"])
def test_malformed_experimental_operators_are_refused(call: str) -> None:
    """Onnx's checker looks at none of them."""
    text = f"""<ir_version: 3, opset_import: ["" : 7]>
    g (float[1,1,2,2] x) => (float[1,1,2,2] y) {{ y = {call} }}"""
    with pytest.raises((InvalidModelError, UnsupportedOperatorError), match=call[:4]) as caught:
        load_model(parse(text))
    assert "\n" not in str(caught.value)


def test_names_that_are_no_text_are_refused() -> None:
    proto = parse("""<ir_version: 3, opset_import: ["" : 7]>
    g (float[2] x) => (float[2] y) { y = Relu(x) }""")
    text = proto.SerializeToString().replace(b"Relu", b"Rel\xc0")
    with pytest.raises(InvalidModelError):
        load_model(text)


def test_what_stands_beside_an_experimental_operator_is_checked() -> None:
    text = """<ir_version: 3, opset_import: ["" : 7]>
    g (float[2] x) => (float[2] y) { a = Affine(x) y = Elu <alpha = 1>(a) }"""
    with pytest.raises(InvalidModelError, match="alpha"):
        load_model(parse(text))


def test_functions_are_upgraded_from_their_own_opset() -> None:
    text = """<ir_version: 8, opset_import: ["" : 11, "local" : 1]>
    g (float[2,3,4] x) => (float[A,B,C] y) { y = local.F <k = 1>(x) }
    <domain: "local", opset_import: ["" : 11]>
    F <k> (x) => (y) { z = Softmax <axis: int = @k>(x) y = ReduceSum <axes = [2]>(z) }"""
    with pytest.raises(UnsupportedOperatorError, match="the value of attribute axis is required"):
        load_model(parse(text))
    text = text.replace("axis: int = @k", "axis = 1")
    x = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    new = to_proto(load_model(parse(text)), 18)
    e = np.exp(x)
    want = (e / e.sum((1, 2), keepdims=True)).sum(2, keepdims=True)
    np.testing.assert_allclose(onnxruntime_run(new, {"x": x})[0], want, rtol=1e-5)

"""Operators of ai.onnx.ml in sessions: maps, old versions, malformed models."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.opinfo import trees
from toolkit.errors import DTypeError, InvalidModelError
from toolkit.graph.io import load_model, to_proto
from toolkit.runtime import InferenceSession, _core
from toolkit.runtime.values import to_native, to_numpy

ML = "ai.onnx.ml"


def map_info(name: str, key: int, value: int, sequence: bool = False) -> onnx.ValueInfoProto:
    kind = helper.make_map_type_proto(key, helper.make_tensor_type_proto(value, []))
    kind = helper.make_sequence_type_proto(kind) if sequence else kind
    return onnx.ValueInfoProto(name=name, type=kind)


def model(nodes, inputs, outputs, version: int = 1) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "g", inputs, outputs)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(ML, version)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def classifier() -> onnx.ModelProto:
    """Labels and, from them, a map of scores a row."""
    names = ["no", "yes"]
    weights = {"coefficients": [1.0, -1.0, -1.0, 2.0], "intercepts": [0.0, 0.5]}
    nodes = [
        helper.make_node("LinearClassifier", ["x"], ["label", "scores"], domain=ML, **weights,
                         classlabels_strings=names, post_transform="SOFTMAX"),
        helper.make_node("ZipMap", ["scores"], ["maps"], domain=ML, classlabels_strings=names),
    ]  # fmt: skip
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])
    label = helper.make_tensor_value_info("label", TensorProto.STRING, [None])
    maps = map_info("maps", TensorProto.STRING, TensorProto.FLOAT, sequence=True)
    return model(nodes, [x], [label, maps])


def test_a_sequence_of_maps_comes_out_as_a_list_of_dicts():
    import onnxruntime as ort

    text = classifier().SerializeToString()
    ours, theirs = InferenceSession(text), ort.InferenceSession(text)
    x = np.array([[1, 2], [3, -1]], np.float32)
    (label, maps), (want_label, want) = ours.run(None, {"x": x}), theirs.run(None, {"x": x})
    assert label.tolist() == want_label.tolist()
    for got, expected in zip(maps, want, strict=True):
        assert got == pytest.approx(expected)
    for a, b in zip(ours.get_outputs(), theirs.get_outputs(), strict=True):
        assert (a.name, a.type, a.shape) == (b.name, b.type, b.shape)


def test_types_of_maps_survive_load_and_save():
    proto = to_proto(load_model(classifier()))
    assert proto.graph.output[1].type == classifier().graph.output[1].type
    assert InferenceSession(proto).get_outputs()[1].type == "seq(map(string,tensor(float)))"


def dictionary_session() -> InferenceSession:
    node = helper.make_node("DictVectorizer", ["x"], ["y"], domain=ML, string_vocabulary=["a", "b"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    x = map_info("x", TensorProto.STRING, TensorProto.FLOAT)
    return InferenceSession(model([node], [x], [y]).SerializeToString())


def test_a_dict_is_fed_as_a_map_of_the_declared_types():
    session = dictionary_session()
    assert session.get_inputs()[0].type == "map(string,tensor(float))"
    (y,) = session.run(None, {"x": {"b": 2}})
    np.testing.assert_array_equal(y, np.array([[0, 2]], np.float32))


@pytest.mark.parametrize(
    "value", [np.ones(2, np.float32), {1: 2.0}, {"a": "x"}, [{"a": 1.0}], None]
)
def test_what_is_no_such_map_is_refused(value):
    with pytest.raises(DTypeError, match="'x'"):
        dictionary_session().run(None, {"x": value})


@pytest.mark.parametrize("text", [True, False])
def test_the_first_version_of_label_encoder(text):
    kinds = (TensorProto.STRING, TensorProto.INT64)
    node = helper.make_node("LabelEncoder", ["x"], ["y"], domain=ML, classes_strings=["p", "q"],
                            default_int64=-5, default_string="none")  # fmt: skip
    x = helper.make_tensor_value_info("x", kinds[not text], [None])
    y = helper.make_tensor_value_info("y", kinds[text], [None])
    session = InferenceSession(model([node], [x], [y]).SerializeToString())
    feed = np.array(["q", "z", "p"], object) if text else np.array([1, 7, 0])
    want = [1, -5, 0] if text else ["q", "none", "p"]
    assert session.run(None, {"x": feed})[0].tolist() == want


def regressor(**changes):
    attributes = trees.numbered(np.random.default_rng(1), 1, 2, "target", 1) | {"n_targets": 1}
    return _core.Op(ML, "TreeEnsembleRegressor", attributes | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nodes_falsenodeids": [99]}, "node 99 of tree 0 is required"),
        ({"nodes_modes": ["BRANCH_LIKE"]}, "BRANCH_LEQ"),
        ({"target_ids": [5]}, "target in"),
        ({"nodes_featureids": [-1]}, "feature of 0 or more"),
        ({"nodes_values": [0.0]}, "nodes_values"),
    ],
)
def test_forests_that_are_none_are_refused(changes, message):
    sizes = trees.numbered(np.random.default_rng(1), 1, 2, "target", 1)
    changes = {k: v * len(sizes[k]) if k != "nodes_values" else v for k, v in changes.items()}
    with pytest.raises(InvalidModelError, match=message):
        regressor(**changes)


@pytest.mark.parametrize(("yes", "no"), [([1, 1, 0], [2, 2, 0]), ([0, 0, 0], [1, 2, 0])])
def test_nodes_in_a_circle_are_refused(yes, no):
    attributes = {
        "nodes_treeids": [0] * 3,
        "nodes_nodeids": [0, 1, 2],
        "nodes_modes": ["BRANCH_LEQ", "BRANCH_LEQ", "LEAF"],
        "nodes_featureids": [0] * 3,
        "nodes_values": [0.0] * 3,
        "nodes_truenodeids": yes,
        "nodes_falsenodeids": no,
        **{
            "target_treeids": [0],
            "target_nodeids": [2],
            "target_ids": [0],
            "target_weights": [1.0],
        },
    }
    with pytest.raises(InvalidModelError, match="trees are required"):
        _core.Op(ML, "TreeEnsembleRegressor", attributes)


def test_a_tree_of_many_levels_ends_at_its_leaf():
    """A chain of 5,000 nodes: x <= k leads to leaf k."""
    n = 5000
    attributes = {
        "nodes_treeids": [0] * (2 * n + 1),
        "nodes_nodeids": list(range(2 * n + 1)),
        "nodes_modes": ["BRANCH_LEQ"] * n + ["LEAF"] * (n + 1),
        "nodes_featureids": [0] * (2 * n + 1),
        "nodes_values": [float(k) for k in range(n)] + [0.0] * (n + 1),
        "nodes_truenodeids": [n + k for k in range(n)] + [0] * (n + 1),
        "nodes_falsenodeids": [k + 1 for k in range(n - 1)] + [2 * n] + [0] * (n + 1),
        "target_treeids": [0] * (n + 1),
        "target_nodeids": [n + k for k in range(n + 1)],
        "target_ids": [0] * (n + 1),
        "target_weights": [float(k) for k in range(n + 1)],
    }
    op = _core.Op(ML, "TreeEnsembleRegressor", attributes)
    x = np.array([[-1], [0.5], [4998.5], [1e9], [np.nan]], np.float32)
    (y,) = op.run([to_native(x)], 1)
    assert to_numpy(y).ravel().tolist() == [0, 1, 4999, n, n]


def test_one_row_in_a_large_forest_is_the_row_of_a_batch():
    rng = np.random.default_rng(2)
    attributes = trees.numbered(rng, 700, 5, "target", 2, per_leaf=2) | {"n_targets": 2}
    op = _core.Op(ML, "TreeEnsembleRegressor", attributes)
    x = rng.normal(size=(70, 5)).astype(np.float32)
    together = to_numpy(op.run([to_native(x)], 1)[0])
    for i in (0, 33, 69):
        alone = to_numpy(op.run([to_native(x[i : i + 1])], 1)[0])
        np.testing.assert_allclose(alone[0], together[i], rtol=1e-6, atol=1e-6)


def test_models_of_scikit_learn():
    """Its own predictions: the attributes are written from its trees, as converters do."""
    from sklearn.datasets import load_iris
    from sklearn.ensemble import RandomForestClassifier

    x, y = load_iris(return_X_y=True)
    forest = RandomForestClassifier(12, random_state=0).fit(x, y)

    def below(threshold: float) -> float:
        """The largest float32 that is not above: its comparisons are those of the threshold."""
        near = np.float32(threshold)
        return float(near if near <= threshold else np.nextafter(near, np.float32(-np.inf)))

    a: dict[str, list] = {}
    for t, estimator in enumerate(forest.estimators_):
        inner = estimator.tree_
        for i in range(inner.node_count):
            leaf = inner.children_left[i] < 0
            entries = {
                "nodes_treeids": t,
                "nodes_nodeids": i,
                "nodes_modes": "LEAF" if leaf else "BRANCH_LEQ",
                "nodes_featureids": max(int(inner.feature[i]), 0),
                "nodes_values": below(inner.threshold[i]),
                "nodes_truenodeids": max(int(inner.children_left[i]), 0),
                "nodes_falsenodeids": max(int(inner.children_right[i]), 0),
            }
            for name, value in entries.items():
                a.setdefault(name, []).append(value)
            for c in range(3) if leaf else ():
                share = float(inner.value[i, 0, c] / inner.value[i, 0].sum() / 12)
                for name, value in (("treeids", t), ("nodeids", i), ("ids", c), ("weights", share)):
                    a.setdefault(f"class_{name}", []).append(value)
    op = _core.Op(ML, "TreeEnsembleClassifier", a | {"classlabels_int64s": [0, 1, 2]})
    label, scores = (to_numpy(v) for v in op.run([to_native(x.astype(np.float32))], 2))
    np.testing.assert_array_equal(label, forest.predict(x))
    np.testing.assert_allclose(scores, forest.predict_proba(x), atol=1e-6)

"""Shape inference: one node, whole graphs with symbolic dimensions, composites, control flow."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from toolkit.errors import DTypeError, InvalidModelError, ShapeError, ToolkitWarning
from toolkit.graph.infer import infer_node, infer_shapes
from toolkit.graph.io import load_model

FLOAT, INT64, BOOL, UINT64 = (
    ir.DataType.FLOAT,
    ir.DataType.INT64,
    ir.DataType.BOOL,
    ir.DataType.UINT64,
)


def value(*dims: Any, dtype: ir.DataType = FLOAT) -> ir.Value:
    return ir.Value(name="v", shape=ir.Shape(dims), type=ir.TensorType(dtype))


def i64(*items: int) -> np.ndarray:
    return np.array(items, np.int64)


def dims(shape: ir.Shape | None) -> list[Any]:
    assert shape is not None
    return [d if isinstance(d, int) else d.value for d in shape.dims]


X = value("N", 3, 8, 8)
VEC = value(2, dtype=INT64)


@pytest.mark.parametrize(
    ("op", "inputs", "attrs", "consts", "want"),
    [
        ("Relu", [X], {}, {}, ["N", 3, 8, 8]),
        ("Add", [X, value(8, 1)], {}, {}, ["N", 3, 8, 8]),
        ("Add", [value("N", 1), value(1, "M")], {}, {}, ["N", "M"]),
        ("Add", [value("N"), value("M")], {}, {}, [None]),
        ("Conv", [X, value(4, 3, 3, 3)], {"strides": [2, 2]}, {}, ["N", 4, 3, 3]),
        ("MatMul", [value("N", 2, 3), value(3, "K")], {}, {}, ["N", 2, "K"]),
        ("Reshape", [X, VEC], {}, {1: i64(0, -1)}, ["N", 192]),
        ("Reshape", [X, VEC], {}, {1: i64(-1, 64)}, ["3*N", 64]),
        ("Reshape", [X, VEC], {}, {}, [None, None]),
        ("Expand", [value(3, 1), VEC], {}, {1: i64(1, 4)}, [3, 4]),
        ("Transpose", [X], {"perm": [0, 2, 3, 1]}, {}, ["N", 8, 8, 3]),
        ("ReduceMean", [X, VEC], {"keepdims": 0}, {1: i64(2, 3)}, ["N", 3]),
        ("Concat", [X, X], {"axis": 1}, {}, ["N", 6, 8, 8]),
        ("ConstantOfShape", [VEC], {}, {0: i64(2, 5)}, [2, 5]),
        ("Unsqueeze", [X, value(1, dtype=INT64)], {}, {1: i64(0)}, [1, "N", 3, 8, 8]),
    ],
)
def test_infer_node(
    op: str, inputs: list[ir.Value], attrs: dict[str, Any], consts: Any, want: list[Any]
) -> None:
    ((_, shape),) = infer_node(op, "", inputs, attrs, const_values=consts)
    assert dims(shape) == want


def test_infer_node_takes_attribute_objects_and_many_outputs() -> None:
    attrs = [ir.AttrInt64("axis", 1), ir.AttrInt64("num_outputs", 3)]
    found = infer_node("Split", "", [X], attrs, outputs=3)
    assert [(d, dims(s)) for d, s in found] == [(FLOAT, ["N", 1, 8, 8])] * 3
    (y, ydims), (indices, idims) = infer_node("MaxPool", "", [X], {"kernel_shape": [2, 2]}, 2)
    assert (y, indices) == (FLOAT, INT64)
    assert dims(ydims) == dims(idims) == ["N", 3, 7, 7]


SHAPE = value(4, dtype=INT64)
STATE = value(2, dtype=UINT64)
SCALAR = value()


@pytest.mark.parametrize(
    ("domain", "op", "inputs", "attrs", "outputs", "consts", "want"),
    [
        ("grad", "SumToShape", [X, value(2, dtype=INT64)], {}, 1, {1: i64(8, 1)}, [[8, 1]]),
        ("grad", "ConvGradInput", [X, X, SHAPE], {}, 1, {2: i64(1, 2, 3, 4)}, [[1, 2, 3, 4]]),
        ("grad", "ConvGradWeight__2d", [X, X, SHAPE], {}, 1, {}, [[None] * 4]),
        ("grad", "MaxPoolGrad", [X, value("N", 3, 4, 4)], {}, 1, {}, [["N", 3, 8, 8]]),
        ("grad", "SoftmaxGrad", [X, X], {"axis": 1}, 1, {}, [["N", 3, 8, 8]]),
        ("grad", "LayerNormalizationGrad", [X, value(8), X], {}, 3, {}, [["N", 3, 8, 8], [8], [8]]),
        (
            "grad",
            "GatherGrad",
            [X, VEC, SHAPE],
            {"axis": 0},
            1,
            {2: i64(9, 3, 8, 8)},
            [[9, 3, 8, 8]],
        ),
        ("nn", "BatchNormTraining", [X, *[value(3)] * 4], {}, 3, {}, [["N", 3, 8, 8], [3], [3]]),
        ("random", "Dropout", [X, STATE], {"ratio": 0.5, "call": 0}, 2, {}, [["N", 3, 8, 8]] * 2),
        ("random", "Uniform", [VEC, STATE], {"dtype": 11}, 1, {0: i64(2, 3)}, [[2, 3]]),
        ("optim", "SGD", [X, X, X, SCALAR, SCALAR], {"momentum": 0.9}, 2, {}, [["N", 3, 8, 8]] * 2),
        ("optim", "AdamW", [X, X, X, X, SCALAR, SCALAR], {}, 3, {}, [["N", 3, 8, 8]] * 3),
    ],
)
def test_composites(
    domain: str, op: str, inputs: Any, attrs: Any, outputs: int, consts: Any, want: Any
) -> None:
    found = infer_node(op, f"toolkit.{domain}", inputs, attrs, outputs, consts)
    assert [dims(s) for _, s in found] == want
    if op == "Dropout":
        assert found[1][0] == BOOL
    if op == "Uniform":
        assert found[0][0] == ir.DataType.DOUBLE


@pytest.mark.parametrize(
    ("op", "inputs", "attrs", "error", "match"),
    [
        (
            "MatMul",
            [value(8, 512), value(256, 64)],
            {},
            ShapeError,
            r"MatMul 'n0': inner dimensions must match, got A \(8, 512\) and B \(256, 64\)\.",
        ),
        (
            "Add",
            [value(2, 3), value(4)],
            {},
            ShapeError,
            r"Add 'n0': shapes must broadcast, got \(2, 3\) and \(4,\)\.",
        ),
        (
            "Add",
            [value(2), value(2, dtype=INT64)],
            {},
            DTypeError,
            r"Add 'n0': A and B must have one element type, got float32 and int64\.",
        ),
        ("Relu", [value(2, dtype=BOOL)], {}, DTypeError, r"Relu 'n0': X must be one of .*got bool"),
        ("Conv", [X, value(4, 5, 3, 3)], {}, ShapeError, r"X must have 5 channels .*, got 3 in X"),
        ("Gemm", [value(2, 3), value(3, 4)], {"transB": 1}, ShapeError, "inner dimensions"),
        ("Add", [X], {}, InvalidModelError, r"Add 'n0': 2 inputs are required, got 1\."),
        ("Nothing", [X], {}, InvalidModelError, r"Nothing 'n0': an operator of ONNX is required"),
        ("Softmax", [X], {"axis": 4}, ShapeError, r"axis must lie in \[-4, 3\], got 4"),
        (
            "Transpose",
            [X],
            {"perm": [0, 1]},
            ShapeError,
            "perm must hold each axis of data",
        ),
    ],
)
def test_errors_name_place_need_and_got(
    op: str, inputs: Any, attrs: Any, error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match) as caught:
        infer_node(op, "", inputs, attrs, name="n0")
    assert "\n" not in str(caught.value)


def test_reshape_to_another_size_is_an_error() -> None:
    with pytest.raises(ShapeError, match=r"as many elements as data \(2, 3\), got \(4, -1\)"):
        infer_node("Reshape", "", [value(2, 3), VEC], const_values={1: i64(4, -1)})


def test_one_node_is_fast() -> None:
    w = value(4, 3, 3, 3)
    infer_node("Conv", "", [X, w], {"strides": [1, 1]})
    start = time.perf_counter()
    for _ in range(100):
        infer_node("Conv", "", [X, w], {"strides": [1, 1]})
    assert (time.perf_counter() - start) / 100 < 2e-3  # About 1e-4 on an idle machine.


def shapes_of(text: str) -> dict[str, list[Any]]:
    model = load_model(onnx.parser.parse_model(text))
    return {
        v.name or "": dims(v.shape)
        for n in model.graph.all_nodes()
        for v in n.outputs
        if v.shape is not None
    }


HEAD = '<ir_version: 9, opset_import: ["" : 21, "f" : 1]>\n'


def test_shape_arithmetic_reaches_reshape() -> None:
    found = shapes_of(
        HEAD
        + """g (float[N,T,64] x) => (float[a,b,c,d] y) {
          s = Shape(x)
          i0 = Constant<value = int64 {0}>()
          i1 = Constant<value = int64 {1}>()
          n = Gather(s, i0)
          t = Gather(s, i1)
          zero = Constant<value_ints = [0]>()
          n1 = Unsqueeze(n, zero)
          t1 = Unsqueeze(t, zero)
          heads = Constant<value_ints = [4, -1]>()
          target = Concat<axis = 0>(n1, t1, heads)
          r = Reshape(x, target)
          y = Transpose<perm = [0, 2, 1, 3]>(r)
        }"""
    )
    assert found["r"] == ["N", "T", 4, 16]
    assert found["y"] == ["N", 4, "T", 16]


def test_arithmetic_of_constants_reaches_reshape() -> None:
    """Unflatten as torch's older exporter writes it, and pads that are transposed."""
    found = shapes_of(
        HEAD
        + """g (float[N,48] x) => (float[a,b,c] y, float[d,e] z) {
          three = Constant<value = int64 {3}>()
          two = Constant<value = int64 {2}>()
          axis = Mod(three, two)
          one = Constant<value_ints = [1]>()
          end = Reshape(axis, one)
          s = Shape(x)
          zero = Constant<value_ints = [0]>()
          before = Slice(s, zero, end)
          sizes = Constant<value_ints = [16, 3]>()
          target = Concat<axis = 0>(before, sizes)
          y = Reshape(x, target)
          rows = Constant<value = int64[2,2] {0, 0, 0, 3}>()
          columns = Transpose(rows)
          flat = Constant<value_ints = [-1]>()
          pads = Reshape(columns, flat)
          z = Pad(x, pads)
        }"""
    )
    assert found["y"] == ["N", 16, 3]
    assert found["z"] == ["N", 51]


def test_dimensions_multiply_and_divide() -> None:
    found = shapes_of(
        HEAD
        + """g (float[N,6] x) => (float[a] y, float[b] z) {
          s = Shape<start = 0, end = 1>(x)
          two = Constant<value_ints = [2]>()
          m = Mul(s, two)
          y = ConstantOfShape(m)
          flat = Constant<value_ints = [-1]>()
          z = Reshape(x, flat)
        }"""
    )
    assert found["y"] == ["2*N"]
    assert found["z"] == ["6*N"]


def test_inferred_wins_over_declared() -> None:
    text = """g (float[2,3] x) => (float[2,5] y) <float[7,7] h> {
      h = Relu(x)
      y = Identity(h)
    }"""
    match = r"value 'h' of \(2, 3\) declared as \(7, 7\) and 1 more"
    with pytest.warns(ToolkitWarning, match=match):
        found = shapes_of(HEAD + text)
    assert found["h"] == found["y"] == [2, 3]


def test_functions_and_control_flow() -> None:
    found = shapes_of(
        HEAD
        + """g (float[N,3] x, bool c, int64 n) => (float[a,b] y, float[p,q] z, float[u,v,w] s) {
          f1 = f.half (x)
          y = If (c) <
            then_branch = t () => (float[a,b] ty) { ty = Concat<axis = 0>(f1, f1) },
            else_branch = e () => (float[a,b] ey) { ey = Relu(f1) }
          >
          z, s = Loop (n, c, x) <
            body = b (int64 i, bool go, float[a,b] v) => (bool go2, float[a,b] v2, float[a,b] o) {
              go2 = Identity(go)
              v2 = Relu(v)
              o = Concat<axis = 1>(v, v)
            }
          >
        }
        <domain: "f", opset_import: ["" : 21]>
        half (a) => (b) {
          two = Constant<value = float {2.0}>()
          b = Div(a, two)
        }"""
    )
    assert found["f1"] == ["N", 3]
    assert found["y"] == ["a", 3]  # As declared: the branches differ.
    assert found["v2"] == ["N", 3]
    assert found["z"] == ["N", 3]
    assert found["s"] == ["u", "N", 6]


def test_strict_raises_and_lenient_goes_on() -> None:
    graph = ir.Graph([], [], nodes=[], opset_imports={"": 28})
    a, b = value(2, 3), value(4, 5)
    graph.inputs.extend([a, b])
    node = ir.node("MatMul", [a, b], name="wrong")
    graph.append(node)
    infer_shapes(graph)
    assert node.outputs[0].shape is None
    with pytest.raises(ShapeError, match="MatMul 'wrong'"):
        infer_shapes(graph, strict=True)


def test_stft_is_one_sided_by_default() -> None:
    x, window, index = value(2, 20, 1), value(8), value(dtype=ir.DataType.INT64)
    for attributes, bins in (({}, 5), ({"onesided": 1}, 5), ({"onesided": 0}, 8)):
        step = {1: np.array(3)}
        ((_, shape),) = infer_node("STFT", "", [x, index, window], attributes, 1, step)
        assert shape is not None and list(shape.dims) == [2, 5, bins, 2]
    ((_, shape),) = infer_node("STFT", "", [x, index, window])
    assert shape is not None and shape.dims[2] == 5 and not isinstance(shape.dims[1], int)


def test_ranks_that_onnx_does_not_infer() -> None:
    x, scale = value(2, 4, 3), value(4)
    ((_, shape),) = infer_node("GroupNormalization", "", [x, scale, scale], {"num_groups": 2})
    assert shape is not None and list(shape.dims) == [2, 4, 3]
    ((_, shape),) = infer_node("MeanVarianceNormalization", "", [x], {"axes": [0, 2]})
    assert shape is not None and list(shape.dims) == [2, 4, 3]
    size = value(3, dtype=ir.DataType.INT64)
    places = value(2, 4, 3, dtype=ir.DataType.INT64)
    known = {2: np.array([2, 4, 7])}
    ((_, shape),) = infer_node("MaxUnpool", "", [x, places, size], {"kernel_shape": [2]}, 1, known)
    assert shape is not None and list(shape.dims) == [2, 4, 7]


@pytest.mark.parametrize(
    ("equation", "shapes", "want"),
    [
        ("...i,...i->...", [["N", 4], [4]], ["N"]),
        ("...i,...i", [[4], [2, 3, 4]], [2, 3]),
        ("b...d,...dk->...bk", [["N", 5, 3], [2, 5, 3, 7]], [2, 5, "N", 7]),
        ("a...,...->...", [[2, 3], [3, 3]], [3, 3]),
    ],
)
def test_einsum_of_several_ranks(equation: str, shapes: list[list[Any]], want: list[Any]) -> None:
    values = [
        ir.Value(name=f"v{i}", type=ir.TensorType(FLOAT), shape=ir.Shape(s))
        for i, s in enumerate(shapes)
    ]
    ((_, shape),) = infer_node("Einsum", "", values, {"equation": equation})
    assert dims(shape) == want
    sizes = [[6 if d == "N" else d for d in s] for s in shapes]
    found = np.einsum(equation, *(np.zeros(s) for s in sizes))
    assert found.shape == tuple(6 if d == "N" else d for d in want)

"""Graphs of every kind of kernel, of drawn shapes, against the plain path of TOOLKIT_OPT=0.

What has no other kernel on the plain path is held against numpy or torch in float64. Elementwise
programs, products and written-out patterns have more of this in `test_fusion*.py`, single
convolutions in `test_conv_algorithms.py`.
"""

from __future__ import annotations

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tests.opinfo import OPS, recurrent
from tests.opinfo.attention import heads_of, past_of, qkv
from tests.opinfo.core import S, i64
from tests.runtime import test_conv_algorithms as convolutions
from tests.runtime import test_pool as pools
from tests.runtime.oracle import run
from tests.runtime.plain import assert_equals_plain, error, on_the_plain_path, run_file
from tests.test_ops import check
from toolkit.runtime import InferenceSession

ROWS = {op.name: op for op in OPS}
TAILS = st.sampled_from([1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65])
BOUND = 2e-5  # Of sums of some hundred products in another order, or by Winograd.


def model_of(nodes, feed: dict[str, np.ndarray], constants: dict[str, np.ndarray], output="y"):
    """A checked model with static shapes; `feed` are its inputs."""

    def info(name, x):
        return helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape
        )

    graph = helper.make_graph(
        nodes,
        "g",
        [info(n, x) for n, x in feed.items()],
        [helper.make_tensor_value_info(output, TensorProto.UNDEFINED, None)],
        [numpy_helper.from_array(x, n) for n, x in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)], ir_version=10)


GATE = helper.make_node("Sigmoid", ["s"], ["g"])
ACTIVATIONS = {
    "": [],
    "relu": [helper.make_node("Relu", ["s"], ["y"])],
    "clip": [helper.make_node("Clip", ["s", "low", "high"], ["y"])],
    "leaky": [helper.make_node("LeakyRelu", ["s"], ["y"], alpha=0.2)],
    "hard swish": [helper.make_node("HardSwish", ["s"], ["y"])],
    "tanh": [helper.make_node("Tanh", ["s"], ["y"])],
    "swish": [
        helper.make_node("Sigmoid", ["s"], ["g"]),
        helper.make_node("Mul", ["s", "g"], ["y"]),
    ],
}


@st.composite
def convolution_blocks(draw):
    """Conv, then at will BatchNormalization, a residual and an activation; weights fed or not."""
    x_shape, w_shape, attributes = draw(convolutions.cases())
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    x, w = (rng.standard_normal(s).astype(np.float32) for s in (x_shape, w_shape))
    w /= np.sqrt(np.prod(w_shape[1:]))
    channels = w_shape[0]
    b, scale, bias, mean = rng.standard_normal((4, channels)).astype(np.float32)
    weights = {"w": w} | ({"b": b} if draw(st.booleans()) else {})
    nodes = [helper.make_node("Conv", ["x", *weights], ["c"], **attributes)]
    constants = {"low": np.float32(-0.5), "high": np.float32(0.7)}
    last = "c"
    if draw(st.booleans()):
        var = (rng.random(channels) + 0.5).astype(np.float32)
        constants |= {"scale": scale, "bias": bias, "mean": mean, "var": var}
        nodes.append(
            helper.make_node(
                "BatchNormalization", ["c", "scale", "bias", "mean", "var"], ["d"], epsilon=1e-3
            )
        )
        last = "d"
    feed = {"x": x}
    if draw(st.booleans()):
        y = run("Conv", [x, w], attributes | {"algorithm": "plain"})[0]
        feed["r"] = rng.standard_normal(y.shape).astype(np.float32)
        nodes.append(helper.make_node("Add", draw(st.permutations([last, "r"])), ["a"]))
        last = "a"
    nodes.append(helper.make_node("Identity", [last], ["s"]))
    activation = draw(st.sampled_from(list(ACTIVATIONS)))
    nodes += ACTIVATIONS[activation]
    (feed if draw(st.integers(0, 3)) == 0 else constants).update(weights)
    return model_of(nodes, feed, constants, "y" if activation else "s"), feed


@settings(max_examples=80)
@given(convolution_blocks())
def test_convolutions(case):
    assert_equals_plain(*case, BOUND)


def operators(file: bytes) -> list[str]:
    session = InferenceSession(file)
    session.native_program().enable_profile(True)
    return [node["op_type"] for node in session.native_program().profile()["nodes"]]


def test_the_plain_path_is_another():
    """Other operators and, as the sums are another algorithm's, other bits."""
    rng = np.random.default_rng(0)
    feed = {"x": rng.standard_normal((1, 32, 16, 16)).astype(np.float32)}
    weights = {"w": rng.standard_normal((32, 32, 3, 3)).astype(np.float32)}
    nodes = [helper.make_node("Conv", ["x", "w"], ["s"], pads=[1] * 4), *ACTIVATIONS["swish"]]
    file = model_of(nodes, feed, weights).SerializeToString()
    assert operators(file) == ["FusedConv"]
    assert on_the_plain_path(operators, file) == ["Conv", "Sigmoid", "Mul"]
    ((got,),) = run_file(file, feed)
    ((want,),) = on_the_plain_path(run_file, file, feed)
    assert 0 < error(got, want) < BOUND


@settings(max_examples=40)
@given(convolutions.transposed(), st.booleans())
def test_transposed_convolutions(case, constant):
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(case[k]).astype(np.float32) for k in ("x", "w"))
    b = rng.standard_normal(w.shape[1] * case["groups"]).astype(np.float32)
    attributes = {"strides": case["stride"], "pads": case["padding"] * 2, "group": case["groups"]}
    feed, weights = {"x": x}, {"w": w, "b": b}
    (weights if constant else feed).update(w=w, b=b)
    constants = weights if constant else {}
    node = helper.make_node("ConvTranspose", ["x", "w", "b"], ["y"], **attributes)
    assert_equals_plain(model_of([node], feed, constants), feed, BOUND)


@st.composite
def windows(draw):
    """(spatial, (kernel, stride, dilation, pad, ceil_mode)), often small squares with long rows."""
    rank = draw(st.sampled_from([1, 2, 2, 2, 3]))
    k = draw(st.sampled_from([1, 2, 2, 3, 3, 4, 5]))
    dilation = draw(st.sampled_from([1, 1, 1, 2]))
    pad = draw(st.integers(0, k // 2))
    smallest = (k - 1) * dilation + 1
    spatial = [smallest + draw(st.integers(0, 9 if rank == 3 else 40)) for _ in range(rank)]
    return tuple(spatial), (k, draw(st.integers(1, 3)), dilation, pad, draw(st.integers(0, 1)))


@settings(max_examples=60)
@given(windows(), st.sampled_from([np.float32, np.float32, np.float64]))
def test_pools(case, dtype):
    """MaxPool in bands, its indices, averages, and the gradients, against torch."""
    pools.check_against_torch(np.random.default_rng(0), dtype, *case)


@settings(max_examples=100)
@given(
    st.tuples(TAILS, st.sampled_from([1, 3, 16, 70, 300, 1100]), TAILS),
    st.tuples(st.booleans(), st.booleans(), st.booleans()),
    st.sampled_from(["", "a", "b"]),
    st.sampled_from(["MatMul", "Gemm", "batched"]),
    st.sampled_from([np.float32, np.float32, np.float64]),
)
def test_products(size, flags, constant, kind, dtype):
    """Packed at load, packed in the call, read in place, by one row or column: one result."""
    (m, k, n), (swap_a, swap_b, add) = size, flags
    rng = np.random.default_rng(m + n)
    batch = (2, 3) if kind == "batched" else ()
    gemm = kind == "Gemm"
    swap_a, swap_b = swap_a and gemm, swap_b and gemm
    a = rng.standard_normal((*batch, *((k, m) if swap_a else (m, k)))).astype(dtype)
    b = rng.standard_normal((*batch[1:], *((n, k) if swap_b else (k, n)))).astype(dtype)
    c = rng.standard_normal(n).astype(dtype)
    want = (a.T if swap_a else a).astype(np.longdouble) @ (b.T if swap_b else b) + (c if add else 0)
    values = {"a": a, "b": b} | ({"c": c} if add else {})
    if gemm:
        how = {"transA": int(swap_a), "transB": int(swap_b)}
        nodes = [helper.make_node("Gemm", list(values), ["y"], **how)]
    else:
        nodes = [helper.make_node("MatMul", ["a", "b"], ["p"])]
        nodes.append(helper.make_node("Add" if add else "Identity", ["p", "c"][: 1 + add], ["y"]))
    constants = {k: v for k, v in values.items() if k in (constant, "c")}
    feed = {k: v for k, v in values.items() if k not in constants}
    model = model_of(nodes, feed, constants)
    bound = 3e-6 if dtype == np.float32 else 1e-14
    for (y,) in run_file(model.SerializeToString(), feed, 2):
        assert error(y, want.astype(dtype)) <= bound
    assert_equals_plain(model, feed, bound)


@settings(max_examples=40)
@given(
    st.tuples(TAILS, st.sampled_from([1, 4, 7, 64, 131, 300]), TAILS),
    st.sampled_from([np.uint8, np.int8]),
    st.sampled_from([np.uint8, np.int8]),
    st.booleans(),
    st.booleans(),
)
def test_integer_products(size, left, right, per_row, constant):
    (m, k, n) = size
    rng = np.random.default_rng(m)
    a, b = (rng.integers(np.iinfo(t).min, np.iinfo(t).max + 1, s).astype(t)
            for t, s in ((left, (m, k)), (right, (k, n))))  # fmt: skip
    za = rng.integers(0, 100, m if per_row else ()).astype(left)
    zb = rng.integers(0, 100, n if per_row else ()).astype(right)
    want = (a.astype(np.int64) - za.astype(np.int64).reshape(-1, 1)) @ (b.astype(np.int64) - zb)
    values = {"a": a, "b": b, "za": za, "zb": zb}
    constants = {k: v for k, v in values.items() if constant and k != "a"}
    feed = {k: v for k, v in values.items() if k not in constants}
    node = helper.make_node("MatMulInteger", ["a", "b", "za", "zb"], ["y"])
    model = model_of([node], feed, constants)
    for (y,) in run_file(model.SerializeToString(), feed, 2):
        np.testing.assert_array_equal(y, want.astype(np.int32))


@settings(max_examples=50)
@given(convolutions.cases(), st.sampled_from([np.uint8, np.int8]), st.booleans())
def test_integer_convolutions(case, dtype, constant):
    x_shape, w_shape, attributes = case
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, x_shape).astype(np.uint8)
    w = rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max + 1, w_shape).astype(dtype)
    zero = np.uint8(rng.integers(0, 256))
    exact = [(x.astype(np.float64) - zero), w.astype(np.float64)]
    want = run("Conv", exact, attributes | {"algorithm": "plain"})[0]
    feed, constants = {"x": x}, {"zero": zero}
    (constants if constant else feed)["w"] = w
    node = helper.make_node("ConvInteger", ["x", "w", "zero"], ["y"], **attributes)
    for (y,) in run_file(model_of([node], feed, constants).SerializeToString(), feed, 2):
        np.testing.assert_array_equal(y, want.astype(np.int32))


@st.composite
def attentions(draw):
    """A call of Attention: grouped heads, masks of any rank, causal, windows, a past, softcap."""
    d = ROWS["Attention"].draw("float32", str(draw(st.integers(0, 1000))))
    group, kv_heads = draw(st.sampled_from([1, 1, 2, 3])), draw(st.integers(1, 2))
    rows, keys = (
        draw(st.sampled_from([1, 2, 5, 33, 70])),
        draw(st.sampled_from([1, 3, 17, 70, 140])),
    )
    heads, batch = group * kv_heads, draw(st.integers(1, 2))
    width, v_width = (draw(st.sampled_from([1, 4, 7, 16, 33])) for _ in range(2))
    sizes = (batch, heads, kv_heads, rows, keys, width, v_width)
    packed = draw(st.booleans())
    inputs = list(qkv(d, sizes, packed))
    past = draw(st.sampled_from([0, 0, 3, 18]))
    total = keys + past
    mask = draw(st.sampled_from([None, "bool", "float"]))
    if mask is not None:
        fronts = [(rows,), (batch, 1, rows), (heads, 1), (batch, heads, rows)]
        shape = (*draw(st.sampled_from(fronts)), total)
        inputs.append(d.bools(*shape) if mask == "bool" else d(*shape))
    else:
        inputs.append(None)
    if past:
        inputs += past_of(d, sizes, past)
    how = {"is_causal": draw(st.integers(0, 1))} | heads_of(sizes, packed)
    if draw(st.integers(0, 3)) == 0:
        how["softcap"] = 2.0
    if draw(st.integers(0, 3)) == 0:
        how["left_window_size"] = draw(st.integers(0, 20))
    if not past and draw(st.integers(0, 4)) == 0 and rows <= keys:
        inputs += [None, None, i64(*(draw(st.integers(rows, keys)) for _ in range(batch)))]
    while inputs[-1] is None:
        inputs.pop()
    return S(*inputs, outputs=3 if past else 1, **how)


@settings(max_examples=80)
@given(attentions())
def test_attention(sample):
    check(ROWS["Attention"], sample)


@settings(max_examples=40)
@given(attentions())
def test_attention_gradients(sample):
    row = ROWS["toolkit.grad.AttentionGrad"]
    d = row.draw("float32", str(sample))
    inputs = [*sample.inputs, *[None] * 4][:7]
    (y,) = run("Attention", list(sample.inputs), sample.attributes, sample.outputs)[:1]
    outputs = 3 if inputs[4] is None else 5
    check(row, S(*inputs, y, d(*y.shape), outputs=outputs, **sample.attributes))


@st.composite
def recurrences(draw):
    """A call of RNN, GRU or LSTM with any direction, layout, lengths, states and functions."""
    op_type = draw(st.sampled_from(list(recurrent.GATES)))
    d = ROWS[op_type].draw("float32", str(draw(st.integers(0, 1000))))
    how = {
        "t": draw(st.integers(1, 6)),
        "n": draw(st.sampled_from([1, 2, 5, 17])),
        "i": draw(st.integers(1, 20)),
        "h": draw(st.sampled_from([1, 4, 7, 16, 33])),
        "direction": draw(st.sampled_from(recurrent.DIRECTIONS)),
        "layout": draw(st.integers(0, 1)),
        "states": draw(st.booleans()),
        "bias": draw(st.booleans()),
    }
    if draw(st.booleans()):
        how["lens"] = [draw(st.integers(0, how["t"])) for _ in range(how["n"])]
    how |= draw(st.sampled_from([{}, {}, {"clip": 0.4}, *recurrent.variants(op_type)])) | {
        k: v for k, v in how.items() if k == "direction"
    }
    return op_type, recurrent.call(d, op_type, **how), d


@settings(max_examples=60)
@given(recurrences())
def test_recurrences_and_gradients(case):
    op_type, sample, d = case
    check(ROWS[op_type], sample)
    row = ROWS[f"toolkit.grad.{op_type}Grad"]
    for gradient in recurrent.grad_calls(d, op_type, lambda *_: [sample]):
        check(row, gradient)


@settings(max_examples=30)
@given(
    st.sampled_from(["Conv", "ConvTranspose"]),
    st.tuples(st.sampled_from([1, 8, 64]), st.sampled_from([1, 8, 64])),
    st.tuples(st.integers(1, 6), st.integers(1, 3)),
    st.sampled_from(["NOTSET", "SAME_UPPER", "VALID"]),
    st.lists(st.tuples(st.integers(1, 4), st.integers(6, 40)), min_size=2, max_size=4),
)
@example("ConvTranspose", (64, 64), (6, 2), "NOTSET", [(1, 1), (4, 40), (1, 3)])
def test_one_session_of_many_sizes(op_type, channels, how, auto_pad, sizes):
    """Weights packed for one size serve another, which other algorithms may run."""
    k, stride = how
    rng = np.random.default_rng(0)
    w = rng.standard_normal((*channels, k, k)).astype(np.float32)
    attributes = {"strides": [stride] * 2, "auto_pad": auto_pad}
    node = helper.make_node(op_type, ["x", "w"], ["y"], **attributes)
    inner = channels[0 if op_type == "ConvTranspose" else 1]
    model = model_of([node], {"x": np.zeros((1, inner, 6, 6), np.float32)}, {"w": w})
    for i in (0, 2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[i].dim_param = f"d{i}"
    session = InferenceSession(model)
    for batch, side in sizes:
        x = rng.standard_normal((batch, inner, side, side)).astype(np.float32)
        want = run(op_type, [x.astype(np.float64), w.astype(np.float64)], attributes)[0]
        assert error(session.run(None, {"x": x})[0], want.astype(np.float32)) <= BOUND

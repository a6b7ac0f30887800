"""Decoding with a cache that is appended to in place, beside the model run as it stands."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

import toolkit as tk
from benchmarks.zoo import fill
from benchmarks.zoo.sequence import gpt2
from tests.runtime.test_fusion import model_of, plain
from tests.tolerances import assert_close
from toolkit.errors import InvalidArgumentError, ShapeError
from toolkit.runtime import InferenceSession

F, L = TensorProto.FLOAT, TensorProto.INT64
HEADS, WIDTH = 2, 8


def zoo(tmp_path, opset):
    """A small GPT-2's step, and pairs of its caches."""
    model = gpt2(tk, 50, 64, 2, HEADS, HEADS * WIDTH).eval()
    fill(tk, model, 0)
    past = [tk.zeros(1, HEADS, 3, WIDTH) for _ in range(4)]
    inputs = (tk.tensor([[7]]), tk.tensor([[3]]), *past)
    names = [f"input_{i}" for i in range(2, 6)]
    dynamic = {n: {0: "batch", 2: "past"} for n in names}
    dynamic |= {n: {0: "batch"} for n in ("input_ids", "position_ids")}
    path = tmp_path / f"step{opset}.onnx"
    tk.save(path, model, inputs=inputs, dynamic=dynamic, opset=opset)
    session = InferenceSession(path)
    outputs = [v.name for v in session.get_outputs()]
    return path, dict(zip(names, outputs[1:], strict=True))


def exporter(causal=True, **reads):
    """One layer as exporters write it, for any number of tokens: positions by the past's shape."""
    shape = ("b", HEADS, "past", WIDTH)
    inputs = {
        "x": (F, ("b", HEADS, "new", WIDTH)),
        "past.0.key": (F, shape),
        "past.0.value": (F, shape),
    }
    constant = [
        helper.make_node("Constant", [], [n], value_ints=v)
        for n, v in {"two": [2], "three": [3], "zero": [0], "one": [1]}.items()
    ]
    node = helper.make_node
    nodes = [
        *constant,
        node("Concat", ["past.0.key", "x"], ["present.0.key"], axis=2),
        node("Concat", ["past.0.value", "x"], ["present.0.value"], axis=2),
        node("Shape", ["past.0.key"], ["p"], start=2, end=3),
        node("Shape", ["present.0.key"], ["s"]),
        node("Slice", ["s", "two", "three"], ["total"]),
        node("Constant", [], ["nought"], value_int=0),
        node("Constant", [], ["unit"], value_int=1),
        node("Squeeze", ["total"], ["end"]),
        node("Range", ["nought", "end", "unit"], ["columns"]),
        node("Shape", ["x"], ["new"], start=2, end=3),
        node("Squeeze", ["new"], ["count"]),
        node("Range", ["nought", "count", "unit"], ["r"]),
        node("Add", ["r", "p"], ["rows"]),
        node("Unsqueeze", ["rows", "one"], ["row"]),
        node("LessOrEqual", ["columns", "row"], ["keep"]),
        node("Constant", [], ["low"], value_float=-np.inf),
        node("Transpose", ["present.0.key"], ["kt"], perm=[0, 1, 3, 2]),
        node("MatMul", ["x", "kt"], ["scores"]),
        node("Where", ["keep", "scores", "low"], ["masked"]) if causal else None,
        node("Softmax", ["masked" if causal else "scores"], ["probabilities"]),
        node("MatMul", ["probabilities", "present.0.value"], ["y"]),
        *(node("ReduceSum", [v], [k], keepdims=0) for k, v in reads.items()),
    ]
    outputs = dict.fromkeys(("y", "present.0.key", "present.0.value", *reads), F)
    return model_of([n for n in nodes if n], inputs, outputs)


def by_hand(model, pairs, steps, empty):
    """The loop without a cache: each step's presents are the next one's pasts."""
    session = InferenceSession(model, plain())
    past = dict.fromkeys(pairs, empty)
    names = [v.name for v in session.get_outputs() if v.name not in pairs.values()]
    for feed in steps:
        results = session.run([*names, *pairs.values()], feed | past)
        past = dict(zip(pairs, results[len(names) :], strict=True))
        yield results[: len(names)]


def zoo_steps(count):
    return [
        {"input_ids": np.array([[i * 3]]), "position_ids": np.array([[i]])} for i in range(count)
    ]


@pytest.mark.parametrize("opset", [21, 24])
def test_a_decoded_sequence_is_that_of_the_plain_model(tmp_path, opset):
    model, pairs = zoo(tmp_path, opset)
    cache = InferenceSession(model).kv_cache(pairs, capacity=4)  # It grows twice.
    assert cache.in_place
    steps = zoo_steps(12)
    empty = np.zeros((1, HEADS, 0, WIDTH), np.float32)
    for _ in range(2):
        for i, want in enumerate(by_hand(model, pairs, steps, empty)):
            assert cache.length == i
            for got, expected in zip(cache.run(None, steps[i]), want, strict=True):
                assert_close(got, expected, 20)
        cache.reset()


@pytest.mark.parametrize("lengths", [(5, 1, 1, 3), (1, 1, 1), (9, 2)])
@pytest.mark.parametrize("batch", [1, 3])
def test_exporters_positions_and_masks_follow_the_past(lengths, batch):
    model = exporter()
    rng = np.random.default_rng(0)
    steps = [
        {"x": rng.standard_normal((batch, HEADS, n, WIDTH)).astype(np.float32)} for n in lengths
    ]
    cache = InferenceSession(model).kv_cache(capacity=2)
    assert cache.in_place
    empty = np.zeros((batch, HEADS, 0, WIDTH), np.float32)
    for want, feed in zip(by_hand(model, cache._pairs, steps, empty), steps, strict=True):
        (got,) = cache.run(None, feed)
        assert_close(got, want[0], 20)
    assert cache.length == sum(lengths)
    keys = np.concatenate([s["x"] for s in steps], 2)
    np.testing.assert_array_equal(cache.arrays()["past.0.key"], keys)


def test_a_cache_that_is_read_elsewhere_is_copied_and_right():
    model = exporter(sum="present.0.key")
    rng = np.random.default_rng(0)
    steps = [{"x": rng.standard_normal((1, HEADS, 2, WIDTH)).astype(np.float32)} for _ in range(3)]
    cache = InferenceSession(model).kv_cache()
    assert not cache.in_place
    empty = np.zeros((1, HEADS, 0, WIDTH), np.float32)
    for want, feed in zip(by_hand(model, cache._pairs, steps, empty), steps, strict=True):
        for got, expected in zip(cache.run(["y", "sum"], feed), want, strict=True):
            assert_close(got, expected, 20)


def test_without_fusion_it_is_copied_and_right(tmp_path, monkeypatch):
    model, pairs = zoo(tmp_path, 21)
    fused = InferenceSession(model).kv_cache(pairs)
    monkeypatch.setenv("TOOLKIT_OPT", "0")
    cache = InferenceSession(model).kv_cache(pairs)
    assert fused.in_place and not cache.in_place
    for feed in zoo_steps(4):
        assert_close(cache.run(None, feed)[0], fused.run(None, feed)[0], 20)


def test_load_and_truncate_go_on_from_a_past(tmp_path):
    model, pairs = zoo(tmp_path, 21)
    session = InferenceSession(model)
    first, second = session.kv_cache(pairs), session.kv_cache(pairs, capacity=2)
    steps = zoo_steps(6)
    results = [first.run(None, feed)[0] for feed in steps]
    second.load({n: a[:, :, :4] for n, a in first.arrays().items()})
    first.truncate(4)
    for cache in (first, second):
        np.testing.assert_array_equal(cache.run(None, steps[4])[0], results[4])
    (plain_run, *_) = session.run(None, steps[5] | first.arrays())
    assert_close(plain_run, results[5], 20)


def test_mistakes_are_named(tmp_path):
    model, pairs = zoo(tmp_path, 21)
    session = InferenceSession(model)
    with pytest.raises(InvalidArgumentError, match="pairs of a past and its present are required"):
        session.kv_cache()
    with pytest.raises(InvalidArgumentError, match="an output among"):
        session.kv_cache({"input_2": "nope"})
    cache = session.kv_cache(pairs)
    with pytest.raises(InvalidArgumentError, match="input 'position_ids' is required"):
        cache.run(None, {"input_ids": np.array([[1]])})
    with pytest.raises(InvalidArgumentError, match="length of 0 to 0"):
        cache.truncate(1)
    with pytest.raises(ShapeError, match="of one length"):
        cache.load({n: np.zeros((1, HEADS, i, WIDTH), np.float32) for i, n in enumerate(pairs)})
    cache.run(None, zoo_steps(1)[0])
    two = {"input_ids": np.zeros((2, 1), np.int64), "position_ids": np.zeros((2, 1), np.int64)}
    with pytest.raises(ShapeError, match="a batch of 1 as before is required, got 2"):
        cache.run(None, two)

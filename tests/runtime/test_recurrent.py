"""RNN, GRU and LSTM: beside onnxruntime, with constant weights, from old opsets, bad input."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tests import gradcheck, opcheck, tolerances
from tests.opinfo import OPS, Sample
from tests.opinfo.recurrent import COUNT, agreed, call, grad_calls, grad_reference, reference
from tests.runtime import oracle
from toolkit.errors import DTypeError, InvalidArgumentError, ShapeError
from toolkit.runtime import InferenceSession, _core

TYPES = ("RNN", "GRU", "LSTM")
ROW = {op.op_type: op for op in OPS if op.name in TYPES}


def by_onnxruntime(op_type: str, sample) -> list[np.ndarray]:
    model = opcheck.model(ROW[op_type], sample, opcheck.run(ROW[op_type], sample))
    model.opset_import[0].version = 22
    return gradcheck.ort_run(model, opcheck.feed(sample))


@pytest.mark.parametrize("op_type", TYPES)
def test_onnxruntime_agrees(op_type):
    for sample in agreed(ROW[op_type].draw("float32", "onnxruntime"), op_type):
        got, want = opcheck.run(ROW[op_type], sample), by_onnxruntime(op_type, sample)
        for g, w in zip(got, want, strict=True):
            tolerances.assert_close(g, w, 8, message=f"{op_type}({sample})")


def test_clip_of_lstm():
    """ONNX clips the input of every activation, onnxruntime not the cell that h takes."""
    sample = call(ROW["LSTM"].draw("float32", "clip"), "LSTM", t=1, clip=0.25, peephole=True)
    (_, h, c), (_, other_h, other_c) = (
        opcheck.run(ROW["LSTM"], sample),
        by_onnxruntime("LSTM", sample),
    )
    tolerances.assert_close(c, other_c)
    inside = abs(c) < 0.25
    assert 0 < inside.sum() < c.size
    tolerances.assert_close(h[inside], other_h[inside])
    assert (abs(h) < abs(other_h))[~inside].all()


@pytest.mark.parametrize("op_type", TYPES)
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_constant_weights_are_packed_once(op_type, threads):
    _core.set_num_threads(threads)
    d = ROW[op_type].draw("float32", "constant")
    for options in (
        {"t": 3, "n": 1, "i": 20, "h": 160},
        {"t": 3, "n": 33, "i": 3, "h": 70, "direction": "bidirectional", "layout": 1},
    ):
        sample = call(d, op_type, **options)
        free = opcheck.run(ROW[op_type], sample)
        model = opcheck.model(ROW[op_type], sample, free)
        for k in (1, 2):
            model.graph.initializer.append(numpy_helper.from_array(sample.inputs[k], f"x{k}"))
        kept = [v for v in model.graph.input if v.name not in ("x1", "x2")]
        del model.graph.input[:]
        model.graph.input.extend(kept)
        feed = {k: v for k, v in opcheck.feed(sample).items() if k not in ("x1", "x2")}
        session = InferenceSession(model.SerializeToString())
        for _ in range(2):
            for a, b in zip(free, session.run(None, feed), strict=True):
                np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("op_type", TYPES)
@pytest.mark.parametrize("opset", [1, 3, 7, 14, 22])
def test_every_version_of_the_operator(op_type, opset):
    d = ROW[op_type].draw("float32", "versions")
    sample = call(d, op_type, lens=[2, 4, 1], direction="bidirectional")
    model = opcheck.model(ROW[op_type], sample, reference(op_type, sample))
    model.opset_import[0].version = opset
    if opset < 7:
        model.graph.node[0].attribute.append(helper.make_attribute("output_sequence", 1))
    got = InferenceSession(model.SerializeToString()).run(None, opcheck.feed(sample))
    for g, w in zip(got, reference(op_type, sample), strict=True):
        tolerances.assert_close(g, w, 4)


def test_misspelt_direction_of_the_first_gru():
    sample = call(ROW["GRU"].draw("float32", "versions"), "GRU")
    model = opcheck.model(ROW["GRU"], sample, reference("GRU", sample))
    model.opset_import[0].version = 1
    model.graph.node[0].attribute.append(helper.make_attribute("direction", "foward"))
    got = InferenceSession(model.SerializeToString()).run(None, opcheck.feed(sample))
    tolerances.assert_close(got[0], reference("GRU", sample)[0], 4)


def test_any_output_may_be_left_out():
    sample = call(ROW["LSTM"].draw("float32", "outputs"), "LSTM")
    want = reference("LSTM", sample)
    for wanted in ([0], [1], [2], [0, 2], [1, 2]):
        model = opcheck.model(ROW["LSTM"], sample, want)
        names = [f"y{i}" if i in wanted else "" for i in range(3)]
        del model.graph.node[0].output[:]
        model.graph.node[0].output.extend(names)
        kept = [v for v in model.graph.output if v.name in names]
        del model.graph.output[:]
        model.graph.output.extend(kept)
        onnx.checker.check_model(model)
        got = InferenceSession(model.SerializeToString()).run(None, opcheck.feed(sample))
        for g, i in zip(got, wanted, strict=True):
            tolerances.assert_close(g, want[i], 4)


def test_activations_may_be_written_in_any_case():
    sample = call(ROW["RNN"].draw("float64", "case"), "RNN", activations=["Softsign"])
    want = oracle.run("RNN", list(sample.inputs), sample.attributes, 2)
    got = oracle.run("RNN", list(sample.inputs), {"activations": ["softSIGN"]}, 2)
    oracle.assert_same(got, want)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"hidden_size": 6}, ShapeError, "R must have hidden_size 6 columns, got 7"),
        ({"direction": "up"}, InvalidArgumentError, "direction must be forward, reverse or"),
        ({"layout": 2}, InvalidArgumentError, "layout must be 0 or 1, got 2"),
        ({"clip": -1.0}, InvalidArgumentError, "clip must not be negative"),
        ({"activations": ["Tanh"]}, InvalidArgumentError, "3 activations are required, got 1"),
        ({"activations": ["Tanh", "Sine", "Tanh"]}, InvalidArgumentError, "got Sine"),
        ({"activations": ["Tanh", 1, "Tanh"]}, InvalidArgumentError, "strings alone or numbers"),
        ({1: np.zeros((1, 27, 5))}, ShapeError, r"W must have shape \(1, 28, 5\)"),
        ({2: np.zeros((28, 7))}, ShapeError, "X, W and R must have three dimensions"),
        ({3: np.zeros((1, 28))}, ShapeError, r"B must have shape \(1, 56\)"),
        ({3: np.zeros((1, 56), np.float32)}, DTypeError, "must have X's dtype float64"),
        ({4: np.array([1, 2, 5], np.int32)}, InvalidArgumentError, "between 0 and 4, got 5"),
        ({4: np.array([1, -2, 3], np.int32)}, InvalidArgumentError, "between 0 and 4, got -2"),
        ({4: np.array([1, 2, 3])}, DTypeError, "sequence_lens must be int32"),
        ({5: np.zeros((1, 2, 7))}, ShapeError, r"initial_h must have shape \(1, 3, 7\)"),
        ({6: np.zeros((1, 3, 8))}, ShapeError, r"initial_c must have shape \(1, 3, 7\)"),
        ({7: np.zeros((1, 7))}, ShapeError, r"P must have shape \(1, 21\)"),
    ],
)
def test_bad_input(change, error, message):
    sample = call(ROW["LSTM"].draw("float64", "bad"), "LSTM", peephole=True)
    inputs, attributes = list(sample.inputs), dict(sample.attributes)
    for key, value in change.items():
        if isinstance(key, int):
            inputs[key] = value
        else:
            attributes[key] = value
    with pytest.raises(error, match=message):
        oracle.run("LSTM", inputs, attributes, 3)


@pytest.mark.parametrize("op_type", TYPES)
def test_gradient_of_no_steps_is_that_of_the_states(op_type):
    row = next(op for op in OPS if op.op_type == f"{op_type}Grad")
    d = row.draw("float64", "no steps")

    def no_steps(d, op_type):
        yield call(d, op_type, t=0, direction="bidirectional")
        yield call(d, op_type, t=0, layout=1)

    for sample in grad_calls(d, op_type, no_steps):
        got, want = opcheck.run(row, sample), grad_reference(op_type, sample)
        for g, w in zip(got, want, strict=True):
            tolerances.assert_close(g, w)


@pytest.mark.parametrize("op_type", TYPES)
def test_padding_may_hold_nan(op_type):
    row = next(op for op in OPS if op.op_type == f"{op_type}Grad")
    d = row.draw("float64", "padding")
    draw = lambda d, op_type: [call(d, op_type, lens=[1, 4, 2], direction="bidirectional")]  # noqa: E731
    (sample,) = grad_calls(d, op_type, draw)
    clean = opcheck.run(row, sample)
    x = sample.inputs[0].copy()
    for n, length in enumerate(sample.inputs[4]):
        x[length:, n] = np.nan
    padded = replace(sample, inputs=(x, *sample.inputs[1:]))
    for a, b in zip(clean, opcheck.run(row, padded), strict=True):
        np.testing.assert_array_equal(a, b)
    forward = [
        opcheck.run(ROW[op_type], Sample(s.inputs[: COUNT[op_type]], s.attributes))[0]
        for s in (sample, padded)
    ]
    np.testing.assert_array_equal(*forward)

"""Profiles: which nodes ran, what they counted, what a trace holds. Times are never asserted."""

from __future__ import annotations

import json

import numpy as np
import onnx.parser
import pytest

from toolkit import errors
from toolkit.runtime import InferenceSession, SessionOptions, _core
from toolkit.runtime.measure import operations, peers
from toolkit.runtime.measure.profile import operations as operations_of
from toolkit.runtime.measure.profile import profile

HEAD = '<ir_version: 10, opset_import: ["": 21]>'
CONV = """
agraph (float[1,8,12,12] x, float[16,4,3,3] w) => (float[1,16,6,6] y) {
  c = Conv <group = 2, pads = [1, 1, 1, 1]> (x, w)
  r = Relu (c)
  y = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r)
}
"""
LOOP = """
agraph (float[N] x, int64 trips) => (float[N] y) {
  go = Constant <value = bool {1}> ()
  y = Loop (trips, go, x) <
    body = b (int64 i, bool c, float[N] a) => (bool d, float[N] e) {
      d = Identity (c)
      t = Sin (a)
      e = CumSum (t, zero)
    }
  >
}
"""


def session(text: str, level: int = 99, **constants: np.ndarray) -> InferenceSession:
    model = onnx.parser.parse_model(HEAD + text)
    for name, value in constants.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
        kept = [v for v in model.graph.input if v.name != name]
        del model.graph.input[:]
        model.graph.input.extend(kept)
    return InferenceSession(model, SessionOptions(graph_optimization_level=level))


def conv_session(rng: np.random.Generator, level: int = 99) -> tuple[InferenceSession, dict]:
    w = rng.standard_normal((16, 4, 3, 3)).astype(np.float32)
    x = rng.standard_normal((1, 8, 12, 12)).astype(np.float32)
    return session(CONV, level, w=w), {"x": x}


def test_a_profile_lists_what_ran(rng):
    s, feed = conv_session(rng)
    want = s.run(None, feed)[0]
    found = profile(s.native_program(), lambda: s.run(None, feed), seconds=0, peaks=False)
    assert [n.op_type for n in found.nodes] == ["FusedConv", "MaxPool"]
    conv, pool = found.nodes
    assert conv.operations == 2 * (16 * 12 * 12) * (4 * 3 * 3)
    assert conv.bytes == 4 * (8 * 144 + 16 * 4 * 9 + 16 * 144)
    assert conv.algorithm in {"im2col", "direct", "winograd2", "winograd4"}
    assert (pool.operations, pool.bytes) == (0, 4 * (16 * 144 + 16 * 36))
    assert "1x16x12x12 -> 1x16x6x6" in pool.shapes
    assert found.runs == 3
    assert len(found.events) == 2 * found.runs
    assert all(n.seconds > 0 for n in found.nodes)
    np.testing.assert_array_equal(s.run(None, feed)[0], want)  # Results are what they were.


def test_the_algorithm_is_the_one_that_runs(rng):
    """The attribute that forces an algorithm shows in the profile."""
    for name in ("direct", "winograd2", "winograd4", "winograd6", "transposed"):
        program = _core.Program()
        x = program.add_input("x")
        w = program.add_constant(_core.Tensor.from_array(np.ones((8, 8, 3, 3), np.float32)))
        y = program.add_slot()
        program.add_node("", "Conv", "c", {"pads": [1] * 4, "algorithm": name}, [x, w], [y])
        program.add_output(y)
        program.finalize()
        program.enable_profile(True)
        program.run([_core.Tensor.from_array(np.ones((1, 8, 16, 16), np.float32))])
        assert program.profile()["nodes"][0]["algorithm"] == name


def test_a_profile_ends(rng):
    s, feed = conv_session(rng)
    program = s.native_program()
    profile(program, lambda: s.run(None, feed), seconds=0, peaks=False)
    runs = program.profile()["runs"]
    s.run(None, feed)
    assert program.profile()["runs"] == runs
    program.enable_profile(True)
    assert program.profile()["runs"] == 0  # Begins anew.


def test_a_failed_run_ends_its_profile(rng):
    s, _ = conv_session(rng)
    with pytest.raises(errors.InvalidArgumentError):
        profile(s.native_program(), lambda: s.run(None, {}), seconds=0, peaks=False)


def test_nodes_of_a_body_are_listed(rng):
    s = session(LOOP, zero=np.array(0))
    feed = {"x": rng.standard_normal(1000).astype(np.float32), "trips": np.array(5)}
    found = profile(s.native_program(), lambda: s.run(None, feed), seconds=0, peaks=False)
    inner = [n for n in found.nodes if n.depth == 1]
    (loop,) = (n for n in found.nodes if n.op_type == "Loop")
    assert {n.op_type for n in inner} >= {"Sin", "CumSum"}
    assert all(n.name.startswith(f"{loop.name}/") for n in inner)
    sines = [e for e in found.events if e[1] == "Sin"]
    assert len(sines) == 5 * found.runs
    # A body's events lie within those of its node.
    loops = [e for e in found.events if e[1] == "Loop"]
    for _, _, start, seconds in sines:
        assert any(a <= start and start + seconds <= a + b for _, _, a, b in loops)


def test_a_branch_that_does_not_run_costs_nothing():
    s = session(
        """
        agraph (bool c, float[4] x) => (float[4] y) {
          y = If (c) <
            then_branch = t () => (float[4] a) { a = Sin (x) },
            else_branch = e () => (float[4] b) { b = Cos (x) }
          >
        }
        """
    )
    feed = {"c": np.array(True), "x": np.ones(4, np.float32)}
    found = profile(s.native_program(), lambda: s.run(None, feed), seconds=0, peaks=False)
    cost = {n.op_type: (n.seconds > 0, n.operations, n.bytes) for n in found.nodes}
    assert cost["Sin"] == (True, 4, 32)
    assert cost["Cos"] == (False, 0, 0)


def test_a_trace_is_what_chrome_reads(rng, tmp_path):
    s, feed = conv_session(rng)
    found = profile(s.native_program(), lambda: s.run(None, feed), seconds=0, peaks=False)
    found.write_trace(tmp_path / "t.json")
    events = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    assert len(events) == 6
    assert min(e["ts"] for e in events) == 0
    assert {e["ph"] for e in events} == {"X"}
    assert events[0]["name"].startswith("FusedConv")


def test_tables_and_dict(rng):
    s, feed = conv_session(rng)
    found = profile(s.native_program(), lambda: s.run(None, feed), seconds=0)
    text = found.as_text(most=1)
    assert "... and 1 more" in text
    assert "GFLOP/s" in text
    assert found.peak_operations > 0
    assert found.peak_bytes > 0
    assert json.loads(json.dumps(found.as_dict()))["nodes"][0]["op_type"] == "FusedConv"
    totals = found.by_operator()
    assert sum(t.operations for t in totals) == sum(n.operations for n in found.nodes)


def test_fusion_keeps_the_count_of_products(rng):
    """The count of a model's own operators is that of the fused program, but for the Relu."""
    counts = []
    for level in (0, 99):
        s, feed = conv_session(rng, level)
        counts.append(operations_of(s.native_program(), lambda s=s, f=feed: s.run(None, f)))
    assert counts == [2 * 16 * 144 * 36 + 16 * 144, 2 * 16 * 144 * 36]


@pytest.mark.parametrize(
    ("op_type", "inputs", "outputs", "want"),
    [
        ("MatMul", [(2, 3, 4), (4, 5)], [(2, 3, 5)], 2 * 2 * 3 * 4 * 5),
        ("MatMul", [(4,), (4, 5)], [(5,)], 2 * 4 * 5),
        ("MatMul", [(3, 4), (4,)], [(3,)], 2 * 3 * 4),
        ("Gemm", [(4, 3), (5, 4), (5,)], [(3, 5)], 2 * 3 * 4 * 5),  # transA and transB.
        ("Conv", [(2, 6, 9, 9), (8, 3, 3, 3)], [(2, 8, 7, 7)], 2 * 2 * 8 * 49 * 27),
        ("ConvTranspose", [(1, 6, 5, 5), (6, 4, 2, 2)], [(1, 4, 10, 10)], 2 * 6 * 25 * 16),
        ("ConvGradInput", [(1, 8, 7, 7), (8, 3, 3, 3), (4,)], [(1, 3, 9, 9)], 2 * 8 * 49 * 27),
        ("ConvGradWeight", [(1, 3, 9, 9), (1, 8, 7, 7), (4,)], [(8, 3, 3, 3)], 2 * 8 * 49 * 27),
        ("QLinearConv", [(1, 3, 9, 9), (), (), (8, 3, 3, 3)], [(1, 8, 7, 7)], 2 * 8 * 49 * 27),
        ("Attention", [(1, 2, 5, 8), (1, 2, 7, 8), (1, 2, 7, 6)], [(1, 2, 5, 6)], 2 * 70 * 14),
        ("Attention", [(1, 5, 16), (1, 7, 16), (1, 7, 12)], [(1, 5, 12)], 2 * 5 * 7 * 28),
        ("LSTM", [(9, 2, 3), (2, 16, 3), (2, 16, 4)], [(9, 2, 2, 4)], 2 * 18 * (96 + 128)),
        ("Tanh", [(3, 4)], [(3, 4)], 12),
        ("Reshape", [(3, 4), (1,)], [(12,)], 0),
        ("Conv", [None, None], [None], 0),
        ("Unknown", [], [], 0),
    ],
)
def test_counts(op_type, inputs, outputs, want):
    assert operations.count(op_type, inputs, outputs) == want


def test_sides_are_compared():
    x = np.arange(6, dtype=np.float32)
    sides = {
        "ours": lambda feed: [feed["x"] * 2],
        "same": lambda feed: [feed["x"] * 2],
        "near": lambda feed: [feed["x"] * 2 + 0.01],
        "shape": lambda feed: [feed["x"][:3]],
    }
    found = peers.measure(sides, {"x": x}, seconds=0)
    assert list(found.medians) == list(sides)
    assert (found.errors["ours"], found.errors["same"]) == (0, 0)
    assert found.errors["near"] == pytest.approx(0.001, rel=1e-3)
    assert found.errors["shape"] == np.inf


def test_peers_give_what_we_give(tmp_path, rng):
    pytest.importorskip("onnxruntime")
    _, feed = conv_session(rng)
    path = tmp_path / "m.onnx"
    model = onnx.parser.parse_model(HEAD + CONV)
    onnx.save(model, path)
    feed["w"] = rng.standard_normal((16, 4, 3, 3)).astype(np.float32)
    runs = {name: peers.load(name, path, 1, feed) for name in ("ours", "onnxruntime")}
    assert peers.measure(runs, feed, seconds=0).errors["onnxruntime"] < 1e-5


def test_an_unknown_peer_is_refused(tmp_path):
    with pytest.raises(errors.InvalidArgumentError, match="one of ours, onnxruntime, openvino is"):
        peers.load("torch", tmp_path / "m.onnx", 1, {})


def test_a_peer_that_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    with pytest.raises(errors.InvalidArgumentError, match="pip install openvino"):
        peers.load("openvino", tmp_path / "m.onnx", 1, {})

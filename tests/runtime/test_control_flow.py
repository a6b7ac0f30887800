"""If, Loop and Scan in whole models: captures, nesting, aliasing, functions, threads, strings."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx.parser
import pytest
from onnx.reference import ReferenceEvaluator

from tests import tolerances
from toolkit import errors
from toolkit.runtime import InferenceSession, _core

HEAD = '<ir_version: 10, opset_import: ["": 21, "local": 1]>'


def model(text: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(HEAD + text)


def check(text: str, **feed) -> list:
    """Ours equals onnx.reference's; our results are given back."""
    proto = model(text)
    got = InferenceSession(proto).run(None, feed)
    for g, w in zip(got, ReferenceEvaluator(proto).run(None, feed), strict=True):
        tolerances.assert_close(g, w, 4)
    return got


FOUR_DEEP = """
agraph (bool a, bool b, bool c, bool d, float[N] x) => (float[N] y) {
  w = Constant <value_floats = [1.0, 2.0, 3.0]> ()
  u = Add (x, w)
  y = If (a) <
    then_branch = t1 () => (float[N] y1) {
      v = Mul (u, w)
      y1 = If (b) <
        then_branch = t2 () => (float[N] y2) {
          y2 = If (c) <
            then_branch = t3 () => (float[N] y3) {
              y3 = If (d) <
                then_branch = t4 () => (float[N] y4) { p = Add (u, v) y4 = Mul (p, x) },
                else_branch = e4 () => (float[N] y4) { y4 = Sub (v, w) }
              >
            },
            else_branch = e3 () => (float[N] y3) { y3 = Neg (v) }
          >
        },
        else_branch = e2 () => (float[N] y2) { y2 = Exp (u) }
      >
    },
    else_branch = e1 () => (float[N] y1) { y1 = Identity (x) }
  >
}"""


@pytest.mark.parametrize("taken", range(16))
def test_four_deep_branches_capture_outer_values(taken):
    flags = {name: np.array(bool(taken >> i & 1)) for i, name in enumerate("abcd")}
    check(FOUR_DEEP, **flags, x=np.float32([0.5, -1, 2]))


NESTED = """
agraph (int64 n, float[3, 3] w, float[3] x) => (float[3] y, float[K, 3] all) {
  go = Constant <value = bool {1}> ()
  y, all = Loop (n, go, x) <body = outer (int64 i, bool c, float[3] h) =>
      (bool c_out, float[3] h_out, float[3] s) {
    c_out = Identity (c)
    t = MatMul (w, h)
    three = Constant <value = int64 {3}> ()
    h_out = Loop (three, c, t) <body = inner (int64 j, bool d, float[3] g) =>
        (bool d_out, float[3] g_out) {
      d_out = Identity (d)
      m = Add (g, h)
      f = Cast <to = 1> (i)
      q = Add (m, f)
      g_out = Tanh (q)
    }>
    s = Mul (h_out, x)
  }>
}"""


def test_loops_in_loops(rng):
    w, x = rng.normal(size=(3, 3)).astype(np.float32), rng.normal(size=3).astype(np.float32)
    for n in (1, 4):
        check(NESTED, n=np.array(n), w=w, x=x)


def test_a_loop_that_never_turns_gives_empty_scans(rng):
    x = np.float32([1, 2, 3])
    y, every = InferenceSession(model(NESTED)).run(
        None, {"n": np.array(0), "w": np.eye(3, dtype=np.float32), "x": x}
    )
    np.testing.assert_array_equal(y, x)
    assert every.shape == (0, 3) and every.dtype == np.float32


def test_results_do_not_share_the_inputs_memory():
    text = """
agraph (bool a, float[N] x) => (float[N] y, float[N] z, float[N] s) {
  one = Constant <value = int64 {1}> ()
  y = If (a) <then_branch = t () => (float[N] t0) { t0 = Identity (x) },
              else_branch = e () => (float[N] e0) { e0 = Neg (x) }>
  z = Loop (one, a, x) <body = b (int64 i, bool c, float[N] h) => (bool d, float[N] k) {
    d = Identity (c)
    k = Identity (h)
  }>
  rows = Unsqueeze (x, axes)
  axes = Constant <value_ints = [0]> ()
  s = Scan (x, rows) <num_scan_inputs = 1, body = f (float[N] h, float[N] r) => (float[N] k) {
    k = Identity (r)
  }>
}"""
    text = text.replace("  rows = Unsqueeze (x, axes)\n", "")
    text = text.replace("[0]> ()\n", "[0]> ()\n  rows = Unsqueeze (x, axes)\n")
    x = np.float32([1, 2, 3])
    results = InferenceSession(model(text)).run(None, {"a": np.array(True), "x": x})
    for result in results:
        assert not np.shares_memory(result, x)
        result += 1  # Nor each other's.
    np.testing.assert_array_equal(x, [1, 2, 3])
    for result in results:
        np.testing.assert_array_equal(result, [2, 3, 4])


def test_sequences_grow_in_loops():
    text = """
agraph (int64 n, float[N] x) => (float[M] y) {
  go = Constant <value = bool {1}> ()
  empty = SequenceEmpty <dtype = 1> ()
  all = Loop (n, go, empty) <body = b (int64 i, bool c, seq(float[N]) s) =>
      (bool d, seq(float[N]) t) {
    d = Identity (c)
    f = Cast <to = 1> (i)
    z = Mul (x, f)
    t = SequenceInsert (s, z)
  }>
  y = ConcatFromSequence <axis = 0> (all)
}"""
    check(text, n=np.array(3), x=np.float32([1, 2]))


FUNCTION = """
agraph (bool a, float[N] x) => (float[N] y, float[N] z) {
  y = local.leaky <slope = 0.5> (a, x)
  z = local.leaky (a, x)
}
<domain: "local", opset_import: ["": 21]>
leaky <slope: float = 0.25> (a, x) => (y) {
  y = If (a) <
    then_branch = t () => (t0) { t0 = LeakyRelu <alpha: float = @slope> (x) },
    else_branch = e () => (e0) { e0 = Identity (x) }
  >
}"""


def test_attributes_of_a_function_reach_its_branches():
    session = InferenceSession(model(FUNCTION))
    x = np.float32([-4, 2])
    for a, want in ((True, ([-2, 2], [-1, 2])), (False, (x, x))):
        for got, w in zip(session.run(None, {"a": np.array(a), "x": x}), want, strict=True):
            np.testing.assert_array_equal(got, np.float32(w))


def test_a_known_condition_is_written_out(rng):
    text = FOUR_DEEP.replace("bool a, ", "").replace(
        "  u = Add (x, w)", "  a = Constant <value = bool {0}> ()\n  u = Add (x, w)"
    )
    session = InferenceSession(model(text))
    assert next(iter(session._programs.values())).program.num_instructions <= 1
    x = rng.normal(size=3).astype(np.float32)
    off = {name: np.array(True) for name in "bcd"}
    np.testing.assert_array_equal(session.run(None, {**off, "x": x})[0], x)


def test_one_session_serves_many_threads(rng):
    session = InferenceSession(model(NESTED))
    feeds = [
        {
            "n": np.array(1 + k % 5),
            "w": rng.normal(size=(3, 3)).astype(np.float32),
            "x": rng.normal(size=3).astype(np.float32),
        }
        for k in range(64)
    ]
    alone = [session.run(None, feed) for feed in feeds]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda feed: session.run(None, feed), feeds))
    for a, b in zip(alone, together, strict=True):
        for x, y in zip(a, b, strict=True):
            assert x.tobytes() == y.tobytes()


def test_a_branch_of_another_shape_and_errors_name_the_node():
    text = """
agraph (bool a, float[N] x) => (float[M] y) {
  y = If (a) <then_branch = t () => (float[M] t0) { t0 = Concat <axis = 0> (x, x) },
              else_branch = e () => (float[M] e0) {
                k = Constant <value_ints = [3]> ()
                e0 = Reshape (x, k)
              }>
}"""
    session = InferenceSession(model(text))
    x = np.float32([1, 2])
    assert session.run(None, {"a": np.array(True), "x": x})[0].shape == (4,)
    with pytest.raises(errors.ShapeError, match=r"^If '.*': Reshape '"):
        session.run(None, {"a": np.array(False), "x": x})


def test_strings_are_swept():
    """Strings that no tensor holds any more do not pile up."""
    text = "agraph (string[N] s) => (string[N] t) { t = Identity (s) }"
    session = InferenceSession(model(text))
    word = "x" * 10_000
    for k in range(20_000):
        session.run(None, {"s": np.array([f"{word}{k}"], object)})
    assert _core.stored_strings() < 10_000

"""If, Loop, Scan and SequenceMap; tests/runtime/test_control_flow.py has what one node cannot show."""

from __future__ import annotations

import numpy as np
import onnx.parser

from tests.opinfo.core import FLOATS, OpInfo, S

KINDS = {"float32": "float", "float64": "double"}


def graph(d, text: str):
    """A graph whose element type T is the drawn one."""
    return onnx.parser.parse_graph(text.replace("T[", KINDS.get(d.dtype.name, d.dtype.name) + "["))


def if_samples(d):
    then = graph(d, "then () => (T[N] y) { y = Constant <value_floats = [1.0, 2.0]> () }")
    other = graph(d, "other () => (T[N] y) { y = Constant <value_floats = [3.0]> () }")
    for condition in (True, False):
        yield S(np.array(condition), then_branch=then, else_branch=other)


def loop_samples(d):
    body = graph(
        d,
        """body (int64 i, bool go, T[N] x) => (bool more, T[N] y, T[N] s) {
        more = Identity (go)
        y = Add (x, x)
        s = Mul (y, x)
    }""",
    )
    for trips in (1, 5):
        yield S(np.array(trips, np.int64), np.array(True), d(3), outputs=2, body=body)
    yield S(np.array(5, np.int64), None, d(3), outputs=2, body=body)
    until = graph(
        d,
        """body (int64 i, bool go, T[N] x) => (bool more, T[N] y) {
        y = Add (x, x)
        last = Constant <value_int = 4> ()
        more = Less (i, last)
    }""",
    )
    yield S(None, np.array(True), d(4), body=until)
    yield S(None, None, d(4), body=until)


def loop_reference(sample):
    """By numpy, for the two bodies above."""
    trips, _, x = sample.inputs
    scanned = []
    for _ in range(5 if trips is None else int(trips)):
        scanned.append((x + x) * x)
        x = x + x
    return [x, np.stack(scanned)][: sample.outputs]


def scan_samples(d):
    body = graph(
        d,
        """body (T[N] state, T[N] x) => (T[N] sum, T[N] out) {
        sum = Add (state, x)
        out = Mul (sum, x)
    }""",
    )
    yield S(d(3), d(4, 3), outputs=2, num_scan_inputs=1, body=body)
    yield S(d(3), d(0, 3), outputs=2, num_scan_inputs=1, body=body)
    yield S(
        d(3),
        d(3, 5),
        outputs=2,
        num_scan_inputs=1,
        body=body,
        scan_input_axes=[1],
        scan_output_axes=[1],
        scan_input_directions=[1],
    )
    yield S(
        d(3),
        d(4, 3),
        outputs=2,
        num_scan_inputs=1,
        body=body,
        scan_output_directions=[1],
        scan_output_axes=[-1],
    )
    two = graph(d, "body (T[N] x, T[M] z) => (T[K] y) { y = Concat <axis = 0> (x, z) }")
    yield S(d(4, 3), d(2, 4), num_scan_inputs=2, body=two, scan_input_axes=[0, 1])


def scan_reference(sample):
    """By numpy, for the two bodies above."""
    a = sample.attributes
    if len(sample.attributes["body"].input) == 2 and a["num_scan_inputs"] == 2:
        x, z = sample.inputs
        return [np.concatenate([x, z.T], 1)]
    state, xs = sample.inputs
    xs = np.moveaxis(xs, a.get("scan_input_axes", [0])[0], 0)
    if a.get("scan_input_directions", [0])[0]:
        xs = xs[::-1]
    outs = []
    for x in xs:
        state = state + x
        outs.append(state * x)
    if a.get("scan_output_directions", [0])[0]:
        outs.reverse()
    stacked = np.stack(outs, a.get("scan_output_axes", [0])[0]) if outs else xs
    return [state, stacked]


def map_samples(d):
    body = graph(d, "body (T[N] a, T[N] b) => (T[N] c, T[N] e) { c = Add (a, b) e = Mul (a, b) }")
    yield S([d(2), d(3), d(0)], [d(2), d(3), d(0)], outputs=2, body=body)
    yield S([d(2), d(2)], d(2), outputs=2, body=body)


ROWS = [
    OpInfo("If", lambda d: if_samples(d), dtypes=("float32",), typed_by=None, grad=()),
    OpInfo("Loop", loop_samples, typed_by=None, grad=(2,), dtypes=FLOATS, reference=loop_reference,
           why="it wants scan outputs"),
    OpInfo("Scan", scan_samples, typed_by=None, grad=(0, 1), dtypes=FLOATS, reference=scan_reference, tolerance=4,
           why="it knows no axes and no directions"),
    OpInfo("SequenceMap", map_samples, typed_by=None, grad=()),
]  # fmt: skip

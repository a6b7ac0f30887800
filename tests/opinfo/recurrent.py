"""RNN, GRU, LSTM: rows, and the operators written down in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.opinfo.core import OpInfo, S, Sample

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
DEFAULTS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}

# name: (function of x, alpha, beta; default alpha; default beta), None where there is no such one.
ACTIVATIONS: dict[str, tuple[Any, float | None, float | None]] = {
    "Relu": (lambda x, a, b: np.maximum(x, 0), None, None),
    "Tanh": (lambda x, a, b: np.tanh(x), None, None),
    "Sigmoid": (lambda x, a, b: 1 / (1 + np.exp(-x)), None, None),
    "Affine": (lambda x, a, b: a * x + b, 1.0, 0.0),
    "LeakyRelu": (lambda x, a, b: np.where(x < 0, a * x, x), 0.01, None),
    "ThresholdedRelu": (lambda x, a, b: np.where(x < a, 0, x), 1.0, None),
    "ScaledTanh": (lambda x, a, b: a * np.tanh(b * x), 1.0, 1.0),
    "HardSigmoid": (lambda x, a, b: np.clip(a * x + b, 0, 1), 0.2, 0.5),
    "Elu": (lambda x, a, b: np.where(x < 0, a * np.expm1(x), x), 1.0, None),
    "Softsign": (lambda x, a, b: x / (1 + abs(x)), None, None),
    "Softplus": (lambda x, a, b: np.logaddexp(0, x), None, None),
}


def functions(op_type: str, attributes: dict[str, Any], directions: int) -> list[list[Any]]:
    """The activations of each direction, clip included."""
    names = attributes.get("activations", DEFAULTS[op_type] * directions)
    alphas = iter(attributes.get("activation_alpha", ()))
    betas = iter(attributes.get("activation_beta", ()))
    clip = attributes.get("clip", np.inf)
    made = []
    for name in names:
        f, alpha, beta = ACTIVATIONS[name]
        alpha = alpha if alpha is None else next(alphas, alpha)
        beta = beta if beta is None else next(betas, beta)
        made.append(lambda x, f=f, a=alpha, b=beta: f(np.clip(x, -clip, clip), a, b))
    each = len(names) // directions
    return [made[i * each : (i + 1) * each] for i in range(directions)]


def cell(op_type: str, acts: list[Any], attributes: dict[str, Any], r, rb, p):
    """(input products, h, c) -> (h, c): one step for one sample."""
    n = r.shape[1]

    def rnn(x, h, c):
        return acts[0](x + r @ h + rb), c

    def gru(x, h, c):
        f, g = acts
        xz, xr, xh = x.reshape(3, n)
        bz, br, bh = rb.reshape(3, n)
        z, s = f(xz + r[:n] @ h + bz), f(xr + r[n : 2 * n] @ h + br)
        if attributes.get("linear_before_reset"):
            new = g(xh + s * (r[2 * n :] @ h + bh))
        else:
            new = g(xh + r[2 * n :] @ (s * h) + bh)
        return (1 - z) * new + z * h, c

    def lstm(x, h, c):
        f, g, out = acts
        ai, ao, af, ac = (x + r @ h + rb).reshape(4, n)
        pi, po, pf = p.reshape(3, n)
        i = f(ai + pi * c)
        keep = 1 - i if attributes.get("input_forget") else f(af + pf * c)
        new = keep * c + i * g(ac)
        return f(ao + po * new) * out(new), new

    return {"RNN": rnn, "GRU": gru, "LSTM": lstm}[op_type]


def reference(op_type: str, sample: Sample) -> list[np.ndarray]:
    """Sample by sample, step by step, in float64."""
    inputs = [*sample.inputs, *[None] * (8 - len(sample.inputs))]
    dtype, attributes, lens = inputs[0].dtype, sample.attributes, inputs[4]
    x, w, r, b, h0, c0, p = (
        None if v is None else v.astype(np.float64) for v in (*inputs[:4], *inputs[5:])
    )
    if attributes.get("layout"):
        x, h0, c0 = (None if v is None else v.swapaxes(0, 1) for v in (x, h0, c0))
    time, batch, _ = x.shape
    directions, hidden = r.shape[0], r.shape[2]
    gates = GATES[op_type] * hidden
    b = np.zeros((directions, 2 * gates)) if b is None else b
    p = np.zeros((directions, 3 * hidden)) if p is None else p
    zeros = np.zeros((directions, batch, hidden))
    h_last, c_last = (zeros.copy() if v is None else v.copy() for v in (h0, c0))
    y = np.zeros((time, directions, batch, hidden))
    acts = functions(op_type, attributes, directions)
    for d in range(directions):
        step = cell(op_type, acts[d], attributes, r[d], b[d, gates:], p[d])
        reverse = d == 1 or attributes.get("direction") == "reverse"
        for n in range(batch):
            length = time if lens is None else lens[n]
            h, c = h_last[d, n], c_last[d, n]
            for t in reversed(range(length)) if reverse else range(length):
                h, c = step(w[d] @ x[t, n] + b[d, :gates], h, c)
                y[t, d, n] = h
            h_last[d, n], c_last[d, n] = h, c
    if attributes.get("layout"):
        y, h_last, c_last = y.transpose(2, 0, 1, 3), h_last.swapaxes(0, 1), c_last.swapaxes(0, 1)
    return [v.astype(dtype) for v in (y, h_last, c_last)[: sample.outputs]]


def call(
    d, op_type, t=4, n=3, i=5, h=7, lens=None, states=True, bias=True, peephole=False, **attrs
):
    """One call with weights of moderate size."""
    directions = 2 if attrs.get("direction") == "bidirectional" else 1
    major = attrs.get("layout", 0)
    gates = GATES[op_type] * h
    state = (n, directions, h) if major else (directions, n, h)
    small = {"low": -0.6, "high": 0.6}
    inputs = [
        d(n, t, i, low=-1, high=1) if major else d(t, n, i, low=-1, high=1),
        d(directions, gates, i, **small),
        d(directions, gates, h, **small),
        d(directions, 2 * gates, **small) if bias else None,
        None if lens is None else np.array(lens, np.int32),
        d(*state, **small) if states else None,
    ]
    if op_type == "LSTM":
        inputs += [d(*state, **small) if states else None]
        inputs += [d(directions, 3 * h, **small) if peephole else None]
    while inputs[-1] is None:
        inputs.pop()
    attrs.setdefault("hidden_size", h)
    return S(*inputs, outputs=3 if op_type == "LSTM" else 2, **attrs)


# For each number of activations, lists that between them hold every function and its parameters.
LISTS: dict[str, list[dict[str, Any]]] = {
    "RNN": [
        {"activations": [name], **extra}
        for name in ACTIVATIONS
        for extra in ({}, {"activation_alpha": [0.3], "activation_beta": [0.2]})
    ],
    "GRU": [
        {"activations": ["HardSigmoid", "ScaledTanh"]},
        {"activations": ["HardSigmoid", "Softsign"], "activation_alpha": [0.3],
         "activation_beta": [0.4]},
        {"activations": ["Sigmoid", "LeakyRelu"], "activation_alpha": [0.2]},
        {"activations": ["Softsign", "Elu"], "activation_alpha": [0.7]},
        {"activations": ["Affine", "Softplus"], "activation_alpha": [0.4],
         "activation_beta": [0.1]},
    ],
    "LSTM": [
        {"activations": ["HardSigmoid", "Softsign", "ScaledTanh"], "activation_alpha": [0.3, 0.8],
         "activation_beta": [0.4, 0.7]},
        {"activations": ["Sigmoid", "Elu", "Softplus"]},
        {"activations": ["Sigmoid", "LeakyRelu", "Affine"], "activation_alpha": [0.2, 0.5],
         "activation_beta": [0.1]},
        {"activations": ["Softsign", "Relu", "Tanh"]},
    ],
}  # fmt: skip
TWO = {
    "RNN": {"activations": ["Tanh", "Affine"], "activation_alpha": [0.6]},
    "GRU": {"activations": ["Sigmoid", "Tanh", "HardSigmoid", "Elu"], "activation_alpha": [0.3]},
    "LSTM": {"activations": ["Sigmoid", "Tanh", "Softsign", "HardSigmoid", "Tanh", "Affine"],
             "activation_alpha": [0.3, 0.9]},
}  # fmt: skip


def variants(op_type: str):
    """What the operator alone has."""
    if op_type == "GRU":
        yield {"linear_before_reset": 1}
        yield {"linear_before_reset": 1, "direction": "bidirectional", "clip": 0.4}
    if op_type == "LSTM":
        yield {"peephole": True, "direction": "bidirectional"}
        yield {"input_forget": 1}
        yield {"input_forget": 1, "peephole": True, "clip": 0.5}


DIRECTIONS = ("forward", "reverse", "bidirectional")


def samples(d, op_type):
    yield call(d, op_type)
    yield call(d, op_type, t=1, n=1, states=False, bias=False)
    for direction in DIRECTIONS:
        yield call(d, op_type, direction=direction, lens=[2, 4, 3])
        yield call(d, op_type, direction=direction, states=False, lens=[1, 0, 4])
    for attrs in variants(op_type):
        yield call(d, op_type, **attrs)
        yield call(d, op_type, lens=[4, 1, 2], h=5, **attrs)
    yield call(d, op_type, clip=0.25)
    for attrs in LISTS[op_type]:
        yield call(d, op_type, t=3, n=2, i=2, h=3, **attrs)
    yield call(d, op_type, direction="bidirectional", **TWO[op_type])
    # Sizes around the vectors and the micro-kernels' rows; empty ones.
    yield call(d, op_type, t=2, n=17, i=1, h=33, states=False)
    yield call(d, op_type, t=3, n=1, i=9, h=65, direction="bidirectional")


def batch_major_samples(d, op_type):
    for direction in DIRECTIONS:
        yield call(d, op_type, direction=direction, layout=1, lens=[1, 0, 4])
        yield call(d, op_type, direction=direction, layout=1, h=17, n=2, states=False)
    for attrs in variants(op_type):
        yield call(d, op_type, **{**attrs, "layout": 1})


def empty_samples(d, op_type):
    for empty in ({"t": 0}, {"n": 0}, {"i": 0}):
        for attrs in ({"direction": "bidirectional"}, {"layout": 1}):
            yield call(d, op_type, **empty, **attrs)


def big(d, op_type):
    yield call(d, op_type, t=5, n=1, i=40, h=150)
    yield call(
        d, op_type, t=5, n=40, i=30, h=70, direction="bidirectional", lens=list(range(5)) * 8
    )
    for attrs in variants(op_type):
        yield call(d, op_type, t=3, n=2, i=20, h=170, **attrs)


def rows(op_type: str):
    def row(variant, draw, **fields):
        return OpInfo(
            op_type,
            lambda d: draw(d, op_type),
            variant=variant,
            reference=lambda sample: reference(op_type, sample),
            why="it ignores activations, clip, sequence_lens, input_forget",
            tolerance=4,
            **fields,
        )

    yield row("", samples, big=lambda d: big(d, op_type))
    yield row("batch_major", batch_major_samples, ort="it has no layout 1")
    yield row("empty", empty_samples, ort="it crashes")


ROWS = [row for op_type in ("RNN", "GRU", "LSTM") for row in rows(op_type)]

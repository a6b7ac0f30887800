"""RNN, GRU, LSTM and their gradients: rows, and the operators written down with torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.opinfo.core import OpInfo, S, Sample, f32

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
COUNT = {"RNN": 6, "GRU": 6, "LSTM": 8}  # Of inputs.
DEFAULTS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}

# name: (function of x, alpha, beta; default alpha; default beta), None where there is no such one.
ACTIVATIONS: dict[str, tuple[Any, float | None, float | None]] = {
    "Relu": (lambda x, a, b: x.clamp(min=0), None, None),
    "Tanh": (lambda x, a, b: x.tanh(), None, None),
    "Sigmoid": (lambda x, a, b: 1 / (1 + (-x).exp()), None, None),
    "Affine": (lambda x, a, b: a * x + b, 1.0, 0.0),
    "LeakyRelu": (lambda x, a, b: x.clamp(min=0) + a * x.clamp(max=0), 0.01, None),
    "ThresholdedRelu": (lambda x, a, b: x * (x >= a), 1.0, None),
    "ScaledTanh": (lambda x, a, b: a * (b * x).tanh(), 1.0, 1.0),
    "HardSigmoid": (lambda x, a, b: (a * x + b).clamp(0, 1), 0.2, 0.5),
    "Elu": (lambda x, a, b: x.clamp(min=0) + a * x.clamp(max=0).expm1(), 1.0, None),
    "Softsign": (lambda x, a, b: x / (1 + abs(x)), None, None),
    "Softplus": (lambda x, a, b: (1 + x.exp()).log(), None, None),
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
        made.append(lambda x, f=f, a=alpha, b=beta: f(x.clamp(-clip, clip), a, b))
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


def operands_of(op_type: str, sample: Sample) -> tuple[list[Any], Any]:
    """Float64 tensors of X, W, R, B, initial_h, initial_c, P, zeros if left out; sequence_lens."""
    import torch

    given = [*sample.inputs[: COUNT[op_type]], *[None] * 8]
    directions, rows, _ = given[1].shape
    major, hidden = sample.attributes.get("layout", 0), given[2].shape[2]
    batch = given[0].shape[0 if major else 1]
    state = (batch, directions, hidden) if major else (directions, batch, hidden)
    shapes = {3: (directions, 2 * rows), 5: state, 6: state, 7: (directions, 3 * hidden)}
    if op_type != "LSTM":
        given[6:8] = [None, None]
    tensors = [
        torch.tensor(np.asarray(np.zeros(shapes[i]) if given[i] is None else given[i], np.float64))
        for i in (0, 1, 2, 3, 5, 6, 7)
    ]
    return tensors, given[4]


def forward(op_type: str, operands: list[Any], lens, attributes: dict[str, Any]):
    """Y, Y_h, Y_c: sample by sample, step by step."""
    import torch

    x, w, r, b, h0, c0, p = operands
    if attributes.get("layout"):
        x, h0, c0 = (v.swapaxes(0, 1) for v in (x, h0, c0))
    time, batch, _ = x.shape
    directions, hidden = r.shape[0], r.shape[2]
    gates = GATES[op_type] * hidden
    acts = functions(op_type, attributes, directions)
    y = {}
    last = {}
    for d in range(directions):
        step = cell(op_type, acts[d], attributes, r[d], b[d, gates:], p[d])
        reverse = d == 1 or attributes.get("direction") == "reverse"
        for n in range(batch):
            state = h0[d, n], c0[d, n]
            length = time if lens is None else int(lens[n])
            for t in reversed(range(length)) if reverse else range(length):
                state = step(w[d] @ x[t, n] + b[d, :gates], *state)
                y[t, d, n] = state[0]
            last[d, n] = state
    zero = torch.zeros(hidden).double()

    def stacked(values, *shape):
        return torch.stack(values).reshape(shape) if values else torch.zeros(shape).double()

    every = np.ndindex(time, directions, batch)
    y = stacked([y.get(i, zero) for i in every], time, directions, batch, hidden)
    y_h, y_c = (
        stacked([last[i][k] for i in np.ndindex(directions, batch)], directions, batch, hidden)
        for k in (0, 1)
    )
    if attributes.get("layout"):
        y, y_h, y_c = y.permute(2, 0, 1, 3), y_h.swapaxes(0, 1), y_c.swapaxes(0, 1)
    return (y, y_h, y_c) if op_type == "LSTM" else (y, y_h)


def reference(op_type: str, sample: Sample) -> list[np.ndarray]:
    operands, lens = operands_of(op_type, sample)
    made = forward(op_type, operands, lens, sample.attributes)
    return [v.numpy().astype(sample.inputs[0].dtype) for v in made[: sample.outputs]]


def grad_reference(op_type: str, sample: Sample) -> list[np.ndarray]:
    """Torch's gradients of the steps written down above."""
    import torch

    operands, lens = operands_of(op_type, sample)
    for v in operands:
        v.requires_grad_()
    made = forward(op_type, operands, lens, sample.attributes)
    arriving = [*sample.inputs[COUNT[op_type] + 1 :], None, None]
    loss = sum(v.sum() * 0 for v in operands)
    for v, g in zip(made, arriving, strict=False):
        loss = loss if g is None else loss + (v * torch.tensor(np.asarray(g, np.float64))).sum()
    grads = torch.autograd.grad(loss, operands)[: sample.outputs]
    return [g.numpy().astype(sample.inputs[0].dtype) for g in grads]


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
    for name in ("activation_alpha", "activation_beta"):
        if name in attrs:
            attrs[name] = [f32(v) for v in attrs[name]]
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


# Where onnxruntime has another default than ONNX's operator of that name.
OTHER_DEFAULTS = {"Affine", "ThresholdedRelu", "ScaledTanh"}


def onnxruntime_agrees(op_type: str, attributes: dict[str, Any]) -> bool:
    """ONNX clips the input of every activation, onnxruntime not the cell that LSTM's h takes."""
    names = set(attributes.get("activations", ()))
    other = names & OTHER_DEFAULTS and "activation_alpha" not in attributes
    return not other and not (op_type == "LSTM" and "clip" in attributes)


def agreed(d, op_type):
    return [s for s in samples(d, op_type) if onnxruntime_agrees(op_type, s.attributes)]


def not_agreed(d, op_type):
    return [s for s in samples(d, op_type) if not onnxruntime_agrees(op_type, s.attributes)]


def grad_calls(d, op_type: str, draw: Any) -> Iterator[Sample]:
    """The calls of `draw` with Y and cotangents, one of them absent now and then."""
    for k, sample in enumerate(draw(d, op_type)):
        made = reference(op_type, sample)
        arriving = [None if i == k % 4 else d(*v.shape, low=-1, high=1) for i, v in enumerate(made)]
        inputs = [*sample.inputs, *[None] * (COUNT[op_type] - len(sample.inputs)), made[0]]
        outputs = 7 if op_type == "LSTM" else 5
        yield Sample((*inputs, *arriving), sample.attributes, outputs)


def grad_samples(d, op_type):
    """Without empty sequences: onnxruntime's Scan, for the bodies, refuses them."""
    for draw in (samples, batch_major_samples, empty_samples):
        yield from (
            s
            for s in grad_calls(d, op_type, draw)
            if s.inputs[0].shape[s.attributes.get("layout", 0)]
        )


def rows(op_type: str) -> Iterator[OpInfo]:
    def row(variant, draw, **fields):
        return OpInfo(
            op_type,
            lambda d: draw(d, op_type),
            variant=variant,
            reference=lambda sample: reference(op_type, sample),
            why="it ignores activations, clip, sequence_lens, input_forget",
            tolerance=4,
            grad=(0, 1, 2, 3, 5, 6, 7),
            **fields,
        )

    yield row("", agreed, big=lambda d: big(d, op_type))
    yield row("by_the_letter", not_agreed, ort="it has other defaults and clips less")
    yield row("batch_major", batch_major_samples, ort="it has no layout 1")
    yield row("empty", empty_samples, ort="it crashes")
    yield OpInfo(
        f"{op_type}Grad",
        lambda d: grad_samples(d, op_type),
        "toolkit.grad",
        reference=lambda sample: grad_reference(op_type, sample),
        grad=(),  # Y goes with the other inputs: tested as the operator's second order.
        tolerance=16,
        big=lambda d: grad_calls(d, op_type, big),
    )


ROWS = [row for op_type in ("RNN", "GRU", "LSTM") for row in rows(op_type)]

"""Bodies of the gradients of RNN, GRU and LSTM.

Y holds every h, so the pre-activations of all steps are products over all steps at once, and LSTM's
cells are one Scan. Another Scan runs the steps backwards; it gives the cotangents of the gates, and
the gradients of X, W, R and B are products again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from toolkit.graph.build import Builder
from toolkit.graph.functions.recurrent_cells import (
    Activation,
    Cell,
    peeped,
    pick,
    split,
    times,
    transposed,
)
from toolkit.graph.functions.registry import Attributes, composite
from toolkit.graph.functions.scan import scan

V = Any  # An ir.Value under `arithmetic`.


@dataclass
class Direction:
    """The operands of one direction, time first; None where left out."""

    cell: Cell
    index: int
    x: V
    w: V
    r: V
    bias_w: V
    bias_r: V
    h0: V
    c0: V
    peephole: Sequence[V]
    mask: V  # (T, N, 1): whether a step lies inside its sequence.
    h_prev: V  # (T, N, H).
    dy: V
    dh: V
    dc: V

    @property
    def reverse(self) -> bool:
        """Whether the last step comes first."""
        return bool(self.cell.reverse[self.index])

    @property
    def acts(self) -> Sequence[Activation]:
        """f, g, h of the operator's equations."""
        return self.cell.activations[self.index]


def _directions(
    b: Builder, cell: Cell, x: V, w: V, r: V, bias: V, lens: V, h0: V, c0: V, p: V, y: V, dy: V,
    dy_h: V, dy_c: V,
) -> list[Direction]:  # fmt: skip
    major = cell.batch_major
    x = transposed(b, x, (1, 0, 2), major)
    h0, c0, dy_h, dy_c = (transposed(b, v, (1, 0, 2), major) for v in (h0, c0, dy_h, dy_c))
    y, dy = (transposed(b, v, (1, 2, 0, 3), major) for v in (y, dy))
    steps, batch = b.dim(x, 0), b.dim(x, 1)
    empty = b.zeros(b.Concat(batch, b.dim(r, 2), axis=0), x.dtype)
    mask = after = None
    if lens is not None:
        time = b.Unsqueeze(b.Range(0, b.Squeeze(steps, [0]), b.const(1)), [1, 2])
        lengths = b.Unsqueeze(b.cast(lens, ir.DataType.INT64), [1])
        mask, after = b.Less(time, lengths), b.Less(time + 1, lengths)
        x = b.Where(mask, x, 0.0)  # Padding may hold anything, NaN too.
    made = []
    for d in range(cell.directions):
        start = empty if h0 is None else pick(b, h0, d, 0)
        first, own = b.Unsqueeze(start, [0]), pick(b, y, d, 1)
        if cell.reverse[d]:
            h_prev = b.Slice(b.Concat(own, first, axis=0), [1], [2**62], [0])
            if after is not None:
                h_prev = b.Where(after, h_prev, first)
        else:
            h_prev = b.Slice(b.Concat(first, own, axis=0), b.ints([0]), steps, [0])
        bias_w, bias_r = (None, None) if bias is None else split(b, pick(b, bias, d, 0), 2, 0)
        made.append(
            Direction(
                cell, d, x, pick(b, w, d, 0), pick(b, r, d, 0), bias_w, bias_r, start,
                empty if c0 is None else pick(b, c0, d, 0),
                () if p is None else split(b, pick(b, p, d, 0), 3, 0),
                mask, h_prev, pick(b, dy, d, 1),
                empty if dy_h is None else pick(b, dy_h, d, 0),
                empty if dy_c is None else pick(b, dy_c, d, 0),
            )
        )  # fmt: skip
    return made


def _over_time(b: Builder, da: V, v: V) -> V:
    """transposed(da) v, summed over steps and samples."""
    count = b.dim(v, 0) * b.dim(v, 1)
    rows, columns = (
        b.Reshape(m, b.Concat(count, b.dim(m, 2), axis=0), allowzero=1) for m in (da, v)
    )
    return b.MatMul(b.Transpose(rows, perm=[1, 0]), columns)


def _backward(
    b: Builder, s: Direction, states: Sequence[V], sequences: Sequence[V], step: Callable[..., Any]
) -> list[V]:
    """The steps of one direction from last to first, as a Scan.

    Args:
        b: writes the node.
        s: the direction.
        states: dh, and dc of LSTM, after the last step.
        sequences: what a step reads.
        step: `(body, dh, *states, *elements) -> (states, cotangents)` of a step inside its
            sequence; other steps pass the states on.

    Returns:
        The states' cotangents before the first step, then those of the gates.
    """
    extra = [v for v in (s.dy, s.mask) if v is not None]

    def one(body: Builder, carried: Sequence[V], elements: Sequence[V]) -> Any:
        own, rest = elements[: len(sequences)], list(elements[len(sequences) :])
        dh = carried[0] if s.dy is None else carried[0] + rest.pop(0)
        new, made = step(body, dh, *carried[1:], *own)
        if s.mask is not None:
            new = [body.Where(rest[0], n, old) for n, old in zip(new, carried, strict=True)]
            made = [body.Where(rest[0], m, 0.0) for m in made]
        return new, made

    count = 2 if s.cell.linear else 1
    return scan(b, states, [*sequences, *extra], count, not s.reverse, one)


def _rnn(b: Builder, s: Direction) -> tuple[V, ...]:
    a = times(b, s.x, s.w, s.bias_w) + times(b, s.h_prev, s.r, s.bias_r)
    (f,) = s.acts

    def step(body: Builder, dh: V, a: V) -> tuple[Sequence[V], Sequence[V]]:
        da = dh * f.slope(body, a, f.value(body, a))
        return [body.MatMul(da, s.r)], [da]

    dh, da = _backward(b, s, [s.dh], [a], step)
    return da, _over_time(b, da, s.h_prev), da, dh


def _gru(b: Builder, s: Direction) -> tuple[V, ...]:
    f, g = s.acts
    r_z, r_r, r_h = split(b, s.r, 3, 0)
    bias = (None,) * 3 if s.bias_r is None else split(b, s.bias_r, 3, 0)
    x_z, x_r, x_h = split(b, times(b, s.x, s.w, s.bias_w), 3, 2)
    a_z = x_z + times(b, s.h_prev, r_z, bias[0])
    a_r = x_r + times(b, s.h_prev, r_r, bias[1])
    r_all = f.value(b, a_r)
    if s.cell.linear:
        u_all = times(b, s.h_prev, r_h, bias[2])
        last = [x_h, u_all]
    else:
        reset = r_all * s.h_prev
        last = [x_h + times(b, reset, r_h, bias[2])]

    def step(
        body: Builder, dh: V, a_z: V, a_r: V, h_prev: V, a_h: V, u: V = None
    ) -> tuple[Sequence[V], Sequence[V]]:
        z, r = f.value(body, a_z), f.value(body, a_r)
        if u is not None:
            a_h = a_h + r * u
        h = g.value(body, a_h)
        da_h = dh * (1.0 - z) * g.slope(body, a_h, h)
        da_z = dh * (h_prev - h) * f.slope(body, a_z, z)
        before = dh * z
        if u is not None:
            da_r, du = da_h * u * f.slope(body, a_r, r), da_h * r
            before = before + body.MatMul(du, r_h)
            extra = [du]
        else:
            drh = body.MatMul(da_h, r_h)
            da_r, extra = drh * h_prev * f.slope(body, a_r, r), []
            before = before + drh * r
        before = before + body.MatMul(da_z, r_z) + body.MatMul(da_r, r_r)
        return [before], [body.Concat(da_z, da_r, da_h, axis=-1), *extra]

    dh, da, *du = _backward(b, s, [s.dh], [a_z, a_r, s.h_prev, *last], step)
    da_z, da_r, da_h = split(b, da, 3, 2)
    bottom = _over_time(b, du[0], s.h_prev) if du else _over_time(b, da_h, reset)
    dr = b.Concat(_over_time(b, b.Concat(da_z, da_r, axis=2), s.h_prev), bottom, axis=0)
    db_r = b.Concat(da_z, da_r, du[0], axis=2) if du else da
    return da, dr, db_r, dh


def _lstm(b: Builder, s: Direction) -> tuple[V, ...]:
    f, g, out = s.acts
    a = times(b, s.x, s.w, s.bias_w) + times(b, s.h_prev, s.r, s.bias_r)
    p_i, p_o, p_f = s.peephole or (None,) * 3

    def gates(body: Builder, a: V, c_prev: V) -> tuple[V, ...]:
        a_i, a_o, a_f, a_c = split(body, a, 4, 1)
        a_i, a_f = peeped(a_i, p_i, c_prev), peeped(a_f, p_f, c_prev)
        i = f.value(body, a_i)
        keep = 1.0 - i if s.cell.input_forget else f.value(body, a_f)
        return a_i, a_o, a_f, a_c, i, keep

    def forward(body: Builder, states: Sequence[V], elements: Sequence[V]) -> Any:
        (c_prev,) = states
        _, _, _, a_c, i, keep = gates(body, elements[0], c_prev)
        c = keep * c_prev + i * g.value(body, a_c)
        if s.mask is not None:
            c = body.Where(elements[1], c, c_prev)
        return [c], [c_prev, c]

    inputs = [a] if s.mask is None else [a, s.mask]
    _, before, cells = scan(b, [s.c0], inputs, 2, s.reverse, forward)

    def step(body: Builder, dh: V, dc: V, a: V, c_prev: V, c: V) -> tuple[Sequence[V], Sequence[V]]:
        a_i, a_o, a_f, a_c, i, keep = gates(body, a, c_prev)
        a_o = peeped(a_o, p_o, c)
        o, n, h = f.value(body, a_o), g.value(body, a_c), out.value(body, c)
        da_o = dh * h * f.slope(body, a_o, o)
        dc = peeped(dc + dh * o * out.slope(body, c, h), p_o, da_o)
        di, df = dc * n, dc * c_prev
        if s.cell.input_forget:
            di, da_f = di - df, df * 0.0
        else:
            da_f = df * f.slope(body, a_f, keep)
        da_i = di * f.slope(body, a_i, i)
        dc_prev = peeped(peeped(dc * keep, p_i, da_i), p_f, da_f)
        da = body.Concat(da_i, da_o, da_f, dc * i * g.slope(body, a_c, n), axis=-1)
        return [body.MatMul(da, s.r), dc_prev], [da]

    dh, dc, da = _backward(b, s, [s.dh, s.dc], [a, before, cells], step)
    da_i, da_o, da_f, _ = split(b, da, 4, 2)
    dp = b.Concat(
        *(
            b.ReduceSum(d * c, [0, 1], keepdims=0)
            for d, c in ((da_i, before), (da_o, cells), (da_f, before))
        ),
        axis=0,
    )
    return da, _over_time(b, da, s.h_prev), da, dh, dc, dp


def _gradient(kind: str, b: Builder, a: Attributes, operands: Sequence[V]) -> tuple[V, ...]:
    cell = Cell(kind, a)
    results = []
    for s in _directions(b, cell, *operands):
        da, dr, db_r, *states = {"RNN": _rnn, "GRU": _gru, "LSTM": _lstm}[kind](b, s)
        dx = b.MatMul(da, s.w)
        dw = _over_time(b, da, s.x)
        db = b.Concat(*(b.ReduceSum(v, [0, 1], keepdims=0) for v in (da, db_r)), axis=0)
        results.append([dx, dw, dr, db, *states])
    dx = results[0][0]
    for other in results[1:]:
        dx = dx + other[0]
    dx = transposed(b, dx, (1, 0, 2), cell.batch_major)
    joined = []
    for i in range(1, len(results[0])):
        parts = [b.Unsqueeze(r[i], [0]) for r in results]
        whole = parts[0] if len(parts) == 1 else b.Concat(*parts, axis=0)
        state = i in (4, 5)
        joined.append(transposed(b, whole, (1, 0, 2), cell.batch_major and state))
    return dx, *joined


@composite(
    "toolkit.grad", "RNNGrad", "x w r b sequence_lens initial_h y dy dy_h", "dx dw dr db dinitial_h"
)
def rnn_grad(
    b: Builder, a: Attributes, x: V, w: V, r: V, bias: V, lens: V, h0: V, y: V, dy: V, dy_h: V
) -> tuple[V, ...]:
    """da = dh f'(a); dh of the step before = da R."""
    return _gradient("RNN", b, a, (x, w, r, bias, lens, h0, None, None, y, dy, dy_h, None))


@composite(
    "toolkit.grad", "GRUGrad", "x w r b sequence_lens initial_h y dy dy_h", "dx dw dr db dinitial_h"
)
def gru_grad(
    b: Builder, a: Attributes, x: V, w: V, r: V, bias: V, lens: V, h0: V, y: V, dy: V, dy_h: V
) -> tuple[V, ...]:
    """The transpose of a step of GRU, from the last to the first."""
    return _gradient("GRU", b, a, (x, w, r, bias, lens, h0, None, None, y, dy, dy_h, None))


@composite(
    "toolkit.grad",
    "LSTMGrad",
    "x w r b sequence_lens initial_h initial_c p y dy dy_h dy_c",
    "dx dw dr db dinitial_h dinitial_c dp",
)
def lstm_grad(b: Builder, a: Attributes, *operands: V) -> tuple[V, ...]:
    """The transpose of a step of LSTM, from the last to the first."""
    return _gradient("LSTM", b, a, operands)

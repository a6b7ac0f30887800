"""RNN, GRU and LSTM written out step after step, for gradients of gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx_ir as ir

from toolkit.graph.build import Builder
from toolkit.graph.functions.recurrent_cells import Cell, peeped, pick, split, times, transposed
from toolkit.graph.functions.registry import Attributes

V = Any  # An ir.Value under `arithmetic`.


def unrolled(
    b: Builder, kind: str, a: Attributes, operands: Sequence[V], steps: int
) -> tuple[V, ...]:
    """RNN, GRU or LSTM step after step, without Scan: Y, Y_h and LSTM's Y_c.

    Args:
        b: writes the nodes.
        kind: the operator.
        a: its attributes.
        operands: x, w, r, b, sequence_lens, initial_h, initial_c, P; None where left out.
        steps: the number of time steps.
    """
    cell = Cell(kind, a)
    x, w, r, bias, lens, h0, c0, p = operands
    major = cell.batch_major
    x = transposed(b, x, (1, 0, 2), major)
    h0, c0 = (transposed(b, v, (1, 0, 2), major) for v in (h0, c0))
    empty = b.zeros(b.Concat(b.dim(x, 1), b.dim(r, 2), axis=0), x.dtype)
    lengths = None if lens is None else b.Unsqueeze(b.cast(lens, ir.DataType.INT64), [1])
    ys, hs, cs = [], [], []
    for d in range(cell.directions):
        step = {"RNN": _rnn_step, "GRU": _gru_step, "LSTM": _lstm_step}[kind]
        w_d, r_d = pick(b, w, d, 0), pick(b, r, d, 0)
        biases = (None, None) if bias is None else split(b, pick(b, bias, d, 0), 2, 0)
        peephole = (None,) * 3 if p is None else split(b, pick(b, p, d, 0), 3, 0)
        state = tuple(empty if v is None else pick(b, v, d, 0) for v in (h0, c0))
        made: list[V] = [None] * steps
        for t in reversed(range(steps)) if cell.reverse[d] else range(steps):
            ax = times(b, pick(b, x, t, 0), w_d, biases[0])
            new = step(b, cell, cell.activations[d], ax, r_d, biases[1], peephole, *state)
            made[t] = new[0]
            if lengths is not None:
                inside = b.Less(b.const(t), lengths)
                new = tuple(b.Where(inside, n, old) for n, old in zip(new, state, strict=True))
                made[t] = b.Where(inside, made[t], 0.0)
            state = new
        ys.append(b.Concat(*(b.Unsqueeze(v, [0, 1]) for v in made), axis=0))
        hs.append(b.Unsqueeze(state[0], [0]))
        cs.append(b.Unsqueeze(state[1], [0]))
    y, y_h, y_c = (b.Concat(*v, axis=i) for v, i in ((ys, 1), (hs, 0), (cs, 0)))
    y = transposed(b, y, (2, 0, 1, 3), major)
    y_h, y_c = (transposed(b, v, (1, 0, 2), major) for v in (y_h, y_c))
    return (y, y_h, y_c) if kind == "LSTM" else (y, y_h)


def _rnn_step(b: Builder, cell: Cell, acts: Any, ax: V, r: V, bias: V, p: Any, h: V, c: V) -> Any:
    return acts[0].value(b, ax + times(b, h, r, bias)), c


def _gru_step(b: Builder, cell: Cell, acts: Any, ax: V, r: V, bias: V, p: Any, h: V, c: V) -> Any:
    f, g = acts
    r_z, r_r, r_h = split(b, r, 3, 0)
    b_z, b_r, b_h = (None,) * 3 if bias is None else split(b, bias, 3, 0)
    x_z, x_r, x_h = split(b, ax, 3, 1)
    z = f.value(b, x_z + times(b, h, r_z, b_z))
    reset = f.value(b, x_r + times(b, h, r_r, b_r))
    if cell.linear:
        new = g.value(b, x_h + reset * times(b, h, r_h, b_h))
    else:
        new = g.value(b, x_h + times(b, reset * h, r_h, b_h))
    return (1.0 - z) * new + z * h, c


def _lstm_step(b: Builder, cell: Cell, acts: Any, ax: V, r: V, bias: V, p: Any, h: V, c: V) -> Any:
    f, g, out = acts
    a_i, a_o, a_f, a_c = split(b, ax + times(b, h, r, bias), 4, 1)
    i = f.value(b, peeped(a_i, p[0], c))
    keep = 1.0 - i if cell.input_forget else f.value(b, peeped(a_f, p[2], c))
    new = keep * c + i * g.value(b, a_c)
    return f.value(b, peeped(a_o, p[1], new)) * out.value(b, new), new

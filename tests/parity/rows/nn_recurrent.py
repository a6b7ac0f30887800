"""Recurrent layers and cells beside torch's: options, packed sequences, refusals."""

from __future__ import annotations

from typing import Any

from tests.parity.core import FLOATS, Draw, Row, d, fill, module

X = d(5, 3, 4)  # L, N, features.


def layer(name: str, *draws: Draw, note: str = "", row: Any = None, **options: Any) -> Row:
    """A layer on an input and maybe states."""
    given = draws or (X,)
    text = ", ".join(f"{k}={v}" for k, v in options.items())
    shapes = " ".join(f"{x.shape}{x.layout[:1]}{x.dtype or ''}" for x in given)

    def build(m: Any) -> Any:
        made = getattr(m.nn, name)(4, 6, **options)
        return _Stated(m, made) if len(given) == 3 else made

    return Row(f"nn.{name}({text}) {shapes}{note}", module(build), given, **(row or {}))


def _Stated(m: Any, made: Any) -> Any:
    """A layer that takes its two states as arguments."""

    class Stated(m.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.inner = made

        def forward(self, x: Any, h: Any, c: Any) -> Any:
            return self.inner(x, (h, c))

    return Stated()


def packed(
    name: str, lengths: list[int], enforce: bool = True, first: bool = False, **options: Any
) -> Row:
    """A layer on a packed sequence, padded again."""

    def call(m: Any, x: Any) -> Any:
        rnn = m.nn.utils.rnn
        made = getattr(m.nn, name)(4, 6, batch_first=first, **options).to(x.dtype)
        fill(made)
        given = rnn.pack_padded_sequence(x, lengths, first, enforce)
        y, state = made(given)
        out, lens = rnn.pad_packed_sequence(y, first, padding_value=-1.0)
        call.parameters = list(made.parameters())  # type: ignore[attr-defined]
        return [out, lens, state, y.data, y.batch_sizes, y.sorted_indices]

    call.parameters = []  # type: ignore[attr-defined]
    text = ", ".join(f"{k}={v}" for k, v in options.items())
    x = d(3, 5, 4) if first else X
    return Row(f"nn.{name} packed {lengths} {first} {text}", call, [x], dtypes=FLOATS)


BAD: dict[str, Any] = {"error": True}
BOTH: dict[str, Any] = {"dtypes": FLOATS}
_KINDS = ("RNN", "LSTM", "GRU")

_LAYERS = [
    *(layer(name, row=BOTH) for name in _KINDS),
    *(layer(name, num_layers=2, bidirectional=True) for name in _KINDS),
    *(layer(name, bias=False, batch_first=True) for name in _KINDS),
    *(layer(name, d(5, 4)) for name in _KINDS),
    *(layer(name, d(5, 4), bidirectional=True, num_layers=2) for name in _KINDS),
    *(layer(name, d(5, 3, 4, layout="strided")) for name in _KINDS),
    *(layer(name, X, d(1, 3, 6)) for name in ("RNN", "GRU")),
    *(layer(name, d(5, 4), d(2, 6), num_layers=2) for name in ("RNN", "GRU")),
    layer("RNN", nonlinearity="relu", num_layers=2),
    layer("LSTM", X, d(1, 3, 6), d(1, 3, 6)),
    layer("LSTM", d(5, 4), d(2, 6), d(2, 6), bidirectional=True),
    layer("LSTM", proj_size=2, row=BOTH),
    layer("LSTM", proj_size=3, num_layers=2, bidirectional=True, row=BOTH),
    layer("LSTM", proj_size=2, bias=False, batch_first=True),
    layer("LSTM", d(5, 4), proj_size=2, bidirectional=True),
    layer("LSTM", X, d(2, 3, 5), d(2, 3, 6), proj_size=5, num_layers=2),
    *(packed(name, [5, 3, 2]) for name in _KINDS),
    *(packed(name, [2, 5, 3], False, bidirectional=True) for name in _KINDS),
    *(packed(name, [4, 4, 1], True, True, num_layers=2) for name in _KINDS),
    packed("LSTM", [5, 3, 2], proj_size=2),
    packed("LSTM", [2, 5, 3], False, bidirectional=True, proj_size=3, num_layers=2),
    *(layer(name, d(5, 3, 5), row=BAD) for name in _KINDS),
    *(layer(name, d(5, 3, 4, 2), row=BAD) for name in _KINDS),
    *(layer(name, X, d(1, 2, 6), row=BAD) for name in ("RNN", "GRU")),
    *(layer(name, X, d(3, 6), row=BAD) for name in ("RNN", "GRU")),
    layer("LSTM", X, d(1, 3, 5), d(1, 3, 6), row=BAD),
    layer("LSTM", proj_size=6, row=BAD),
    layer("LSTM", proj_size=-1, row=BAD),
    layer("GRU", num_layers=0, row=BAD),
    layer("RNN", nonlinearity="odd", row=BAD),
    layer("LSTM", dropout=1.5, row=BAD),
    Row("nn.GRU packed/order", lambda m, x: m.nn.utils.rnn.pack_padded_sequence(x, [2, 5, 3]),
        [X], error=True),
    Row("nn.GRU packed/zero", lambda m, x: m.nn.utils.rnn.pack_padded_sequence(x, [5, 3, 0]),
        [X], error=True),
    Row("nn.GRU packed/count", lambda m, x: m.nn.utils.rnn.pack_padded_sequence(x, [5, 3]),
        [X], error=True),
]  # fmt: skip

_CELLS = [
    *(layer(f"{name}Cell", d(3, 4), row=BOTH) for name in _KINDS),
    *(layer(f"{name}Cell", d(4)) for name in _KINDS),
    *(layer(f"{name}Cell", d(3, 4), bias=False) for name in _KINDS),
    *(layer(f"{name}Cell", d(3, 4), d(3, 6)) for name in ("RNN", "GRU")),
    *(layer(f"{name}Cell", d(4), d(6)) for name in ("RNN", "GRU")),
    layer("RNNCell", d(3, 4), nonlinearity="relu"),
    layer("LSTMCell", d(3, 4), d(3, 6), d(3, 6), row=BOTH),
    layer("LSTMCell", d(4), d(6), d(6)),
    layer("GRUCell", d(0, 4)),
    *(layer(f"{name}Cell", d(3, 5), row=BAD) for name in _KINDS),
    *(layer(f"{name}Cell", d(2, 3, 4), row=BAD) for name in _KINDS),
    layer("GRUCell", d(3, 4), d(2, 6), row=BAD),
]

_SEQUENCES = [
    Row("rnn.pad_sequence", lambda m, x, y: m.nn.utils.rnn.pad_sequence([x, y]),
        [d(4, 2), d(2, 2)]),
    Row("rnn.pad_sequence/left", lambda m, x, y: m.nn.utils.rnn.pad_sequence(
        [x, y], True, -1.0, "left"), [d(4, 2), d(2, 2)], dtypes=FLOATS),
    Row("rnn.unpad_sequence", lambda m, x: m.nn.utils.rnn.unpad_sequence(
        x, m.tensor([5, 2, 3])), [d(5, 3, 4, grad=False)]),
    Row("rnn.pack_sequence", lambda m, x, y: list(m.nn.utils.rnn.pack_sequence([x, y]))[:3],
        [d(4, 2), d(2, 2)]),
    Row("rnn.pack_sequence/unsorted", lambda m, x, y: list(m.nn.utils.rnn.pack_sequence(
        [x, y], enforce_sorted=False)), [d(2, 2), d(4, 2)]),
    Row("rnn.pad_packed/total", lambda m, x: m.nn.utils.rnn.pad_packed_sequence(
        m.nn.utils.rnn.pack_padded_sequence(x, [5, 3, 2]), total_length=7), [X]),
    Row("rnn.pad_packed/short", lambda m, x: m.nn.utils.rnn.pad_packed_sequence(
        m.nn.utils.rnn.pack_padded_sequence(x, [5, 3, 2]), total_length=3), [X], error=True),
    Row("rnn.pad_sequence/side", lambda m, x: m.nn.utils.rnn.pad_sequence(
        [x], padding_side="odd"), [X], error=True),
]  # fmt: skip

ROWS = [*_LAYERS, *_CELLS, *_SEQUENCES]

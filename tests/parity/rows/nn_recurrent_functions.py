"""`lstm`, `gru`, `rnn_tanh`, `rnn_relu` with their weights as arguments."""

from __future__ import annotations

from typing import Any

from tests.parity.core import FLOATS, Row, d, fill, rows

LAYERS = {"lstm": ("LSTM", {}), "gru": ("GRU", {}), "rnn_tanh": ("RNN", {}),
          "rnn_relu": ("RNN", {"nonlinearity": "relu"})}  # fmt: skip


def run(name: str, packed: bool = False, **options: Any) -> Any:
    """A function on the weights of its layer."""

    def call(m: Any, x: Any, h: Any) -> Any:
        kind, more = LAYERS[name]
        made = getattr(m.nn, kind)(4, 3, **options, **more).to(x.dtype)
        fill(made)
        params = [p for each in made.all_weights for p in each]
        ways = (2 if made.bidirectional else 1) * made.num_layers
        h = h[:ways]
        size = options.get("proj_size", 3)
        hx = (h[..., :size], h * 0.5) if name == "lstm" else h
        rest = [hx, params, made.bias, made.num_layers, 0.0, False, made.bidirectional]
        call.parameters = params  # type: ignore[attr-defined]
        if packed:
            sequence = m.nn.utils.rnn.pack_padded_sequence(x, [5, 2])
            return list(getattr(m, name)(sequence.data, sequence.batch_sizes, *rest))
        return list(getattr(m, name)(x, *rest, made.batch_first))

    call.parameters = []  # type: ignore[attr-defined]
    return call


def wrong(m: Any, x: Any, h: Any, **change: Any) -> Any:
    made = m.nn.GRU(4, 3)
    given = {"input": x, "hx": h[:1], "params": list(made.parameters()), "has_biases": True,
             "num_layers": 1, "dropout": 0.0, "train": False, "bidirectional": False,
             "batch_first": False} | change  # fmt: skip
    return m.gru(**{k: v for k, v in given.items() if v is not None})


X, H = d(5, 2, 4), d(4, 2, 3)
ROWS: list[Row] = [
    *[row for name in LAYERS for row in rows(name, {
        "one": run(name), "two both": run(name, num_layers=2, bidirectional=True),
        "no bias": run(name, bias=False), "packed": run(name, packed=True),
    }, X, H, dtypes=FLOATS)],
    *[row for name in LAYERS for row in rows(name, {"batch first": run(name, batch_first=True)},
                                              d(2, 5, 4), H)],
    *rows("lstm", {"projected": run("lstm", proj_size=2)}, X, H),
    *rows("gru refuses", {
        "hidden": lambda m, x, h: wrong(m, x, h, hx=h[:1, :, :2]),
        "params": lambda m, x, h: wrong(m, x, h, params=[x]),
        "argument missing": lambda m, x, h: wrong(m, x, h, train=None),
        "width": lambda m, x, h: wrong(m, x[..., :3], h),
        "layers": lambda m, x, h: wrong(m, x, h, num_layers=2),
    }, X, H, error=True),
]  # fmt: skip

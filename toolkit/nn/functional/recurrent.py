"""`lstm`, `gru`, `rnn_tanh`, `rnn_relu`: whole stacks of layers with their weights as arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from toolkit.errors import InvalidArgumentError, ShapeError
from toolkit.nn.recurrent_layers import Layers
from toolkit.nn.utils.rnn import PackedSequence
from toolkit.tensor import Tensor


def _run(mode: str, states: int, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Both forms: of a padded input, or of packed data with its batch sizes."""
    name = mode.lower()
    packed = "batch_sizes" in kwargs or (len(args) > 1 and isinstance(args[1], Tensor) and
                                         args[1].dim() == 1)  # fmt: skip
    order = ["data", "batch_sizes"] if packed else ["input"]
    order += ["hx", "params", "has_biases", "num_layers", "dropout", "train", "bidirectional"]
    order += [] if packed else ["batch_first"]
    given = dict(zip(order, args, strict=False)) | kwargs
    if set(given) != set(order) or len(args) > len(order):
        raise TypeError(f"{name}(): arguments {order} are required, got {list(given)}.")
    hx = tuple(given["hx"]) if states > 1 else (given["hx"],)
    layers = _layers(mode, given)
    x = given["data"] if packed else given["input"]
    if len(hx) != states or any(h.dim() != 3 for h in hx) or x.dim() != (2 if packed else 3):
        raise ShapeError(
            f"{name}(): an input of (L, N, features) and {states} states of (layers, N, size) are "
            f"required, got {list(x.shape)} and {[list(h.shape) for h in hx]}."
        )
    if packed:
        sequence = PackedSequence(x, given["batch_sizes"])
        y, last = layers.run(sequence.padded, hx, sequence.sequence_lens)
        return (sequence.with_padded(y).data, *last)
    x = x.transpose(0, 1) if given["batch_first"] else x
    y, last = layers.run(x, hx, None)
    return (y.transpose(0, 1) if given["batch_first"] else y, *last)


def _layers(mode: str, given: dict[str, Any]) -> Layers:
    params, bias = list(given["params"]), given["has_biases"]
    count = given["num_layers"] * (2 if given["bidirectional"] else 1)
    each = 4 if bias else 2
    projected = len(params) == count * (each + 1)
    each += projected
    if not params or len(params) != count * each or (projected and mode != "LSTM"):
        raise InvalidArgumentError(
            f"{mode.lower()}(): {count} times {4 if bias else 2} params are required, got "
            f"{len(params)}."
        )
    weights = [params[i : i + each] for i in range(0, len(params), each)]
    gates = {"LSTM": 4, "GRU": 3}.get(mode, 1)
    size = weights[0][0].shape
    return Layers(
        mode, size[1], size[0] // gates, weights, bias, float(given["dropout"]), given["train"],
        given["bidirectional"], projected,
    )  # fmt: skip


def lstm(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Output and last states h and c of an LSTM.

    `lstm(input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first)`,
    or `lstm(data, batch_sizes, hx, params, has_biases, num_layers, dropout, train,
    bidirectional)` of a `PackedSequence`'s fields.

    Args:
        args: input (L, N, features), (N, L, features) with `batch_first`; hx a pair of
            (num_layers * directions, N, size); params as `nn.LSTM.all_weights`, in one list.
        kwargs: the same by their names.
    """
    found: tuple[Tensor, Tensor, Tensor] = _run("LSTM", 2, args, kwargs)
    return found


def _one_state(mode: str) -> Any:
    def function(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        found: tuple[Tensor, Tensor] = _run(mode, 1, args, kwargs)
        return found

    function.__name__ = function.__qualname__ = mode.lower()
    function.__doc__ = f"""Output and last state of {mode}, as `lstm` with one state in `hx`."""
    return function


gru, rnn_tanh, rnn_relu = _one_state("GRU"), _one_state("RNN_TANH"), _one_state("RNN_RELU")

"""Gradients of RNN, GRU and LSTM, and of those gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx_ir as ir

from toolkit.autodiff.registry import GRAD, Result, Vjp, vjp
from toolkit.autodiff.rules._common import named_like
from toolkit.graph.build import static_dims
from toolkit.graph.functions.recurrent_unrolled import unrolled

V = Any  # An ir.Value under `arithmetic`.

# Inputs of the operators that are differentiated, in the order of the gradients' outputs.
_WANTED = {"RNN": (0, 1, 2, 3, 5), "GRU": (0, 1, 2, 3, 5), "LSTM": (0, 1, 2, 3, 5, 6, 7)}


@vjp("RNN", "GRU", "LSTM", all_outputs=True)
def recurrent(c: Vjp, *inputs: V) -> Result:
    """With Y at hand, toolkit.grad.RNNGrad, GRUGrad or LSTMGrad: the transpose of each step.

    Nothing else is kept from the forward pass: Y holds every h, so the gates of all steps are
    products over all steps at once.
    """
    kind = c.node.op_type
    count = 8 if kind == "LSTM" else 6
    operands = [*inputs, *[None] * (count - len(inputs))]
    arriving = [*c.cotangents, None, None, None][: 3 if kind == "LSTM" else 2]
    wanted = _WANTED[kind]
    made = c.grad(
        f"{kind}Grad", *operands, _all_h(c, operands), *arriving, outputs=len(wanted),
        **c.attributes,
    )  # fmt: skip
    results: list[V] = [None] * count
    for i, value in zip(wanted, made, strict=True):
        if c.need(i):
            results[i] = named_like(value, operands[i])
        elif value is not made[-1]:  # onnxruntime refuses a call with fewer outputs.
            value.name = ""  # Left out: not computed.
    return tuple(results)


def _all_h(c: Vjp, operands: Sequence[V]) -> V:
    """The node's Y; the operator once more where the node leaves it out."""
    if c.y.name != "":
        return c.y
    return c.b.call("", c.node.op_type, operands, c.attributes, 1)


@vjp("RNNGrad", "GRUGrad", "LSTMGrad", domain=GRAD, all_outputs=True)
def recurrent_grad(c: Vjp, *inputs: V) -> Result:
    """The gradient of the gradient of the steps written out, for a known number of steps.

    Y counts as what the other inputs make it: its own cotangent is none.
    """
    kind = c.node.op_type.partition("Grad")[0]
    count = 8 if kind == "LSTM" else 6
    padded = [*inputs, *[None] * 12]
    dims = static_dims(padded[0])
    if dims is None or not all(dims):
        return NotImplemented  # type: ignore[no-any-return]
    from toolkit.autodiff.backward import gradients

    # Copies: an input may depend on another.
    copies = [v if v is None or v.dtype == ir.DataType.INT32 else c.b.Identity(v) for v in padded]
    operands = [*copies[:count], *[None] * (8 - count)]
    arriving = copies[count + 1 : count + (4 if kind == "LSTM" else 3)]
    plain = {name: a.value for name, a in c.node.attributes.items()}
    outputs = unrolled(c.b, kind, plain, operands, dims[1 if plain.get("layout") else 0])
    wanted = _WANTED[kind]
    graph: Any = c.b.graph
    given = [operands[i] for i in wanted if operands[i] is not None]
    first = dict(zip(given, gradients(graph, outputs, arriving, given), strict=True))
    pairs: list[Any] = [
        (first[operands[i]], g)
        for i, g in zip(wanted, c.cotangents, strict=False)
        if g is not None and operands[i] is not None and first[operands[i]] is not None
    ]
    sources = [*given, *(v for v in arriving if v is not None)]
    second = gradients(graph, [p[0] for p in pairs], [p[1] for p in pairs], sources)
    found = dict(zip(sources, second, strict=True))
    return tuple(None if v is None else found.get(v) for v in copies[: len(inputs)])

"""Rewrites of loops: what turns a known number of times is written out turn after turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx_ir as ir

from toolkit.graph.build import constant_of
from toolkit.graph.inline import emit
from toolkit.graph.subgraphs import copy
from toolkit.graph.targets.registry import Call, rewrite

V = Any  # An ir.Value under `arithmetic`.

MAX_TURNS = 1024


def _turn(c: Call, inputs: Sequence[V]) -> list[V]:
    """One turn of the node's body."""
    graph, _ = copy(c.node.attributes["body"].as_graph())
    function = ir.Function("", "turn", graph=graph, attributes=[])
    return list(emit(c.b, function, list(inputs), {}))


def _stacked(c: Call, parts: Sequence[V], axis: int = 0) -> V:
    return c.b.Concat(*(c.b.Unsqueeze(part, [axis]) for part in parts), axis=axis)


@rewrite("ortweb", "Scan")
def scan(c: Call, *inputs: V) -> Any:
    """Written out turn after turn; the number of turns must be known."""
    b = c.b
    count = int(c.attr("num_scan_inputs"))
    states, scanned = list(inputs[: len(inputs) - count]), inputs[len(inputs) - count :]
    axes = c.attr("scan_input_axes", [0] * count)
    reverse = c.attr("scan_input_directions", [0] * count)
    dims = scanned[0].shape
    turns = None if dims is None else dims[axes[0]]
    if not isinstance(turns, int) or not 0 < turns <= MAX_TURNS:
        raise c.refuse(f"a known number of turns from 1 to {MAX_TURNS} is required, got {turns}")
    made: list[list[V]] = []
    for turn in range(turns):
        taken = [
            b.Gather(x, b.const(turns - 1 - turn if back else turn), axis=axis)
            for x, axis, back in zip(scanned, axes, reverse, strict=True)
        ]
        results = _turn(c, [*states, *taken])
        states = results[: len(states)]
        made.append(results[len(states) :])
    outputs = len(made[0])
    out_axes = c.attr("scan_output_axes", [0] * outputs)
    out_reverse = c.attr("scan_output_directions", [0] * outputs)
    stacked = []
    for i, (axis, back) in enumerate(zip(out_axes, out_reverse, strict=True)):
        parts = [results[i] for results in made]
        stacked.append(_stacked(c, parts[::-1] if back else parts, axis))
    return (*states, *stacked)


@rewrite("ortweb", "Loop")
def loop(c: Call, limit: V, going: V, *states: V) -> Any:
    """Written out turn after turn; how often it turns must follow from constants.

    The condition of each turn must be a constant once the turns before are written.
    """
    b = c.b
    most = MAX_TURNS + 1 if limit is None else int(c.constant(limit, "trip count").item())
    goes = True if going is None else bool(c.constant(going, "condition").item())
    carried = list(states)
    made: list[list[V]] = []
    while goes and len(made) < most:
        if len(made) == MAX_TURNS:
            raise c.refuse(f"at most {MAX_TURNS} turns are required, got {most}")
        condition, *results = _turn(c, [b.const(len(made)), b.const(True), *carried])
        known = constant_of(condition)
        if known is None:
            raise c.refuse("a number of turns that does not depend on data is required")
        goes = bool(known.item())
        carried = results[: len(states)]
        made.append(results[len(states) :])
    if not made:
        if len(c.node.outputs) > len(states):
            raise c.refuse("a turn at least is required by outputs that are stacked, got none")
        return tuple(b.Identity(v) for v in carried)
    stacked = [_stacked(c, [turn[i] for turn in made]) for i in range(len(made[0]))]
    return (*carried, *stacked)

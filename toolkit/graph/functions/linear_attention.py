"""The body of the gradient of LinearAttention: a Scan forwards and one back.

Letters: T steps, B batch, H heads of keys, G queries a head, D size of keys, M size of values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import onnx_ir as ir

from toolkit.graph.build import Builder, arithmetic
from toolkit.graph.functions.registry import Attributes, composite

V = Any  # An ir.Value under `arithmetic`.
Step = Callable[..., Sequence[V]]


def scan(
    b: Builder, state: V, sequences: Sequence[V], step: Step, outputs: int, back: bool = False
) -> tuple[V, ...]:
    """One state through `step(inner, state, *items) -> (state, *outputs)`, over the first axis.

    Args:
        b: where the Scan goes.
        state: at first.
        sequences: what is scanned, of the state's element type.
        step: writes the body.
        outputs: how many it gives besides the state.
        back: from last to first.
    """
    ranks = [len(state.shape), *(len(s.shape) - 1 for s in sequences)]
    formals = [
        ir.Value(
            name=f"item{i}",
            type=ir.TensorType(state.dtype),
            shape=ir.Shape([ir.SymbolicDim(None)] * rank),
        )
        for i, rank in enumerate(ranks)
    ]
    graph = ir.Graph(formals, [], nodes=[], opset_imports={"": 28}, name="step")
    inner = Builder(graph)
    with arithmetic(inner):
        for k, value in enumerate(step(inner, *formals)):
            result = inner.Identity(value)
            result.name = f"result{k}"
            graph.outputs.append(result)
    prefix = "scan_back" if back else "scan"  # A subgraph's names differ from those around it.
    for value in (*formals, *(v for node in graph for v in node.outputs)):
        value.name = f"{prefix}.{value.name}"
    n = len(sequences)
    found: tuple[V, ...] = b.Scan(
        state,
        *sequences,
        body=ir.AttrGraph("body", graph),
        num_scan_inputs=n,
        scan_input_directions=[int(back)] * n,
        scan_output_directions=[int(back)] * outputs,
        _outputs=1 + outputs,
    )
    for value, rank in zip(found, [ranks[0], *[None] * outputs], strict=True):
        if value.shape is None and rank is not None:
            value.shape = ir.Shape([ir.SymbolicDim(None)] * rank)
    return found


def _outer(b: Builder, rows: V, columns: V) -> V:
    return b.Unsqueeze(rows, [-1]) * b.Unsqueeze(columns, [-2])


def _recall(b: Builder, state: V, key: V) -> V:
    return b.ReduceSum(state * b.Unsqueeze(key, [-1]), [-2], keepdims=0)


@composite(
    "toolkit.grad",
    "LinearAttentionGrad",
    "query key value past_state decay beta doutput dpresent",
    "dquery dkey dvalue dpast_state ddecay dbeta",
)
def linear_attention_grad(
    b: Builder, a: Attributes, query: V, key: V, value: V, past: V, decay: V, beta: V,
    doutput: V, dpresent: V,
) -> tuple[V, ...]:  # fmt: skip
    """With S_t = D_t + k u^T, D_t = exp(g) S_{t-1}, u = v or beta (v - D_t^T k), from the last t:

    dS += scale q do^T, dq = scale S do, du = dS^T k, dk = dS u; by the delta rule dbeta = sum of
    du (v - D^T k), dv = beta du, dS -= k dv^T, dk -= D dv; dg = sum of dS D, dS = exp(g) dS.
    Outputs after the third are those of the inputs that are given.
    """
    heads, group = a["kv_num_heads"], a["q_num_heads"] // a["kv_num_heads"]

    def steps(x: V) -> V:
        return b.Transpose(b.Reshape(x, [0, 0, heads, -1]), perm=[1, 0, 2, 3])

    def queries(x: V) -> V:
        return b.Transpose(b.Reshape(x, [0, 0, heads, group, -1]), perm=[1, 0, 2, 3, 4])

    q, k, v = queries(query), steps(key), steps(value)
    given: dict[str, V] = {"k": k, "v": v}
    if decay is not None:
        given["e"] = b.Exp(steps(decay))
    if beta is not None:
        given["beta"] = b.Unsqueeze(b.Transpose(beta, perm=[1, 0, 2]), [-1])
    names = list(given)
    shape = b.Concat(b.dim(k, 1), [heads], b.dim(k, 3), b.dim(v, 3), axis=0)
    zero = b.zeros(shape, query.dtype)
    factor = a.get("scale", 0.0) or b.Reciprocal(b.Sqrt(b.cast(b.dim(k, 3), query.dtype)))

    def decayed(i: Builder, state: V, x: dict[str, V]) -> V:
        return state * i.Unsqueeze(x["e"], [-1]) if "e" in x else state

    def forward(i: Builder, state: V, *items: V) -> tuple[V, ...]:
        x = dict(zip(names, items, strict=True))
        d = decayed(i, state, x)
        u = x["beta"] * (x["v"] - _recall(i, d, x["k"])) if "beta" in x else x["v"]
        new = d + _outer(i, x["k"], u)
        return new, state, u, new

    _, before, written, after = scan(b, zero if past is None else past, list(given.values()),
                                     forward, 3)  # fmt: skip
    for x, rank in ((before, 5), (written, 4), (after, 5)):
        x.shape = ir.Shape([ir.SymbolicDim(None)] * rank)
    given |= {"before": before, "u": written}
    if doutput is not None:
        given |= {"q": q * factor, "after": after, "do": queries(doutput)}
    all_names = list(given)

    def back(i: Builder, ds: V, *items: V) -> tuple[V, ...]:
        x = dict(zip(all_names, items, strict=True))
        d = decayed(i, x["before"], x)
        results = []
        if "do" in x:
            ds = ds + i.MatMul(i.Transpose(x["q"], perm=[0, 1, 3, 2]), x["do"])
            results.append(i.MatMul(x["do"], i.Transpose(x["after"], perm=[0, 1, 3, 2])))
        du = _recall(i, ds, x["k"])
        dk = i.ReduceSum(ds * i.Unsqueeze(x["u"], [-2]), [-1], keepdims=0)
        dv = du
        if "beta" in x:
            missed = x["v"] - _recall(i, d, x["k"])
            dbeta = i.ReduceSum(du * missed, [-1])
            dv = x["beta"] * du
            ds = ds - _outer(i, x["k"], dv)
            dk = dk - i.ReduceSum(d * i.Unsqueeze(dv, [-2]), [-1], keepdims=0)
        results += [dk, dv]
        if "e" in x:
            results.append(i.ReduceSum(ds * d, [-1], keepdims=0))
        if "beta" in x:
            results.append(dbeta)
        return decayed(i, ds, x), *results

    start = zero if dpresent is None else dpresent
    count = 2 + sum(x is not None for x in (doutput, decay, beta))
    dpast, *found = scan(b, start, list(given.values()), back, count, back=True)

    def packed(x: V, rank: int) -> V:
        x.shape = ir.Shape([ir.SymbolicDim(None)] * rank)
        flat = b.Transpose(x, perm=[1, 0, *range(2, rank)])
        return b.Reshape(flat, [0, 0, -1])

    dq = query * 0.0 if doutput is None else packed(found.pop(0), 5) * factor
    results = [dq, packed(found.pop(0), 4), packed(found.pop(0), 4)]
    if past is not None:
        results.append(dpast)
    if decay is not None:  # A decay of the whole head is a sum over its keys.
        results.append(_add_up(b, packed(found.pop(0), 4), decay, heads))
    if beta is not None:
        results.append(_add_up(b, packed(found.pop(0), 4), beta, 1))
    return tuple(results)


def _add_up(b: Builder, dx: V, x: V, outer: int) -> V:
    """Sums (B, T, outer n k) over k to the shape (B, T, outer n) of `x`."""
    n = b.Div(b.dim(x, 2), b.ints([outer]))
    shape = b.Concat([0, 0, outer], n, [-1], axis=0)
    return b.Reshape(b.ReduceSum(b.Reshape(dx, shape), [-1], keepdims=0), [0, 0, -1])

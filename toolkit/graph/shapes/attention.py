"""Shape functions of attention operators: ONNX's count symbolic sequence lengths as 0."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from toolkit.graph.shapes.registry import (
    Dim,
    NodeCall,
    TypeInfo,
    is_known,
    shape_function,
    shape_text,
    tensor_info,
)

_UNKNOWN = ir.SymbolicDim(None)


def _plus(a: Dim, b: Dim) -> Dim:
    if a == 0 or b == 0:
        return b if a == 0 else a
    if not is_known(a) or not is_known(b):
        return _UNKNOWN
    return a + b


def _per_head(size: Dim, heads: int | None) -> Dim:
    return size // heads if isinstance(size, int) and heads else _UNKNOWN


@shape_function("", "Attention")
def _attention(call: NodeCall) -> Sequence[TypeInfo] | None:
    q, k, v = (call.input(i).dims for i in range(3))
    if q is None or k is None or v is None:
        return [tensor_info(call.input(0).dtype, None)] * call.outputs
    if len({len(q), len(k), len(v)}) > 1 or len(q) not in (3, 4):
        need = "Q, K and V must all have 3 or all have 4 dimensions"
        raise call.fail(need, ", ".join(map(shape_text, (q, k, v))))
    q_heads, kv_heads = call.attr("q_num_heads"), call.attr("kv_num_heads")
    if len(q) == 3:
        if not q_heads or not kv_heads:
            need = "q_num_heads and kv_num_heads are required with 3D inputs"
            raise call.fail(need, f"{q_heads} and {kv_heads}")
        head, v_head = _per_head(k[2], kv_heads), _per_head(v[2], kv_heads)
        width = v_head * q_heads if isinstance(v_head, int) else _UNKNOWN
        y: tuple[Dim, ...] = (q[0], q[1], width)
        rows, keys = q[1], k[1]
        query, key = q_heads, kv_heads
    else:
        head, v_head, rows, keys = k[3], v[3], q[2], k[2]
        y = (q[0], q[1], rows, v_head)
        query, key = q[1], k[1]
    if call.has_input(4):
        past = call.input(4).dims
        keys = _plus(past[2], keys) if past is not None and len(past) == 4 else _UNKNOWN
    shapes = y, (q[0], key, keys, head), (q[0], key, keys, v_head), (q[0], query, rows, keys)
    return [tensor_info(call.input(0).dtype, dims) for dims in shapes[: call.outputs]]


@shape_function("toolkit.grad", "AttentionGrad")
def _attention_grad(call: NodeCall) -> Sequence[TypeInfo]:
    q = call.input(0)
    past = [call.input(i) if call.has_input(i) else tensor_info(q.dtype, None) for i in (4, 5)]
    scores = tensor_info(q.dtype, (_UNKNOWN,) * 4)
    return [q, call.input(1), call.input(2), *past, scores][: call.outputs]


@shape_function("toolkit.grad", "LinearAttentionGrad")
def _linear_attention_grad(call: NodeCall) -> Sequence[TypeInfo]:
    given = [call.input(i) for i in range(6) if call.has_input(i)]
    return given[: call.outputs]

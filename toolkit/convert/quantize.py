"""Weights of products as integers with scales, in standard operators; activations stay floats."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit.errors import InvalidArgumentError

if TYPE_CHECKING:
    import onnx_ir as ir

    from toolkit.graph.io import ModelSource

Array = np.ndarray[Any, Any]


def quantize_weights(
    model: ModelSource,
    bits: int = 4,
    group: int | None = 32,
    symmetric: bool = True,
    smallest: int = 16384,
) -> ir.Model:
    """A model whose products read int8 or int4 weights through DequantizeLinear (opset 21).

    A weight is rounded to the nearest of `2 ** bits` steps of its group's range. Save the result
    with `toolkit.graph.io.save_model`.

    Args:
        model: a path, a file's bytes or a model.
        bits: 4 or 8.
        group: rows of a weight (K, N) that share a scale, in each column; None: all of them.
        symmetric: whether 0 is the middle of the range; else a zero point is kept too.
        smallest: weights of fewer elements stay as they are.

    Raises:
        InvalidArgumentError: `bits` or `group` is none of those.
    """
    from toolkit.graph.io import load_model

    if bits not in (4, 8):
        raise InvalidArgumentError(f"quantize_weights: bits of 4 or 8 are required, got {bits}.")
    if group is not None and group < 1:
        raise InvalidArgumentError(f"quantize_weights: a group above 0 is required, got {group}.")
    loaded = load_model(model)
    made: dict[tuple[str, bool], ir.Value] = {}
    for node in list(loaded.graph):
        if node.op_type not in ("MatMul", "Gemm") or node.domain:
            continue
        found = _weight(node)
        if found is None or found[0].const_value is None:
            continue
        value, transposed = found
        key = value.name or "", transposed
        if key not in made:
            weight = np.asarray(value.const_value.numpy() if value.const_value else 0)
            if weight.size < smallest:
                continue
            weight = np.ascontiguousarray(weight.T if transposed else weight)
            made[key] = _dequantized(
                loaded.graph, node, key[0], *quantize(weight, bits, group, symmetric), group
            )
        node.replace_input_with(1, made[key])
        if node.op_type == "Gemm":
            node.attributes.pop("transB", None)
    _drop_unread(loaded.graph)
    return loaded


def quantize(
    weight: Array, bits: int, group: int | None, symmetric: bool = True
) -> tuple[Array, Array, Array | None]:
    """Codes, scales and zero points of a weight (K, N), for groups of rows of each column.

    Signed codes without zero points, or unsigned ones with.
    """
    rows, columns = weight.shape
    size = rows if group is None else min(group, rows)
    padded = np.pad(weight, ((0, -rows % size), (0, 0)), mode="edge")
    blocks = padded.reshape(-1, size, columns).astype(np.float32)
    if symmetric:
        high = 2 ** (bits - 1) - 1
        low, range_ = -high, np.abs(blocks).max(1)
    else:
        least = np.minimum(blocks.min(1), 0)
        low, high, range_ = 0, 2**bits - 1, np.maximum(blocks.max(1), 0) - least
    scale = range_ / np.float32(high)
    scale = np.where(scale > 0, scale, np.float32(1)).astype(np.float32)
    zero = np.zeros_like(scale) if symmetric else np.clip(np.rint(-least / scale), low, high)
    codes = np.clip(np.rint(blocks / scale[:, None]) + zero[:, None], low, high)
    kind = _integer(bits, symmetric)
    codes = codes.reshape(-1, columns)[:rows].astype(np.int16).astype(kind)
    zeros = None if symmetric else zero.astype(np.int16).astype(kind)
    if group is None:
        scale, zeros = scale[0], None if zeros is None else zeros[0]
    return codes, scale, zeros


def _integer(bits: int, symmetric: bool) -> Any:
    import ml_dtypes

    if bits == 8:
        return np.int8 if symmetric else np.uint8
    return ml_dtypes.int4 if symmetric else ml_dtypes.uint4


def _weight(node: ir.Node) -> tuple[ir.Value, bool] | None:
    """The initializer of float32 that is the right operand, and whether it is transposed."""
    value, transposed = node.inputs[1], False
    if value is None:
        return None
    if node.op_type == "Gemm":
        flag = node.attributes.get("transB")
        transposed = flag is not None and bool(flag.value)
    before = value.producer()
    if before is not None and before.op_type == "Transpose" and before.domain == "":
        perm = before.attributes.get("perm")
        if (perm is not None and list(perm.value) != [1, 0]) or before.inputs[0] is None:
            return None
        value, transposed = before.inputs[0], not transposed
    if not value.is_initializer() or value.is_graph_input() or value.shape is None:
        return None
    plain = value.dtype is not None and value.dtype.name == "FLOAT"
    return (value, transposed) if plain and len(value.shape) == 2 else None


def _dequantized(
    graph: ir.Graph,
    before: ir.Node,
    name: str,
    codes: Array,
    scale: Array,
    zero: Array | None,
    group: int | None,
) -> ir.Value:
    """The output of a new DequantizeLinear of new initializers."""
    import onnx_ir as ir

    from toolkit.graph.edit import Names

    names = Names(graph)
    inputs = []
    for part, array in (("codes", codes), ("scale", scale), ("zero", zero)):
        if array is None:
            continue
        tensor = ir.tensor(array, name=names.new(f"{name}.{part}"))
        value = ir.Value(
            name=tensor.name,
            type=ir.TensorType(tensor.dtype),
            shape=ir.Shape(array.shape),
            const_value=tensor,
        )
        graph.register_initializer(value)
        inputs.append(value)
    attributes = {"axis": 1} if group is None else {"axis": 0, "block_size": min(group, len(codes))}
    node = ir.node("DequantizeLinear", inputs, attributes, name=f"{name}.dequantize")
    output = node.outputs[0]
    output.name = names.new(f"{name}.dequantized")
    output.type, output.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(codes.shape)
    graph.insert_before(before, node)
    return output


def _drop_unread(graph: ir.Graph) -> None:
    """Removes transpositions and initializers that nothing reads any more."""
    for node in reversed(list(graph)):
        if node.op_type == "Transpose" and not any(
            v.uses() or v.is_graph_output() for v in node.outputs
        ):
            graph.remove(node, safe=True)
    for name, value in list(graph.initializers.items()):
        unread = not value.uses() and not value.is_graph_output()
        if unread and not value.is_graph_input():
            del graph.initializers[name]

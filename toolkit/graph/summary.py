"""What a model is, at a glance: `toolkit info`."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import onnx

from toolkit.graph.io import read_proto
from toolkit.graph.training_summary import summarize_training, training_lines

_TYPE = onnx.TensorProto.DataType.Name


@dataclass(frozen=True)
class Summary:
    """Figures of one model. Shapes hold integers, names, or None where nothing is known."""

    ir_version: int
    opsets: dict[str, int]
    producer: str
    inputs: list[tuple[str, str, list[int | str | None]]]
    outputs: list[tuple[str, str, list[int | str | None]]]
    operators: dict[str, int]
    functions: list[str]
    parameters: int
    parameter_bytes: int
    training: dict[str, Any] | None
    metadata: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def as_text(self) -> str:
        """For a person, a line a fact."""
        opsets = ", ".join(f"{d or 'ai.onnx'} {v}" for d, v in self.opsets.items())
        lines = [f"IR version {self.ir_version}, opset {opsets}, made by {self.producer or '?'}"]
        for kind, rows in (("input", self.inputs), ("output", self.outputs)):
            for name, dtype, shape in rows:
                dims = ", ".join("?" if d is None else str(d) for d in shape)
                lines.append(f"{kind:7} {name}: {dtype} ({dims})")
        lines.append(f"parameters {self.parameters:,} ({self.parameter_bytes / 2**20:.2f} MiB)")
        counts = ", ".join(f"{op} {n}" for op, n in self.operators.items())
        lines.append(f"{sum(self.operators.values())} nodes: {counts}")
        if self.functions:
            lines.append("functions " + ", ".join(self.functions))
        if self.training:
            lines += training_lines(self.training)
        return "\n".join(lines)


def summarize(path: str | os.PathLike[str]) -> Summary:
    """Reads a file and counts.

    Raises:
        InvalidModelError: it is no valid model.
    """
    proto = read_proto(path)
    graph = proto.graph
    initializers = {t.name for t in graph.initializer}
    counts = Counter(
        f"{node.domain}.{node.op_type}" if node.domain else node.op_type for node in graph.node
    )
    sizes = [_count(t.dims) for t in graph.initializer]
    widths = [_itemsize(t.data_type) for t in graph.initializer]
    return Summary(
        ir_version=proto.ir_version,
        opsets={entry.domain: entry.version for entry in proto.opset_import},
        producer=proto.producer_name,
        inputs=[_describe(v) for v in graph.input if v.name not in initializers],
        outputs=[_describe(v) for v in graph.output],
        operators=dict(counts.most_common()),
        functions=[f"{f.domain}.{f.name}" for f in proto.functions],
        parameters=sum(sizes),
        parameter_bytes=int(sum(n * w for n, w in zip(sizes, widths, strict=True))),
        training=summarize_training(proto, _describe),
        metadata={e.key: e.value for e in proto.metadata_props if len(e.value) < 200},
    )


def _describe(value: onnx.ValueInfoProto) -> tuple[str, str, list[int | str | None]]:
    tensor = value.type.tensor_type
    dims: list[int | str | None] = [
        d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in tensor.shape.dim
    ]
    known = tensor.elem_type in onnx.TensorProto.DataType.values()
    dtype = _TYPE(tensor.elem_type).lower() if known else f"type {tensor.elem_type}"
    return value.name, dtype, dims


def _count(dims: Any) -> int:
    total = 1
    for d in dims:
        total *= d
    return total


def _itemsize(data_type: int) -> float:
    try:
        return float(onnx.helper.tensor_dtype_to_np_dtype(data_type).itemsize)
    except (KeyError, TypeError):
        return 0.0

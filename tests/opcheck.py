"""Runs a sample of the operator table on our kernels, on onnx.reference and on onnxruntime."""

from __future__ import annotations

import copy
import functools
from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx.defs
from onnx import helper, numpy_helper

from tests.opinfo import OpInfo, Sample
from toolkit import dtypes
from toolkit.runtime import _core, values

OPSET = 28
ML = "ai.onnx.ml"
ONNX_DOMAINS = ("", ML, "ai.onnx.preview.training")
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
Arrays = list[np.ndarray | None]


def tensor(x: Any) -> Any:
    return None if x is None else values.value_to_native(x)


def array(t: Any) -> Any:
    return None if t is None else values.value_from_native(t)


def kernel(op: OpInfo, attributes: dict[str, Any]) -> Any:
    given = {k: tensor(v) if isinstance(v, np.ndarray) else v for k, v in attributes.items()}
    return _core.Op(op.domain, op.op_type, given)


def has_kernel(op: OpInfo) -> bool:
    return (op.domain, op.op_type) in registered()


def derived(op: OpInfo) -> bool:
    """Whether the schema has a function body, by which the runtime runs what has no kernel."""
    if op.domain:
        return False
    declared = schema(op.op_type)
    return declared.has_function or declared.has_context_dependent_function


def run_body(op: OpInfo, sample: Sample) -> Arrays:
    """The outputs of a session, which expands the operator's function body or its graphs."""
    from toolkit.runtime import InferenceSession

    like = (*sample.inputs, None)[op.typed_by or 0]
    output = (
        []
        if isinstance(like, list)
        else np.zeros((), np.float32 if has_graph(sample) else like.dtype)
    )
    proto = model(op, sample, [output] * sample.outputs)
    for y in proto.graph.output:
        y.type.tensor_type.ClearField("shape") if y.type.HasField("tensor_type") else None
    return InferenceSession(proto.SerializeToString()).run(None, feed(sample))


def has_graph(sample: Sample) -> bool:
    """Whether an attribute is a graph, which only a session can run."""
    return any(isinstance(v, onnx.GraphProto) for v in sample.attributes.values())


def run(op: OpInfo, sample: Sample) -> Arrays:
    """Our kernel's outputs (or the function body's), as arrays of their own memory."""
    if has_graph(sample) or (not has_kernel(op) and derived(op)):
        return run_body(op, sample)
    outputs = kernel(op, sample.attributes).run([tensor(x) for x in sample.inputs], sample.outputs)
    return [None if t is None else copy.deepcopy(array(t)) for t in outputs]


@functools.cache
def registered() -> dict[tuple[str, str], frozenset[str]]:
    """The element types of every kernel of the core."""
    return {(domain, op_type): frozenset(types) for domain, op_type, types in _core.kernels()}


def opset(op_type: str, domain: str) -> int:
    """The newest opset of a domain in which the operator is not deprecated."""
    if domain == ML:
        return 3 if op_type in ("TreeEnsembleClassifier", "TreeEnsembleRegressor") else 5
    return 1 if domain else OPSET


@functools.cache
def schema(op_type: str, domain: str = "") -> onnx.defs.OpSchema:
    return onnx.defs.get_schema(op_type, opset(op_type, domain), domain)


# Names of the schemas that are not numpy's.
_NAMES = {
    "float": "float32", "double": "float64", "float8e4m3fn": "float8_e4m3fn",
    "float8e4m3fnuz": "float8_e4m3fnuz", "float8e5m2": "float8_e5m2",
    "float8e5m2fnuz": "float8_e5m2fnuz", "float8e8m0": "float8_e8m0fnu",
    "float4e2m1": "float4_e2m1fn", "float6e2m3": "float6_e2m3fn", "float6e3m2": "float6_e3m2fn",
}  # fmt: skip
NARROW = frozenset(t.name for t in dtypes.NARROW)


def schema_types(op: OpInfo, index: int) -> frozenset[str]:
    """What the schema allows for an input, in numpy's names."""
    declared = schema(op.op_type, op.domain).inputs
    types = declared[min(index, len(declared) - 1)].types
    return frozenset(_NAMES.get(t[7:-1], t[7:-1]) for t in types if t.startswith("tensor("))


def tested_dtypes(op: OpInfo) -> list[str]:
    """The row's element types and those that the kernel takes beyond them."""
    extra: frozenset[str] = frozenset()
    if op.typed_by is not None:
        extra = registered().get((op.domain, op.op_type), frozenset())
        if op.domain in ONNX_DOMAINS:
            extra &= schema_types(op, op.typed_by)
    return [*op.dtypes, *sorted(extra - set(op.dtypes))]


def _attribute(name: str, value: Any, op: OpInfo) -> onnx.AttributeProto:
    if isinstance(value, np.ndarray):
        return helper.make_attribute(name, numpy_helper.from_array(value))
    if isinstance(value, (list, tuple)) and not value:
        return helper.make_attribute(name, [], attr_type=onnx.AttributeProto.INTS)
    return helper.make_attribute(name, value)


def node(op: OpInfo, sample: Sample) -> onnx.NodeProto:
    names = ["" if x is None else f"x{i}" for i, x in enumerate(sample.inputs)]
    outputs = [f"y{i}" for i in range(sample.outputs)]
    proto = helper.make_node(op.op_type, names, outputs, domain=op.domain)
    proto.attribute.extend(_attribute(k, v, op) for k, v in sample.attributes.items())
    return proto


def value_info(name: str, x: Any, symbolic: str = "") -> onnx.ValueInfoProto:
    if isinstance(x, dict) or (isinstance(x, list) and x and isinstance(x[0], dict)):
        return onnx.ValueInfoProto(name=name, type=map_type(x))
    if isinstance(x, list):
        kind = helper.np_dtype_to_tensor_dtype(x[0].dtype) if x else onnx.TensorProto.FLOAT
        return helper.make_tensor_sequence_value_info(name, kind, None)
    if x is None:
        return onnx.ValueInfoProto(name=name)
    shape = [f"{symbolic}_{i}" for i in range(x.ndim)] if symbolic else x.shape
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(x.dtype), shape)


def map_type(x: Any) -> onnx.TypeProto:
    """The type of a map with float32 or int64 values, or of a sequence of such maps."""
    if isinstance(x, list):
        return helper.make_sequence_type_proto(map_type(x[0]))
    keys, values = (np.array(list(part)).dtype for part in (x, x.values()))
    keys, values = map(helper.np_dtype_to_tensor_dtype, (keys, values))
    return helper.make_map_type_proto(keys, helper.make_tensor_type_proto(values, []))


def model(op: OpInfo, sample: Sample, outputs: Arrays, symbolic: bool = False) -> onnx.ModelProto:
    """The one-node model of a sample; `outputs` (of a run) tell the types of its outputs."""
    inputs = [
        value_info(f"x{i}", x, f"x{i}" if symbolic else "")
        for i, x in enumerate(sample.inputs)
        if x is not None
    ]
    results = [
        value_info(f"y{i}", y, f"y{i}" if symbolic else "")
        for i, y in enumerate(outputs)
        if y is not None
    ]
    graph = helper.make_graph([node(op, sample)], op.op_type, inputs, results)
    opsets = [helper.make_opsetid("", OPSET)]
    if op.domain:
        opsets.append(helper.make_opsetid(op.domain, opset(op.op_type, op.domain)))
    return helper.make_model(graph, opset_imports=opsets, ir_version=13)


def feed(sample: Sample) -> dict[str, np.ndarray]:
    return {f"x{i}": x for i, x in enumerate(sample.inputs) if x is not None}


def onnx_reference(op: OpInfo, sample: Sample) -> Arrays:
    from onnx.reference import ReferenceEvaluator

    placeholder = [np.zeros((), np.float32)] * sample.outputs
    evaluator = ReferenceEvaluator(model(op, sample, placeholder))
    return [y if isinstance(y, list) else np.asarray(y) for y in evaluator.run(None, feed(sample))]


def onnxruntime(op: OpInfo, sample: Sample) -> Arrays:
    """Onnxruntime's answer, where it has the operator for the types of the sample."""
    import onnxruntime as ort

    placeholder = [np.zeros((), np.float32)] * sample.outputs
    proto = model(op, sample, placeholder)
    proto.ir_version = 10
    proto.opset_import[0].version = 21
    for y in proto.graph.output:
        y.ClearField("type")
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = ort.InferenceSession(proto.SerializeToString(), options, ["CPUExecutionProvider"])
    return session.run(None, {k: _plain(x) for k, x in feed(sample).items()})


def _plain(x: Any) -> Any:
    return (
        {k: v.item() if isinstance(v, np.generic) else v for k, v in x.items()}
        if isinstance(x, dict)
        else x
    )


def expected(op: OpInfo, sample: Sample) -> Arrays:
    """The answer by the row's own reference, or onnx's."""
    with np.errstate(all="ignore"):
        if not op.reference:
            return [_filled(y) for y in onnx_reference(op, sample)]
        try:
            results = op.reference(sample)
        except TypeError:  # torch takes no arrays of bfloat16: it is asked in float32.
            inputs = tuple(_cast(x, BFLOAT16, np.float32) for x in sample.inputs)
            results = op.reference(replace(sample, inputs=inputs))
            results = [_cast(y, np.dtype(np.float32), BFLOAT16) for y in results]
        return [y if y is None or isinstance(y, list) else _filled(np.asarray(y)) for y in results]


def _cast(x: Any, source: np.dtype, target: Any) -> Any:
    return x.astype(target) if isinstance(x, np.ndarray) and x.dtype == source else x


def _filled(y: Any) -> Any:
    """onnx.reference fills arrays of strings with the number 0 where "" is meant."""
    if isinstance(y, np.ndarray) and y.dtype == object:
        filled = [x if isinstance(x, (str, bytes)) else "" for x in y.ravel()]
        return np.array(filled, object).reshape(y.shape)
    return y

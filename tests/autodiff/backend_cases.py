"""The node cases of ONNX's conformance suite that have a gradient, and their gradient graphs."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import onnx.defs
from onnx import TensorProto, numpy_helper

from toolkit.autodiff import grad_model
from toolkit.errors import UnsupportedOperatorError
from toolkit.runtime import InferenceSession

Arrays = dict[str, np.ndarray]
FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)


@dataclass
class Case:
    """One case: its model, its inputs, and the names to differentiate by and of."""

    name: str
    op: str
    model: onnx.ModelProto
    feed: Arrays
    wrt: list[str]
    outputs: list[str]

    def __str__(self) -> str:
        return self.name


@functools.cache
def cases() -> dict[str, Case]:
    """By name: what the schema of a single node calls differentiable, and the same expanded."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The suite overflows casts and divides by zero.
        found = {case.name: case for case in collect_testcases(None)}
    made: dict[str, Case] = {}
    for name, case in found.items():
        base = found.get(name.partition("_expanded")[0], case)
        wrt = differentiable(base.model)
        given = {v.name for v in case.model.graph.input}
        if not wrt or not given.issuperset(wrt):
            continue
        names = [v.name for v in case.model.graph.input]
        feed = {k: _array(x) for k, x in zip(names, case.data_sets[0][0], strict=True)}
        outputs = [v.name for v in case.model.graph.output if _element(v) in FLOATS]
        op = base.model.graph.node[0].op_type
        made[name] = Case(name, op, case.model, feed, wrt, outputs)
    return made


def _array(x: object) -> np.ndarray:
    return numpy_helper.to_array(x) if isinstance(x, TensorProto) else np.asarray(x)


def _element(value: onnx.ValueInfoProto) -> int:
    return value.type.tensor_type.elem_type


def _schema(model: onnx.ModelProto) -> onnx.defs.OpSchema:
    node = model.graph.node[0]
    opset = next(e.version for e in model.opset_import if e.domain == node.domain)
    return onnx.defs.get_schema(node.op_type, opset, node.domain)


def formal(model: onnx.ModelProto) -> dict[str, onnx.defs.OpSchema.FormalParameter]:
    """The formal parameter of each input and output of a single node."""
    node, schema = model.graph.node[0], _schema(model)
    pairs = ((node.input, schema.inputs), (node.output, schema.outputs))
    return {
        name: parameters[min(i, len(parameters) - 1)]
        for names, parameters in pairs
        for i, name in enumerate(names)
        if name
    }


def differentiable(model: onnx.ModelProto) -> list[str]:
    """The float inputs of a single node that its schema calls differentiable."""
    if len(model.graph.node) != 1 or model.graph.node[0].domain:
        return []
    parameters = formal(model)
    return [
        v.name
        for v in model.graph.input
        if _element(v) in FLOATS
        and v.name in parameters
        and parameters[v.name].differentiation_category.name == "Differentiable"
    ]


def in_float64(case: Case) -> Case:
    """A single node with float64 where its schema takes it."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    parameters, schema = formal(model), _schema(model)
    allowed = {c.type_param_str: c.allowed_type_strs for c in schema.type_constraints}
    for value in (*model.graph.input, *model.graph.output):
        kind = parameters[value.name].type_str
        fixed = schema.name == "Cast" and value.name in case.outputs
        if _element(value) in FLOATS and "tensor(double)" in allowed.get(kind, ()) and not fixed:
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    types = {v.name: _element(v) for v in model.graph.input}
    feed = {
        k: x.astype(np.float64) if types[k] == TensorProto.DOUBLE else x
        for k, x in case.feed.items()
    }
    return Case(case.name, case.op, model, feed, case.wrt, case.outputs)


def opset_of(model: onnx.ModelProto) -> int:
    """The opset of the gradient graph: 21, or that of an operator that is newer."""
    needed = [21]
    for node in model.graph.node:
        if node.domain:
            continue
        history = [s for s in _history() if s.name == node.op_type]
        if not any(s.has_function or s.has_context_dependent_function for s in history):
            needed.append(min(s.since_version for s in history))
    return max(needed)


@functools.cache
def _history() -> list[onnx.defs.OpSchema]:
    return [s for s in onnx.defs.get_all_schemas_with_history() if not s.domain]


def gradient(case: Case) -> onnx.ModelProto:
    """The gradient graph of a case, at the oldest opset of 21 or more that can say it."""
    for opset in (opset_of(case.model), 22):
        try:
            return grad_model(case.model, case.wrt, case.outputs, opset=opset)
        except UnsupportedOperatorError as error:
            if "cannot be exported to opset" not in str(error):
                raise
    return grad_model(case.model, case.wrt, case.outputs, opset=28)


def seeded(case: Case, values: Mapping[str, np.ndarray], rng: np.random.Generator) -> Arrays:
    """The inputs of the gradient graph, with a cotangent for each output."""
    return case.feed | {
        f"d_{k}": np.asarray(rng.uniform(-1, 1, values[k].shape)).astype(values[k].dtype)
        for k in case.outputs
    }


def run(model: onnx.ModelProto, feed: Arrays, names: list[str]) -> Arrays:
    """Outputs of our runtime by name."""
    if not names:
        return {}
    session = InferenceSession(model.SerializeToString())
    return dict(zip(names, session.run(names, feed), strict=True))


def wide(x: np.ndarray) -> np.ndarray:
    """The numbers in float64."""
    return np.asarray(x).astype(np.float64)

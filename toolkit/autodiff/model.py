"""`grad_model`: a model in, a model that also computes gradients out."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from toolkit.autodiff.backward import gradients, is_float
from toolkit.errors import DTypeError, InvalidArgumentError
from toolkit.graph.build import Builder
from toolkit.graph.io import DEFAULT_EXPORT_OPSET, ModelSource, load_model, to_proto


def grad_model(
    model: ModelSource,
    wrt: Sequence[str],
    outputs: Sequence[str] | None = None,
    opset: int | None = None,
    inline: bool = False,
) -> onnx.ModelProto:
    """The model that computes a model's outputs and their vector-Jacobian products.

    Its inputs are the model's inputs, then a cotangent `d_<output>` for each chosen output, of that
    output's type and shape. Its outputs are the model's outputs, then `d_<name>` for each name in
    `wrt`, of the shape of that value: the sum over the chosen outputs of (d output / d name)ᵀ
    d_<output>, zeros where no path leads.

    Args:
        model: a path, a file's bytes, a `ModelProto` (not changed), or an `ir.Model` (changed).
        wrt: names of float inputs or initializers.
        outputs: names of float outputs; all of them without.
        opset: the opset of the result; without, the model's own, at least 21.
        inline: write composite operators (`toolkit.grad`) out as standard operators instead of
            attaching them as model-local functions.

    Raises:
        InvalidArgumentError: a name is not there, or a name that the result needs is taken.
        DTypeError: a named value is not of a float type.
        UnsupportedOperatorError: a gradient must pass an operator without a rule.
    """
    target = opset
    if target is None:
        target = max(_opset(model), DEFAULT_EXPORT_OPSET)
    work = load_model(model)
    graph = work.graph
    wanted = [_source(graph, name) for name in wrt]
    chosen = _chosen(graph, outputs)
    taken = {v.name for v in [*graph.inputs, *graph.outputs]} | set(graph.initializers)
    added = [f"d_{v.name}" for v in chosen] + [f"d_{name}" for name in wrt]
    for i, name in enumerate(added):
        if name in taken or name in added[:i]:
            raise InvalidArgumentError(
                f"grad_model: the name '{name}' is required for a gradient, got a model that has "
                "it. Rename that value, or name each value once."
            )
    _make_room(graph, set(added))
    cotangents = [
        ir.Value(name=f"d_{v.name}", type=v.type, shape=None if v.shape is None else v.shape.copy())
        for v in chosen
    ]
    graph.inputs.extend(cotangents)
    found = gradients(graph, chosen, cotangents, wanted, functions=work.functions)
    _add_outputs(graph, wanted, found)
    RemoveUnusedNodesPass()(work)
    return to_proto(work, target, inline)


def _opset(model: ModelSource) -> int:
    """The opset of a model as it is given."""
    if isinstance(model, ir.Model):
        return model.opset_imports.get("", 0)
    try:
        if isinstance(model, bytes):
            model = onnx.load_model_from_string(model)
        elif not isinstance(model, onnx.ModelProto):
            model = onnx.load_model(model, load_external_data=False)
    except Exception:
        return 0  # load_model says what is wrong.
    versions = [e.version for e in model.opset_import if e.domain in ("", "ai.onnx")]
    return int(versions[0]) if versions else 0


def _source(graph: ir.Graph, name: str) -> ir.Value:
    """The input or initializer of a name."""
    value = next((v for v in graph.inputs if v.name == name), graph.initializers.get(name))
    if value is None:
        known = [str(v.name) for v in graph.inputs] + list(graph.initializers)
        raise InvalidArgumentError(
            f"grad_model: wrt must name inputs or initializers, got '{name}'. The model has "
            f"{', '.join(known[:12])}{', …' if len(known) > 12 else ''}."
        )
    _require_float(value, "wrt")
    return value


def _chosen(graph: ir.Graph, names: Sequence[str] | None) -> list[ir.Value]:
    """The outputs to differentiate."""
    if names is None:
        return [v for v in graph.outputs if is_float(v)]
    by_name = {v.name: v for v in graph.outputs}
    for name in names:
        if name not in by_name:
            raise InvalidArgumentError(
                f"grad_model: outputs must name outputs of the model, got '{name}'. It has "
                f"{', '.join(str(n) for n in by_name)}."
            )
        _require_float(by_name[name], "outputs")
    return [by_name[name] for name in names]


def _require_float(value: ir.Value, what: str) -> None:
    if not is_float(value):
        kind = "an unknown type" if value.dtype is None else value.dtype.name.lower()
        raise DTypeError(
            f"grad_model: {what} must name float values, got '{value.name}' of {kind}."
        )


def _make_room(graph: ir.Graph, names: set[str]) -> None:
    """Rename inner values whose names the result needs."""
    for node in graph.all_nodes():
        for value in node.outputs:
            if value.name in names:
                value.name = f"{value.name}_inner"


def _add_outputs(
    graph: ir.Graph, wanted: Sequence[ir.Value], found: Sequence[ir.Value | None]
) -> None:
    """Append d_<name> to the outputs: the gradient found, else zeros."""
    b = Builder(graph)
    for value, gradient in zip(wanted, found, strict=True):
        assert value.dtype is not None
        result = b.zeros(b.shape(value), value.dtype) if gradient is None else gradient
        if (
            result.producer() is None
            or result in graph.outputs
            or any(result is v for v in graph.inputs)
        ):
            result = b.Identity(result)
        result.name = f"d_{value.name}"
        if value.shape is not None:
            result.shape = value.shape.copy()
        graph.outputs.append(result)

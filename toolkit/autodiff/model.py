"""`grad_model`: a model in, a model that also computes gradients out."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from toolkit.autodiff.backward import gradients, is_float
from toolkit.errors import DTypeError, InvalidArgumentError, ShapeError
from toolkit.graph.build import Builder
from toolkit.graph.io import DEFAULT_EXPORT_OPSET, ModelSource, load_model, to_proto
from toolkit.graph.targets import lower_to


def grad_model(
    model: ModelSource,
    wrt: Sequence[str],
    outputs: Sequence[str] | None = None,
    opset: int | None = None,
    inline: bool = False,
    *,
    loss: str | None = None,
    order: int = 1,
    target: str | None = None,
) -> onnx.ModelProto:
    """The model that computes a model's outputs and their vector-Jacobian products.

    Its inputs are the model's inputs, then a cotangent `d_<output>` for each chosen output, of that
    output's type and shape. Its outputs are the model's outputs, then `d_<name>` for each name in
    `wrt`, of the shape of that value: the sum over the chosen outputs of (d output / d name)ᵀ
    d_<output>, zeros where no path leads.

    With `loss` the walk starts from that output with 1 instead, and there are no cotangent inputs:
    d_<name> is the gradient.

    Of a higher order it also takes one direction `v_<name>` for each name in `wrt`, of the shape of
    that value, and gives `d2_<name>`, ..., `d<order>_<name>` after the gradients: with g(x) the
    gradients as a function of all named values x, dk is the (k - 1)-th derivative of g(x + t v) by
    t at t = 0. So d2 is the Hessian times v. The cotangents are held fixed.

    Args:
        model: a path, a file's bytes, a `ModelProto` (not changed), or an `ir.Model` (changed).
        wrt: names of float inputs or initializers, or patterns such as "*.weight", which stand for
            all float inputs and initializers that match; a name goes before a pattern.
        outputs: names of float outputs; all of them without.
        opset: the opset of the result; without, the model's own, at least 21.
        inline: write composite operators (`toolkit.grad`) out as standard operators instead of
            attaching them as model-local functions.
        loss: an output of one element, in place of `outputs`. One whose shape the model does not
            tell counts as the sum of its elements.
        order: the highest derivative, 1 or more.
        target: a runtime to lower the result to, one of `toolkit.graph.targets.TARGETS`; composites
            are then written out.

    Raises:
        InvalidArgumentError: a name is not there, a pattern matches nothing, or a name that the
            result needs is taken.
        DTypeError: a named value is not of a float type.
        ShapeError: the loss has more elements than one.
        UnsupportedOperatorError: a gradient must pass an operator without a rule, or the target
            lacks one.
    """
    if order < 1:
        raise InvalidArgumentError(f"grad_model: an order of 1 or more is required, got {order}.")
    if opset is None:
        opset = max(_opset(model), DEFAULT_EXPORT_OPSET)
    work = load_model(model)
    graph = work.graph
    wanted = [_source(graph, name) for name in _select(graph, wrt)]
    chosen = _chosen(graph, outputs) if loss is None else [_loss(graph, loss, outputs)]
    seeds = [] if loss is not None else [f"d_{v.name}" for v in chosen]
    directions = [f"v_{v.name}" for v in wanted] if order > 1 else []
    orders = [[f"d{k if k > 1 else ''}_{v.name}" for v in wanted] for k in range(1, order + 1)]
    _reserve(graph, [*seeds, *directions, *(name for names in orders for name in names)])
    cotangents = [_input_like(graph, n, v) for n, v in zip(seeds, chosen, strict=False)]
    if loss is not None:
        cotangents = [_ones(graph, chosen[0])]
    along = [_input_like(graph, n, v) for n, v in zip(directions, wanted, strict=False)]
    found: list[ir.Value | None] = list(chosen)
    for names in orders:
        pairs = [(y, d) for y, d in zip(found, cotangents, strict=True) if y is not None]
        found = gradients(graph, *_unzip(pairs), wanted, functions=work.functions)
        _add_outputs(graph, names, wanted, found)
        cotangents = along
    RemoveUnusedNodesPass()(work)
    if target is not None:
        lower_to(work, target)
    return to_proto(work, opset, inline)


def _unzip(
    pairs: Sequence[tuple[ir.Value, ir.Value]],
) -> tuple[list[ir.Value], list[ir.Value]]:
    return [y for y, _ in pairs], [d for _, d in pairs]


def _select(graph: ir.Graph, wrt: Sequence[str]) -> list[str]:
    """Names, with each pattern replaced by the names that match and are not there yet."""
    values = [*graph.inputs, *(v for v in graph.initializers.values() if v not in graph.inputs)]
    known = {str(v.name): v for v in values}
    floats = [name for name, v in known.items() if is_float(v)]
    chosen: list[str] = []
    for name in wrt:
        if name in known or not any(c in name for c in "*?["):
            chosen.append(name)
            continue
        found = fnmatch.filter(floats, name)
        if not found:
            raise InvalidArgumentError(
                f"grad_model: a pattern that matches float inputs or initializers is required, "
                f"got '{name}'. The model has {_listed(floats)}."
            )
        chosen += [n for n in found if n not in chosen]
    if not chosen:
        raise InvalidArgumentError(
            "grad_model: wrt must name at least one input or initializer, got none. "
            f"The model has {_listed(floats)}."
        )
    return chosen


def _loss(graph: ir.Graph, name: str, outputs: Sequence[str] | None) -> ir.Value:
    """The output to start from."""
    if outputs is not None:
        raise InvalidArgumentError("grad_model: loss or outputs is required, got both.")
    value = _chosen(graph, [name])[0]
    if value.shape is not None and any(d != 1 for d in value.shape):
        raise ShapeError(
            f"grad_model: a loss of one element is required, got '{name}' of shape "
            f"({', '.join(str(d) for d in value.shape)}). Reduce it, or name it in outputs, which "
            f"takes its cotangent as the input d_{name}."
        )
    return value


def _reserve(graph: ir.Graph, added: Sequence[str]) -> None:
    """Makes sure that the names of the result's inputs and outputs are free."""
    taken = {v.name for v in [*graph.inputs, *graph.outputs]} | set(graph.initializers)
    for i, name in enumerate(added):
        if name in taken or name in added[:i]:
            raise InvalidArgumentError(
                f"grad_model: the name '{name}' is required for a gradient, got a model that has "
                "it. Rename that value, or name each value once."
            )
    _make_room(graph, set(added))


def _input_like(graph: ir.Graph, name: str, like: ir.Value) -> ir.Value:
    """A new input of the type and shape of a value."""
    shape = None if like.shape is None else like.shape.copy()
    value = ir.Value(name=name, type=like.type, shape=shape)
    graph.inputs.append(value)
    return value


def _ones(graph: ir.Graph, like: ir.Value) -> ir.Value:
    b = Builder(graph)
    assert like.dtype is not None
    return b.full(b.shape(like), 1, like.dtype)


def _listed(names: Sequence[str | None]) -> str:
    return f"{', '.join(str(n) for n in names[:12])}{', …' if len(names) > 12 else ''}" or "none"


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
            f"{_listed(known)}."
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
    graph: ir.Graph,
    names: Sequence[str],
    wanted: Sequence[ir.Value],
    found: Sequence[ir.Value | None],
) -> None:
    """Append the gradients found to the outputs under their names, zeros where there is none."""
    b = Builder(graph)
    for name, value, gradient in zip(names, wanted, found, strict=True):
        assert value.dtype is not None
        result = b.zeros(b.shape(value), value.dtype) if gradient is None else gradient
        if (
            result.producer() is None
            or result in graph.outputs
            or any(result is v for v in graph.inputs)
        ):
            result = b.Identity(result)
        result.name = name
        if value.shape is not None:
            result.shape = value.shape.copy()
        graph.outputs.append(result)

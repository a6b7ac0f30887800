"""`cond`, `while_loop` and `scan`: Python when run eagerly, If, Loop and Scan in a graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from toolkit._tensor.base import TensorBase, wrap
from toolkit._tensor.state import STATE
from toolkit.errors import InvalidArgumentError, UnsupportedOperatorError
from toolkit.func.pytree import Spec, flatten, unflatten

if TYPE_CHECKING:
    import onnx_ir as ir

    from toolkit.graph.trace import Recorder


def cond(
    pred: Any, true_fn: Callable[..., Any], false_fn: Callable[..., Any], operands: Any = ()
) -> Any:
    """`true_fn(*operands)` where `pred` holds, else `false_fn(*operands)`.

    Args:
        pred: a bool, or a tensor of one element.
        true_fn: gives a tree of tensors.
        false_fn: gives one of the same structure, element types and ranks.
        operands: a tuple or list of trees of tensors. Functions may read other tensors, too.

    Raises:
        InvalidArgumentError: the results of the two do not match, or a function writes to a tensor
            from outside.
    """
    if not isinstance(operands, (tuple, list)):
        raise InvalidArgumentError(
            f"cond: a tuple or list of operands is required, got {type(operands).__name__}."
        )
    if not _is_symbolic(pred):
        return true_fn(*operands) if bool(pred) else false_fn(*operands)
    trace = STATE.trace
    if pred.numel() != 1:
        raise InvalidArgumentError(
            f"cond: a pred of one element is required, got the shape {list(pred.shape)}."
        )
    condition = trace.convert(pred.reshape(()).bool())
    leaves, spec = flatten(tuple(operands))
    bodies = [
        _Body("cond", lambda x: true_fn(*x), leaves, spec),
        _Body("cond", lambda x: false_fn(*x), leaves, spec),
    ]
    _require_same("cond: results of true_fn and false_fn", bodies[0], bodies[1])
    graphs = {
        "then_branch": bodies[0].graph([], bodies[0].outputs),
        "else_branch": bodies[1].graph([], bodies[1].outputs),
    }
    made = _node("If", [condition], graphs, {}, len(bodies[0].outputs))
    return unflatten(map(wrap, made), bodies[0].result)


def while_loop(
    cond_fn: Callable[..., Any], body_fn: Callable[..., Any], carried_inputs: Any
) -> Any:
    """Calls `body_fn(*carried)` as long as `cond_fn(*carried)` holds; the last carried values.

    Args:
        cond_fn: gives a bool, or a tensor of one element.
        body_fn: gives the next carried values, of the same structure, element types and shapes.
        carried_inputs: a tuple or list of trees of tensors and numbers.

    Raises:
        InvalidArgumentError: the body's results do not match what it was given.
    """
    if not isinstance(carried_inputs, (tuple, list)):
        raise InvalidArgumentError(
            "while_loop: a tuple or list of carried inputs is required, got "
            f"{type(carried_inputs).__name__}."
        )
    if STATE.trace is None:
        carried: Any = tuple(carried_inputs)
        while bool(cond_fn(*carried)):
            carried = _as_tuple(body_fn(*carried))
        return carried
    trace = STATE.trace
    leaves, spec = flatten(tuple(carried_inputs))
    tensors = [_tensor(x) for x in leaves]
    first = trace.convert(_holds(cond_fn(*unflatten(tensors, spec))))

    def step(carried: Any) -> Any:
        made = _as_tuple(body_fn(*carried))
        return _holds(cond_fn(*made)), made

    values = [trace.convert(t) for t in tensors]
    body = _Body("while_loop", step, tensors, spec, formal=True, draws=False)
    _require_carried("while_loop: carried values", body, values, spec, 1)
    numbers = [_formal("iteration", 7, ()), _formal("keep", 9, ())]
    graph = body.graph([*numbers, *body.formals], body.outputs)
    made = _node("Loop", [None, first, *values], {"body": graph}, {}, len(values))
    return unflatten(map(wrap, made), spec)


def scan(
    combine_fn: Callable[[Any, Any], tuple[Any, Any]], init: Any, xs: Any, *, dim: int = 0,
    reverse: bool = False,
) -> tuple[Any, Any]:  # fmt: skip
    """Goes through slices of `xs`: `carry, y = combine_fn(carry, x)`.

    Args:
        combine_fn: its carry is like `init`; y is a tree of tensors.
        init: a tree of tensors, the first carry.
        xs: a tree of tensors of equal size at `dim`.
        dim: of `xs`.
        reverse: from the last slice to the first.

    Returns:
        The last carry, and the ys, stacked along `dim` in the order of `xs`.

    Raises:
        InvalidArgumentError: there are no `xs`, their sizes differ, or the carry changes its form.
    """
    states, states_spec = flatten(init)
    items, items_spec = flatten(xs)
    if not items or not all(isinstance(x, TensorBase) for x in [*states, *items]):
        raise InvalidArgumentError("scan: tensors are required as init and xs, got something else.")
    if any(not -x.dim() <= dim < x.dim() for x in items):
        raise InvalidArgumentError(f"scan: xs that have a dimension {dim} are required.")
    if len({str(x.shape[dim]) for x in items}) > 1:
        sizes = [x.shape[dim] for x in items]
        raise InvalidArgumentError(f"scan: xs of equal size at {dim} are required, got {sizes}.")
    dim %= items[0].dim()
    if STATE.trace is None:
        return _scan_eagerly(combine_fn, init, items, items_spec, dim, reverse)
    trace = STATE.trace
    given = [trace.convert(t) for t in states]
    scanned = [trace.convert(x.movedim(dim, 0) if dim else x) for x in items]
    both = Spec(tuple, (), (states_spec, items_spec))

    def step(pair: Any) -> Any:
        made = combine_fn(*pair)
        if not isinstance(made, tuple) or len(made) != 2:
            raise InvalidArgumentError("scan: (carry, y) is required as combine_fn's result.")
        return made[1], made[0]

    body = _Body("scan", step, [*states, *items], both, formal=True, draws=False, slices=scanned)
    ys_spec = body.result.children[0]
    count = ys_spec.leaves
    _require_carried("scan: the carry", body, given, states_spec, count)
    graph = body.graph(body.formals, [*body.outputs[count:], *body.outputs[:count]])
    attributes = {
        "num_scan_inputs": len(items),
        "scan_input_directions": [int(reverse)] * len(items),
        "scan_output_directions": [int(reverse)] * count,
    }
    made = list(map(wrap, _node("Scan", [*given, *scanned], {"body": graph}, attributes,
                                len(given) + count)))  # fmt: skip
    ys = [y.movedim(0, dim) if dim else y for y in made[len(given) :]]
    return unflatten(made[: len(given)], states_spec), unflatten(ys, ys_spec)


def _scan_eagerly(
    combine_fn: Any, init: Any, items: list[Any], spec: Spec, dim: int, reverse: bool
) -> tuple[Any, Any]:
    from toolkit._tensor.functions import find

    size = items[0].shape[dim]
    if not size:
        raise InvalidArgumentError("scan: at least one slice is required, got xs of size 0.")
    carry, ys, ys_spec = init, [], None
    for i in reversed(range(size)) if reverse else range(size):
        carry, y = combine_fn(carry, unflatten([x.select(dim, i) for x in items], spec))
        leaves, ys_spec = flatten(y)
        ys.append(leaves)
    if reverse:
        ys.reverse()
    assert ys_spec is not None
    return carry, unflatten([find("stack")(list(c), dim) for c in zip(*ys, strict=True)], ys_spec)


class _Body:
    """A function recorded in a graph of its own.

    Attributes:
        formals: the graph's inputs; none where it reads the operands from outside.
        outputs: its results.
        result: their structure.
    """

    def __init__(
        self, where: str, function: Callable[[Any], Any], leaves: Sequence[Any], spec: Spec,
        formal: bool = False, draws: bool = True, slices: Sequence[Any] = (),
    ) -> None:  # fmt: skip
        trace = STATE.trace
        values = [trace.convert(x) if isinstance(x, TensorBase) else None for x in leaves]
        first = len(leaves) - len(slices)
        written, drawn = set(trace._saved), dict(trace._draws)
        with trace.region() as region:
            self.formals: list[ir.Value] = []
            given: list[Any] = []
            for i, (x, value) in enumerate(zip(leaves, values, strict=True)):
                if value is None:
                    given.append(x)
                    continue
                if formal:
                    dims = (value if i < first else slices[i - first]).shape.dims
                    value = _formal("carried", value.dtype, dims[i >= first :])
                    self.formals.append(value)
                given.append(wrap(value))
            before = [g._value if isinstance(g, TensorBase) else None for g in given]
            results, self.result = flatten(function(unflatten(given, spec)))
            self.outputs = [_output(where, y) for y in results]
            after = [g._value if isinstance(g, TensorBase) else None for g in given]
        if set(trace._saved) != written or any(
            a is not b for a, b in zip(before, after, strict=True)
        ):
            raise InvalidArgumentError(
                f"{where}: functions that write to no tensor from outside are required, got an "
                "in-place operation. Return the new value."
            )
        if not draws and trace._draws != drawn:
            raise UnsupportedOperatorError(
                f"{where}: a body without random numbers is required: each turn would draw the "
                "same. Draw them before, and read them in the body."
            )
        self._graph: ir.Graph = region.graph

    def graph(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> ir.Graph:
        """The graph, with these inputs and outputs."""
        self._graph.inputs.clear()
        self._graph.inputs.extend(inputs)
        self._graph.outputs.extend(outputs)
        return self._graph


def _formal(stem: str, code: Any, dims: Sequence[Any]) -> ir.Value:
    """A value that becomes an input of a body."""
    import onnx_ir as ir

    name: str = STATE.trace.recorder.fresh(stem)
    return ir.Value(name=name, type=ir.TensorType(ir.DataType(int(code))), shape=ir.Shape(dims))


def _output(where: str, y: Any) -> Any:
    """A result of a body, computed by a node of its own."""
    if not isinstance(y, (TensorBase, bool, int, float)):
        raise InvalidArgumentError(
            f"{where}: functions that give tensors are required, got {type(y).__name__}."
        )
    trace = STATE.trace
    return trace.recorder.add("Identity", "", [trace.convert(_tensor(y))], {}, 1)[0]


def _node(
    op_type: str, inputs: Sequence[Any], graphs: dict[str, Any], attributes: dict[str, Any],
    count: int,
) -> Sequence[Any]:  # fmt: skip
    """The outputs of a node that holds graphs, at the end of the graph that records."""
    import onnx_ir as ir

    from toolkit.graph.trace import attributes_of

    made = [ir.AttrGraph(name, graph) for name, graph in graphs.items()]
    made += attributes_of("", op_type, attributes)
    recorder: Recorder = STATE.trace.recorder
    return recorder.add_graphs(op_type, inputs, made, count, stop=not STATE.grad)


def _is_symbolic(x: Any) -> bool:
    return STATE.trace is not None and isinstance(x, TensorBase) and not STATE.trace._is_constant(x)


def _tensor(x: Any) -> Any:
    from toolkit._tensor.factories import as_tensor

    return x if isinstance(x, TensorBase) else as_tensor(x)


def _holds(x: Any) -> Any:
    """A condition as a bool of no dimension."""
    return _tensor(x).reshape(()).bool()


def _as_tuple(x: Any) -> tuple[Any, ...]:
    return tuple(x) if isinstance(x, (tuple, list)) else (x,)


def _form(v: Any) -> tuple[int, list[Any]]:
    return int(v.dtype), [d if isinstance(d, int) else str(d) for d in v.shape.dims]


def _require_same(what: str, a: _Body, b: _Body) -> None:
    forms = [[_form(v) for v in body.outputs] for body in (a, b)]
    ranks = [[(code, len(dims)) for code, dims in form] for form in forms]
    if a.result != b.result or ranks[0] != ranks[1]:
        raise InvalidArgumentError(
            f"{what} of the same structure, types and ranks are required, got {a.result} with "
            f"{forms[0]} and {b.result} with {forms[1]}."
        )


def _require_carried(what: str, body: _Body, values: Sequence[Any], spec: Spec, skip: int) -> None:
    forms = [_form(v) for v in body.outputs[skip:]]
    given = [_form(v) for v in values]
    if body.result.children[1] != spec or forms != given:
        raise InvalidArgumentError(
            f"{what} must keep structure, types and shapes: {spec} with {given} is required, got "
            f"{body.result.children[1]} with {forms}."
        )

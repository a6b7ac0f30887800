"""Functions that run as one graph when they are called eagerly.

`staged(f, args, about)` traces f, unless all that f is made of is as it was at an earlier call
(`fingerprint`); a graph of a structure seen before runs the program compiled then. The call is one
record on the tape (`graphed`).
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from toolkit import random
from toolkit._tensor import autocast, promote
from toolkit._tensor.base import TensorBase
from toolkit._tensor.inplace import assign, put_value
from toolkit._tensor.state import STATE
from toolkit.func.fingerprint import fingerprint
from toolkit.func.graphed import Graphed, run
from toolkit.func.pytree import LEAF, Spec, flatten, unflatten

if TYPE_CHECKING:
    import onnx_ir as ir

_LIMIT = 256
_graphs: OrderedDict[Any, Graphed] = OrderedDict()
_traced: OrderedDict[Any, Traced] = OrderedDict()


class CacheInfo(NamedTuple):
    """Counters of the programs that transformed functions run."""

    traces: int
    misses: int
    size: int


_traces = _misses = 0


def cache_info() -> CacheInfo:
    """How often a function was traced, and how often its graph was one not compiled before."""
    return CacheInfo(_traces, _misses, len(_graphs))


def cache_clear() -> None:
    """Forgets the traced functions, the compiled programs and the counts."""
    global _traces, _misses
    _graphs.clear()
    _traced.clear()
    _traces = _misses = 0


class Traced(NamedTuple):
    """A function as a graph, with what it reads and writes besides its arguments."""

    graphed: Graphed
    captured: list[Any]  # Tensors whose values are inputs, after the arguments.
    mutated: list[Any]  # Tensors from outside that were written to.
    written: list[int]  # Arguments that were written to.
    results: list[Any]  # The leaves of the result, for those that are no tensors.
    spec: Spec  # Its structure.
    kept: list[Any]  # Objects whose identity is in the key.
    looked_at: str = ""  # The user's line that read the value of a tensor from outside.
    plain: bool = False  # The result is one tensor, and nothing is written to.


def staged(f: Callable[..., Any], args: tuple[Any, ...], about: Any) -> Any:
    """`f(*args)` as one graph: in the trace that records, or in one of its own that runs at once.

    Args:
        f: takes and returns trees of tensors; other leaves are constants.
        args: its arguments.
        about: functions and settings that `f` is made of. While they, and what they close over, are
            the same, `f` is not traced again.
    """
    if STATE.trace is not None:
        return f(*args)
    leaves, spec = flatten(args)
    tensors = [x for x in leaves if isinstance(x, TensorBase)]
    rest = [x for x in leaves if not isinstance(x, TensorBase)]
    known = fingerprint((about, rest))
    key = None
    if known is not None:
        signature = tuple((t._get().dtype, tuple(t._value.shape)) for t in tensors)
        places = tuple(isinstance(x, TensorBase) for x in leaves)
        key = known[0], spec, signature, places, STATE.grad, promote.default_code, autocast.key()
    traced = None if key is None else _traced.get(key)
    if traced is None:
        traced, repeats = trace_call(f, leaves, spec, tensors, known[1] if known else [])
        if key is not None and repeats:
            _traced[key] = traced
            if len(_traced) > _LIMIT:
                _traced.popitem(last=False)
    else:
        _traced.move_to_end(key)
    return execute(traced, tensors)


def execute(traced: Traced, tensors: Sequence[Any]) -> Any:
    """Runs a traced function on other tensors, and makes its writes."""
    outputs = run(traced.graphed, [*tensors, *traced.captured])
    if traced.plain:
        return outputs[0]
    made = iter(outputs)
    results = [next(made) if isinstance(y, TensorBase) else y for y in traced.results]
    for tensor in traced.mutated:
        put_value(tensor, next(made))
    for i in traced.written:
        assign(tensors[i], next(made))
    return unflatten(results, traced.spec)


def trace_call(
    f: Callable[..., Any],
    leaves: list[Any],
    spec: Spec,
    tensors: list[Any],
    kept: list[Any],
    shapes: Sequence[Any] | None = None,
) -> tuple[Traced, bool]:
    """A function as a graph, and whether the same key will always mean that graph.

    Args:
        f: takes and returns trees of tensors.
        leaves: its arguments, tensors among them.
        spec: their structure.
        tensors: the tensors among the leaves.
        kept: objects whose identity is in the key.
        shapes: of the tensors, where sizes are symbols; None: as they are.
    """
    from toolkit.tracing import Trace

    global _traces
    _traces += 1
    with Trace("func") as trace:
        sizes = [tuple(t.shape) for t in tensors] if shapes is None else shapes
        inputs = [trace.input(f"x{i}", t.dtype, sizes[i]) for i, t in enumerate(tensors)]
        formals = [x._value for x in inputs]
        symbols = iter(inputs)
        given = [next(symbols) if isinstance(x, TensorBase) else x for x in leaves]
        results, out_spec = flatten(f(*unflatten(given, spec)))
        outputs = [
            trace.recorder.add("Identity", "", [trace.convert(y)], {}, 1)[0]
            for y in results
            if isinstance(y, TensorBase)
        ]
    captured = list(trace.captured())
    mutated = list(trace.mutations.values())
    written = [i for i, v in enumerate(formals) if inputs[i]._value is not v]
    graphed = _compiled(
        trace.graph,
        [*formals, *(v for _, v in captured)],
        [*outputs, *(v for _, v in mutated), *(inputs[i]._value for i in written)],
    )
    plain = len(outputs) == 1 and out_spec == LEAF and not mutated and not written
    found = Traced(
        graphed, [t for t, _ in captured], [t for t, _ in mutated], written, results, out_spec,
        kept, trace.looked_at, plain,
    )  # fmt: skip
    seen = {id(random.default_generator.state)}
    for x in kept:
        if isinstance(x, TensorBase):
            seen |= {id(x), id(x._root())}
    repeats = not trace.looked and all(id(t) in seen for t in found.captured)
    return found, repeats


def _compiled(graph: ir.Graph, inputs: Sequence[ir.Value], outputs: Sequence[ir.Value]) -> Graphed:
    """The function of a graph, or of one traced before that has the same structure."""
    global _misses
    key = structure(inputs, outputs)
    found = _graphs.get(key)
    if found is None:
        _misses += 1
        found = _graphs[key] = Graphed(graph, inputs, outputs)
        if len(_graphs) > _LIMIT:
            _graphs.popitem(last=False)
    else:
        _graphs.move_to_end(key)
    return found


def structure(inputs: Sequence[ir.Value], outputs: Sequence[ir.Value]) -> Any:
    """What two graphs have in common that compute the same: a key of the cache."""
    from toolkit.runtime.lowering import needed_nodes

    numbers: dict[Any, int] = {}
    parts: list[Any] = [_formals(inputs, numbers)]
    nodes = needed_nodes(outputs, numbers)
    parts.append(_nodes(nodes, numbers))
    parts.append(tuple(_number(v, numbers) for v in outputs))
    return tuple(parts)


def _formals(values: Sequence[ir.Value], numbers: dict[Any, int]) -> Any:
    parts = []
    for value in values:
        numbers[value] = len(numbers)
        shape = None if value.shape is None else tuple(map(str, value.shape.dims))
        parts.append((value.dtype, shape))
    return tuple(parts)


def _nodes(nodes: Any, numbers: dict[Any, int]) -> Any:
    from toolkit.autodiff.recompute import CHECKPOINT

    parts = []
    for node in nodes:
        attributes = tuple(
            (name, _attribute(node.attributes[name], numbers)) for name in sorted(node.attributes)
        )
        parts.append(
            (
                node.domain, node.op_type, attributes, bool(node.meta.get("stop_gradient")),
                len(node.meta.get(CHECKPOINT, ())),
                tuple(None if v is None else _number(v, numbers) for v in node.inputs),
                tuple(v.name == "" for v in node.outputs),
            )
        )  # fmt: skip
        for value in node.outputs:
            numbers[value] = len(numbers)
    return tuple(parts)


def _number(value: ir.Value, numbers: dict[Any, int]) -> Any:
    found = numbers.get(value)
    if found is not None:
        return found
    return _contents(value.const_value)


def _attribute(attribute: Any, numbers: dict[Any, int]) -> Any:
    import onnx_ir as ir

    if attribute.type == ir.AttributeType.GRAPH:
        graph = attribute.as_graph()
        inner = dict(numbers)
        formals = _formals([*graph.inputs, *graph.initializers.values()], inner)
        constants = tuple(_contents(v.const_value) for v in graph.initializers.values())
        body = _nodes(graph, inner)
        return formals, constants, body, tuple(_number(v, inner) for v in graph.outputs)
    if attribute.type == ir.AttributeType.TENSOR:
        return _contents(attribute.value)
    value = attribute.value
    return attribute.type, tuple(value) if isinstance(value, (list, tuple)) else value


def _contents(tensor: Any) -> Any:
    """Type, shape and bytes of a constant."""
    if tensor is None:
        return None
    array = tensor.numpy()
    data = array.tobytes()
    if len(data) > 256:
        data = hashlib.blake2b(data, digest_size=16).digest()
    return tensor.dtype, array.shape, data

"""Parts of a `GraphModule` that run as one program: If, Loop and Scan, quantization."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from toolkit._tensor.base import wrap
from toolkit._tensor.function import Function
from toolkit._tensor.inplace import POISONED
from toolkit._tensor.state import STATE
from toolkit.errors import InvalidArgumentError, UnsupportedOperatorError
from toolkit.ops.control_flow import append

if TYPE_CHECKING:
    import onnx_ir as ir

    from toolkit.graph.trace import Recorder

    Build = Callable[[Recorder, Sequence[ir.Value]], Sequence[ir.Value | None]]

_MAX_PROGRAMS = 64


def control_flow_step(node: ir.Node) -> Callable[[dict[Any, Any]], None]:
    """Such a node as a function of the environment: traced, or run as a program of its own."""
    return region_step([node])


def region_step(nodes: Sequence[ir.Node]) -> Callable[[dict[Any, Any]], None]:
    """Nodes, one behind the other, as one function that gives the outputs of the last."""
    from toolkit.graph.subgraphs import reads

    made = {v for node in nodes[:-1] for v in node.outputs}
    read = dict.fromkeys(v for node in nodes for v in reads(node))
    sources = [v for v in read if v not in made]
    last = nodes[-1]
    outputs = list(last.outputs)

    def record(recorder: Recorder, values: dict[ir.Value, ir.Value]) -> Sequence[ir.Value]:
        for node in nodes:
            found = append(recorder, node, values)
            values.update(zip(node.outputs, found, strict=True))
        return found

    def build(recorder: Recorder, formal: Sequence[ir.Value]) -> Sequence[ir.Value | None]:
        return list(record(recorder, dict(zip(sources, formal, strict=True))))

    cell = _Cell(last.op_type, build, sources)

    def run(env: dict[Any, Any]) -> None:
        tensors = [env[v] for v in sources]
        trace = STATE.trace
        if trace is None:
            results = _run(last, sources, tensors, cell)
        else:
            values = dict(zip(sources, (trace.convert(t) for t in tensors), strict=True))
            results = record(trace.recorder, values)
            if not STATE.grad:
                results[0].producer().meta["stop_gradient"] = True  # type: ignore[union-attr]
            results = [wrap(v) for v in results]
        env.update(zip(outputs, results, strict=True))

    return run


def _run(node: ir.Node, sources: Sequence[ir.Value], tensors: Sequence[Any], cell: _Cell) -> Any:
    if not (STATE.grad and any(t.requires_grad for t in tensors)):
        return [wrap(v) for v in cell.run([t._get() for t in tensors])]
    if any(_is_no_tensor(v) for v in (*sources, *node.outputs)):
        raise UnsupportedOperatorError(
            f"{node.op_type} '{node.name}': a compiled step is required to differentiate control "
            "flow of sequences, got an eager call. Use TrainStep to train, or no_grad() to run."
        )
    return _Differentiable.apply(cell, *tensors)


def _is_no_tensor(value: ir.Value) -> bool:
    import onnx_ir as ir

    return isinstance(value.type, (ir.SequenceType, ir.OptionalType))


class _Cell:
    """A function of tensors as a graph: compiled for each signature of inputs it meets.

    Args:
        name: of its graphs.
        build: writes the graph and gives its outputs; one that is None has no value.
        like: values of the types of the inputs, where they may be no tensors.
    """

    def __init__(self, name: str, build: Build, like: Sequence[ir.Value] = ()) -> None:
        self.name = name
        self.build = build
        self.like = like
        self.programs: dict[Any, tuple[Any, list[bool]]] = {}
        self.gradients: dict[Any, _Cell] = {}

    def run(self, given: Sequence[Any]) -> list[Any]:
        """The native outputs for native inputs."""
        from toolkit.graph.trace import Recorder
        from toolkit.runtime.lowering import lower

        key = tuple((t.dtype, tuple(t.shape)) for t in given)
        if key not in self.programs:
            recorder = Recorder(self.name)
            formal = [self._input(recorder, i, t) for i, t in enumerate(given)]
            results = self.build(recorder, formal)
            if len(self.programs) >= _MAX_PROGRAMS:
                self.programs.clear()
            program = lower(inputs=formal, outputs=[v for v in results if v is not None])
            self.programs[key] = program, [v is not None for v in results]
        program, made = self.programs[key]
        values = iter(program.run(given))
        return [next(values) if there else None for there in made]

    def _input(self, recorder: Recorder, i: int, given: Any) -> ir.Value:
        like = self.like[i] if i < len(self.like) else None
        if like is None or not _is_no_tensor(like):
            return recorder.input(f"x{i}", given.dtype, given.shape)
        import onnx_ir as ir

        value = ir.Value(name=f"x{i}", type=like.type)
        recorder.graph.inputs.append(value)
        return value

    def gradient(self, needs: tuple[int, ...], arriving: tuple[int, ...]) -> _Cell:
        """The function of the inputs and the cotangents of some outputs to those of some inputs."""

        def build(recorder: Recorder, formal: Sequence[ir.Value]) -> Sequence[ir.Value | None]:
            from toolkit.autodiff import gradients

            count = len(formal) - len(arriving)
            made = self.build(recorder, formal[:count])
            pairs = [(made[i], ct) for i, ct in zip(arriving, formal[count:], strict=True)]
            outputs = [v for v, _ in pairs if v is not None]
            cotangents = [ct for v, ct in pairs if v is not None]
            found = gradients(recorder.graph, outputs, cotangents, [formal[i] for i in needs])
            _require_no_draws(recorder)
            return found

        found = self.gradients.get((needs, arriving))
        if found is None:
            found = self.gradients[needs, arriving] = _Cell(self.name, build)
        return found


def _require_no_draws(recorder: Recorder) -> None:
    """The gradient runs the forward pass again: it must not draw other numbers."""
    from toolkit.autodiff.rules._draws import draws

    if any(draws(node) for node in recorder.graph.all_nodes()):
        raise UnsupportedOperatorError(
            "Control flow without random numbers is required to differentiate a loaded model "
            "eagerly, got a body that draws them. Use TrainStep, or ops.If, ops.Loop, ops.Scan."
        )


class _Differentiable(Function):
    """A cell on the tape; its gradient is a cell too, so there are derivatives of any order."""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> Any:
        cell, *tensors = args
        ctx.cell = cell
        ctx.save_for_backward(*map(_as_it_is, tensors))
        ctx.set_materialize_grads(False)
        found = cell.run([t._get() for t in tensors])
        return tuple(None if v is None else wrap(v) for v in found)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        needs = tuple(i for i, need in enumerate(ctx.needs_input_grad[1:]) if need)
        arriving = tuple(i for i, g in enumerate(grads) if g is not None)
        cell = ctx.cell.gradient(needs, arriving)
        saved = ctx.saved_tensors
        for t in saved:
            if POISONED and id(t._value) in POISONED:
                raise InvalidArgumentError(
                    "one of the variables needed for gradient computation has been modified by an "
                    f"inplace operation: [toolkit tensor {list(t.shape)}], which is an input of "
                    f"{ctx.cell.name}. Its memory is shared with numpy or DLPack; clone() it "
                    "before the write."
                )
        tensors = *saved, *(grads[i] for i in arriving)
        if STATE.grad and any(t.requires_grad for t in tensors):
            found = _Differentiable.apply(cell, *tensors)
        else:
            found = [None if v is None else wrap(v) for v in cell.run([t._get() for t in tensors])]
        results: list[Any] = [None] * len(ctx.needs_input_grad)
        for i, value in zip(needs, found, strict=True):
            results[i + 1] = value
        return tuple(results)


def _as_it_is(tensor: Any) -> Any:
    """The tensor with the value it has now, at its place on the tape."""
    alias: Any = wrap(tensor._get())
    alias._node, alias._out = tensor._node, tensor._out
    return alias

"""An optimizer step over several parameters as one native program that works in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit._tensor.initial import initial_of, note
from toolkit._tensor.writes import WRITES
from toolkit.runtime import _core
from toolkit.tensor import Tensor

if TYPE_CHECKING:
    from toolkit.optim.optimizer import Optimizer

_ABSENT = -1  # The core's slot number of an input that is not given.


def own_memory(tensor: Tensor) -> None:
    """Makes a tensor the owner of its memory, so that it can be written in place.

    A plain tensor's value may be held by other tensors: it takes a copy, once.
    """
    if not tensor._shared or tensor._base is not None:
        tensor._value = tensor._concrete("step").clone()
        tensor._base = tensor._view = None
        tensor._shared = True
        tensor._version += 1


class StepProgram:
    """The operators of one group's step, bound to the memory of its parameters and states.

    Args:
        optimizer: says which operator, and how its inputs are ordered.
        group: its options.
        params: the parameters.
        states: each parameter's states by name.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        group: dict[str, Any],
        params: Sequence[Tensor],
        states: Sequence[dict[str, Tensor]],
    ) -> None:
        self._params = list(params)
        self._states = list(states)
        self._settings = _settings(optimizer, group)
        self._addresses = _addresses(params, states)
        self._lr, self._step = np.zeros((), np.float64), np.zeros((), np.int64)
        self._scalars = [_core.Tensor.from_array(self._lr), _core.Tensor.from_array(self._step)]
        kernel = _core.has_kernel("toolkit.optim", optimizer.op_type)
        build = _of_kernels if kernel else _of_bodies
        self._program = build(optimizer, group, self._params, self._states)

    def fits(
        self,
        optimizer: Optimizer,
        group: dict[str, Any],
        params: Sequence[Tensor],
        states: Sequence[dict[str, Tensor]],
    ) -> bool:
        """Whether it was built for just these, and their memory is where it was."""
        return (
            len(params) == len(self._params)
            and _settings(optimizer, group) == self._settings
            and _addresses(params, states) == self._addresses
        )

    def run(self, grads: Sequence[Tensor], lr: float, step: int) -> None:
        """Does one step; `step` is 1 at the first."""
        self._lr[...] = lr
        self._step[...] = step
        self._program.run([*self._scalars, *(g._get() for g in grads)])
        WRITES.note(*[p._value for p in self._params])
        for tensor in self._params:
            _renew(tensor)


def _settings(optimizer: Optimizer, group: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    return optimizer.attributes(group), bool(group.get("maximize", False))


def _of_kernels(
    optimizer: Optimizer,
    group: dict[str, Any],
    params: Sequence[Tensor],
    states: Sequence[dict[str, Tensor]],
) -> _core.Program:
    """The kernels one after the other, without a graph."""
    program = _core.Program()
    lr, step = program.add_input("lr"), program.add_input("step")
    for i, (p, state) in enumerate(zip(params, states, strict=True)):
        grad = program.add_input(f"grad.{i}")
        if group.get("maximize", False):
            descent = program.add_slot()
            program.add_node("", "Neg", f"neg.{i}", {}, [grad], [descent])
            grad = descent
        param = program.add_state(p._value)
        slots = {name: program.add_state(t._value) for name, t in state.items()}
        inputs = optimizer.arrange(param, grad, slots, lr, step)
        outputs = [program.add_slot() for _ in range(1 + len(slots))]
        program.add_node(
            "toolkit.optim",
            optimizer.op_type,
            f"step.{i}",
            optimizer.attributes_for(group, p.shape),
            [_ABSENT if s is None else s for s in inputs],
            outputs,
        )
        for state_slot, value in zip([param, *slots.values()], outputs, strict=True):
            program.add_update(state_slot, value)
    program.finalize()
    return program


def _of_bodies(
    optimizer: Optimizer,
    group: dict[str, Any],
    params: Sequence[Tensor],
    states: Sequence[dict[str, Tensor]],
) -> _core.Program:
    """The graph that a training step would hold, compiled: of operators without a kernel."""
    import onnx_ir as ir

    from toolkit.graph.build import Builder
    from toolkit.runtime.lowering import lower

    def value(name: str, native: _core.Tensor) -> ir.Value:
        kind = ir.TensorType(ir.DataType(native.dtype))
        return ir.Value(name=name, type=kind, shape=ir.Shape(native.shape))

    b = Builder(ir.Graph([], [], nodes=[], opset_imports={"": 28}))
    lr = ir.Value(name="lr", type=ir.TensorType(ir.DataType.DOUBLE), shape=ir.Shape([]))
    step = ir.Value(name="step", type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape([]))
    grads, memory, updates = [], {}, {}
    for i, (p, state) in enumerate(zip(params, states, strict=True)):
        param, grad = (value(f"{name}.{i}", p._value) for name in ("param", "grad"))
        own = {name: value(f"{name}.{i}", t._value) for name, t in state.items()}
        grads.append(grad)
        memory[param] = p._value
        memory.update({own[name]: t._value for name, t in state.items()})
        updates[param], new = optimizer.emit(b, param, grad, own, lr, step, group)
        updates.update({own[name]: v for name, v in new.items()})
    return lower([lr, step, *grads], [], states=memory, updates=updates).program


def _addresses(params: Sequence[Tensor], states: Sequence[dict[str, Tensor]]) -> list[int]:
    found = [p._value.data_ptr if p._base is None else 0 for p in params]
    for state in states:
        found += [t._value.data_ptr for t in state.values()]
    return found


def _renew(tensor: Any) -> None:
    """Another value and version, so that views are taken anew."""
    initial, value = initial_of(tensor), tensor._value
    tensor._value = value.reshaped(list(value.shape))
    tensor._version += 1
    note(tensor, initial)  # Training does not change how it began.

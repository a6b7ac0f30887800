"""The tape: a light record of each eager operation that gradients may have to pass.

A record keeps the operator, where its inputs came from, and the values themselves (immutable: an
in-place write gives a tensor a new value). It becomes ONNX nodes only when no compiled gradient
program for the same structure is known; see `toolkit._tensor.backward`.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, Any

from toolkit.source_lines import user_line

if TYPE_CHECKING:
    from toolkit._tensor.base import TensorBase
    from toolkit.ops.dispatch import Handle

now = count().__next__  # The tape's clock.


class Mode:
    """Anomaly detection, for all threads; see `toolkit._tensor.anomaly`."""

    anomaly = False
    check_nan = True


MODE = Mode()
Hook = Callable[["TensorBase"], "TensorBase | None"]


class Leaf:
    """The tape's end at a tensor that the user marked with `requires_grad`."""

    __slots__ = ("after", "hooks", "seq", "tensor")

    def __init__(self, tensor: TensorBase) -> None:
        self.tensor = weakref.ref(tensor)
        self.hooks: dict[int, Hook] | None = None
        self.after: dict[int, Any] | None = None  # Called when the gradient is accumulated.
        self.seq = -1


class Record:
    """One operation: `op(inputs) -> outputs`; input i is output `slots[i]` of `nodes[i]`."""

    __slots__ = ("hooks", "inputs", "label", "line", "nodes", "op", "outputs", "retain", "seq",
                 "signature", "slots", "stamp")  # fmt: skip

    def __init__(
        self, op: Handle, nodes: tuple[Any, ...], slots: tuple[int, ...], inputs: Any, outputs: Any
    ) -> None:
        self.op = op
        self.nodes = nodes  # Record, Leaf or None (no gradient passes).
        self.slots = slots
        self.inputs = inputs  # Core tensors, `Const`s or None; None altogether once freed.
        self.outputs = outputs
        self.seq = self.stamp = now()  # The stamp: when its values were taken.
        self.signature: Any = None  # Its part of the structure key, kept when the values are freed.
        self.hooks: dict[int, dict[int, Hook]] | None = None  # By output.
        self.retain: dict[int, Any] | None = None  # Tensors (weakly) that asked for retain_grad.
        self.label: str | None = None
        if MODE.anomaly:
            self.line = user_line()

    @property
    def freed(self) -> bool:
        return self.inputs is None

    def free(self) -> None:
        """Drops the values; the structure stays."""
        self.inputs = self.outputs = None

    def name(self) -> str:
        """PyTorch's name of the function, as `grad_fn` prints it."""
        name = self.label or _NAMES.get(self.op.op_type, self.op.op_type)
        return f"{name[:-1]}Backward1" if name[-1] == "1" else f"{name}Backward0"

    def __repr__(self) -> str:
        return f"<{self.name()} object at {id(self):#x}>"

    @property
    def next_functions(self) -> tuple[tuple[Any, int], ...]:
        """The records of the inputs, as PyTorch's `grad_fn.next_functions`."""
        return tuple(zip(self.nodes, self.slots, strict=True))


def renewed(old: Any, new: Any) -> bool:
    """Whether both are records of the same operations; then the values of `new` go to `old`.

    Records that were freed stay so.
    """
    if type(old) is not Record or type(new) is not Record or old.freed:
        return False
    if old.op is not new.op or old.slots != new.slots:
        return False
    if not all(a is b or renewed(a, b) for a, b in zip(old.nodes, new.nodes, strict=True)):
        return False
    old.inputs, old.outputs, old.signature = new.inputs, new.outputs, None
    old.stamp = new.stamp
    return True


class FunctionRecord(Record):
    """A custom `autograd.Function`: its own `backward` is called instead of a rule."""

    __slots__ = ("function",)
    function: type[Any]

    def name(self) -> str:
        return f"{self.function.__name__}Backward"

    def backward(self, cotangents: list[Any]) -> list[tuple[Any, Any]]:
        """(edge, gradient) of the inputs that need one."""
        raise NotImplementedError


_NAMES = {
    "Reshape": "View", "Transpose": "Permute", "ReduceSum": "Sum", "ReduceMean": "Mean",
    "ReduceMax": "Amax", "ReduceMin": "Amin", "ReduceProd": "Prod", "MatMul": "Mm",
    "Gemm": "Addmm", "Conv": "Convolution", "Identity": "Clone", "Cast": "ToCopy",
    "Concat": "Cat", "Clip": "Clamp", "Gather": "IndexSelect", "GatherElements": "Gather",
    "GatherND": "Index", "ScatterND": "IndexPut", "ScatterElements": "Scatter", "Trilu": "Tril",
    "ReduceLogSumExp": "Logsumexp", "ReduceL2": "LinalgVectorNorm", "CumSum": "Cumsum",
    "MaxPool": "MaxPool2DWithIndices", "AveragePool": "AvgPool2D",
    "BatchNormTraining": "NativeBatchNorm", "BatchNormalization": "NativeBatchNorm",
    "LayerNormalization": "NativeLayerNorm", "Dropout": "Mul", "LeakyRelu": "LeakyRelu",
    "SoftmaxCrossEntropyLoss": "NllLoss", "NegativeLogLikelihoodLoss": "NllLoss", "Max": "Maximum",
    "Min": "Minimum",
}  # fmt: skip

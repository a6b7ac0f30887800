"""A module as an ONNX model: its `forward` is run once on symbolic tensors."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from toolkit.errors import InvalidArgumentError

if TYPE_CHECKING:
    import onnx_ir as ir

    from toolkit.nn.module import Module
    from toolkit.tensor import Tensor
    from toolkit.tracing import Trace

Dynamic = Mapping[str, Mapping[int, str] | Sequence[str | int | None]] | None


def export(module: Module, inputs: Any, dynamic: Dynamic = None) -> ir.Model:
    """Traces a module, in the mode it is in, into an ONNX model at the canonical opset.

    Args:
        module: parameters and buffers become initializers under their `state_dict` names.
        inputs: example inputs, a tensor or a tuple of tensors. Only shapes and dtypes matter.
        dynamic: by input name the symbolic dimensions, `{"x": {0: "batch", 2: "length"}}`. None:
            dimension 0 of every input is "batch". `{}`: all sizes are fixed.

    Raises:
        InvalidArgumentError: no example was given, or `dynamic` names no input.
    """
    from toolkit.tensor import as_tensor
    from toolkit.tracing import Trace

    if inputs is None:
        raise InvalidArgumentError(
            "save: example inputs are required, got none. Pass inputs=x, or inputs=(x, y)."
        )
    tensors = [as_tensor(x) for x in as_tuple(inputs)]
    names = input_names(module, len(tensors))
    for name in dynamic or {}:
        if name not in names:
            raise InvalidArgumentError(
                f"save: dynamic dimensions of an input among {names} are required, got '{name}'."
            )
    with Trace() as trace:
        for name, tensor in (*module.named_parameters(), *module.named_buffers()):
            trace.name_tensor(tensor, name)
        symbols = [
            symbolic_input(trace, n, x, dynamic) for n, x in zip(names, tensors, strict=True)
        ]
        outputs = as_tuple(module(*symbols))
        return trace.finish(
            {"output" if i == 0 else f"output_{i}": y for i, y in enumerate(outputs)}
        )


def save(
    module: Module,
    path: str | os.PathLike[str],
    inputs: Any = None,
    dynamic: Dynamic = None,
    opset: int | None = None,
    inline: bool = False,
) -> None:
    """Exports a module in evaluation mode and writes it as `.onnx`, in one go.

    Args:
        module: as in `export`; its mode is put back afterwards.
        path: the file.
        inputs: as in `export`.
        dynamic: as in `export`.
        opset: of the file, 21 when None.
        inline: write the bodies of composite functions out flat.
    """
    from toolkit.graph.io import save_model

    was_training = module.training
    module.eval()
    try:
        model = export(module, inputs, dynamic)
    finally:
        module.train(was_training)
    save_model(model, path, opset=opset, inline=inline)


def input_names(module: Module, count: int) -> list[str]:
    """The parameter names of `forward`, as PyTorch's exporter takes them; of a file, its own."""
    from toolkit.nn.graph_module import GraphModule

    if isinstance(module, GraphModule):
        return module.input_names[:count]
    parameters = inspect.signature(module.forward).parameters.values()
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    names += [f"input_{i}" for i in range(len(names), count)]
    return names[:count]


def as_tuple(value: Any) -> tuple[Any, ...]:
    """One value or several, as a tuple."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def symbolic_input(trace: Trace, name: str, example: Tensor, dynamic: Dynamic = None) -> Tensor:
    """A graph input like the example, with its dynamic dimensions named."""
    return trace.input(name, example.dtype, symbolic_shape(name, example, dynamic))


def symbolic_shape(name: str, example: Tensor, dynamic: Dynamic) -> list[int | str]:
    """The example's shape with the dynamic dimensions named."""
    shape: list[int | str] = list(example.shape)
    if dynamic is None:
        if shape:
            shape[0] = "batch"
        return shape
    spec = dynamic.get(name, {})
    items = spec.items() if isinstance(spec, Mapping) else enumerate(spec)
    for axis, symbol in items:
        if not -len(shape) <= axis < len(shape):
            raise InvalidArgumentError(
                f"save: a dimension of '{name}' within {tuple(shape)} is required, got {axis}."
            )
        if isinstance(symbol, str):
            shape[axis] = symbol
    return shape

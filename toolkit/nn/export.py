"""A module as an ONNX model: its `forward` is run once on symbolic tensors."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from toolkit.errors import InvalidArgumentError
from toolkit.nn.export_inputs import Arguments, leaves, symbolic_shapes

if TYPE_CHECKING:
    import onnx_ir as ir

    from toolkit.nn.module import Module
    from toolkit.tensor import Tensor
    from toolkit.tracing import Trace


def export(module: Module, inputs: Any, dynamic: Any = None) -> ir.Model:
    """Traces a module, in the mode it is in, into an ONNX model at the canonical opset.

    Args:
        module: parameters and buffers become initializers under their `state_dict` names.
        inputs: example arguments of `forward`: a tensor, a tuple of arguments, or a dict of keyword
            arguments. An argument is a tensor, a number or text (a constant of the graph), or a
            tuple, list or dict of these, whose tensors are inputs "name_0" or "name_key". Only
            shapes and dtypes of tensors matter.
        dynamic: by input name the symbolic dimensions, `{"x": {0: "batch", 2: "length"}}` or
            `{"x": ["batch", None, "length"]}`; a tuple of these by position. None: dimension 0 of
            every input is "batch" (those whose size is another one have a symbol of their own).
            `{}`: all sizes are fixed.

    Raises:
        InvalidArgumentError: no example was given, `dynamic` names no input, or one symbol stands
            for two sizes.
    """
    from toolkit.tracing import Trace

    if inputs is None:
        raise InvalidArgumentError(
            "save: example inputs are required, got none. Pass inputs=x, or inputs=(x, y)."
        )
    given = _arguments(module, inputs)
    shapes = symbolic_shapes(given, dynamic)
    with Trace() as trace:
        for name, tensor in (*module.named_parameters(), *module.named_buffers()):
            trace.name_tensor(tensor, name)
        args, kwargs = given.replaced(
            {n: trace.input(n, x.dtype, shapes[n]) for n, x in given.tensors.items()}
        )
        outputs = leaves("output", module(*args, **kwargs))
        model = trace.finish(outputs)
    if trace.autocast:
        from toolkit.graph.passes.widen_bfloat16 import widen_bfloat16

        widen_bfloat16(model.graph)
    return model


def _arguments(module: Module, inputs: Any) -> Arguments:
    """The example arguments by the names that they have in `forward`."""
    if isinstance(inputs, Mapping):
        return Arguments([], dict(inputs), [])
    args = as_tuple(inputs)
    return Arguments(args, {}, input_names(module, len(args)))


def save(
    module: Module,
    path: str | os.PathLike[str],
    inputs: Any = None,
    dynamic: Any = None,
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

    modes = [(m, m.training) for m in module.modules()]
    module.eval()
    try:
        model = export(module, inputs, dynamic)
    finally:
        for m, mode in modes:
            m.training = mode
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


def symbolic_input(trace: Trace, name: str, example: Tensor) -> Tensor:
    """A graph input like the example, whose first dimension is "batch"."""
    shape = list(example.shape)
    return trace.input(name, example.dtype, ["batch", *shape[1:]] if shape else shape)

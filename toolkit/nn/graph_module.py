"""`GraphModule`: any ONNX model as a module that runs, differentiates and trains."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from toolkit.errors import InvalidArgumentError
from toolkit.nn.graph_control_flow import control_flow_step
from toolkit.nn.module import Module
from toolkit.nn.parameter import Parameter
from toolkit.ops.control_flow import has_graphs

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

    from toolkit.tensor import Tensor

_STATISTICS = {"BatchNormalization": (3, 4), "BatchNormTraining": (3, 4)}


class _Scope(Module):
    """A level of dotted initializer names."""

    def forward(self, *args: Any) -> Any:
        raise NotImplementedError


class GraphModule(Module):
    """The inference graph of a model. Float initializers are parameters under their own names.

    Running statistics of BatchNormalization and integer initializers are buffers. `forward` takes
    the graph's inputs in order and returns its output, or a tuple of them.

    Args:
        model: at the canonical opset; see `toolkit.graph.io.load_model`.
        source: the file as it was read: `save` writes it back with only the initializers changed.
    """

    def __init__(self, model: ir.Model, source: onnx.ModelProto | None = None) -> None:
        super().__init__()
        from toolkit.runtime.constants import native_of
        from toolkit.tensor import Tensor

        self._model = model
        self._source = source
        self._places: dict[str, tuple[Module, str]] = {}
        self._plan: list[Callable[[dict[Any, Any]], None]] | None = None
        statistics = _statistics(model.graph)
        inputs = {v.name for v in model.graph.inputs}
        for name, value in model.graph.initializers.items():
            if value.const_value is None or name in inputs:
                continue
            tensor = Tensor._from_native(native_of(value.const_value).clone())
            trainable = tensor.is_floating_point() and value not in statistics
            self._place(name, Parameter(tensor) if trainable else tensor)

    def _place(self, name: str, tensor: Tensor) -> None:
        """Registers a tensor under a dotted name, as nested modules hold them."""
        *scopes, leaf = name.split(".")
        if not all(scopes) or not leaf or any(hasattr(Module, part) for part in (*scopes, leaf)):
            scopes, leaf = [], name.replace(".", "_")
        owner: Module = self
        for part in scopes:
            child = owner._modules.get(part)
            if child is None:
                child = _Scope()
                owner.add_module(part, child)
            owner = child
        if isinstance(tensor, Parameter):
            owner.register_parameter(leaf, tensor)
        else:
            owner.register_buffer(leaf, tensor)
        self._places[name] = (owner, leaf)

    def tensor_of(self, name: str) -> Tensor:
        """The parameter or buffer of an initializer."""
        owner, leaf = self._places[name]
        found: Tensor = getattr(owner, leaf)
        return found

    def forward(self, *inputs: Any) -> Any:
        """Runs the graph.

        Raises:
            InvalidArgumentError: the number of inputs is not the graph's.
        """
        graph = self._model.graph
        formal = [v for v in graph.inputs if v.name not in graph.initializers]
        if len(inputs) != len(formal):
            names = [v.name for v in formal]
            raise InvalidArgumentError(
                f"GraphModule: inputs {names} are required, got {len(inputs)} values."
            )
        env: dict[Any, Any] = dict(zip(formal, inputs, strict=True))
        for name in self._places:
            env[graph.initializers[name]] = self.tensor_of(name)
        if self._plan is None:
            self._plan = [_step(node) for node in graph]
        for step in self._plan:
            step(env)
        outputs = tuple(env[v] for v in graph.outputs)
        return outputs[0] if len(outputs) == 1 else outputs

    def save(
        self,
        path: str | os.PathLike[str],
        inputs: Any = None,
        dynamic: Any = None,
        opset: int | None = None,
        inline: bool = False,
    ) -> None:
        """Writes the file it was loaded from with its initializers as they are now.

        Another opset, or a model without a file, is written from the graph.
        """
        from toolkit.graph.io import save_model, write_proto

        if self._source is not None and opset is None and not inline:
            write_proto(self._updated_source(), path)
            return
        import onnx_ir as ir

        for name in self._places:
            array = self.tensor_of(name).detach().numpy()
            self._model.graph.initializers[name].const_value = ir.tensor(array, name=name)
        save_model(self._model, path, opset=opset, inline=inline)

    def _updated_source(self) -> onnx.ModelProto:
        import numpy as np
        import onnx

        from toolkit.graph.training_info import strip

        assert self._source is not None
        proto = onnx.ModelProto()
        proto.CopyFrom(self._source)
        for i, tensor in enumerate(proto.graph.initializer):
            if tensor.name not in self._places:
                continue
            array = self.tensor_of(tensor.name).detach().numpy()
            if not np.array_equal(array, onnx.numpy_helper.to_array(tensor), equal_nan=False):
                proto.graph.initializer[i].CopyFrom(
                    onnx.numpy_helper.from_array(np.ascontiguousarray(array), tensor.name)
                )
        strip(proto)  # It described the weights as they were.
        return proto


def _statistics(graph: ir.Graph) -> set[ir.Value]:
    found = set()
    for node in graph:
        for i in _STATISTICS.get(node.op_type, ()):
            if i < len(node.inputs) and node.inputs[i] is not None:
                found.add(node.inputs[i])
    return found  # type: ignore[return-value]


def _step(node: ir.Node) -> Callable[[dict[Any, Any]], None]:
    """One node as a function of the environment."""
    from toolkit import ops
    from toolkit.runtime.constants import native_attributes, native_of
    from toolkit.tensor import Tensor

    outputs = list(node.outputs)
    if node.op_type == "Constant" and "value" in node.attributes:
        constant = Tensor._from_native(native_of(node.attributes["value"].value))

        def give(env: dict[Any, Any]) -> None:
            env[outputs[0]] = constant

        return give
    if has_graphs(node):
        return control_flow_step(node)
    attributes = native_attributes(node.attributes.values())
    count = len(outputs)

    def run(env: dict[Any, Any]) -> None:
        inputs = [None if v is None else env[v] for v in node.inputs]
        result = ops.call(node.op_type, inputs, attributes, count, node.domain)
        env.update(zip(outputs, result if count > 1 else (result,), strict=True))

    return run


def load(path: str | os.PathLike[str] | bytes) -> GraphModule:
    """Reads any `.onnx` as a module; `tk.load`.

    Args:
        path: a path or the file's bytes.

    Raises:
        InvalidModelError: it is no valid model.
    """
    from toolkit.graph.io import load_with_source
    from toolkit.graph.passes import inline_functions

    model, proto = load_with_source(path)
    inline_functions(model)
    module = GraphModule(model, proto)
    module.eval()
    return module

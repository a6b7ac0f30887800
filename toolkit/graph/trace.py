"""Records an ONNX graph node by node: names by scope, types and shapes inferred as it grows.

What it is to trace a tensor program is not here (`toolkit.tracing`); this part knows values only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from toolkit.errors import InvalidArgumentError, ToolkitError
from toolkit.graph.build import Builder, _attributes
from toolkit.graph.infer import OPSET, GraphInference, infer_node
from toolkit.graph.subgraphs import unique_names
from toolkit.source_lines import at, user_line


def attributes_of(domain: str, op_type: str, given: Mapping[str, Any]) -> list[ir.Attr]:
    """Python values as a node's attributes, typed by its schema."""
    plain = {k: ir.tensor(v.numpy()) if hasattr(v, "data_ptr") else v for k, v in given.items()}
    return _attributes(domain, op_type, plain)


class Recorder:
    """A graph under construction.

    Attributes:
        graph: the graph; nodes are appended in execution order.
        builder: writes constants and shape arithmetic into the same graph.
    """

    def __init__(self, name: str = "main") -> None:
        self.graph = ir.Graph([], [], nodes=[], opset_imports={"": OPSET}, name=name)
        self.builder = Builder(self.graph)
        self.scopes: list[str] = []
        self._counts: dict[str, int] = {}
        self._names: set[str] = set()

    def inner(self) -> Recorder:
        """A recorder of another graph that shares the names of this one."""
        made = Recorder("region")
        made.scopes, made._counts, made._names = self.scopes, self._counts, self._names
        return made

    def input(self, name: str, dtype: int, shape: Sequence[int | str | None] | None) -> ir.Value:
        """A graph input; a dimension is a size, a symbol, or None.

        Raises:
            InvalidArgumentError: the name is taken.
        """
        self._take(name)
        value = ir.Value(
            name=name, type=ir.TensorType(ir.DataType(dtype)),
            shape=None if shape is None else ir.Shape(shape),
        )  # fmt: skip
        self.graph.inputs.append(value)
        return value

    def formal(self, stem: str, dtype: int, dims: Sequence[Any]) -> ir.Value:
        """An input with a name made here."""
        name = self.fresh(stem)
        self._names.discard(name)
        return self.input(name, dtype, list(dims))

    def initializer(self, name: str, array: np.ndarray[Any, Any]) -> ir.Value:
        """A named constant that shares the array's memory."""
        self._take(name)
        tensor = ir.tensor(array, name=name)
        value = ir.Value(
            name=name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(array.shape),
            const_value=tensor,
        )  # fmt: skip
        self.graph.register_initializer(value)
        return value

    def _take(self, name: str) -> None:
        if name in self._names:
            raise InvalidArgumentError(f"Trace: names must differ, got '{name}' twice.")
        self._names.add(name)

    def fresh(self, stem: str) -> str:
        """A name in the current scope that is not taken: "encoder.0.MatMul_1"."""
        stem = ".".join([*self.scopes, stem])
        while True:
            n = self._counts.get(stem, 0)
            self._counts[stem] = n + 1
            name = f"{stem}_{n}" if n else stem
            if name not in self._names:
                self._names.add(name)
                return name

    def add(
        self,
        op_type: str,
        domain: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, Any],
        outputs: int,
    ) -> Sequence[ir.Value]:
        """Appends a node and infers its outputs.

        Raises:
            ShapeError, DTypeError: the inputs do not fit; the message ends with the user's line.
        """
        values = list(inputs)
        while values and values[-1] is None:
            values.pop()
        attrs = attributes_of(domain, op_type, attributes)
        name = self.fresh(op_type)
        source = user_line()
        try:
            inferred = infer_node(op_type, domain, values, attrs, outputs, name=name)
        except ToolkitError as error:
            raise type(error)(f"{error}{at(source)}") from None
        node = ir.Node(domain, op_type, values, attrs, num_outputs=outputs, name=name)
        for i, (value, (dtype, shape)) in enumerate(zip(node.outputs, inferred, strict=True)):
            value.name = f"{name}.out" if i == 0 else f"{name}.out_{i}"
            if dtype is not None:
                value.type = ir.TensorType(dtype)
            value.shape = shape
        if source is not None:
            node.meta["source"] = source
        if domain and domain not in self.graph.opset_imports:
            self.graph.opset_imports[domain] = 1
        self.graph.append(node)
        return node.outputs

    def add_graphs(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        attributes: Sequence[ir.Attr],
        outputs: int,
        *,
        domain: str = "",
        stop: bool = False,
    ) -> Sequence[ir.Value]:
        """Appends a node whose attributes are graphs, and infers its outputs.

        Args:
            op_type: If, Loop or Scan.
            inputs: values of this graph or of one around it.
            attributes: the graphs among them.
            outputs: how many it has.
            domain: of the operator.
            stop: no gradient passes.
        """
        name = self.fresh(op_type)
        node = ir.Node(domain, op_type, inputs, attributes, num_outputs=outputs, name=name)
        for i, value in enumerate(node.outputs):
            value.name = f"{name}.out" if i == 0 else f"{name}.out_{i}"
        if stop:
            node.meta["stop_gradient"] = True
        source = user_line()
        if source is not None:
            node.meta["source"] = source
        self.graph.append(node)
        GraphInference({}, strict=False).node(node)
        unique_names(self.graph)
        return node.outputs

    def model(self, outputs: Mapping[str, ir.Value]) -> ir.Model:
        """The graph with its outputs, as a model.

        A value that already has a role or a name of its own (an input, an initializer, another
        output) leaves through an Identity node.
        """
        for name, value in outputs.items():
            if value.producer() is None or value in self.graph.outputs or name in self._names:
                (value,) = self.add("Identity", "", [value], {}, 1)
            value.name = name
            self._names.add(name)
            self.graph.outputs.append(value)
        return ir.Model(self.graph, ir_version=10, producer_name="toolkit")

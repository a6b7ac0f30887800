"""The runtime as an `onnx.backend` backend, for the conformance suite and for other tools."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx.backend.base import Backend, BackendRep

from toolkit.errors import InvalidArgumentError
from toolkit.runtime.session import InferenceSession


class ToolkitBackendRep(BackendRep):
    """A model ready to run."""

    def __init__(self, session: InferenceSession) -> None:
        self._session = session

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Runs on a list of arrays in the order of the inputs, or on a mapping by name."""
        names = [arg.name for arg in self._session.get_inputs()]
        if isinstance(inputs, dict):
            feed = inputs
        else:
            values = inputs if isinstance(inputs, (list, tuple)) else [inputs]
            if len(values) != len(names):
                raise InvalidArgumentError(
                    f"backend.run: {len(names)} inputs are required, got {len(values)}."
                )
            feed = dict(zip(names, values, strict=True))
        return tuple(self._session.run(None, feed))


class ToolkitBackend(Backend):
    """onnx.backend's entry points."""

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> BackendRep:
        """Loads a model.

        Raises:
            InvalidArgumentError: the device does not exist here.
        """
        if not cls.supports_device(device):
            raise InvalidArgumentError(f"prepare: device 'CPU' is required, got '{device}'.")
        return ToolkitBackendRep(InferenceSession(model))

    @classmethod
    def run_model(
        cls, model: onnx.ModelProto, inputs: Any, device: str = "CPU", **kwargs: Any
    ) -> tuple[Any, ...]:
        """Loads and runs a model once."""
        return tuple(cls.prepare(model, device, **kwargs).run(inputs))

    @classmethod
    def run_node(
        cls, node: Any, inputs: Any, device: str = "CPU", outputs_info: Any = None, **kwargs: Any
    ) -> tuple[Any, ...]:
        """Runs one node on arrays."""
        arrays = [np.asarray(v) for v in inputs]
        infos = [
            onnx.helper.make_tensor_value_info(
                n, onnx.helper.np_dtype_to_tensor_dtype(a.dtype), a.shape
            )
            for n, a in zip(node.input, arrays, strict=True)
        ]
        results = [onnx.ValueInfoProto(name=n) for n in node.output]
        graph = onnx.helper.make_graph([node], "node", infos, results)
        model = onnx.shape_inference.infer_shapes(onnx.helper.make_model(graph))
        return cls.run_model(model, arrays, device, **kwargs)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether models can run on `device`."""
        return device.split(":")[0] == "CPU"


prepare = ToolkitBackend.prepare
run_model = ToolkitBackend.run_model
run_node = ToolkitBackend.run_node
supports_device = ToolkitBackend.supports_device

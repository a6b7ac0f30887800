"""`IOBinding`: inputs and outputs bound by name before a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit.errors import InvalidArgumentError
from toolkit.runtime import _core
from toolkit.runtime.api.devices import require_cpu
from toolkit.runtime.api.values import OrtValue, OrtValueVector, copy_into, over_memory
from toolkit.runtime.values import to_native, value_from_native

if TYPE_CHECKING:
    from toolkit.runtime.session import InferenceSession


class IOBinding:
    """Inputs and outputs bound by name; an output that is bound to memory is copied there."""

    def __init__(self, session: InferenceSession) -> None:
        self._session = session
        self._inputs: dict[str, _core.Tensor] = {}
        self._outputs: dict[str, OrtValue | None] = {}
        self._results: list[OrtValue] = []

    def bind_cpu_input(self, name: str, arr_on_cpu: Any) -> None:
        """Binds a numpy array."""
        self._known(name)
        self._inputs[name] = to_native(arr_on_cpu)

    def bind_input(
        self,
        name: str,
        device_type: str,
        device_id: int,
        element_type: Any,
        shape: Sequence[int],
        buffer_ptr: int,
    ) -> None:
        """Binds memory of the caller, who keeps it until the run is over."""
        require_cpu(device_type, "bind_input")
        self.bind_cpu_input(name, over_memory(buffer_ptr, shape, element_type))

    def bind_ortvalue_input(self, name: str, ortvalue: OrtValue) -> None:
        """Binds a value of the runtime."""
        self._known(name)
        self._inputs[name] = ortvalue._tensor

    def bind_output(
        self,
        name: str,
        device_type: str = "cpu",
        device_id: int = 0,
        element_type: Any = None,
        shape: Sequence[int] | None = None,
        buffer_ptr: int | None = None,
    ) -> None:
        """Asks for an output: in memory of the caller, or in the runtime's."""
        require_cpu(device_type, "bind_output")
        memory = None
        if buffer_ptr is not None:
            if shape is None or element_type is None:
                raise InvalidArgumentError(
                    "bind_output: element_type and shape are required with buffer_ptr, got none."
                )
            memory = OrtValue.ortvalue_from_numpy(over_memory(buffer_ptr, shape, element_type))
        self._outputs[name] = memory

    def bind_ortvalue_output(self, name: str, ortvalue: OrtValue) -> None:
        """Asks for an output in the memory of a value."""
        self._outputs[name] = ortvalue

    def clear_binding_inputs(self) -> None:
        """Forgets the inputs."""
        self._inputs.clear()

    def clear_binding_outputs(self) -> None:
        """Forgets the outputs."""
        self._outputs.clear()
        self._results.clear()

    def synchronize_inputs(self) -> None:
        """There is nothing to wait for."""

    def synchronize_outputs(self) -> None:
        """There is nothing to wait for."""

    def get_outputs(self) -> list[OrtValue]:
        """The results of the latest run, in the order of binding."""
        return list(self._results)

    def get_outputs_as_ortvaluevector(self) -> OrtValueVector:
        """As `get_outputs`."""
        return OrtValueVector(self._results)

    def copy_outputs_to_cpu(self) -> list[Any]:
        """The results of the latest run as arrays."""
        return [value_from_native(v._tensor) for v in self._results]

    def _known(self, name: str) -> None:
        known = [v.name for v in self._session.get_inputs()]
        known += [v.name for v in self._session.get_overridable_initializers()]
        if name not in known:
            raise InvalidArgumentError(
                f"IOBinding: an input among {known} is required, got '{name}'."
            )

    def _give(self, results: Sequence[_core.Tensor]) -> None:
        """Takes the results of a run."""
        self._results = []
        for (name, memory), tensor in zip(self._outputs.items(), results, strict=True):
            if memory is not None:
                copy_into(memory, np.asarray(value_from_native(tensor)), f"output '{name}'")
            self._results.append(memory or OrtValue(tensor))


class SessionIOBinding(IOBinding):
    """onnxruntime's binding without its Python shell; the same here."""

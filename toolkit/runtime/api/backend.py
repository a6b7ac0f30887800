"""`onnxruntime.backend`: onnx's backend interface over a session, of files and bytes too."""

from __future__ import annotations

from typing import Any

from toolkit.errors import InvalidArgumentError
from toolkit.runtime.api.options import RunOptions, SessionOptions
from toolkit.runtime.session import InferenceSession


class BackendRep:
    """A session ready to run."""

    def __init__(self, session: InferenceSession) -> None:
        self._session = session

    def run(self, inputs: Any, **kwargs: Any) -> list[Any]:
        """Runs on a list of values in the order of the inputs, or on the only one.

        Args:
            inputs: the values.
            **kwargs: fields of `RunOptions`.
        """
        names = [arg.name for arg in self._session.get_inputs()]
        values = inputs if isinstance(inputs, list) else [inputs]
        if len(values) != len(names):
            raise InvalidArgumentError(
                f"backend.run: {len(names)} inputs are required, got {len(values)}."
            )
        options = _with(RunOptions(), kwargs)
        return list(self._session.run(None, dict(zip(names, values, strict=True)), options))


def supports_device(device: str) -> bool:
    """Whether sessions can be of a device."""
    return device.split(":")[0] == "CPU"


def is_compatible(model: Any, device: str | None = None, **kwargs: Any) -> bool:
    """Whether a model can be prepared for a device."""
    return device is None or supports_device(device)


def prepare(model: Any, device: str | None = None, **kwargs: Any) -> BackendRep:
    """Loads a model.

    Args:
        model: a path, bytes, ModelProto, a session or what this function gave.
        device: "CPU", which None is too.
        **kwargs: fields of `SessionOptions`.

    Raises:
        InvalidArgumentError: the device does not exist here.
    """
    if not is_compatible(model, device):
        raise InvalidArgumentError(f"prepare: device 'CPU' is required, got '{device}'.")
    if isinstance(model, BackendRep):
        return model
    if not isinstance(model, InferenceSession):
        model = InferenceSession(model, _with(SessionOptions(), kwargs))
    return BackendRep(model)


def run(model: Any, inputs: Any, device: str | None = None, **kwargs: Any) -> list[Any]:
    """Loads a model and runs it once."""
    return prepare(model, device, **kwargs).run(inputs)


def _with(options: Any, values: dict[str, Any]) -> Any:
    """Options with those of the values that they have a field for."""
    for name, value in values.items():
        if hasattr(options, name):
            setattr(options, name, value)
    return options

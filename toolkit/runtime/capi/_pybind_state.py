"""As `onnxruntime_pybind11_state`."""

from toolkit.runtime.capi.onnxruntime_pybind11_state import *  # noqa: F403

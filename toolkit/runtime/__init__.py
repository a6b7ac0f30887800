"""Execution: sessions over native programs. Public names are those of onnxruntime.

A program moves by changing `import onnxruntime` to `from toolkit import runtime as onnxruntime`, or
unchanged after `install_as_onnxruntime()`.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from toolkit.runtime import python_kernels
from toolkit.runtime.api import PUBLIC
from toolkit.runtime.api import VERSION as __version__

if TYPE_CHECKING:
    from toolkit.runtime.api.binding import IOBinding
    from toolkit.runtime.api.describe import ModelMetadata, NodeArg
    from toolkit.runtime.api.environment import get_available_providers, get_device, set_seed
    from toolkit.runtime.api.install import install_as_onnxruntime
    from toolkit.runtime.api.options import RunOptions, SessionOptions
    from toolkit.runtime.api.values import OrtValue
    from toolkit.runtime.session import InferenceSession

__all__ = [
    "IOBinding",
    "InferenceSession",
    "ModelMetadata",
    "NodeArg",
    "OrtValue",
    "RunOptions",
    "SessionOptions",
    "__version__",
    "get_available_providers",
    "get_device",
    "install_as_onnxruntime",
    "set_seed",
]


def __getattr__(name: str) -> Any:
    # Loading a session pulls in onnx; `import toolkit` must not.
    if name in PUBLIC:
        from toolkit.graph.light_import import import_onnx_ir

        import_onnx_ir()
        return getattr(importlib.import_module(PUBLIC[name]), name)
    raise AttributeError(f"module 'toolkit.runtime' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *PUBLIC})


python_kernels.register()
if os.environ.get("TOOLKIT_AUTOTUNE") == "1":
    from toolkit.runtime import autotune

    autotune.enable()

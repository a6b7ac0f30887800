"""Execution: sessions over native programs. Public names are those of onnxruntime."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from toolkit.runtime import python_kernels

if TYPE_CHECKING:
    from toolkit.runtime.session import (
        InferenceSession,
        IOBinding,
        ModelMetadata,
        NodeArg,
        OrtValue,
        RunOptions,
        SessionOptions,
        get_available_providers,
        get_device,
    )

__all__ = [
    "IOBinding",
    "InferenceSession",
    "ModelMetadata",
    "NodeArg",
    "OrtValue",
    "RunOptions",
    "SessionOptions",
    "get_available_providers",
    "get_device",
]


def __getattr__(name: str) -> Any:
    # Loading a session pulls in onnx; `import toolkit` must not.
    if name in __all__:
        from toolkit.graph.light_import import import_onnx_ir

        import_onnx_ir()
        from toolkit.runtime import session

        return getattr(session, name)
    raise AttributeError(f"module 'toolkit.runtime' has no attribute {name!r}")


python_kernels.register()
if os.environ.get("TOOLKIT_AUTOTUNE") == "1":
    from toolkit.runtime import autotune

    autotune.enable()

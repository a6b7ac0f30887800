"""Puts this runtime in onnxruntime's place in `sys.modules`: `import onnxruntime` then finds it."""

from __future__ import annotations

import importlib
import importlib.machinery
import sys
from types import ModuleType, TracebackType

from toolkit.runtime.api import PUBLIC, VERSION

NAME = "onnxruntime"
# Modules of `toolkit.runtime.capi` that clients import from `onnxruntime.capi`.
_CAPI = (
    "_pybind_state",
    "onnxruntime_inference_collection",
    "onnxruntime_pybind11_state",
    "onnxruntime_validation",
)


class Installed:
    """What `install_as_onnxruntime` did; `restore` undoes it, as does the end of a `with`."""

    def __init__(self) -> None:
        ours = _modules()
        self._before = {n: m for n, m in sys.modules.items() if n.split(".")[0] == NAME}
        for name in self._before:
            del sys.modules[name]
        sys.modules.update(ours)
        self.module = ours[NAME]

    def restore(self) -> None:
        """Puts back what was imported as onnxruntime before."""
        for name in [n for n in sys.modules if n.split(".")[0] == NAME]:
            del sys.modules[name]
        sys.modules.update(self._before)

    def __enter__(self) -> ModuleType:
        return self.module

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.restore()


def install_as_onnxruntime() -> Installed:
    """Makes `import onnxruntime` find this runtime, in whatever is imported from now on.

    A module that imported onnxruntime before keeps it. onnxruntime's tools, quantization and
    transformers are not among the modules: they belong to its package.

    Returns:
        A handle whose `restore` undoes it; it serves in a `with` too, which gives the module.
    """
    return Installed()


def _modules() -> dict[str, ModuleType]:
    top = _module(NAME)
    top.__dict__.update({name: _find(name) for name in PUBLIC})
    top.__dict__["__version__"] = VERSION
    top.__dict__["__all__"] = sorted(PUBLIC)
    capi = importlib.import_module("toolkit.runtime.capi")
    top.__dict__["capi"] = capi
    found = {NAME: top, f"{NAME}.capi": capi}
    for name in _CAPI:
        found[f"{NAME}.capi.{name}"] = importlib.import_module(f"{capi.__name__}.{name}")
    top.__dict__["onnxruntime_validation"] = found[f"{NAME}.capi.onnxruntime_validation"]
    backend = importlib.import_module("toolkit.runtime.api.backend")
    top.__dict__["backend"] = found[f"{NAME}.backend"] = backend
    return found


def _module(name: str) -> ModuleType:
    module = ModuleType(name, "toolkit's runtime under onnxruntime's name.")
    module.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
    module.__path__ = []
    return module


def _find(name: str) -> object:
    return getattr(importlib.import_module(PUBLIC[name]), name)

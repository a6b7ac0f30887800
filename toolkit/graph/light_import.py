"""Imports onnx-ir without sympy.

onnx-ir imports it for arithmetic on symbolic dimensions, which few models need, and it takes longer
to import than all that a session needs besides.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any


class _Later(ModuleType):
    """Stands for a module that is imported when something of it is used.

    What an importing module takes from it at once may only be functions.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._importing = True

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if not self._importing:
            return getattr(importlib.import_module(self.__name__), name)
        return lambda *args, **kwargs: getattr(self, name)(*args, **kwargs)


def import_onnx_ir() -> None:
    """Imports onnx-ir; sympy with it only if it must be, or is there already.

    Others see the real sympy: its stand-in is onnx-ir's alone.
    """
    if "onnx_ir" in sys.modules or "sympy" in sys.modules:
        return
    later = _Later("sympy")
    sys.modules["sympy"] = later
    try:
        importlib.import_module("onnx_ir")
    finally:
        later._importing = False
        if sys.modules.get("sympy") is later:
            del sys.modules["sympy"]

"""Utilities by torch.utils' names."""

from typing import Any


def __getattr__(name: str) -> Any:
    """The submodules, imported when they are asked for."""
    if name in ("checkpoint", "data"):
        import importlib

        return importlib.import_module(f"toolkit.utils.{name}")
    raise AttributeError(f"module 'toolkit.utils' has no attribute {name!r}")

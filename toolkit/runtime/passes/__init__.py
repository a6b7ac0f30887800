"""Fusion: what the runtime does to the nodes of one program just before they are lowered.

A pass is a module of this package with `ORDER` (lower runs first) and `run(region)`; modules are
found by themselves. Passes replace nodes in the region's list and leave the graph as it is, so that
nothing of this reaches a file. `TOOLKIT_OPT=0` turns all of them off.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from typing import Any

from toolkit.runtime.passes.region import Caches, FusedNode, Node, Region

__all__ = ["Caches", "FusedNode", "Node", "Region", "enabled", "fuse"]


def enabled() -> bool:
    """False where the environment asks for every operator on its own."""
    return os.environ.get("TOOLKIT_OPT") != "0"


def fuse(region: Region) -> list[Node]:
    """Runs all passes; the nodes to lower, in an order in which they can run."""
    for module in _PASSES:
        module.run(region)
    return region.nodes


def _passes() -> list[Any]:
    names = [info.name for info in pkgutil.iter_modules(__path__)]
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return sorted((m for m in modules if hasattr(m, "run")), key=lambda m: m.ORDER)


_PASSES = _passes()  # Now: the first session is not to wait for them.

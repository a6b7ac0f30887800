"""THE operator table: one row per operator, read by the tests, the benchmark and `toolkit ops`.

A row says what to call the operator with (`samples`), for which element types, and what is known of
the answer; see `tests.opinfo.core.OpInfo`. The kernels, rules and GPU twins are checked against it.
Each module of this package with a list `ROWS` is a family.
"""

from __future__ import annotations

import importlib
import pkgutil

from tests.opinfo.core import Draw, OpInfo, S, Sample

_MODULES = {
    m.name: importlib.import_module(f"{__name__}.{m.name}") for m in pkgutil.iter_modules(__path__)
}
FAMILIES: dict[str, list[OpInfo]] = {
    name: module.ROWS for name, module in _MODULES.items() if hasattr(module, "ROWS")
}
OPS: list[OpInfo] = [row for rows in FAMILIES.values() for row in rows]
FAMILY = {row.name: family for family, rows in FAMILIES.items() for row in rows}

__all__ = ["FAMILIES", "FAMILY", "OPS", "Draw", "OpInfo", "S", "Sample"]

"""`__array_namespace_info__`: what this namespace can do."""

from __future__ import annotations

from typing import Any

from toolkit import dtypes
from toolkit.array_api.common import check_device, default_float
from toolkit.array_api.data_types import KINDS
from toolkit.device import Device
from toolkit.device import device as as_device
from toolkit.errors import InvalidArgumentError

_MAX_DIMENSIONS = 16  # kMaxRank of the core.


class Info:
    """The inspection functions."""

    def capabilities(self) -> dict[str, Any]:
        """Which optional behaviour there is."""
        return {
            "boolean indexing": True,
            "data-dependent shapes": True,
            "max dimensions": _MAX_DIMENSIONS,
        }

    def default_device(self) -> Device:
        """Where arrays are made."""
        return as_device("cpu")

    def devices(self) -> list[Device]:
        """Where arrays can be."""
        return [as_device("cpu")]

    def default_dtypes(self, *, device: Any = None) -> dict[str, dtypes.DType]:
        """The element types of Python numbers. There is no complex one."""
        check_device(device)
        return {
            "real floating": default_float(),
            "integral": dtypes.int64,
            "indexing": dtypes.int64,
        }

    def dtypes(self, *, device: Any = None, kind: Any = None) -> dict[str, dtypes.DType]:
        """Element types by name, of a kind (or any of a tuple of kinds).

        Raises:
            InvalidArgumentError: an unknown kind.
        """
        check_device(device)
        wanted = (
            kind if isinstance(kind, tuple) else ("bool", "numeric") if kind is None else (kind,)
        )
        for k in wanted:
            if k not in KINDS:
                raise InvalidArgumentError(
                    f"dtypes: a kind among {list(KINDS)} is required, got {k!r}."
                )
        return {t.name: t for k in wanted for t in KINDS[k]}


def __array_namespace_info__() -> Info:
    """What this namespace can do: element types, devices, capabilities."""
    return Info()

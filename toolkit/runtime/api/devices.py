"""Devices and allocators: there is the CPU, whose memory the runtime manages itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from toolkit.errors import InvalidArgumentError
from toolkit.runtime.api.enums import (
    OrtAllocatorType,
    OrtDeviceMemoryType,
    OrtDeviceVendorId,
    OrtMemoryInfoDeviceType,
    OrtMemType,
)


def require_cpu(device_type: str, where: str) -> None:
    """Refuses a device that this build lacks.

    Raises:
        InvalidArgumentError: it is not the CPU.
    """
    if device_type.lower() != "cpu":
        raise InvalidArgumentError(f"{where}: the device 'cpu' is required, got '{device_type}'.")


class OrtDevice:
    """A device by name and number.

    Raises:
        InvalidArgumentError: it is not the CPU.
    """

    def __init__(self, name: Any = "cpu", device_id: int = 0, vendor_id: int = -1) -> None:
        require_cpu("cpu" if isinstance(name, OrtDevice) else name, "OrtDevice")
        self._id = device_id

    @staticmethod
    def make(ort_device_name: str, device_id: int, vendor_id: int = -1) -> OrtDevice:
        """The device of a name."""
        return OrtDevice(ort_device_name, device_id, vendor_id)

    def device_id(self) -> int:
        """Its number."""
        return self._id

    def device_type(self) -> int:
        """Its kind."""
        return OrtMemoryInfoDeviceType.CPU

    def device_vendor_id(self) -> int:
        """Who made it: it does not matter."""
        return OrtDeviceVendorId.NONE

    def device_mem_type(self) -> int:
        """The kind of its memory."""
        return OrtDeviceMemoryType.DEFAULT

    def _get_c_device(self) -> OrtDevice:
        return self


@dataclass
class OrtMemoryInfo:
    """Where an allocator takes its memory."""

    name: str = "Cpu"
    allocator_type: OrtAllocatorType = OrtAllocatorType.ORT_DEVICE_ALLOCATOR
    device_id: int = 0
    mem_type: OrtMemType = OrtMemType.DEFAULT
    device_mem_type: OrtDeviceMemoryType = OrtDeviceMemoryType.DEFAULT
    device_vendor_id: int = 0


@dataclass
class OrtArenaCfg:
    """How an arena would grow."""

    max_mem: int = 0
    arena_extend_strategy: int = -1
    initial_chunk_size_bytes: int = -1
    max_dead_bytes_per_chunk: int = -1
    initial_growth_chunk_size_bytes: int = -1
    max_power_of_two_extend_bytes: int = -1

    def __init__(self, *values: Any, **named: Any) -> None:
        settings = dict(zip(type(self).__annotations__, values, strict=False))
        settings |= values[0] if values and isinstance(values[0], dict) else named
        for key, value in settings.items():
            setattr(self, key, value)

"""What concerns the process: providers, versions, threads, the log's severity, the seed."""

from __future__ import annotations

import os
import platform
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from toolkit.errors import InvalidArgumentError, ToolkitWarning
from toolkit.runtime import _core
from toolkit.runtime.api import VERSION
from toolkit.runtime.api.enums import LoggingSeverity
from toolkit.runtime.api.refused import refuse

CPU = "CPUExecutionProvider"
# By preference, as onnxruntime lists what could be built in.
_ALL = [
    f"{name}ExecutionProvider"
    for name in ("Tensorrt", "CUDA", "MIGraphX", "OpenVINO", "Dnnl", "VitisAI", "QNN", "Nnapi",
                 "VSINPU", "Js", "CoreML", "Dml", "Rknpu", "WebNN", "WebGpu", "Xnnpack", "CANN",
                 "Azure", "CPU")
]  # fmt: skip
package_name = "onnxruntime"
version = VERSION
cuda_version = ""
_severity = LoggingSeverity.WARNING
_warned: set[str] = set()


def get_available_providers() -> list[str]:
    """Names of the execution providers of this build."""
    return [CPU]


def get_all_providers() -> list[str]:
    """Names of the execution providers that onnxruntime knows."""
    return list(_ALL)


def get_device() -> str:
    """The device that sessions run on by default."""
    return "CPU"


def get_version_string() -> str:
    """The version of onnxruntime whose API this is."""
    return VERSION


def get_build_info() -> str:
    """What was built, as text."""
    return f"toolkit's runtime with the API of onnxruntime {VERSION}, kernels for {_core.isa()}"


def has_collective_ops() -> bool:
    """Whether sessions talk to each other."""
    return False


def get_ep_devices() -> list[Any]:
    """Devices of execution provider libraries: none."""
    return []


def set_seed(seed: int) -> None:
    """Starts the stream of the random operators that have no seed of their own."""
    _core.seed_random(seed & (2**64 - 1))


def set_default_logger_severity(severity: int) -> None:
    """What a message must be to be shown: above 2, sessions do not warn.

    Raises:
        InvalidArgumentError: it does not lie between 0 and 4.
    """
    global _severity
    if not 0 <= severity <= 4:
        raise InvalidArgumentError(
            f"set_default_logger_severity: a number from 0 to 4 is required, got {severity}."
        )
    _severity = LoggingSeverity(severity)


def set_default_logger_verbosity(verbosity: int) -> None:
    """Accepted: there is no verbose log."""


def set_default_logger_callback(callback: Callable[..., Any] | None, severity: int = 2) -> None:
    """Accepted with a warning: messages are Python's warnings."""
    once("set_default_logger_callback", "Use `warnings.showwarning`")


def silent(severity: int) -> bool:
    """Whether warnings are below a session's severity; -1: the default's."""
    return (_severity if severity < 0 else severity) > LoggingSeverity.WARNING


def once(name: str, hint: str) -> None:
    """Warns, the first time, of what is accepted but has no meaning here."""
    if name not in _warned and not silent(-1):
        _warned.add(name)
        text = f"{name}: a setting with a meaning here is required, got one without. {hint}."
        warnings.warn(text, ToolkitWarning, stacklevel=3)


def set_global_thread_pool_sizes(
    intra_op_num_threads: int = 0, inter_op_num_threads: int = 0
) -> None:
    """Sets the number of threads of the process."""
    if intra_op_num_threads:
        _core.set_num_threads(intra_op_num_threads)


def enable_telemetry_events() -> None:
    """Nothing is ever sent."""


def disable_telemetry_events() -> None:
    """Nothing is ever sent."""


def create_and_register_allocator(memory_info: Any, arena_config: Any) -> None:
    """Accepted: sessions plan their memory themselves."""


def create_and_register_allocator_v2(
    provider: str, memory_info: Any, options: Mapping[str, str], arena_config: Any
) -> None:
    """Accepted: sessions plan their memory themselves."""


def preload_dlls(
    cuda: bool = True, cudnn: bool = True, msvc: bool = True, directory: str | None = None
) -> None:
    """There is nothing to load."""


def print_debug_info() -> None:
    """Prints versions and what the machine can do."""
    print(get_build_info())
    print(f"python {platform.python_version()} on {platform.platform()}, {os.cpu_count()} CPUs")


def register_execution_provider_library(name: str, path: str) -> None:
    """Refused.

    Raises:
        NotImplemented: always.
    """
    refuse("register_execution_provider_library", "There are no providers besides the CPU's.")


def unregister_execution_provider_library(name: str) -> None:
    """Refused.

    Raises:
        NotImplemented: always.
    """
    refuse("unregister_execution_provider_library", "There are no providers besides the CPU's.")


def checked_providers(
    providers: Sequence[str | tuple[str, Mapping[str, Any]]] | None,
    options: Sequence[Mapping[str, Any]] | None,
) -> None:
    """Warns of providers that this build lacks, as onnxruntime does, which then runs on the CPU.

    Raises:
        InvalidArgumentError: something is no provider, or options do not go with them.
    """
    names = []
    for item in providers or ():
        name = item if isinstance(item, str) else item[0] if isinstance(item, tuple) else None
        if not isinstance(name, str):
            raise InvalidArgumentError(
                f"providers: names or pairs (name, options) are required, got {item!r}."
            )
        names.append(name)
    if options and len(options) != len(names):
        raise InvalidArgumentError(
            f"providers: one entry of provider_options for each is required, got {len(options)} "
            f"for {len(names)}."
        )
    for name in names:
        if name != CPU:
            warnings.warn(
                f"Specified provider '{name}' is not in available provider names. "
                f"Available providers: '{CPU}'",
                UserWarning,
                stacklevel=3,
            )

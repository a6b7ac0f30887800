"""`SessionOptions` and `RunOptions`, with all fields; what has no meaning here warns once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from toolkit.errors import InvalidArgumentError
from toolkit.runtime.api import environment
from toolkit.runtime.api.enums import ExecutionMode, ExecutionOrder, GraphOptimizationLevel
from toolkit.runtime.api.refused import refuse

if TYPE_CHECKING:
    from toolkit.runtime.api.values import OrtValue

# By field: its kind, and for those without meaning here, whose values other than the default warn,
# why so.
_FIELDS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "intra_op_num_threads": (int, ""),
    "inter_op_num_threads": (int, "Nodes run one after the other, each on all threads"),
    "graph_optimization_level": (GraphOptimizationLevel, ""),
    "enable_mem_pattern": (bool, "Memory is always planned"),
    "enable_mem_reuse": (bool, "Memory is always reused"),
    "enable_cpu_mem_arena": (bool, "Memory is always one arena"),
    "enable_profiling": (bool, ""),
    "execution_mode": (ExecutionMode, "Nodes run one after the other, each on all threads"),
    "execution_order": (ExecutionOrder, "Nodes run in the order of the file"),
    "log_severity_level": (int, ""),
    "log_verbosity_level": (int, "There is no verbose log"),
    "logid": (str, ""),
    "optimized_model_filepath": (str, ""),
    "profile_file_prefix": (str, ""),
    "use_deterministic_compute": (bool, ""),  # It always is.
    "use_per_session_threads": (bool, "All sessions share the threads"),
}


_ALIKE = {"inter_op_num_threads": (1,)}  # Values that ask for what is done anyway.


@dataclass
class SessionOptions:
    """onnxruntime's session options.

    Attributes:
        autotune: not onnxruntime's; see `toolkit.runtime.autotune`.
    """

    intra_op_num_threads: int = 0
    inter_op_num_threads: int = 0
    graph_optimization_level: int = GraphOptimizationLevel.ORT_ENABLE_ALL
    enable_mem_pattern: bool = True
    enable_mem_reuse: bool = True
    enable_cpu_mem_arena: bool = True
    enable_profiling: bool = False
    execution_mode: int = ExecutionMode.ORT_SEQUENTIAL
    execution_order: int = ExecutionOrder.DEFAULT
    log_severity_level: int = -1
    log_verbosity_level: int = 0
    logid: str = ""
    optimized_model_filepath: str = ""
    profile_file_prefix: str = "onnxruntime_profile_"
    use_deterministic_compute: bool = False
    use_per_session_threads: bool = True
    autotune: bool = False
    _config: dict[str, str] = field(default_factory=dict)
    _dims: dict[str, int] = field(default_factory=dict)  # By name.
    _denoted: dict[str, int] = field(default_factory=dict)
    _initializers: dict[str, OrtValue] = field(default_factory=dict)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _FIELDS:
            kind, why = _FIELDS[name]
            try:
                value = kind(value)
            except (TypeError, ValueError):
                raise InvalidArgumentError(
                    f"SessionOptions.{name}: a value of {kind.__name__} is required, got {value!r}."
                ) from None
            usual = (getattr(type(self), name), *_ALIKE.get(name, ()))
            if why and value not in usual and not environment.silent(self.log_severity_level):
                environment.once(f"SessionOptions.{name}", why)
        elif name not in type(self).__dataclass_fields__:
            raise AttributeError(f"'SessionOptions' object has no attribute '{name}'")
        object.__setattr__(self, name, value)

    def add_session_config_entry(self, key: str, value: str) -> None:
        """Keeps a configuration entry; `session.save_model_format` may only be "ONNX".

        Raises:
            NotImplemented: another format is asked for.
        """
        if key == "session.save_model_format" and value.upper() != "ONNX":
            refuse(key, "Models are saved as ONNX.")
        self._config[key] = value

    def get_session_config_entry(self, key: str) -> str:
        """The entry that was added under `key`.

        Raises:
            InvalidArgumentError: none was.
        """
        if key not in self._config:
            raise InvalidArgumentError(
                f"get_session_config_entry: a key that was added is required, got '{key}'."
            )
        return self._config[key]

    def add_free_dimension_override_by_name(self, name: str, value: int) -> None:
        """Gives a named dimension of the inputs its size."""
        self._dims[name] = int(value)

    def add_free_dimension_override_by_denotation(self, denotation: str, value: int) -> None:
        """Gives the dimensions of a denotation, as "DATA_BATCH", their size."""
        self._denoted[denotation] = int(value)

    def add_initializer(self, name: str, value: OrtValue) -> None:
        """Puts a value, whose memory is shared, in an initializer's place."""
        from toolkit.runtime.api.values import OrtValue

        if not isinstance(value, OrtValue):
            raise InvalidArgumentError(
                f"add_initializer: an OrtValue is required, got {type(value).__name__}."
            )
        self._initializers[name] = value

    def add_external_initializers(self, names: Sequence[str], values: Sequence[OrtValue]) -> None:
        """As `add_initializer`, for several; the files that they lie in are not read."""
        if len(names) != len(values):
            raise InvalidArgumentError(
                f"add_external_initializers: as many values as names are required, got "
                f"{len(values)} for {len(names)}."
            )
        for name, value in zip(names, values, strict=True):
            self.add_initializer(name, value)

    def has_providers(self) -> bool:
        """Whether providers were added."""
        return False

    def add_provider(self, name: str, options: Any) -> None:
        """Accepts the CPU's; warns of others, as `InferenceSession` does."""
        environment.checked_providers([name], None)

    def add_provider_for_devices(self, devices: Any, options: Any) -> None:
        """Refused: there are no such devices."""
        refuse("add_provider_for_devices", "There are no providers besides the CPU's.")

    def set_provider_selection_policy(self, policy: Any) -> None:
        """Accepted: every policy chooses the CPU."""

    def set_provider_selection_policy_delegate(self, delegate: Any) -> None:
        """Accepted: there is nothing to choose from."""

    def register_custom_ops_library(self, path: str) -> None:
        """Refused: libraries of kernels are built against onnxruntime's C API."""
        refuse("register_custom_ops_library", "Give the operator a body: a function in the model.")

    def add_external_initializers_from_files_in_memory(
        self, names: Sequence[str], buffers: Sequence[Any], lengths: Sequence[int]
    ) -> None:
        """Refused: give the values themselves, with `add_external_initializers`."""
        refuse("add_external_initializers_from_files_in_memory", "See add_external_initializers.")

    def set_load_cancellation_flag(self, flag: bool) -> None:
        """Accepted: loading is not canceled."""
        if flag:
            environment.once("set_load_cancellation_flag", "Loading cannot be canceled")

    def set_ep_context_data_read_func(self, read_func: Any, max_data_size: int = 0) -> None:
        """Refused: there are no compiled models."""
        refuse("set_ep_context_data_read_func", "There are no compiled models.")

    def clear_ep_context_data_read_func(self) -> None:
        """There is none."""


@dataclass
class RunOptions:
    """onnxruntime's run options.

    Attributes:
        terminate: a run that begins while it is True fails; one that runs is not stopped.
        only_execute_path_to_fetches: always so.
    """

    log_severity_level: int = -1
    log_verbosity_level: int = 0
    logid: str = ""
    only_execute_path_to_fetches: bool = False
    terminate: bool = False
    _config: dict[str, str] = field(default_factory=dict)

    def add_run_config_entry(self, key: str, value: str) -> None:
        """Keeps a configuration entry."""
        self._config[key] = value

    def get_run_config_entry(self, key: str) -> str:
        """The entry that was added under `key`.

        Raises:
            InvalidArgumentError: none was.
        """
        if key not in self._config:
            raise InvalidArgumentError(
                f"get_run_config_entry: a key that was added is required, got '{key}'."
            )
        return self._config[key]

    def add_active_adapter(self, adapter: Any) -> None:
        """Refused: a session runs a file whose adapters are merged."""
        refuse("add_active_adapter", "toolkit.train.adapters makes and merges adapters.")

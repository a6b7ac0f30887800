"""`InferenceSession`: a model loaded once and run many times, in onnxruntime's shape.

A session is thread-safe. What onnxruntime has and this does not: execution providers other than
the CPU's.
"""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import onnx
import onnx_ir as ir

from toolkit import dtypes
from toolkit.errors import InvalidArgumentError, ToolkitError, ToolkitWarning
from toolkit.graph import map_types
from toolkit.graph.io import save_model
from toolkit.graph.passes import optimize
from toolkit.runtime import _core, autotune, feeds, passes
from toolkit.runtime.api import changes, environment
from toolkit.runtime.api.binding import IOBinding
from toolkit.runtime.api.describe import ModelMetadata, NodeArg, metadata, node_arg
from toolkit.runtime.api.devices import OrtMemoryInfo
from toolkit.runtime.api.exceptions import Fail, as_onnxruntime, translated
from toolkit.runtime.api.options import RunOptions, SessionOptions
from toolkit.runtime.api.profiling import Profiler
from toolkit.runtime.api.values import OrtValue, OrtValueVector
from toolkit.runtime.collector import collector_paused
from toolkit.runtime.conv_chains import fuse_convolutions
from toolkit.runtime.conv_fusion import measure_convolutions
from toolkit.runtime.lowering import CompiledProgram, lower
from toolkit.runtime.name_dims import NameDimsPass
from toolkit.runtime.values import value_from_native, value_to_native

if TYPE_CHECKING:
    from toolkit.runtime.kv_cache import KVCache
    from toolkit.runtime.measure.memory import MemoryReport

_NO_ARRAY = (ir.DataType.UNDEFINED, ir.DataType.STRING)
_NUMPY = {t.onnx: t.numpy for t in (*dtypes.ALL, *dtypes.NARROW)}


class InferenceSession:
    """Loads a model and runs it.

    Args:
        path_or_bytes: a path, the file's bytes, or an `onnx.ModelProto`.
        sess_options: a `SessionOptions`.
        providers: execution providers in order of preference; only the CPU's exists, others warn.
        provider_options: the options of each; the CPU's has none.
        kwargs: accepted for onnxruntime's sake.

    Raises:
        InvalidModelError: the file is missing, truncated or not a valid model.
        UnsupportedOperatorError: an operator has no kernel.
        InvalidArgumentError: a provider is asked for that this build lacks.
    """

    def __init__(
        self,
        path_or_bytes: str | os.PathLike[str] | bytes | onnx.ModelProto | ir.Model,
        sess_options: SessionOptions | None = None,
        providers: Sequence[str | tuple[str, Mapping[str, Any]]] | None = None,
        provider_options: Sequence[Mapping[str, Any]] | None = None,
        **kwargs: Any,
    ) -> None:
        environment.checked_providers(providers, provider_options)
        self._options = sess_options or SessionOptions()
        self._profiler: Profiler | None = None
        if self._options.enable_profiling:
            self._profiler = Profiler(self._options.profile_file_prefix)
        start = time.perf_counter()
        path = os.fspath(path_or_bytes) if isinstance(path_or_bytes, (str, os.PathLike)) else None
        with translated(path, loading=True), warnings.catch_warnings():
            if environment.silent(self._options.log_severity_level):
                warnings.simplefilter("ignore", ToolkitWarning)
            with collector_paused():
                self._load(path_or_bytes)
        if self._profiler is not None:
            self._profiler.note("session_initialization", start)

    def _load(self, source: str | os.PathLike[str] | bytes | onnx.ModelProto | ir.Model) -> None:
        options = self._options
        if options.intra_op_num_threads:
            _core.set_num_threads(options.intra_op_num_threads)
        self._model, inference = changes.load(source, options)
        if options.graph_optimization_level:
            optimize(self._model, inference=inference)
        if options.optimized_model_filepath:
            save_model(self._model, options.optimized_model_filepath, inline=True)
        if options.graph_optimization_level:
            NameDimsPass()(self._model)
            fuse_convolutions(self._model)
        if options.autotune:
            autotune.prepare()
            measure_convolutions(self._model)
        graph = self._model.graph
        self._outputs = {v.name or "": v for v in graph.outputs}
        self._output_names = [v.name or "" for v in graph.outputs]  # A file may name one twice.
        self._ran = False
        self._inputs = {v.name or "": v for v in graph.inputs if v.name not in graph.initializers}
        self._overridable = {v.name or "": v for v in graph.inputs if v.name in graph.initializers}
        self._programs: dict[tuple[tuple[str, ...], tuple[str, ...]], CompiledProgram] = {}
        self._cached: dict[Any, tuple[CompiledProgram, passes.Caches]] = {}
        self._calls: dict[tuple[str, ...], _core.Call | None] = {}  # By the outputs.
        self._compile(tuple(self._inputs), tuple(self._outputs))

    def _compile(self, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> CompiledProgram:
        key = (inputs, outputs)
        if key not in self._programs:
            self._programs[key] = self._part(*key) or self._lowered(*key)
            if self._profiler is not None:
                self._profiler.watch(self._programs[key].program)
        return self._programs[key]

    def _lowered(self, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> CompiledProgram:
        every = self._inputs | self._overridable
        return lower(
            [every[n] for n in inputs],
            [self._outputs[n] for n in outputs],
            functions=self._model.functions,
            fuse=bool(self._options.graph_optimization_level),
        )

    def _part(self, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> CompiledProgram | None:
        """A program of some outputs that shares the packed weights of the one for all of them."""
        whole = self._programs.get((inputs, tuple(self._outputs)))
        return None if whole is None else whole.select(outputs)

    def run(
        self,
        output_names: Sequence[str] | None,
        input_feed: Mapping[str, Any],
        run_options: RunOptions | None = None,
    ) -> list[Any]:
        """Computes outputs for one set of inputs.

        Args:
            output_names: which outputs, in order; None or empty: all.
            input_feed: an array for each input.
            run_options: onnxruntime's; see `RunOptions`.

        Returns:
            One numpy array an output; a list for a sequence, a dict for a map.

        Raises:
            InvalidArgumentError: a name is missing or unknown.
            DTypeError: an array's type is not the declared one.
            ShapeError: an array's shape does not fit the declared one.
        """
        outputs = tuple(output_names) if output_names else ()
        try:
            if run_options is None and self._profiler is None:
                call = self._calls.get(outputs)
                if call is not None and (results := call(input_feed)) is not None:
                    return results
            values = {n: feeds.fed(v, self._inputs.get(n)) for n, v in input_feed.items()}
            results = [value_from_native(t) for t in self._run(outputs, values, run_options)]
            if outputs not in self._calls:
                self._calls[outputs] = self._call(outputs)
            return results
        except ToolkitError as error:
            raise as_onnxruntime(error, None, loading=False) from error

    def run_async(
        self,
        output_names: Sequence[str] | None,
        input_feed: Mapping[str, Any],
        callback: Callable[[list[Any], Any, str], None],
        user_data: Any,
        run_options: RunOptions | None = None,
    ) -> None:
        """Runs in a thread of its own and calls `callback(results, user_data, error)` there.

        Args:
            output_names: as `run`.
            input_feed: as `run`; not to be changed before the callback.
            callback: takes the results, the data, and what went wrong ("": nothing).
            user_data: handed to the callback.
            run_options: as `run`.
        """

        def work() -> None:
            try:
                results, wrong = self.run(output_names, input_feed, run_options), ""
            except Exception as error:
                results, wrong = [], str(error) or type(error).__name__
            callback(results, user_data, wrong)

        threading.Thread(target=work, name="toolkit-run-async").start()

    def _call(self, outputs: tuple[str, ...]) -> _core.Call | None:
        """The way for later runs with plain arrays; None where an input is not of that kind."""
        inputs = []
        for name, value in self._inputs.items():
            kind = value.type if map_types.of(value) is None else None
            if not isinstance(kind, ir.TensorType) or kind.dtype in _NO_ARRAY:
                return None
            sizes = None if value.shape is None else [_size(d) for d in value.shape]
            inputs.append((name, int(kind.dtype), sizes))
        program = self._compile(tuple(self._inputs), outputs or tuple(self._output_names)).program
        return _core.Call(program, inputs, _NUMPY, value_from_native)

    def run_with_ort_values(
        self,
        output_names: Sequence[str] | None,
        input_dict_ort_values: Mapping[str, OrtValue],
        run_options: RunOptions | None = None,
    ) -> list[OrtValue]:
        """As `run`, with values that stay in the runtime's form."""
        feed = {name: value._tensor for name, value in input_dict_ort_values.items()}
        with translated():
            return [OrtValue(t) for t in self._run(output_names, feed, run_options)]

    def run_with_ortvaluevector(
        self,
        run_options: RunOptions | None,
        feed_names: Sequence[str],
        feeds: Sequence[OrtValue],
        fetch_names: Sequence[str],
        fetches: OrtValueVector,
        fetch_devices: Any = None,
    ) -> None:
        """As `run_with_ort_values`, into a list of values."""
        fed = dict(zip(feed_names, feeds, strict=True))
        fetches[:] = self.run_with_ort_values(fetch_names, fed, run_options)

    def io_binding(self) -> IOBinding:
        """A fresh binding of inputs and outputs."""
        return IOBinding(self)

    def run_with_iobinding(
        self, iobinding: IOBinding, run_options: RunOptions | None = None
    ) -> None:
        """Runs on what is bound; the results are in the binding."""
        with translated():
            if not iobinding._outputs:
                raise InvalidArgumentError(
                    "run_with_iobinding: at least one output is required, got none."
                )
            iobinding._give(self._run(tuple(iobinding._outputs), iobinding._inputs, run_options))

    def _run(
        self,
        output_names: Sequence[str] | None,
        feed: Mapping[str, _core.Tensor],
        run_options: RunOptions | None = None,
    ) -> list[_core.Tensor]:
        if run_options is not None and run_options.terminate:
            raise Fail(
                "run: a run that may go on is required, got one whose terminate flag is set."
            )
        start = time.perf_counter()
        outputs = tuple(output_names or self._output_names)
        for name in outputs:
            if name not in self._outputs:
                raise InvalidArgumentError(
                    f"run: an output among {list(self._outputs)} is required, got '{name}'."
                )
        feeds.require(self._inputs, feed)
        names = tuple(self._inputs)
        for name, tensor in feed.items():
            declared = self._inputs.get(name) or self._overridable.get(name)
            if declared is None:
                raise InvalidArgumentError(
                    f"run: an input among {[*self._inputs, *self._overridable]} is required, "
                    f"got '{name}'."
                )
            feeds.check(declared, tensor)
            if name in self._overridable:
                names += (name,)
        results = self._compile(names, outputs).run([feed[n] for n in names])
        if self._profiler is not None:
            self._profiler.note("model_run", start)
        if not self._ran:
            self._ran = True
            if self._options.autotune:
                autotune.save()
            if not environment.silent(self._options.log_severity_level):
                feeds.warn_of_shapes([self._outputs[n] for n in outputs], results)
        return results

    def kv_cache(self, pairs: Mapping[str, str] | None = None, capacity: int = 256) -> KVCache:
        """Memory for the keys and values of a decoding, which `KVCache.run` appends to in place.

        Args:
            pairs: by input that is a past, the output that is the same with the new tokens behind
                it; None: those that exporters name `past_key_values...` and `present...`.
            capacity: tokens to make room for; it doubles when they do not suffice.
        """
        from toolkit.runtime.kv_cache import KVCache

        return KVCache(self, pairs, capacity)

    def _compile_cached(
        self, rest: Sequence[str], pairs: Mapping[str, str], outputs: Sequence[str], length: str
    ) -> tuple[CompiledProgram, passes.Caches]:
        """A program that appends to its pasts, which are inputs after `rest`, as `length` is."""
        key = tuple(rest), tuple(pairs.items()), tuple(outputs)
        if key not in self._cached:
            self._programs.clear()  # A program holds packed weights; the plain one is made again
            self._calls.clear()  # when it is asked for.
            caches = passes.Caches(
                {self._inputs[a]: self._outputs[b] for a, b in pairs.items()},
                ir.Value(name=length, type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape([])),
            )
            program = lower(
                [*(self._inputs[n] for n in (*rest, *pairs)), caches.length],
                [self._outputs[n] for n in outputs],
                functions=self._model.functions,
                fuse=bool(self._options.graph_optimization_level),
                caches=caches,
            )
            self._cached[key] = program, caches
        return self._cached[key]

    def _checked(self, names: Sequence[str], feed: Mapping[str, Any]) -> dict[str, _core.Tensor]:
        """The values of `names`, refused unless they are as declared."""
        feeds.require(names, feed)
        found = {}
        for name in feed:
            if name not in names:
                raise InvalidArgumentError(
                    f"run: an input among {list(names)} is required, got '{name}'."
                )
            found[name] = value_to_native(feed[name])
            feeds.check(self._inputs[name], found[name])
        return found

    def native_program(self) -> _core.Program:
        """The program that a run of all inputs and outputs executes, to profile it."""
        return self._compile(tuple(self._inputs), tuple(self._output_names)).program

    def memory_report(self) -> MemoryReport:
        """What the latest input signature needs and what the model holds."""
        from toolkit.runtime.measure.memory import MemoryReport

        return MemoryReport(**self.native_program().memory())

    def get_inputs(self) -> list[NodeArg]:
        """The inputs that a run needs."""
        return [node_arg(v) for v in self._inputs.values()]

    def get_outputs(self) -> list[NodeArg]:
        """The outputs that a run can give."""
        return [node_arg(self._outputs[n]) for n in self._output_names]

    def get_overridable_initializers(self) -> list[NodeArg]:
        """Initializers that are inputs too."""
        return [node_arg(v) for v in self._overridable.values()]

    def get_modelmeta(self) -> ModelMetadata:
        """What the file says of itself."""
        return metadata(self._model)

    def get_input_memory_infos(self) -> list[OrtMemoryInfo]:
        """Where inputs are read from."""
        return [OrtMemoryInfo() for _ in self._inputs]

    def get_output_memory_infos(self) -> list[OrtMemoryInfo]:
        """Where outputs are written to."""
        return [OrtMemoryInfo() for _ in self._output_names]

    def get_input_epdevices(self) -> list[None]:
        """Inputs are on no device of a provider library."""
        return [None for _ in self._inputs]

    def get_providers(self) -> list[str]:
        """The execution providers in use."""
        return [environment.CPU]

    def get_provider_options(self) -> dict[str, dict[str, str]]:
        """The options of each provider in use: none."""
        return {environment.CPU: {}}

    def set_providers(
        self,
        providers: Sequence[str | tuple[str, Mapping[str, Any]]] | None = None,
        provider_options: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        """Warns of providers that this build lacks; the CPU's stays."""
        environment.checked_providers(providers, provider_options)

    def enable_fallback(self) -> None:
        """There is nothing to fall back from."""

    def disable_fallback(self) -> None:
        """There is nothing to fall back from."""

    def get_session_options(self) -> SessionOptions:
        """The options that the session was made with."""
        return self._options

    def get_tuning_results(self) -> list[Any]:
        """Kernels are not tuned by session; see `toolkit.runtime.autotune`."""
        return []

    def set_tuning_results(self, results: Any, *, error_on_invalid: bool = False) -> None:
        """Accepted, without effect."""

    def set_ep_dynamic_options(self, options: Mapping[str, str]) -> None:
        """Accepted: the CPU's provider has none."""

    def get_provider_graph_assignment_info(self) -> list[Any]:
        """All nodes are the CPU's: no other provider took any."""
        return []

    def release_captured_graph(self, graph_id: int = 0) -> None:
        """There are none."""

    def create_ortvalue_from_shape_and_type(
        self, shape: Sequence[int], element_type: Any, *_: Any, **__: Any
    ) -> OrtValue:
        """Memory for a tensor."""
        return OrtValue.ortvalue_from_shape_and_type(shape, element_type)

    def end_profiling(self) -> str:
        """Writes the profile; the file's name, or "" without `enable_profiling`."""
        profiler, self._profiler = self._profiler, None
        return "" if profiler is None else profiler.end()

    def get_profiling_start_time_ns(self) -> int:
        """When the profile began; 0 without one."""
        return 0 if self._profiler is None else self._profiler.start_ns


def _size(dim: int | ir.SymbolicDim) -> int:
    """A dimension as a number; -1: any."""
    return dim if isinstance(dim, int) else -1

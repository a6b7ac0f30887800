"""`InferenceSession`: a model loaded once and run many times, in onnxruntime's shape.

A session is thread-safe. What onnxruntime has and this does not yet: execution providers other
than the CPU's, asynchronous runs, profiling files.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import onnx
import onnx_ir as ir

from toolkit import dtypes
from toolkit.errors import DTypeError, InvalidArgumentError, ShapeError, ToolkitWarning
from toolkit.graph import map_types
from toolkit.graph.io import load_model
from toolkit.graph.passes import optimize
from toolkit.runtime import _core, autotune, passes
from toolkit.runtime.conv_chains import fuse_convolutions
from toolkit.runtime.conv_fusion import measure_convolutions
from toolkit.runtime.lowering import CompiledProgram, lower
from toolkit.runtime.name_dims import NameDimsPass
from toolkit.runtime.values import (
    maps_to_native,
    to_native,
    value_from_native,
    value_to_native,
)

if TYPE_CHECKING:
    from toolkit.runtime.kv_cache import KVCache
    from toolkit.runtime.measure.memory import MemoryReport

_CPU = "CPUExecutionProvider"
_TYPE_STRINGS = {"float32": "float", "float64": "double"}
_NO_ARRAY = (ir.DataType.UNDEFINED, ir.DataType.STRING)
_NUMPY = {t.onnx: t.numpy for t in (*dtypes.ALL, *dtypes.NARROW)}


def get_available_providers() -> list[str]:
    """Names of the execution providers of this build."""
    return [_CPU]


def get_device() -> str:
    """The device that sessions run on by default."""
    return "CPU"


@dataclass
class SessionOptions:
    """onnxruntime's session options; those without meaning here are accepted and ignored."""

    intra_op_num_threads: int = 0
    inter_op_num_threads: int = 0
    graph_optimization_level: int = 99
    enable_mem_pattern: bool = True
    enable_mem_reuse: bool = True
    enable_cpu_mem_arena: bool = True
    enable_profiling: bool = False
    execution_mode: int = 0
    log_severity_level: int = 2
    logid: str = ""
    autotune: bool = False  # Not onnxruntime's: see `toolkit.runtime.autotune`.
    _config: dict[str, str] = field(default_factory=dict)

    def add_session_config_entry(self, key: str, value: str) -> None:
        """Keeps a configuration entry."""
        self._config[key] = value

    def get_session_config_entry(self, key: str) -> str:
        """The entry that was added under `key`."""
        return self._config[key]


@dataclass
class RunOptions:
    """onnxruntime's run options; accepted, without effect."""

    log_severity_level: int = 2
    logid: str = ""


@dataclass(frozen=True)
class NodeArg:
    """An input or output: name, type string ("tensor(float)") and shape (int, name or None)."""

    name: str
    type: str
    shape: list[int | str | None]


@dataclass(frozen=True)
class ModelMetadata:
    """What the file says of itself."""

    producer_name: str
    graph_name: str
    domain: str
    description: str
    graph_description: str
    version: int
    custom_metadata_map: dict[str, str]


class OrtValue:
    """A value that stays in the runtime's own form between runs."""

    def __init__(self, tensor: _core.Tensor) -> None:
        self._tensor = tensor

    @staticmethod
    def ortvalue_from_numpy(array: Any, device_type: str = "cpu", device_id: int = 0) -> OrtValue:
        """Wraps a numpy array without copying it."""
        return OrtValue(to_native(array))

    def numpy(self) -> Any:
        """An array over the value's memory; a list, dict or None for what is no tensor."""
        return value_from_native(self._tensor)

    def shape(self) -> list[int]:
        """The dimensions."""
        return list(self._tensor.shape)

    def data_type(self) -> str:
        """Onnxruntime's type string, as "tensor(float)"."""
        return _type_string(_described(self._tensor))

    def device_name(self) -> str:
        """Where the value lives."""
        return "cpu"


class IOBinding:
    """Inputs and outputs bound by name before a run."""

    def __init__(self, session: InferenceSession) -> None:
        self._session = session
        self._inputs: dict[str, _core.Tensor] = {}
        self._outputs: list[str] = []
        self._results: list[_core.Tensor] = []

    def bind_cpu_input(self, name: str, array: Any) -> None:
        """Binds a numpy array."""
        self._inputs[name] = to_native(array)

    def bind_ortvalue_input(self, name: str, value: OrtValue) -> None:
        """Binds a value of the runtime."""
        self._inputs[name] = value._tensor

    def bind_output(self, name: str, device_type: str = "cpu", device_id: int = 0) -> None:
        """Asks for an output; the runtime allocates it."""
        self._outputs.append(name)

    def clear_binding_inputs(self) -> None:
        """Forgets the inputs."""
        self._inputs.clear()

    def clear_binding_outputs(self) -> None:
        """Forgets the outputs."""
        self._outputs.clear()

    def get_outputs(self) -> list[OrtValue]:
        """The results of the latest run, in the order of binding."""
        return [OrtValue(t) for t in self._results]

    def copy_outputs_to_cpu(self) -> list[Any]:
        """The results of the latest run as arrays."""
        return [value_from_native(t) for t in self._results]


class InferenceSession:
    """Loads a model and runs it.

    Args:
        path_or_bytes: a path, the file's bytes, or an `onnx.ModelProto`.
        sess_options: a `SessionOptions`.
        providers: execution providers in order of preference; only the CPU's exists.

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
        for provider in providers or ():
            name = provider if isinstance(provider, str) else provider[0]
            if name not in get_available_providers():
                raise InvalidArgumentError(
                    f"InferenceSession: providers among {get_available_providers()} are required, "
                    f"got '{name}'."
                )
        self._options = sess_options or SessionOptions()
        if self._options.intra_op_num_threads:
            _core.set_num_threads(self._options.intra_op_num_threads)
        self._model = load_model(path_or_bytes)
        if self._options.graph_optimization_level:
            optimize(self._model)
            NameDimsPass()(self._model)
            fuse_convolutions(self._model)
        if self._options.autotune:
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
            every = self._inputs | self._overridable
            self._programs[key] = lower(
                [every[n] for n in inputs],
                [self._outputs[n] for n in outputs],
                functions=self._model.functions,
                fuse=bool(self._options.graph_optimization_level),
            )
        return self._programs[key]

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
            run_options: accepted for onnxruntime's sake.

        Returns:
            One numpy array an output.

        Raises:
            InvalidArgumentError: a name is missing or unknown.
            DTypeError: an array's type is not the declared one.
            ShapeError: an array's shape does not fit the declared one.
        """
        outputs = tuple(output_names) if output_names else ()
        call = self._calls.get(outputs)
        if call is not None and (results := call(input_feed)) is not None:
            return results
        feed = {}
        for name, value in input_feed.items():
            declared = self._inputs.get(name)
            kind = map_types.of(declared) if declared is not None else None
            if isinstance(value, OrtValue):
                feed[name] = value._tensor
            elif kind is not None:
                feed[name] = maps_to_native(value, kind, name)
            else:
                feed[name] = value_to_native(value)
        results = [value_from_native(t) for t in self._run(outputs, feed)]
        if outputs not in self._calls:
            self._calls[outputs] = self._call(outputs)
        return results

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
        return [OrtValue(t) for t in self._run(output_names, feed)]

    def io_binding(self) -> IOBinding:
        """A fresh binding of inputs and outputs."""
        return IOBinding(self)

    def run_with_iobinding(self, iobinding: IOBinding, run_options: Any = None) -> None:
        """Runs on what is bound; the results are in the binding."""
        iobinding._results = self._run(iobinding._outputs, iobinding._inputs)

    def _run(
        self, output_names: Sequence[str] | None, feed: Mapping[str, _core.Tensor]
    ) -> list[_core.Tensor]:
        outputs = tuple(output_names or self._output_names)
        for name in outputs:
            if name not in self._outputs:
                raise InvalidArgumentError(
                    f"run: an output among {list(self._outputs)} is required, got '{name}'."
                )
        _require(self._inputs, feed)
        names = tuple(self._inputs)
        for name, tensor in feed.items():
            declared = self._inputs.get(name) or self._overridable.get(name)
            if declared is None:
                raise InvalidArgumentError(
                    f"run: an input among {[*self._inputs, *self._overridable]} is required, "
                    f"got '{name}'."
                )
            _check(declared, tensor)
            if name in self._overridable:
                names += (name,)
        results = self._compile(names, outputs).run([feed[n] for n in names])
        if not self._ran:
            self._ran = True
            if self._options.autotune:
                autotune.save()
            _warn_of_shapes([self._outputs[n] for n in outputs], results)
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
        _require(names, feed)
        found = {}
        for name in feed:
            if name not in names:
                raise InvalidArgumentError(
                    f"run: an input among {list(names)} is required, got '{name}'."
                )
            found[name] = value_to_native(feed[name])
            _check(self._inputs[name], found[name])
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
        return [_node_arg(v) for v in self._inputs.values()]

    def get_outputs(self) -> list[NodeArg]:
        """The outputs that a run can give."""
        return [_node_arg(self._outputs[n]) for n in self._output_names]

    def get_overridable_initializers(self) -> list[NodeArg]:
        """Initializers that are inputs too."""
        return [_node_arg(v) for v in self._overridable.values()]

    def get_modelmeta(self) -> ModelMetadata:
        """What the file says of itself."""
        model = self._model
        return ModelMetadata(
            producer_name=model.producer_name or "",
            graph_name=model.graph.name or "",
            domain=model.domain or "",
            description=model.doc_string or "",
            graph_description=model.graph.doc_string or "",
            version=model.model_version or 0,
            custom_metadata_map=dict(model.metadata_props),
        )

    def get_providers(self) -> list[str]:
        """The execution providers in use."""
        return [_CPU]

    def get_session_options(self) -> SessionOptions:
        """The options that the session was made with."""
        return self._options


def _size(dim: int | ir.SymbolicDim) -> int:
    """A dimension as a number; -1: any."""
    return dim if isinstance(dim, int) else -1


def _type_string(kind: ir.TypeProtocol | None) -> str:
    """Onnxruntime's name of a type: "tensor(float)", "seq(tensor(int64))"."""
    if isinstance(kind, ir.SequenceType):
        return f"seq({_type_string(kind.elem_type)})"
    if isinstance(kind, ir.OptionalType):
        return f"optional({_type_string(kind.elem_type)})"
    dtype = dtypes.BY_ONNX.get(int(kind.dtype)) if kind is not None else None
    return f"tensor({_TYPE_STRINGS.get(dtype.name, dtype.name)})" if dtype else "tensor()"


def _type_text(kind: ir.TypeProtocol | None) -> str:
    """A type as messages name it: a tensor by its element type alone."""
    if isinstance(kind, ir.TensorType) and int(kind.dtype) in dtypes.BY_ONNX:
        return dtypes.BY_ONNX[int(kind.dtype)].name
    return _type_string(kind)


def _described(value: _core.Tensor) -> ir.TypeProtocol | None:
    """The type of a value; None for an empty sequence's items, maps and missing optionals."""
    if value.dtype == _core.SEQUENCE:
        items = value.items()
        inner = _described(items[0]) if items else None
        return ir.SequenceType(inner or ir.TensorType(ir.DataType.UNDEFINED))
    if value.dtype in (_core.MAP, _core.NONE):
        return None
    return ir.TensorType(ir.DataType(value.dtype))


def _map_string(kind: onnx.TypeProto) -> str:
    """As `_type_string`, of a type that may be a map: "seq(map(int64,tensor(float)))"."""
    name = kind.WhichOneof("value")
    if name == "sequence_type":
        return f"seq({_map_string(kind.sequence_type.elem_type)})"
    if name == "map_type":
        key = dtypes.BY_ONNX[kind.map_type.key_type].name
        return f"map({key},{_map_string(kind.map_type.value_type)})"
    return _type_string(ir.serde.deserialize_type_proto_for_type(kind))


def _node_arg(value: ir.Value) -> NodeArg:
    kind = map_types.of(value)
    if kind is not None:
        return NodeArg(value.name or "", _map_string(kind), [])
    shape: list[int | str | None] = [
        d if isinstance(d, int) else d.value for d in (value.shape or ())
    ]
    return NodeArg(value.name or "", _type_string(value.type), shape)


def _require(names: Iterable[str], feed: Mapping[str, Any]) -> None:
    for name in names:
        if name not in feed:
            raise InvalidArgumentError(
                f"run: input '{name}' is required, got {sorted(feed)}. Add it to the input feed."
            )


def _check(declared: ir.Value, tensor: _core.Tensor) -> None:
    """Refuses a fed value that the graph's declaration does not allow."""
    kind = map_types.of(declared)
    if kind is not None:
        if not _fits_map(kind, tensor):
            raise DTypeError(
                f"run: input '{declared.name}' must be {_map_string(kind)}, got other."
            )
        return
    if not _fits(declared.type, tensor):
        need, got = _type_text(declared.type), _type_text(_described(tensor))
        raise DTypeError(f"run: input '{declared.name}' must be {need}, got {got}.")
    if declared.shape is None or not isinstance(declared.type, ir.TensorType):
        return
    need_dims = list(declared.shape)
    fits = len(need_dims) == tensor.ndim and all(
        not isinstance(n, int) or n == d for n, d in zip(need_dims, tensor.shape, strict=True)
    )
    if not fits:
        text = ", ".join(str(n) if isinstance(n, int) else n.value or "?" for n in need_dims)
        raise ShapeError(
            f"run: input '{declared.name}' must have shape ({text}), got {tensor.shape}."
        )


def _warn_of_shapes(declared: Sequence[ir.Value], results: Sequence[_core.Tensor]) -> None:
    """A declared output shape is a claim of the file: a wrong one is not refused."""
    for value, tensor in zip(declared, results, strict=True):
        if value.shape is None or not isinstance(value.type, ir.TensorType):
            continue
        dims, shape = list(value.shape), tensor.shape
        if len(dims) != len(shape) or any(
            isinstance(d, int) and d != n for d, n in zip(dims, shape, strict=True)
        ):
            text = ", ".join(str(d) if isinstance(d, int) else d.value or "?" for d in dims)
            warnings.warn(
                f"run: output '{value.name}' must have the declared shape ({text}), got {shape}.",
                ToolkitWarning,
                stacklevel=4,
            )


def _fits_map(kind: onnx.TypeProto, value: _core.Tensor) -> bool:
    if kind.WhichOneof("value") == "sequence_type":
        inner = kind.sequence_type.elem_type
        return value.dtype == _core.SEQUENCE and all(_fits_map(inner, v) for v in value.items())
    if value.dtype != _core.MAP:
        return False
    keys, values = value.items()
    element = kind.map_type.value_type.tensor_type.elem_type
    return bool(keys.dtype == kind.map_type.key_type and values.dtype == element)


def _fits(declared: ir.TypeProtocol | None, value: _core.Tensor) -> bool:
    if isinstance(declared, ir.OptionalType):
        return value.dtype == _core.NONE or _fits(declared.elem_type, value)
    if isinstance(declared, ir.SequenceType):
        return value.dtype == _core.SEQUENCE and all(
            _fits(declared.elem_type, item) for item in value.items()
        )
    return declared is None or int(declared.dtype) in (0, value.dtype)

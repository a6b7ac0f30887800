"""A model file in our runtime and in others, behind one call. A peer is imported when asked for."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from toolkit.errors import InvalidArgumentError
from toolkit.runtime.measure.timing import compare

Feed = Mapping[str, Any]
Run = Callable[[Feed], Sequence[Any]]


def load(name: str, path: str | os.PathLike[str], threads: int, feed: Feed) -> Run:
    """A call that runs the file on a feed and gives its outputs in order.

    A peer is set up as its users do for the shortest latency: dimensions without a size are fixed
    to those of `feed`, float32 stays float32.

    Args:
        name: "ours", "onnxruntime" or "openvino".
        path: the model.
        threads: how many each call may use.
        feed: an example of what will be fed.

    Raises:
        InvalidArgumentError: there is no such runtime, or it is not installed.
    """
    if name not in _LOADERS:
        raise InvalidArgumentError(
            f"bench: one of {', '.join(_LOADERS)} is required, got '{name}'."
        )
    try:
        return _LOADERS[name](os.fspath(path), threads, feed)
    except ModuleNotFoundError as error:
        raise InvalidArgumentError(
            f"bench: {name} is required for the comparison, got none. pip install {error.name}"
        ) from None


@dataclass(frozen=True)
class Measured:
    """Medians in seconds, and how far outputs are from those of the first side.

    An error is the largest absolute difference relative to the largest absolute value of an output;
    infinite where shapes or values that are no numbers differ.
    """

    medians: dict[str, float]
    errors: dict[str, float]


def measure(
    runs: Mapping[str, Run],
    feed: Feed,
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> Measured:
    """Runs all sides on one feed in turns; the first is what outputs are compared with."""
    outputs = {side: [_kept(y) for y in run(feed)] for side, run in runs.items()}
    want = next(iter(outputs.values()))
    errors = {
        side: max((_error(g, w) for g, w in zip(got, want, strict=True)), default=0.0)
        for side, got in outputs.items()
    }
    calls = {side: partial(run, feed) for side, run in runs.items()}
    return Measured(compare("", calls, seconds, clock=clock).medians, errors)


def _kept(value: Any) -> Any:
    """A copy: a runtime may write over what it gave."""
    return value.copy() if isinstance(value, np.ndarray) else value


def _error(got: Any, want: Any) -> float:
    a, b = np.asarray(got), np.asarray(want)
    if a.shape != b.shape:
        return float("inf")
    if a.dtype.kind not in "biuf" or b.dtype.kind not in "biuf":
        return 0.0 if np.array_equal(a, b) else float("inf")
    wide = b.astype(np.float64)
    scale = np.abs(wide).max(initial=0.0)
    error = float(np.abs(a - wide).max(initial=0.0))
    return error / scale if scale else error


def _ours(path: str, threads: int, feed: Feed) -> Run:
    from toolkit.runtime import InferenceSession, SessionOptions

    session = InferenceSession(path, SessionOptions(intra_op_num_threads=threads))
    return lambda feed: session.run(None, feed)


def _onnxruntime(path: str, threads: int, feed: Feed) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    for dim, size in _sizes(path, feed).items():
        options.add_free_dimension_override_by_name(dim, size)
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda feed: session.run(None, feed)


def _openvino(path: str, threads: int, feed: Feed) -> Run:
    import openvino

    core = openvino.Core()
    model = core.read_model(path)
    model.reshape({name: array.shape for name, array in feed.items()})
    config = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
    }
    request = core.compile_model(model, "CPU", config).create_infer_request()

    def run(feed: Feed) -> Sequence[Any]:
        results = request.infer(feed, share_inputs=True, share_outputs=True)
        return list(results.to_tuple())

    return run


def _sizes(path: str, feed: Feed) -> dict[str, int]:
    """The sizes that `feed` gives to the named dimensions, where a name means one size."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    sizes: dict[str, set[int]] = {}
    for value in graph.input:
        if value.name in feed and value.type.HasField("tensor_type"):
            dims = value.type.tensor_type.shape.dim
            for dim, size in zip(dims, feed[value.name].shape, strict=False):
                if dim.dim_param:
                    sizes.setdefault(dim.dim_param, set()).add(size)
    return {name: found.pop() for name, found in sizes.items() if len(found) == 1}


_LOADERS: dict[str, Callable[[str, int, Feed], Run]] = {
    "ours": _ours,
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
}
NAMES = tuple(_LOADERS)

"""The plain path: a process with TOOLKIT_OPT=0, in which every operator runs unfused and direct."""

from __future__ import annotations

import functools
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import onnx
import pytest

from toolkit.runtime import InferenceSession

Arrays = list[np.ndarray]


@functools.cache
def _process() -> ProcessPoolExecutor:
    pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
    with pytest.MonkeyPatch.context() as patch:  # The core asks once, convolutions at their first.
        patch.setenv("TOOLKIT_OPT", "0")
        patch.setenv("TOOLKIT_NUM_THREADS", "1")
        pool.submit(int).result()
    return pool


def on_the_plain_path(function: Callable[..., Any], *args: Any) -> Any:
    """What a function of a test module gives there."""
    return _process().submit(function, *args).result()


def run_file(file: bytes, feed: dict[str, np.ndarray], runs: int = 1) -> list[Arrays]:
    """The outputs of each run of one session."""
    session = InferenceSession(file)
    return [session.run(None, feed) for _ in range(runs)]


def error(got: np.ndarray, want: np.ndarray) -> float:
    """The largest difference over the largest number."""
    assert (got.shape, got.dtype) == (want.shape, want.dtype)
    if not want.size:
        return 0.0
    both = got.astype(np.float64), want.astype(np.float64)
    return float(np.abs(both[0] - both[1]).max() / max(np.abs(both[1]).max(), 1e-6))


def assert_equals_plain(model: onnx.ModelProto, feed: dict[str, np.ndarray], bound: float) -> None:
    """A session's first run, and its second, whose memory is planned; 0: the same bits."""
    file = model.SerializeToString()
    (want,) = on_the_plain_path(run_file, file, feed)
    for got in run_file(file, feed, 2):
        for a, b in zip(got, want, strict=True):
            assert error(a, b) <= bound

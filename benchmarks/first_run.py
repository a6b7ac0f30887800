"""One side in a fresh process: seconds to import, load and run once, and its memory.

    python benchmarks/first_run.py ours|onnxruntime|openvino MODEL.onnx INPUTS.npz THREADS [busy]

`busy`: on a machine with other work, the clock is the processor's, which is for one thread only.
Prints a JSON object; `mib`: the peak of resident memory up to there, `later_mib`: after two more
runs, `held_mib`: what is resident then. Nothing but numpy and the side is imported.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

clock = time.process_time if "busy" in sys.argv[5:] else time.perf_counter


def ours(path: str, threads: int) -> tuple[float, Callable[[Any], Any]]:
    from toolkit.runtime import InferenceSession, SessionOptions

    start = clock()
    session = InferenceSession(path, SessionOptions(intra_op_num_threads=threads))
    return start, lambda feed: session.run(None, feed)


def onnxruntime(path: str, threads: int) -> tuple[float, Callable[[Any], Any]]:
    import onnxruntime

    start = clock()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return start, lambda feed: session.run(None, feed)


def openvino(path: str, threads: int) -> tuple[float, Callable[[Any], Any]]:
    import openvino

    start = clock()
    config = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    model = openvino.Core().compile_model(path, "CPU", {**config, "PERFORMANCE_HINT": "LATENCY"})
    return start, lambda feed: model(feed)


def resident_mib(which: str) -> float:
    """VmHWM: the largest resident set of this process so far; VmRSS: the present one."""
    with open("/proc/self/status") as status:
        lines = dict(line.split(":", 1) for line in status)
    return int(lines[which].split()[0]) / 1024


def main() -> None:
    side, path, inputs, threads = sys.argv[1:5]
    feed = dict(np.load(inputs))
    start = clock()
    loading, run = globals()[side](path, int(threads))
    loaded = clock()
    run(feed)
    done = clock()
    report = {"import": loading - start, "load": loaded - loading, "run": done - loaded}
    report["mib"] = resident_mib("VmHWM")
    for _ in range(2):
        run(feed)
    report |= {"later_mib": resident_mib("VmHWM"), "held_mib": resident_mib("VmRSS")}
    print(json.dumps(report))


if __name__ == "__main__":
    main()

"""Malformed calls of every kernel of one family: `python -m tests.fuzz_ops FAMILY [OP]`.

Run by test_fuzz.py in a process of its own, so that a crash is a failed test. Every call is written
to stdout before it is made: the last line names the call that crashed or hung. Exits with 1 and
lists what was raised that is no ToolkitError.
"""

from __future__ import annotations

import os
import resource
import sys
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx.defs

from tests import fused_ops, opcheck, opinfo
from tests.opinfo import OpInfo, Sample
from tests.opinfo.core import every_array
from toolkit.errors import ToolkitError
from toolkit.runtime import _core

FAMILIES = {**opinfo.FAMILIES, "fused": fused_ops.ROWS}
INTS = (0, 1, -1, 2, 7, 2**31 - 1, 2**31, 2**40, 2**62, -(2**62), 2**63 - 1, -(2**63))
DTYPES = ("float32", "float64", "int32", "int64", "bool", "uint8", "float16")
SHAPES = ((), (0,), (1,), (3,), (2, 3), (2, 0, 3), (1, 2, 3, 4), (1,) * 8)
# How a message may begin: with the operator, or what stood before it in the call.
PLACES = ("array", "rank", "out of memory", "load", "run", "strings")
MEMORY = 700 << 20  # Bytes that a call may take beyond what the process has.


MAPS = ({}, {1: 1.0, 2: 2.0}, {-1: 1.0}, {2**62: 1.0}, {1: "x"}, {"x": 1.0}, {"": "x"}, {1: 1})


def mutated_arrays(x: Any) -> Iterator[Any]:
    """An input gone wrong: absent, another type, shape or value."""
    yield None
    yield []
    if isinstance(x, list):
        yield from (np.ones(3, np.float32), [*x, np.ones(2, np.int8)], x[:1])
        return
    yield [x]
    if isinstance(x, dict):
        yield from (np.ones(2, np.float32), *MAPS)
        return
    yield MAPS[1]
    text = x.dtype == object
    for dtype in DTYPES:
        if x.dtype != dtype:
            with np.errstate(all="ignore"):
                yield np.ones(x.shape, dtype) if text else x.astype(dtype)
    if not text:
        yield np.full(x.shape, "text", object)
    for shape in SHAPES:
        yield np.full(shape, "text" if text else 1, x.dtype)
    yield x.reshape(-1)
    yield x[None]
    yield np.repeat(x.reshape(-1), 2)
    if x.dtype in (np.int64, np.int32):
        for value in INTS:
            value = np.array(value, np.int64).astype(x.dtype)
            yield np.full_like(x, value)
            if x.size:
                one = x.copy()
                one.flat[-1] = value
                yield one


def mutated_attributes(value: Any) -> Iterator[Any]:
    if isinstance(value, bool | int):
        yield from INTS
        yield from ("text", 0.5, [1, 2])
    elif isinstance(value, float):
        yield from (0.0, -1.0, float("inf"), float("nan"), 1e38, 3, "text")
    elif isinstance(value, str):
        yield from ("", "garbage", 1)
    elif isinstance(value, list):
        yield from ([], value[:-1], value + value[-1:], "text", 1)
        texts = any(isinstance(v, str) for v in value)
        for v in ("", "text", "BRANCH_GT", "LEAF") if texts else INTS:
            yield [v] * len(value)
            yield [*value[:-1], v]


def declared_attributes(op: OpInfo) -> dict[str, Any]:
    """A plausible value for each attribute of the schema."""
    if op.domain not in opcheck.ONNX_DOMAINS:
        return {}
    kinds = {"INT": 1, "FLOAT": 0.5, "STRING": "x", "INTS": [1, 1], "FLOATS": [0.5, 1.0]}
    kinds["STRINGS"] = ["x", "y"]
    found = {}
    for name, a in opcheck.schema(op.op_type, op.domain).attributes.items():
        kind = str(a.type).rpartition(".")[2]
        if kind in kinds and isinstance(a.type, onnx.defs.OpSchema.AttrType):
            found[name] = kinds[kind]
    return found


def mutations(op: OpInfo, sample: Sample) -> Iterator[Sample]:
    inputs = sample.inputs
    for i, x in enumerate(inputs):
        for y in (
            mutated_arrays(x) if x is not None else [np.ones(2, np.float32), np.int64([2**62])]
        ):
            yield replace(sample, inputs=(*inputs[:i], y, *inputs[i + 1 :]))
    for n in range(len(inputs)):
        yield replace(sample, inputs=inputs[:n])
    yield replace(sample, inputs=(*inputs, *inputs[:1]))
    yield replace(sample, inputs=(*inputs, *inputs, *inputs))
    for outputs in range(6):
        yield replace(sample, outputs=outputs)
    attributes = {**declared_attributes(op), **sample.attributes}
    for name, value in attributes.items():
        for v in mutated_attributes(value):
            yield replace(sample, attributes={**sample.attributes, name: v})
    for name in sample.attributes:
        rest = {k: v for k, v in sample.attributes.items() if k != name}
        yield replace(sample, attributes=rest)


def garbage(op: OpInfo, rng: np.random.Generator) -> Iterator[Sample]:
    """Calls that have nothing to do with what the operator wants."""
    declared = {name: list(mutated_attributes(v)) for name, v in declared_attributes(op).items()}
    for _ in range(150):
        inputs = []
        for _ in range(rng.integers(0, 6)):
            shape = tuple(rng.integers(0, 4, rng.integers(0, 6)))
            x = rng.integers(-3, 5, shape).astype(DTYPES[rng.integers(len(DTYPES))])
            inputs.append(None if rng.random() < 0.1 else np.asarray(x))
        attributes = {
            name: values[rng.integers(len(values))]
            for name, values in declared.items()
            if rng.random() < 0.4
        }
        yield Sample(tuple(inputs), attributes, int(rng.integers(1, 4)))


def calls(op: OpInfo) -> Iterator[Sample]:
    rng = np.random.default_rng(zlib.crc32(op.name.encode()))
    for dtype in {op.dtypes[0], op.dtypes[-1]}:
        samples = list(op.samples(op.draw(dtype, "fuzz")))
        small = [s for s in samples if sum(x.size for x in every_array(s.inputs)) < 5000]
        for i in rng.permutation(len(small))[:5]:
            yield from mutations(op, small[i])
        yield from op.special(op.draw(dtype)) if op.special else ()
    yield from garbage(op, rng)


def endless(op: OpInfo, sample: Sample) -> bool:
    """A Loop that does what it is told, for years."""
    trips = sample.inputs[0] if op.op_type == "Loop" and sample.inputs else None
    return isinstance(trips, np.ndarray) and trips.dtype.kind in "iu" and (trips > 1000).any()


def call(op: OpInfo, sample: Sample) -> None:
    if opcheck.has_graph(sample):
        opcheck.run_body(op, sample)
        return
    inputs = [opcheck.tensor(x) for x in sample.inputs]
    for y in opcheck.kernel(op, sample.attributes).run(inputs, sample.outputs):
        if y is not None and (y.nbytes or y.dtype in (_core.SEQUENCE, _core.MAP)):
            opcheck.array(y)


def limit_memory() -> None:
    """Not under a sanitizer, whose shadow memory is address space (TOOLKIT_FUZZ_MEMORY=0)."""
    if os.environ.get("TOOLKIT_FUZZ_MEMORY") == "0":
        return
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def main(family: str, only: str = "") -> int:
    limit_memory()
    failures: dict[str, str] = {}
    for op in FAMILIES[family]:
        if (op.domain, op.op_type) not in opcheck.registered() or only not in ("", op.op_type):
            continue
        for sample in calls(op):
            if endless(op, sample):
                continue
            text = f"{op.name}({sample}) -> {sample.outputs}"
            os.write(1, (text.replace("\n", " ") + "\n").encode())
            try:
                call(op, sample)
            except ToolkitError as error:
                if not str(error).startswith((op.op_type, *PLACES)):
                    failures.setdefault(f"{op.name} message", f"{text}: {error}")
            except Exception as error:
                kind = f"{op.name} {type(error).__name__}"
                failures.setdefault(kind, f"{text}: {type(error).__name__}: {error}")
    print("\n".join(["FAILURES", *failures.values()]) if failures else "OK", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

"""A pytest plugin: kernels run in the driver (`driver.cc`) of another machine, under an emulator.

`_core.Op`, by which the operator table and the tests of `runtime/` call single kernels, sends each
call to a process of TOOLKIT_DRIVER and gives back its answer; with TOOLKIT_DRIVER_CONSTANTS=1
inputs after the first are constants, so that kernels pack them. Sequences and maps are skipped.
"""

from __future__ import annotations

import functools
import math
import os
import shlex
import struct
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from toolkit import errors
from toolkit.runtime import _core, values

CONSTANTS = os.environ.get("TOOLKIT_DRIVER_CONSTANTS", "0") == "1"
ERRORS = (
    errors.InvalidArgumentError,
    errors.ShapeError,
    errors.DTypeError,
    errors.UnsupportedOperatorError,
    errors.InvalidModelError,
    errors.OutOfBoundsError,
    errors.OutOfMemoryError,
)
IN_PYTHON = {"ImageDecoder", "RegexFullMatch", "StringNormalizer"}
STRING, SEQUENCE = 8, 60  # Element types as the core numbers them; what is no tensor comes last.


def integer(value: int) -> bytes:
    return struct.pack("<q", value)


def text(value: str | bytes) -> bytes:
    data = value if isinstance(value, bytes) else value.encode("utf8", "surrogateescape")
    return integer(len(data)) + data


def numbers(values: Sequence[int] | Sequence[float], kind: str) -> bytes:
    return integer(len(values)) + struct.pack(f"<{len(values)}{kind}", *values)


def tensor(t: _core.Tensor) -> bytes:
    if t.dtype >= SEQUENCE:
        pytest.skip("sequences and maps are not sent")
    head = integer(t.dtype) + numbers(t.shape, "q")
    if t.dtype == STRING:
        return head + b"".join(map(text, t.strings()))
    return head + values.to_numpy(t).tobytes()


def attribute(value: Any) -> bytes:
    """As ToAttribute of bindings.cc takes it."""
    if isinstance(value, _core.Tensor):
        return integer(6) + tensor(value)
    if isinstance(value, (bool, int, np.integer)):
        return integer(0) + integer(int(value))
    if isinstance(value, float):
        return integer(1) + struct.pack("<d", value)
    if isinstance(value, (str, bytes)):
        return integer(2) + text(value)
    items = list(value)
    if any(isinstance(item, str) for item in items):
        return integer(5) + integer(len(items)) + b"".join(map(text, items))
    floats = any(isinstance(item, float) for item in items)
    return integer(4 if floats else 3) + numbers(items, "d" if floats else "q")


class Driver:
    """A process that runs kernels."""

    def __init__(self) -> None:
        command = shlex.split(os.environ["TOOLKIT_DRIVER"])
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.isa = self.read_text()

    def read(self, size: int) -> bytes:
        assert self.process.stdout is not None
        data = self.process.stdout.read(size)
        if len(data) < size:
            driver.cache_clear()  # The next test has another process.
            raise RuntimeError(f"the driver ended, status {self.process.wait()}")
        return data

    def read_integer(self) -> int:
        return int(struct.unpack("<q", self.read(8))[0])

    def read_text(self) -> str:
        return self.read(self.read_integer()).decode("utf8", "surrogateescape")

    def read_tensor(self) -> _core.Tensor | None:
        if not self.read_integer():
            return None
        dtype = self.read_integer()
        shape = [self.read_integer() for _ in range(self.read_integer())]
        if dtype == STRING:
            items = [self.read_text() for _ in range(math.prod(shape))]
            return _core.Tensor.from_strings(items, shape)
        t = _core.Tensor.empty(dtype, shape)
        memory = t.numpy().reshape(-1).view(np.uint8)
        memory[:] = np.frombuffer(self.read(t.nbytes), np.uint8)
        return t

    def call(self, message: bytes, outputs: int) -> list[_core.Tensor | None]:
        assert self.process.stdin is not None
        self.process.stdin.write(message)
        self.process.stdin.flush()
        status = self.read_integer()
        if status < 0:
            pytest.skip("sequences and maps are not sent")
        if status:
            raise ERRORS[status - 1](self.read_text())
        return [self.read_tensor() for _ in range(outputs)]


@functools.cache
def driver() -> Driver:
    return Driver()


class Op:
    """As `_core.Op`."""

    def __init__(self, domain: str, op_type: str, attributes: Mapping[str, Any]) -> None:
        if op_type in IN_PYTHON:
            pytest.skip("written in Python")
        self.head = text(domain) + text(op_type) + integer(len(attributes))
        self.head += b"".join(text(name) + attribute(v) for name, v in attributes.items())

    def run(
        self, inputs: Sequence[_core.Tensor | None], num_outputs: int
    ) -> list[_core.Tensor | None]:
        sent = [integer(0) if t is None else integer(1) + tensor(t) for t in inputs]
        message = self.head + integer(len(sent)) + b"".join(sent)
        return driver().call(message + integer(num_outputs) + integer(CONSTANTS), num_outputs)


def pytest_configure() -> None:
    _core.Op = Op  # type: ignore[assignment, misc]


def pytest_report_header() -> str:
    return f"kernels: {driver().isa}"


def pytest_unconfigure() -> None:
    with driver().process:
        driver().process.terminate()

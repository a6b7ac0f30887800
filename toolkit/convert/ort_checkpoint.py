"""Checkpoints of onnxruntime-training: weights, optimizer state, step count, properties.

From 1.16 to 1.19, the last, a checkpoint is one FlatBuffers file (ort_training_checkpoint.fbs);
before it is a folder of files that each hold a sequence of TensorProto. Both are read, the file is
written. Weights of 2 GB and more, which lie in a file of their own beside it, are read too.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from toolkit.convert.flatbuffers import Numbers, Scalar, Table, root, write
from toolkit.errors import InvalidModelError
from toolkit.graph.atomic import write_atomically

__all__ = ["Checkpoint", "OptimizerGroup", "read_checkpoint", "write_checkpoint"]

IDENTIFIER = b"ODTC"
VERSION = 2
_MOST_DIMS, _LARGEST_DIM = 32, 2**48  # What numpy takes, with tensors of no elements too.
Array = np.ndarray[Any, Any]


@dataclass
class OptimizerGroup:
    """One group: its state is named `momentum0`, `momentum1`, …, by parameter."""

    name: str = "group0"
    step: int = 0
    learning_rate: float = 0.001
    states: dict[str, dict[str, Array]] = field(default_factory=dict)


@dataclass
class Checkpoint:
    """What a checkpoint holds; `parameters` are those that train."""

    parameters: dict[str, Array] = field(default_factory=dict)
    frozen: dict[str, Array] = field(default_factory=dict)
    groups: list[OptimizerGroup] = field(default_factory=list)
    properties: dict[str, int | float | str] = field(default_factory=dict)


def read_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Reads a checkpoint, a file or a folder.

    Raises:
        InvalidModelError: it is none, is truncated, or holds names without weights (`nominal`).
    """
    path = Path(path)
    where = f"checkpoint '{path}'"
    try:
        if path.is_dir():
            return _read_folder(path, where)
        data = path.read_bytes()
    except OSError as error:
        got = error.strerror or str(error)
        raise InvalidModelError(f"{where}: a readable file is required, got {got}.") from None
    return _File(data, path, where).read()


class _File:
    """Reads the FlatBuffers file. `left`: each byte of it belongs to one tensor at most."""

    def __init__(self, data: bytes, path: Path, where: str) -> None:
        self.top = root(data, IDENTIFIER, where)
        self.where, self.left = where, len(data)
        self.beside = Path(f"{path}.data")

    def read(self) -> Checkpoint:
        result = Checkpoint()
        module = self.top.table(1)
        if module is not None:
            if module.scalar(2, "?", False):
                need = "a checkpoint with weights is required"
                raise InvalidModelError(f"{self.where}: {need}, got a nominal one: names alone.")
            beside = module.scalar(3, "?", False)
            result.parameters = self._tensors(module.tables(0), beside)
            result.frozen = self._tensors(module.tables(1), beside)
        for group in self.top.tables(2):
            states = {t.string(0): self._tensors(t.tables(1)) for t in group.tables(3)}
            step, rate = int(group.scalar(1, "q")), float(group.scalar(2, "f", 0.0))
            result.groups.append(OptimizerGroup(group.string(0), step, rate, states))
        bag = self.top.table(3)
        if bag is not None:
            for index, kind in ((0, "q"), (1, "f")):
                result.properties |= {t.string(0): t.scalar(1, kind) for t in bag.tables(index)}
            result.properties |= {t.string(0): t.string(1) for t in bag.tables(2)}
        return result

    def _tensors(self, tables: Iterable[Table], beside: bool = False) -> dict[str, Array]:
        found: dict[str, Array] = {}
        for table in tables:
            name = table.string(0)
            if name in found:
                need = "each tensor once is required"
                raise InvalidModelError(f"{self.where}: {need}, got two of '{name}'.")
            found[name] = self._tensor(table, name, beside)
        return found

    def _tensor(self, table: Table, name: str, beside: bool) -> Array:
        dims, code = table.numbers(2, "q"), table.scalar(3, "i")
        dtype = _dtype(code)
        if dtype is None:
            need = "a tensor of numbers is required"
            raise InvalidModelError(f"{self.where}: {need}, got element type {code} for '{name}'.")
        size = math.prod(dims) * dtype.itemsize
        data: memoryview | bytes = table.bytes(4)
        self.left -= len(data)
        offset = table.scalar(6, "q", -1)
        if beside and offset >= 0 and not data and 0 <= size <= _size(self.beside) - offset:
            with self.beside.open("rb") as file:
                file.seek(offset)
                data = file.read(size)
        odd = len(dims) > _MOST_DIMS or any(not 0 <= d < _LARGEST_DIM for d in dims)
        if odd or len(data) != size or self.left < 0:
            raise InvalidModelError(
                f"{self.where}: as many bytes as its shape says are required of '{name}', "
                f"got {len(data)} for shape {tuple(dims)} of {dtype}."
            )
        return np.frombuffer(data, dtype).reshape(dims).copy()


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _dtype(code: int) -> np.dtype[Any] | None:
    """The element type of a number that onnx and onnxruntime share; None for what has no bytes."""
    try:
        kind = ir.DataType(code)
        return None if kind == ir.DataType.STRING or kind.bitwidth < 8 else kind.numpy()
    except (TypeError, ValueError):
        return None


def write_checkpoint(path: str | os.PathLike[str], checkpoint: Checkpoint) -> None:
    """Writes a checkpoint as onnxruntime-training 1.19 reads it; it is replaced in one go."""
    module = [
        _tensor_tables(checkpoint.parameters),
        _tensor_tables(checkpoint.frozen),
        Scalar("?", False),
        Scalar("?", False),
    ]
    groups = tuple(_group_table(group) for group in checkpoint.groups)
    bag = _property_table(checkpoint.properties)
    text = write([Scalar("i", VERSION), module, groups or None, bag], IDENTIFIER)
    write_atomically(Path(path), text)


def _group_table(group: OptimizerGroup) -> list[Any]:
    states = tuple([name, _tensor_tables(held)] for name, held in sorted(group.states.items()))
    return [group.name, Scalar("q", group.step), Scalar("f", group.learning_rate), states]


def _tensor_tables(tensors: Mapping[str, Array]) -> tuple[list[Any], ...]:
    return tuple(
        [
            name,
            None,
            Numbers("q", array.shape),
            Scalar("i", int(ir.DataType.from_numpy(array.dtype))),
            np.ascontiguousarray(array).tobytes(),
        ]
        for name, array in sorted(tensors.items())
    )


def _property_table(properties: Mapping[str, int | float | str]) -> list[Any] | None:
    if not properties:
        return None
    kinds: dict[type, list[list[Any]]] = {int: [], float: [], str: []}
    for name, value in sorted(properties.items()):
        kind = str if isinstance(value, str) else float if isinstance(value, float) else int
        held = value if kind is str else Scalar("f" if kind is float else "q", value)
        kinds[kind].append([name, held])
    return [tuple(found) or None for found in kinds.values()]


def _read_folder(folder: Path, where: str) -> Checkpoint:
    """The files of a folder: `param*_tensors`, `optim_<group>_<state>_tensors`, `*_properties`."""
    result = Checkpoint()
    groups: dict[str, OptimizerGroup] = {}
    for path in sorted(folder.glob("*.pbseq")):
        kind, _, rest = path.stem.partition("_")
        tensors = dict(_sequence(path, where))
        if kind in ("param", "paramtrain"):
            result.parameters |= tensors
        elif kind == "paramfrozen":
            result.frozen |= tensors
        elif kind == "custom":
            result.properties |= {n: _item(a) for n, a in tensors.items()}
        elif kind == "optim" and rest.count("_"):
            name, _, part = rest.partition("_")
            group = groups.setdefault(name, OptimizerGroup(name))
            if part == "properties":
                group.step = int(_item(tensors.get("step_", np.asarray(group.step))))
                rate = tensors.get("learning_rate_", np.asarray(group.learning_rate))
                group.learning_rate = float(_item(rate))
            else:
                for parameter, array in tensors.items():
                    held = group.states.setdefault(parameter, {})
                    held[part.removesuffix("_tensors")] = array
    if not result.parameters and not result.frozen:
        raise InvalidModelError(f"{where}: a folder with param*.pbseq is required, got none there.")
    result.groups = list(groups.values())
    return result


def _item(array: Array) -> Any:
    if array.size != 1:
        raise InvalidModelError(f"checkpoint: a property of one element is required, got {array}.")
    item = array.reshape(-1)[0]
    return (
        item.decode() if isinstance(item, bytes) else item.item() if array.dtype != object else item
    )


def _sequence(path: Path, where: str) -> Iterator[tuple[str, Array]]:
    """The tensors of one file: their number, then the size of each and the message."""
    data, at = path.read_bytes(), 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            if at >= len(data) or shift > 28:
                raise _truncated(path, where)
            byte = data[at]
            value |= (byte & 127) << shift
            at, shift = at + 1, shift + 7
            if byte < 128:
                return value

    for _ in range(number()):
        size = number()
        if size > len(data) - at:
            raise _truncated(path, where)
        try:
            tensor = onnx.TensorProto.FromString(data[at : at + size])
            array = onnx.numpy_helper.to_array(tensor)
        except Exception:  # protobuf and numpy refuse in several ways.
            raise _truncated(path, where) from None
        yield tensor.name, array
        at += size


def _truncated(path: Path, where: str) -> InvalidModelError:
    need = "a whole sequence of tensors is required"
    return InvalidModelError(f"{where}: {need}, got '{path.name}'. Is it truncated?")

"""Writes a file whose initializers may be too large for protobuf: those go to a file beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import onnx

from toolkit.graph.check import PROTO_LIMIT
from toolkit.graph.io import write_proto

_SMALL = 1024  # Bytes of an initializer that stays in the file.
_ALIGN = 64


def write_training(
    proto: onnx.ModelProto, path: str | os.PathLike[str], limit: int = PROTO_LIMIT
) -> None:
    """Writes a model with training_info; a reader sees the old file or the whole new one.

    Args:
        proto: The model; its large initializers are moved out of it where it is too large.
        path: The file to write.
        limit: Bytes of initializers above which they go to `<name>.<random>.data` beside it, which
            replaces those of earlier saves.
    """
    path = Path(path)
    old = set(path.parent.glob(f"{path.name}.*.data"))
    if sum(len(t.raw_data) for t in _initializers(proto)) <= limit:
        write_proto(proto, path)
    else:
        # The new data has a name of its own, so the old pair stays whole until the model is new.
        data = path.parent / f"{path.name}.{os.urandom(4).hex()}.data"
        try:
            _move_out(proto, data)
            write_proto(proto, path)
        except BaseException:
            data.unlink(missing_ok=True)
            raise
    for stale in old:
        stale.unlink(missing_ok=True)


def _initializers(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    yield from proto.graph.initializer
    for info in proto.training_info:
        yield from info.algorithm.initializer
        yield from info.initialization.initializer


def _move_out(proto: onnx.ModelProto, data: Path) -> None:
    with data.open("wb") as file:
        for tensor in _initializers(proto):
            length = len(tensor.raw_data)
            if length < _SMALL:
                continue
            file.write(bytes(-file.tell() % _ALIGN))
            place = {"location": data.name, "offset": file.tell(), "length": length}
            file.write(tensor.raw_data)
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            for key, value in place.items():
                tensor.external_data.add(key=key, value=str(value))
        file.flush()
        os.fsync(file.fileno())
